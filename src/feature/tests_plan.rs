//! Plans: which fields become which features, and everything else that is read of a record.

use proptest::prelude::*;

use super::testing::{Bench, Desk, saved, spec};
use super::{
    Condition, ConditionTest, ConditionValue, FeatureKind, FeatureSpec, LabelValue, MAX_COLUMNS,
    Plan, PlanConfig, RowBuffer, TimeSpec, WeightValue,
};
use crate::base::{Micros, Reader, Scale, SectionData};
use crate::math::murmur3_32;

fn kind(field: &str, kind: FeatureKind) -> FeatureSpec {
    FeatureSpec {
        kind: Some(kind),
        ..spec(field)
    }
}

#[test]
fn every_field_is_a_feature_by_its_type() {
    let mut bench = Bench::new(PlanConfig::default());
    bench
        .read(r#"{"x":1.5,"ok":true,"user":{"age":30,"plan":"pro"},"v":[7,8],"n":null,"w":["a"]}"#);
    let named = [
        ("x", 1.5),
        ("ok", 1.0),
        ("user.age", 30.0),
        ("v[0]", 7.0),
        ("v[1]", 8.0),
    ];
    assert_eq!(bench.named(), named);
    assert_eq!(bench.hashed(), [("user.plan=pro", 1.0)]);
    let row = bench.row.row(&bench.plan);
    assert_eq!(row.columns.len(), row.dense.len());
}

#[test]
fn slots_are_where_the_documentation_says() {
    let config = PlanConfig {
        hash_bits: 10,
        interactions: vec![vec!["path".into(), "x".into()]],
        ..PlanConfig::default()
    };
    let mut bench = Bench::new(config);
    bench.read(r#"{"x":2.5,"path":"/cart"}"#);
    let name = murmur3_32(b"path", 0);
    let mut joint = murmur3_32(b"*", 0);
    for part in ["path", "/cart", "x"] {
        joint = murmur3_32(part.as_bytes(), joint);
    }
    let want = [murmur3_32(b"/cart", name) & 1023, joint & 1023];
    assert_eq!(bench.row.index, want);
    assert_eq!(bench.hashed(), [("path=/cart", 1.0), ("path=/cart*x", 2.5)]);
}

#[test]
fn missing_is_not_zero() {
    let mut bench = Bench::new(PlanConfig::default());
    bench.read(r#"{"a":1,"b":2}"#);
    bench.read(r#"{"a":0,"b":null}"#);
    assert_eq!(bench.row.dense[0], 0.0);
    assert!(bench.row.dense[1].is_nan());
    assert!(bench.read("{}").dense.iter().all(|x| x.is_nan()));
}

#[test]
fn columns_come_in_order_of_first_appearance_and_stay() {
    let mut bench = Bench::new(PlanConfig::default());
    bench.read(r#"{"b":1}"#);
    bench.read(r#"{"a":2,"b":3,"v":[1]}"#);
    bench.read(r#"{"v":[4,5,6],"c":7,"a":8}"#);
    assert_eq!(
        bench.plan.column_names(),
        ["b", "a", "v[0]", "v[1]", "v[2]", "c"]
    );
    let dense = &bench.row.dense;
    assert!(dense[0].is_nan());
    assert_eq!(dense[1..], [8.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn a_name_beyond_the_last_column_is_hashed() {
    let mut bench = Bench::new(PlanConfig::default());
    let numbers: Vec<String> = (0..MAX_COLUMNS - 1)
        .map(|i| format!("\"n{i}\":{i}"))
        .collect();
    bench.read(&format!("{{{}}}", numbers.join(",")));
    bench.read(r#"{"v":[1,2,3],"late":4,"n3":5,"big":1e300}"#);
    assert_eq!(bench.plan.column_names().len(), MAX_COLUMNS);
    assert_eq!(bench.named(), [("n3", 5.0), ("v[0]", 1.0)]);
    let want = [
        ("v[1]", 2.0),
        ("v[2]", 3.0),
        ("late", 4.0),
        ("big", f32::MAX),
    ];
    assert_eq!(bench.hashed(), want);
    let hash = murmur3_32(b"v", 0);
    let mask = (1 << 18) - 1;
    assert_eq!(
        bench.row.index[..2],
        [hash.wrapping_add(1) & mask, hash.wrapping_add(2) & mask]
    );
    // And the same once the plan does not grow.
    bench.peek(r#"{"later":4}"#);
    assert_eq!(bench.row.index, [murmur3_32(b"later", 0) & mask]);
}

#[test]
fn without_growing_the_plan_stays_as_it_is() {
    let mut bench = Bench::new(PlanConfig::default());
    bench.read(r#"{"a":1,"v":[1]}"#);
    let before = saved(&bench.plan);
    bench.peek(r#"{"new":2,"a":3,"v":[4,5],"w":[6],"city":"Bonn"}"#);
    assert_eq!(saved(&bench.plan), before);
    assert_eq!(bench.named(), [("a", 3.0), ("v[0]", 4.0)]);
    assert_eq!(
        bench.row.index.len(),
        1,
        "a category needs no place in the plan"
    );
    assert_eq!(bench.hashed(), [("?", 1.0)]);
    // What was left out is no worse off later.
    bench.read(r#"{"new":2,"city":"Bonn"}"#);
    assert_eq!(bench.named(), [("new", 2.0)]);
    assert_eq!(bench.hashed(), [("city=Bonn", 1.0)]);
}

#[test]
fn a_star_takes_no_field_that_plays_another_part() {
    let field = |name: &str| Some(name.to_owned());
    let mut bench = Bench::new(PlanConfig {
        label: field("y"),
        weight: field("w"),
        id: field("id"),
        key: vec!["host".into()],
        time: Some(TimeSpec {
            field: "ts".into(),
            micros_per_unit: 1e6,
        }),
        filter: Some(Condition {
            field: "kind".into(),
            test: ConditionTest::Exists(true),
        }),
        healthy: Some(Condition {
            field: "status".into(),
            test: ConditionTest::Equals(ConditionValue::Text("ok".into())),
        }),
        exclude: vec!["secret".into()],
        ..PlanConfig::default()
    });
    bench.read(
        r#"{"y":1,"w":2,"id":3,"host":"h","ts":5,"kind":6,"status":"ok","secret":{"a":7},"secrets":8}"#,
    );
    assert_eq!(bench.named(), [("kind", 6.0), ("secrets", 8.0)]);
    assert!(bench.row.index.is_empty());
}

#[test]
fn a_spec_of_its_own_overrides_the_star_but_never_reads_the_label() {
    let mut bench = Bench::new(PlanConfig {
        features: vec![
            kind("port", FeatureKind::Category),
            FeatureSpec {
                scale: Some(Scale::MinMax),
                clip: Some(3.0),
                ..spec("host")
            },
            spec("y"),
            FeatureSpec {
                scale: Some(Scale::None),
                ..spec("*")
            },
        ],
        label: Some("y".into()),
        key: vec!["host".into()],
        interactions: vec![vec!["x".into(), "y".into()]],
        ..PlanConfig::default()
    });
    bench.read(r#"{"y":1,"port":80,"host":2,"x":3}"#);
    assert_eq!(bench.named(), [("host", 2.0), ("x", 3.0)]);
    assert_eq!(bench.hashed(), [("port=80", 1.0)]);
    let columns = bench.plan.columns();
    assert_eq!((columns[0].scale, columns[0].clip), (Scale::MinMax, 3.0));
    assert_eq!(columns[1].scale, Scale::None);
    assert_eq!(columns[1].clip, f64::INFINITY);
}

#[test]
fn only_named_fields_are_features_without_a_star() {
    let mut bench = Bench::new(PlanConfig {
        features: vec![spec("b")],
        ..PlanConfig::default()
    });
    bench.read(r#"{"a":1,"b":2,"b.c":3}"#);
    assert_eq!(bench.named(), [("b", 2.0)]);
}

#[test]
fn fields_are_read_as_they_are_said_to_be() {
    let mut bench = Bench::new(PlanConfig {
        features: vec![
            kind("n", FeatureKind::Number),
            kind("c", FeatureKind::Category),
            kind("v", FeatureKind::Vector),
        ],
        ..PlanConfig::default()
    });
    bench.read(r#"{"n":" 2.5 ","c":12345678901234567890,"v":[1]}"#);
    assert_eq!(bench.named(), [("n", 2.5), ("v[0]", 1.0)]);
    assert_eq!(bench.hashed(), [("c=12345678901234567890", 1.0)]);
    bench.read(r#"{"n":true,"c":false,"v":1}"#);
    assert_eq!(bench.named(), [("n", 1.0)]);
    assert_eq!(bench.hashed(), [("c=false", 1.0)]);
    for nothing in [r#""x""#, r#""inf""#, r#""1e999""#, r#""""#, "[1]", "{}"] {
        bench.read(&format!("{{\"n\":{nothing},\"c\":[1],\"v\":\"1\"}}"));
        assert_eq!(
            (bench.named(), bench.hashed()),
            (vec![], vec![]),
            "{nothing}"
        );
    }
}

#[test]
fn a_number_that_turns_into_a_text_is_missing_and_a_category() {
    let mut bench = Bench::new(PlanConfig::default());
    bench.read(r#"{"a":1}"#);
    bench.read(r#"{"a":"high"}"#);
    assert_eq!(bench.named(), []);
    assert_eq!(bench.hashed(), [("a=high", 1.0)]);
    bench.read(r#"{"a":2}"#);
    assert_eq!(bench.named(), [("a", 2.0)]);
}

#[test]
fn interactions_multiply_numbers_and_join_categories() {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let mut bench = Bench::new(PlanConfig {
        interactions: vec![
            list(&["a", "b"]),
            list(&["c", "d"]),
            list(&["c", "a"]),
            list(&["a", "c", "b"]),
            list(&["a", "a"]),
        ],
        ..PlanConfig::default()
    });
    bench.read(r#"{"a":2,"b":3,"c":"x","d":"y"}"#);
    let want = [
        ("c=x", 1.0),
        ("d=y", 1.0),
        ("a*b", 6.0),
        ("c=x*d=y", 1.0),
        ("c=x*a", 2.0),
        ("a*c=x*b", 6.0),
        ("a*a", 4.0),
    ];
    assert_eq!(bench.hashed(), want);
    bench.read(r#"{"b":3,"c":"x","a":null}"#);
    assert_eq!(
        bench.hashed(),
        [("c=x", 1.0)],
        "one part missing, none made"
    );
    bench.read(r#"{"a":1e300,"b":1e300}"#);
    assert_eq!(bench.row.value, [f32::MAX, f32::MAX]);
}

#[test]
fn label_and_weight_are_told_as_they_stand() {
    let mut bench = Bench::new(PlanConfig {
        label: Some("y".into()),
        weight: Some("w".into()),
        ..PlanConfig::default()
    });
    for (line, label, weight) in [
        ("{}", LabelValue::Missing, WeightValue::Default),
        (
            r#"{"y":null,"w":null}"#,
            LabelValue::Missing,
            WeightValue::Default,
        ),
        (
            r#"{"y":3,"w":0.5}"#,
            LabelValue::Number(3.0),
            WeightValue::Given(0.5),
        ),
        (
            r#"{"y":true,"w":-1}"#,
            LabelValue::Boolean(true),
            WeightValue::Given(-1.0),
        ),
        (
            r#"{"y":"yes","w":"1"}"#,
            LabelValue::Text("yes"),
            WeightValue::Unreadable,
        ),
        (
            r#"{"y":[1],"w":{}}"#,
            LabelValue::Unreadable,
            WeightValue::Unreadable,
        ),
    ] {
        let row = bench.read(line);
        assert_eq!(row.label(), label, "{line}");
        assert_eq!(row.weight, weight, "{line}");
        assert!(row.dense.is_empty() && row.index.is_empty(), "{line}");
    }
}

#[test]
fn a_key_has_all_its_parts_or_is_missing() {
    let mut bench = Bench::new(PlanConfig {
        key: vec!["host".into(), "port".into()],
        ..PlanConfig::default()
    });
    let row = bench.read(r#"{"port":80,"host":"a"}"#);
    assert_eq!(
        (row.key.as_slice(), row.key_missing),
        (&["a".into(), "80".into()][..], false)
    );
    for line in [
        r#"{"host":"a"}"#,
        r#"{"host":"a","port":null}"#,
        r#"{"host":"a","port":[]}"#,
    ] {
        let row = bench.read(line);
        assert!(row.key_missing, "{line}");
        assert_eq!(row.key, ["a", ""]);
    }
    let row = bench.read(r#"{"host":"","port":true}"#);
    assert_eq!((row.key[1].as_str(), row.key_missing), ("true", false));
}

#[test]
fn time_is_a_text_or_a_number_in_the_unit_that_is_said() {
    let mut bench = Bench::new(PlanConfig {
        time: Some(TimeSpec {
            field: "ts".into(),
            micros_per_unit: 1e3,
        }),
        id: Some("id".into()),
        ..PlanConfig::default()
    });
    for (line, time, unreadable) in [
        (r#"{"ts":1500}"#, Some(Micros(1_500_000)), false),
        (
            r#"{"ts":"1970-01-01T00:00:02Z"}"#,
            Some(Micros(2_000_000)),
            false,
        ),
        (r#"{"ts":null}"#, None, false),
        ("{}", None, false),
        (r#"{"ts":"yesterday"}"#, None, true),
        (r#"{"ts":1e300}"#, None, true),
        (r#"{"ts":false}"#, None, true),
    ] {
        let row = bench.read(line);
        assert_eq!(
            (row.time, row.time_unreadable),
            (time, unreadable),
            "{line}"
        );
        assert!(!row.has_id);
    }
    let row = bench.read(r#"{"id":9007199254740993}"#);
    assert_eq!((row.id.as_str(), row.has_id), ("9007199254740993", true));
}

#[test]
fn a_record_that_is_not_the_models_changes_nothing() {
    let mut bench = Bench::new(PlanConfig {
        filter: Some(Condition {
            field: "kind".into(),
            test: ConditionTest::Equals(ConditionValue::Text("request".into())),
        }),
        healthy: Some(Condition {
            field: "status".into(),
            test: ConditionTest::Below(500.0),
        }),
        ..PlanConfig::default()
    });
    let row = bench.read(r#"{"kind":"other","x":1}"#);
    assert!(!row.passes);
    assert!(row.dense.is_empty() && row.index.is_empty());
    assert!(bench.plan.column_names().is_empty());
    let row = bench.read(r#"{"kind":"request","x":1,"status":503}"#);
    assert_eq!((row.passes, row.healthy), (true, Some(false)));
    let row = bench.read(r#"{"kind":"request","x":1,"status":200}"#);
    assert_eq!(row.healthy, Some(true));
    assert_eq!(
        bench.plan.column_names(),
        ["x"],
        "healthy would tell the truth"
    );
    let mut plain = Bench::new(PlanConfig::default());
    let row = plain.read("{}");
    assert_eq!((row.passes, row.healthy), (true, None));
}

#[test]
fn a_plan_that_was_saved_goes_on_as_if_nothing_had_happened() {
    let lines = [
        r#"{"a":1,"v":[1,2],"c":"x"}"#,
        r#"{"b":1,"v":[1,2,3],"c":"y","v[0]":4}"#,
    ];
    let after = r#"{"b":5,"v":[1,2,3,4],"d":6,"a":7,"c":"z","v[0]":8}"#;
    let mut one = Bench::new(PlanConfig::default());
    for line in lines {
        one.read(line);
    }
    let state = saved(&one.plan);
    let mut other = Bench::new(PlanConfig::default());
    other.read(r#"{"was":1,"here":"before"}"#);
    other.plan.load(&Reader::new(&state)).unwrap();
    assert_eq!(saved(&other.plan), state);
    one.read(after);
    other.read(after);
    assert_eq!(one.row.dense, other.row.dense);
    assert_eq!(one.row.index, other.row.index);
    assert_eq!(one.hashed(), other.hashed());
    assert_eq!(one.plan.column_names(), other.plan.column_names());
    assert_eq!(saved(&one.plan), saved(&other.plan));
}

#[test]
fn state_that_no_plan_writes_is_refused() {
    let mut bench = Bench::new(PlanConfig::default());
    bench.read(r#"{"a":1,"v":[1,2],"c":"x"}"#);
    let good = saved(&bench.plan);
    let bad: [(&str, SectionData); 6] = [
        // The same number twice.
        ("places", SectionData::U32(vec![u32::MAX, u32::MAX, 1])),
        // Places out of order, or with a gap.
        ("places", SectionData::U32(vec![u32::MAX, 1, 0])),
        ("places", SectionData::U32(vec![u32::MAX, 0, 2])),
        ("places", SectionData::U32(vec![u32::MAX])),
        ("slots", SectionData::U32(vec![1 << 18])),
        ("slots", SectionData::U32(vec![])),
    ];
    for (name, data) in bad {
        let mut state = good.clone();
        let shown = format!("{name} {data:?}");
        if shown.starts_with("places U32([4294967295, 4294967295") {
            let names = b"aav".to_vec();
            state.insert("columns/bytes".into(), SectionData::U8(names));
        }
        state.insert(name.into(), data);
        let mut plan = Plan::new(PlanConfig::default());
        assert!(plan.load(&Reader::new(&state)).is_err(), "{shown}");
        assert!(plan.column_names().is_empty(), "{shown}");
    }
    let mut plan = Plan::new(PlanConfig::default());
    assert!(plan.load(&Reader::new(&good)).is_ok());
}

proptest! {
    /// Neither ids, nor what else went through the record, nor the size of its table matter.
    #[test]
    fn rows_depend_on_the_records_alone(
        lines in proptest::collection::vec(
            proptest::collection::vec((0u8..40, 0u8..5), 0..12), 1..12),
        noise in proptest::collection::vec(0u8..60, 0..10),
        max_names in 0usize..40,
    ) {
        let config = || PlanConfig {
            label: Some("n1".into()),
            interactions: vec![vec!["n2".into(), "n3".into()]],
            ..PlanConfig::default()
        };
        let (mut plan, mut other) = (Plan::new(config()), Plan::new(config()));
        let (mut row, mut other_row) = (RowBuffer::new(), RowBuffer::new());
        let mut kept = Desk::new(|l| l.max_names = max_names);
        for (i, line) in lines.iter().enumerate() {
            let mut members: Vec<(u8, String)> = line
                .iter()
                .map(|(name, value)| (*name, match value {
                    0 => "\"text\"".into(),
                    1 => "[1,2,3]".into(),
                    2 => "null".into(),
                    x => x.to_string(),
                }))
                .collect();
            let mut seen = Vec::new();
            members.retain(|m| !seen.contains(&m.0) && { seen.push(m.0); true });
            let list: Vec<String> = members.iter().map(|(n, v)| format!("\"n{n}\":{v}")).collect();
            let text = format!("{{{}}}", list.join(","));
            // A line that is refused, then this one; on the other side a record made anew.
            if let Some(name) = noise.get(i) {
                kept.fill(&format!("{{\"n{name}\":1}}")).unwrap();
            }
            kept.fill(&text).unwrap();
            plan.extract(&kept.record, &kept.names, &mut row, true);
            let mut fresh = Desk::new(|_| {});
            fresh.fill(&text).unwrap();
            other.extract(&fresh.record, &fresh.names, &mut other_row, true);
            let bits = |row: &RowBuffer| row.dense.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&row), bits(&other_row));
            prop_assert_eq!(&row.index, &other_row.index);
            prop_assert_eq!(&row.value, &other_row.value);
            prop_assert_eq!(row.label(), other_row.label());
        }
        prop_assert_eq!(saved(&plan), saved(&other));
    }
}

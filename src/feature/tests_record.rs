//! Records: what is told is what is found, however names come and go.

use proptest::prelude::*;

use super::FieldValue;
use super::testing::Desk;
use crate::base::{FieldSink, RejectReason};

fn owned(desk: &Desk) -> Vec<(String, String)> {
    desk.fields()
        .iter()
        .map(|(name, value)| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            (name, format!("{value:?}"))
        })
        .collect()
}

#[test]
fn a_record_holds_the_fields_of_one_line_and_no_others() {
    let mut desk = Desk::new(|_| {});
    desk.fill(r#"{"a":1.50,"b":"x","u":{"v":[1,2]},"n":null}"#)
        .unwrap();
    assert_eq!(desk.record.len(), 5);
    assert_eq!(desk.value(b"a"), Some(FieldValue::Number(1.5, b"1.5")));
    assert_eq!(desk.value(b"u"), Some(FieldValue::Other));
    assert_eq!(desk.value(b"u.v"), Some(FieldValue::Vector(&[1.0, 2.0])));
    assert_eq!(desk.value(b"n"), Some(FieldValue::Null));
    desk.fill(r#"{"b":true,"c":""}"#).unwrap();
    assert_eq!(desk.value(b"a"), None);
    assert_eq!(desk.value(b"b"), Some(FieldValue::Boolean(true)));
    assert_eq!(desk.value(b"c"), Some(FieldValue::Text("")));
    desk.sink();
    assert!(desk.record.is_empty());
}

#[test]
fn minus_zero_is_zero() {
    let mut desk = Desk::new(|_| {});
    let mut sink = desk.sink();
    sink.number(b"a", -0.0, b"-0").unwrap();
    sink.vector(b"v", &[-0.0]).unwrap();
    desk.hand_over();
    for (_, value) in desk.fields() {
        match value {
            FieldValue::Number(x, _) => assert!(x.is_sign_positive()),
            FieldValue::Vector(v) => assert!(v[0].is_sign_positive()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused_or_the_last_counts() {
    // Names with ids, and names without.
    for max_names in [100, 0] {
        let mut strict = Desk::new(|l| l.max_names = max_names);
        let mut sink = strict.sink();
        sink.number(b"a", 1.0, b"1").unwrap();
        assert_eq!(sink.text(b"a", "x"), Err(RejectReason::DupKey));
        assert_eq!(strict.sink().text(b"a", "x"), Ok(()));

        let mut desk = Desk::new(|l| {
            l.max_names = max_names;
            l.duplicates_last = true;
        });
        // {"a":{"b":1,"c":2},"ab":3,"a":{"b":4}}
        let mut lax = desk.sink();
        lax.other(b"a").unwrap();
        lax.number(b"a.b", 1.0, b"1").unwrap();
        lax.number(b"a.c", 2.0, b"2").unwrap();
        lax.number(b"ab", 3.0, b"3").unwrap();
        lax.other(b"a").unwrap();
        lax.number(b"a.b", 4.0, b"4").unwrap();
        desk.hand_over();
        assert_eq!(desk.value(b"a.b"), Some(FieldValue::Number(4.0, b"4")));
        assert_eq!(desk.value(b"a.c"), Some(FieldValue::Null));
        assert_eq!(desk.value(b"ab"), Some(FieldValue::Number(3.0, b"3")));
        assert_eq!(desk.record.len(), 4);
    }
}

#[test]
fn a_record_has_at_most_so_many_fields() {
    for max_names in [100, 0] {
        let mut desk = Desk::new(|l| {
            l.max_fields = 2;
            l.max_names = max_names;
        });
        let mut sink = desk.sink();
        sink.null(b"a").unwrap();
        sink.null(b"b").unwrap();
        assert_eq!(sink.null(b"c"), Err(RejectReason::Fields));
        desk.sink().null(b"c").unwrap();
    }
}

#[test]
fn names_are_handed_over_once_and_in_order() {
    let mut desk = Desk::new(|l| l.max_names = 3);
    for line in ["{\"a\":1}", "{\"b\":2,\"a\":1}", "{}", "{\"c\":3,\"d\":4}"] {
        desk.fill(line).unwrap();
    }
    let names: Vec<&[u8]> = (0..desk.names.len() as u32)
        .map(|id| desk.names.name(id))
        .collect();
    assert_eq!(names, [b"a", b"b", b"c"]);
    assert_eq!(desk.value(b"d"), Some(FieldValue::Number(4.0, b"4")));
}

proptest! {
    /// The prediction of the next name, the table and the names beyond its limit give the same.
    #[test]
    fn fields_are_found_whatever_was_seen_before(
        lines in proptest::collection::vec(
            proptest::collection::vec((0u8..12, 0u32..5), 0..10), 1..20),
        max_names in 0usize..12,
    ) {
        let mut kept = Desk::new(|l| { l.max_names = max_names; l.duplicates_last = true; });
        for line in lines {
            let mut fresh = Desk::new(|l| l.duplicates_last = true);
            for desk in [&mut kept, &mut fresh] {
                let mut sink = desk.sink();
                for (name, value) in &line {
                    let name = format!("n{name}");
                    sink.number(name.as_bytes(), f64::from(*value), b"").unwrap();
                }
                desk.hand_over();
            }
            prop_assert_eq!(owned(&kept), owned(&fresh));
            prop_assert_eq!(kept.value(b"other"), None);
        }
    }
}

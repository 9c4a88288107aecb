//! Records: what is told is what is found, however names come and go.

use proptest::prelude::*;

use super::testing::{fill, record_with};
use super::{FieldValue, Record};
use crate::base::{FieldSink, RejectReason};

fn owned(record: &Record) -> Vec<(String, String)> {
    record
        .fields()
        .map(|(name, value)| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            (name, format!("{value:?}"))
        })
        .collect()
}

#[test]
fn a_record_holds_the_fields_of_one_line_and_no_others() {
    let mut record = record_with(|_| {});
    fill(
        &mut record,
        r#"{"a":1.50,"b":"x","u":{"v":[1,2]},"n":null}"#,
    )
    .unwrap();
    assert_eq!(record.len(), 5);
    assert_eq!(record.find(b"a"), Some(FieldValue::Number(1.5, b"1.5")));
    assert_eq!(record.find(b"u"), Some(FieldValue::Other));
    assert_eq!(record.find(b"u.v"), Some(FieldValue::Vector(&[1.0, 2.0])));
    assert_eq!(record.find(b"n"), Some(FieldValue::Null));
    fill(&mut record, r#"{"b":true,"c":""}"#).unwrap();
    assert_eq!(record.find(b"a"), None);
    assert_eq!(record.find(b"b"), Some(FieldValue::Boolean(true)));
    assert_eq!(record.find(b"c"), Some(FieldValue::Text("")));
    let id = record.id_of(b"a").unwrap();
    assert_eq!(record.get(id), None);
    record.begin();
    assert!(record.is_empty());
}

#[test]
fn minus_zero_is_zero() {
    let mut record = record_with(|_| {});
    record.number(b"a", -0.0, b"-0").unwrap();
    record.vector(b"v", &[-0.0]).unwrap();
    for (_, value) in record.fields() {
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
        let mut strict = record_with(|l| l.max_names = max_names);
        strict.number(b"a", 1.0, b"1").unwrap();
        assert_eq!(strict.text(b"a", "x"), Err(RejectReason::DupKey));
        strict.begin();
        assert_eq!(strict.text(b"a", "x"), Ok(()));

        let mut lax = record_with(|l| {
            l.max_names = max_names;
            l.duplicates_last = true;
        });
        // {"a":{"b":1,"c":2},"ab":3,"a":{"b":4}}
        lax.other(b"a").unwrap();
        lax.number(b"a.b", 1.0, b"1").unwrap();
        lax.number(b"a.c", 2.0, b"2").unwrap();
        lax.number(b"ab", 3.0, b"3").unwrap();
        lax.other(b"a").unwrap();
        lax.number(b"a.b", 4.0, b"4").unwrap();
        assert_eq!(lax.find(b"a.b"), Some(FieldValue::Number(4.0, b"4")));
        assert_eq!(lax.find(b"a.c"), Some(FieldValue::Null));
        assert_eq!(lax.find(b"ab"), Some(FieldValue::Number(3.0, b"3")));
        assert_eq!(lax.len(), 4);
    }
}

#[test]
fn a_record_has_at_most_so_many_fields() {
    for max_names in [100, 0] {
        let mut record = record_with(|l| {
            l.max_fields = 2;
            l.max_names = max_names;
        });
        record.null(b"a").unwrap();
        record.null(b"b").unwrap();
        assert_eq!(record.null(b"c"), Err(RejectReason::Fields));
        record.begin();
        record.null(b"c").unwrap();
    }
}

proptest! {
    /// The prediction of the next name, the table and the names beyond its limit give the same.
    #[test]
    fn fields_are_found_whatever_was_seen_before(
        lines in proptest::collection::vec(
            proptest::collection::vec((0u8..12, 0u32..5), 0..10), 1..20),
        max_names in 0usize..12,
    ) {
        let mut kept = record_with(|l| { l.max_names = max_names; l.duplicates_last = true; });
        for line in lines {
            let mut fresh = record_with(|l| l.duplicates_last = true);
            kept.begin();
            for (name, value) in line {
                let name = format!("n{name}");
                for record in [&mut kept, &mut fresh] {
                    record.number(name.as_bytes(), value.into(), b"").unwrap();
                }
            }
            prop_assert_eq!(owned(&kept), owned(&fresh));
            for (name, value) in fresh.fields() {
                prop_assert_eq!(kept.find(name), Some(value));
            }
            prop_assert_eq!(kept.find(b"other"), None);
        }
    }
}

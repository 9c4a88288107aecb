//! Conditions on one field: `where` and `healthy`.
//!
//! Invariant: the answer depends on the field's value in this record alone.

use super::record::FieldValue;
use super::{ConditionTest, ConditionValue};

impl ConditionTest {
    /// Whether a field with this value passes; `None` is a record without the field.
    pub fn holds(&self, value: Option<FieldValue<'_>>) -> bool {
        let Some(value) = value.filter(|v| *v != FieldValue::Null) else {
            return *self == ConditionTest::Exists(false);
        };
        match self {
            ConditionTest::Equals(wanted) => wanted.equals(value),
            ConditionTest::In(wanted) => wanted.iter().any(|w| w.equals(value)),
            ConditionTest::Above(limit) => {
                matches!(value, FieldValue::Number(x, _) if x > *limit)
            }
            ConditionTest::Below(limit) => {
                matches!(value, FieldValue::Number(x, _) if x < *limit)
            }
            ConditionTest::Exists(wanted) => *wanted,
        }
    }
}

impl ConditionValue {
    fn equals(&self, value: FieldValue<'_>) -> bool {
        match (self, value) {
            (ConditionValue::Number(wanted), FieldValue::Number(x, _)) => *wanted == x,
            (ConditionValue::Boolean(wanted), FieldValue::Boolean(x)) => *wanted == x,
            (ConditionValue::Text(wanted), FieldValue::Text(text)) => wanted == text,
            (ConditionValue::Text(wanted), FieldValue::Number(_, literal)) => {
                wanted.as_bytes() == literal
            }
            (ConditionValue::Text(wanted), FieldValue::Boolean(x)) => {
                wanted == if x { "true" } else { "false" }
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_fails_every_test_but_that_it_is_missing() {
        let tests = [
            ConditionTest::Equals(ConditionValue::Number(0.0)),
            ConditionTest::In(vec![ConditionValue::Text(String::new())]),
            ConditionTest::Above(-1.0),
            ConditionTest::Below(1.0),
            ConditionTest::Exists(true),
        ];
        for missing in [None, Some(FieldValue::Null)] {
            assert!(tests.iter().all(|t| !t.holds(missing)));
            assert!(ConditionTest::Exists(false).holds(missing));
        }
        assert!(ConditionTest::Exists(true).holds(Some(FieldValue::Other)));
        assert!(!ConditionTest::Exists(false).holds(Some(FieldValue::Other)));
    }

    #[test]
    fn compares_values_and_the_way_they_are_written() {
        let text = |t: &str| ConditionTest::Equals(ConditionValue::Text(t.into()));
        assert!(text("5.0").holds(Some(FieldValue::Number(5.0, b"5.0"))));
        assert!(!text("5").holds(Some(FieldValue::Number(5.0, b"5.0"))));
        assert!(text("true").holds(Some(FieldValue::Boolean(true))));
        assert!(text("ok").holds(Some(FieldValue::Text("ok"))));
        let five = ConditionTest::In(vec![
            ConditionValue::Boolean(true),
            ConditionValue::Number(5.0),
        ]);
        assert!(five.holds(Some(FieldValue::Number(5.0, b"5.0"))));
        assert!(five.holds(Some(FieldValue::Boolean(true))));
        assert!(!five.holds(Some(FieldValue::Text("5"))));
        assert!(ConditionTest::Above(1.0).holds(Some(FieldValue::Number(1.5, b"1.5"))));
        assert!(!ConditionTest::Above(1.0).holds(Some(FieldValue::Number(1.0, b"1"))));
        assert!(ConditionTest::Below(1.0).holds(Some(FieldValue::Number(-2.0, b"-2"))));
        assert!(!ConditionTest::Below(1.0).holds(Some(FieldValue::Text("0"))));
    }
}

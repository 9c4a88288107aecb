//! What a key takes, and which numbers are allowed.
//!
//! Invariant: what a shape says is what its reader in `section` checks.

/// What a key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Boolean,
    /// A whole number within the range.
    Integer(u64, u64),
    /// A number.
    Number(Bound),
    /// Any string.
    Text,
    /// A duration.
    Duration,
    /// A size.
    Size,
    /// One of these words.
    Words(Vec<&'static str>),
    /// An array.
    Array(Box<Shape>),
    /// A table of this kind.
    Table(&'static str),
    /// Tables of this kind by name.
    Named(&'static str),
    /// A string, a number or a boolean.
    Scalar,
    /// One or the other.
    Either(Vec<Shape>),
}

/// Which numbers are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Any.
    Any,
    /// Above 0.
    Positive,
    /// 0 or above.
    NotNegative,
    /// Between 0 and 1, neither included.
    Open01,
    /// 0 to 1.
    Closed01,
}

impl Bound {
    /// Whether a number is allowed.
    pub fn holds(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Bound::Any => true,
                Bound::Positive => x > 0.0,
                Bound::NotNegative => x >= 0.0,
                Bound::Open01 => x > 0.0 && x < 1.0,
                Bound::Closed01 => (0.0..=1.0).contains(&x),
            }
    }

    /// One that is allowed, as TOML.
    pub fn example(self) -> &'static str {
        match self {
            Bound::Any | Bound::Positive | Bound::NotNegative => "10.0",
            Bound::Open01 | Bound::Closed01 => "1e-4",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Bound::Any => "a finite number",
            Bound::Positive => "above 0",
            Bound::NotNegative => "0 or above",
            Bound::Open01 => "between 0 and 1",
            Bound::Closed01 => "from 0 to 1",
        }
    }
}

/// What is known of a key; the reference and the schema are compared with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What it takes.
    pub shape: Shape,
    /// Its default as TOML; `None` where it has none.
    pub default: Option<String>,
}

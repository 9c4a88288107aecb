//! Bad input of every kind: each line is refused under its name, the next good one is learned.

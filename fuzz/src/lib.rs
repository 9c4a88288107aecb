//! Fuzz targets: what may be done with bytes from anywhere, and what must then hold.
//!
//! Each module has one `check(data)` that panics if something does not hold; `fuzz_targets/` gives
//! them to libFuzzer, `tests/corpus.rs` runs them over `corpus/` on any toolchain.
//!
//! ```text
//! LEARND_FUZZ_ROUNDS=10000 cargo test --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target
//!
//! cargo install cargo-fuzz; mkdir -p target/fuzz/json
//! RUSTC_BOOTSTRAP=1 cargo fuzz run -s none json target/fuzz/json fuzz/corpus/json -- -max_total_time=300
//! ```
//!
//! The second is libFuzzer on the stable toolchain; what it finds interesting goes to the first
//! folder. `-s none`: there is no unsafe code here that a sanitizer would watch.

pub mod config;
pub mod csv;
pub mod frame;
pub mod json;
pub mod numbers;
pub mod snapshot;
pub mod state;
pub mod svmlight;
pub mod told;
pub mod vw;

/// A target: its name and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("config", config::check),
    ("csv", csv::check),
    ("frame", frame::check),
    ("json", json::check),
    ("numbers", numbers::check),
    ("snapshot", snapshot::check),
    ("state", state::check),
    ("svmlight", svmlight::check),
    ("vw", vw::check),
];

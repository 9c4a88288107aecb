//! Fuzz targets: what may be done with bytes from anywhere, and what must then hold.
//!
//! Each module has one `check(data)` that panics if something does not hold; `fuzz_targets/` gives
//! them to libFuzzer, `tests/corpus.rs` runs them over `corpus/` on any toolchain.
//!
//! ```text
//! LEARND_FUZZ_ROUNDS=10000 cargo test --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run json fuzz/corpus/json -- -max_total_time=300
//! RUSTC_BOOTSTRAP=1 cargo fuzz run json fuzz/corpus/json -- -max_total_time=300    # the same, stable
//! ```

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

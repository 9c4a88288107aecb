//! libFuzzer's entry to `learnd_fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::snapshot::check(data));

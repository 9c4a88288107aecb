//! libFuzzer's entry to `learnd_fuzz::csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::csv::check(data));

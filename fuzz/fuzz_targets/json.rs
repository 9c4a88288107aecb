//! libFuzzer's entry to `learnd_fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::json::check(data));

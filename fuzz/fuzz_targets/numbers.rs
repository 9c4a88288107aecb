//! libFuzzer's entry to `learnd_fuzz::numbers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::numbers::check(data));

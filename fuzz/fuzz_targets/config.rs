//! libFuzzer's entry to `learnd_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::config::check(data));

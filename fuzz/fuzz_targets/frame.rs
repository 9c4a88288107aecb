//! libFuzzer's entry to `learnd_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::frame::check(data));

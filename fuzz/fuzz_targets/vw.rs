//! libFuzzer's entry to `learnd_fuzz::vw`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::vw::check(data));

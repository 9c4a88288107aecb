//! libFuzzer's entry to `learnd_fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::state::check(data));

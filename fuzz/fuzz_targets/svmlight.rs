//! libFuzzer's entry to `learnd_fuzz::svmlight`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| learnd_fuzz::svmlight::check(data));

//! See [`quorate_fuzz::log_records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::log_records(data));

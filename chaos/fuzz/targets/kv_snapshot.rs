//! See [`quorate_fuzz::kv_snapshot`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::kv_snapshot(data));

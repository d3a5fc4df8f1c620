//! See [`quorate_fuzz::kv_operations`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::kv_operations(data));

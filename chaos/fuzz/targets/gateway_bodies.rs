//! See [`quorate_fuzz::gateway_bodies`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::gateway_bodies(data));

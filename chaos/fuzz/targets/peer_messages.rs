//! See [`quorate_fuzz::peer_messages`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::peer_messages(data));

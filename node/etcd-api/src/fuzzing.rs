//! What this crate decodes by itself, for fuzzing (`chaos/fuzz`). The rest of it is reached over the port.

/// Decodes a JSON body of the gateway for one of its methods (the number counts round), and tells the message in JSON again.
///
/// # Panics
///
/// If what was understood cannot be told, or is understood otherwise the second time.
pub fn gateway_body(method: usize, body: &[u8]) {
    crate::gateway::fuzz(method, body);
}

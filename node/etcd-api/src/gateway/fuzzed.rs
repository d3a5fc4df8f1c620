//! The way of a body through the gateway without a server, for fuzzing.

use super::decode::decode;
use super::encode::encode;
use super::scan::{Scanner, Step};
use super::schema::{SCHEMA, methods};

/// See [`crate::fuzzing::gateway_body`].
pub(crate) fn fuzz(method: usize, body: &[u8]) {
    let mut scanner = Scanner::new();
    for byte in body {
        if !matches!(scanner.step(*byte), Ok(Step::Skipped | Step::Taken)) {
            break;
        }
    }
    let Ok(json) = std::str::from_utf8(body) else { return };
    let methods = methods();
    let (path, _) = &methods[method % methods.len()];
    let (input, output) = SCHEMA.method(path).expect("a method of the schema");
    // Answers of a server are wire bytes, too; what cannot be read is said to be so.
    let _ = encode(output, body, &mut String::new());
    let Ok(wire) = decode(input, json) else { return };
    let mut told = String::new();
    let encoded = encode(input, &wire, &mut told);
    assert!(encoded.is_ok(), "{path}: what was decoded cannot be told: {json}");
    let again = decode(input, &told);
    let again = again.unwrap_or_else(|error| panic!("{path}: what was told is not understood: {error}: {told}"));
    let mut told_again = String::new();
    assert!(encode(input, &again, &mut told_again).is_ok(), "{path}: {told}");
    assert_eq!(told, told_again, "{path}: a message is told in one way");
}

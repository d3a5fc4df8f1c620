//! Messages from the wire as JSON: names as in the `.proto` files, 64-bit numbers as strings, bytes in base64, enums by
//! name, zero values left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::schema::{Field, Kind, SCHEMA};

/// The wire bytes are not the message they should be; a broken invariant of this process, told to the client as such.
#[derive(Debug, thiserror::Error)]
#[error("quorate: an answer could not be read")]
pub(super) struct Unreadable;

impl From<prost::DecodeError> for Unreadable {
    fn from(_: prost::DecodeError) -> Unreadable {
        Unreadable
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Appends the JSON of a message of this type.
pub(super) fn encode(message: usize, wire: &[u8], json: &mut String) -> Result<(), Unreadable> {
    let message = SCHEMA.message(message);
    let mut values: Vec<Vec<Value<'_>>> = Vec::new();
    values.resize_with(message.fields.len(), Vec::new);
    let mut rest = wire;
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest)?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut rest)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest)?).map_err(|_| Unreadable)?;
                let (bytes, after) = rest.split_at_checked(length).ok_or(Unreadable)?;
                rest = after;
                Value::Bytes(bytes)
            }
            _ => return Err(Unreadable),
        };
        if let Some(index) = message.fields.iter().position(|field| field.number == number) {
            values[index].push(value);
        }
    }
    json.push('{');
    let mut first = true;
    for (field, values) in message.fields.iter().zip(values) {
        let Some(last) = values.last() else { continue };
        if !field.repeated && field.oneof.is_none() && is_zero(field.kind, last) {
            continue;
        }
        if !std::mem::take(&mut first) {
            json.push(',');
        }
        push_string(&field.name, json);
        json.push(':');
        match field.repeated {
            true => encode_list(field, &values, json)?,
            false => encode_value(field.kind, last, json)?,
        }
    }
    json.push('}');
    Ok(())
}

fn is_zero(kind: Kind, value: &Value<'_>) -> bool {
    match value {
        Value::Number(number) => *number == 0,
        Value::Bytes(bytes) => bytes.is_empty() && !matches!(kind, Kind::Message(_)),
    }
}

fn encode_list(field: &Field, values: &[Value<'_>], json: &mut String) -> Result<(), Unreadable> {
    json.push('[');
    let mut first = true;
    let mut comma = |json: &mut String| {
        if !std::mem::take(&mut first) {
            json.push(',');
        }
    };
    let scalar = !matches!(field.kind, Kind::Message(_) | Kind::Bytes | Kind::String);
    for value in values {
        match value {
            Value::Bytes(packed) if scalar => {
                let mut rest = *packed;
                while !rest.is_empty() {
                    let number = decode_varint(&mut rest)?;
                    comma(json);
                    encode_value(field.kind, &Value::Number(number), json)?;
                }
            }
            value => {
                comma(json);
                encode_value(field.kind, value, json)?;
            }
        }
    }
    json.push(']');
    Ok(())
}

fn encode_value(kind: Kind, value: &Value<'_>, json: &mut String) -> Result<(), Unreadable> {
    match (kind, value) {
        (Kind::Bool, Value::Number(number)) => json.push_str(if *number == 0 { "false" } else { "true" }),
        // A wire integer is sign-extended to 64 bits; taking its lower half is how it is read.
        (Kind::Int32, Value::Number(number)) => json.push_str(&(*number as i32).to_string()),
        (Kind::Uint32, Value::Number(number)) => json.push_str(&(*number as u32).to_string()),
        (Kind::Int64, Value::Number(number)) => push_string(&(*number as i64).to_string(), json),
        (Kind::Uint64, Value::Number(number)) => push_string(&number.to_string(), json),
        (Kind::Enum(index), Value::Number(number)) => match SCHEMA.enumeration(index).name(*number as i32) {
            Some(name) => push_string(name, json),
            None => json.push_str(&(*number as i32).to_string()),
        },
        (Kind::String, Value::Bytes(bytes)) => {
            push_string(std::str::from_utf8(bytes).map_err(|_| Unreadable)?, json);
        }
        (Kind::Bytes, Value::Bytes(bytes)) => {
            json.push('"');
            STANDARD.encode_string(bytes, json);
            json.push('"');
        }
        (Kind::Message(index), Value::Bytes(bytes)) => encode(index, bytes, json)?,
        _ => return Err(Unreadable),
    }
    Ok(())
}

/// Appends a string as Go's protobuf writes it.
pub(crate) fn push_string(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..'\u{20}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => json.push(other),
        }
    }
    json.push('"');
}

/// Appends JSON to a stream's line, where Go also hides what HTML would read.
pub(super) fn push_for_line(json: &str, line: &mut String) {
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => line.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::pb::{etcdserverpb as pb, mvccpb};

    fn json(message: &str, wire: &impl Message) -> String {
        let mut text = String::new();
        encode(SCHEMA.find(message), &wire.encode_to_vec(), &mut text).expect("encoded");
        text
    }

    #[test]
    fn zero_values_are_left_out_and_set_members_of_a_union_are_not() {
        let compare = pb::Compare {
            target_union: Some(pb::compare::TargetUnion::Version(0)),
            ..Default::default()
        };
        assert_eq!(json(".etcdserverpb.Compare", &compare), r#"{"version":"0"}"#);
        assert_eq!(json(".etcdserverpb.RangeResponse", &pb::RangeResponse::default()), "{}");
    }

    #[test]
    fn kinds_are_written_as_protobuf_wants_them() {
        let response = pb::RangeResponse {
            header: Some(pb::ResponseHeader {
                cluster_id: u64::MAX,
                revision: -1,
                ..Default::default()
            }),
            kvs: vec![mvccpb::KeyValue {
                key: "\u{ff}".into(),
                ..Default::default()
            }],
            more: true,
            count: 0,
        };
        let expected =
            r#"{"header":{"cluster_id":"18446744073709551615","revision":"-1"},"kvs":[{"key":"w78="}],"more":true}"#;
        assert_eq!(json(".etcdserverpb.RangeResponse", &response), expected);
        let request = pb::WatchCreateRequest {
            filters: vec![0, 1, 9],
            ..Default::default()
        };
        assert_eq!(
            json(".etcdserverpb.WatchCreateRequest", &request),
            r#"{"filters":["NOPUT","NODELETE",9]}"#
        );
        let roles = pb::AuthUserListResponse {
            users: vec!["a\"\n\u{1}<".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            json(".etcdserverpb.AuthUserListResponse", &roles),
            "{\"users\":[\"a\\\"\\n\\u0001<\"]}"
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let index = SCHEMA.find(".etcdserverpb.RangeResponse");
        for wire in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\x0a", b"\x08\xff", b"\x0a\x05a"] {
            assert!(encode(index, wire, &mut String::new()).is_err(), "{wire:?}");
        }
    }
}

//! JSON as the wire's bytes, read as Go's protobuf reads it: either spelling of a name, 64-bit numbers also as strings, both
//! alphabets of base64, enums by name or number, unknown fields passed over. Errors have its texts, with line and column.
//!
//! The text is known to be JSON, because [`super::scan`] has found where it ends.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::schema::{Field, Kind, SCHEMA};

/// Messages inside each other; the wire's decoder reads no more either.
const MAX_DEPTH: usize = 100;

/// The message of this type that `json` describes, as wire bytes.
///
/// # Errors
///
/// Go's text of what is wrong, with its place.
pub(super) fn decode(message: usize, json: &str) -> Result<Vec<u8>, String> {
    let mut reader = Reader { json, position: 0 };
    let mut wire = Vec::new();
    reader.message(message, MAX_DEPTH, &mut wire)?;
    Ok(wire)
}

struct Reader<'a> {
    json: &'a str,
    position: usize,
}

/// A piece of JSON; strings with their quotes, numbers and literals as they stand.
#[derive(Clone, Copy)]
struct Token<'a> {
    start: usize,
    raw: &'a str,
}

impl<'a> Token<'a> {
    fn is_string(self) -> bool {
        self.raw.starts_with('"')
    }

    fn is_number(self) -> bool {
        self.raw
            .starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// A string without quotes and escapes; `None` where an escape stands for half a character.
    fn text(self) -> Option<String> {
        serde_json::from_str(self.raw).ok()
    }
}

impl<'a> Reader<'a> {
    /// The next token; separators are passed over, because the text is known to be well formed.
    fn read(&mut self) -> Token<'a> {
        let bytes = self.json.as_bytes();
        while matches!(
            bytes.get(self.position),
            Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':')
        ) {
            self.position += 1;
        }
        let start = self.position;
        self.position = match bytes.get(start) {
            None => start,
            Some(b'"') => {
                let mut end = start + 1;
                while bytes[end] != b'"' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                end + 1
            }
            Some(b'{' | b'}' | b'[' | b']') => start + 1,
            Some(_) => {
                let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'}' | b']');
                bytes[start..]
                    .iter()
                    .position(ends)
                    .map_or(bytes.len(), |length| start + length)
            }
        };
        Token {
            start,
            raw: &self.json[start..self.position],
        }
    }

    fn peek(&mut self) -> Token<'a> {
        let before = self.position;
        let token = self.read();
        self.position = before;
        token
    }

    fn place(&self, token: Token<'_>) -> String {
        let before = &self.json[..token.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("(line {line}:{column})")
    }

    fn error(&self, token: Token<'_>, text: &str) -> String {
        format!("proto: {}: {text}", self.place(token))
    }

    fn unexpected(&self, token: Token<'_>) -> String {
        format!(
            "proto: syntax error {}: unexpected token {}",
            self.place(token),
            token.raw
        )
    }

    fn half_a_character(&self, token: Token<'_>) -> String {
        format!(
            "proto: syntax error {}: invalid escape code in string",
            self.place(token)
        )
    }

    fn message(&mut self, index: usize, depth: usize, wire: &mut Vec<u8>) -> Result<(), String> {
        let deeper = depth.checked_sub(1).ok_or("proto: exceeded max recursion depth")?;
        let open = self.read();
        if open.raw != "{" {
            return Err(self.unexpected(open));
        }
        let message = SCHEMA.message(index);
        let mut seen = vec![false; message.fields.len()];
        let mut unions: Vec<&str> = Vec::new();
        loop {
            let token = self.read();
            if token.raw == "}" {
                return Ok(());
            }
            let name = token.text().ok_or_else(|| self.half_a_character(token))?;
            let Some(index) = message.field(&name) else {
                self.skip();
                continue;
            };
            let field = &message.fields[index];
            if std::mem::replace(&mut seen[index], true) {
                return Err(self.error(token, &format!("duplicate field {}", token.raw)));
            }
            if self.peek().raw == "null" {
                self.read();
                continue;
            }
            if field.repeated {
                self.list(field, deeper, wire)?;
                continue;
            }
            if let Some(union) = field.oneof.as_deref() {
                if unions.contains(&union) {
                    let text = format!("error parsing {}, oneof {union} is already set", token.raw);
                    return Err(self.error(token, &text));
                }
                unions.push(union);
            }
            self.value(field, deeper, wire)?;
        }
    }

    fn list(&mut self, field: &Field, depth: usize, wire: &mut Vec<u8>) -> Result<(), String> {
        let open = self.read();
        if open.raw != "[" {
            return Err(self.unexpected(open));
        }
        while self.peek().raw != "]" {
            self.value(field, depth, wire)?;
        }
        self.read();
        Ok(())
    }

    /// Passes over a value, however deep it is.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.read().raw {
                "{" | "[" => depth += 1,
                "}" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Writes one value of a field, with its key.
    fn value(&mut self, field: &Field, depth: usize, wire: &mut Vec<u8>) -> Result<(), String> {
        if let Kind::Message(index) = field.kind {
            let mut inner = Vec::new();
            self.message(index, depth, &mut inner)?;
            push_bytes(field.number, &inner, wire);
            return Ok(());
        }
        let token = self.read();
        let wrong = |reader: &Self| {
            let (kind, name) = (field.kind.name(), &field.json_name);
            reader.error(token, &format!("invalid value for {kind} field {name}: {}", token.raw))
        };
        match scalar(field.kind, token) {
            Some(Scalar::Number(number)) => {
                encode_key(field.number, WireType::Varint, wire);
                encode_varint(number, wire);
            }
            Some(Scalar::Bytes(bytes)) => push_bytes(field.number, &bytes, wire),
            Some(Scalar::Unknown) => {}
            None => return Err(wrong(self)),
        }
        Ok(())
    }
}

fn push_bytes(number: u32, bytes: &[u8], wire: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, wire);
    encode_varint(bytes.len() as u64, wire);
    wire.extend_from_slice(bytes);
}

enum Scalar {
    Number(u64),
    Bytes(Vec<u8>),
    /// A name that the enum does not have: as if it were not there.
    Unknown,
}

fn scalar(kind: Kind, token: Token<'_>) -> Option<Scalar> {
    match kind {
        Kind::Bool => match token.raw {
            "true" => Some(Scalar::Number(1)),
            "false" => Some(Scalar::Number(0)),
            _ => None,
        },
        // Negative numbers go sign-extended on the wire.
        Kind::Int32 => integer(token)?
            .try_into()
            .ok()
            .map(|number: i32| Scalar::Number(number as i64 as u64)),
        Kind::Int64 => integer(token)?
            .try_into()
            .ok()
            .map(|number: i64| Scalar::Number(number as u64)),
        Kind::Uint32 => integer(token)?
            .try_into()
            .ok()
            .map(|number: u32| Scalar::Number(number.into())),
        Kind::Uint64 => integer(token)?.try_into().ok().map(Scalar::Number),
        Kind::String => token
            .is_string()
            .then(|| token.text())?
            .map(|text| Scalar::Bytes(text.into_bytes())),
        Kind::Bytes => token
            .is_string()
            .then(|| token.text())?
            .and_then(|text| bytes(&text))
            .map(Scalar::Bytes),
        Kind::Enum(index) if token.is_string() => {
            let number = SCHEMA.enumeration(index).number(&token.text()?);
            Some(number.map_or(Scalar::Unknown, |number| Scalar::Number(number as i64 as u64)))
        }
        Kind::Enum(_) if token.is_number() => scalar(Kind::Int32, token),
        Kind::Enum(_) | Kind::Message(_) => None,
    }
}

/// A whole number, however it is written: `10`, `"10"`, `1e1`, `10.0`.
fn integer(token: Token<'_>) -> Option<i128> {
    let text = if token.is_string() {
        token.text()?
    } else {
        token.raw.to_owned()
    };
    let number: &str = &text;
    if !number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || leading_zero || !all_digits(whole) || !all_digits(fraction) || mantissa.ends_with('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let significant = digits.trim_end_matches('0');
    // Powers of ten behind the last digit that counts.
    let zeros = i64::from(exponent) - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
    let zeros = u32::try_from(zeros).ok()?;
    let value = significant
        .parse::<i128>()
        .ok()?
        .checked_mul(10_i128.checked_pow(zeros)?)?;
    Some(if negative { -value } else { value })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let padding = match text.len() % 4 {
        0 => DecodePaddingMode::RequireCanonical,
        _ => DecodePaddingMode::RequireNone,
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(padding)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::pb::etcdserverpb as pb;

    fn read<T: Message + Default>(message: &str, json: &str) -> Result<T, String> {
        let wire = decode(SCHEMA.find(message), json)?;
        Ok(T::decode(wire.as_slice()).expect("wire bytes"))
    }

    fn range(json: &str) -> Result<pb::RangeRequest, String> {
        read(".etcdserverpb.RangeRequest", json)
    }

    #[test]
    fn names_numbers_and_bytes_are_read_in_every_spelling() {
        let wanted = pb::RangeRequest {
            key: b"\xfb\xff\xfe".as_slice().into(),
            range_end: "foo".into(),
            limit: 10,
            sort_order: 2,
            ..Default::default()
        };
        for json in [
            r#"{"key":"+//+","range_end":"Zm9v","limit":"10","sort_order":"DESCEND"}"#,
            r#"{"key":"-__-","rangeEnd":"Zm9v","limit":10,"sortOrder":2}"#,
            r#"{"sort_order":2.0, "limit" : 1e1, "rangeEnd":"Zm9v", "key":"-__-", "x":[{"y":[]},1], "revision":null}"#,
            r#"{"key":"\u002b//+","range_end":"Zm9v","limit":"1.0e+1","sort_order":"DESCEND","sortTarget":"NEW"}"#,
        ] {
            assert_eq!(range(json).as_ref(), Ok(&wanted), "{json}");
        }
        let extreme = range(r#"{"revision":"-9223372036854775808","limit":9223372036854775807}"#).expect("read");
        assert_eq!((extreme.revision, extreme.limit), (i64::MIN, i64::MAX));
        assert_eq!(range(r#"{"limit":0e99999}"#).expect("zero").limit, 0);
    }

    #[test]
    fn errors_name_the_place() {
        for (json, error) in [
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            (
                "{\n \"limit\":\"x\"}",
                "proto: (line 2:10): invalid value for int64 field limit: \"x\"",
            ),
            (
                r#"{"limit":1.5}"#,
                "proto: (line 1:10): invalid value for int64 field limit: 1.5",
            ),
            (
                r#"{"limit":1e40}"#,
                "proto: (line 1:10): invalid value for int64 field limit: 1e40",
            ),
            (
                r#"{"limit":"01"}"#,
                "proto: (line 1:10): invalid value for int64 field limit: \"01\"",
            ),
            (
                r#"{"key":"Zg="}"#,
                "proto: (line 1:8): invalid value for bytes field key: \"Zg=\"",
            ),
            (r#"{"key":"","key":""}"#, "proto: (line 1:11): duplicate field \"key\""),
            (
                r#"{"serializable":1}"#,
                "proto: (line 1:17): invalid value for bool field serializable: 1",
            ),
        ] {
            assert_eq!(range(json).expect_err(json), error);
        }
        let both = read::<pb::Compare>(".etcdserverpb.Compare", r#"{"version":1,"value":""}"#);
        assert_eq!(
            both.expect_err("a union"),
            "proto: (line 1:14): error parsing \"value\", oneof etcdserverpb.Compare.target_union is already set"
        );
    }

    #[test]
    fn nesting_has_a_limit() {
        let nest = |levels: usize| {
            let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
            format!("{}{{}}{}", open.repeat(levels), close.repeat(levels))
        };
        read::<pb::TxnRequest>(".etcdserverpb.TxnRequest", &nest(20)).expect("read");
        let deep = decode(SCHEMA.find(".etcdserverpb.TxnRequest"), &nest(1_000));
        assert_eq!(deep.expect_err("too deep"), "proto: exceeded max recursion depth");
        let unknown = format!(r#"{{"x":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
        range(&unknown).expect("an unknown field is passed over, however deep");
    }
}

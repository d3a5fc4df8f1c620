//! Finds the end of a JSON value in bytes that arrive little by little, with the errors of Go's `encoding/json`, which
//! clients of etcd's gateway know.

/// Values inside each other, as Go's limit.
const MAX_DEPTH: usize = 10_000;

/// Where the scanner is in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    BeginValue,
    BeginValueOrEmpty,
    BeginString,
    BeginStringOrEmpty,
    EndValue,
    AfterKey,
    InString,
    InEscape,
    /// Hexadecimal digits still missing.
    InUnicode(u8),
    Minus,
    Zero,
    Digits,
    Dot,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// Of a literal: which one, and how many of its letters were read.
    Literal(&'static str, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    ObjectKey,
    ObjectValue,
    Array,
}

/// A scanner of one value.
pub(super) struct Scanner {
    state: State,
    stack: Vec<Inside>,
    begun: bool,
}

/// What a byte did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Blanks before the value.
    Skipped,
    /// Part of the value.
    Taken,
    /// The last byte of the value.
    Last,
    /// The value ended before this byte.
    Past,
}

impl Scanner {
    pub(super) fn new() -> Scanner {
        Scanner {
            state: State::BeginValue,
            stack: Vec::new(),
            begun: false,
        }
    }

    /// Whether a part of the value was read.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the value is whole if nothing follows, which only numbers can be.
    pub(super) fn may_end(&self) -> bool {
        use State::{Digits, ExponentDigits, Fraction, Zero};
        self.stack.is_empty() && matches!(self.state, Zero | Digits | Fraction | ExponentDigits)
    }

    /// Reads one byte; the error is Go's text.
    pub(super) fn step(&mut self, byte: u8) -> Result<Step, String> {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        if !self.begun && blank {
            return Ok(Step::Skipped);
        }
        self.begun = true;
        if self.may_end() && (blank || self.number(byte).is_none()) {
            return Ok(Step::Past);
        }
        self.advance(byte, blank)?;
        if self.state == State::EndValue && self.stack.is_empty() {
            return Ok(Step::Last);
        }
        Ok(Step::Taken)
    }

    fn advance(&mut self, byte: u8, blank: bool) -> Result<(), String> {
        match self.state {
            State::InString => self.string(byte),
            State::InEscape => {
                self.state = match byte {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => State::InString,
                    b'u' => State::InUnicode(4),
                    _ => return Err(invalid(byte, "in string escape code")),
                };
                Ok(())
            }
            State::InUnicode(missing) => {
                if !byte.is_ascii_hexdigit() {
                    return Err(invalid(byte, "in \\u hexadecimal character escape"));
                }
                self.state = if missing == 1 {
                    State::InString
                } else {
                    State::InUnicode(missing - 1)
                };
                Ok(())
            }
            State::Literal(word, read) => {
                let expected = word.as_bytes()[read];
                if byte != expected {
                    let expected = expected as char;
                    return Err(invalid(byte, &format!("in literal {word} (expecting '{expected}')")));
                }
                self.state = if read + 1 == word.len() {
                    State::EndValue
                } else {
                    State::Literal(word, read + 1)
                };
                Ok(())
            }
            State::Minus
            | State::Zero
            | State::Digits
            | State::Dot
            | State::Fraction
            | State::Exponent
            | State::ExponentSign
            | State::ExponentDigits => self.in_number(byte, blank),
            _ if blank => Ok(()),
            State::BeginValue | State::BeginValueOrEmpty => self.begin_value(byte),
            State::BeginString | State::BeginStringOrEmpty => {
                if byte == b'}' && self.state == State::BeginStringOrEmpty {
                    self.close();
                    return Ok(());
                }
                if byte != b'"' {
                    return Err(invalid(byte, "looking for beginning of object key string"));
                }
                self.state = State::InString;
                Ok(())
            }
            State::AfterKey | State::EndValue => self.end_value(byte),
        }
    }

    fn string(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'"' if self.stack.last() == Some(&Inside::ObjectKey) => self.state = State::AfterKey,
            b'"' => self.state = State::EndValue,
            b'\\' => self.state = State::InEscape,
            0..0x20 => return Err(invalid(byte, "in string literal")),
            _ => {}
        }
        Ok(())
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), String> {
        self.state = match byte {
            b'{' => return self.open(Inside::ObjectKey, State::BeginStringOrEmpty),
            b'[' => return self.open(Inside::Array, State::BeginValueOrEmpty),
            b']' if self.state == State::BeginValueOrEmpty => {
                self.close();
                return Ok(());
            }
            b'"' => State::InString,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            b't' => State::Literal("true", 1),
            b'f' => State::Literal("false", 1),
            b'n' => State::Literal("null", 1),
            _ => return Err(invalid(byte, "looking for beginning of value")),
        };
        Ok(())
    }

    fn open(&mut self, inside: Inside, state: State) -> Result<(), String> {
        if self.stack.len() == MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        self.stack.push(inside);
        self.state = state;
        Ok(())
    }

    fn close(&mut self) {
        self.stack.pop();
        self.state = State::EndValue;
    }

    fn end_value(&mut self, byte: u8) -> Result<(), String> {
        match (self.stack.last_mut(), byte) {
            (Some(inside @ Inside::ObjectKey), b':') => {
                *inside = Inside::ObjectValue;
                self.state = State::BeginValue;
            }
            (Some(Inside::ObjectKey), _) => return Err(invalid(byte, "after object key")),
            (Some(inside @ Inside::ObjectValue), b',') => {
                *inside = Inside::ObjectKey;
                self.state = State::BeginString;
            }
            (Some(Inside::ObjectValue), b'}') | (Some(Inside::Array), b']') => self.close(),
            (Some(Inside::ObjectValue), _) => return Err(invalid(byte, "after object key:value pair")),
            (Some(Inside::Array), b',') => self.state = State::BeginValue,
            (Some(Inside::Array), _) => return Err(invalid(byte, "after array element")),
            (None, _) => return Err(invalid(byte, "after top-level value")),
        }
        Ok(())
    }

    /// The state after this byte of a number, if it belongs to one.
    fn number(&self, byte: u8) -> Option<State> {
        let digit = byte.is_ascii_digit();
        let exponent = matches!(byte, b'e' | b'E');
        match self.state {
            State::Minus if byte == b'0' => Some(State::Zero),
            State::Minus | State::Digits if digit => Some(State::Digits),
            State::Zero | State::Digits if byte == b'.' => Some(State::Dot),
            State::Zero | State::Digits | State::Fraction if exponent => Some(State::Exponent),
            State::Dot | State::Fraction if digit => Some(State::Fraction),
            State::Exponent if matches!(byte, b'+' | b'-') => Some(State::ExponentSign),
            State::Exponent | State::ExponentSign | State::ExponentDigits if digit => Some(State::ExponentDigits),
            _ => None,
        }
    }

    fn in_number(&mut self, byte: u8, blank: bool) -> Result<(), String> {
        if let Some(state) = self.number(byte) {
            self.state = state;
            return Ok(());
        }
        match self.state {
            State::Minus => Err(invalid(byte, "in numeric literal")),
            State::Dot => Err(invalid(byte, "after decimal point in numeric literal")),
            State::Exponent | State::ExponentSign => Err(invalid(byte, "in exponent of numeric literal")),
            _ => {
                self.state = State::EndValue;
                if blank { Ok(()) } else { self.end_value(byte) }
            }
        }
    }
}

/// Go's text for a byte that cannot stand where it does.
fn invalid(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        0x20..0x7f => format!("'{}'", byte as char),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", byte as char),
    };
    format!("invalid character {shown} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value at the start of `text`, or the error.
    fn scan(text: &str) -> Result<Option<String>, String> {
        let mut scanner = Scanner::new();
        let mut value = String::new();
        for byte in text.bytes() {
            match scanner.step(byte)? {
                Step::Skipped => {}
                Step::Taken => value.push(byte as char),
                Step::Last => {
                    value.push(byte as char);
                    return Ok(Some(value));
                }
                Step::Past => return Ok(Some(value)),
            }
        }
        Ok(scanner.may_end().then_some(value))
    }

    #[test]
    fn values_end_where_they_end() {
        let whole = [
            (
                "  {\"a\": [1, {}, [] , \"x\\\"}\" ]} rest",
                "{\"a\": [1, {}, [] , \"x\\\"}\" ]}",
            ),
            ("12 3", "12"),
            ("0{", "0"),
            ("-1.5e+3", "-1.5e+3"),
            ("nullx", "null"),
            ("\"\\u00ff\"", "\"\\u00ff\""),
            ("[]", "[]"),
        ];
        for (text, value) in whole {
            assert_eq!(scan(text), Ok(Some(value.to_owned())), "{text}");
        }
        for open in ["{", "{\"a", "[1,", "tru", "-", "1.", "\"\\"] {
            assert_eq!(scan(open), Ok(None), "{open}");
        }
    }

    #[test]
    fn errors_are_those_of_go() {
        let wrong = [
            ("hello", "invalid character 'h' looking for beginning of value"),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("{\"a\" \"b\"}", "invalid character '\"' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[,]", "invalid character ',' looking for beginning of value"),
            ("[trux]", "invalid character 'x' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\\x", "invalid character 'x' in string escape code"),
            ("\"\\uzz", "invalid character 'z' in \\u hexadecimal character escape"),
            ("\"a\nb", "invalid character '\\n' in string literal"),
        ];
        for (text, error) in wrong {
            assert_eq!(scan(text), Err(error.to_owned()), "{text}");
        }
        assert_eq!(scan(&"[".repeat(10_001)), Err("exceeded max depth".to_owned()));
    }
}

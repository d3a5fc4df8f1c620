//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): their heads, what is read of them, and what the server writes.

/// What a client says first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's head.
pub(crate) const HEAD_BYTES: usize = 9;

/// Largest payload that either side sends, HTTP/2's default; no larger one is announced.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// Largest window that flow control knows.
pub(crate) const MAX_WINDOW_BYTES: i64 = (1 << 31) - 1;

/// Window of a connection, and of a stream whose peer has not said otherwise.
pub(crate) const DEFAULT_WINDOW_BYTES: i64 = 65_535;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

/// Of DATA and HEADERS.
pub(crate) const END_STREAM: u8 = 0x1;
/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
/// Of HEADERS and CONTINUATION.
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

const SETTING_HEADER_TABLE_SIZE: u16 = 0x1;
const SETTING_ENABLE_PUSH: u16 = 0x2;
const SETTING_MAX_CONCURRENT_STREAMS: u16 = 0x3;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 0x4;
const SETTING_MAX_FRAME_SIZE: u16 = 0x5;
const SETTING_MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Error codes of HTTP/2 (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Reason {
    NoError = 0x0,
    ProtocolError = 0x1,
    InternalError = 0x2,
    FlowControlError = 0x3,
    StreamClosed = 0x5,
    FrameSizeError = 0x6,
    RefusedStream = 0x7,
    Cancel = 0x8,
    CompressionError = 0x9,
    EnhanceYourCalm = 0xb,
}

/// The peer broke a rule that ends the connection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client broke HTTP/2 ({reason:?}): {what}")]
pub(crate) struct Violation {
    pub(crate) reason: Reason,
    pub(crate) what: &'static str,
}

pub(crate) fn violation(reason: Reason, what: &'static str) -> Violation {
    Violation { reason, what }
}

/// Head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8; HEAD_BYTES]) -> Head {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes;
        Head {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA without its padding.
    pub(crate) fn unpadded<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], Violation> {
        if !self.has(PADDED) {
            return Ok(payload);
        }
        let padding = payload.split_first().and_then(|(length, rest)| {
            let kept = rest.len().checked_sub(usize::from(*length))?;
            rest.get(..kept)
        });
        padding.ok_or_else(|| violation(Reason::ProtocolError, "more padding than payload"))
    }

    /// The header block of HEADERS, without padding and priority.
    pub(crate) fn fragment<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], Violation> {
        let payload = self.unpadded(payload)?;
        if !self.has(WITH_PRIORITY) {
            return Ok(payload);
        }
        let (priority, fragment) = payload
            .split_first_chunk::<5>()
            .ok_or_else(|| violation(Reason::FrameSizeError, "HEADERS too short for a priority"))?;
        if number(priority) & 0x7fff_ffff == self.stream {
            return Err(violation(Reason::ProtocolError, "a stream that depends on itself"));
        }
        Ok(fragment)
    }
}

/// The first four bytes of a payload as a number.
pub(crate) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What the peer's SETTINGS say that matters to who writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    /// Window with which streams begin, in bytes.
    pub(crate) initial_window_bytes: i64,
    /// Size of the table with which the peer decodes header blocks.
    pub(crate) header_table_bytes: usize,
}

impl Default for PeerSettings {
    fn default() -> Self {
        PeerSettings {
            initial_window_bytes: DEFAULT_WINDOW_BYTES,
            header_table_bytes: super::hpack::TABLE_BYTES,
        }
    }
}

impl PeerSettings {
    /// Takes a SETTINGS payload over.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(violation(Reason::FrameSizeError, "SETTINGS of an odd length"));
        }
        for setting in settings {
            let [k0, k1, value @ ..] = *setting;
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([k0, k1]) {
                SETTING_INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW_BYTES => {
                    return Err(violation(
                        Reason::FlowControlError,
                        "an initial window of 2 GiB or more",
                    ));
                }
                SETTING_INITIAL_WINDOW_SIZE => self.initial_window_bytes = value.into(),
                SETTING_HEADER_TABLE_SIZE => self.header_table_bytes = value as usize,
                SETTING_ENABLE_PUSH if value > 1 => {
                    return Err(violation(Reason::ProtocolError, "ENABLE_PUSH that is neither 0 nor 1"));
                }
                SETTING_MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(violation(Reason::ProtocolError, "MAX_FRAME_SIZE out of bounds"));
                }
                // Larger frames are never sent, nothing is pushed, and headers are short.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends a frame's head.
pub(crate) fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    debug_assert!(length <= MAX_PAYLOAD_BYTES);
    let [_, _, _, _, _, a, b, c] = (length as u64).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, s0, s1, s2, s3]);
}

/// Appends the server's first SETTINGS, and a window for the connection.
pub(crate) fn put_greeting(out: &mut Vec<u8>, limits: &Announced) {
    let settings = [
        (SETTING_MAX_CONCURRENT_STREAMS, limits.max_streams),
        (SETTING_INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
        (SETTING_MAX_HEADER_LIST_SIZE, limits.max_header_bytes),
    ];
    put_head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (key, value) in settings {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    let default = DEFAULT_WINDOW_BYTES.unsigned_abs();
    put_window_update(
        out,
        0,
        u64::from(limits.connection_window_bytes).saturating_sub(default),
    );
}

/// What the server announces at the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) max_streams: u32,
    pub(crate) stream_window_bytes: u32,
    pub(crate) connection_window_bytes: u32,
    pub(crate) max_header_bytes: u32,
}

/// Appends WINDOW_UPDATE for what a window allows; nothing for 0.
pub(crate) fn put_window_update(out: &mut Vec<u8>, stream: u32, bytes: u64) {
    let Ok(increment) = u32::try_from(bytes) else { return };
    if increment > 0 {
        put_head(out, 4, WINDOW_UPDATE, 0, stream);
        out.extend_from_slice(&increment.to_be_bytes());
    }
}

/// Appends RST_STREAM.
pub(crate) fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// Appends GOAWAY with the last stream that is served.
pub(crate) fn put_goaway(out: &mut Vec<u8>, last_stream: u32, reason: Reason, text: &str) {
    put_head(out, 8 + text.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(reason as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends PING or its answer.
pub(crate) fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    put_head(out, 8, PING, flags, 0);
    out.extend_from_slice(&payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8, length: usize) -> Head {
        let stream = 5;
        Head {
            length,
            kind,
            flags,
            stream,
        }
    }

    #[test]
    fn heads_are_written_as_they_are_read() {
        let mut out = Vec::new();
        put_head(&mut out, 16_384, HEADERS, END_HEADERS | END_STREAM, 0x7fff_ffff);
        let read = Head::parse(out.first_chunk().expect("nine bytes"));
        assert_eq!((read.length, read.kind, read.stream), (16_384, HEADERS, 0x7fff_ffff));
        assert!(read.has(END_HEADERS) && read.has(END_STREAM) && !read.has(PADDED));
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let data = head(DATA, PADDED, 4);
        assert_eq!(data.unpadded(&[2, 7, 0, 0]), Ok(&[7][..]));
        assert!(data.unpadded(&[4, 7, 0, 0]).is_err());
        assert!(data.unpadded(&[]).is_err());
        let headers = head(HEADERS, PADDED | WITH_PRIORITY, 8);
        assert_eq!(headers.fragment(&[1, 0, 0, 0, 3, 16, 0x82, 0]), Ok(&[0x82][..]));
        let itself = headers.fragment(&[1, 0x80, 0, 0, 5, 16, 0x82, 0]);
        assert_eq!(itself.expect_err("itself").reason, Reason::ProtocolError);
        assert_eq!(
            headers.fragment(&[0, 0, 0, 1]).expect_err("short").reason,
            Reason::FrameSizeError
        );
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let mut settings = PeerSettings::default();
        let setting = |key: u16, value: u32| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
        settings.apply(&setting(SETTING_INITIAL_WINDOW_SIZE, 9)).expect("valid");
        settings.apply(&setting(0xabcd, 9)).expect("unknown ones are ignored");
        assert_eq!(settings.initial_window_bytes, 9);
        let reason = |payload: &[u8]| {
            PeerSettings::default()
                .apply(payload)
                .map_err(|violation| violation.reason)
        };
        let too_much = setting(SETTING_INITIAL_WINDOW_SIZE, 1 << 31);
        assert_eq!(reason(&too_much), Err(Reason::FlowControlError));
        assert_eq!(reason(&setting(SETTING_ENABLE_PUSH, 2)), Err(Reason::ProtocolError));
        assert_eq!(reason(&setting(SETTING_MAX_FRAME_SIZE, 1)), Err(Reason::ProtocolError));
        assert_eq!(reason(&[0, 4, 0]), Err(Reason::FrameSizeError));
    }
}

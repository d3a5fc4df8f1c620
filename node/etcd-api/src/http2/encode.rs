//! Writing of header blocks. What every good answer of gRPC begins and ends with takes one byte each, once the client has it
//! in its table; everything else is written out.

use http::{HeaderMap, StatusCode};

use super::frame::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, MAX_PAYLOAD_BYTES};
use super::hpack::TABLE_BYTES;

/// Index of `:status: 200` in the static table.
const STATUS_200: u8 = 8;
/// Index of the name `:status`.
const STATUS_NAME: u8 = 8;
/// Index of the name `content-type`.
const CONTENT_TYPE_NAME: u8 = 31;
/// Index of the newest entry of the dynamic table.
const NEWEST: u8 = 62;

const INDEXED: u8 = 0x80;
const INDEXING: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;

const GRPC: &[u8] = b"application/grpc";
const GRPC_STATUS: &[u8] = b"grpc-status";

/// Least table of the client with which the two fields are kept in it: both fit, however they are counted.
const USED_TABLE_BYTES: usize = 128;

/// Writes the header blocks of one connection.
pub(crate) struct HeadWriter {
    /// Size of the client's table, as it was told.
    table_bytes: usize,
    /// The least size since the last block, which the client must be told of first.
    least_table_bytes: Option<usize>,
    /// Index of `content-type: application/grpc`, once the client has it.
    content_type: Option<u8>,
    /// Index of `grpc-status: 0`, once the client has it.
    status_ok: Option<u8>,
}

impl HeadWriter {
    pub(crate) fn new() -> HeadWriter {
        HeadWriter {
            table_bytes: TABLE_BYTES,
            least_table_bytes: None,
            content_type: None,
            status_ok: None,
        }
    }

    /// The client's SETTINGS allow a table of this size.
    pub(crate) fn allow_table(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE_BYTES);
        if bytes != self.table_bytes {
            self.table_bytes = bytes;
            let least = self.least_table_bytes.unwrap_or(bytes).min(bytes);
            self.least_table_bytes = Some(least);
            if bytes < USED_TABLE_BYTES {
                (self.content_type, self.status_ok) = (None, None);
            }
        }
    }

    /// The head of a good gRPC answer.
    pub(crate) fn grpc_head(&mut self, out: &mut Vec<u8>, stream: u32) {
        let start = self.begin(out);
        out.push(INDEXED | STATUS_200);
        match self.content_type {
            Some(index) => out.push(INDEXED | index),
            None if self.keeps_fields() => {
                out.push(INDEXING | CONTENT_TYPE_NAME);
                put_string(out, GRPC);
                self.content_type = Some(NEWEST);
                self.status_ok = self.status_ok.map(|index| index + 1);
            }
            None => {
                // The index of the name does not fit the four bits of a literal that is not kept.
                out.extend_from_slice(&[0x0f, CONTENT_TYPE_NAME - 0x0f]);
                put_string(out, GRPC);
            }
        }
        finish_short(out, start, END_HEADERS, stream);
    }

    /// The end of a good gRPC answer.
    pub(crate) fn grpc_end(&mut self, out: &mut Vec<u8>, stream: u32) {
        let start = self.begin(out);
        match self.status_ok {
            Some(index) => out.push(INDEXED | index),
            None => {
                let keeps = self.keeps_fields();
                out.push(if keeps { INDEXING } else { 0 });
                put_string(out, GRPC_STATUS);
                put_string(out, b"0");
                if keeps {
                    self.status_ok = Some(NEWEST);
                    self.content_type = self.content_type.map(|index| index + 1);
                }
            }
        }
        finish_short(out, start, END_HEADERS | END_STREAM, stream);
    }

    /// Any head (with a status) or trailers (without).
    pub(crate) fn fields(
        &mut self,
        out: &mut Vec<u8>,
        stream: u32,
        status: Option<StatusCode>,
        fields: &HeaderMap,
        end_stream: bool,
    ) {
        let mut block = Vec::with_capacity(256);
        self.update_size(&mut block);
        if let Some(status) = status {
            if status == StatusCode::OK {
                block.push(INDEXED | STATUS_200);
            } else {
                block.push(STATUS_NAME);
                put_string(&mut block, status.as_str().as_bytes());
            }
        }
        for (name, value) in fields {
            block.push(0);
            put_string(&mut block, name.as_str().as_bytes());
            put_string(&mut block, value.as_bytes());
        }
        let end_stream = if end_stream { END_STREAM } else { 0 };
        let mut parts = block.chunks(MAX_PAYLOAD_BYTES).peekable();
        let mut kind = HEADERS;
        let mut end = end_stream;
        // An empty block is a frame too.
        let mut part = parts.next().unwrap_or_default();
        loop {
            let last = parts.peek().is_none();
            frame::put_head(out, part.len(), kind, end | if last { END_HEADERS } else { 0 }, stream);
            out.extend_from_slice(part);
            let Some(next) = parts.next() else { return };
            (part, kind, end) = (next, CONTINUATION, 0);
        }
    }

    fn keeps_fields(&self) -> bool {
        self.table_bytes >= USED_TABLE_BYTES
    }

    /// Leaves room for the frame's head; gives its place.
    fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        frame::put_head(out, 0, HEADERS, 0, 0);
        self.update_size(out);
        start
    }

    fn update_size(&mut self, block: &mut Vec<u8>) {
        let Some(least) = self.least_table_bytes.take() else {
            return;
        };
        if least < self.table_bytes {
            put_integer(block, SIZE_UPDATE, 5, least);
        }
        put_integer(block, SIZE_UPDATE, 5, self.table_bytes);
    }
}

/// Fills in the head of a frame that is shorter than 256 bytes.
fn finish_short(out: &mut [u8], start: usize, flags: u8, stream: u32) {
    let length = out.len() - start - frame::HEAD_BYTES;
    debug_assert!(length < 256);
    out[start + 2] = length.to_le_bytes()[0];
    out[start + 4] = flags;
    out[start + 5..start + frame::HEAD_BYTES].copy_from_slice(&stream.to_be_bytes());
}

fn put_string(block: &mut Vec<u8>, text: &[u8]) {
    put_integer(block, 0, 7, text.len());
    block.extend_from_slice(text);
}

fn put_integer(block: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        block.push(first | value.to_le_bytes()[0]);
        return;
    }
    block.push(first | mask.to_le_bytes()[0]);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(0x80 | (rest & 0x7f).to_le_bytes()[0]);
        rest >>= 7;
    }
    block.push(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;
    use crate::http2::frame::{HEAD_BYTES, Head};

    /// The frames and fields of what was written, and the bytes of each block.
    fn read(decoder: &mut Decoder, mut out: &[u8]) -> (Vec<Head>, Vec<String>, usize) {
        let (mut heads, mut block) = (Vec::new(), Vec::new());
        while let Some((head, rest)) = out.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(head);
            block.extend_from_slice(&rest[..head.length]);
            out = &rest[head.length..];
            heads.push(head);
        }
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let each = |field: super::super::hpack::Field| {
            fields.push(format!("{}: {}", text(&field.name), text(&field.value)));
        };
        decoder.decode(&block, each).expect("a valid block");
        (heads, fields, block.len())
    }

    fn answer(writer: &mut HeadWriter, decoder: &mut Decoder) -> (usize, usize) {
        let mut out = Vec::new();
        writer.grpc_head(&mut out, 7);
        let (heads, fields, head_bytes) = read(decoder, &out);
        assert_eq!((heads[0].stream, heads[0].flags), (7, END_HEADERS));
        assert_eq!(fields, [":status: 200", "content-type: application/grpc"]);
        out.clear();
        writer.grpc_end(&mut out, 7);
        let (heads, fields, end_bytes) = read(decoder, &out);
        assert_eq!((heads[0].stream, heads[0].flags), (7, END_HEADERS | END_STREAM));
        assert_eq!(fields, ["grpc-status: 0"]);
        (head_bytes, end_bytes)
    }

    #[test]
    fn from_the_second_answer_on_blocks_are_short() {
        let (mut writer, mut decoder) = (HeadWriter::new(), Decoder::new());
        assert!(answer(&mut writer, &mut decoder).0 > 10);
        assert_eq!(answer(&mut writer, &mut decoder), (2, 1));
        assert_eq!(answer(&mut writer, &mut decoder), (2, 1));
    }

    #[test]
    fn a_client_may_shrink_its_table_at_any_time() {
        let (mut writer, mut decoder) = (HeadWriter::new(), Decoder::new());
        answer(&mut writer, &mut decoder);
        writer.allow_table(64);
        for _ in 0..2 {
            assert!(answer(&mut writer, &mut decoder).0 > 10);
        }
        writer.allow_table(1 << 20);
        answer(&mut writer, &mut decoder);
        assert_eq!(answer(&mut writer, &mut decoder), (2, 1));
    }

    #[test]
    fn long_fields_go_on_in_further_frames() {
        let mut fields = HeaderMap::new();
        let long = "m".repeat(40_000);
        fields.insert("grpc-message", long.parse().expect("ASCII"));
        let (mut out, mut decoder) = (Vec::new(), Decoder::new());
        HeadWriter::new().fields(&mut out, 3, Some(StatusCode::NOT_FOUND), &fields, true);
        let (heads, fields, _) = read(&mut decoder, &out);
        let kinds: Vec<(u8, u8)> = heads.iter().map(|head| (head.kind, head.flags)).collect();
        assert_eq!(
            kinds,
            [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]
        );
        assert_eq!(fields, [":status: 404".to_owned(), format!("grpc-message: {long}")]);
    }
}

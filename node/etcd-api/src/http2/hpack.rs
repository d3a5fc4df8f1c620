//! Reading of header blocks (RFC 7541): the dynamic table of one connection's requests.

use std::collections::VecDeque;

use bytes::Bytes;

use super::huffman;
use super::static_table::STATIC_TABLE;

/// The dynamic table that a client may use, in bytes as RFC 7541 counts them; HTTP/2's default, so that no setting is needed.
pub(crate) const TABLE_BYTES: usize = 4096;

/// What RFC 7541 counts for an entry beside its name and value.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// The block breaks the rules of HPACK: the connection cannot go on, because its table is out of step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidBlock;

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

impl Field {
    /// Its size as limits count it (RFC 9113, 6.5.2).
    pub(crate) fn size_bytes(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// Reads the blocks of one connection, in their order.
pub(crate) struct Decoder {
    /// Newest first.
    entries: VecDeque<Field>,
    size_bytes: usize,
    /// As the client last set it, within [`TABLE_BYTES`].
    capacity_bytes: usize,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Decoder {
        Decoder {
            entries: VecDeque::new(),
            size_bytes: 0,
            capacity_bytes: TABLE_BYTES,
            scratch: Vec::new(),
        }
    }

    /// Reads a block and tells of every field. True if the table is another one afterwards: then the same bytes need not
    /// mean the same fields the next time.
    pub(crate) fn decode(&mut self, block: &[u8], mut each: impl FnMut(Field)) -> Result<bool, InvalidBlock> {
        let mut input = Input(block);
        let (mut changed, mut begun) = (false, false);
        while let Some(&first) = input.0.first() {
            if first & 0x80 != 0 {
                each(self.entry(input.integer(7)?)?);
            } else if first & 0x40 != 0 {
                let field = self.literal(&mut input, 6)?;
                self.insert(field.clone());
                changed = true;
                each(field);
            } else if first & 0x20 != 0 {
                // A change of size is only allowed at the beginning.
                let capacity = input.integer(5)?;
                if begun || capacity > TABLE_BYTES {
                    return Err(InvalidBlock);
                }
                self.capacity_bytes = capacity;
                self.evict(0);
                changed = true;
                continue;
            } else {
                // Without indexing, or never to be indexed: the same for who only reads.
                each(self.literal(&mut input, 4)?);
            }
            begun = true;
        }
        Ok(changed)
    }

    fn literal(&mut self, input: &mut Input<'_>, prefix_bits: u32) -> Result<Field, InvalidBlock> {
        let name = match input.integer(prefix_bits)? {
            0 => input.string(&mut self.scratch)?,
            index => self.entry(index)?.name,
        };
        let value = input.string(&mut self.scratch)?;
        Ok(Field { name, value })
    }

    fn entry(&self, index: usize) -> Result<Field, InvalidBlock> {
        let place = index.checked_sub(1).ok_or(InvalidBlock)?;
        if let Some((name, value)) = STATIC_TABLE.get(place) {
            return Ok(Field {
                name: Bytes::from_static(name.as_bytes()),
                value: Bytes::from_static(value.as_bytes()),
            });
        }
        let dynamic = self.entries.get(place - STATIC_TABLE.len());
        dynamic.cloned().ok_or(InvalidBlock)
    }

    fn insert(&mut self, field: Field) {
        let size = field.size_bytes();
        self.evict(size);
        // One that is larger than the table empties it and is not kept.
        if size <= self.capacity_bytes {
            self.size_bytes += size;
            self.entries.push_front(field);
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, wanted_bytes: usize) {
        while self.size_bytes + wanted_bytes > self.capacity_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size_bytes -= oldest.size_bytes();
        }
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// An integer whose first byte shares its upper bits with something else (RFC 7541, 5.1).
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, InvalidBlock> {
        let mask = (1usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        // Four more bytes are far beyond every limit.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(InvalidBlock)
    }

    fn string(&mut self, scratch: &mut Vec<u8>) -> Result<Bytes, InvalidBlock> {
        let compressed = self.0.first().ok_or(InvalidBlock)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(InvalidBlock)?;
        self.0 = rest;
        if !compressed {
            return Ok(Bytes::copy_from_slice(text));
        }
        scratch.clear();
        huffman::decode(text, scratch).map_err(|_| InvalidBlock)?;
        Ok(Bytes::copy_from_slice(scratch))
    }

    fn byte(&mut self) -> Result<u8, InvalidBlock> {
        let (first, rest) = self.0.split_first().ok_or(InvalidBlock)?;
        self.0 = rest;
        Ok(*first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, InvalidBlock> {
        let mut read = Vec::new();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, |field| {
            read.push(format!("{}: {}", text(&field.name), text(&field.value)));
        })?;
        Ok(read)
    }

    /// RFC 7541, C.4: three requests of one connection, compressed.
    #[test]
    fn the_requests_of_the_rfc_are_read() {
        let mut decoder = Decoder::new();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let common = [
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
        ];
        assert_eq!(fields(&mut decoder, first).expect("valid"), common);
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let with_cache = [&common[..], &["cache-control: no-cache"]].concat();
        assert_eq!(fields(&mut decoder, second).expect("valid"), with_cache);
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let read = fields(&mut decoder, third).expect("valid");
        assert_eq!(
            read[1..],
            [
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value"
            ]
        );
        assert_eq!(decoder.size_bytes, 164);
    }

    #[test]
    fn the_table_forgets_the_oldest_and_says_when_it_changed() {
        let mut decoder = Decoder::new();
        let add = |name: u8, length: u8| [&[0x40, 1, name, length][..], &vec![b'v'; length.into()]].concat();
        assert_eq!(decoder.decode(&add(b'a', 100), |_| {}), Ok(true));
        assert_eq!(fields(&mut decoder, &[0xbe]).expect("held").len(), 1);
        assert_eq!(decoder.decode(&[0xbe], |_| {}), Ok(false));
        for _ in 0..40 {
            decoder.decode(&add(b'b', 100), |_| {}).expect("valid");
        }
        assert!(decoder.size_bytes <= TABLE_BYTES);
        assert_eq!(decoder.entries.len(), TABLE_BYTES / (1 + 100 + 32));
        assert_eq!(decoder.decode(&[0x20], |_| {}), Ok(true), "size 0");
        assert!(decoder.entries.is_empty());
        assert_eq!(decoder.decode(&[0xbe], |_| {}), Err(InvalidBlock));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for block in [
            &[0x80][..],                           // index 0
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // an endless integer
            &[0x40, 0x05, b'a'],                   // a string that is cut
            &[0x40],                               // a field that is cut
            &[0x82, 0x20],                         // a change of size in the middle
            &[0x3f, 0xe2, 0x1f],                   // a table of 4097 bytes
            &[0x40, 0x81, 0x00, 0x01, b'a'],       // padding of zeros
        ] {
            assert_eq!(Decoder::new().decode(block, |_| {}), Err(InvalidBlock), "{block:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_blocks_panic_and_the_table_keeps_its_limit(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::new();
            for block in blocks {
                drop(decoder.decode(&block, |_| {}));
                prop_assert!(decoder.size_bytes <= decoder.capacity_bytes.max(TABLE_BYTES));
            }
        }
    }
}

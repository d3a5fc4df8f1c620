//! HPACK's Huffman code (RFC 7541, appendix B), for reading alone: what the server writes needs no compression.
//!
//! The code is canonical, so the symbols by length of their codes say everything.

use std::sync::LazyLock;

/// Symbols by the number of bits of their codes, in the order of the codes. The last one ends a string and must not occur.
const SYMBOLS: [(usize, &[u16]); 21] = [
    (5, &[48, 49, 50, 97, 99, 101, 105, 111, 115, 116]),
    (
        6,
        &[
            32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112,
            114, 117,
        ],
    ),
    (
        7,
        &[
            58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107,
            113, 118, 119, 120, 121, 122,
        ],
    ),
    (8, &[38, 42, 44, 59, 88, 90]),
    (10, &[33, 34, 40, 41, 63]),
    (11, &[39, 43, 124]),
    (12, &[35, 62]),
    (13, &[0, 36, 64, 91, 93, 126]),
    (14, &[94, 125]),
    (15, &[60, 96, 123]),
    (19, &[92, 195, 208]),
    (20, &[128, 130, 131, 162, 184, 194, 224, 226]),
    (21, &[153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]),
    (
        22,
        &[
            129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
            196, 198, 228, 232, 233,
        ],
    ),
    (
        23,
        &[
            1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180,
            182, 183, 188, 191, 197, 231, 239,
        ],
    ),
    (24, &[9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]),
    (25, &[199, 207, 234, 235]),
    (
        26,
        &[
            192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255,
        ],
    ),
    (
        27,
        &[
            203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
        ],
    ),
    (
        28,
        &[
            2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220,
            249,
        ],
    ),
    (30, &[10, 13, 22, 256]),
];

const LONGEST_CODE_BITS: usize = 30;

/// Codes up to this length are looked up at once.
const SHORT_BITS: usize = 8;

struct Tables {
    /// By the next eight bits: the symbol and the length of its code, or 0 where the code is longer.
    short: [(u8, u8); 1 << SHORT_BITS],
    /// First code of each length, and its symbols.
    by_length: [(u32, &'static [u16]); LONGEST_CODE_BITS + 1],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables {
        short: [(0, 0); 1 << SHORT_BITS],
        by_length: [(0, &[]); LONGEST_CODE_BITS + 1],
    };
    let (mut code, mut length) = (0u32, 0);
    for (bits, symbols) in SYMBOLS {
        code <<= bits - length;
        length = bits;
        tables.by_length[bits] = (code, symbols);
        for symbol in symbols {
            if bits <= SHORT_BITS {
                let first = (code as usize) << (SHORT_BITS - bits);
                let entry = (symbol.to_le_bytes()[0], bits.to_le_bytes()[0]);
                tables.short[first..first + (1 << (SHORT_BITS - bits))].fill(entry);
            }
            code += 1;
        }
    }
    tables
});

/// The string is not a valid sequence of codes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidCode;

/// Appends the decoded string to `out`.
///
/// # Errors
///
/// [`InvalidCode`] for the end-of-string symbol, and for padding that is longer than seven bits or not all ones.
pub(crate) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidCode> {
    let tables = &*TABLES;
    let mut rest = encoded.iter();
    // The next bits, at the top.
    let (mut window, mut held) = (0u64, 0usize);
    loop {
        while held <= 56 {
            let Some(byte) = rest.next() else { break };
            window |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let (symbol, bits) = tables.short[(window >> 56) as usize];
        let (symbol, bits) = match bits {
            0 => long(tables, window, held)?,
            bits => (symbol, usize::from(bits)),
        };
        if bits > held {
            break;
        }
        out.push(symbol);
        window <<= bits;
        held -= bits;
    }
    let padding = u64::MAX
        .checked_shl(u32::try_from(64 - held).unwrap_or(64))
        .unwrap_or(0);
    if held >= 8 || window != padding {
        return Err(InvalidCode);
    }
    Ok(())
}

/// The symbol of a code longer than eight bits; more bits than are held if there is none any more.
fn long(tables: &Tables, window: u64, held: usize) -> Result<(u8, usize), InvalidCode> {
    for bits in SHORT_BITS + 1..=LONGEST_CODE_BITS.min(held) {
        let (first, symbols) = tables.by_length[bits];
        let code = u32::try_from(window >> (64 - bits)).map_err(|_| InvalidCode)?;
        if let Some(symbol) = code.checked_sub(first).and_then(|place| symbols.get(place as usize)) {
            return u8::try_from(*symbol)
                .map(|symbol| (symbol, bits))
                .map_err(|_| InvalidCode);
        }
    }
    if held >= LONGEST_CODE_BITS {
        return Err(InvalidCode);
    }
    Ok((0, held + 1))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The straightforward encoder, for tests.
    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut held) = (Vec::new(), 0u64, 0);
        for byte in text {
            let (code, length) = code_of(u16::from(*byte));
            bits = bits << length | u64::from(code);
            held += length;
            while held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        if held > 0 {
            out.push(((bits << (8 - held)) as u8) | (0xff >> held));
        }
        out
    }

    fn code_of(symbol: u16) -> (u32, usize) {
        let find = |length: usize| {
            let (first, symbols) = TABLES.by_length[length];
            let place = symbols.iter().position(|candidate| *candidate == symbol)?;
            Some((first + u32::try_from(place).expect("few symbols"), length))
        };
        (1..=LONGEST_CODE_BITS).find_map(find).expect("every byte has a code")
    }

    fn decoded(encoded: &[u8]) -> Result<Vec<u8>, InvalidCode> {
        let mut out = Vec::new();
        decode(encoded, &mut out).map(|()| out)
    }

    /// RFC 7541, C.4.1 and C.6.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&www), Ok(b"www.example.com".to_vec()));
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82,
            0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(decoded(&date), Ok(b"Mon, 21 Oct 2013 20:13:21 GMT".to_vec()));
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        assert_eq!(code_of(256), (0x3fff_ffff, 30));
        assert_eq!(code_of(u16::from(b'\\')), (0x7fff0, 19));
        assert_eq!(code_of(249), (0xffffffe, 28));
        let symbols: usize = SYMBOLS.iter().map(|(_, symbols)| symbols.len()).sum();
        assert_eq!(symbols, 257);
    }

    #[test]
    fn the_end_symbol_and_bad_padding_are_refused() {
        assert_eq!(decoded(&[0xff; 4]), Err(InvalidCode), "the end symbol");
        assert_eq!(decoded(&[0x1f, 0xff]), Err(InvalidCode), "eleven bits of padding");
        assert_eq!(decoded(&[0x18]), Err(InvalidCode), "padding of zeros");
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encode(&text)), Ok(text));
        }

        #[test]
        fn no_input_panics(encoded: Vec<u8>) {
            drop(decoded(&encoded));
        }
    }
}

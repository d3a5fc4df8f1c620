//! A look at RocksDB's own files before RocksDB reads them.
//!
//! Its reader does not come back from a record whose type was damaged into one of the types of recycled files (seen with
//! RocksDB 11.8: it reports the record and reads it again, for ever). Such a file is refused here. Everything else about
//! the files is left to RocksDB, which has checksums for it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Records do not cross the borders of these blocks.
const BLOCK_BYTES: usize = 32 << 10;
/// Masked CRC32C of the rest, `u16` length of the payload, type; little-endian.
const HEADER_BYTES: usize = 7;
const CHECKSUM_MASK: u32 = 0xa282_ead8;
/// Types of records in recycled files; 0 is a file not written yet.
const RECYCLED_TYPES: [u8; 7] = [0, 5, 6, 7, 8, 11, 131];

/// The write-ahead files in the directory, in the order of their numbers.
pub(super) fn write_ahead(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Refuses files that RocksDB would read for ever.
///
/// # Errors
///
/// `InvalidData` with the file's name; I/O errors.
pub(super) fn check(directory: &Path) -> io::Result<()> {
    for path in write_ahead(directory)? {
        let mut header = [0; HEADER_BYTES];
        let read = File::open(&path)?.take(HEADER_BYTES as u64).read(&mut header)?;
        if read == HEADER_BYTES && !RECYCLED_TYPES.contains(&header[6]) {
            return Err(damaged(&path, 0));
        }
    }
    let current = fs::read_to_string(directory.join("CURRENT"))?;
    let manifest = directory.join(current.trim_end());
    match fs::read(&manifest) {
        Ok(content) => match first_damage(&content) {
            Some(at) => Err(damaged(&manifest, at)),
            None => Ok(()),
        },
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", manifest.display()))),
    }
}

/// Where the first record lies that does not match its checksum. A record cut off by the end of the file is none.
fn first_damage(content: &[u8]) -> Option<usize> {
    for (block, bytes) in content.chunks(BLOCK_BYTES).enumerate() {
        let mut at = 0;
        while let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER_BYTES>() {
            if *header == [0; HEADER_BYTES] {
                return None;
            }
            let [c0, c1, c2, c3, l0, l1, _] = *header;
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            if rest.len() < length {
                break;
            }
            let covered = &bytes[at + 6..at + HEADER_BYTES + length];
            let checksum = crc32c::crc32c(covered).rotate_right(15).wrapping_add(CHECKSUM_MASK);
            if checksum != u32::from_le_bytes([c0, c1, c2, c3]) {
                return Some(block * BLOCK_BYTES + at);
            }
            at += HEADER_BYTES + length;
        }
    }
    None
}

fn damaged(path: &Path, at: usize) -> io::Error {
    let text = format!("{} is damaged at byte {at}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

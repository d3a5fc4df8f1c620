//! The file format of bbolt, etcd's storage: enough of it to write a whole database in one go, and to read one.
//!
//! A file is a sequence of pages of the same size, numbered from 0. All numbers are little-endian.
//!
//! - A page begins with its number (u64), its kind (u16), its count of elements (u16) and the number of pages that it
//!   extends over beyond its first (u32).
//! - Pages 0 and 1 are meta pages: magic, version, page size and flags (u32 each), the page of the root bucket and a counter
//!   (u64 each), the page of the free list, the number of pages, the transaction (u64 each), and the FNV-1a hash of all this.
//!   The valid one of the later transaction counts.
//! - A leaf page holds elements of flags, position, key length and value length (u32 each), then keys and values; a position
//!   counts from the start of its element. Flag 1 marks a bucket, whose value is its root page and a counter (u64 each); the
//!   root page 0 stands for a leaf page that follows at once.
//! - A branch page holds elements of position and key length (u32 each) and a page (u64), then the keys: the first one of
//!   each page below.
//!
//! It deliberately has no transactions, no free list but an empty one, and no updates in place.

mod read;
mod write;

pub use read::{BoltError, BoltFile, Entries, Entry};
pub(crate) use write::{Contents, Layout, PageSink, Visit, layout, write};

/// Size of the pages that are written, in bytes.
pub(crate) const PAGE_BYTES: usize = 4096;

const PAGE_HEADER_BYTES: usize = 16;
/// Of leaf and branch elements alike.
const ELEMENT_BYTES: usize = 16;
const META_BYTES: usize = 64;
/// What the hash of a meta page covers.
const META_HASHED_BYTES: usize = 56;
const BUCKET_HEADER_BYTES: usize = 16;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

const BRANCH_PAGE: u16 = 0x01;
const LEAF_PAGE: u16 = 0x02;
const META_PAGE: u16 = 0x04;
const FREE_LIST_PAGE: u16 = 0x10;

const BUCKET_FLAG: u32 = 0x01;

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn page_header(page: u64, kind: u16, count: u16, overflow: u32) -> [u8; PAGE_HEADER_BYTES] {
    let mut header = [0; PAGE_HEADER_BYTES];
    header[..8].copy_from_slice(&page.to_le_bytes());
    header[8..10].copy_from_slice(&kind.to_le_bytes());
    header[10..12].copy_from_slice(&count.to_le_bytes());
    header[12..].copy_from_slice(&overflow.to_le_bytes());
    header
}

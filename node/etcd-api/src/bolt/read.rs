//! Reading a database. Any bytes whatsoever give an error, never a panic, and never more memory than a page and its path.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;

use super::*;

/// Pages deeper than this are no bbolt file: 100 entries a page would be more than there are.
const MAX_DEPTH: usize = 32;

/// Largest page with what it extends over, in bytes.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// The operating system's answer.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// No bbolt file, or a damaged one.
    #[error("this is no bbolt database, or a damaged one: {0}")]
    Damaged(&'static str),
}

/// A database that is open for reading.
pub struct BoltFile<F> {
    file: RefCell<F>,
    page_bytes: u64,
    root: u64,
    pages: u64,
}

/// One key of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Where the entry is: a page and the number of its element.
    pub place: (u64, u16),
}

/// A page with everything it extends over.
struct Page {
    kind: u16,
    count: u16,
    bytes: Bytes,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn slice(bytes: &Bytes, from: usize, length: usize) -> Option<Bytes> {
    let end = from.checked_add(length)?;
    (end <= bytes.len()).then(|| bytes.slice(from..end))
}

impl Page {
    fn parse(bytes: Bytes) -> Option<Page> {
        let kind = u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?);
        let count = u16::from_le_bytes(bytes.get(10..12)?.try_into().ok()?);
        Some(Page { kind, count, bytes })
    }

    fn element(&self, index: u16) -> usize {
        PAGE_HEADER_BYTES + usize::from(index) * ELEMENT_BYTES
    }

    /// Flags, key and value of a leaf's element.
    fn leaf(&self, index: u16) -> Option<(u32, Bytes, Bytes)> {
        let at = self.element(index);
        let number = |field: usize| u32_at(&self.bytes, at + field * 4);
        let (flags, position) = (number(0)?, number(1)? as usize);
        let (key_bytes, value_bytes) = (number(2)? as usize, number(3)? as usize);
        let key = slice(&self.bytes, at.checked_add(position)?, key_bytes)?;
        let value = slice(
            &self.bytes,
            at.checked_add(position)?.checked_add(key_bytes)?,
            value_bytes,
        )?;
        Some((flags, key, value))
    }

    /// The page below a branch's element.
    fn child(&self, index: u16) -> Option<u64> {
        u64_at(&self.bytes, self.element(index) + 8)
    }
}

impl<F: Read + Seek> BoltFile<F> {
    /// Looks at the meta pages.
    ///
    /// # Errors
    ///
    /// [`BoltError::Damaged`] where neither is valid.
    pub fn open(mut file: F) -> Result<Self, BoltError> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut newest: Option<(u64, BoltFile<()>)> = None;
        // The second one lies where the page size says, which the first one may no longer tell.
        for page_bytes in [0, 4096, 8192, 16_384, 32_768, 65_536] {
            let mut bytes = [0; PAGE_HEADER_BYTES + META_BYTES];
            if page_bytes + bytes.len() as u64 > length {
                break;
            }
            file.seek(SeekFrom::Start(page_bytes))?;
            file.read_exact(&mut bytes)?;
            if let Some((transaction, meta)) = meta(&bytes[PAGE_HEADER_BYTES..])
                && (page_bytes == 0 || page_bytes == meta.page_bytes)
                && newest.as_ref().is_none_or(|(newest, _)| *newest < transaction)
            {
                newest = Some((transaction, meta));
            }
        }
        let (_, meta) = newest.ok_or(BoltError::Damaged("it has no valid meta page"))?;
        if meta
            .pages
            .checked_mul(meta.page_bytes)
            .is_none_or(|bytes| bytes > length)
        {
            return Err(BoltError::Damaged("it is shorter than its meta page says"));
        }
        Ok(BoltFile {
            file: RefCell::new(file),
            page_bytes: meta.page_bytes,
            root: meta.root,
            pages: meta.pages,
        })
    }

    /// Bytes of the database proper; a snapshot has its checksum behind them.
    pub fn database_bytes(&self) -> u64 {
        self.pages * self.page_bytes
    }

    /// The entries of a bucket, ascending; `None` if there is no such bucket.
    ///
    /// # Errors
    ///
    /// Where the root cannot be read.
    pub fn bucket(&self, name: &str) -> Result<Option<Entries<'_, F>>, BoltError> {
        let mut buckets = Entries::below(self, self.page(self.root)?, self.root);
        while let Some((flags, entry)) = buckets.advance()? {
            if entry.key != name.as_bytes() {
                continue;
            }
            if flags & BUCKET_FLAG == 0 {
                return Err(BoltError::Damaged("a bucket is a plain entry"));
            }
            let root = u64_at(&entry.value, 0).ok_or(BoltError::Damaged("a bucket has no root"))?;
            let page = match root {
                0 => Page::parse(entry.value.slice(BUCKET_HEADER_BYTES.min(entry.value.len())..))
                    .ok_or(BoltError::Damaged("a bucket is cut off"))?,
                root => self.page(root)?,
            };
            return Ok(Some(Entries::below(self, page, root)));
        }
        Ok(None)
    }

    /// The entry at a place that was told before. Not for buckets so small that their parent holds them.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn entry_at(&self, place: (u64, u16)) -> Result<Entry, BoltError> {
        let page = self.page(place.0)?;
        let (_, key, value) = page.leaf(place.1).ok_or(BoltError::Damaged("an entry is cut off"))?;
        Ok(Entry { key, value, place })
    }

    fn page(&self, number: u64) -> Result<Page, BoltError> {
        if number < 2 || number >= self.pages {
            return Err(BoltError::Damaged("a page lies outside of the file"));
        }
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(number * self.page_bytes))?;
        let mut header = [0; PAGE_HEADER_BYTES];
        file.read_exact(&mut header)?;
        let overflow = u64::from(u32_at(&header, 12).unwrap_or_default());
        let length = (overflow + 1) * self.page_bytes;
        if u64_at(&header, 0) != Some(number) || number + overflow >= self.pages || length > MAX_PAGE_BYTES {
            return Err(BoltError::Damaged("a page contradicts its place"));
        }
        let mut bytes = vec![0; length as usize];
        bytes[..PAGE_HEADER_BYTES].copy_from_slice(&header);
        file.read_exact(&mut bytes[PAGE_HEADER_BYTES..])?;
        Page::parse(bytes.into()).ok_or(BoltError::Damaged("a page is cut off"))
    }
}

/// Transaction and content of a valid meta page.
fn meta(bytes: &[u8]) -> Option<(u64, BoltFile<()>)> {
    let valid = u32_at(bytes, 0)? == MAGIC
        && u32_at(bytes, 4)? == VERSION
        && u64_at(bytes, META_HASHED_BYTES)? == fnv1a(&bytes[..META_HASHED_BYTES]);
    let page_bytes = u64::from(u32_at(bytes, 8)?);
    let usable = valid && page_bytes.is_power_of_two() && (1024..=65_536).contains(&page_bytes);
    let found = BoltFile {
        file: RefCell::new(()),
        page_bytes,
        root: u64_at(bytes, 16)?,
        pages: u64_at(bytes, 40)?,
    };
    usable.then_some((u64_at(bytes, 48)?, found))
}

/// Walks through the pages of one bucket.
pub struct Entries<'a, F> {
    file: &'a BoltFile<F>,
    /// From the root down: a page, its number, and the next of its elements.
    path: Vec<(Page, u64, u16)>,
    failed: bool,
}

impl<'a, F: Read + Seek> Entries<'a, F> {
    fn below(file: &'a BoltFile<F>, page: Page, number: u64) -> Self {
        Entries {
            file,
            path: vec![(page, number, 0)],
            failed: false,
        }
    }

    fn advance(&mut self) -> Result<Option<(u32, Entry)>, BoltError> {
        loop {
            let depth = self.path.len();
            let Some((page, number, next)) = self.path.last_mut() else {
                return Ok(None);
            };
            if *next >= page.count {
                self.path.pop();
                continue;
            }
            let index = *next;
            *next += 1;
            match page.kind {
                LEAF_PAGE => {
                    let place = (*number, index);
                    let (flags, key, value) = page.leaf(index).ok_or(BoltError::Damaged("an entry is cut off"))?;
                    return Ok(Some((flags, Entry { key, value, place })));
                }
                BRANCH_PAGE if depth < MAX_DEPTH => {
                    let child = page.child(index).ok_or(BoltError::Damaged("a branch is cut off"))?;
                    self.path.push((self.file.page(child)?, child, 0));
                }
                _ => return Err(BoltError::Damaged("a page of the wrong kind")),
            }
        }
    }
}

impl<F: Read + Seek> Iterator for Entries<'_, F> {
    type Item = Result<Entry, BoltError>;

    /// Ends after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.map(|entry| entry.map(|(_, entry)| entry)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn garbage_is_refused() {
        for length in [0, 1, 79, 80, 4096, 20_000] {
            assert!(
                BoltFile::open(Cursor::new(vec![0xA5; length])).is_err(),
                "{length} bytes"
            );
        }
    }
}

//! Writing a database front to back in bounded memory.
//!
//! The meta pages come first and name what comes last. Therefore the contents are gone through twice: once to learn how many
//! pages there will be, once to write them. Both give the same pages because the contents do not change in between.

use super::*;

/// Called with each key and value, ascending by key. An error ends everything.
pub(crate) type Visit<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

/// What a database holds.
pub(crate) trait Contents {
    /// Names of the buckets, ascending.
    fn buckets(&self) -> &'static [&'static str];

    /// Every key and value of a bucket, ascending; the same at each call.
    fn visit<E>(&self, bucket: &str, visit: &mut Visit<'_, E>) -> Result<(), E>;
}

/// Takes whole pages, in order.
pub(crate) trait PageSink {
    /// Why no more pages are wanted.
    type Stop;

    fn page(&mut self, page: &[u8]) -> Result<(), Self::Stop>;
}

/// Where things are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: u64,
    pages: u64,
}

impl Layout {
    pub(crate) fn file_bytes(self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// Pages that are not data: both meta pages and the free list.
const FIRST_DATA_PAGE: u64 = 3;
const FREE_LIST: u64 = 2;

/// Counts pages only.
struct Nowhere;

impl PageSink for Nowhere {
    type Stop = std::convert::Infallible;

    fn page(&mut self, _: &[u8]) -> Result<(), Self::Stop> {
        Ok(())
    }
}

/// Where everything will be in the file of these contents.
pub(crate) fn layout(contents: &impl Contents) -> Layout {
    match write_data(contents, &mut Nowhere) {
        Ok(layout) => layout,
        Err(never) => match never {},
    }
}

/// Writes the file whose [`layout`] was found before.
pub(crate) fn write<S: PageSink>(contents: &impl Contents, layout: Layout, sink: &mut S) -> Result<(), S::Stop> {
    for page in 0..2 {
        sink.page(&meta_page(page, layout))?;
    }
    let mut free_list = vec![0; PAGE_BYTES];
    free_list[..PAGE_HEADER_BYTES].copy_from_slice(&page_header(FREE_LIST, FREE_LIST_PAGE, 0, 0));
    sink.page(&free_list)?;
    let written = write_data(contents, sink)?;
    assert_eq!(written, layout, "the contents changed while they were written");
    Ok(())
}

/// The transaction's parity is the page's, as bbolt has it; the second one counts.
fn meta_page(page: u64, layout: Layout) -> Vec<u8> {
    let mut meta = Vec::with_capacity(META_BYTES);
    for number in [MAGIC, VERSION, PAGE_BYTES as u32, 0] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
    for number in [layout.root, 0, FREE_LIST, layout.pages, page] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
    let hash = fnv1a(&meta);
    meta.extend_from_slice(&hash.to_le_bytes());
    let mut bytes = page_header(page, META_PAGE, 0, 0).to_vec();
    bytes.extend_from_slice(&meta);
    bytes.resize(PAGE_BYTES, 0);
    bytes
}

fn write_data<S: PageSink>(contents: &impl Contents, sink: &mut S) -> Result<Layout, S::Stop> {
    let mut pages = Pages {
        sink,
        next: FIRST_DATA_PAGE,
    };
    let mut root = Leaves::default();
    for bucket in contents.buckets() {
        let mut leaves = Leaves::default();
        contents.visit(bucket, &mut |key, value| leaves.add(&mut pages, 0, key, value))?;
        let value = bucket_value(leaves.finish(&mut pages)?);
        root.add(&mut pages, BUCKET_FLAG, bucket.as_bytes(), &value)?;
    }
    // A database without any bucket has an empty page as its root.
    let root = match root.finish(&mut pages)? {
        Some(root) => root,
        None => pages.write(LEAF_PAGE, 0, Vec::new())?,
    };
    Ok(Layout {
        root,
        pages: pages.next,
    })
}

/// A bucket as its parent holds it; an empty one is there itself.
fn bucket_value(root: Option<u64>) -> Vec<u8> {
    let mut value = vec![0; BUCKET_HEADER_BYTES];
    match root {
        Some(root) => value[..8].copy_from_slice(&root.to_le_bytes()),
        None => value.extend_from_slice(&page_header(0, LEAF_PAGE, 0, 0)),
    }
    value
}

/// Numbers pages and hands them out.
struct Pages<'a, S> {
    sink: &'a mut S,
    next: u64,
}

impl<S: PageSink> Pages<'_, S> {
    fn write(&mut self, kind: u16, count: u16, body: Vec<u8>) -> Result<u64, S::Stop> {
        let page = self.next;
        let pages = (PAGE_HEADER_BYTES + body.len()).div_ceil(PAGE_BYTES).max(1);
        let overflow = u32::try_from(pages - 1).expect("an entry is smaller than 16 TiB");
        let mut bytes = Vec::with_capacity(pages * PAGE_BYTES);
        bytes.extend_from_slice(&page_header(page, kind, count, overflow));
        bytes.extend_from_slice(&body);
        bytes.resize(pages * PAGE_BYTES, 0);
        self.next += pages as u64;
        self.sink.page(&bytes)?;
        Ok(page)
    }
}

/// Keys of a page below, and its number.
type Child = (Vec<u8>, u64);

/// The leaf pages of one bucket: one is being filled, the others are written.
#[derive(Default)]
struct Leaves {
    /// Flags, key length and value length of each element.
    elements: Vec<(u32, u32, u32)>,
    data: Vec<u8>,
    first_key: Vec<u8>,
    written: Vec<Child>,
}

impl Leaves {
    fn add<S: PageSink>(
        &mut self,
        pages: &mut Pages<'_, S>,
        flags: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), S::Stop> {
        let filled = PAGE_HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.data.len();
        if !self.elements.is_empty() && filled + ELEMENT_BYTES + key.len() + value.len() > PAGE_BYTES {
            self.close_page(pages)?;
        }
        if self.elements.is_empty() {
            self.first_key = key.to_vec();
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("an entry is smaller than 4 GiB");
        self.elements.push((flags, length(key), length(value)));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn close_page<S: PageSink>(&mut self, pages: &mut Pages<'_, S>) -> Result<(), S::Stop> {
        let elements = std::mem::take(&mut self.elements);
        let mut body = Vec::with_capacity(elements.len() * ELEMENT_BYTES + self.data.len());
        let mut offset = 0;
        for (index, (flags, key, value)) in elements.iter().enumerate() {
            let position = (elements.len() - index) * ELEMENT_BYTES + offset;
            for number in [*flags, position as u32, *key, *value] {
                body.extend_from_slice(&number.to_le_bytes());
            }
            offset += (key + value) as usize;
        }
        body.append(&mut self.data);
        let page = pages.write(LEAF_PAGE, elements.len() as u16, body)?;
        self.written.push((std::mem::take(&mut self.first_key), page));
        Ok(())
    }

    /// Writes what is left and the branch pages above; gives the topmost page, `None` without any key.
    fn finish<S: PageSink>(mut self, pages: &mut Pages<'_, S>) -> Result<Option<u64>, S::Stop> {
        if !self.elements.is_empty() {
            self.close_page(pages)?;
        }
        let mut level = self.written;
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut rest = &level[..];
            while !rest.is_empty() {
                let (taken, left) = rest.split_at(branch_children(rest));
                above.push((taken[0].0.clone(), write_branch(pages, taken)?));
                rest = left;
            }
            level = above;
        }
        Ok(level.pop().map(|(_, page)| page))
    }
}

/// How many children the next branch page takes: as many as fit, at least two, and never all but one.
fn branch_children(children: &[Child]) -> usize {
    let mut filled = PAGE_HEADER_BYTES;
    let fitting = children.iter().take_while(|(key, _)| {
        filled += ELEMENT_BYTES + key.len();
        filled <= PAGE_BYTES
    });
    let fitting = fitting.count().max(2).min(children.len());
    match children.len() - fitting {
        1 if fitting > 2 => fitting - 1,
        1 => fitting + 1,
        _ => fitting,
    }
}

fn write_branch<S: PageSink>(pages: &mut Pages<'_, S>, children: &[Child]) -> Result<u64, S::Stop> {
    let mut body = Vec::with_capacity(PAGE_BYTES);
    let mut offset = 0;
    for (index, (key, page)) in children.iter().enumerate() {
        let position = (children.len() - index) * ELEMENT_BYTES + offset;
        for number in [position as u32, key.len() as u32] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&page.to_le_bytes());
        offset += key.len();
    }
    children.iter().for_each(|(key, _)| body.extend_from_slice(key));
    pages.write(BRANCH_PAGE, children.len() as u16, body)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    struct Numbers(Vec<(Vec<u8>, Vec<u8>)>);

    impl Contents for Numbers {
        fn buckets(&self) -> &'static [&'static str] {
            &["empty", "key"]
        }

        fn visit<E>(&self, bucket: &str, visit: &mut Visit<'_, E>) -> Result<(), E> {
            let all = if bucket == "key" { &self.0[..] } else { &[] };
            all.iter().try_for_each(|(key, value)| visit(key, value))
        }
    }

    struct Memory(Vec<u8>);

    impl PageSink for Memory {
        type Stop = std::convert::Infallible;

        fn page(&mut self, page: &[u8]) -> Result<(), Self::Stop> {
            self.0.extend_from_slice(page);
            Ok(())
        }
    }

    /// From one entry to three levels of branches, with values of no and of many pages.
    #[test]
    fn what_is_written_is_read_again() {
        for count in [0_u32, 1, 2, 100, 253, 254, 5_000, 60_000] {
            let entry = |number: u32| {
                let bytes = if number % 1000 == 7 {
                    20_000
                } else {
                    number as usize % 50
                };
                (number.to_be_bytes().repeat(10), vec![number as u8; bytes])
            };
            let contents = Numbers((0..count).map(entry).collect());
            let layout = layout(&contents);
            let mut memory = Memory(Vec::new());
            write(&contents, layout, &mut memory).expect("memory takes everything");
            assert_eq!(memory.0.len() as u64, layout.file_bytes());
            let file = BoltFile::open(Cursor::new(memory.0)).expect("a database");
            let read = |bucket: &str| {
                let entries = file.bucket(bucket).expect("readable").expect("the bucket");
                let entries = entries.map(|entry| entry.map(|entry| (entry.key.to_vec(), entry.value.to_vec())));
                entries.collect::<Result<Vec<_>, _>>().expect("entries")
            };
            assert_eq!(read("empty"), []);
            assert!(read("key") == contents.0, "{count} entries");
            assert!(file.bucket("none").expect("readable").is_none());
        }
    }

    #[test]
    fn no_branch_page_has_a_single_child() {
        for count in 2..600 {
            let children: Vec<Child> = (0..count).map(|number| (vec![0; 18], number)).collect();
            let mut rest = &children[..];
            while !rest.is_empty() {
                let taken = branch_children(rest);
                assert!(taken >= 2, "{count}");
                rest = &rest[taken..];
            }
        }
    }
}

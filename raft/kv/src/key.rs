//! Keys as the indexes hold them: short ones in place, so that comparing and copying them touches no other memory, and
//! always apart from the request that brought them, which can be much larger.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// Longest key, in bytes, that is held in place. With it a key takes 24 bytes.
const MAX_INLINE_BYTES: usize = 22;

/// An index key, ordered as its bytes.
#[derive(Clone)]
pub(crate) struct Key(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; MAX_INLINE_BYTES] },
    Shared(Arc<[u8]>),
}

impl Key {
    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() > MAX_INLINE_BYTES {
            return Key(Repr::Shared(key.into()));
        }
        let mut bytes = [0; MAX_INLINE_BYTES];
        bytes[..key.len()].copy_from_slice(key);
        Key(Repr::Inline {
            length: key.len() as u8,
            bytes,
        })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

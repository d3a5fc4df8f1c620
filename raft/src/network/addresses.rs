//! Addresses of peers as the clients of openraft look them up; what members there are is not its business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Peer;

/// Where each peer is now. openraft keeps its clients when a member's address changes: they look here before each new stream
/// and call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<BTreeMap<u64, String>>>);

impl Addresses {
    pub fn set(&self, id: u64, address: &str) {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.insert(id, address.to_owned());
    }

    pub fn peer(&self, id: u64) -> Peer {
        let addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Peer {
            id,
            address: addresses.get(&id).cloned().unwrap_or_default(),
        }
    }
}

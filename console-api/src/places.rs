//! Places that are counted by who takes them, so that nobody takes everybody's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A number of places for each key; keys without a place taken are not remembered.
#[derive(Clone)]
pub(crate) struct Places {
    most: usize,
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A place that is taken while this lives.
pub(crate) struct Place {
    key: String,
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// `None` if `key` has as many as it may have.
    pub(crate) fn take(&self, key: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let places = taken.entry(key.to_owned()).or_default();
        if *places >= self.most {
            return None;
        }
        *places += 1;
        Some(Place {
            key: key.to_owned(),
            taken: self.taken.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = taken.get_mut(&self.key) {
            *places -= 1;
            if *places == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

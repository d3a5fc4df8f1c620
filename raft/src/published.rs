//! A value that is published to any number of followers, over the watch channel of the runtime.

use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::{Watch, WatchSender};

/// The runtime's receiver of a published value.
pub(crate) type Followed<RT, V> = <<RT as AsyncRuntime>::Watch as Watch>::Receiver<V>;
type Sender<RT, V> = <<RT as AsyncRuntime>::Watch as Watch>::Sender<V>;

/// Publishes a value. The runtime's sender need not be shareable between threads, hence the lock.
pub(crate) struct Published<RT: AsyncRuntime, V: Clone + Send + Sync + 'static> {
    sender: Mutex<Sender<RT, V>>,
}

impl<RT: AsyncRuntime, V: Clone + Send + Sync + 'static> Published<RT, V> {
    pub fn new(value: V) -> Self {
        Self {
            sender: Mutex::new(RT::Watch::channel(value).0),
        }
    }

    fn sender(&self) -> MutexGuard<'_, Sender<RT, V>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present value.
    pub fn get(&self) -> V {
        self.sender().borrow_watched().clone()
    }

    /// Looks at the present value, without a copy of it; `look` must not take long.
    pub fn with<T>(&self, look: impl FnOnce(&V) -> T) -> T {
        look(&self.sender().borrow_watched())
    }

    /// Follows the value from now on.
    pub fn follow(&self) -> Followed<RT, V> {
        self.sender().subscribe()
    }

    /// Publishes a value if `replaces` says so of the present and the new one.
    pub fn publish_if(&self, value: V, replaces: impl FnOnce(&V, &V) -> bool) {
        self.sender().send_if_modified(|present| {
            let replaced = replaces(present, &value);
            if replaced {
                *present = value;
            }
            replaced
        });
    }
}

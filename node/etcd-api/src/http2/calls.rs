//! The calls of one connection that wait for something: polled by the connection's own task, so that none is a task, and
//! the answers to a burst of calls wake it once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// What wakes a connection from outside: calls that can go on, and messages from tasks that work for it.
pub(crate) struct Mailbox<M> {
    inner: Mutex<Inner<M>>,
    task: AtomicWaker,
}

struct Inner<M> {
    ready: Vec<usize>,
    messages: Vec<M>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> Arc<Mailbox<M>> {
        let inner = Inner {
            ready: Vec::new(),
            messages: Vec::new(),
        };
        Arc::new(Mailbox {
            inner: Mutex::new(inner),
            task: AtomicWaker::new(),
        })
    }

    /// Sends a message and wakes the connection.
    pub(crate) fn send(&self, message: M) {
        self.lock().messages.push(message);
        self.task.wake();
    }

    fn make_ready(&self, slot: usize) {
        let first = {
            let mut inner = self.lock();
            inner.ready.push(slot);
            inner.ready.len() == 1
        };
        // Later ones are found together with the first.
        if first {
            self.task.wake();
        }
    }

    /// Sets which task is woken from now on.
    pub(crate) fn register(&self, context: &Context<'_>) {
        self.task.register(context.waker());
    }

    /// Takes all messages; both lists keep their room.
    pub(crate) fn take_messages(&self, into: &mut Vec<M>) {
        into.append(&mut self.lock().messages);
    }

    fn take_ready(&self, into: &mut Vec<usize>) {
        into.append(&mut self.lock().ready);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SlotWaker<M> {
    slot: usize,
    mailbox: Arc<Mailbox<M>>,
}

impl<M: Send + 'static> Wake for SlotWaker<M> {
    fn wake(self: Arc<Self>) {
        self.mailbox.make_ready(self.slot);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.make_ready(self.slot);
    }
}

type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Slot<T> {
    waker: Waker,
    call: Option<Call<T>>,
}

/// Calls under way. A waker belongs to a place, not to a call: a wake that comes late only looks at the next call once more.
pub(crate) struct Calls<T, M> {
    mailbox: Arc<Mailbox<M>>,
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    ready: Vec<usize>,
}

impl<T, M: Send + 'static> Calls<T, M> {
    pub(crate) fn new(mailbox: Arc<Mailbox<M>>) -> Calls<T, M> {
        Calls {
            mailbox,
            slots: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Takes a call in; it is looked at with the next [`Calls::poll`].
    pub(crate) fn insert(&mut self, call: Call<T>) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            let mailbox = Arc::clone(&self.mailbox);
            let waker = Waker::from(Arc::new(SlotWaker { slot, mailbox }));
            self.slots.push(Slot { waker, call: None });
            slot
        });
        self.slots[slot].call = Some(call);
        self.ready.push(slot);
        slot
    }

    /// Drops a call.
    pub(crate) fn cancel(&mut self, slot: usize) {
        if self.slots[slot].call.take().is_some() {
            self.free.push(slot);
        }
    }

    /// Looks at every call that may go on, and tells of those that ended.
    pub(crate) fn poll(&mut self, mut ended: impl FnMut(T)) {
        self.mailbox.take_ready(&mut self.ready);
        // In their order: what a client sends first is proposed first.
        for slot in self.ready.drain(..) {
            let Some(Slot { waker, call }) = self.slots.get_mut(slot) else {
                continue;
            };
            let Some(running) = call else { continue };
            if let Poll::Ready(output) = running.as_mut().poll(&mut Context::from_waker(waker)) {
                *call = None;
                self.free.push(slot);
                ended(output);
            }
        }
    }

    /// Gives the memory of places back, if none is used. A waker that is left wakes a place in vain.
    pub(crate) fn shrink(&mut self) {
        if self.free.len() == self.slots.len() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// Calls under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_burst_of_answers_wakes_once_and_cancelled_calls_stay_silent() {
        let mailbox = Mailbox::<()>::new();
        let mut calls = Calls::new(Arc::clone(&mailbox));
        let wakes = Arc::new(Wakes::default());
        mailbox.register(&Context::from_waker(&Waker::from(Arc::clone(&wakes))));
        let mut senders = Vec::new();
        let mut slots = Vec::new();
        for number in 0..4 {
            let (sender, answer) = oneshot::channel::<()>();
            senders.push(sender);
            slots.push(calls.insert(Box::pin(async move {
                drop(answer.await);
                number
            })));
        }
        let mut ended = Vec::new();
        calls.poll(|number| ended.push(number));
        assert!(ended.is_empty());
        calls.cancel(slots[1]);
        drop(senders.remove(1));
        for sender in senders {
            sender.send(()).expect("the call waits");
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        calls.poll(|number| ended.push(number));
        ended.sort_unstable();
        assert_eq!((ended, calls.len()), (vec![0, 2, 3], 0));
        let again = calls.insert(Box::pin(std::future::ready(9)));
        assert!(slots.contains(&again), "places are used again");
        let mut last = None;
        calls.poll(|number| last = Some(number));
        assert_eq!(last, Some(9));
    }
}

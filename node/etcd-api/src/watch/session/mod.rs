//! One watch stream: requests in, responses out, in one place and without a task of its own.
//!
//! The session runs only while gRPC asks for the next response, so a client that takes nothing makes it do nothing; what
//! waits for it meanwhile is bounded by its queue.

mod permits;
mod progress;
mod requests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Interval;
use tonic::{Status, Streaming};

use crate::caller::Client;
use crate::context::Context;
use crate::errors;
use crate::pb::etcdserverpb::{self as pb, WatchResponse};
use crate::random::random_u64;
use crate::watch::catch_up::{self, CaughtUp};
use crate::watch::fragments::{MAX_FRAGMENT_BYTES, split};
use crate::watch::hub::Standing;
use crate::watch::queue::{Item, MAX_STREAM_BYTES, StreamQueue};
use crate::watch::watcher::{KeySpan, Options};

/// Responses after which a busy stream looks for requests.
const REQUEST_TURNS: u64 = 16;

/// Watch id of answers that concern no single watcher.
const NO_WATCH_ID: i64 = -1;

/// A watcher of this stream.
struct Watcher {
    watch_id: i64,
    span: KeySpan,
    options: Options,
    fragment: bool,
    /// Wants progress notifications.
    progress_notify: bool,
    /// Had a response since the last round of progress notifications.
    active: bool,
    /// No progress is told below this revision: the first one it asked for, or the one it was created at.
    progress_floor: i64,
    place: Place,
}

enum Place {
    /// The hub serves it, under this id.
    Synced(u64),
    /// It reads history from this revision on.
    CatchingUp(i64),
}

/// A watch stream.
pub(crate) struct Session {
    context: Arc<Context>,
    client: Client,
    /// Distinguishes streams of this process.
    stream: u64,
    inbound: Streaming<pb::WatchRequest>,
    standing: tokio::sync::watch::Receiver<Standing>,
    auth_revision: tokio::sync::watch::Receiver<u64>,
    queue: Arc<StreamQueue>,
    /// Taken from the queue, not yet sent.
    ready: VecDeque<Item>,
    /// Responses to send before anything else.
    outbox: VecDeque<WatchResponse>,
    watchers: BTreeMap<u64, Watcher>,
    serials: HashMap<i64, u64>,
    next_serial: u64,
    next_watch_id: i64,
    /// The watcher that caught up last, so that each has its turn.
    last_caught_up: u64,
    /// Progress was asked for, when the newest revision was this one.
    progress_requested: Option<i64>,
    progress_timer: Interval,
    turns: u64,
    /// Why the stream cannot go on. A stream never ends cleanly by itself, because older SDK watchers take that for good.
    failure: Option<Status>,
    /// No request comes any more.
    asked_all: bool,
    ended: bool,
}

impl Session {
    pub(crate) fn new(context: Arc<Context>, client: Client, inbound: Streaming<pb::WatchRequest>) -> Session {
        Session {
            client,
            stream: random_u64(),
            inbound,
            standing: context.hub.standing(),
            auth_revision: context.auth_revision.clone(),
            queue: context.hub.new_queue(),
            ready: VecDeque::new(),
            outbox: VecDeque::new(),
            watchers: BTreeMap::new(),
            serials: HashMap::new(),
            next_serial: 0,
            next_watch_id: 0,
            last_caught_up: 0,
            progress_requested: None,
            progress_timer: progress::timer(),
            turns: 0,
            failure: None,
            asked_all: false,
            ended: false,
            context,
        }
    }

    /// The next response; `None` once the stream is over.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        while !self.ended {
            if let Some(status) = self.reason_to_end() {
                self.ended = true;
                return Some(Err(status));
            }
            if self.auth_revision.has_changed().unwrap_or(false) {
                self.check_permits();
            }
            self.turns += 1;
            if !self.asked_all
                && self.turns.is_multiple_of(REQUEST_TURNS)
                && let Some(request) = self.inbound.message().now_or_never()
            {
                self.handle(request).await;
            }
            if let Some(response) = self.outbox.pop_front() {
                return Some(Ok(response));
            }
            if self.send_ready() {
                continue;
            }
            let caught_up = self.catch_up();
            let collected = self.collect();
            if caught_up {
                tokio::task::yield_now().await;
            }
            if !caught_up && !collected && !self.answer_progress_request() {
                self.wait().await;
            }
        }
        None
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let context = Arc::clone(&self.context);
        let queue = Arc::clone(&self.queue);
        tokio::select! {
            () = context.drain.cancelled() => {}
            changed = self.standing.changed() => if changed.is_err() {
                self.failure = Some(errors::server_stopped());
            },
            // An error comes with the end of the port, which is noticed above.
            _ = self.auth_revision.changed() => self.check_permits(),
            () = queue.wake.notified() => {}
            request = self.inbound.message(), if !self.asked_all => self.handle(request).await,
            _ = self.progress_timer.tick() => self.notify_progress(),
            () = tokio::time::sleep(progress::PROGRESS_RETRY), if self.progress_requested.is_some() => {}
        }
    }

    fn reason_to_end(&mut self) -> Option<Status> {
        if self.context.drain.is_cancelled() {
            return Some(errors::server_stopped());
        }
        if let Some(failure) = self.failure.take() {
            return Some(failure);
        }
        let standing = *self.standing.borrow_and_update();
        if self.client.requires_leader && !standing.serving {
            return Some(errors::no_leader());
        }
        (!standing.watchable).then(errors::lost_contact)
    }

    /// Takes what the hub queued, false if that is nothing. Watchers that it set aside go on from history once everything
    /// that was taken is sent.
    fn collect(&mut self) -> bool {
        let (items, set_aside) = self.queue.take();
        let collected = !items.is_empty() || !set_aside.is_empty();
        self.ready = items;
        for lagging in set_aside {
            if let Some(watcher) = self.watchers.get_mut(&lagging.serial) {
                watcher.place = Place::CatchingUp(lagging.next_revision);
            }
        }
        collected
    }

    /// Makes a response of the next items of one watcher; false if none are ready.
    fn send_ready(&mut self) -> bool {
        let Some(mut item) = self.ready.pop_front() else {
            return false;
        };
        self.queue.release(&item);
        let mut bytes = item.cost_bytes();
        while let Some(next) = self.ready.front()
            && next.serial == item.serial
            && bytes + next.cost_bytes() <= MAX_STREAM_BYTES
            && let Some(mut next) = self.ready.pop_front()
        {
            self.queue.release(&next);
            bytes += next.cost_bytes();
            item.revision = next.revision;
            item.events.append(&mut next.events);
        }
        self.respond(item.serial, item.revision, item.events);
        true
    }

    /// Puts the response in the outbox, in parts where the watcher asked for that.
    fn respond(&mut self, serial: u64, revision: i64, events: Vec<bytes::Bytes>) {
        // A watcher that was cancelled meanwhile gets nothing.
        let Some(watcher) = self.watchers.get_mut(&serial) else {
            return;
        };
        watcher.active = true;
        let response = WatchResponse {
            header: Some(self.context.header(revision)),
            watch_id: watcher.watch_id,
            events,
            ..Default::default()
        };
        match watcher.fragment {
            true => self.outbox.extend(split(response, MAX_FRAGMENT_BYTES)),
            false => self.outbox.push_back(response),
        }
    }

    /// Lets one watcher read a stretch of history; false if none is behind.
    fn catch_up(&mut self) -> bool {
        let behind = |(serial, watcher): (&u64, &Watcher)| match watcher.place {
            Place::CatchingUp(next_revision) => Some((*serial, next_revision)),
            Place::Synced(_) => None,
        };
        let after_last = (
            std::ops::Bound::Excluded(self.last_caught_up),
            std::ops::Bound::Unbounded,
        );
        let next = self.watchers.range(after_last).find_map(behind);
        let Some((serial, next_revision)) = next.or_else(|| self.watchers.iter().find_map(behind)) else {
            return false;
        };
        self.last_caught_up = serial;
        let watcher = &self.watchers[&serial];
        let keyspace = match self.context.keyspace_view() {
            Ok(keyspace) => keyspace,
            Err(failure) => {
                self.failure = Some(failure);
                return true;
            }
        };
        match catch_up::read(&keyspace, next_revision, &watcher.span, watcher.options) {
            CaughtUp::Read { last_revision, events } => {
                if !events.is_empty() {
                    self.respond(serial, last_revision, events);
                }
                self.try_join(serial, last_revision + 1);
            }
            CaughtUp::Compacted { compact_revision } => {
                let response = WatchResponse {
                    // As etcd's: this answer tells no revision but the compacted one.
                    header: Some(self.context.header(0)),
                    watch_id: watcher.watch_id,
                    canceled: true,
                    compact_revision,
                    ..Default::default()
                };
                self.outbox.push_back(response);
                self.remove(serial);
            }
        }
        true
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for watcher in self.watchers.values() {
            if let Place::Synced(id) = watcher.place {
                self.context.hub.leave(self.context.instance, id);
            }
        }
        self.context.clients.stream_ended(self.stream);
    }
}

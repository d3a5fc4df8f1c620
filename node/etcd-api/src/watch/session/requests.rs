//! What a client asks of its stream: create, cancel, progress.

use std::sync::Arc;

use quorate_kv::KvError;
use tonic::Status;

use super::{NO_WATCH_ID, Place, Session, Watcher};
use crate::errors;
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::etcdserverpb::watch_request::RequestUnion;
use crate::pb::etcdserverpb::{self as pb, WatchResponse};
use crate::watch::hub::Synced;
use crate::watch::watcher::{KeySpan, Options};

/// Watchers of one stream.
const MAX_WATCHES_PER_STREAM: usize = 100_000;

impl Session {
    pub(super) async fn handle(&mut self, request: Result<Option<pb::WatchRequest>, Status>) {
        let request = match request {
            Ok(Some(request)) => request,
            // As etcd: a client that has nothing more to ask still wants its events.
            Ok(None) => {
                self.asked_all = true;
                return;
            }
            // A broken stream needs no answer.
            Err(_) => {
                self.ended = true;
                return;
            }
        };
        // "From now" and the revision of every answer count from what this node has told its clients.
        if let Err(failure) = self.context.read_acknowledged().await {
            self.failure = Some(failure);
            return;
        }
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.request_progress(),
            None => {}
        }
    }

    async fn create(&mut self, mut request: pb::WatchCreateRequest) {
        let current = match self.context.keyspace(|keyspace| keyspace.revision()) {
            Ok(current) => current,
            Err(failure) => {
                self.failure = Some(failure);
                return;
            }
        };
        let header = Some(self.context.header(current));
        // As etcd: an empty key is the smallest one, before anybody asks for a permission on it.
        if request.key.is_empty() {
            request.key = bytes::Bytes::from_static(&[0]);
        }
        let key = request.key.clone();
        let permitted = match self.permitted(&request).await {
            Ok(permitted) => permitted,
            Err(failure) => {
                self.failure = Some(failure);
                return;
            }
        };
        let created = permitted.and_then(|user| self.add(request, current).map(|watch_id| (watch_id, user)));
        self.outbox.push_back(match created {
            Ok((watch_id, user)) => {
                let (clients, source) = (&self.context.clients, &self.client.source);
                clients.watch_created(self.stream, self.context.instance, &user, source, &key);
                WatchResponse {
                    header,
                    watch_id,
                    created: true,
                    ..Default::default()
                }
            }
            Err(cancel_reason) => WatchResponse {
                header,
                watch_id: NO_WATCH_ID,
                created: true,
                canceled: true,
                cancel_reason,
                ..Default::default()
            },
        });
    }

    /// The user, if the caller may watch this range, or the reason of the refusal as etcd puts it. An error where this node cannot
    /// tell: a client takes a refusal for good.
    async fn permitted(&self, request: &pb::WatchCreateRequest) -> Result<Result<String, String>, Status> {
        if request.start_revision < 0 {
            return Ok(Err(KvError::Compacted.text().to_owned()));
        }
        // Before the range end is normalised: a "\0" that stands for something else must not widen what was asked for.
        let permitted = self.context.authorize_here(&self.client, |keyspace, caller| {
            keyspace.check_range(Some(&caller), &request.key, &request.range_end)?;
            Ok(caller.user)
        });
        let status = match permitted.await {
            Ok(user) => return Ok(Ok(user)),
            Err(status) => status,
        };
        let told = [
            KvError::InvalidAuthToken,
            KvError::AuthOldRevision,
            KvError::UserEmpty,
            KvError::PermissionDenied,
        ];
        match told.into_iter().find(|error| error.text() == status.message()) {
            Some(error) => {
                let told = errors::kv_status(error);
                Ok(Err(format!(
                    "rpc error: code = {:?} desc = {}",
                    told.code(),
                    told.message()
                )))
            }
            None => Err(status),
        }
    }

    /// Adds a watcher and gives its id, or the reason of the refusal.
    fn add(&mut self, request: pb::WatchCreateRequest, current: i64) -> Result<i64, String> {
        if self.watchers.len() >= MAX_WATCHES_PER_STREAM {
            return Err(format!(
                "quorate: more than {MAX_WATCHES_PER_STREAM} watches on one stream; open another stream"
            ));
        }
        let filters = |wanted: FilterType| request.filters.contains(&(wanted as i32));
        let options = Options {
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
            prev_kv: request.prev_kv,
        };
        let span = KeySpan::from_request(request.key, request.range_end);
        let span = span.ok_or_else(|| "mvcc: watcher range is empty".to_owned())?;
        let watch_id = self.choose_id(request.watch_id)?;
        let (start_revision, progress_floor) = match request.start_revision {
            0 => (current + 1, current),
            start => (start, start),
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        self.serials.insert(watch_id, serial);
        let watcher = Watcher {
            watch_id,
            span,
            options,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            active: false,
            progress_floor,
            place: Place::CatchingUp(start_revision),
        };
        self.watchers.insert(serial, watcher);
        self.try_join(serial, start_revision);
        Ok(watch_id)
    }

    fn choose_id(&mut self, wanted: i64) -> Result<i64, String> {
        if wanted == 0 {
            while self.serials.contains_key(&self.next_watch_id) {
                self.next_watch_id += 1;
            }
            let chosen = self.next_watch_id;
            self.next_watch_id += 1;
            return Ok(chosen);
        }
        if self.serials.contains_key(&wanted) {
            return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        Ok(wanted)
    }

    /// Hands the watcher to the hub if nothing lies between its next revision and what the hub has matched.
    pub(super) fn try_join(&mut self, serial: u64, next_revision: i64) {
        let Some(watcher) = self.watchers.get_mut(&serial) else {
            return;
        };
        let synced = Synced {
            queue: Arc::clone(&self.queue),
            serial,
            span: watcher.span.clone(),
            options: watcher.options,
            next_revision,
        };
        watcher.place = match self.context.hub.join(self.context.instance, synced) {
            Some(id) => Place::Synced(id),
            None => Place::CatchingUp(next_revision),
        };
    }

    fn cancel(&mut self, watch_id: i64) {
        let Some(serial) = self.serials.get(&watch_id).copied() else {
            return;
        };
        self.remove(serial);
        let revision = self
            .context
            .keyspace(|keyspace| keyspace.revision())
            .unwrap_or_default();
        self.outbox.push_back(WatchResponse {
            header: Some(self.context.header(revision)),
            watch_id,
            canceled: true,
            ..Default::default()
        });
    }

    pub(super) fn remove(&mut self, serial: u64) {
        if let Some(watcher) = self.watchers.remove(&serial) {
            self.serials.remove(&watcher.watch_id);
            if let Place::Synced(id) = watcher.place {
                self.context.hub.leave(self.context.instance, id);
            }
        }
    }
}

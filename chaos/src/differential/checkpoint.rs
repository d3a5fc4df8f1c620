//! A watch on every key that stands from the first operation to the last.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tonic::Streaming;

use super::operation::Caller;
use super::systems::System;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::mvccpb;

/// Collects events in the background.
pub(super) struct LiveWatch {
    name: &'static str,
    events: tokio::sync::mpsc::UnboundedReceiver<mvccpb::Event>,
    /// Told by `until` once; events beyond the wanted revision wait here.
    ahead: Option<mvccpb::Event>,
    reader: tokio::task::JoinHandle<()>,
}

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl LiveWatch {
    /// Watches every key from now on, as root.
    pub(super) async fn open(system: &System) -> Result<Self> {
        let mut client = system.client_of(&Caller::User("root".to_owned()))?;
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        let create = pb::WatchCreateRequest {
            key: bytes::Bytes::from_static(b"\0"),
            range_end: bytes::Bytes::from_static(b"\0"),
            prev_kv: true,
            ..Default::default()
        };
        let first = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        requests.send(first).await?;
        let mut responses: Streaming<pb::WatchResponse> = client.stream("/etcdserverpb.Watch/Watch", receiver).await?;
        let created = responses.message().await?.context("the stream ended")?;
        if !created.created || created.canceled {
            bail!("{}: {created:?}", system.name);
        }
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            // Keeps the sending side open.
            let _requests = requests;
            while let Ok(Some(response)) = responses.message().await {
                for event in response.decode_events() {
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self {
            name: system.name,
            events,
            ahead: None,
            reader,
        })
    }

    /// The events up to `revision` that were not told before.
    pub(super) async fn until(&mut self, revision: i64) -> Result<Vec<mvccpb::Event>> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        let mut reached = 0;
        let revision_of = |event: &mvccpb::Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        loop {
            let event = match self.ahead.take() {
                Some(event) => event,
                // More of the last revision comes in the same response.
                None if reached >= revision => match self.events.try_recv() {
                    Ok(event) => event,
                    Err(_) => return Ok(told),
                },
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match tokio::time::timeout(left, self.events.recv()).await {
                        Ok(Some(event)) => event,
                        Ok(None) => bail!("{}: the watch of every key ended at revision {reached}", self.name),
                        Err(_) if told.is_empty() => return Ok(told),
                        Err(_) => bail!("{}: no event of revision {revision} after {PATIENCE:?}", self.name),
                    }
                }
            };
            if revision_of(&event) > revision {
                self.ahead = Some(event);
                return Ok(told);
            }
            reached = revision_of(&event);
            told.push(event);
        }
    }
}

impl Drop for LiveWatch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

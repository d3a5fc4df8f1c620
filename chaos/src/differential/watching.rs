//! A watch from history as an operation: opened, read to its end, and described so that only meaning is compared.
//!
//! How many responses events come in is the server's choice; what each watch tells, and in which order, is not.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Status, Streaming};

use super::normal::Normal;
use super::operation::{Answer, Outcome};
use crate::etcd::Client;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::watch_request::RequestUnion;

/// What a stream told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Answers to the creations, in order.
    created: Vec<pb::WatchResponse>,
    /// By watch id: every event, in order.
    events: BTreeMap<i64, Vec<Bytes>>,
    /// By watch id: the end that it came to.
    canceled: BTreeMap<i64, pb::WatchResponse>,
    /// Revision of the answer to a progress request, told once every watch had told everything.
    progress: Option<i64>,
}

/// Progress is asked for again after this, because etcd does not answer while a watch is behind.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// A watch from history that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/etcdserverpb.Watch/Watch";

type Requests = tokio::sync::mpsc::Sender<pb::WatchRequest>;

/// Opens the watches on one stream and reads until they have told everything.
pub(super) async fn watch(client: &mut Client, creates: &[pb::WatchCreateRequest]) -> Result<Seen, Status> {
    let (requests, receiver) = tokio::sync::mpsc::channel(creates.len() + 64);
    for create in creates {
        send(&requests, RequestUnion::CreateRequest(create.clone()))?;
    }
    let mut responses: Streaming<pb::WatchResponse> = client.stream(PATH, receiver).await?;
    let mut seen = Seen::default();
    let reading = read(&mut responses, &requests, creates, &mut seen);
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(result) => result?,
        Err(_) => return Err(Status::deadline_exceeded(format!("the stream told only {seen:?}"))),
    }
    Ok(seen)
}

fn send(requests: &Requests, request: RequestUnion) -> Result<(), Status> {
    let request = pb::WatchRequest {
        request_union: Some(request),
    };
    requests
        .try_send(request)
        .map_err(|error| Status::internal(error.to_string()))
}

async fn read(
    responses: &mut Streaming<pb::WatchResponse>,
    requests: &Requests,
    creates: &[pb::WatchCreateRequest],
    seen: &mut Seen,
) -> Result<(), Status> {
    // Nothing tells progress before every watch has reached its start, so one that starts later is cancelled instead.
    let mut asked_to_cancel = false;
    loop {
        let response = match tokio::time::timeout(ASK_AGAIN, responses.message()).await {
            Ok(response) => response?.ok_or_else(|| Status::aborted("the stream ended"))?,
            Err(_) => {
                if seen.created.len() == creates.len() && !asked_to_cancel {
                    send(requests, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))?;
                }
                continue;
            }
        };
        seen.take(response);
        if seen.is_over(creates.len()) {
            return Ok(());
        }
        let all_created = seen.created.len() == creates.len();
        if all_created && !asked_to_cancel && seen.waits_for_the_future(creates) {
            asked_to_cancel = true;
            for watch_id in seen.live() {
                send(
                    requests,
                    RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }),
                )?;
            }
        } else if all_created && !asked_to_cancel && seen.progress.is_none() {
            send(requests, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))?;
        }
    }
}

impl Seen {
    fn take(&mut self, mut response: pb::WatchResponse) {
        if response.created {
            response.normalise();
            self.created.push(response);
        } else if response.canceled {
            response.normalise();
            self.canceled.insert(response.watch_id, response);
        } else if response.events.is_empty() {
            self.progress = response.header.map(|header| header.revision);
        } else {
            self.events
                .entry(response.watch_id)
                .or_default()
                .extend(response.events);
        }
    }

    /// Watches that stand.
    fn live(&self) -> Vec<i64> {
        let created = self.created.iter().filter(|response| !response.canceled);
        let ids = created.map(|response| response.watch_id);
        ids.filter(|id| !self.canceled.contains_key(id)).collect()
    }

    fn is_over(&self, wanted: usize) -> bool {
        self.created.len() == wanted && (self.progress.is_some() || self.live().is_empty())
    }

    fn waits_for_the_future(&self, creates: &[pb::WatchCreateRequest]) -> bool {
        let newest = self.created.iter().map(Normal::revision).max().unwrap_or_default();
        // etcd answers no progress request on a stream whose watch was cancelled by compaction.
        !self.canceled.is_empty() || creates.iter().any(|create| create.start_revision > newest)
    }
}

impl From<Seen> for Outcome {
    /// Ends up as one response that holds everything in a fixed order.
    fn from(seen: Seen) -> Outcome {
        let mut parts: Vec<Bytes> = seen.created.iter().map(|one| one.encode_to_vec().into()).collect();
        for (id, events) in &seen.events {
            let response = pb::WatchResponse {
                watch_id: *id,
                events: events.clone(),
                ..Default::default()
            };
            parts.push(response.encode_to_vec().into());
        }
        parts.extend(seen.canceled.values().map(|one| Bytes::from(one.encode_to_vec())));
        let header = seen.progress.map(|revision| pb::ResponseHeader {
            revision,
            ..Default::default()
        });
        Outcome::Answered(Answer::of(Told { header, parts }))
    }
}

/// A stream's story as one message.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct Told {
    #[prost(message, optional, tag = "1")]
    header: Option<pb::ResponseHeader>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    parts: Vec<Bytes>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let progress = self.header.as_ref().map(|header| header.revision);
        writeln!(f, "progress: {progress:?}")?;
        for part in &self.parts {
            let response = pb::WatchResponse::decode(part.clone()).map_err(|_| std::fmt::Error)?;
            let (events, rest) = (
                response.decode_events(),
                pb::WatchResponse {
                    events: Vec::new(),
                    ..response
                },
            );
            writeln!(f, "  {rest:?}")?;
            for event in events {
                writeln!(f, "    {event:?}")?;
            }
        }
        Ok(())
    }
}

impl Normal for Told {
    fn revision(&self) -> i64 {
        self.header.as_ref().map_or(0, |header| header.revision)
    }

    fn normalise(&mut self) {}
}

impl pb::WatchResponse {
    /// The events, decoded; what cannot be decoded is left out, the encoded form being what is compared.
    pub(super) fn decode_events(&self) -> Vec<crate::wire::mvccpb::Event> {
        let decoded = self.events.iter().map(|event| Message::decode(event.clone()));
        decoded.filter_map(Result::ok).collect()
    }
}

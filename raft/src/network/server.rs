//! Answers peers: hands what they say to openraft, to the leader's door and to the read rounds.

use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError};
use openraft::raft::{TransferLeaderRequest, VoteRequest, VoteResponse};
use prost::Message;

use super::wire::{
    Answer, AnswerKind, AppendMessage, AppendOutcome, AppendReply, AskOutcome, AskReply, Call, CallKind, Nothing,
    ReadIndexReply, SnapshotFrame, SnapshotReply, TransferMessage, TransferReply, VoteReplyMessage, VoteRequestMessage,
    log_id_in, log_id_out,
};
use super::{PeerHandler, StreamKind, Transport, TransportError};
use crate::codec::{LogId, decode_entry};
use crate::fast_election::FastElection;
use crate::handle::LeaderRequestHandler;
use crate::machine_store::SharedState;
use crate::node_requests::NodeAskSlot;
use crate::propose::{LeaderDoor, LeaderRounds, serve_forwarded};
use crate::snapshot::{Snapshot, SnapshotBlob, SnapshotStore, run, verify_snapshot};
use crate::standing::Standings;
use crate::types::{Raft, TypeConfig};

/// Longest snapshot that is taken from a peer.
const MAX_SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// What a node says that is there and must not be given leadership.
const CANNOT_LEAD: &str = "this node stops or is fenced: it takes no leadership";

/// Who answers opaque requests to the leader; set by the node.
pub(crate) type AskSlot = Arc<RwLock<Option<Arc<dyn LeaderRequestHandler>>>>;

/// Answers one opaque request on this node, if it leads.
pub(crate) async fn answer_ask<RT: AsyncRuntime>(
    slot: &AskSlot,
    standings: &Standings<RT>,
    from: u64,
    request: Bytes,
) -> AskOutcome {
    let handler = slot.read().unwrap_or_else(PoisonError::into_inner).clone();
    match handler {
        Some(handler) if standings.now().leading && standings.fenced().is_none() => {
            match handler.handle(from, request).await {
                Ok(answer) => AskOutcome::Answer(answer),
                Err(text) => AskOutcome::Refused(text),
            }
        }
        _ => AskOutcome::NotLeader(Nothing {}),
    }
}

/// What the server hands requests to.
pub(crate) struct PeerServerParts<RT: AsyncRuntime, T> {
    pub node_id: u64,
    pub raft: Raft<RT>,
    pub state: Arc<SharedState>,
    pub store: Arc<dyn SnapshotStore>,
    pub cluster_id: Arc<str>,
    pub standings: Arc<Standings<RT>>,
    pub door: Arc<LeaderDoor<RT>>,
    pub rounds: Arc<LeaderRounds>,
    pub elections: Arc<FastElection<RT, T>>,
    pub asked: AskSlot,
    pub node_asked: NodeAskSlot,
}

/// Answers peers.
pub(crate) struct PeerServer<RT: AsyncRuntime, T> {
    parts: Arc<PeerServerParts<RT, T>>,
}

impl<RT: AsyncRuntime, T> Clone for PeerServer<RT, T> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
        }
    }
}

fn append_reply<RT: AsyncRuntime>(result: StreamAppendResult<TypeConfig<RT>>) -> AppendReply {
    let outcome = match result {
        Ok(Some(log_id)) => AppendOutcome::Matching((&log_id).into()),
        Ok(None) => AppendOutcome::MatchingNone(Nothing {}),
        Err(StreamAppendError::Conflict(log_id)) => AppendOutcome::Conflict((&log_id).into()),
        Err(StreamAppendError::HigherVote(vote)) => AppendOutcome::HigherVote((&vote).into()),
    };
    AppendReply { outcome: Some(outcome) }
}

fn vote_request<RT: AsyncRuntime>(message: VoteRequestMessage) -> VoteRequest<TypeConfig<RT>> {
    let mut request = VoteRequest::new(message.vote.into(), log_id_in(message.last_log_id));
    request.leadership_transfer = message.leadership_transfer;
    request
}

fn vote_reply<RT: AsyncRuntime>(response: VoteResponse<TypeConfig<RT>>) -> AnswerKind {
    AnswerKind::Vote(VoteReplyMessage {
        vote: (&response.vote).into(),
        granted: response.vote_granted,
        last_log_id: log_id_out(response.last_log_id.as_ref()),
    })
}

impl<RT: AsyncRuntime, T: Transport> PeerServerParts<RT, T> {
    /// Decodes entries; one that was damaged on the way is refused.
    fn append_request(&self, message: AppendMessage) -> Result<AppendEntriesRequest<TypeConfig<RT>>, String> {
        let entries: Result<Vec<_>, _> = message.entries.iter().map(decode_entry).collect();
        if message.vote.committed && message.vote.term >= self.standings.with(|standing| standing.term) {
            self.standings.heard_leader();
        }
        Ok(AppendEntriesRequest {
            vote: message.vote.into(),
            prev_log_id: log_id_in(message.previous),
            entries: entries.map_err(|error| error.to_string())?,
            leader_commit: log_id_in(message.leader_commit),
        })
    }

    async fn heartbeat(&self, frame: Result<Bytes, TransportError>) -> Result<Bytes, String> {
        let frame = frame.map_err(|error| error.to_string())?;
        let message = AppendMessage::decode(frame).map_err(|error| error.to_string())?;
        let request = self.append_request(message)?;
        let previous = request.prev_log_id;
        let last: Option<LogId> = request.entries.last().map(|entry| entry.log_id).or(previous);
        let response = self
            .raft
            .append_entries(request)
            .await
            .map_err(|error| error.to_string())?;
        let reply = append_reply::<RT>(response.into_stream_result(previous, last));
        Ok(reply.encode_to_vec().into())
    }

    async fn transfer(&self, message: TransferMessage) -> Result<AnswerKind, String> {
        if message.to == self.node_id && !self.standings.may_lead() {
            return Err(CANNOT_LEAD.to_owned());
        }
        let request = TransferLeaderRequest::new(message.from.into(), message.to, log_id_in(message.last_log_id));
        let response = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(|error| error.to_string())?;
        let mut reply = TransferReply {
            vote_changed: None,
            not_flushed: false,
            actual: None,
        };
        match response {
            Ok(()) => {}
            Err(TransferLeaderError::VoteChanged { actual, .. }) => reply.vote_changed = Some((&actual).into()),
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                reply.not_flushed = true;
                reply.actual = log_id_out(actual.as_ref());
            }
        }
        Ok(AnswerKind::Transfer(reply))
    }

    async fn answer(&self, from: u64, call: Call) -> Result<AnswerKind, String> {
        match call.kind.ok_or("an unknown call")? {
            CallKind::Vote(message) => {
                let response = self.raft.vote(vote_request(message)).await;
                response.map(vote_reply::<RT>).map_err(|error| error.to_string())
            }
            CallKind::PreVote(message) => {
                let response = self.raft.pre_vote(vote_request(message)).await;
                response.map(vote_reply::<RT>).map_err(|error| error.to_string())
            }
            CallKind::Transfer(message) => self.transfer(message).await,
            CallKind::ReadIndex(_) => {
                let index = self.rounds.confirm().await.map_err(|error| error.to_string())?;
                Ok(AnswerKind::ReadIndex(ReadIndexReply { index }))
            }
            CallKind::Ask(request) => {
                let outcome = answer_ask(&self.asked, &self.standings, from, request).await;
                Ok(AnswerKind::Ask(AskReply { outcome: Some(outcome) }))
            }
            CallKind::Ping(_) if self.standings.may_lead() => Ok(AnswerKind::Pong(Nothing {})),
            CallKind::Ping(_) => Err(CANNOT_LEAD.to_owned()),
            CallKind::AskNode(request) => {
                let answer = self.node_asked.answer(from, request).await;
                let outcome = answer.map_or_else(AskOutcome::Refused, AskOutcome::Answer);
                Ok(AnswerKind::Ask(AskReply { outcome: Some(outcome) }))
            }
            CallKind::LeaderGone(message) => Ok(AnswerKind::LeaderGone(self.elections.answer(message).await)),
        }
    }

    /// Receives a whole snapshot, verifies it, and installs it.
    async fn snapshot(&self, mut frames: BoxStream<'static, Result<Bytes, TransportError>>) -> Result<Bytes, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let first = frames
            .next()
            .await
            .ok_or("an empty snapshot")?
            .map_err(|error| text(&error))?;
        let first = SnapshotFrame::decode(first).map_err(|error| text(&error))?;
        let vote = first.vote.ok_or("a snapshot without a vote")?;
        let length = first.length;
        if length > MAX_SNAPSHOT_BYTES {
            return Err(format!(
                "a snapshot of {length} bytes is longer than {MAX_SNAPSHOT_BYTES}"
            ));
        }
        let mut sink = self.store.create().map_err(|error| text(&error))?;
        let mut received = 0;
        while received < length {
            let frame = frames
                .next()
                .await
                .ok_or("the snapshot ended early")?
                .map_err(|error| text(&error))?;
            let chunk = SnapshotFrame::decode(frame).map_err(|error| text(&error))?.chunk;
            received += chunk.len() as u64;
            let written = run(self.store.as_ref(), move || sink.write_all(&chunk).map(|()| sink)).await;
            sink = written.map_err(|error| text(&error))?;
        }
        let cluster_id = self.cluster_id.clone();
        let finished = run(self.store.as_ref(), move || {
            let blob: SnapshotBlob = sink.written()?;
            let verified = verify_snapshot(&mut (blob.open)(0)?, &cluster_id);
            let meta = verified.map_err(|error| std::io::Error::other(format!("the snapshot received: {error}")))?;
            let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
            Ok(Snapshot {
                meta,
                snapshot: sink.finish(term, index)?,
            })
        })
        .await;
        let snapshot = finished.map_err(|error| text(&error))?;
        let response = self
            .raft
            .install_full_snapshot(vote.into(), snapshot)
            .await
            .map_err(|error| text(&error))?;
        Ok(SnapshotReply {
            vote: (&response.vote).into(),
        }
        .encode_to_vec()
        .into())
    }
}

impl<RT: AsyncRuntime, T: Transport> PeerServer<RT, T> {
    pub fn new(parts: PeerServerParts<RT, T>) -> Self {
        Self { parts: Arc::new(parts) }
    }

    fn append_stream(
        &self,
        frames: BoxStream<'static, Result<Bytes, TransportError>>,
    ) -> BoxStream<'static, Result<Bytes, String>> {
        let parts = self.parts.clone();
        let requests = frames.scan((), move |(), frame| {
            let request = frame.ok().and_then(|frame| {
                let message = AppendMessage::decode(frame).map_err(|error| error.to_string());
                let request = message.and_then(|message| parts.append_request(message));
                request
                    .inspect_err(|error| tracing::error!("a leader's entries were refused: {error}"))
                    .ok()
            });
            futures_util::future::ready(request)
        });
        let results = self.parts.raft.stream_append(requests);
        let answers = results.map(|result| match result {
            Ok(result) => Ok(append_reply::<RT>(result).encode_to_vec().into()),
            Err(fatal) => Err(fatal.to_string()),
        });
        answers.boxed()
    }
}

impl<RT: AsyncRuntime, T: Transport> PeerHandler for PeerServer<RT, T> {
    fn is_removed(&self, node: u64) -> bool {
        let metrics = self.parts.raft.metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        if membership.membership().get_node(&node).is_some() {
            return false;
        }
        // Ids are given in order and never again: one below the next that nobody has belonged to a node that is gone.
        let state = self.parts.state.read();
        state.cluster().is_some() && node < state.next_node_id() && state.node(node).is_none()
    }

    fn call(&self, from: u64, frame: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let parts = self.parts.clone();
        Box::pin(async move {
            let call = Call::decode(frame).map_err(|error| error.to_string())?;
            let kind = parts.answer(from, call).await.unwrap_or_else(AnswerKind::Failed);
            Ok(Answer { kind: Some(kind) }.encode_to_vec().into())
        })
    }

    fn stream(
        &self,
        _from: u64,
        kind: StreamKind,
        frames: BoxStream<'static, Result<Bytes, TransportError>>,
    ) -> BoxStream<'static, Result<Bytes, String>> {
        match kind {
            StreamKind::Append => self.append_stream(frames),
            StreamKind::Heartbeat => {
                let parts = self.parts.clone();
                frames
                    .then(move |frame| {
                        let parts = parts.clone();
                        async move { parts.heartbeat(frame).await }
                    })
                    .boxed()
            }
            StreamKind::Forward => {
                let frames = frames.scan((), |(), frame| futures_util::future::ready(frame.ok()));
                serve_forwarded::<RT>(self.parts.door.clone(), frames).boxed()
            }
            StreamKind::Snapshot => {
                let parts = self.parts.clone();
                futures_util::stream::once(async move { parts.snapshot(frames).await }).boxed()
            }
        }
    }
}

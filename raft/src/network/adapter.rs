//! openraft's network on top of a [`Transport`].

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use prost::Message;

use super::addresses::Addresses;
use super::heartbeats::HeartbeatLink;
use super::notices::hold_notices;
use super::wire::{
    Answer, AnswerKind, AppendMessage, AppendOutcome, AppendReply, Call, CallKind, SnapshotFrame, SnapshotReply,
    TransferMessage, VoteRequestMessage, log_id_in, log_id_out,
};
use super::{Peer, Purpose, StreamKind, Transport, TransportError};
use crate::codec::Vote;
use crate::log::LogReader;
use crate::snapshot::{Snapshot, SnapshotBlob, SnapshotStore};
use crate::types::{Member, TypeConfig};

/// Pause between attempts while a peer cannot be reached.
const UNREACHABLE_PAUSE_MS: u64 = 50;
/// Bytes of a snapshot in one frame.
const SNAPSHOT_CHUNK_BYTES: u64 = 1024 * 1024;

/// Makes the clients that openraft talks through.
pub(crate) struct PeerNetworks<RT: AsyncRuntime, T> {
    own_id: u64,
    addresses: Addresses,
    transport: T,
    store: Arc<dyn SnapshotStore>,
    log: LogReader<RT>,
}

impl<RT: AsyncRuntime, T: Transport> PeerNetworks<RT, T> {
    /// `log` has the entries as they travel.
    pub fn new(
        own_id: u64,
        addresses: Addresses,
        transport: T,
        store: Arc<dyn SnapshotStore>,
        log: LogReader<RT>,
    ) -> Self {
        Self {
            own_id,
            addresses,
            transport,
            store,
            log,
        }
    }

    fn client(&self, id: u64, node: &Member, purpose: Purpose) -> PeerNetwork<RT, T> {
        self.addresses.set(id, &node.peer);
        PeerNetwork {
            own_id: self.own_id,
            transport: self.transport.clone(),
            store: self.store.clone(),
            id,
            addresses: self.addresses.clone(),
            purpose,
            heartbeats: Mutex::new(None),
            log: self.log.clone(),
        }
    }
}

impl<RT: AsyncRuntime, T: Transport> RaftNetworkFactory<TypeConfig<RT>> for PeerNetworks<RT, T> {
    type Network = PeerNetwork<RT, T>;

    async fn new_client(&mut self, target: u64, node: &Member) -> Self::Network {
        self.client(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Self::Network {
        self.client(target, node, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Self::Network {
        self.client(target, node, Purpose::Snapshot)
    }
}

/// One client of one peer, for one purpose.
pub(crate) struct PeerNetwork<RT: AsyncRuntime, T> {
    own_id: u64,
    transport: T,
    store: Arc<dyn SnapshotStore>,
    /// The peer.
    id: u64,
    addresses: Addresses,
    purpose: Purpose,
    /// Open after the first heartbeat, between two exchanges. Never contended: openraft wants the client to be shareable.
    heartbeats: Mutex<Option<HeartbeatLink>>,
    log: LogReader<RT>,
}

type Error<RT> = RPCError<TypeConfig<RT>>;

fn rpc_error<RT: AsyncRuntime>(error: TransportError) -> Error<RT> {
    match error {
        TransportError::Unreachable(text) => Unreachable::from_string(text).into(),
        TransportError::Lost(text) => NetworkError::from_string(text).into(),
    }
}

fn malformed<RT: AsyncRuntime>(what: impl ToString) -> Error<RT> {
    NetworkError::from_string(what).into()
}

impl<RT: AsyncRuntime, T: Transport> PeerNetwork<RT, T> {
    /// Votes and other calls have the control connection, whatever this client was made for.
    async fn call(&self, kind: CallKind, option: &RPCOption, action: RPCTypes) -> Result<AnswerKind, Error<RT>> {
        let frame = Bytes::from(Call { kind: Some(kind) }.encode_to_vec());
        let ttl = option.hard_ttl();
        let peer = self.peer();
        let answer = RT::timeout(ttl, self.transport.call(&peer, Purpose::Control, frame)).await;
        let frame = match answer {
            Ok(frame) => frame.map_err(rpc_error)?,
            Err(_) => {
                return Err(Timeout {
                    action,
                    id: self.own_id,
                    target: self.id,
                    timeout: ttl,
                }
                .into());
            }
        };
        match Answer::decode(frame).map_err(malformed)?.kind {
            Some(AnswerKind::Failed(text)) => Err(malformed(text)),
            Some(kind) => Ok(kind),
            None => Err(malformed("empty answer")),
        }
    }

    async fn vote_call(
        &self,
        rpc: VoteRequest<TypeConfig<RT>>,
        option: &RPCOption,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig<RT>>, Error<RT>> {
        let message = VoteRequestMessage {
            vote: (&rpc.vote).into(),
            last_log_id: log_id_out(rpc.last_log_id.as_ref()),
            leadership_transfer: rpc.leadership_transfer,
        };
        let kind = if pre_vote {
            CallKind::PreVote(message)
        } else {
            CallKind::Vote(message)
        };
        match self.call(kind, option, RPCTypes::Vote).await? {
            AnswerKind::Vote(reply) => Ok(VoteResponse::new(
                Vote::from(reply.vote),
                log_id_in(reply.last_log_id),
                reply.granted,
            )),
            _ => Err(malformed("not an answer to a vote")),
        }
    }
}

impl<RT: AsyncRuntime, T: Transport> PeerNetwork<RT, T> {
    fn peer(&self) -> Peer {
        self.addresses.peer(self.id)
    }

    fn link(&mut self) -> &mut Option<HeartbeatLink> {
        self.heartbeats.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_message<RT: AsyncRuntime>(log: &LogReader<RT>, rpc: &AppendEntriesRequest<TypeConfig<RT>>) -> AppendMessage {
    AppendMessage {
        vote: (&rpc.vote).into(),
        previous: log_id_out(rpc.prev_log_id.as_ref()),
        entries: log.encode(&rpc.entries),
        leader_commit: log_id_out(rpc.leader_commit.as_ref()),
    }
}

fn append_result<RT: AsyncRuntime>(reply: AppendReply) -> Result<StreamAppendResult<TypeConfig<RT>>, Error<RT>> {
    match reply.outcome {
        Some(AppendOutcome::Matching(log_id)) => Ok(Ok(Some(log_id.into()))),
        Some(AppendOutcome::MatchingNone(_)) => Ok(Ok(None)),
        Some(AppendOutcome::Conflict(log_id)) => Ok(Err(StreamAppendError::Conflict(log_id.into()))),
        Some(AppendOutcome::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote.into()))),
        None => Err(malformed("empty acknowledgement")),
    }
}

impl<RT: AsyncRuntime, T: Transport> RaftNetworkV2<TypeConfig<RT>> for PeerNetwork<RT, T> {
    type SnapshotData = SnapshotBlob;

    /// A heartbeat; entries take the stream. The caller limits the time.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig<RT>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<RT>>, Error<RT>> {
        let frame = Bytes::from(append_message(&self.log, &rpc).encode_to_vec());
        let open = self.link().take();
        if let Some(link) = open {
            // A link that broke since the last heartbeat is no news of the peer: a new one tells.
            if let Ok((link, reply)) = link.exchange(frame.clone()).await {
                *self.link() = Some(link);
                return Ok(append_result(reply)?.into());
            }
        }
        let link = HeartbeatLink::open(&self.transport, &self.peer()).await;
        let exchanged = link.map_err(rpc_error)?.exchange(frame).await;
        let (link, reply) = exchanged.map_err(rpc_error)?;
        *self.link() = Some(link);
        Ok(append_result(reply)?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig<RT>>, Error<RT>>>, Error<RT>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<RT>>> + Send + Unpin + 'static,
    {
        if self.purpose == Purpose::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let mut input = input;
            // openraft waits out the pause after a failure while it makes the next request: without asking for that one
            // first, a peer that refuses connections would be called again and again without any pause.
            let Some(first) = input.next().await else {
                return Ok(futures_util::stream::empty().boxed());
            };
            let input = hold_notices::<RT, _>(first, input);
            let log = self.log.clone();
            let frames = input
                .map(move |rpc| Bytes::from(append_message(&log, &rpc).encode_to_vec()))
                .boxed();
            let peer = self.peer();
            let replies = self
                .transport
                .stream(&peer, Purpose::Append, StreamKind::Append, frames);
            let replies = replies.await.map_err(rpc_error)?;
            let results = replies.map(|frame| {
                let frame = frame.map_err(rpc_error)?;
                append_result(AppendReply::decode(frame).map_err(malformed)?)
            });
            Ok(results.boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<RT>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<RT>>, Error<RT>> {
        self.vote_call(rpc, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<RT>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<RT>>, Error<RT>> {
        self.vote_call(rpc, &option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<RT>>, StreamingError<TypeConfig<RT>>> {
        let length = snapshot.snapshot.length;
        let first = SnapshotFrame {
            vote: Some((&vote).into()),
            length,
            chunk: Bytes::new(),
        };
        let chunks = snapshot_chunks(self.store.clone(), snapshot.snapshot);
        let frames = futures_util::stream::iter([first]).chain(chunks);
        let frames = frames.map(|frame| Bytes::from(frame.encode_to_vec())).boxed();
        let peer = self.peer();
        let send = async {
            let sent = self
                .transport
                .stream(&peer, Purpose::Snapshot, StreamKind::Snapshot, frames);
            let mut replies = sent.await.map_err(rpc_error::<RT>)?;
            let frame = replies
                .next()
                .await
                .ok_or_else(|| malformed("no answer to the snapshot"))?;
            let reply = SnapshotReply::decode(frame.map_err(rpc_error::<RT>)?).map_err(malformed::<RT>)?;
            Ok::<_, Error<RT>>(SnapshotResponse::new(reply.vote.into()))
        };
        match RT::select2(cancel, send).await {
            openraft::async_runtime::Select2::First(closed) => Err(closed.into()),
            openraft::async_runtime::Select2::Second(sent) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig<RT>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig<RT>>, Error<RT>> {
        let message = TransferMessage {
            from: req.from_leader().into(),
            to: *req.to_node_id(),
            last_log_id: log_id_out(req.last_log_id()),
        };
        match self
            .call(CallKind::Transfer(message), &option, RPCTypes::TransferLeader)
            .await?
        {
            AnswerKind::Transfer(reply) => Ok(match reply.vote_changed {
                Some(actual) => Err(TransferLeaderError::VoteChanged {
                    expected: *req.from_leader(),
                    actual: actual.into(),
                }),
                None if reply.not_flushed => Err(TransferLeaderError::LogNotFlushed {
                    expected: req.last_log_id().copied(),
                    actual: log_id_in(reply.actual),
                }),
                None => Ok(()),
            }),
            _ => Err(malformed("not an answer to a transfer")),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(
            UNREACHABLE_PAUSE_MS,
        ))))
    }
}

/// Reads the file piece by piece, off the threads that run Raft.
fn snapshot_chunks(store: Arc<dyn SnapshotStore>, blob: SnapshotBlob) -> impl Stream<Item = SnapshotFrame> + Send {
    futures_util::stream::unfold((store, blob, 0), |(store, blob, offset)| async move {
        if offset >= blob.length {
            return None;
        }
        let wanted = SNAPSHOT_CHUNK_BYTES.min(blob.length - offset);
        match crate::snapshot::read_range(store.as_ref(), &blob, offset, wanted).await {
            Ok(chunk) => {
                let next = offset + chunk.len() as u64;
                Some((
                    SnapshotFrame {
                        vote: None,
                        length: 0,
                        chunk,
                    },
                    (store, blob, next),
                ))
            }
            Err(error) => {
                tracing::error!("cannot read the snapshot {}: {error}", blob.name);
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;
    use openraft_rt_tokio::TokioRuntime;

    use super::*;
    use crate::log::{LogStore, SimDisk, SimDiskOptions};
    use crate::network::Frames;
    use crate::snapshot::MemoryStore;

    /// A peer that refuses every connection, and counts them.
    #[derive(Clone, Default)]
    struct Refusing(Arc<AtomicU64>);

    impl Refusing {
        fn refuse<V>(&self) -> Result<V, TransportError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(TransportError::Unreachable("refused".to_owned()))
        }
    }

    impl Transport for Refusing {
        async fn call(&self, _: &Peer, _: Purpose, _: Bytes) -> Result<Bytes, TransportError> {
            self.refuse()
        }

        async fn stream(
            &self,
            _: &Peer,
            _: Purpose,
            _: StreamKind,
            _: BoxStream<'static, Bytes>,
        ) -> Result<Frames, TransportError> {
            self.refuse()
        }

        async fn is_refused(&self, _: &Peer) -> bool {
            true
        }
    }

    fn network(transport: &Refusing) -> PeerNetwork<TokioRuntime, Refusing> {
        let log = LogStore::on_thread(
            SimDisk::new(SimDiskOptions::default()).mount::<TokioRuntime>(),
            Box::new(|_| {}),
        );
        let reader = log.expect("an empty disk opens").reader();
        let networks = PeerNetworks::new(
            1,
            Addresses::default(),
            transport.clone(),
            Arc::new(MemoryStore::default()),
            reader,
        );
        networks.client(2, &Member::default(), Purpose::Append)
    }

    fn option() -> RPCOption {
        RPCOption::new(Duration::from_secs(1))
    }

    fn request() -> AppendEntriesRequest<TypeConfig<TokioRuntime>> {
        AppendEntriesRequest {
            vote: Vote::new(1, 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        }
    }

    /// openraft pauses while it makes the first request: a stream that connected before asking for one would be opened
    /// again and again without any pause.
    #[test]
    fn a_stream_connects_only_once_there_is_something_to_send() {
        let transport = Refusing::default();
        let mut network = network(&transport);
        let nothing_yet = futures_util::stream::pending();
        assert!(network.stream_append(nothing_yet, option()).now_or_never().is_none());
        assert_eq!(transport.0.load(Ordering::Relaxed), 0, "it connected without a request");

        let one = futures_util::stream::iter([request()]);
        let opened = network
            .stream_append(one, option())
            .now_or_never()
            .expect("refused at once");
        assert!(
            matches!(opened, Err(RPCError::Unreachable(_))),
            "openraft waits after this error"
        );
        assert_eq!(transport.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_input_that_ends_needs_no_connection() {
        let transport = Refusing::default();
        let mut network = network(&transport);
        let opened = network.stream_append(futures_util::stream::empty(), option());
        let mut replies = opened.now_or_never().expect("at once").expect("no error");
        assert!(matches!(replies.next().now_or_never(), Some(None)));
        assert_eq!(transport.0.load(Ordering::Relaxed), 0);
    }
}

//! What every service of one instance's port shares: whether this node can answer, reads, proposals, headers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_kv::{Keyspace, KvCaller, KvError, KvOp, KvReply, KvResult};
use quorate_machine::{Command, Id, KvCommand, KvPrincipal, Principal, PrincipalKind, Proposal, ReplyKind};
pub(crate) use quorate_machine::{etcd_cluster_id as cluster_id, etcd_member_id as member_id};
use quorate_raft::{ClusterStatus, Handle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::caller::Client;
use crate::clients::Clients;
use crate::credentials::Credentials;
use crate::errors;
use crate::jwt::JwtKeys;
use crate::lessor::LeaseKeeper;
use crate::members::MemberKeeper;
use crate::metrics::Metrics;
use crate::pb::etcdserverpb::ResponseHeader;
use crate::token::TokenKey;
use crate::watch::WatchHub;

/// Version of etcd whose behaviour the endpoint has, as `/version` and `Status` say.
pub const EMULATED_VERSION: &str = "3.6.16";

/// Cluster version that goes with [`EMULATED_VERSION`].
pub const EMULATED_CLUSTER_VERSION: &str = "3.6.0";

/// Longest wait for consensus in one request, as etcd's: five seconds and two elections. Clients usually give up earlier.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// Snapshots of one port that are sent at the same time: each keeps the keyspace of its moment in memory.
pub(crate) const MAX_CONCURRENT_SNAPSHOTS: usize = 2;

/// Times that a proposal is made again because users changed between the check and `apply`.
const MAX_AUTH_RETRIES: usize = 3;

/// Shared by all services of one port.
pub(crate) struct Context {
    pub(crate) handle: Handle,
    pub(crate) instance: Id,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    pub(crate) status: watch::Receiver<ClusterStatus>,
    pub(crate) tokens: TokenKey,
    /// Makes and checks tokens in place of the above where the port is set so.
    pub(crate) jwt: Option<Arc<JwtKeys>>,
    pub(crate) credentials: Credentials,
    pub(crate) leases: Arc<dyn LeaseKeeper>,
    pub(crate) hub: WatchHub,
    pub(crate) clients: Arc<Clients>,
    /// Who changes the members, where the port may.
    pub(crate) members: Option<Arc<dyn MemberKeeper>>,
    pub(crate) metrics: Arc<Metrics>,
    /// When the port's certificate ends, in seconds since 1970.
    pub(crate) certificate_expiry: Option<watch::Receiver<i64>>,
    /// Revision of users and roles, a moment behind at most: watch streams look again at what they may see.
    pub(crate) auth_revision: watch::Receiver<u64>,
    /// Snapshots that may run at the same time.
    pub(crate) snapshots: Arc<tokio::sync::Semaphore>,
    /// Cancelled when the port closes: streams end.
    pub(crate) drain: CancellationToken,
}

impl Context {
    /// Refuses at once while this node has lost contact with a quorum, so that the client tries its next endpoint.
    pub(crate) fn ensure_serving(&self, client: &Client) -> Result<(), Status> {
        self.ensure_contact(client)?;
        // A member that is to become a voter by itself serves at once; one that was added as a learner does not.
        let own = self.handle.node_id();
        let learns = self.status.borrow().learners.contains(&own);
        if learns
            && self
                .handle
                .read(|state| state.node(own).is_some_and(|node| node.learner))
        {
            return Err(errors::not_for_learners());
        }
        Ok(())
    }

    /// As [`Self::ensure_serving`], for a read: learners answer serializable ones.
    pub(crate) fn ensure_reading(&self, client: &Client, serializable: bool) -> Result<(), Status> {
        match serializable {
            true => self.ensure_contact(client),
            false => self.ensure_serving(client),
        }
    }

    fn ensure_contact(&self, client: &Client) -> Result<(), Status> {
        let status = self.status.borrow();
        match !status.serving || (client.requires_leader && status.leader.is_none()) {
            true => Err(errors::no_leader()),
            false => Ok(()),
        }
    }

    /// Looks at the keyspace under the state's short lock.
    pub(crate) fn keyspace<T>(&self, read: impl FnOnce(&Keyspace) -> T) -> Result<T, Status> {
        self.handle
            .read(|state| state.keyspace(&self.instance).map(read))
            .ok_or_else(errors::unknown_instance)
    }

    /// An unchanging view of the keyspace, for reads that are too long for the lock.
    pub(crate) fn keyspace_view(&self) -> Result<Keyspace, Status> {
        self.keyspace(Keyspace::clone)
    }

    /// Waits until the local state holds everything committed so far.
    pub(crate) async fn read_index(&self) -> Result<(), Status> {
        self.handle
            .read_index(REQUEST_TIMEOUT)
            .await
            .map_err(errors::call_status)
    }

    /// Waits until the local state holds everything that this node has told its clients to be done: what a client of etcd sees
    /// at the member that answered it, without a word with the leader.
    pub(crate) async fn read_acknowledged(&self) -> Result<(), Status> {
        if self.handle.has_acknowledged() {
            return Ok(());
        }
        let waited = self.handle.read_acknowledged(REQUEST_TIMEOUT).await;
        waited.map_err(errors::call_status)
    }

    /// Validates and proposes an operation, and waits for its result and the revision after it.
    pub(crate) async fn propose(&self, client: &Client, mut op: KvOp) -> Result<(KvResult, i64), Status> {
        self.ensure_serving(client)?;
        // As etcd does: keys and their options are looked at before the caller, everything else after.
        let validated_first = matches!(op, KvOp::Put(_) | KvOp::DeleteRange(_) | KvOp::Txn(_));
        if validated_first {
            self.validate_keys(client, &op).await?;
        }
        let mut retries = 0;
        loop {
            let caller = self
                .authorize_here(client, |keyspace, caller| {
                    keyspace.check_op(Some(&caller), &op)?;
                    Ok(caller)
                })
                .await?;
            if !validated_first && let Err(error) = quorate_kv::validate(&op) {
                // It goes no further, so no `apply` looks at the caller again.
                self.authorize(client, |keyspace, caller| keyspace.check_op(Some(&caller), &op))
                    .await?;
                return Err(errors::kv_status(error));
            }
            let encoded;
            (encoded, op) = self.encode_proposal(caller, client, op);
            let reply = self.propose_encoded(encoded).await?;
            match reply.result {
                Some(KvResult::Refused(code)) => {
                    let error = KvError::try_from(code).unwrap_or(KvError::Unspecified);
                    if error != KvError::AuthOldRevision || retries == MAX_AUTH_RETRIES {
                        return Err(errors::kv_status(error));
                    }
                    retries += 1;
                    self.read_index().await?;
                }
                Some(result) => return Ok((result, reply.revision)),
                None => return Err(Status::internal("quorate: an operation was answered without a result")),
            }
        }
    }

    /// The size counts only for callers whose token is good.
    async fn validate_keys(&self, client: &Client, op: &KvOp) -> Result<(), Status> {
        match quorate_kv::validate(op) {
            Err(error) => {
                if error == KvError::RequestTooLarge {
                    self.authorize(client, |_, _| Ok(())).await?;
                }
                Err(errors::kv_status(error))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Encodes an operation on behalf of a caller. The operation moves through, so that nothing is copied.
    fn encode_proposal(&self, caller: KvCaller, client: &Client, op: KvOp) -> (Bytes, KvOp) {
        let proposal = Proposal {
            author: Some(Principal {
                kind: Some(PrincipalKind::Kv(KvPrincipal::new(self.instance, caller))),
                source: client.source.as_ref().to_owned(),
            }),
            command: Some(Command::Kv(KvCommand {
                instance: self.instance,
                op: Some(op),
            })),
        };
        let encoded = proposal.encode_to_vec().into();
        match proposal.command {
            Some(Command::Kv(KvCommand { op: Some(op), .. })) => (encoded, op),
            _ => unreachable!("the proposal was made above"),
        }
    }

    async fn propose_encoded(&self, encoded: Bytes) -> Result<KvReply, Status> {
        let pending = self.metrics.propose();
        let committed = self.handle.propose_encoded(encoded, REQUEST_TIMEOUT).await;
        if committed.is_err() {
            pending.failed();
        }
        match committed.map_err(errors::call_status)?.reply.kind {
            Some(ReplyKind::Kv(reply)) => Ok(reply),
            Some(ReplyKind::Refused(refusal)) => Err(errors::refusal_status(&refusal)),
            _ => Err(Status::internal(
                "quorate: an operation was answered with the reply of another command",
            )),
        }
    }

    /// Header of an answer at this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.status.borrow().term,
        }
    }

    /// Header at the newest local revision.
    pub(crate) fn current_header(&self) -> Result<ResponseHeader, Status> {
        Ok(self.header(self.keyspace(Keyspace::revision)?))
    }
}

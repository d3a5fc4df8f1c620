//! What every service of one instance's port shares: who asks, whether this node can answer, reads, proposals, headers.

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
use tonic::{Extensions, Request, Status, metadata::MetadataMap};

use crate::clients::Clients;
use crate::credentials::Credentials;
use crate::errors;
use crate::jwt::JwtKeys;
use crate::lessor::LeaseKeeper;
use crate::members::MemberKeeper;
use crate::metrics::Metrics;
use crate::pb::etcdserverpb::ResponseHeader;
use crate::token::{Claims, TokenKey};
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

/// What the connection says of the client; set once per connection.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Address of the client, `ip:port`.
    pub(crate) source: Arc<str>,
    /// Common name of the verified client certificate, where the port demands one: the user of calls without a token.
    pub(crate) common_name: Option<Arc<str>>,
}

impl Connection {
    /// Who calls without a token.
    pub(crate) fn token(&self) -> Token {
        self.common_name.clone().map_or(Token::None, Token::CommonName)
    }
}

/// Who sent a request, before the state was asked about it.
#[derive(Clone)]
pub(crate) struct Client {
    token: Token,
    pub(crate) source: Arc<str>,
    /// The client wants an error rather than waiting while there is no leader (`hasleader`).
    pub(crate) requires_leader: bool,
}

/// What a request's token says. Whether the user still has that revision is asked of the state at every call.
#[derive(Clone)]
pub(crate) enum Token {
    None,
    /// The verified certificate names a user.
    CommonName(Arc<str>),
    Valid(Arc<Claims>),
    Invalid,
}

impl Client {
    pub(crate) fn new(token: Token, source: Arc<str>, requires_leader: bool) -> Client {
        Client {
            token,
            source,
            requires_leader,
        }
    }

    /// The user as the keyspace knows it now. Without a token an empty user, which the checks refuse.
    pub(crate) fn caller(&self, keyspace: &Keyspace) -> Result<KvCaller, KvError> {
        if !keyspace.auth_enabled() {
            return Ok(KvCaller::default());
        }
        match &self.token {
            Token::None => Ok(KvCaller::default()),
            // A name that is no user has no permission, as in etcd.
            Token::CommonName(name) => Ok(KvCaller {
                user: name.as_ref().to_owned(),
                auth_revision: keyspace.auth_revision(),
            }),
            Token::Invalid => Err(KvError::InvalidAuthToken),
            Token::Valid(claims) => {
                let ended = |end| crate::jwt::now_unix_seconds() >= end;
                if claims.expires_unix_seconds.is_some_and(ended) {
                    return Err(KvError::InvalidAuthToken);
                }
                let user = keyspace.user(&claims.user);
                user.filter(|user| user.revision == claims.user_revision)
                    .ok_or(KvError::InvalidAuthToken)?;
                Ok(KvCaller {
                    user: claims.user.clone(),
                    auth_revision: keyspace.auth_revision(),
                })
            }
        }
    }

    /// The user that this client once proved to be, as the keyspace knows it now, whatever became of its password.
    pub(crate) fn named_caller(&self, keyspace: &Keyspace) -> KvCaller {
        let user = match &self.token {
            Token::Valid(claims) => claims.user.clone(),
            Token::CommonName(name) => name.as_ref().to_owned(),
            Token::None | Token::Invalid => String::new(),
        };
        KvCaller {
            user,
            auth_revision: keyspace.auth_revision(),
        }
    }

    fn has_valid_token(&self) -> bool {
        matches!(self.token, Token::Valid(_) | Token::CommonName(_))
    }
}

impl Context {
    /// What a token's text says. The costly part, so connections remember it: for the same text it is always the same.
    pub(crate) fn verify_token(&self, text: &[u8]) -> Token {
        let text = std::str::from_utf8(text).ok();
        text.map(|text| text.strip_prefix("Bearer ").unwrap_or(text))
            .and_then(|text| match &self.jwt {
                Some(jwt) => jwt.verify(text),
                None => self.tokens.verify(self.instance, text),
            })
            .map_or(Token::Invalid, |claims| Token::Valid(Arc::new(claims)))
    }

    /// Who sends this request.
    pub(crate) fn client<T>(&self, request: &Request<T>) -> Client {
        self.client_of(request.metadata(), request.extensions())
    }

    fn client_of(&self, metadata: &MetadataMap, extensions: &Extensions) -> Client {
        let connection = extensions.get::<Connection>();
        let token = metadata.get("token").or_else(|| metadata.get("authorization"));
        let token = match (token, connection) {
            (Some(text), _) => self.verify_token(text.as_bytes()),
            (None, Some(connection)) => connection.token(),
            (None, None) => Token::None,
        };
        let source = connection.map(|connection| Arc::clone(&connection.source));
        Client {
            token,
            source: source.unwrap_or_else(|| Arc::from("")),
            requires_leader: metadata.get("hasleader").is_some_and(|value| value == "true"),
        }
    }

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

    /// Runs a check with the caller on the local state. A denial is checked again on the newest state, because this node
    /// may lag behind the grant.
    pub(crate) async fn authorize<T>(
        &self,
        client: &Client,
        check: impl Fn(&Keyspace, KvCaller) -> Result<T, KvError>,
    ) -> Result<T, Status> {
        let attempt = || self.keyspace(|keyspace| client.caller(keyspace).and_then(|caller| check(keyspace, caller)));
        match attempt()? {
            Err(KvError::InvalidAuthToken | KvError::PermissionDenied | KvError::AuthOldRevision)
                if client.has_valid_token() =>
            {
                self.read_index().await?;
                attempt()?.map_err(errors::kv_status)
            }
            // Strangers cost the leader nothing, but what this node said itself holds for them as well.
            Err(_) if !self.handle.has_acknowledged() => {
                self.read_acknowledged().await?;
                attempt()?.map_err(errors::kv_status)
            }
            result => result.map_err(errors::kv_status),
        }
    }

    /// Allows only holders of the role `root` (everybody while authentication is off).
    pub(crate) async fn authorize_admin(&self, client: &Client) -> Result<(), Status> {
        self.authorize(client, |keyspace, caller| keyspace.check_admin(Some(&caller)))
            .await
    }

    /// Allows any authenticated user.
    pub(crate) async fn authorize_user(&self, client: &Client) -> Result<(), Status> {
        self.authorize(client, |keyspace, caller| {
            if keyspace.auth_enabled() && caller.user.is_empty() {
                return Err(KvError::UserEmpty);
            }
            Ok(())
        })
        .await
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
                .authorize(client, |keyspace, caller| {
                    keyspace.check_op(Some(&caller), &op)?;
                    Ok(caller)
                })
                .await?;
            if !validated_first {
                quorate_kv::validate(&op).map_err(errors::kv_status)?;
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

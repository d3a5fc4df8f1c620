//! One operation as both systems get it, and what came of it.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::normal::Normal;
use super::rebase::Rebase;
use super::{sorting, watching};
use crate::etcd::Client;
use crate::wire::etcdserverpb as pb;

/// What came of an operation, without what must differ (ids, terms, tokens).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply.
    Answered(Answer),
    /// The gRPC code and text.
    Refused(Code, String),
}

/// A reply: encoded for the comparison, with a way to show it.
#[derive(Clone)]
pub struct Answer {
    encoded: Vec<u8>,
    show: fn(&[u8]) -> String,
    /// Revision of the header; 0 where a reply has none.
    pub revision: i64,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Answer {}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.show)(&self.encoded))
    }
}

impl Answer {
    /// Takes what must differ out of a reply.
    pub fn of<A: Normal + Message + Default + fmt::Debug>(mut reply: A) -> Answer {
        let revision = reply.revision();
        reply.normalise();
        let show = |encoded: &[u8]| A::decode(encoded).map_or_else(|e| e.to_string(), |reply| format!("{reply:?}"));
        Answer {
            encoded: reply.encode_to_vec(),
            show,
            revision,
        }
    }
}

impl Outcome {
    /// Revision that the reply's header told.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Outcome::Answered(answer) => Some(answer.revision).filter(|revision| *revision > 0),
            Outcome::Refused(..) => None,
        }
    }

    /// Whether the operation was carried out.
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Answered(_))
    }

    /// Whether the operation certainly was not carried out, because nobody led: on a machine under load it is asked again.
    pub fn met_no_leader(&self) -> bool {
        matches!(self, Outcome::Refused(Code::Unavailable, text) if text == "etcdserver: no leader")
    }

    fn from_status(status: &Status) -> Outcome {
        Outcome::Refused(status.code(), status.message().to_owned())
    }
}

async fn call<Q, A>(client: &mut Client, path: &'static str, request: &Q) -> Outcome
where
    Q: Message + Clone + 'static,
    A: Normal + Message + Default + fmt::Debug + 'static,
{
    call_and(client, path, request, |_: &Q, _: &mut A| {}).await
}

/// The same, with what else the reply needs before it can be compared.
async fn call_and<Q, A>(client: &mut Client, path: &'static str, request: &Q, settle: impl Fn(&Q, &mut A)) -> Outcome
where
    Q: Message + Clone + 'static,
    A: Normal + Message + Default + fmt::Debug + 'static,
{
    match client.unary::<Q, A>(path, request.clone()).await {
        Ok(mut reply) => {
            settle(request, &mut reply);
            Outcome::Answered(Answer::of(reply))
        }
        Err(status) => Outcome::from_status(&status),
    }
}

macro_rules! operations {
    (@settle) => { |_, _| {} };
    (@settle $settle:expr) => { $settle };
    ($($name:ident($request:ident) -> $response:ident, $path:literal $(, $settle:expr)?;)+) => {
        /// One operation of etcd's API.
        #[derive(Clone, Debug)]
        pub enum Operation {
            $(
                #[doc = concat!("`", $path, "`.")]
                $name(pb::$request),
            )+
            /// `LeaseGrant` with an id of the server's choice, and the lease's end at once, because the ids differ.
            LeaseOfServersChoice(i64),
            /// One keep-alive.
            LeaseKeepAlive(i64),
            /// A stream with these watches, read until both systems must have told everything that they have.
            Watch(Vec<pb::WatchCreateRequest>),
        }

        impl Operation {
            /// Carries the operation out.
            pub async fn perform(&self, client: &mut Client) -> Outcome {
                match self {
                    $(Operation::$name(request) => {
                        let settle: fn(&pb::$request, &mut pb::$response) = operations!(@settle $($settle)?);
                        call_and(client, $path, request, settle).await
                    })+
                    Operation::LeaseOfServersChoice(ttl) => grant_and_revoke(client, *ttl).await,
                    Operation::LeaseKeepAlive(id) => keep_alive(client, *id).await,
                    Operation::Watch(creates) => match watching::watch(client, creates).await {
                        Ok(seen) => seen.into(),
                        Err(status) => Outcome::from_status(&status),
                    },
                }
            }

            /// Moves every revision that the operation names.
            pub fn rebase(&mut self, by: i64) {
                match self {
                    $(Operation::$name(request) => request.rebase(by),)+
                    Operation::Watch(creates) => creates.iter_mut().for_each(|create| create.rebase(by)),
                    Operation::LeaseOfServersChoice(_) | Operation::LeaseKeepAlive(_) => {}
                }
            }
        }
    };
}

operations! {
    Range(RangeRequest) -> RangeResponse, "/etcdserverpb.KV/Range", sorting::settle_range;
    Put(PutRequest) -> PutResponse, "/etcdserverpb.KV/Put";
    DeleteRange(DeleteRangeRequest) -> DeleteRangeResponse, "/etcdserverpb.KV/DeleteRange";
    Txn(TxnRequest) -> TxnResponse, "/etcdserverpb.KV/Txn", sorting::settle_txn;
    Compact(CompactionRequest) -> CompactionResponse, "/etcdserverpb.KV/Compact";
    LeaseGrant(LeaseGrantRequest) -> LeaseGrantResponse, "/etcdserverpb.Lease/LeaseGrant";
    LeaseRevoke(LeaseRevokeRequest) -> LeaseRevokeResponse, "/etcdserverpb.Lease/LeaseRevoke";
    LeaseTimeToLive(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse, "/etcdserverpb.Lease/LeaseTimeToLive";
    LeaseLeases(LeaseLeasesRequest) -> LeaseLeasesResponse, "/etcdserverpb.Lease/LeaseLeases";
    Alarm(AlarmRequest) -> AlarmResponse, "/etcdserverpb.Maintenance/Alarm";
    Defragment(DefragmentRequest) -> DefragmentResponse, "/etcdserverpb.Maintenance/Defragment";
    HashKv(HashKvRequest) -> HashKvResponse, "/etcdserverpb.Maintenance/HashKV";
    AuthEnable(AuthEnableRequest) -> AuthEnableResponse, "/etcdserverpb.Auth/AuthEnable";
    AuthDisable(AuthDisableRequest) -> AuthDisableResponse, "/etcdserverpb.Auth/AuthDisable";
    AuthStatus(AuthStatusRequest) -> AuthStatusResponse, "/etcdserverpb.Auth/AuthStatus";
    Authenticate(AuthenticateRequest) -> AuthenticateResponse, "/etcdserverpb.Auth/Authenticate";
    UserAdd(AuthUserAddRequest) -> AuthUserAddResponse, "/etcdserverpb.Auth/UserAdd";
    UserGet(AuthUserGetRequest) -> AuthUserGetResponse, "/etcdserverpb.Auth/UserGet";
    UserList(AuthUserListRequest) -> AuthUserListResponse, "/etcdserverpb.Auth/UserList";
    UserDelete(AuthUserDeleteRequest) -> AuthUserDeleteResponse, "/etcdserverpb.Auth/UserDelete";
    UserChangePassword(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse,
        "/etcdserverpb.Auth/UserChangePassword";
    UserGrantRole(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse, "/etcdserverpb.Auth/UserGrantRole";
    UserRevokeRole(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse, "/etcdserverpb.Auth/UserRevokeRole";
    RoleAdd(AuthRoleAddRequest) -> AuthRoleAddResponse, "/etcdserverpb.Auth/RoleAdd";
    RoleGet(AuthRoleGetRequest) -> AuthRoleGetResponse, "/etcdserverpb.Auth/RoleGet";
    RoleList(AuthRoleListRequest) -> AuthRoleListResponse, "/etcdserverpb.Auth/RoleList";
    RoleDelete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse, "/etcdserverpb.Auth/RoleDelete";
    RoleGrantPermission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse,
        "/etcdserverpb.Auth/RoleGrantPermission";
    RoleRevokePermission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse,
        "/etcdserverpb.Auth/RoleRevokePermission";
}

/// The users that an operation is asked as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// Without a token.
    Nobody,
    /// With a token that nobody issued.
    Impostor,
    /// With the last token that this user got, which may be void by now.
    User(String),
}

/// An operation of a sequence.
#[derive(Clone)]
pub struct Step {
    /// Who asks.
    pub caller: Caller,
    /// What is asked.
    pub operation: Operation,
    /// Newest revision when the operation was thought of; its revisions are meant relative to that.
    pub base_revision: i64,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.caller {
            Caller::User(name) => write!(f, "as {name}: ")?,
            caller => write!(f, "as {caller:?}: ")?,
        }
        let shown = format!("{:?}", self.operation);
        f.write_str(&shorten(&shown))
    }
}

/// Long values tell no more than their beginning.
pub(super) fn shorten(shown: &str) -> String {
    const CHARACTERS: usize = 4_000;
    match shown.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}… ({} bytes)", &shown[..end], shown.len()),
        None => shown.to_owned(),
    }
}

async fn grant_and_revoke(client: &mut Client, ttl: i64) -> Outcome {
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let granted: Result<pb::LeaseGrantResponse, Status> = client.unary("/etcdserverpb.Lease/LeaseGrant", request).await;
    let mut granted = match granted {
        Ok(granted) => granted,
        Err(status) => return Outcome::from_status(&status),
    };
    let revoke = pb::LeaseRevokeRequest { id: granted.id };
    let path = "/etcdserverpb.Lease/LeaseRevoke";
    match call::<_, pb::LeaseRevokeResponse>(client, path, &revoke).await {
        Outcome::Answered(_) => {
            // What is chosen must be positive; which number it is differs.
            granted.id = granted.id.signum();
            Outcome::Answered(Answer::of(granted))
        }
        refused => refused,
    }
}

async fn keep_alive(client: &mut Client, id: i64) -> Outcome {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let first = sender.try_send(pb::LeaseKeepAliveRequest { id });
    let path = "/etcdserverpb.Lease/LeaseKeepAlive";
    let answer = async {
        first.map_err(|error| Status::internal(error.to_string()))?;
        let mut answers = client.stream(path, receiver).await?;
        let answer: Option<pb::LeaseKeepAliveResponse> = answers.message().await?;
        answer.ok_or_else(|| Status::aborted("the stream ended"))
    };
    match answer.await {
        Ok(answer) => Outcome::Answered(Answer::of(answer)),
        Err(status) => Outcome::from_status(&status),
    }
}

/// A key from text.
pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

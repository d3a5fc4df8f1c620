//! Refusals and failed calls as gRPC statuses with etcd's texts, which clients match on.

use quorate_kv::{ErrorClass, KvError};
use quorate_machine::{Refusal, RefusalCode};
use quorate_raft::CallError;
use tonic::{Code, Status};

/// What ends a watch stream of a node that lost contact with the cluster. Any text but "etcdserver: no leader": that one,
/// or a clean end, makes older SDK watchers give up for good (sdk-contract 4).
pub(crate) const LOST_CONTACT: &str = "quorate: this node lost contact with the cluster; reconnect to another endpoint";

/// The gRPC status of a refusal by the keyspace.
pub(crate) fn kv_status(error: KvError) -> Status {
    let code = match error.class() {
        ErrorClass::InvalidArgument => Code::InvalidArgument,
        ErrorClass::OutOfRange => Code::OutOfRange,
        ErrorClass::ResourceExhausted => Code::ResourceExhausted,
        ErrorClass::NotFound => Code::NotFound,
        ErrorClass::FailedPrecondition => Code::FailedPrecondition,
        ErrorClass::PermissionDenied => Code::PermissionDenied,
        ErrorClass::Unauthenticated => Code::Unauthenticated,
        ErrorClass::DataLoss => Code::DataLoss,
    };
    Status::new(code, error.text())
}

/// The gRPC status of a call on consensus that did not end with a reply.
pub(crate) fn call_status(error: CallError) -> Status {
    match error {
        CallError::NoLeader => no_leader(),
        CallError::TimedOut => Status::unavailable("etcdserver: request timed out"),
        CallError::TimedOutLeaderLost => leader_lost(),
        // etcd declares ResourceExhausted but sends Unknown, and clients know it as that.
        CallError::TooManyRequests => too_many_requests(),
        CallError::Stopped => server_stopped(),
        CallError::Remote(text) => Status::unavailable(format!("quorate: the leader answered: {text}")),
    }
}

/// The gRPC status of a refusal by the state machine around the keyspace.
pub(crate) fn refusal_status(refusal: &Refusal) -> Status {
    match refusal.code() {
        RefusalCode::PermissionDenied | RefusalCode::ReservedPrefix => kv_status(KvError::PermissionDenied),
        RefusalCode::CredentialsChanged => kv_status(KvError::AuthOldRevision),
        RefusalCode::ResendOutsideWindow => leader_lost(),
        RefusalCode::UnknownInstance => unknown_instance(),
        // What etcd says once its corruption check has failed.
        RefusalCode::StateHashesDiffer => Status::data_loss("etcdserver: corrupt cluster"),
        code => Status::failed_precondition(format!("quorate: refused ({})", code.code())),
    }
}

pub(crate) fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

pub(crate) fn not_for_learners() -> Status {
    Status::failed_precondition("etcdserver: rpc not supported for learner")
}

pub(crate) fn server_stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

pub(crate) fn too_many_requests() -> Status {
    Status::unknown("etcdserver: too many requests")
}

/// As gRPC for Go refuses a message, which etcd's clients know.
pub(crate) fn message_too_large(found_bytes: usize, limit_bytes: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({found_bytes} vs. {limit_bytes})"
    ))
}

pub(crate) fn lost_contact() -> Status {
    Status::unavailable(LOST_CONTACT)
}

pub(crate) fn unknown_instance() -> Status {
    Status::unavailable("quorate: this node does not hold the instance yet; try another endpoint")
}

fn leader_lost() -> Status {
    Status::unavailable("etcdserver: request timed out, possibly due to previous leader failure")
}

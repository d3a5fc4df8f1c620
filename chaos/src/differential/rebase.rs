//! Moves the revisions in a request, so that a sequence means the same after operations before it were left out.

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::compare::TargetUnion;
use crate::wire::etcdserverpb::request_op::Request;

/// A request that may name revisions.
pub(super) trait Rebase {
    /// Adds `by` to every revision named, but not to those that stand for something special (0, 1, negative ones).
    fn rebase(&mut self, by: i64);
}

fn shift(revision: &mut i64, by: i64) {
    if *revision > 1 {
        *revision = revision.saturating_add(by).max(1);
    }
}

macro_rules! names_no_revision {
    ($($request:ident),+ $(,)?) => {
        $(impl Rebase for pb::$request {
            fn rebase(&mut self, _: i64) {}
        })+
    };
}

names_no_revision!(
    PutRequest,
    DeleteRangeRequest,
    LeaseGrantRequest,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    LeaseLeasesRequest,
    AlarmRequest,
    DefragmentRequest,
    AuthEnableRequest,
    AuthDisableRequest,
    AuthStatusRequest,
    AuthenticateRequest,
    AuthUserAddRequest,
    AuthUserGetRequest,
    AuthUserListRequest,
    AuthUserDeleteRequest,
    AuthUserChangePasswordRequest,
    AuthUserGrantRoleRequest,
    AuthUserRevokeRoleRequest,
    AuthRoleAddRequest,
    AuthRoleGetRequest,
    AuthRoleListRequest,
    AuthRoleDeleteRequest,
    AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest,
);

impl Rebase for pb::RangeRequest {
    fn rebase(&mut self, by: i64) {
        shift(&mut self.revision, by);
        shift(&mut self.min_mod_revision, by);
        shift(&mut self.max_mod_revision, by);
        shift(&mut self.min_create_revision, by);
        shift(&mut self.max_create_revision, by);
    }
}

impl Rebase for pb::CompactionRequest {
    fn rebase(&mut self, by: i64) {
        shift(&mut self.revision, by);
    }
}

impl Rebase for pb::HashKvRequest {
    fn rebase(&mut self, by: i64) {
        shift(&mut self.revision, by);
    }
}

impl Rebase for pb::WatchCreateRequest {
    fn rebase(&mut self, by: i64) {
        shift(&mut self.start_revision, by);
    }
}

impl Rebase for pb::TxnRequest {
    fn rebase(&mut self, by: i64) {
        for compare in &mut self.compare {
            if let Some(TargetUnion::ModRevision(revision) | TargetUnion::CreateRevision(revision)) =
                &mut compare.target_union
            {
                shift(revision, by);
            }
        }
        for op in self.success.iter_mut().chain(&mut self.failure) {
            match &mut op.request {
                Some(Request::RequestRange(range)) => range.rebase(by),
                Some(Request::RequestTxn(nested)) => nested.rebase(by),
                _ => {}
            }
        }
    }
}

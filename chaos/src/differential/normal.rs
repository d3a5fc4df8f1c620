//! Takes out of replies what two systems cannot have in common: ids of cluster and members, terms, tokens, the seconds left
//! of a lease; and the order where etcd's is that of a hash map or of the time left.

use crate::wire::etcdserverpb as pb;

/// A reply that can be compared.
pub trait Normal: Sized {
    /// Revision of the header; 0 without a header.
    fn revision(&self) -> i64;

    /// Takes out what must differ.
    fn normalise(&mut self);
}

fn normalise_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        // That there are ids is compared.
        header.cluster_id = u64::from(header.cluster_id != 0);
        header.member_id = u64::from(header.member_id != 0);
        header.raft_term = u64::from(header.raft_term != 0);
    }
}

macro_rules! normal {
    ($($response:ident $(, $reply:ident => $more:block)?;)+) => {
        $(impl Normal for pb::$response {
            fn revision(&self) -> i64 {
                self.header.as_ref().map_or(0, |header| header.revision)
            }

            fn normalise(&mut self) {
                normalise_header(&mut self.header);
                $(let $reply = self; $more)?
            }
        })+
    };
}

normal! {
    RangeResponse;
    PutResponse;
    DeleteRangeResponse;
    TxnResponse;
    CompactionResponse;
    LeaseGrantResponse;
    LeaseRevokeResponse;
    LeaseKeepAliveResponse;
    LeaseTimeToLiveResponse, reply => {
        // What is left depends on the moment; that some is left, and no more than was granted, does not.
        if (1..=reply.granted_ttl).contains(&reply.ttl) {
            reply.ttl = reply.granted_ttl;
        }
        // In etcd the order of a hash map.
        reply.keys.sort_unstable();
    };
    LeaseLeasesResponse, reply => {
        // In etcd the order in which they would expire.
        reply.leases.sort_unstable_by_key(|lease| lease.id);
    };
    AlarmResponse, reply => {
        for alarm in &mut reply.alarms {
            alarm.member_id = u64::from(alarm.member_id != 0);
        }
    };
    DefragmentResponse;
    HashKvResponse;
    AuthEnableResponse;
    AuthDisableResponse;
    AuthStatusResponse;
    AuthenticateResponse, reply => {
        reply.token = if reply.token.is_empty() { String::new() } else { "a token".to_owned() };
    };
    AuthUserAddResponse;
    AuthUserGetResponse;
    AuthUserListResponse;
    AuthUserDeleteResponse;
    AuthUserChangePasswordResponse;
    AuthUserGrantRoleResponse;
    AuthUserRevokeRoleResponse;
    AuthRoleAddResponse;
    AuthRoleGetResponse, reply => {
        // etcd sorts by the key alone, and its sort is not stable.
        reply.perm.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
    };
    AuthRoleListResponse;
    AuthRoleDeleteResponse;
    AuthRoleGrantPermissionResponse;
    AuthRoleRevokePermissionResponse;
    WatchResponse;
}

//! The paths of etcd's JSON gateway and the methods behind them, as the `google.api.http` options of etcd 3.6 name them.

/// How a method takes and gives its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// One request, one answer.
    Unary,
    /// One request, a stream of answers.
    Answers,
    /// A stream of each.
    Both,
}

/// A path below `/v3/`, the method behind it, and its shape.
const ROUTES: [(&str, &str, Shape); 51] = [
    ("kv/range", "/etcdserverpb.KV/Range", Shape::Unary),
    ("kv/put", "/etcdserverpb.KV/Put", Shape::Unary),
    ("kv/deleterange", "/etcdserverpb.KV/DeleteRange", Shape::Unary),
    ("kv/txn", "/etcdserverpb.KV/Txn", Shape::Unary),
    ("kv/compaction", "/etcdserverpb.KV/Compact", Shape::Unary),
    ("watch", "/etcdserverpb.Watch/Watch", Shape::Both),
    ("lease/grant", "/etcdserverpb.Lease/LeaseGrant", Shape::Unary),
    ("lease/revoke", "/etcdserverpb.Lease/LeaseRevoke", Shape::Unary),
    ("kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke", Shape::Unary),
    ("lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive", Shape::Both),
    ("lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive", Shape::Unary),
    (
        "kv/lease/timetolive",
        "/etcdserverpb.Lease/LeaseTimeToLive",
        Shape::Unary,
    ),
    ("lease/leases", "/etcdserverpb.Lease/LeaseLeases", Shape::Unary),
    ("kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases", Shape::Unary),
    ("cluster/member/add", "/etcdserverpb.Cluster/MemberAdd", Shape::Unary),
    (
        "cluster/member/remove",
        "/etcdserverpb.Cluster/MemberRemove",
        Shape::Unary,
    ),
    (
        "cluster/member/update",
        "/etcdserverpb.Cluster/MemberUpdate",
        Shape::Unary,
    ),
    ("cluster/member/list", "/etcdserverpb.Cluster/MemberList", Shape::Unary),
    (
        "cluster/member/promote",
        "/etcdserverpb.Cluster/MemberPromote",
        Shape::Unary,
    ),
    ("maintenance/alarm", "/etcdserverpb.Maintenance/Alarm", Shape::Unary),
    ("maintenance/status", "/etcdserverpb.Maintenance/Status", Shape::Unary),
    (
        "maintenance/defragment",
        "/etcdserverpb.Maintenance/Defragment",
        Shape::Unary,
    ),
    ("maintenance/hash", "/etcdserverpb.Maintenance/Hash", Shape::Unary),
    ("maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV", Shape::Unary),
    (
        "maintenance/snapshot",
        "/etcdserverpb.Maintenance/Snapshot",
        Shape::Answers,
    ),
    (
        "maintenance/transfer-leadership",
        "/etcdserverpb.Maintenance/MoveLeader",
        Shape::Unary,
    ),
    (
        "maintenance/downgrade",
        "/etcdserverpb.Maintenance/Downgrade",
        Shape::Unary,
    ),
    ("auth/enable", "/etcdserverpb.Auth/AuthEnable", Shape::Unary),
    ("auth/disable", "/etcdserverpb.Auth/AuthDisable", Shape::Unary),
    ("auth/status", "/etcdserverpb.Auth/AuthStatus", Shape::Unary),
    ("auth/authenticate", "/etcdserverpb.Auth/Authenticate", Shape::Unary),
    ("auth/user/add", "/etcdserverpb.Auth/UserAdd", Shape::Unary),
    ("auth/user/get", "/etcdserverpb.Auth/UserGet", Shape::Unary),
    ("auth/user/list", "/etcdserverpb.Auth/UserList", Shape::Unary),
    ("auth/user/delete", "/etcdserverpb.Auth/UserDelete", Shape::Unary),
    (
        "auth/user/changepw",
        "/etcdserverpb.Auth/UserChangePassword",
        Shape::Unary,
    ),
    ("auth/user/grant", "/etcdserverpb.Auth/UserGrantRole", Shape::Unary),
    ("auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole", Shape::Unary),
    ("auth/role/add", "/etcdserverpb.Auth/RoleAdd", Shape::Unary),
    ("auth/role/get", "/etcdserverpb.Auth/RoleGet", Shape::Unary),
    ("auth/role/list", "/etcdserverpb.Auth/RoleList", Shape::Unary),
    ("auth/role/delete", "/etcdserverpb.Auth/RoleDelete", Shape::Unary),
    (
        "auth/role/grant",
        "/etcdserverpb.Auth/RoleGrantPermission",
        Shape::Unary,
    ),
    (
        "auth/role/revoke",
        "/etcdserverpb.Auth/RoleRevokePermission",
        Shape::Unary,
    ),
    ("lock/lock", "/v3lockpb.Lock/Lock", Shape::Unary),
    ("lock/unlock", "/v3lockpb.Lock/Unlock", Shape::Unary),
    ("election/campaign", "/v3electionpb.Election/Campaign", Shape::Unary),
    ("election/proclaim", "/v3electionpb.Election/Proclaim", Shape::Unary),
    ("election/leader", "/v3electionpb.Election/Leader", Shape::Unary),
    ("election/observe", "/v3electionpb.Election/Observe", Shape::Answers),
    ("election/resign", "/v3electionpb.Election/Resign", Shape::Unary),
];

/// The method behind a path and its shape; `/v3beta/` stands for `/v3/`.
pub(super) fn find(path: &str) -> Option<(&'static str, Shape)> {
    let rest = path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))?;
    let found = ROUTES.iter().find(|(known, ..)| *known == rest)?;
    Some((found.1, found.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::schema::SCHEMA;

    #[test]
    fn paths_lead_to_methods_of_the_schema() {
        for (path, method, _) in ROUTES {
            assert_eq!(find(&format!("/v3/{path}")).map(|found| found.0), Some(method));
            if method.starts_with("/etcdserverpb.") {
                assert!(SCHEMA.method(method).is_some(), "{method} has no descriptor");
            }
        }
        assert_eq!(find("/v3/kv/range/"), None);
        assert!(find("/v3beta/kv/put").is_some() && find("/v3alpha/kv/put").is_none());
    }
}

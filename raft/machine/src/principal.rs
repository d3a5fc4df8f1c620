//! On whose behalf commands run. What they may do is decided in `access`.

use quorate_kv::KvCaller;

use crate::model::*;

/// On whose behalf a command runs, as authenticated at the edge.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Principal {
    #[prost(oneof = "PrincipalKind", tags = "1, 2, 3")]
    pub kind: Option<PrincipalKind>,
    /// Where the request came from (address of the client), for the audit record.
    #[prost(string, tag = "10")]
    pub source: String,
}

/// Kinds of principals.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum PrincipalKind {
    /// A node acting for the cluster itself (reports, ticks, leadership). Its id.
    #[prost(uint64, tag = "1")]
    Node(u64),
    /// A console user or an API token of one.
    #[prost(message, tag = "2")]
    User(UserPrincipal),
    /// A caller of the KV endpoint; the keyspace checks it.
    #[prost(message, tag = "3")]
    Kv(KvPrincipal),
}

/// A caller of one instance's KV port: a [`KvCaller`] that is good for that instance alone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvPrincipal {
    /// Empty when the keyspace has authentication off.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Auth revision of the keyspace when the credentials were checked.
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
    /// The instance whose port checked the credentials; a command on another one is refused.
    #[prost(message, required, tag = "3")]
    pub instance: Id,
}

impl KvPrincipal {
    /// A caller that the port of `instance` has authenticated.
    pub fn new(instance: Id, caller: KvCaller) -> Self {
        Self {
            user: caller.user,
            auth_revision: caller.auth_revision,
            instance,
        }
    }

    /// As the keyspace knows it.
    pub fn caller(&self) -> KvCaller {
        KvCaller {
            user: self.user.clone(),
            auth_revision: self.auth_revision,
        }
    }
}

/// A console user with the auth revision that was checked; a newer one in the state refuses the command.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserPrincipal {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
    /// The API token used, if any: it may narrow the role.
    #[prost(message, optional, tag = "3")]
    pub token: Option<Id>,
}

//! Console users and their tokens.

use bytes::Bytes;

use crate::model::*;

/// Role of a console user (A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    Viewer = 0,
    Operator = 1,
    Admin = 2,
    Root = 3,
}

impl Role {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Root => "root",
        }
    }
}

/// A console user. The hash is argon2, made at the edge.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct User {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub password_hash: String,
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
    /// Rises with every change of password or role; sessions and tokens made before it are void.
    #[prost(uint64, tag = "5")]
    pub auth_revision: u64,
}

/// An API token of a console user (A4): the hash only. Expiry is wall time, checked at the edge, failing closed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct ApiToken {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub user: String,
    /// SHA-256 of the token.
    #[prost(bytes = "bytes", tag = "4")]
    pub hash: Bytes,
    #[prost(enumeration = "Role", tag = "5")]
    pub role: i32,
    #[prost(int64, tag = "6")]
    pub expires_at_ms: i64,
    /// The token reaches these applications and what is in them alone; empty: whatever its user reaches.
    #[prost(message, repeated, tag = "7")]
    pub applications: Vec<Id>,
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiToken({}, user {})", self.name, self.user)
    }
}

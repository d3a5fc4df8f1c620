//! REST and server-sent events of the console, under `/api/v1`.
//!
//! An edge: it authenticates, turns JSON into commands and the state into JSON, and nothing else. Permission, ownership,
//! quotas and conflicts are decided by the replicated machine ([`quorate_machine`]), so that two nodes cannot disagree;
//! what the machine refuses becomes an RFC 9457 problem with the machine's own stable code. It is deliberately not the
//! place for effects: sealing a password and testing a connection are done by the node, behind [`Sealer`] and
//! [`ConnectionTester`].
//!
//! The node mounts [`router`] beside its own health routes and its metrics, these [`behind_login`], and serves all of them
//! with [`serve_https`].

mod auth;
mod context;
mod dto;
mod extract;
mod instance_keys;
mod language;
mod limits;
mod openapi;
mod pages;
mod peers;
mod places;
mod problem;
mod routes;
mod serve;
mod strict;
mod swagger;

pub use auth::{SessionKey, hash_password};
pub use context::{
    AddressReport, ApiContext, ApiSettings, ConnectedProcess, ConnectionTest, ConnectionTester, EdgeFuture,
    LinkMeasure, LinkSource, MeasureSource, ProcessSource, Sealer, SideMeasure, StageReport, TlsFiles, TypedSecret,
};
pub use instance_keys::{ClientFiles, InstanceKeys, InstanceSecrets, KvPasswords};
pub use openapi::{behind_login, document, router};
pub use problem::{FieldError, Problem};
pub use serve::serve_https;

//! MongoDB (C24).

use quorate_machine::MongodbSpec;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;
use super::shared::{PlaceBody, TlsBody, Typed, never_shown, password, tls_body, tls_spec};
use crate::problem::Problem;

/// A MongoDB data source on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MongodbBody {
    /// Monitoring account, read privileges only; the same on both sides.
    user: String,
    /// Its password. Needed when the monitor is created; left out in an edit, it stays. Never returned.
    #[serde(default, skip_serializing_if = "never_shown")]
    #[schema(write_only)]
    password: Option<Typed>,
    /// A password is stored; it is never shown, and ignored when sent.
    #[serde(default)]
    #[schema(read_only)]
    password_set: bool,
    /// Database that the account belongs to.
    monitoring_database: String,
    /// The database of the applications; the monitoring database when left out.
    #[serde(default)]
    connecting_database: String,
    /// Name of the replica set, the same on both sides; whatever answers when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    replica_set: String,
    /// Off when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsBody>,
    dc1: PlaceBody,
    dc2: PlaceBody,
}

impl MongodbBody {
    pub(super) fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<MongodbSpec, Problem> {
        password(secrets, at, "password", "password", self.password)?;
        let connecting = if self.connecting_database.is_empty() {
            self.monitoring_database.clone()
        } else {
            self.connecting_database
        };
        Ok(MongodbSpec {
            user: self.user,
            password: None,
            monitoring_database: self.monitoring_database,
            connecting_database: connecting,
            replica_set: self.replica_set,
            tls: tls_spec(self.tls),
            dc1: self.dc1.into(),
            dc2: self.dc2.into(),
        })
    }
}

impl From<&MongodbSpec> for MongodbBody {
    fn from(spec: &MongodbSpec) -> Self {
        Self {
            user: spec.user.clone(),
            password: None,
            password_set: spec.password.is_some(),
            monitoring_database: spec.monitoring_database.clone(),
            connecting_database: spec.connecting_database.clone(),
            replica_set: spec.replica_set.clone(),
            tls: tls_body(spec.tls.as_ref()),
            dc1: PlaceBody::from(&spec.dc1),
            dc2: PlaceBody::from(&spec.dc2),
        }
    }
}

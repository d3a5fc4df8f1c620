//! MySQL, PostgreSQL, Oracle (C20–C22).

use quorate_machine::{CanarySpec, RelationalSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;
use super::shared::{SiteBody, TlsBody, Typed, is_false, never_shown, password, tls_body, tls_spec};
use crate::problem::Problem;

/// A relational data source on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RelationalBody {
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
    /// Database that is probed; Oracle: the service name, or the SID.
    monitoring_database: String,
    /// The database of the applications; the monitoring database when left out.
    #[serde(default)]
    connecting_database: String,
    /// Oracle: `monitoring_database` is a SID and no service name.
    #[serde(default, skip_serializing_if = "is_false")]
    database_is_sid: bool,
    /// Off when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsBody>,
    /// A row that is written now and then, to notice a full or stalled disk; off when left out. MySQL and PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryBody>,
    dc1: SiteBody,
    dc2: SiteBody,
}

/// Write canary: an account of its own updates a row of its own. The table has the columns `id` and `beat`, and the rows 1
/// (dc1) and 2 (dc2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryBody {
    /// May read and update the table and nothing else.
    user: String,
    /// Needed when the canary is turned on; left out in an edit, it stays. Never returned.
    #[serde(default, skip_serializing_if = "never_shown")]
    #[schema(write_only)]
    password: Option<Typed>,
    /// A password is stored; it is never shown, and ignored when sent.
    #[serde(default)]
    #[schema(read_only)]
    password_set: bool,
    database: String,
    #[serde(default = "canary_table")]
    table: String,
    /// A failing write is a failure of the data source: it votes `down`. Otherwise it is only shown.
    #[serde(default)]
    votes: bool,
}

fn canary_table() -> String {
    "quorate_canary".to_owned()
}

impl CanaryBody {
    fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<CanarySpec, Problem> {
        password(secrets, at, "canary.password", "password", self.password)?;
        Ok(CanarySpec {
            user: self.user,
            password: None,
            database: self.database,
            table: self.table,
            votes: self.votes,
        })
    }
}

impl From<&CanarySpec> for CanaryBody {
    fn from(spec: &CanarySpec) -> Self {
        Self {
            user: spec.user.clone(),
            password: None,
            password_set: spec.password.is_some(),
            database: spec.database.clone(),
            table: spec.table.clone(),
            votes: spec.votes,
        }
    }
}

impl RelationalBody {
    pub(super) fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<RelationalSpec, Problem> {
        password(secrets, at, "password", "password", self.password)?;
        let connecting = if self.connecting_database.is_empty() {
            self.monitoring_database.clone()
        } else {
            self.connecting_database
        };
        let canary = self
            .canary
            .map(|canary| canary.into_spec(&format!("{at}/canary"), secrets));
        Ok(RelationalSpec {
            canary: canary.transpose()?,
            user: self.user,
            password: None,
            monitoring_database: self.monitoring_database,
            connecting_database: connecting,
            dc1: self.dc1.into(),
            dc2: self.dc2.into(),
            tls: tls_spec(self.tls),
            database_is_sid: self.database_is_sid,
        })
    }
}

impl From<&RelationalSpec> for RelationalBody {
    fn from(spec: &RelationalSpec) -> Self {
        Self {
            user: spec.user.clone(),
            password: None,
            password_set: spec.password.is_some(),
            monitoring_database: spec.monitoring_database.clone(),
            connecting_database: spec.connecting_database.clone(),
            database_is_sid: spec.database_is_sid,
            tls: tls_body(spec.tls.as_ref()),
            canary: spec.canary.as_ref().map(CanaryBody::from),
            dc1: SiteBody::from(&spec.dc1),
            dc2: SiteBody::from(&spec.dc2),
        }
    }
}

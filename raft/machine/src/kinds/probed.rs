//! One side of a monitor as a prober sees it: the same shape for every kind.

use super::canary::CANARY_SECRET;
use crate::kinds::{ApiMethod, ProbedCanary, RedisMode, TlsSpec};
use crate::model::Sealed;

/// What decides whom a prober asks, as whom, and what for. Two equal values speak of the same server: what was found of one
/// holds for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedSide {
    /// Feature point of the kind, for example `mysql`.
    pub kind: &'static str,
    /// `host:port`, at least one; several where the kind has several entry points to one service.
    pub addresses: Vec<String>,
    /// Account; empty for none.
    pub user: String,
    /// Sealed secrets.
    pub secrets: Vec<ProbedSecret>,
    /// Database (Oracle: service name or SID); empty for kinds without one.
    pub database: String,
    pub tls: TlsSpec,
    /// What only this kind has.
    pub detail: ProbedDetail,
}

/// A secret of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedSecret {
    /// Which one, the same on both sides: `password`, `sentinel_password`, or `header.` and the header's name in lower case.
    pub name: String,
    /// The field that it is sealed for.
    pub field: String,
    pub sealed: Sealed,
}

/// What only one kind of data source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbedDetail {
    Relational {
        /// Oracle: `database` is a SID and no service name.
        database_is_sid: bool,
        /// Absent: nothing is ever written.
        canary: Option<ProbedCanary>,
    },
    Redis {
        mode: RedisMode,
        /// Sentinel: name of the monitored master.
        master_name: String,
        /// Sentinel: account at the sentinels themselves; its secret is `sentinel_password`.
        sentinel_user: String,
    },
    Mongodb {
        /// Name of the replica set; empty: whatever answers.
        replica_set: String,
    },
    Elasticsearch {
        https: bool,
    },
    Api(ApiRequest),
}

/// The request of an API monitor (C26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    pub https: bool,
    pub path: String,
    pub method: ApiMethod,
    pub expected_status: u16,
    /// Name and value; `None`: the value is the secret `header.` and the name in lower case.
    pub headers: Vec<(String, Option<String>)>,
    /// Text that the body must contain; empty: any body.
    pub body_contains: String,
}

impl ProbedSide {
    /// The write canary, where there is one.
    pub fn canary(&self) -> Option<&ProbedCanary> {
        match &self.detail {
            ProbedDetail::Relational { canary, .. } => canary.as_ref(),
            _ => None,
        }
    }

    /// The same side with nothing that writes: how it is asked without its canary.
    #[must_use]
    pub fn without_canary(mut self) -> Self {
        if let ProbedDetail::Relational { canary, .. } = &mut self.detail {
            *canary = None;
        }
        self.secrets.retain(|secret| secret.name != CANARY_SECRET);
        self
    }

    /// The same side by another list of addresses (connection tests try replicas too).
    pub fn at(&self, addresses: Vec<String>) -> Self {
        Self {
            addresses,
            ..self.clone()
        }
    }
}

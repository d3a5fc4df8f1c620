//! Quotas (A1) and global settings per kind (C11).

use quorate_machine::{Id, KindSettings, Quotas, SetQuotas, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Global settings of a kind, milliseconds; the same as body and as answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindSettingsBody {
    retry_interval_ms: u32,
    monitor_timeout_ms: u32,
    access_timeout_ms: u32,
    /// Workers that must reach a data source for it to count as healthy: 1 or 2.
    health_precision: u32,
}

impl From<KindSettingsBody> for KindSettings {
    fn from(body: KindSettingsBody) -> Self {
        Self {
            retry_interval_ms: body.retry_interval_ms,
            monitor_timeout_ms: body.monitor_timeout_ms,
            access_timeout_ms: body.access_timeout_ms,
            health_precision: body.health_precision,
        }
    }
}

/// Global settings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KindSettingsView {
    pub(crate) kind: String,
    pub(crate) settings: KindSettingsBody,
}

impl KindSettingsView {
    pub(crate) fn new(kind: &str, settings: KindSettings) -> Self {
        Self {
            kind: kind.to_owned(),
            settings: KindSettingsBody {
                retry_interval_ms: settings.retry_interval_ms,
                monitor_timeout_ms: settings.monitor_timeout_ms,
                access_timeout_ms: settings.access_timeout_ms,
                health_precision: settings.health_precision,
            },
        }
    }
}

/// New quotas; one that is left out stays.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuotasBody {
    #[serde(default)]
    namespaces: Option<u32>,
    #[serde(default)]
    instances: Option<u32>,
    #[serde(default)]
    applications_per_instance: Option<u32>,
    #[serde(default)]
    processes_per_application: Option<u32>,
    #[serde(default)]
    monitors_per_instance: Option<u32>,
}

impl From<QuotasBody> for SetQuotas {
    fn from(body: QuotasBody) -> Self {
        Self {
            namespaces: body.namespaces.unwrap_or(0),
            instances: body.instances.unwrap_or(0),
            applications_per_instance: body.applications_per_instance.unwrap_or(0),
            processes_per_application: body.processes_per_application.unwrap_or(0),
            monitors_per_instance: body.monitors_per_instance.unwrap_or(0),
        }
    }
}

/// Quotas in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct QuotasView {
    pub(crate) namespaces: u32,
    pub(crate) instances: u32,
    pub(crate) applications_per_instance: u32,
    pub(crate) processes_per_application: u32,
    pub(crate) monitors_per_instance: u32,
}

impl From<&Quotas> for QuotasView {
    fn from(quotas: &Quotas) -> Self {
        Self {
            namespaces: quotas.namespaces,
            instances: quotas.instances,
            applications_per_instance: quotas.applications_per_instance,
            processes_per_application: quotas.processes_per_application,
            monitors_per_instance: quotas.monitors_per_instance,
        }
    }
}

/// New quota of an instance's keyspace.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyspaceQuotaBody {
    /// Accounted bytes, 1 MiB to 8 GiB. Below what is stored, nothing is lost: what adds data is refused.
    pub(crate) quota_bytes: u64,
}

/// Space of an instance's keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeyspaceQuotaView {
    /// Accounted bytes that clients may fill.
    pub(crate) quota_bytes: u64,
    /// Accounted bytes that are stored, history included.
    pub(crate) used_bytes: u64,
    /// The quota was reached and the alarm `NOSPACE` has not been disarmed: clients add no data.
    pub(crate) full: bool,
}

impl KeyspaceQuotaView {
    /// `None` if there is no such instance.
    pub(crate) fn new(state: &State, instance: &Id) -> Option<Self> {
        let keyspace = state.keyspace(instance)?;
        Some(Self {
            quota_bytes: keyspace.quota_bytes(),
            used_bytes: keyspace.size_bytes(),
            full: state.keyspace_is_full(instance),
        })
    }
}

//! Quotas (A1) and global settings per kind (C11).

use quorate_machine::catalog::edge;
use quorate_machine::{Id, KindSettings, Quotas, SetQuotas, State, kind_traits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::language::text;
use crate::problem::Problem;

/// Global settings of a kind, milliseconds; the same as body and as answer. `api` has the health precision alone (C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindSettingsBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_interval_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor_timeout_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_timeout_ms: Option<u32>,
    /// Workers that must reach a data source for it to count as healthy: 1 or 2.
    health_precision: u32,
}

impl KindSettingsBody {
    /// The settings of `kind`.
    ///
    /// # Errors
    /// 422 for a time that is missing, or that the kind has not.
    pub(crate) fn into_settings(self, kind: &str) -> Result<KindSettings, Problem> {
        let counts = kind_traits(kind).is_some_and(|kind| kind.counts_attempts);
        let time = |name: &str, value: Option<u32>, default: u32| {
            let pointer = format!("/{name}");
            match value {
                Some(_) if counts => Err(Problem::field(&pointer, "unsupported", text(edge::NO_TIMES, &[]))),
                None if !counts => Err(Problem::field(&pointer, "missing-field", text(edge::TIME_NEEDED, &[]))),
                value => Ok(value.unwrap_or(default)),
            }
        };
        let default = KindSettings::DEFAULT;
        Ok(KindSettings {
            retry_interval_ms: time("retry_interval_ms", self.retry_interval_ms, default.retry_interval_ms)?,
            monitor_timeout_ms: time(
                "monitor_timeout_ms",
                self.monitor_timeout_ms,
                default.monitor_timeout_ms,
            )?,
            access_timeout_ms: time("access_timeout_ms", self.access_timeout_ms, default.access_timeout_ms)?,
            health_precision: self.health_precision,
        })
    }
}

/// Global settings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KindSettingsView {
    pub(crate) kind: String,
    pub(crate) settings: KindSettingsBody,
    /// What is advised: the settings of a new instance.
    pub(crate) defaults: KindSettingsBody,
}

impl KindSettingsView {
    pub(crate) fn new(kind: &str, settings: KindSettings) -> Self {
        let times = !kind_traits(kind).is_some_and(|kind| kind.counts_attempts);
        let shown = |settings: KindSettings| KindSettingsBody {
            retry_interval_ms: times.then_some(settings.retry_interval_ms),
            monitor_timeout_ms: times.then_some(settings.monitor_timeout_ms),
            access_timeout_ms: times.then_some(settings.access_timeout_ms),
            health_precision: settings.health_precision,
        };
        Self {
            kind: kind.to_owned(),
            settings: shown(settings),
            defaults: shown(KindSettings::DEFAULT),
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

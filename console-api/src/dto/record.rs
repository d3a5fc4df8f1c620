//! Events (F1) and audit records (A4).

use std::collections::BTreeMap;

use quorate_machine::catalog::{audit_text, event_meaning, event_text};
use quorate_machine::{AuditRecord, Change, EventRecord, Param};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339;
use crate::language::current;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EventView {
    /// Position in the chain of events; rises by one.
    pub(crate) sequence: u64,
    pub(crate) at: String,
    /// Cluster time, milliseconds.
    pub(crate) time_ms: u64,
    /// Log index of the entry that caused it.
    pub(crate) index: u64,
    /// Stable code, for example `failover`.
    pub(crate) code: String,
    /// `info`, `minor`, `major` or `critical`.
    pub(crate) level: String,
    /// Name of what happened, in the caller's language.
    pub(crate) name: String,
    /// Name of the level, in the caller's language.
    pub(crate) level_name: String,
    /// What happened: the explanation.
    pub(crate) text: String,
    /// What it may have done; empty for nothing.
    pub(crate) impact: String,
    /// Where to look and what to do.
    pub(crate) advice: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monitor: Option<String>,
    pub(crate) params: BTreeMap<String, String>,
}

impl From<&EventRecord> for EventView {
    fn from(event: &EventRecord) -> Self {
        let meaning = event_meaning(current(), event.code(), &event.params);
        Self {
            name: meaning.name,
            level_name: meaning.level.to_owned(),
            impact: meaning.impact.to_owned(),
            advice: meaning.advice.to_owned(),
            sequence: event.sequence,
            at: rfc3339(event.wall_ms),
            time_ms: event.time_ms,
            index: event.index,
            code: event.code().code().to_owned(),
            level: event.level().code().to_owned(),
            text: event_text(current(), event.code(), &event.params),
            instance: event.instance.map(|id| id.to_string()),
            application: event.application.map(|id| id.to_string()),
            monitor: event.monitor.map(|id| id.to_string()),
            params: params(&event.params),
        }
    }
}

/// One audit record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AuditView {
    /// Position in the chain of audit records; rises by one.
    pub(crate) sequence: u64,
    pub(crate) at: String,
    /// Cluster time, milliseconds.
    pub(crate) time_ms: u64,
    pub(crate) index: u64,
    /// `user:NAME`, `kv:NAME`, `node:ID` or `cluster`.
    pub(crate) actor: String,
    /// Address that the request came from.
    pub(crate) source: String,
    /// What was done or tried, for example `create-monitor`.
    pub(crate) code: String,
    pub(crate) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    pub(crate) params: BTreeMap<String, String>,
    /// Field by field, before and after.
    pub(crate) changes: Vec<ChangeView>,
    /// Code of the refusal, if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

/// What changed in one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChangeView {
    pub(crate) field: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        Self {
            field: change.field.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        }
    }
}

impl From<&AuditRecord> for AuditView {
    fn from(record: &AuditRecord) -> Self {
        Self {
            sequence: record.sequence,
            at: rfc3339(record.wall_ms),
            time_ms: record.time_ms,
            index: record.index,
            actor: record.actor.clone(),
            source: record.source.clone(),
            code: record.code.clone(),
            text: audit_text(current(), &record.code, &record.params),
            object: record.object.map(|id| id.to_string()),
            params: params(&record.params),
            changes: record.changes.iter().map(ChangeView::from).collect(),
            refused: (!record.refused.is_empty()).then(|| record.refused.clone()),
        }
    }
}

fn params(params: &[Param]) -> BTreeMap<String, String> {
    params
        .iter()
        .map(|param| (param.name.clone(), param.value.clone()))
        .collect()
}

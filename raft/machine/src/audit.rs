//! The audit log (A4): every change that somebody asked for, and every refusal of one, hash-chained.

use crate::apply::Context;
use crate::command::{Principal, PrincipalKind};
use crate::model::Id;
use crate::reply::{Param, Refusal};
use crate::ring::RingRecord;
use crate::state::State;

/// Audit records kept in the state.
pub const MAX_AUDIT_RECORDS: usize = 100_000;

/// Values longer than this are cut in records: no single one pushes the others out of the ring.
const MAX_VALUE_CHARS: usize = 256;

/// What changed in one field. Secrets appear as `(secret)`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Change {
    #[prost(string, tag = "1")]
    pub field: String,
    #[prost(string, tag = "2")]
    pub before: String,
    #[prost(string, tag = "3")]
    pub after: String,
}

/// One audit record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditRecord {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// Cluster time, milliseconds.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// Wall time, milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub wall_ms: i64,
    /// `user:NAME`, `kv:NAME`, `node:ID` or `cluster`.
    #[prost(string, tag = "5")]
    pub actor: String,
    /// Address that the request came from.
    #[prost(string, tag = "6")]
    pub source: String,
    /// What was done or tried: the command's stable name, for example `create-monitor`.
    #[prost(string, tag = "7")]
    pub code: String,
    /// The object, if there is one.
    #[prost(message, optional, tag = "8")]
    pub object: Option<Id>,
    #[prost(message, repeated, tag = "9")]
    pub params: Vec<Param>,
    #[prost(message, repeated, tag = "10")]
    pub changes: Vec<Change>,
    /// Set when the command was refused: the refusal's stable code.
    #[prost(string, tag = "11")]
    pub refused: String,
}

impl RingRecord for AuditRecord {
    fn sequence(&self) -> u64 {
        self.sequence
    }
    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

/// Actor of the cluster's own decisions.
pub(crate) const CLUSTER: &str = "cluster";

/// How a principal is written in records.
pub fn actor(principal: &Principal) -> String {
    match &principal.kind {
        Some(PrincipalKind::User(user)) => format!("user:{}", user.name),
        Some(PrincipalKind::Kv(caller)) => format!("kv:{}", caller.user),
        Some(PrincipalKind::Node(node)) => format!("node:{node}"),
        None => "nobody".to_owned(),
    }
}

/// Records a change that was carried out on behalf of the entry's author.
pub(crate) fn record(
    state: &mut State,
    context: &Context<'_>,
    code: &str,
    object: Option<Id>,
    params: Vec<Param>,
    changes: Vec<Change>,
) {
    record_as(state, context, actor(context.author), code, object, params, changes);
}

/// Records a change under another actor's name (`cluster` for decisions).
pub(crate) fn record_as(
    state: &mut State,
    context: &Context<'_>,
    actor: String,
    code: &str,
    object: Option<Id>,
    params: Vec<Param>,
    changes: Vec<Change>,
) {
    // The cluster's own decisions come from nowhere: whose entry brought them about is chance.
    let source = if actor == CLUSTER {
        String::new()
    } else {
        context.author.source.clone()
    };
    state.audit.push(AuditRecord {
        sequence: 0,
        index: context.index,
        time_ms: context.now_ms,
        wall_ms: context.wall_ms,
        actor,
        source,
        code: code.to_owned(),
        object,
        params: params.into_iter().map(shortened).collect(),
        changes,
        refused: String::new(),
    });
}

/// Records that a user's command was refused. Refusals of nodes and of KV clients are no audit matter.
pub(crate) fn record_refusal(
    state: &mut State,
    context: &Context<'_>,
    code: &str,
    object: Option<Id>,
    refusal: &Refusal,
) {
    if !matches!(context.author.kind, Some(PrincipalKind::User(_))) {
        return;
    }
    state.audit.push(AuditRecord {
        sequence: 0,
        index: context.index,
        time_ms: context.now_ms,
        wall_ms: context.wall_ms,
        actor: actor(context.author),
        source: context.author.source.clone(),
        code: code.to_owned(),
        object,
        params: refusal.params.iter().cloned().map(shortened).collect(),
        changes: Vec::new(),
        refused: refusal.code().code().to_owned(),
    });
}

/// Differences between two descriptions of an object; a field that is missing counts as empty.
pub(crate) fn differences(before: &[(String, String)], after: &[(String, String)]) -> Vec<Change> {
    fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }
    let added = after
        .iter()
        .filter(|(name, _)| !before.iter().any(|(known, _)| known == name));
    before
        .iter()
        .chain(added)
        .map(|(name, _)| (name, value(before, name), value(after, name)))
        // Compared whole: a change beyond the cut is a change.
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| Change {
            field: name.clone(),
            before: cut(before),
            after: cut(after),
        })
        .collect()
}

fn shortened(param: Param) -> Param {
    Param {
        value: cut(&param.value),
        ..param
    }
}

fn cut(value: &str) -> String {
    value.chars().take(MAX_VALUE_CHARS).collect()
}

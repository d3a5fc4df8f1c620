//! What `apply` gives back: replies, refusals and wake-ups.

use quorate_kv::KvReply;

use crate::model::Id;

/// Reply to a command. Kept in the de-duplication sessions, hence encodable.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    #[prost(oneof = "ReplyKind", tags = "1, 2, 3, 4, 5, 20")]
    pub kind: Option<ReplyKind>,
}

/// Kinds of replies.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ReplyKind {
    /// Carried out; nothing to say.
    #[prost(message, tag = "1")]
    Done(quorate_kv::Nothing),
    /// An object was created or changed: its id and its generation now.
    #[prost(message, tag = "2")]
    Object(ObjectReply),
    /// Monitors were switched.
    #[prost(message, tag = "3")]
    Switched(SwitchedReply),
    #[prost(message, tag = "4")]
    Kv(KvReply),
    #[prost(message, tag = "5")]
    Refused(Refusal),
    /// Several monitors were deleted or refused.
    #[prost(message, tag = "20")]
    Deleted(DeletedReply),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ObjectReply {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SwitchedReply {
    /// Revision of the keyspace that carries the whole batch.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// (monitor, epoch) in the order asked for.
    #[prost(message, repeated, tag = "2")]
    pub monitors: Vec<SwitchedMonitor>,
    /// What a partial switch left out, and why.
    #[prost(message, repeated, tag = "3")]
    pub left_out: Vec<LeftOutMonitor>,
}

/// A monitor that a partial switch left out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeftOutMonitor {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, required, tag = "3")]
    pub refusal: Refusal,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SwitchedMonitor {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// What became of a batch of deletions.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeletedReply {
    /// Revision of the keyspace that the keys of all of them left with; 0 if there were none.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// In the order asked for.
    #[prost(message, repeated, tag = "2")]
    pub items: Vec<DeletedMonitor>,
}

/// What became of one monitor of a batch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeletedMonitor {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    /// Why it is still there; absent when it was deleted.
    #[prost(message, optional, tag = "2")]
    pub refusal: Option<Refusal>,
}

impl Reply {
    /// The refusal, if this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.kind {
            Some(ReplyKind::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Reply {
            kind: Some(ReplyKind::Refused(refusal)),
        }
    }
}

/// A refusal: a stable code, a text that says what to do, and parameters for rendering at the edge.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refusal {
    /// Stable code such as `quota-exceeded`; the table of codes is `RefusalCode`.
    #[prost(enumeration = "RefusalCode", tag = "1")]
    pub code: i32,
    #[prost(message, repeated, tag = "2")]
    pub params: Vec<Param>,
    /// Problems with single fields, as JSON pointers into the object sent.
    #[prost(message, repeated, tag = "3")]
    pub fields: Vec<FieldProblem>,
}

impl Refusal {
    /// A refusal without parameters.
    pub fn new(code: RefusalCode) -> Self {
        Refusal {
            code: code as i32,
            params: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Adds a parameter.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.params.push(Param::new(name, value));
        self
    }

    /// A request with one invalid field.
    pub fn invalid_field(pointer: &str, code: &str, detail: &str) -> Self {
        let problem = FieldProblem {
            pointer: pointer.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
        };
        Refusal::invalid(vec![problem])
    }

    /// An invalid object, with what is wrong with its fields.
    pub fn invalid(fields: Vec<FieldProblem>) -> Self {
        Refusal {
            fields,
            ..Refusal::new(RefusalCode::InvalidSpec)
        }
    }
}

/// A typed parameter of a refusal, event or audit record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Param {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

impl Param {
    /// A parameter of a name.
    pub fn new(name: &str, value: impl ToString) -> Self {
        Param {
            name: name.to_owned(),
            value: value.to_string(),
        }
    }
}

/// What is wrong with one field.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FieldProblem {
    /// JSON pointer, for example `/timing/retry_interval_ms`.
    #[prost(string, tag = "1")]
    pub pointer: String,
    /// Stable code such as `out-of-range`.
    #[prost(string, tag = "2")]
    pub code: String,
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// Codes of refusals. The kebab-case name is the stable code of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RefusalCode {
    Unspecified = 0,
    /// The cluster has not been bootstrapped, or has been already.
    NotBootstrapped = 1,
    AlreadyBootstrapped = 2,
    /// The caller may not do this, or its credentials were changed meanwhile.
    PermissionDenied = 3,
    CredentialsChanged = 4,
    NotFound = 5,
    /// The name is taken.
    DuplicateName = 6,
    /// The object changed since it was read.
    GenerationConflict = 7,
    QuotaExceeded = 8,
    InvalidSpec = 9,
    /// The application still has monitors.
    HasMonitors = 10,
    FeatureDisabled = 11,
    /// The target side is abnormal; force with a reason.
    TargetAbnormal = 12,
    AlreadyActive = 13,
    ReasonRequired = 14,
    /// No connection pool saved yet, so there is nothing to switch.
    NoConnectionPool = 15,
    FenceUnsupported = 16,
    SwitchInProgress = 17,
    StaleReport = 18,
    StaleTerm = 19,
    NothingToAcknowledge = 20,
    ReservedPrefix = 21,
    UnknownInstance = 22,
    TooManyObjects = 23,
    /// The repeat of a command whose outcome is no longer known; it was not applied again.
    ResendOutsideWindow = 24,
    /// The entry holds a command that this version does not know.
    UnknownCommand = 25,
    /// The monitors of one batch belong to more than one instance, or none or too many are named.
    InvalidBatch = 26,
    /// Another node has this id, or had it before it was removed.
    NodeIdTaken = 27,
    /// The nodes' states differ and no majority agrees: nothing is written until an operator has found the right one.
    StateHashesDiffer = 40,
    /// Monitors of this kind have no such thing: no active side, no connection pool, no read/write state.
    NotOfThisKind = 60,
    /// The application has no monitor that can be switched.
    NothingToSwitch = 70,
    /// A pause needs a reason.
    PauseReasonRequired = 71,
    /// The kind only alerts and has no active side.
    NoActiveSide = 72,
    /// The API token is bound to applications, and this is none of theirs.
    OutsideTokenScope = 90,
    /// The bootstrapped instance is the cluster's own and stays.
    FirstInstance = 110,
    /// A connection test that is left out needs a reason.
    TestOverrideReasonRequired = 105,
    /// Nothing else stands against saving the monitor, but its connection test was not passed.
    ConnectionTestOwed = 106,
    /// A stored secret that an edit keeps would go where it has not gone before.
    SecretNeededAgain = 107,
}

impl RefusalCode {
    /// Every code that is produced.
    pub const ALL: [RefusalCode; 33] = [
        RefusalCode::NotBootstrapped,
        RefusalCode::AlreadyBootstrapped,
        RefusalCode::PermissionDenied,
        RefusalCode::CredentialsChanged,
        RefusalCode::NotFound,
        RefusalCode::DuplicateName,
        RefusalCode::GenerationConflict,
        RefusalCode::QuotaExceeded,
        RefusalCode::InvalidSpec,
        RefusalCode::HasMonitors,
        RefusalCode::FeatureDisabled,
        RefusalCode::TargetAbnormal,
        RefusalCode::AlreadyActive,
        RefusalCode::ReasonRequired,
        RefusalCode::NoConnectionPool,
        RefusalCode::FenceUnsupported,
        RefusalCode::NotOfThisKind,
        RefusalCode::StaleReport,
        RefusalCode::StaleTerm,
        RefusalCode::NothingToAcknowledge,
        RefusalCode::UnknownInstance,
        RefusalCode::ResendOutsideWindow,
        RefusalCode::InvalidBatch,
        RefusalCode::NodeIdTaken,
        RefusalCode::StateHashesDiffer,
        RefusalCode::OutsideTokenScope,
        RefusalCode::NothingToSwitch,
        RefusalCode::PauseReasonRequired,
        RefusalCode::NoActiveSide,
        RefusalCode::FirstInstance,
        RefusalCode::TestOverrideReasonRequired,
        RefusalCode::ConnectionTestOwed,
        RefusalCode::SecretNeededAgain,
    ];

    /// Stable code of the API.
    pub const fn code(self) -> &'static str {
        match self {
            RefusalCode::Unspecified => "unspecified",
            RefusalCode::NotBootstrapped => "not-bootstrapped",
            RefusalCode::AlreadyBootstrapped => "already-bootstrapped",
            RefusalCode::PermissionDenied => "permission-denied",
            RefusalCode::CredentialsChanged => "credentials-changed",
            RefusalCode::NotFound => "not-found",
            RefusalCode::DuplicateName => "duplicate-name",
            RefusalCode::GenerationConflict => "generation-conflict",
            RefusalCode::QuotaExceeded => "quota-exceeded",
            RefusalCode::InvalidSpec => "invalid-spec",
            RefusalCode::HasMonitors => "has-monitors",
            RefusalCode::FeatureDisabled => "feature-disabled",
            RefusalCode::TargetAbnormal => "target-abnormal",
            RefusalCode::AlreadyActive => "already-active",
            RefusalCode::ReasonRequired => "reason-required",
            RefusalCode::NoConnectionPool => "no-connection-pool",
            RefusalCode::FenceUnsupported => "fence-unsupported",
            RefusalCode::NotOfThisKind => "not-of-this-kind",
            RefusalCode::SwitchInProgress => "switch-in-progress",
            RefusalCode::StaleReport => "stale-report",
            RefusalCode::StaleTerm => "stale-term",
            RefusalCode::NothingToAcknowledge => "nothing-to-acknowledge",
            RefusalCode::ReservedPrefix => "reserved-prefix",
            RefusalCode::UnknownInstance => "unknown-instance",
            RefusalCode::TooManyObjects => "too-many-objects",
            RefusalCode::ResendOutsideWindow => "resend-outside-window",
            RefusalCode::UnknownCommand => "unknown-command",
            RefusalCode::InvalidBatch => "invalid-batch",
            RefusalCode::NodeIdTaken => "node-id-taken",
            RefusalCode::StateHashesDiffer => "state-hashes-differ",
            RefusalCode::OutsideTokenScope => "outside-token-scope",
            RefusalCode::NothingToSwitch => "nothing-to-switch",
            RefusalCode::PauseReasonRequired => "pause-reason-required",
            RefusalCode::NoActiveSide => "no-active-side",
            RefusalCode::FirstInstance => "first-instance",
            RefusalCode::TestOverrideReasonRequired => "test-override-reason-required",
            RefusalCode::ConnectionTestOwed => "connection-test-failed",
            RefusalCode::SecretNeededAgain => "secret-needed-again",
        }
    }
}

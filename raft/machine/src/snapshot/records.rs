//! What the blocks of a snapshot hold. Tags are never reused.

use bytes::Bytes;

use crate::audit::AuditRecord;
use crate::events::EventRecord;
use crate::live::*;
use crate::model::*;
use crate::reply::Reply;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Block {
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(
        oneof = "Kind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 40, 70, 71, 72, 73, 74, 75, 76"
    )]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Cluster(Cluster),
    #[prost(message, tag = "3")]
    Leadership(Leadership),
    #[prost(message, tag = "4")]
    Quotas(Quotas),
    #[prost(message, tag = "5")]
    Node(NodeRecord),
    #[prost(message, tag = "6")]
    Worker(Worker),
    #[prost(message, tag = "7")]
    Module(Module),
    #[prost(message, tag = "8")]
    Namespace(Namespace),
    #[prost(message, tag = "9")]
    Instance(Instance),
    #[prost(message, tag = "10")]
    Application(Application),
    #[prost(message, tag = "11")]
    Monitor(Box<MonitorRecord>),
    #[prost(message, tag = "12")]
    Settings(SettingsRecord),
    #[prost(message, tag = "13")]
    User(User),
    #[prost(message, tag = "14")]
    ApiToken(ApiToken),
    #[prost(message, tag = "15")]
    HashReport(HashReport),
    #[prost(message, tag = "16")]
    Session(SessionRecord),
    #[prost(message, tag = "17")]
    SessionReply(SessionReply),
    #[prost(message, tag = "18")]
    Event(EventRecord),
    #[prost(message, tag = "19")]
    Audit(AuditRecord),
    #[prost(message, tag = "20")]
    Keyspace(KeyspaceBlock),
    #[prost(message, tag = "21")]
    End(End),
    #[prost(message, tag = "40")]
    Disk(NodeDisk),
    #[prost(message, tag = "70")]
    Pause(Pause),
    #[prost(message, tag = "71")]
    Window(MaintenanceWindow),
    #[prost(message, tag = "72")]
    SiteSettings(SiteSettings),
    #[prost(message, tag = "73")]
    Links(NodeLinks),
    #[prost(message, tag = "74")]
    Departure(Departure),
    #[prost(message, tag = "75")]
    Site(SiteRecord),
    #[prost(message, tag = "76")]
    Transition(TransitionRecord),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(uint64, tag = "1")]
    pub applied_index: u64,
    #[prost(uint64, tag = "2")]
    pub last_time_ms: u64,
    #[prost(int64, tag = "3")]
    pub last_wall_ms: i64,
    #[prost(uint64, tag = "4")]
    pub next_work: u64,
    #[prost(message, required, tag = "5")]
    pub events: Chain,
    #[prost(message, required, tag = "6")]
    pub audit: Chain,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Chain {
    #[prost(bytes = "bytes", tag = "1")]
    pub base: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub head: Bytes,
    #[prost(uint64, tag = "3")]
    pub last_sequence: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SettingsRecord {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(message, required, tag = "3")]
    pub settings: KindSettings,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SessionRecord {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub floor: u64,
    #[prost(uint64, tag = "4")]
    pub last_index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SessionReply {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(message, required, tag = "3")]
    pub reply: Reply,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyspaceBlock {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(bytes = "bytes", tag = "2")]
    pub block: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TransitionRecord {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(message, required, tag = "2")]
    pub transition: ProbeTransition,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct End {
    #[prost(uint64, tag = "1")]
    pub records: u64,
}

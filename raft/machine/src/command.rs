//! Commands: everything that changes the state, as the log carries it.
//!
//! A new command is a new variant with a new tag, a handler, a scenario and a row in the version table. Tags are never
//! reused. Ids, hashes, sealed secrets and nonces are made at the edge before a command is proposed.

mod cluster;
mod gate;
mod instances;
mod rules;

use bytes::Bytes;
use quorate_kv::KvOp;

use crate::model::*;
pub use crate::principal::*;
pub use cluster::*;
pub use gate::*;
pub use instances::*;
pub use rules::*;

/// De-duplication stamp of a forwarding node's session: a command is applied at most once per (node, incarnation, sequence).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SessionStamp {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// Every sequence below this one has been answered and will not be sent again.
    #[prost(uint64, tag = "4")]
    pub acked_below: u64,
}

/// What a node proposes: encoded once where it originates, carried as bytes until it is applied.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Proposal {
    #[prost(message, optional, tag = "1")]
    pub author: Option<Principal>,
    #[prost(
        oneof = "Command",
        tags = "1001, 1002, 1003, 1004, 1005, 1006, 1007, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019, 1020, 1021, 1022, 1023, 1024, 1025, 1026, 1027, 1030, 1031, 1040, 1041, 1050, 1051, 1070, 1071, 1072, 1073, 1074, 1075, 1076, 1090, 1110, 1111, 1112, 1113, 1114"
    )]
    pub command: Option<Command>,
}

/// The log's envelope around an encoded [`Proposal`]; the leader stamps the times at append.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Envelope {
    /// Cluster time in milliseconds: `apply` uses the larger of this and the last one.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// Wall clock of the leader, milliseconds since the Unix epoch: for records, decides nothing.
    #[prost(int64, tag = "2")]
    pub wall_ms: i64,
    #[prost(message, optional, tag = "3")]
    pub session: Option<SessionStamp>,
    /// An encoded [`Proposal`].
    #[prost(bytes = "bytes", tag = "4")]
    pub proposal: Bytes,
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "envelope({} ms, {} bytes)", self.time_ms, self.proposal.len())
    }
}

/// Everything that changes the state.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Command {
    #[prost(message, tag = "1001")]
    Bootstrap(Box<Bootstrap>),
    #[prost(message, tag = "1002")]
    LeaderStarted(LeaderStarted),
    #[prost(message, tag = "1003")]
    WorkerSeen(WorkerSeen),
    #[prost(message, tag = "1004")]
    WorkerLapsed(WorkerLapsed),
    #[prost(message, tag = "1005")]
    ReportHealth(ReportHealth),
    #[prost(message, tag = "1006")]
    Tick(Tick),
    #[prost(message, tag = "1007")]
    ReportStateHash(ReportStateHash),
    #[prost(message, tag = "1010")]
    CreateApplication(CreateApplication),
    #[prost(message, tag = "1011")]
    UpdateApplication(UpdateApplication),
    #[prost(message, tag = "1012")]
    DeleteApplication(DeleteObject),
    #[prost(message, tag = "1013")]
    CreateMonitor(Box<CreateMonitor>),
    #[prost(message, tag = "1014")]
    UpdateMonitor(Box<UpdateMonitor>),
    #[prost(message, tag = "1015")]
    DeleteMonitor(DeleteObject),
    #[prost(message, tag = "1016")]
    SetConnectionPool(Box<SetConnectionPool>),
    #[prost(message, tag = "1017")]
    SetReadWrite(SetReadWrite),
    #[prost(message, tag = "1018")]
    AcknowledgeMonitor(AcknowledgeMonitor),
    #[prost(message, tag = "1019")]
    Switch(Switch),
    #[prost(message, tag = "1020")]
    Republish(Republish),
    #[prost(message, tag = "1021")]
    SetKindSettings(SetKindSettings),
    #[prost(message, tag = "1022")]
    SetQuotas(SetQuotas),
    #[prost(message, tag = "1023")]
    CreateUser(CreateUser),
    #[prost(message, tag = "1024")]
    SetUserPassword(SetUserPassword),
    #[prost(message, tag = "1025")]
    CreateApiToken(CreateApiToken),
    #[prost(message, tag = "1026")]
    RevokeApiToken(DeleteObject),
    #[prost(message, tag = "1027")]
    UpsertNode(UpsertNode),
    #[prost(message, tag = "1030")]
    Kv(KvCommand),
    #[prost(message, tag = "1031")]
    ExpireLease(ExpireLease),
    #[prost(message, tag = "1040")]
    ReportDisk(ReportDisk),
    #[prost(message, tag = "1041")]
    SetKeyspaceQuota(SetKeyspaceQuota),
    #[prost(message, tag = "1050")]
    BootstrapEtcd(Box<BootstrapEtcd>),
    #[prost(message, tag = "1051")]
    RemoveNode(RemoveNode),
    #[prost(message, tag = "1070")]
    SetPause(SetPause),
    #[prost(message, tag = "1071")]
    CreateWindow(CreateWindow),
    #[prost(message, tag = "1072")]
    DeleteWindow(DeleteObject),
    #[prost(message, tag = "1073")]
    ReportLinks(ReportLinks),
    #[prost(message, tag = "1074")]
    SetSiteSettings(SetSiteSettings),
    #[prost(message, tag = "1075")]
    SetSiteSwitch(SetSiteSwitch),
    #[prost(message, tag = "1076")]
    AnnounceDeparture(AnnounceDeparture),
    #[prost(message, tag = "1090")]
    DeleteMonitors(DeleteMonitors),
    #[prost(message, tag = "1110")]
    CreateInstance(Box<CreateInstance>),
    #[prost(message, tag = "1111")]
    UpdateInstance(UpdateInstance),
    #[prost(message, tag = "1112")]
    DeleteInstance(DeleteInstance),
    #[prost(message, tag = "1113")]
    ReportInstancePort(ReportInstancePort),
    #[prost(message, tag = "1114")]
    IssueClientCertificate(IssueClientCertificate),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateApplication {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(message, required, tag = "2")]
    pub instance: Id,
    #[prost(message, required, tag = "3")]
    pub spec: ApplicationSpec,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateApplication {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    /// Generation the editor saw (If-Match); another one is a conflict.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, required, tag = "3")]
    pub spec: ApplicationSpec,
}

/// Deletion of an object, guarded by its generation when that is not 0.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DeleteObject {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
}

/// Deletes several monitors of one instance: those that may go, in one revision; every other one is refused for itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteMonitors {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    /// Each guarded by its generation when that is not 0.
    #[prost(message, repeated, tag = "2")]
    pub monitors: Vec<DeleteObject>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateMonitor {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(message, required, tag = "2")]
    pub application: Id,
    #[prost(message, required, tag = "3")]
    pub spec: MonitorSpec,
    /// Saved with the monitor when given; otherwise later by [`SetConnectionPool`].
    #[prost(message, optional, tag = "4")]
    pub pool: Option<ConnectionPool>,
    /// How it came past the connection test (C6); absent in logs from before there was one.
    #[prost(message, optional, tag = "105")]
    pub connection_test: Option<TestGate>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateMonitor {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, required, tag = "3")]
    pub spec: MonitorSpec,
    /// How it came past the connection test (C6); of no interest where the edit changes nothing that is dialled, absent in logs
    /// from before there was one.
    #[prost(message, optional, tag = "105")]
    pub connection_test: Option<TestGate>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetConnectionPool {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, required, tag = "3")]
    pub pool: ConnectionPool,
}

/// Sets the read/write state of one side (C9).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetReadWrite {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(enumeration = "DataCenter", tag = "2")]
    pub data_center: i32,
    #[prost(message, required, tag = "3")]
    pub state: ReadWrite,
}

/// An operator has looked at the last automatic switch: the repeat block is lifted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AcknowledgeMonitor {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(string, tag = "2")]
    pub comment: String,
}

/// A manual switchover or switchback of monitors, or of an application: all of them in one revision, or none, unless
/// `partial` leaves out what stands against it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Switch {
    #[prost(message, repeated, tag = "1")]
    pub monitors: Vec<Id>,
    #[prost(enumeration = "DataCenter", tag = "2")]
    pub to: i32,
    /// Accept an abnormal target; needs a reason.
    #[prost(bool, tag = "3")]
    pub force: bool,
    #[prost(string, tag = "4")]
    pub reason: String,
    /// Lift the repeat block as well.
    #[prost(bool, tag = "5")]
    pub acknowledge: bool,
    /// Make the side that becomes active readable again in the same revision: a failover set dc1 not readable, and a
    /// switchback alone leaves it so (C5, both in one step).
    #[prost(bool, tag = "6")]
    pub restore_readable: bool,
    /// Every monitor of this application that has an active side and is not active there yet (B2); `monitors` is empty.
    #[prost(message, optional, tag = "7")]
    pub application: Option<Id>,
    /// Leave out what is refused and say so, instead of refusing the whole.
    #[prost(bool, tag = "8")]
    pub partial: bool,
}

/// Puts again what is active now; ignored if the monitor's epoch is another one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Republish {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<RepublishItem>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RepublishItem {
    #[prost(message, required, tag = "1")]
    pub monitor: Id,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Which of the repetitions this is (work id of the effect it answers).
    #[prost(uint64, tag = "3")]
    pub work: u64,
}

/// Global settings of a kind (C11).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetKindSettings {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    /// Feature point, for example `mysql`.
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(message, required, tag = "3")]
    pub settings: KindSettings,
}

/// Quotas (A1); 0 keeps the present value.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetQuotas {
    #[prost(uint32, tag = "1")]
    pub namespaces: u32,
    #[prost(uint32, tag = "2")]
    pub instances: u32,
    #[prost(uint32, tag = "3")]
    pub applications_per_instance: u32,
    #[prost(uint32, tag = "4")]
    pub processes_per_application: u32,
    #[prost(uint32, tag = "5")]
    pub monitors_per_instance: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct CreateUser {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub password_hash: String,
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
}

impl std::fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreateUser({} {:?}, role {})", self.id, self.name, self.role)
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct SetUserPassword {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub password_hash: String,
}

impl std::fmt::Debug for SetUserPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetUserPassword({:?})", self.name)
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct CreateApiToken {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: Bytes,
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
    #[prost(int64, tag = "5")]
    pub expires_at_ms: i64,
    /// Applications that the token is bound to; empty: whatever its user reaches.
    #[prost(message, repeated, tag = "6")]
    pub applications: Vec<Id>,
}

impl std::fmt::Debug for CreateApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreateApiToken({} {:?}, role {})", self.id, self.name, self.role)
    }
}

/// An operation of a KV client on one instance's keyspace.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvCommand {
    #[prost(message, required, tag = "100")]
    pub instance: Id,
    #[prost(
        oneof = "KvOp",
        tags = "1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 30"
    )]
    pub op: Option<KvOp>,
}

/// The leader of `term` saw the lease run out; refused if another term has begun, or if the lease was revoked meanwhile, even
/// though another one was granted under its id.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ExpireLease {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(int64, tag = "2")]
    pub lease: i64,
    #[prost(uint64, tag = "3")]
    pub term: u64,
    /// Number of the lease's grant in its keyspace. Logs from before grants were numbered have none: the id alone counts.
    #[prost(uint64, optional, tag = "4")]
    pub grant: Option<u64>,
}

/// The free space of a node's disk became too little, or enough again.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReportDisk {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Rises with every report of an incarnation, from 1; a lower one is ignored.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// Less is free than the node wants to keep.
    #[prost(bool, tag = "4")]
    pub short: bool,
    #[prost(uint64, tag = "5")]
    pub free_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub total_bytes: u64,
}

/// Sets the quota of an instance's keyspace.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetKeyspaceQuota {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    /// Accounted bytes: [`MIN_KEYSPACE_QUOTA_BYTES`](crate::MIN_KEYSPACE_QUOTA_BYTES), or in place of etcd
    /// [`MIN_ETCD_QUOTA_BYTES`](crate::MIN_ETCD_QUOTA_BYTES), to
    /// [`MAX_KEYSPACE_QUOTA_BYTES`](crate::MAX_KEYSPACE_QUOTA_BYTES).
    #[prost(uint64, tag = "2")]
    pub quota_bytes: u64,
}

//! The kinds of monitors (C20–C26): one file per shape, with what users set, how it is checked, what of it is secret and
//! what of it a prober needs.
//!
//! The rest of the machine asks [`MonitorSpec`], [`KindTraits`] and [`ProbedSide`], and never which kind it has. A further
//! kind is a variant of [`MonitorKind`] with its row in [`KINDS`], and a row in the table of SDK keys. How a data source is
//! asked is no business of this module: that is a prober's.

mod api;
mod canary;
mod check;
mod elasticsearch;
mod kept;
mod mongodb;
mod probed;
mod redis;
mod relational;
mod shared;
mod traits;

pub use api::*;
pub use canary::{CanarySpec, ProbedCanary};
pub use elasticsearch::*;
pub use kept::check_kept_secrets;
pub use mongodb::*;
pub use probed::*;
pub use redis::*;
pub use relational::*;
pub use shared::*;
pub use traits::*;

use crate::model::{DataCenter, MonitorSpec, Routing, Sealed};
use crate::reply::Refusal;
use crate::validate::Problems;

/// What a monitor probes. A further kind is a further variant.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum MonitorKind {
    #[prost(message, tag = "10")]
    Mysql(RelationalSpec),
    #[prost(message, tag = "11")]
    Postgresql(RelationalSpec),
    #[prost(message, tag = "12")]
    Oracle(RelationalSpec),
    #[prost(message, tag = "13")]
    Redis(RedisSpec),
    #[prost(message, tag = "14")]
    Mongodb(MongodbSpec),
    #[prost(message, tag = "15")]
    Elasticsearch(ElasticsearchSpec),
    #[prost(message, tag = "16")]
    Api(ApiSpec),
}

impl MonitorKind {
    /// What holds for every monitor of the kind.
    pub const fn traits(&self) -> &'static KindTraits {
        match self {
            MonitorKind::Mysql(_) => &MYSQL,
            MonitorKind::Postgresql(_) => &POSTGRESQL,
            MonitorKind::Oracle(_) => &ORACLE,
            MonitorKind::Redis(_) => &REDIS,
            MonitorKind::Mongodb(_) => &MONGODB,
            MonitorKind::Elasticsearch(_) => &ELASTICSEARCH,
            MonitorKind::Api(_) => &API,
        }
    }

    /// The specification, whatever its shape.
    fn spec(&self) -> &dyn KindSpec {
        match self {
            MonitorKind::Mysql(spec) | MonitorKind::Postgresql(spec) | MonitorKind::Oracle(spec) => spec,
            MonitorKind::Redis(spec) => spec,
            MonitorKind::Mongodb(spec) => spec,
            MonitorKind::Elasticsearch(spec) => spec,
            MonitorKind::Api(spec) => spec,
        }
    }

    fn spec_mut(&mut self) -> &mut dyn KindSpec {
        match self {
            MonitorKind::Mysql(spec) | MonitorKind::Postgresql(spec) | MonitorKind::Oracle(spec) => spec,
            MonitorKind::Redis(spec) => spec,
            MonitorKind::Mongodb(spec) => spec,
            MonitorKind::Elasticsearch(spec) => spec,
            MonitorKind::Api(spec) => spec,
        }
    }

    /// Where one side is.
    pub fn place(&self, dc: DataCenter) -> SiteSpec {
        self.spec().place(dc)
    }

    /// Read replicas of one side, `host:port`; none where the kind has none.
    pub fn replicas(&self, dc: DataCenter) -> &[String] {
        self.spec().replicas(dc)
    }

    /// What a prober needs of one side.
    pub fn probed(&self, dc: DataCenter) -> ProbedSide {
        let mut side = self.spec().probed(dc);
        side.kind = self.traits().name;
        side
    }

    /// Routing algorithm that is set with the monitor (Redis, Elasticsearch); elsewhere the connection pool has it.
    pub fn routing(&self) -> Option<Routing> {
        self.spec().routing()
    }

    /// How the servers are arranged, where the kind has modes (Redis), as SDK keys spell it.
    pub fn mode(&self) -> Option<&'static str> {
        self.spec().mode()
    }

    /// Every secret with the name of the field that it is sealed for.
    pub fn secrets(&self) -> Vec<(String, Option<Sealed>)> {
        let mut copy = self.clone();
        let slots = copy.spec_mut().secret_slots();
        slots
            .into_iter()
            .map(|slot| (slot.field, slot.sealed.clone()))
            .collect()
    }

    /// Sets the secret of a field; false if there is no such field.
    pub fn set_secret(&mut self, field: &str, sealed: Sealed) -> bool {
        let slots = self.spec_mut().secret_slots();
        let Some(slot) = slots.into_iter().find(|slot| slot.field == field) else {
            return false;
        };
        *slot.sealed = Some(sealed);
        true
    }

    /// Takes over the secrets that an edit leaves out.
    pub fn keep_secrets(&mut self, present: &MonitorKind) {
        let known = present.secrets();
        for slot in self.spec_mut().secret_slots() {
            if slot.sealed.is_none() {
                let kept = known.iter().find(|(field, _)| *field == slot.field);
                *slot.sealed = kept.and_then(|(_, sealed)| sealed.clone());
            }
        }
    }

    /// Consecutive answers that make a side healthy and consecutive failures that make it abnormal (C26); `None`: time decides.
    pub fn thresholds(&self) -> Option<Thresholds> {
        self.spec().thresholds()
    }

    /// The specification as (field, value), for audit records; a secret shows only that it changed.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let kind = self.traits().name;
        let fields = self.spec().fields().into_iter();
        let mut fields: Vec<_> = fields.map(|(name, value)| (format!("{kind}.{name}"), value)).collect();
        let secrets = self.secrets().into_iter();
        fields.extend(secrets.map(|(name, sealed)| (format!("{kind}.{name}"), secret_mark(sealed.as_ref()))));
        fields
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        let traits = self.traits();
        self.spec().check(problems, &format!("/{}", traits.name), traits);
    }
}

/// Checks what a kind says by itself, as a monitor's creation would; pointers begin with the kind's name.
///
/// # Errors
/// `invalid-spec` with every problem.
pub fn check_kind(kind: &MonitorKind) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    kind.check(&mut problems);
    problems.into_result()
}

/// One shape of specifications.
trait KindSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec;
    fn replicas(&self, _dc: DataCenter) -> &[String] {
        &[]
    }
    /// `kind` is filled in by the caller.
    fn probed(&self, dc: DataCenter) -> ProbedSide;
    fn routing(&self) -> Option<Routing> {
        None
    }
    fn mode(&self) -> Option<&'static str> {
        None
    }
    fn thresholds(&self) -> Option<Thresholds> {
        None
    }
    /// The secrets that the specification has room for, wherever one makes sense as it is set.
    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>>;
    /// Where the secret of a field stands in the specification as it is sent: a JSON pointer without its first `/`.
    fn secret_pointer(&self, field: &str) -> String {
        field.replace('.', "/")
    }
    fn fields(&self) -> Vec<(String, String)>;
    fn check(&self, problems: &mut Problems, at: &str, traits: &KindTraits);
}

/// Room for a secret.
struct SecretSlot<'a> {
    /// What it is sealed for: `password`, `dc1.password`, `dc1.header.x-token`.
    field: String,
    sealed: &'a mut Option<Sealed>,
}

/// A secret's mark: a short digest of the sealed bytes, so that a change shows and nothing else does.
fn secret_mark(sealed: Option<&Sealed>) -> String {
    use sha2::{Digest, Sha256};
    let Some(sealed) = sealed else { return String::new() };
    let digest: [u8; 32] = Sha256::digest(&sealed.bytes).into();
    format!("(secret {:02x}{:02x})", digest[0], digest[1])
}

impl MonitorSpec {
    /// Feature point of the kind, for example `mysql`; empty where no kind is given (such a spec is refused).
    pub fn kind_name(&self) -> &'static str {
        self.kind.as_ref().map_or("", |kind| kind.traits().name)
    }

    /// What holds for every monitor of the kind; `None` where no kind is given.
    pub fn traits(&self) -> Option<&'static KindTraits> {
        self.kind.as_ref().map(MonitorKind::traits)
    }

    /// One side is active: all kinds but `api`, which neither switches nor publishes SDK keys.
    pub fn has_active_side(&self) -> bool {
        self.traits().is_some_and(|traits| traits.has_active_side)
    }

    /// SDK keys wait for a connection pool (C10).
    pub fn has_pool(&self) -> bool {
        self.traits().is_some_and(|traits| traits.has_pool)
    }

    /// The kind has a read/write state (C9).
    pub fn has_read_write(&self) -> bool {
        self.traits().is_some_and(|traits| traits.has_read_write)
    }

    /// What a prober needs of one side.
    pub fn probed(&self, dc: DataCenter) -> Option<ProbedSide> {
        self.kind.as_ref().map(|kind| kind.probed(dc))
    }
}

//! What operators set beside monitors: pauses, maintenance windows, how sites are watched.

use crate::model::*;

/// What kind of object a pause or a maintenance window covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ScopeKind {
    /// Every monitor of every instance.
    Cluster = 0,
    /// Every monitor of an instance.
    Instance = 1,
    /// Every monitor of an application.
    Application = 2,
    /// One monitor.
    Monitor = 3,
}

impl ScopeKind {
    /// Every kind, the widest first.
    pub const ALL: [ScopeKind; 4] = [
        ScopeKind::Cluster,
        ScopeKind::Instance,
        ScopeKind::Application,
        ScopeKind::Monitor,
    ];

    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            ScopeKind::Cluster => "cluster",
            ScopeKind::Instance => "instance",
            ScopeKind::Application => "application",
            ScopeKind::Monitor => "monitor",
        }
    }
}

/// What a pause or a maintenance window covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Scope {
    #[prost(enumeration = "ScopeKind", tag = "1")]
    pub kind: i32,
    /// The instance, application or monitor; zero for the cluster.
    #[prost(message, required, tag = "2")]
    pub object: Id,
}

impl Scope {
    /// Everything.
    pub const CLUSTER: Scope = Scope {
        kind: ScopeKind::Cluster as i32,
        object: Id { high: 0, low: 0 },
    };

    /// The scope of one object.
    pub const fn of(kind: ScopeKind, object: Id) -> Scope {
        Scope {
            kind: kind as i32,
            object,
        }
    }
}

/// A pause of all automatic switching, of the cluster or of an instance: the kill switch. Lasts until it is lifted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pause {
    #[prost(message, required, tag = "1")]
    pub scope: Scope,
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Who: `user:NAME`.
    #[prost(string, tag = "3")]
    pub actor: String,
    /// Cluster time since when, milliseconds.
    #[prost(uint64, tag = "4")]
    pub since_ms: u64,
    /// Wall time of the same moment, for display.
    #[prost(int64, tag = "5")]
    pub since_wall_ms: i64,
}

/// A planned time in which automatic switches of what it covers are withheld.
///
/// Its bounds are given as wall time and noted as cluster time too. It opens when the first of the two clocks says so and
/// closes when both do: a wrong wall clock can only withhold more, never less (core contract 1).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MaintenanceWindow {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(message, required, tag = "2")]
    pub scope: Scope,
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub start_wall_ms: i64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub end_wall_ms: i64,
    /// The start in cluster time, as it was expected when the window was made.
    #[prost(uint64, tag = "6")]
    pub start_ms: u64,
    /// The end in cluster time, as it was expected when the window was made.
    #[prost(uint64, tag = "7")]
    pub end_ms: u64,
    /// It has begun: switches are withheld.
    #[prost(bool, tag = "8")]
    pub open: bool,
}

/// An address that nodes connect to in order to learn about a site (A6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct ProbedTarget {
    /// Site that the target stands for (`dc1`, `dc2`, `arbiter`: a witness, for example its gateway), or `public` for the
    /// public network.
    #[prost(string, tag = "1")]
    pub site: String,
    /// `host:port`, connected to over TCP.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// How sites are watched (A6, D4); of the whole cluster.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SiteSettings {
    /// How long a site's heartbeats must have lapsed before the site counts as lost, milliseconds.
    #[prost(uint32, tag = "1")]
    pub site_timeout_ms: u32,
    /// Round trips between sites above this are told, microseconds.
    #[prost(uint32, tag = "2")]
    pub rtt_warning_us: u32,
    #[prost(message, repeated, tag = "3")]
    pub targets: Vec<ProbedTarget>,
}

impl SiteSettings {
    /// 10 s; 5 ms as advised for sites of one city; nothing probed.
    pub fn initial() -> SiteSettings {
        SiteSettings {
            site_timeout_ms: 10_000,
            rtt_warning_us: 5_000,
            targets: Vec::new(),
        }
    }

    /// Addresses of the witnesses of a site.
    pub fn witnesses<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a str> {
        let of_site = self.targets.iter().filter(move |target| target.site == site);
        of_site.map(|target| target.address.as_str())
    }
}

/// Sites that nodes may stand for.
pub const SITES: [&str; 3] = ["dc1", "dc2", "arbiter"];
/// The site of targets that stand for the public network.
pub const PUBLIC_TARGET: &str = "public";

//! Live state of links and sites (A6), and the history of probes: what nodes reported, as transitions only.

use crate::model::*;

/// What a connection attempt over a link comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LinkState {
    /// Not measured yet.
    Unknown = 0,
    /// Answered.
    Up = 1,
    /// Refused or reset: a live host with a dead process.
    Refused = 2,
    /// Nothing answers.
    Silent = 3,
}

impl LinkState {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            LinkState::Unknown => "unknown",
            LinkState::Up => "up",
            LinkState::Refused => "refused",
            LinkState::Silent => "silent",
        }
    }

    /// Somebody answers at the other end.
    pub const fn alive(self) -> bool {
        matches!(self, LinkState::Up | LinkState::Refused)
    }
}

/// One link as its node reported it last.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Link {
    /// The other node; 0 for a target.
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    /// Address of the target; empty for a peer.
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(enumeration = "LinkState", tag = "3")]
    pub state: i32,
    /// The round trip was above the warning.
    #[prost(bool, tag = "4")]
    pub slow: bool,
    /// At the last report, microseconds.
    #[prost(uint32, tag = "5")]
    pub rtt_us: u32,
    /// At the last report: attempts of a minute without an answer, of a thousand.
    #[prost(uint32, tag = "6")]
    pub loss_permille: u32,
    /// Since when `state` holds.
    #[prost(uint64, tag = "7")]
    pub since_ms: u64,
    /// Wall time of the same moment.
    #[prost(int64, tag = "8")]
    pub since_wall_ms: i64,
}

/// The links of one node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeLinks {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    #[prost(message, repeated, tag = "4")]
    pub links: Vec<Link>,
}

impl NodeLinks {
    /// State of the link to another node.
    pub fn to_peer(&self, peer: u64) -> LinkState {
        let found = self.links.iter().find(|link| link.peer == peer && peer != 0);
        found.map_or(LinkState::Unknown, Link::state)
    }

    /// State of the link to a target.
    pub fn to_target(&self, address: &str) -> LinkState {
        let found = self.links.iter().find(|link| link.peer == 0 && link.target == address);
        found.map_or(LinkState::Unknown, Link::state)
    }
}

/// A node that goes away, or is away, on purpose.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Departure {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// The run of the node that announced it; 0 for an operator's word.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub actor: String,
    #[prost(uint64, tag = "5")]
    pub since_ms: u64,
    /// Wall time of the same moment.
    #[prost(int64, tag = "6")]
    pub since_wall_ms: i64,
}

/// State of a site (A6: own state of a partition).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PartitionState {
    Normal = 0,
    /// Some node, or some link from or to it, is not well.
    Impaired = 1,
    /// None of its nodes is heard.
    Down = 2,
    /// None of its nodes is heard, and they went away on purpose.
    Departed = 3,
    /// Lost: none of its nodes is heard for the site timeout, nobody announced it, nothing there answers anybody.
    Lost = 4,
}

impl PartitionState {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            PartitionState::Normal => "normal",
            PartitionState::Impaired => "impaired",
            PartitionState::Down => "down",
            PartitionState::Departed => "departed",
            PartitionState::Lost => "lost",
        }
    }
}

/// A site as the cluster sees it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SiteRecord {
    /// `dc1`, `dc2` or `arbiter`.
    #[prost(string, tag = "1")]
    pub site: String,
    #[prost(enumeration = "PartitionState", tag = "2")]
    pub state: i32,
    /// Since when `state` holds.
    #[prost(uint64, tag = "3")]
    pub since_ms: u64,
    /// Wall time of the same moment.
    #[prost(int64, tag = "4")]
    pub since_wall_ms: i64,
    /// Stable code of what was found, for example `link-silent`, or `well`.
    #[prost(string, tag = "5")]
    pub finding: String,
    /// Log index of the entry that declared the present loss; 0 while the site is not lost.
    #[prost(uint64, tag = "6")]
    pub lost_index: u64,
}

/// One step in a monitor's history: a worker's vote changed, or the state of a side did.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProbeTransition {
    /// Rises by one within a monitor.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    #[prost(int64, tag = "4")]
    pub wall_ms: i64,
    #[prost(enumeration = "DataCenter", tag = "5")]
    pub data_center: i32,
    /// Whose vote; 0: the side's own state changed.
    #[prost(uint64, tag = "6")]
    pub node: u64,
    #[prost(enumeration = "Vote", tag = "7")]
    pub vote: i32,
    #[prost(enumeration = "FindingClass", tag = "8")]
    pub class: i32,
    /// The engine's own words, cut.
    #[prost(string, tag = "9")]
    pub text: String,
    /// Only where `node` is 0.
    #[prost(enumeration = "SideState", tag = "10")]
    pub state: i32,
    /// When the first attempt of the transition ended, as the node says.
    #[prost(uint64, tag = "11")]
    pub began_ms: u64,
}

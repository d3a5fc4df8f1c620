//! Pauses, maintenance windows, and what nodes say of the links between sites.

use crate::live::LinkState;
use crate::model::*;

/// Pauses all automatic switching of the cluster or an instance, or lifts the pause.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetPause {
    /// The cluster or an instance.
    #[prost(message, required, tag = "1")]
    pub scope: Scope,
    #[prost(bool, tag = "2")]
    pub paused: bool,
    /// Required for a pause.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Plans a maintenance window.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateWindow {
    #[prost(message, required, tag = "1")]
    pub id: Id,
    #[prost(message, required, tag = "2")]
    pub scope: Scope,
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Milliseconds since the Unix epoch; a start that has passed means now.
    #[prost(int64, tag = "4")]
    pub start_wall_ms: i64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub end_wall_ms: i64,
}

/// What a node finds of one link.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LinkReport {
    /// The other node; 0 for a target.
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    /// Address of the target; empty for a peer.
    #[prost(string, tag = "2")]
    pub target: String,
    #[prost(enumeration = "LinkState", tag = "3")]
    pub state: i32,
    /// The round trip is above the warning.
    #[prost(bool, tag = "4")]
    pub slow: bool,
    /// At the time of the report, microseconds; 0 while nothing answers.
    #[prost(uint32, tag = "5")]
    pub rtt_us: u32,
    /// Attempts of the last minute without an answer, of a thousand.
    #[prost(uint32, tag = "6")]
    pub loss_permille: u32,
}

/// The links of one node, all of them; made when the state of one changed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReportLinks {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Rises with every report of an incarnation, from 1; a lower one is ignored.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    #[prost(message, repeated, tag = "4")]
    pub links: Vec<LinkReport>,
}

/// Sets how sites are watched.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetSiteSettings {
    #[prost(message, required, tag = "1")]
    pub settings: SiteSettings,
}

/// Turns the datacenter-level automatic switch of an instance on or off (D4).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetSiteSwitch {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(bool, tag = "2")]
    pub on: bool,
}

/// A node goes away on purpose (drain, upgrade, maintenance), or comes back: its silence is no lost site.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AnnounceDeparture {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// The run of the node that says so of itself, which ends with the next one; 0 for an operator's word, which lasts
    /// until it is taken back.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// False: it is back.
    #[prost(bool, tag = "3")]
    pub departing: bool,
    #[prost(string, tag = "4")]
    pub reason: String,
}

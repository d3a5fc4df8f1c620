//! Sites, links and the datacenter-level automatic switch (A6, D4).

use quorate_machine::catalog::edge;
use quorate_machine::{
    Departure, Id, LinkState, PUBLIC_TARGET, PartitionState, ProbedTarget, SiteRecord, SiteSettings, State,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339;
use crate::context::LinkMeasure;
use crate::language::text;

/// How sites are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteSettingsBody {
    /// How long a site's heartbeats must have lapsed before it counts as lost, milliseconds; 3000 to 600000.
    #[serde(default = "default_site_timeout")]
    pub(crate) site_timeout_ms: u32,
    /// Round trips between sites above this are told, microseconds; 100 to 10000000.
    #[serde(default = "default_rtt_warning")]
    pub(crate) rtt_warning_us: u32,
    /// Addresses that every node connects to: witnesses of sites, and the public network. At most 8 of each.
    #[serde(default)]
    pub(crate) targets: Vec<TargetBody>,
}

fn default_site_timeout() -> u32 {
    SiteSettings::initial().site_timeout_ms
}

fn default_rtt_warning() -> u32 {
    SiteSettings::initial().rtt_warning_us
}

/// An address that nodes connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetBody {
    /// `dc1`, `dc2`, `arbiter` (a witness of that site) or `public`.
    pub(crate) site: String,
    /// `host:port`.
    pub(crate) address: String,
}

impl From<SiteSettingsBody> for SiteSettings {
    fn from(body: SiteSettingsBody) -> Self {
        let target = |target: TargetBody| ProbedTarget {
            site: target.site,
            address: target.address,
        };
        Self {
            site_timeout_ms: body.site_timeout_ms,
            rtt_warning_us: body.rtt_warning_us,
            targets: body.targets.into_iter().map(target).collect(),
        }
    }
}

impl From<&SiteSettings> for SiteSettingsBody {
    fn from(settings: &SiteSettings) -> Self {
        let target = |target: &ProbedTarget| TargetBody {
            site: target.site.clone(),
            address: target.address.clone(),
        };
        Self {
            site_timeout_ms: settings.site_timeout_ms,
            rtt_warning_us: settings.rtt_warning_us,
            targets: settings.targets.iter().map(target).collect(),
        }
    }
}

/// Sites and the links between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SitesView {
    pub(crate) items: Vec<SiteView>,
    /// What each node measures, in order of node and target.
    pub(crate) links: Vec<LinkView>,
    /// Nodes that did not answer: of their links the replicated state alone is shown, without measures of this moment.
    pub(crate) silent_nodes: Vec<u64>,
    pub(crate) settings: SiteSettingsBody,
    /// What an operator should know.
    pub(crate) warnings: Vec<String>,
}

/// A site as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SiteView {
    /// `dc1`, `dc2` or `arbiter`.
    pub(crate) site: String,
    /// `normal`, `impaired`, `down`, `departed` or `lost`.
    pub(crate) state: String,
    pub(crate) since: String,
    /// Stable code, for example `link-silent`; `well` where nothing is wrong.
    pub(crate) finding: String,
    pub(crate) nodes: Vec<SiteNodeView>,
    /// Witnesses of the site.
    pub(crate) witnesses: Vec<String>,
}

/// A node of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SiteNodeView {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// `seen`, `lapsed` or `unknown`.
    pub(crate) worker: String,
    /// It is away, or goes away, on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) departure: Option<DepartureView>,
}

/// An announced departure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DepartureView {
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) since: String,
}

impl From<&Departure> for DepartureView {
    fn from(departure: &Departure) -> Self {
        Self {
            reason: departure.reason.clone(),
            actor: departure.actor.clone(),
            since: rfc3339(departure.since_wall_ms),
        }
    }
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LinkView {
    /// Node that measures.
    pub(crate) from: u64,
    pub(crate) from_site: String,
    /// `node-N`, or the address of a target.
    pub(crate) to: String,
    /// Site of the other end, or `public`.
    pub(crate) to_site: String,
    /// `up`, `refused` (a live host with a dead process), `silent` or `unknown`.
    pub(crate) state: String,
    /// Since when the cluster knows this state; absent while it has no report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// Round trip, microseconds; absent while nothing answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_us: Option<u32>,
    /// Attempts of the last minute without an answer, of a thousand.
    pub(crate) loss_permille: u32,
    /// The round trip is above the warning.
    pub(crate) slow: bool,
}

impl SitesView {
    /// Puts the state and what the nodes measure at this moment together.
    pub(crate) fn new(state: &State, measured: &[(u64, Vec<LinkMeasure>)], silent_nodes: Vec<u64>) -> Self {
        let settings = state.site_settings();
        let mut links = Vec::new();
        for node in state.nodes() {
            let live = measured.iter().find(|(from, _)| *from == node.id);
            let stored = || {
                let links = state.links_of(node.id).map(|links| links.links.as_slice());
                let links = links.unwrap_or_default().iter();
                links.map(LinkMeasure::from).collect::<Vec<_>>()
            };
            let measures = live.map_or_else(stored, |(_, measures)| measures.clone());
            links.extend(
                measures
                    .iter()
                    .map(|measure| link_view(state, node.id, &node.site, measure)),
            );
        }
        let mut warnings = Vec::new();
        for site in state.sites().filter(|site| site.state() == PartitionState::Lost) {
            warnings.push(text(edge::ISOLATED_SITE, &[("site", &site.site)]));
        }
        let on = state.instances().any(|instance| instance.site_switch);
        warnings.extend(witness_warnings(state).into_iter().filter(|_| on));
        Self {
            items: state.sites().map(|site| site_view(state, site)).collect(),
            links,
            silent_nodes,
            settings: SiteSettingsBody::from(settings),
            warnings,
        }
    }
}

fn witness_warnings(state: &State) -> Vec<String> {
    let sites = state.sites_without_witness();
    sites
        .iter()
        .map(|site| text(edge::NO_WITNESS, &[("site", site)]))
        .collect()
}

fn site_view(state: &State, site: &SiteRecord) -> SiteView {
    let nodes = state.nodes_of_site(&site.site).map(|node| SiteNodeView {
        id: node.id,
        name: node.name.clone(),
        worker: match state.worker(node.id) {
            Some(worker) if worker.lapsed => "lapsed",
            Some(_) => "seen",
            None => "unknown",
        }
        .to_owned(),
        departure: state.departure(node.id).map(DepartureView::from),
    });
    SiteView {
        site: site.site.clone(),
        state: site.state().code().to_owned(),
        since: rfc3339(site.since_wall_ms),
        finding: site.finding.clone(),
        nodes: nodes.collect(),
        witnesses: state.site_settings().witnesses(&site.site).map(str::to_owned).collect(),
    }
}

fn link_view(state: &State, from: u64, from_site: &str, measure: &LinkMeasure) -> LinkView {
    let settings = state.site_settings();
    let target = settings.targets.iter().find(|target| target.address == measure.target);
    let known = state.links_of(from).and_then(|links| {
        let same = |link: &&quorate_machine::Link| link.peer == measure.peer && link.target == measure.target;
        links.links.iter().find(same)
    });
    let to_site = match state.node(measure.peer) {
        Some(peer) => peer.site.as_str(),
        None => target.map_or(PUBLIC_TARGET, |target| target.site.as_str()),
    };
    LinkView {
        from,
        from_site: from_site.to_owned(),
        to: if measure.peer == 0 {
            measure.target.clone()
        } else {
            format!("node-{}", measure.peer)
        },
        to_site: to_site.to_owned(),
        state: LinkState::try_from(measure.state)
            .unwrap_or(LinkState::Unknown)
            .code()
            .to_owned(),
        since: known.map(|link| rfc3339(link.since_wall_ms)),
        rtt_us: Some(measure.rtt_us).filter(|rtt_us| *rtt_us > 0),
        loss_permille: measure.loss_permille,
        slow: measure.slow,
    }
}

/// Turns the datacenter-level automatic switch on or off.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteSwitchBody {
    pub(crate) on: bool,
}

/// The datacenter-level automatic switch of an instance (D4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SiteSwitchView {
    /// The loss of the primary site moves every monitor with automatic switch on whose dc1 is active and dc2 healthy.
    pub(crate) on: bool,
    /// Monitors that a loss would move now if dc2 is healthy by then.
    pub(crate) concerned_monitors: usize,
    /// What makes the setting less safe than it could be.
    pub(crate) warnings: Vec<String>,
}

impl SiteSwitchView {
    pub(crate) fn new(state: &State, instance: &Id) -> Self {
        Self {
            on: state.instance(instance).is_some_and(|instance| instance.site_switch),
            concerned_monitors: state.moved_by_site_loss(instance).count(),
            warnings: witness_warnings(state),
        }
    }
}

/// A node goes away on purpose, or is back.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeMaintenanceBody {
    pub(crate) on: bool,
    #[serde(default)]
    pub(crate) reason: String,
}

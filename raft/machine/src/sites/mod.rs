//! Sites: links between nodes, witnesses, announced departures, and whether a site is lost (A6, D4).
//!
//! Nodes measure and report changes; everything that is concluded from it is concluded here, from replicated state alone.
//! A site cut off from the others cannot commit an entry, so it concludes nothing.

mod departure;
mod links;
mod look;
mod settings;

pub(crate) use departure::{announce_departure, came_back};
pub(crate) use links::report_links;
pub(crate) use look::{advance, next_change};
pub use settings::{MAX_TARGETS_PER_SITE, SITE_TIMEOUT_MS};
pub(crate) use settings::{set_site_settings, set_site_switch};

use crate::live::*;
use crate::model::*;
use crate::state::State;

/// The site whose loss moves monitors: dc1 is where they are active.
pub(crate) const PRIMARY_SITE: &str = "dc1";

impl State {
    /// How sites are watched.
    pub fn site_settings(&self) -> &SiteSettings {
        &self.site_settings
    }

    /// What a node reported last of its links.
    pub fn links_of(&self, node: u64) -> Option<&NodeLinks> {
        self.links.get(&node)
    }

    /// Sites as the cluster sees them, by name. A site without nodes is not among them.
    pub fn sites(&self) -> impl Iterator<Item = &SiteRecord> {
        self.sites.values()
    }

    /// One site.
    pub fn site(&self, name: &str) -> Option<&SiteRecord> {
        self.sites.get(name)
    }

    /// The announced departure of a node, if it is away on purpose.
    pub fn departure(&self, node: u64) -> Option<&Departure> {
        self.departures.get(&node)
    }

    /// Members of a site, in order of id.
    pub fn nodes_of_site<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a NodeRecord> {
        self.nodes().filter(move |node| node.site == site)
    }

    /// Monitors of an instance that the loss of the primary site would move if dc2 is healthy by then, its datacenter-level
    /// automatic switch being on.
    pub fn moved_by_site_loss(&self, instance: &Id) -> impl Iterator<Item = &MonitorRecord> {
        let by_itself = |monitor: &&MonitorRecord| monitor.spec.automatic_switch && monitor.sdk_keys_published();
        self.monitors(instance)
            .filter(|monitor| is_concerned(monitor))
            .filter(by_itself)
    }

    /// Why the datacenter-level automatic switch of an instance is not as safe as it could be: the sites that have no
    /// witness. Without one, silence of a site's nodes alone decides.
    pub fn sites_without_witness(&self) -> Vec<String> {
        let without = |site: &&SiteRecord| self.site_settings.witnesses(&site.site).next().is_none();
        let primary = self.sites.values().filter(|site| site.site == PRIMARY_SITE);
        primary.filter(without).map(|site| site.site.clone()).collect()
    }
}

/// True for a monitor that the loss of the primary site concerns: dc1 is active and probed, and nobody forced it there.
fn is_concerned(monitor: &MonitorRecord) -> bool {
    let forced = monitor.last_switch.as_ref().is_some_and(|last| {
        last.cause() == SwitchCause::Forced && last.to() == DataCenter::Dc1 && !monitor.dc1.was_healthy
    });
    monitor.active() == DataCenter::Dc1 && monitor.spec.probing && monitor.spec.has_active_side() && !forced
}

/// True if the primary site is lost and that moves this monitor (D4): the observers confirm it at present, the setting is on, the
/// loss concerns it, and it was not switched since the loss was declared.
pub(crate) fn loss_moves(state: &State, monitor: &MonitorRecord) -> bool {
    let Some(site) = state.site(PRIMARY_SITE).filter(|site| look::is_confirmed(site)) else {
        return false;
    };
    let on = state
        .instance(&monitor.instance)
        .is_some_and(|instance| instance.site_switch);
    let since = monitor
        .last_switch
        .as_ref()
        .is_some_and(|last| last.index >= site.lost_index);
    on && !since && is_concerned(monitor)
}

//! The replicated state and what edges read of it.
//!
//! A clone is cheap (every collection is shared and copied on write): a snapshot cut is a clone.

use std::sync::Arc;

use imbl::OrdMap;
use quorate_kv::Keyspace;

use crate::audit::{AuditRecord, MAX_AUDIT_RECORDS};
use crate::etcd_ids::FIRST_ETCD_MEMBER_ID;
use crate::events::{EventRecord, MAX_EVENTS_RECORDS};
use crate::kinds::MonitorKind;
use crate::live::*;
use crate::model::*;
use crate::ring::Ring;
use crate::sessions::Sessions;

/// Everything the cluster agrees on.
#[derive(Clone)]
pub struct State {
    pub(crate) applied_index: u64,
    pub(crate) last_time_ms: u64,
    pub(crate) last_wall_ms: i64,
    /// Counts work ids; never reused.
    pub(crate) next_work: u64,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) leadership: Leadership,
    pub(crate) quotas: Quotas,
    pub(crate) nodes: OrdMap<u64, NodeRecord>,
    pub(crate) workers: OrdMap<u64, Worker>,
    pub(crate) disks: OrdMap<u64, NodeDisk>,
    pub(crate) modules: OrdMap<Id, Module>,
    pub(crate) namespaces: OrdMap<Id, Namespace>,
    pub(crate) instances: OrdMap<Id, Instance>,
    pub(crate) applications: OrdMap<Id, Application>,
    pub(crate) monitors: OrdMap<Id, Arc<MonitorRecord>>,
    pub(crate) kind_settings: OrdMap<(Id, String), KindSettings>,
    pub(crate) users: OrdMap<String, User>,
    pub(crate) api_tokens: OrdMap<Id, ApiToken>,
    pub(crate) keyspaces: OrdMap<Id, Keyspace>,
    pub(crate) events: Ring<EventRecord>,
    pub(crate) audit: Ring<AuditRecord>,
    pub(crate) sessions: Sessions,
    pub(crate) pauses: OrdMap<Scope, Pause>,
    pub(crate) windows: OrdMap<Id, MaintenanceWindow>,
    pub(crate) site_settings: SiteSettings,
    pub(crate) links: OrdMap<u64, NodeLinks>,
    pub(crate) departures: OrdMap<u64, Departure>,
    pub(crate) sites: OrdMap<String, SiteRecord>,
    pub(crate) histories: OrdMap<Id, imbl::Vector<ProbeTransition>>,
    /// State hashes as reported, by (index, node); the newest few indices.
    pub(crate) hash_reports: OrdMap<(u64, u64), HashReport>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The state before the first entry: nothing is bootstrapped.
    pub fn new() -> State {
        State {
            applied_index: 0,
            last_time_ms: 0,
            last_wall_ms: 0,
            next_work: 1,
            cluster: None,
            leadership: Leadership::default(),
            quotas: Quotas::DEFAULT,
            nodes: OrdMap::new(),
            workers: OrdMap::new(),
            disks: OrdMap::new(),
            modules: OrdMap::new(),
            namespaces: OrdMap::new(),
            instances: OrdMap::new(),
            applications: OrdMap::new(),
            monitors: OrdMap::new(),
            kind_settings: OrdMap::new(),
            users: OrdMap::new(),
            api_tokens: OrdMap::new(),
            keyspaces: OrdMap::new(),
            events: Ring::new(MAX_EVENTS_RECORDS),
            audit: Ring::new(MAX_AUDIT_RECORDS),
            sessions: Sessions::default(),
            pauses: OrdMap::new(),
            windows: OrdMap::new(),
            site_settings: SiteSettings::initial(),
            links: OrdMap::new(),
            departures: OrdMap::new(),
            sites: OrdMap::new(),
            histories: OrdMap::new(),
            hash_reports: OrdMap::new(),
        }
    }

    /// Identity of the cluster; `None` before `Bootstrap`.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Id of the cluster; `None` before `Bootstrap`.
    pub fn cluster_id(&self) -> Option<Id> {
        self.cluster.map(|cluster| cluster.id)
    }

    /// True for a cluster that stands in for etcd: one keyspace, in which no key is the machine's own.
    pub fn stands_in_for_etcd(&self) -> bool {
        self.cluster.is_some_and(|cluster| cluster.etcd_token_secret.is_some())
    }

    /// Members in order of id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    /// One member.
    pub fn node(&self, id: u64) -> Option<&NodeRecord> {
        self.nodes.get(&id)
    }

    /// The id for one more node: one that no node has or had.
    pub fn next_node_id(&self) -> u64 {
        let removed = self.cluster.map_or(0, |cluster| cluster.removed_up_to);
        let numbered = self.nodes.keys().copied().filter(|id| *id < FIRST_ETCD_MEMBER_ID);
        numbered.max().unwrap_or(0).max(removed) + 1
    }

    /// Workers in order of node id.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// The worker of one node, once it was seen or has reported.
    pub fn worker(&self, node: u64) -> Option<&Worker> {
        self.workers.get(&node)
    }

    /// Term of the last `LeaderStarted`; 0 before the first.
    pub fn current_term(&self) -> u64 {
        self.leadership.term
    }

    /// Leadership as of the last `LeaderStarted`.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Feature modules.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// One namespace.
    pub fn namespace(&self, id: &Id) -> Option<&Namespace> {
        self.namespaces.get(id)
    }

    /// Instances in order of id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// One instance.
    pub fn instance(&self, id: &Id) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// The bootstrapped instance; `None` before `Bootstrap`.
    pub fn default_instance(&self) -> Option<&Instance> {
        self.instances.get(&self.cluster?.default_instance)
    }

    /// The instance of a name.
    pub fn instance_by_name(&self, name: &str) -> Option<&Instance> {
        self.instances.values().find(|instance| instance.name == name)
    }

    /// Keyspace of an instance.
    pub fn keyspace(&self, instance: &Id) -> Option<&Keyspace> {
        self.keyspaces.get(instance)
    }

    /// Applications of an instance, in order of id (hence of creation).
    pub fn applications(&self, instance: &Id) -> impl Iterator<Item = &Application> {
        let instance = *instance;
        self.applications
            .values()
            .filter(move |application| application.instance == instance)
    }

    /// One application.
    pub fn application(&self, id: &Id) -> Option<&Application> {
        self.applications.get(id)
    }

    /// Every monitor, in order of id.
    pub fn all_monitors(&self) -> impl Iterator<Item = &MonitorRecord> {
        self.monitors.values().map(|monitor| &**monitor)
    }

    /// Monitors of an instance, in order of id (hence of creation).
    pub fn monitors(&self, instance: &Id) -> impl Iterator<Item = &MonitorRecord> {
        let instance = *instance;
        self.all_monitors().filter(move |monitor| monitor.instance == instance)
    }

    /// Monitors of an application, in order of id.
    pub fn monitors_of_application(&self, application: &Id) -> impl Iterator<Item = &MonitorRecord> {
        let application = *application;
        self.all_monitors()
            .filter(move |monitor| monitor.application == application)
    }

    /// One monitor.
    pub fn monitor(&self, id: &Id) -> Option<&MonitorRecord> {
        self.monitors.get(id).map(|monitor| &**monitor)
    }

    /// The monitor of a name within an instance.
    pub fn monitor_by_name(&self, instance: &Id, name: &str) -> Option<&MonitorRecord> {
        self.monitors(instance).find(|monitor| monitor.spec.name == name)
    }

    /// The monitor for change; it must exist.
    pub(crate) fn monitor_mut(&mut self, id: &Id) -> &mut MonitorRecord {
        Arc::make_mut(
            self.monitors
                .get_mut(id)
                .expect("handlers look a monitor up before they change it"),
        )
    }

    /// Settings of a kind in an instance: those saved, else the defaults of C3.
    pub fn kind_settings(&self, instance: &Id, kind: &str) -> KindSettings {
        let saved = self.kind_settings.get(&(*instance, kind.to_owned()));
        saved.copied().unwrap_or(KindSettings::DEFAULT)
    }

    /// Timing and precision of a monitor as they are in force (C3, C4, C26).
    pub fn effective_timing(&self, monitor: &MonitorRecord) -> EffectiveTiming {
        let global = self.kind_settings(&monitor.instance, monitor.kind_name());
        let own = &monitor.spec.timing;
        let kind = monitor.spec.traits();
        let cap_ms = kind.map_or(u32::MAX, |kind| kind.max_access_timeout_ms);
        if let Some(kind) = kind.filter(|kind| kind.counts_attempts) {
            let retry_interval_ms = own.retry_interval_ms.unwrap_or(kind.default_retry_interval_ms);
            return EffectiveTiming {
                retry_interval_ms,
                // The workers have counted already: their votes need no time of their own.
                monitor_timeout_ms: 0,
                access_timeout_ms: cap_ms.min(retry_interval_ms),
                health_precision: global.health_precision,
                thresholds: monitor.spec.kind.as_ref().and_then(MonitorKind::thresholds),
            };
        }
        EffectiveTiming {
            retry_interval_ms: own.retry_interval_ms.unwrap_or(global.retry_interval_ms),
            monitor_timeout_ms: own.monitor_timeout_ms.unwrap_or(global.monitor_timeout_ms),
            access_timeout_ms: own.access_timeout_ms.unwrap_or(global.access_timeout_ms).min(cap_ms),
            health_precision: global.health_precision,
            thresholds: None,
        }
    }

    /// Quotas in force (A1).
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Console users in order of name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// One console user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// API tokens in order of id.
    pub fn api_tokens(&self) -> impl Iterator<Item = &ApiToken> {
        self.api_tokens.values()
    }

    /// One API token.
    pub fn api_token(&self, id: &Id) -> Option<&ApiToken> {
        self.api_tokens.get(id)
    }

    /// The API token of a SHA-256. Its expiry is the caller's to check, against wall time.
    pub fn token_by_hash(&self, hash: &[u8]) -> Option<&ApiToken> {
        self.api_tokens.values().find(|token| token.hash == hash)
    }

    /// The ring of events.
    pub fn events(&self) -> &Ring<EventRecord> {
        &self.events
    }

    /// The ring of audit records.
    pub fn audit(&self) -> &Ring<AuditRecord> {
        &self.audit
    }

    /// Accounted bytes of what all keyspaces store: nearly everything of a large state.
    pub fn stored_bytes(&self) -> u64 {
        self.keyspaces.values().map(Keyspace::size_bytes).sum()
    }

    /// Cluster time of the last applied entry, milliseconds.
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// The leader's wall clock of the last applied entry, milliseconds since the Unix epoch.
    pub fn last_wall_ms(&self) -> i64 {
        self.last_wall_ms
    }

    /// Index of the last entry that went through `apply`; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// State of one side as a console shows it: `UnreachableControl` while no worker's reports get through (C1).
    pub fn shown_state(&self, monitor: &MonitorRecord, dc: DataCenter) -> SideState {
        let cut_off = !self.workers.is_empty() && self.workers.values().all(|worker| worker.lapsed);
        if cut_off && monitor.spec.probing {
            SideState::UnreachableControl
        } else {
            monitor.side(dc).state()
        }
    }

    /// A fresh work id.
    pub(crate) fn new_work(&mut self) -> u64 {
        let work = self.next_work;
        self.next_work += 1;
        work
    }
}

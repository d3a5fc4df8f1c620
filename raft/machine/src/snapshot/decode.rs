//! Reading the blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use quorate_kv::KeyspaceDecoder;

use crate::audit::AuditRecord;
use crate::events::EventRecord;
use crate::model::*;
use crate::ring::{Ring, RingRecord};
use crate::sessions::Session;
use crate::snapshot::check::{MAX_COUNTER, check};
use crate::snapshot::records::*;
use crate::snapshot::{SNAPSHOT_FORMAT_VERSION, SnapshotError};
use crate::state::State;

/// Rebuilds a state from the blocks of [`encode_snapshot`](crate::encode_snapshot), in order. Arbitrary bytes give an error, never a panic.
#[derive(Default)]
pub struct StateDecoder {
    state: State,
    header: Option<Header>,
    events: imbl::Vector<Arc<EventRecord>>,
    audit: imbl::Vector<Arc<AuditRecord>>,
    keyspaces: BTreeMap<Id, KeyspaceDecoder>,
    records: u64,
    ended: bool,
}

impl StateDecoder {
    /// A decoder before the first block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next block.
    ///
    /// # Errors
    ///
    /// Any [`SnapshotError`]; the decoder is of no use afterwards.
    pub fn push(&mut self, block: &[u8]) -> Result<(), SnapshotError> {
        let Some((version, body)) = block.split_first_chunk::<2>() else {
            return Err(SnapshotError::Malformed("it has no format version".to_owned()));
        };
        let version = u16::from_be_bytes(*version);
        if version != SNAPSHOT_FORMAT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        let block = Block::decode(body).map_err(|error| SnapshotError::Malformed(error.to_string()))?;
        for record in block.records {
            self.take(record.kind.ok_or(SnapshotError::UnknownRecord)?)?;
        }
        Ok(())
    }

    fn take(&mut self, kind: Kind) -> Result<(), SnapshotError> {
        if self.ended || (self.header.is_none() && !matches!(kind, Kind::Header(_))) {
            return Err(SnapshotError::Incomplete);
        }
        let state = &mut self.state;
        match kind {
            Kind::Header(header) => self.header = Some(header),
            Kind::Cluster(cluster) => state.cluster = Some(cluster),
            Kind::Leadership(leadership) => state.leadership = leadership,
            Kind::Quotas(quotas) => state.quotas = quotas,
            Kind::Node(node) => drop(state.nodes.insert(node.id, node)),
            Kind::Worker(worker) => drop(state.workers.insert(worker.node, worker)),
            Kind::Disk(disk) => drop(state.disks.insert(disk.node, disk)),
            Kind::Module(module) => drop(state.modules.insert(module.meta.id, module)),
            Kind::Namespace(namespace) => drop(state.namespaces.insert(namespace.meta.id, namespace)),
            Kind::Instance(instance) => drop(state.instances.insert(instance.meta.id, instance)),
            Kind::Application(application) => drop(state.applications.insert(application.meta.id, application)),
            Kind::Monitor(monitor) => drop(state.monitors.insert(monitor.id(), Arc::new(*monitor))),
            Kind::Settings(r) => drop(state.kind_settings.insert((r.instance, r.kind), r.settings)),
            Kind::User(user) => drop(state.users.insert(user.name.clone(), user)),
            Kind::ApiToken(token) => drop(state.api_tokens.insert(token.meta.id, token)),
            Kind::HashReport(report) => drop(state.hash_reports.insert((report.index, report.node), report)),
            Kind::Pause(pause) => drop(state.pauses.insert(pause.scope, pause)),
            Kind::Window(window) => drop(state.windows.insert(window.meta.id, window)),
            Kind::SiteSettings(settings) => state.site_settings = settings,
            Kind::Links(links) => drop(state.links.insert(links.node, links)),
            Kind::Departure(departure) => drop(state.departures.insert(departure.node, departure)),
            Kind::Site(site) => drop(state.sites.insert(site.site.clone(), site)),
            Kind::Transition(r) => state.histories.entry(r.monitor).or_default().push_back(r.transition),
            Kind::Session(session) => self.take_session(&session),
            Kind::SessionReply(reply) => self.take_reply(reply)?,
            Kind::Event(event) => self.events.push_back(Arc::new(event)),
            Kind::Audit(record) => self.audit.push_back(Arc::new(record)),
            Kind::Keyspace(keyspace) => {
                let decoder = self.keyspaces.entry(keyspace.instance).or_default();
                let pushed = decoder.push(keyspace.block);
                pushed.map_err(|error| SnapshotError::Malformed(error.to_string()))?;
            }
            Kind::End(end) if end.records == self.records => self.ended = true,
            Kind::End(_) => return Err(SnapshotError::Incomplete),
        }
        self.records += 1;
        Ok(())
    }

    fn take_session(&mut self, record: &SessionRecord) {
        let session = Session {
            incarnation: record.incarnation,
            floor: record.floor,
            last_index: record.last_index,
            ..Session::default()
        };
        self.state.sessions.by_node.insert(record.node, session);
    }

    fn take_reply(&mut self, record: SessionReply) -> Result<(), SnapshotError> {
        let Some(session) = self.state.sessions.by_node.get_mut(&record.node) else {
            return Err(SnapshotError::Inconsistent("a reply without its session"));
        };
        let new = session.replies.insert(record.sequence, record.reply);
        if !new || record.sequence < session.floor {
            return Err(SnapshotError::Inconsistent("a reply that its session cannot hold"));
        }
        if session.is_beyond_limits() {
            return Err(SnapshotError::Inconsistent("a session beyond its limits"));
        }
        Ok(())
    }

    /// The state, once every block was taken.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Incomplete`] without the last block, [`SnapshotError::Inconsistent`] if parts do not fit.
    pub fn finish(self) -> Result<State, SnapshotError> {
        let (true, Some(header)) = (self.ended, self.header) else {
            return Err(SnapshotError::Incomplete);
        };
        let mut state = self.state;
        state.applied_index = header.applied_index;
        state.last_time_ms = header.last_time_ms;
        state.last_wall_ms = header.last_wall_ms;
        state.next_work = header.next_work;
        restore(&mut state.events, &header.events, self.events)?;
        restore(&mut state.audit, &header.audit, self.audit)?;
        for (instance, decoder) in self.keyspaces {
            let keyspace = decoder
                .finish()
                .map_err(|error| SnapshotError::Malformed(error.to_string()))?;
            state.keyspaces.insert(instance, keyspace);
        }
        check(&state)?;
        Ok(state)
    }
}

fn restore<T: RingRecord>(
    ring: &mut Ring<T>,
    chain: &Chain,
    records: imbl::Vector<Arc<T>>,
) -> Result<(), SnapshotError> {
    let broken = SnapshotError::Inconsistent("a chain of records does not lead to its head");
    let (Ok(base), Ok(head)) = (chain.base.as_ref().try_into(), chain.head.as_ref().try_into()) else {
        return Err(broken);
    };
    if chain.last_sequence > MAX_COUNTER {
        return Err(broken);
    }
    let next = chain.last_sequence + 1;
    if ring.restore(base, head, next, records) {
        Ok(())
    } else {
        Err(broken)
    }
}

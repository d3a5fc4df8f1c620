//! Hash of the whole state over domain values in a defined order: equal logs give equal hashes on every node.
//!
//! Rings enter by their chain heads, sessions by their bounds: both are costly to read whole, and follow from the log as
//! everything else does.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::model::SiteSettings;
use crate::state::State;

impl State {
    /// SHA-256 over everything the state holds. It reads every key; do it on a clone, off the path of `apply`.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for value in [self.applied_index, self.last_time_ms, self.next_work] {
            hash.update(value.to_be_bytes());
        }
        hash.update(self.last_wall_ms.to_be_bytes());
        section(&mut hash, 1, self.cluster.iter());
        section(&mut hash, 2, [&self.leadership]);
        section(&mut hash, 3, [&self.quotas]);
        section(&mut hash, 4, self.nodes.values());
        section(&mut hash, 5, self.workers.values());
        section(&mut hash, 6, self.modules.values());
        section(&mut hash, 7, self.namespaces.values());
        section(&mut hash, 8, self.instances.values());
        section(&mut hash, 9, self.applications.values());
        section(&mut hash, 10, self.all_monitors());
        for ((instance, kind), settings) in &self.kind_settings {
            hash.update(instance.as_u128().to_be_bytes());
            hash.update((kind.len() as u64).to_be_bytes());
            hash.update(kind);
            section(&mut hash, 11, [settings]);
        }
        section(&mut hash, 12, self.users.values());
        section(&mut hash, 13, self.api_tokens.values());
        section(&mut hash, 14, self.hash_reports.values());
        // States without reports hash as they did before there were any.
        if !self.disks.is_empty() {
            section(&mut hash, 40, self.disks.values());
        }
        if !self.pauses.is_empty() || !self.windows.is_empty() {
            section(&mut hash, 70, self.pauses.values());
            section(&mut hash, 71, self.windows.values());
        }
        if self.site_settings != SiteSettings::initial() {
            section(&mut hash, 72, [&self.site_settings]);
        }
        if !self.links.is_empty() || !self.departures.is_empty() || !self.sites.is_empty() {
            section(&mut hash, 73, self.links.values());
            section(&mut hash, 74, self.departures.values());
            section(&mut hash, 75, self.sites.values());
        }
        for (monitor, history) in &self.histories {
            hash.update(monitor.as_u128().to_be_bytes());
            section(&mut hash, 76, history);
        }
        for (node, session) in &self.sessions.by_node {
            let bounds = [
                *node,
                session.incarnation,
                session.floor,
                session.last_index,
                session.replies.len() as u64,
                session.replies.bytes() as u64,
            ];
            for value in bounds {
                hash.update(value.to_be_bytes());
            }
        }
        for (head, last) in [
            (self.events.head(), self.events.last_sequence()),
            (self.audit.head(), self.audit.last_sequence()),
        ] {
            hash.update(head);
            hash.update(last.to_be_bytes());
        }
        for (instance, keyspace) in &self.keyspaces {
            hash.update(instance.as_u128().to_be_bytes());
            keyspace.state_hash(&mut |bytes| hash.update(bytes));
        }
        hash.finalize().into()
    }
}

/// A typed, counted and length-delimited list, so that no two states give the same bytes.
fn section<'a, T: Message + 'a>(hash: &mut Sha256, kind: u8, values: impl IntoIterator<Item = &'a T>) {
    let mut count = 0u64;
    for value in values {
        hash.update([kind]);
        hash.update(value.encode_length_delimited_to_vec());
        count += 1;
    }
    hash.update([0]);
    hash.update(count.to_be_bytes());
}

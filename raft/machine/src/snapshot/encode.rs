//! Writing the blocks.

use bytes::Bytes;
use prost::Message;

use crate::model::SiteSettings;
use crate::ring::{Ring, RingRecord};
use crate::snapshot::SNAPSHOT_FORMAT_VERSION;
use crate::snapshot::records::*;
use crate::state::State;

/// A block is closed once its records reach this size.
const BLOCK_BYTES: usize = 256 << 10;

/// The state as blocks of about 256 KiB, made one at a time.
pub fn encode_snapshot(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut records = records(state).peekable();
    let (mut count, mut ended) = (0u64, false);
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let (mut block, mut bytes) = (Block::default(), 0);
        while bytes < BLOCK_BYTES {
            let kind = records.next().unwrap_or(Kind::End(End { records: count }));
            ended = matches!(kind, Kind::End(_));
            let record = Record { kind: Some(kind) };
            bytes += record.encoded_len();
            block.records.push(record);
            if ended {
                break;
            }
            count += 1;
        }
        let mut out = SNAPSHOT_FORMAT_VERSION.to_be_bytes().to_vec();
        block.encode(&mut out).expect("a vector grows as needed");
        Some(out)
    })
}

fn records(state: &State) -> impl Iterator<Item = Kind> + '_ {
    let sessions = state.sessions.by_node.iter().flat_map(|(node, session)| {
        let head = SessionRecord {
            node: *node,
            incarnation: session.incarnation,
            floor: session.floor,
            last_index: session.last_index,
        };
        let replies = session.replies.iter().map(|(sequence, reply)| {
            Kind::SessionReply(SessionReply {
                node: *node,
                sequence,
                reply: reply.clone(),
            })
        });
        std::iter::once(Kind::Session(head)).chain(replies)
    });
    let settings = state.kind_settings.iter().map(|((instance, kind), settings)| {
        Kind::Settings(SettingsRecord {
            instance: *instance,
            kind: kind.clone(),
            settings: *settings,
        })
    });
    let keyspaces = state.keyspaces.iter().flat_map(|(instance, keyspace)| {
        let blocks = keyspace.encode_blocks();
        blocks.map(|block| {
            Kind::Keyspace(KeyspaceBlock {
                instance: *instance,
                block: block.into(),
            })
        })
    });
    let settings_of_sites = Some(&state.site_settings).filter(|settings| **settings != SiteSettings::initial());
    let transitions = state.histories.iter().flat_map(|(monitor, history)| {
        history.iter().map(|transition| {
            Kind::Transition(TransitionRecord {
                monitor: *monitor,
                transition: transition.clone(),
            })
        })
    });
    std::iter::once(Kind::Header(header(state)))
        .chain(state.cluster.map(Kind::Cluster))
        .chain([Kind::Leadership(state.leadership), Kind::Quotas(state.quotas)])
        .chain(state.nodes.values().cloned().map(Kind::Node))
        .chain(state.workers.values().copied().map(Kind::Worker))
        .chain(state.disks.values().copied().map(Kind::Disk))
        .chain(state.modules.values().cloned().map(Kind::Module))
        .chain(state.namespaces.values().cloned().map(Kind::Namespace))
        .chain(state.instances.values().cloned().map(Kind::Instance))
        .chain(state.applications.values().cloned().map(Kind::Application))
        .chain(
            state
                .monitors
                .values()
                .map(|monitor| Kind::Monitor(Box::new((**monitor).clone()))),
        )
        .chain(settings)
        .chain(state.users.values().cloned().map(Kind::User))
        .chain(state.api_tokens.values().cloned().map(Kind::ApiToken))
        .chain(state.hash_reports.values().cloned().map(Kind::HashReport))
        .chain(state.pauses.values().cloned().map(Kind::Pause))
        .chain(state.windows.values().cloned().map(Kind::Window))
        .chain(settings_of_sites.cloned().map(Kind::SiteSettings))
        .chain(state.links.values().cloned().map(Kind::Links))
        .chain(state.departures.values().cloned().map(Kind::Departure))
        .chain(state.sites.values().cloned().map(Kind::Site))
        .chain(transitions)
        .chain(sessions)
        .chain(state.events.iter().cloned().map(Kind::Event))
        .chain(state.audit.iter().cloned().map(Kind::Audit))
        .chain(keyspaces)
}

fn header(state: &State) -> Header {
    Header {
        applied_index: state.applied_index,
        last_time_ms: state.last_time_ms,
        last_wall_ms: state.last_wall_ms,
        next_work: state.next_work,
        events: chain(&state.events),
        audit: chain(&state.audit),
    }
}

fn chain<T: RingRecord>(ring: &Ring<T>) -> Chain {
    Chain {
        base: Bytes::copy_from_slice(&ring.base()),
        head: Bytes::copy_from_slice(&ring.head()),
        last_sequence: ring.last_sequence(),
    }
}

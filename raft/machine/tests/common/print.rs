//! What golden files show.

use std::collections::BTreeMap;

use quorate_kv::{Alarm, EventKind, KvResult};
use quorate_machine::catalog::{Locale, event_text};
use quorate_machine::*;

/// Values up to here are shown whole.
const MAX_SHOWN_BYTES: usize = 4_096;

type Names = BTreeMap<String, Id>;

/// Ids by their names.
fn named(names: &Names, text: &str) -> String {
    names
        .iter()
        .fold(text.to_owned(), |text, (name, id)| text.replace(&id.to_string(), name))
}

pub fn outcome(state: &State, names: &Names, outcome: &Outcome, events_before: u64) -> String {
    let mut out = format!("  {}\n", reply(names, &outcome.reply));
    for (_, revision) in &outcome.revisions {
        for event in revision.iter() {
            let key = String::from_utf8_lossy(&event.kv.key);
            let short = named(names, &key).replace("/mas-monitor/", "");
            let line = match event.kind {
                EventKind::Put if event.kv.value.len() > MAX_SHOWN_BYTES => {
                    format!("put {short} = {} bytes", event.kv.value.len())
                }
                EventKind::Put => format!("put {short} = {}", String::from_utf8_lossy(&event.kv.value)),
                EventKind::Delete => format!("delete {short}"),
            };
            out.push_str(&format!("  r{} {line}\n", revision.revision()));
        }
    }
    if let Some(reason) = &outcome.halt {
        out.push_str(&format!("  HALT {reason}\n"));
    }
    out + &events(state, names, events_before)
}

fn reply(names: &Names, reply: &Reply) -> String {
    match reply.kind.as_ref().expect("every reply has a kind") {
        ReplyKind::Done(_) => "done".to_owned(),
        ReplyKind::Object(object) => format!("generation {}", object.generation),
        ReplyKind::Switched(switched) => {
            let epochs = switched
                .monitors
                .iter()
                .map(|m| format!("{} epoch {}", m.monitor, m.epoch));
            let left_out = switched
                .left_out
                .iter()
                .map(|left| format!("\n    left out {}: {}", left.name, left.refusal.text(Locale::EnUs)));
            named(
                names,
                &format!(
                    "switched at r{}: {}{}",
                    switched.revision,
                    epochs.collect::<Vec<_>>().join(", "),
                    left_out.collect::<String>()
                ),
            )
        }
        ReplyKind::Deleted(deleted) => {
            let items = deleted.items.iter().map(|item| {
                let outcome = item.refusal.as_ref().map_or("deleted", |refusal| refusal.code().code());
                format!("{} {outcome}", item.monitor)
            });
            let items: Vec<String> = items.collect();
            named(
                names,
                &format!("deleted at r{}: {}", deleted.revision, items.join(", ")),
            )
        }
        ReplyKind::Kv(kv) => match &kv.result {
            Some(KvResult::Refused(code)) => {
                let text = quorate_kv::KvError::try_from(*code)
                    .map(|error| error.text())
                    .unwrap_or("?");
                format!("kv refused at r{}: {text}", kv.revision)
            }
            Some(KvResult::Alarm(response)) => {
                let cluster = etcd_cluster_id(super::build::id(1, 1), super::build::instance());
                let member = |member| (1..=9).find(|node| etcd_member_id(cluster, *node) == member);
                let shown = |alarm: &Alarm| format!("{:?} of node {:?}", alarm.kind(), member(alarm.member));
                format!("alarms {:?}", response.alarms.iter().map(shown).collect::<Vec<_>>())
            }
            _ => format!("kv done at r{}", kv.revision),
        },
        ReplyKind::Refused(refusal) => {
            let text = named(names, &refusal.text(Locale::EnUs));
            let fields = refusal
                .fields
                .iter()
                .map(|f| format!("\n    {} {}: {}", f.pointer, f.code, f.detail));
            format!(
                "refused {}: {text}{}",
                refusal.code().code(),
                fields.collect::<String>()
            )
        }
    }
}

pub fn events(state: &State, names: &Names, after: u64) -> String {
    let line = |event: &EventRecord| {
        let monitor = event.monitor.map(|id| format!(" {id}")).unwrap_or_default();
        let text = event_text(Locale::EnUs, event.code(), &event.params);
        let line = format!(
            "  ! {} {}{monitor}: {text}\n",
            event.level().code(),
            event.code().code()
        );
        named(names, &line)
    };
    state.events().from_sequence(after + 1).map(line).collect()
}

pub fn audit(state: &State, newest: usize) -> String {
    let mut records: Vec<_> = state.audit().iter().rev().take(newest).collect();
    records.reverse();
    let line = |record: &AuditRecord| {
        let refused = if record.refused.is_empty() {
            String::new()
        } else {
            format!(" REFUSED {}", record.refused)
        };
        let params: Vec<String> = record
            .params
            .iter()
            .map(|p| format!("{}={}", p.name, p.value))
            .collect();
        let changes: String = record
            .changes
            .iter()
            .map(|c| format!("      {}: {:?} -> {:?}\n", c.field, c.before, c.after))
            .collect();
        let head = format!(
            "  {} @{} {} from {:?} {}{refused} {}",
            record.sequence,
            record.index,
            record.actor,
            record.source,
            record.code,
            params.join(" ")
        );
        format!("{}\n{changes}", head.trim_end())
    };
    records.into_iter().map(line).collect()
}

pub fn monitor(state: &State, monitor: &MonitorRecord) -> String {
    let mut out = format!(
        "  {} active {} epoch {} generation {} probe {} withheld {}{}\n",
        monitor.spec.name,
        monitor.active().name(),
        monitor.epoch,
        monitor.meta.generation,
        monitor.probe_generation,
        monitor.withheld().code(),
        if monitor.needs_acknowledgement {
            " NEEDS ACKNOWLEDGEMENT"
        } else {
            ""
        }
    );
    for dc in DataCenter::ALL {
        let side = monitor.side(dc);
        let votes: Vec<String> = side
            .votes
            .iter()
            .map(|vote| format!("{}:{}/{}", vote.node, vote.vote().code(), vote.class().code()))
            .collect();
        out.push_str(&format!(
            "    {} {} since {}{}{} readable {} writable {} votes [{}]\n",
            dc.name(),
            state.shown_state(monitor, dc).code(),
            side.since_ms,
            side.failing_since_ms
                .map(|ms| format!(" failing since {ms}"))
                .unwrap_or_default(),
            if side.was_healthy { " was healthy" } else { "" },
            side.read_write.readable,
            side.read_write.writable,
            votes.join(" ")
        ));
        for found in &side.conditions {
            let lag = found.lag.as_ref().and_then(|lag| lag.seconds);
            out.push_str(&format!(
                "      {} since {} says {} {:?}{}\n",
                found.condition().code(),
                found.since_ms,
                found.node,
                found.text,
                lag.map(|seconds| format!(" {seconds} s behind")).unwrap_or_default()
            ));
        }
    }
    if let Some(last) = &monitor.last_switch {
        out.push_str(&format!(
            "    last switch: epoch {} {} -> {} {} {} by {} index {} time {} revision {} failing since {:?} first failure \
             {:?} leader {}\n",
            last.epoch,
            last.from().name(),
            last.to().name(),
            last.cause().code(),
            last.phase().code(),
            last.actor,
            last.index,
            last.time_ms,
            last.revision,
            last.failing_since_ms,
            last.first_failure_ms,
            last.leader
        ));
    }
    out
}

/// Every key under the reserved prefix, exactly.
pub fn keys(state: &State, instance: &Id) -> String {
    let keyspace = state.keyspace(instance).expect("the keyspace");
    let request = quorate_kv::RangeRequest {
        key: RESERVED_PREFIX.into(),
        range_end: "/mas-monitor0".into(),
        ..quorate_kv::RangeRequest::default()
    };
    let response = keyspace.range(&request).expect("a range");
    let line = |kv: &quorate_kv::KeyValue| {
        format!(
            "{} @r{}\n  {}\n",
            String::from_utf8_lossy(&kv.key),
            kv.mod_revision,
            String::from_utf8_lossy(&kv.value)
        )
    };
    response.kvs.iter().map(line).collect()
}

pub fn effects(state: &State, names: &Names) -> String {
    outstanding(state)
        .iter()
        .map(|effect| match effect {
            Effect::Republish {
                monitor,
                epoch,
                work,
                due_ms,
            } => named(
                names,
                &format!("  republish {monitor} epoch {epoch} work {work} due {due_ms}\n"),
            ),
            Effect::FenceDivergentNode { node } => format!("  fence divergent node {node}\n"),
        })
        .collect()
}

pub fn workers(state: &State) -> String {
    let line = |worker: &Worker| {
        let lapsed = if worker.lapsed { " lapsed" } else { "" };
        format!(
            "  {} incarnation {} seen in term {} sequence {}{lapsed}\n",
            worker.node, worker.incarnation, worker.seen_term, worker.sequence
        )
    };
    state.workers().map(line).collect()
}

pub fn registry(state: &State) -> String {
    let mut out = format!("  {:?}\n  {:?}\n", state.cluster(), state.quotas());
    for node in state.nodes() {
        out.push_str(&format!("  {node:?}\n"));
    }
    for module in state.modules() {
        out.push_str(&format!("  module {} {:?}\n", module.edition, module.feature_points));
    }
    for namespace in state.namespaces() {
        out.push_str(&format!(
            "  namespace {} {:?}\n",
            namespace.name, namespace.feature_points
        ));
    }
    for instance in state.instances() {
        let keyspace = state
            .keyspace(&instance.meta.id)
            .expect("every instance has a keyspace");
        out.push_str(&format!(
            "  instance {} ordinal {} auth {} users {:?} roles {:?} quota {}\n",
            instance.name,
            instance.ordinal,
            keyspace.auth_enabled(),
            keyspace.users(),
            keyspace.roles(),
            keyspace.quota_bytes()
        ));
        out.push_str(&format!("  role mas {:?}\n", keyspace.role("mas")));
    }
    for user in state.users() {
        out.push_str(&format!("  {user:?}\n"));
    }
    out
}

pub fn preview(preview: &Preview) -> String {
    let refusal = |refusal: &Option<Refusal>| {
        refusal.as_ref().map_or("allowed".to_owned(), |refusal| {
            format!("refused {}", refusal.text(Locale::EnUs))
        })
    };
    let mut out = format!("  {}\n", refusal(&preview.refusal));
    for monitor in &preview.monitors {
        out.push_str(&format!(
            "    {} {} -> {} dc1 {} dc2 {} epoch {}: {}\n",
            monitor.name,
            monitor.from.name(),
            monitor.to.name(),
            monitor.dc1.code(),
            monitor.dc2.code(),
            monitor.epoch,
            refusal(&monitor.refusal)
        ));
        for change in &monitor.changes {
            out.push_str(&format!(
                "      {}: {} -> {}\n",
                change.field, change.before, change.after
            ));
        }
    }
    out
}

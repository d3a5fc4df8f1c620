//! Replies as text.

use std::fmt::Write;

use quorate_kv::*;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\0")
}

pub fn kv(kv: &KeyValue) -> String {
    let mut line = format!("{}={}", text(&kv.key), text(&kv.value));
    write!(
        line,
        " create={} mod={} ver={}",
        kv.create_revision, kv.mod_revision, kv.version
    )
    .unwrap();
    if kv.lease != 0 {
        write!(line, " lease={}", kv.lease).unwrap();
    }
    line
}

pub fn range(out: &mut String, indent: usize, response: &RangeResponse) {
    line(
        out,
        indent,
        &format!("count {}{}", response.count, if response.more { ", more" } else { "" }),
    );
    response.kvs.iter().for_each(|found| line(out, indent + 2, &kv(found)));
}

pub fn result(out: &mut String, indent: usize, result: &KvResult) {
    match result {
        KvResult::Put(response) => put(out, indent, response),
        KvResult::DeleteRange(response) => delete(out, indent, response),
        KvResult::Txn(response) => txn(out, indent, response),
        KvResult::LeaseGrant(lease) => line(out, indent, &format!("lease {} ttl {} s", lease.id, lease.ttl_seconds)),
        KvResult::Alarm(response) => {
            let shown = response
                .alarms
                .iter()
                .map(|alarm| format!("{:?} of {}", alarm.kind(), alarm.member));
            line(
                out,
                indent,
                &format!("alarms [{}]", shown.collect::<Vec<_>>().join(", ")),
            );
        }
        KvResult::Compact(_) | KvResult::LeaseRevoke(_) | KvResult::Auth(_) | KvResult::Import(_) => {
            line(out, indent, "ok")
        }
        KvResult::Refused(code) => line(out, indent, &format!("refused {code}")),
    }
}

fn put(out: &mut String, indent: usize, response: &PutResponse) {
    let before = response
        .prev_kv
        .as_ref()
        .map_or(String::new(), |before| format!(", before: {}", kv(before)));
    line(out, indent, &format!("put{before}"));
}

fn delete(out: &mut String, indent: usize, response: &DeleteRangeResponse) {
    line(out, indent, &format!("deleted {}", response.deleted));
    response
        .prev_kvs
        .iter()
        .for_each(|before| line(out, indent + 2, &format!("before: {}", kv(before))));
}

pub fn txn(out: &mut String, indent: usize, response: &TxnResponse) {
    line(out, indent, if response.succeeded { "then" } else { "else" });
    for op in &response.responses {
        match op.kind.as_ref().expect("every operation has a response") {
            ResponseOpKind::Range(response) => range(out, indent + 2, response),
            ResponseOpKind::Put(response) => put(out, indent + 2, response),
            ResponseOpKind::DeleteRange(response) => delete(out, indent + 2, response),
            ResponseOpKind::Txn(response) => txn(out, indent + 2, response),
        }
    }
}

pub fn events(out: &mut String, revision: &RevisionEvents) {
    line(out, 2, &format!("@{}", revision.revision()));
    for event in revision.iter() {
        assert_eq!(event.kv.mod_revision, revision.revision());
        match event.kind {
            EventKind::Put => line(out, 4, &format!("put {}", kv(&event.kv))),
            EventKind::Delete => line(out, 4, &format!("delete {}", text(&event.kv.key))),
        }
    }
}

pub fn line(out: &mut String, indent: usize, content: &str) {
    writeln!(out, "{:indent$}{content}", "").unwrap();
}

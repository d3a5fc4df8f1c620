//! Reads of a key range, with all of etcd's options.

use std::cmp::Ordering;

use crate::error::KvError;
use crate::keyrange::KeyRange;
use crate::store::Store;
use crate::types::*;
use crate::version::Version;

/// Executes a validated read. `latest` is the revision that a request without one sees.
pub(crate) fn range(store: &Store, request: &RangeRequest, latest: i64) -> Result<RangeResponse, KvError> {
    if request.revision > latest {
        return Err(KvError::FutureRevision);
    }
    let revision = if request.revision <= 0 {
        latest
    } else {
        request.revision
    };
    if revision < store.compact_revision {
        return Err(KvError::Compacted);
    }
    let keys = KeyRange::new(&request.key, &request.range_end);
    let mut response = if revision == latest {
        collect(request, store.scan_current(keys))
    } else {
        collect(request, store.scan_at(keys, revision))
    };
    sort(request, &mut response.kvs);
    if let Ok(limit) = usize::try_from(request.limit)
        && limit > 0
        && response.kvs.len() > limit
    {
        response.kvs.truncate(limit);
        response.more = true;
    }
    if request.keys_only {
        response.kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    Ok(response)
}

/// Counts every key and takes those that the limit and the filters leave.
fn collect<'a>(request: &RangeRequest, versions: impl Iterator<Item = &'a Version>) -> RangeResponse {
    let mut response = RangeResponse::default();
    if request.count_only {
        response.count = versions.count() as i64;
        return response;
    }
    let wanted = if needs_everything(request) {
        usize::MAX
    } else {
        // One more than asked for tells whether there is more.
        usize::try_from(request.limit).unwrap_or(usize::MAX).saturating_add(1)
    };
    for version in versions {
        response.count += 1;
        if response.kvs.len() < wanted && passes_filters(request, version.kv()) {
            response.kvs.push(version.kv().clone());
        }
    }
    response
}

/// A limit can only be pushed down where neither order nor filters decide what comes first. As in etcd, a target without an
/// order does not count: the keys are cut first and sorted then.
fn needs_everything(request: &RangeRequest) -> bool {
    request.limit <= 0
        || request.sort_order != SortOrder::None as i32
        || request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes_filters(request: &RangeRequest, kv: &KeyValue) -> bool {
    let at_most = |bound: i64, value: i64| bound == 0 || value <= bound;
    let at_least = |bound: i64, value: i64| bound == 0 || value >= bound;
    at_most(request.max_mod_revision, kv.mod_revision)
        && at_least(request.min_mod_revision, kv.mod_revision)
        && at_most(request.max_create_revision, kv.create_revision)
        && at_least(request.min_create_revision, kv.create_revision)
}

/// Sorts stably, so that equal elements keep the order of their keys on every node.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let target = request.sort_target();
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match (request.sort_order(), target) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        // An order by something else without a direction means ascending.
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(compare),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| compare(b, a)),
    }
}

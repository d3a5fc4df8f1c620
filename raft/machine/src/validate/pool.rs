//! Connection pools (C10): what a kind has room for in one.

use std::collections::BTreeSet;

use super::{MAX_ACCOUNT_CHARS, MAX_ADDRESSES, MAX_PLACE_CHARS, MAX_REPLICAS, MAX_ZONES, Problems, canonical};
use crate::kinds::KindTraits;
use crate::model::*;
use crate::reply::Refusal;

/// Checks a connection pool of a kind that has one.
pub(crate) fn pool(pool: &ConnectionPool, kind: &KindTraits) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.text("/database", &pool.database, 1, MAX_ACCOUNT_CHARS);
    if pool.database.contains('/') {
        problems.add("/database", "invalid-characters", "a slash is not allowed");
    }
    problems.routing("/routing", pool.routing, kind);
    let mut names = BTreeSet::new();
    for dc in DataCenter::ALL {
        let (site, at) = (pool.site(dc), format!("/{}", dc.name()));
        balance(&mut problems, &at, site, kind);
        zones(&mut problems, &format!("{at}/zones"), &site.zones, kind);
        data_source(&mut problems, &mut names, &format!("{at}/source"), &site.source, kind);
        for (position, replica) in site.replicas.iter().enumerate() {
            let at = format!("{at}/replicas/{position}");
            data_source(&mut problems, &mut names, &at, replica, kind);
        }
    }
    let servers = |site: &PoolSite| -> BTreeSet<String> { site.source.address.split(',').map(canonical).collect() };
    if !servers(&pool.dc1).is_disjoint(&servers(&pool.dc2)) {
        problems.add(
            "/dc2/source/address",
            "same-address",
            "dc1 and dc2 must be two different servers",
        );
    }
    problems.into_result()
}

/// Read replicas and the load balance among them.
fn balance(problems: &mut Problems, at: &str, site: &PoolSite, kind: &KindTraits) {
    let balance = LoadBalance::try_from(site.load_balance);
    if balance.is_err() {
        problems.add(format!("{at}/load_balance"), "unsupported", "unknown load balance");
    }
    if kind.pools_replicas {
        if site.replicas.len() > MAX_REPLICAS {
            problems.add(format!("{at}/replicas"), "too-many", format!("at most {MAX_REPLICAS}"));
        }
        return;
    }
    let detail = "pools of this kind have no read replicas: list every address with the data source";
    if !site.replicas.is_empty() {
        problems.add(format!("{at}/replicas"), "unsupported", detail);
    }
    if balance.is_ok_and(|balance| balance != LoadBalance::Random) {
        problems.add(format!("{at}/load_balance"), "unsupported", detail);
    }
}

fn zones(problems: &mut Problems, at: &str, zones: &[String], kind: &KindTraits) {
    if kind.pools_replicas {
        if !zones.is_empty() {
            problems.add(at, "unsupported", "pools of this kind have no zones");
        }
        return;
    }
    if zones.len() > MAX_ZONES {
        problems.add(at, "too-many", format!("at most {MAX_ZONES}"));
    }
    for (position, zone) in zones.iter().enumerate() {
        problems.text(&format!("{at}/{position}"), zone, 1, MAX_PLACE_CHARS);
    }
}

fn data_source(
    problems: &mut Problems,
    names: &mut BTreeSet<String>,
    at: &str,
    source: &DataSource,
    kind: &KindTraits,
) {
    problems.identifier(&format!("{at}/name"), &source.name);
    if !names.insert(source.name.clone()) {
        problems.add(
            format!("{at}/name"),
            "duplicate",
            "data source names are unique within a pool",
        );
    }
    let pointer = format!("{at}/address");
    let addresses: Vec<&str> = source.address.split(',').collect();
    if kind.pools_replicas {
        problems.address(&pointer, &source.address);
    } else if addresses.len() > MAX_ADDRESSES {
        problems.add(pointer, "too-many", format!("at most {MAX_ADDRESSES}"));
    } else {
        let mut seen = BTreeSet::new();
        for address in addresses {
            problems.address(&pointer, address);
            if !seen.insert(canonical(address)) {
                problems.add(&pointer, "duplicate", format!("{address} is listed already"));
            }
        }
    }
    problems.text(&format!("{at}/schema"), &source.schema, 1, MAX_ACCOUNT_CHARS);
}

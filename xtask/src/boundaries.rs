//! The arrows of `docs/architecture.md`, checked: who may depend on whom, and who may name which library.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cargo_env;
use crate::steps::root;

/// Crate, and the workspace crates that it may depend on (dev-dependencies are free).
const ALLOWED: &[(&str, &[&str])] = &[
    ("quorate-kv", &[]),
    ("quorate-machine", &["quorate-kv"]),
    ("base2histogram", &[]),
    ("quorate-raft", &["quorate-machine", "quorate-kv"]),
    ("quorate-probes", &["quorate-machine"]),
    ("quorate-etcd-api", &["quorate-raft", "quorate-machine", "quorate-kv"]),
    (
        "quorate-console-api",
        &["quorate-raft", "quorate-machine", "quorate-kv"],
    ),
    (
        "quorate",
        &[
            "quorate-etcd-api",
            "quorate-console-api",
            "quorate-raft",
            "quorate-machine",
            "quorate-kv",
            "quorate-probes",
        ],
    ),
    ("quorate-real-parts", &[]),
    ("quorate-chaos", &["quorate-real-parts"]),
    ("xtask", &[]),
];

/// Pure crates and what must not be anywhere below them.
const PURE: &[&str] = &["quorate-kv", "quorate-machine"];
const IMPURE: &[&str] = &["tokio", "openraft", "rocksdb", "tonic", "axum", "rand", "hyper", "mio"];

/// Libraries that only one crate may name.
const OWNERS: &[(&str, &str)] = &[
    ("openraft", "quorate-raft"),
    ("rocksdb", "quorate-raft"),
    ("mysql_async", "quorate-probes"),
    ("tokio-postgres", "quorate-probes"),
    ("redis", "quorate-probes"),
    ("mongodb", "quorate-probes"),
    ("oracledb", "quorate-probes"),
];
/// Workspace crates in the place of a registry's, by `[patch.crates-io]`.
const STAND_INS: &[&str] = &["base2histogram"];
/// Crates that speak to real databases themselves and are no part of the appliance.
const OUTSIDE: &[&str] = &["quorate-chaos", "quorate-real-parts"];

/// Fails with every violation found.
pub fn check() -> Result<()> {
    let metadata = cargo_env::metadata()?;
    let members = workspace_members(&metadata);
    let mut problems = Vec::new();
    for (name, package) in &members {
        let direct = normal_dependencies(package);
        check_arrows(name, &direct, &members, &mut problems);
        check_owners(name, &direct, &mut problems);
    }
    let graph = dependency_graph(&metadata);
    for pure in PURE {
        let below = reachable(pure, &graph);
        for impure in IMPURE.iter().filter(|impure| below.contains(**impure)) {
            problems.push(format!(
                "{pure} is pure, but {impure} is below it (cargo tree -p {pure} -i {impure})"
            ));
        }
    }
    check_versions_stand_once(&members, &mut problems)?;
    check_stand_ins(&metadata, &mut problems);
    if !problems.is_empty() {
        bail!("boundaries crossed:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn workspace_members(metadata: &Value) -> BTreeMap<String, Value> {
    let ids: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .filter_map(|package| Some((package["name"].as_str()?.to_owned(), package.clone())))
        .collect()
}

fn normal_dependencies(package: &Value) -> BTreeSet<String> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
        .collect()
}

fn check_arrows(name: &str, direct: &BTreeSet<String>, members: &BTreeMap<String, Value>, problems: &mut Vec<String>) {
    let Some((_, allowed)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
        problems.push(format!("{name} has no row in xtask/src/boundaries.rs"));
        return;
    };
    for dependency in direct.iter().filter(|dependency| members.contains_key(*dependency)) {
        if !allowed.contains(&dependency.as_str()) {
            problems.push(format!("{name} must not depend on {dependency}"));
        }
    }
}

fn check_owners(name: &str, direct: &BTreeSet<String>, problems: &mut Vec<String>) {
    for (library, owner) in OWNERS {
        if direct.contains(*library) && name != *owner && !OUTSIDE.contains(&name) {
            problems.push(format!("{name} names {library}, which only {owner} may"));
        }
    }
}

fn dependency_graph(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let name_of = |id: &str| {
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["id"].as_str() == Some(id))
            .and_then(|package| package["name"].as_str())
            .unwrap_or(id)
            .to_owned()
    };
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let Some(id) = node["id"].as_str() else { continue };
        let below = graph.entry(name_of(id)).or_default();
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let normal = dependency["dep_kinds"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|kind| kind["kind"].is_null());
            if let (true, Some(package)) = (normal, dependency["pkg"].as_str()) {
                below.insert(name_of(package));
            }
        }
    }
    graph
}

fn reachable(from: &str, graph: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![from.to_owned()];
    while let Some(name) = queue.pop() {
        for below in graph.get(&name).into_iter().flatten() {
            if seen.insert(below.clone()) {
                queue.push(below.clone());
            }
        }
    }
    seen
}

/// cargo takes a registry's package again, and says it in a warning only, where a newer version than that of the stand-in is out.
fn check_stand_ins(metadata: &Value, problems: &mut Vec<String>) {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for package in packages.filter(|package| !package["source"].is_null()) {
        if let Some(name) = package["name"].as_str().filter(|name| STAND_INS.contains(name)) {
            problems.push(format!(
                "{name} comes from a registry, not from [patch.crates-io]: give the stand-in the version that Cargo.lock has"
            ));
        }
    }
}

/// A member's manifest names versions by `workspace = true` only.
fn check_versions_stand_once(members: &BTreeMap<String, Value>, problems: &mut Vec<String>) -> Result<()> {
    for (name, package) in members {
        let Some(path) = package["manifest_path"].as_str() else {
            continue;
        };
        let manifest: toml::Value = toml::from_str(&fs::read_to_string(path)?)?;
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(|table| table.as_table()) else {
                continue;
            };
            for (dependency, value) in table {
                if value.get("workspace").and_then(|flag| flag.as_bool()) != Some(true) {
                    problems.push(format!("{name}: {dependency} must say `workspace = true`"));
                }
            }
        }
    }
    if !root().join("Cargo.lock").is_file() {
        problems.push("Cargo.lock is missing".to_owned());
    }
    Ok(())
}

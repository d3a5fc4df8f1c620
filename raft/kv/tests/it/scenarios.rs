//! Scenario text in, golden output out: every file of `tests/scenarios` against its snapshot.

use crate::script;

fn check(name: &str) {
    let path = format!("{}/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let scenario = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    insta::assert_snapshot!(name, script::run(&scenario));
}

#[test]
fn put_and_delete() {
    check("put_and_delete");
}

#[test]
fn range() {
    check("range");
}

#[test]
fn txn() {
    check("txn");
}

#[test]
fn txn_limits() {
    check("txn_limits");
}

#[test]
fn compaction() {
    check("compaction");
}

#[test]
fn leases() {
    check("leases");
}

#[test]
fn auth_management() {
    check("auth_management");
}

#[test]
fn permissions() {
    check("permissions");
}

#[test]
fn quota() {
    check("quota");
}

#[test]
fn alarms() {
    check("alarms");
}

#[test]
fn system_writes() {
    check("system_writes");
}

#[test]
fn hash_kv() {
    check("hash_kv");
}

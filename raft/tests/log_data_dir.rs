//! The data directory: identity, incarnation, lock; and the watermark's pace.

use std::fs;
use std::time::{Duration, Instant};

use quorate_machine::Id;
use quorate_raft::log::{Acknowledged, DataDir, DataDirError, Watermark};

const CLUSTER: Id = Id::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);

#[test]
fn an_empty_directory_is_not_initialised_and_the_incarnation_rises() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("not/yet/there");
    let mut data = DataDir::open(&path).expect("it is made");
    assert_eq!(data.identity(), None);
    data.initialise(CLUSTER, 2).expect("an empty directory");
    assert!(data.log().is_dir() && data.snapshots().is_dir());
    let error = data.initialise(CLUSTER, 3).expect_err("it has an owner");
    assert!(matches!(error, DataDirError::AlreadyInitialised { node_id: 2, .. }));
    drop(data);
    for incarnation in 2..5 {
        let data = DataDir::open(&path).expect("nobody has it");
        let identity = data.identity().expect("it was initialised");
        assert_eq!(
            (identity.cluster_id, identity.node_id, identity.incarnation),
            (CLUSTER, 2, incarnation)
        );
    }
}

#[test]
fn what_clients_stored_is_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("data");
    let mut data = DataDir::open(&path).expect("it is made");
    data.initialise(CLUSTER, 1).expect("an empty directory");
    for directory in [path, data.log(), data.snapshots()] {
        let mode = fs::metadata(&directory).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", directory.display());
    }
}

#[test]
fn a_second_node_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(root.path()).expect("nobody has it");
    let error = DataDir::open(root.path()).expect_err("somebody has it");
    assert!(matches!(error, DataDirError::InUse(_)), "{error}");
    assert!(error.to_string().contains("in use by another running node"));
    drop(data);
    DataDir::open(root.path()).expect("nobody has it");
}

#[test]
fn a_damaged_or_missing_identity_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut data = DataDir::open(root.path()).expect("nobody has it");
    data.initialise(CLUSTER, 1).expect("an empty directory");
    drop(data);
    let path = root.path().join("identity");
    let sound = fs::read(&path).expect("the identity");
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).expect("the identity");
        let error = DataDir::open(root.path()).expect_err("a flipped bit");
        assert!(matches!(error, DataDirError::Damaged { .. }), "{error}");
    }
    fs::remove_file(&path).expect("the identity");
    let error = DataDir::open(root.path()).expect_err("a log without owner");
    assert!(matches!(error, DataDirError::IdentityMissing(_)), "{error}");
}

#[test]
fn a_directory_that_lost_log_and_watermark_never_begins_anew() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut data = DataDir::open(root.path()).expect("nobody has it");
    data.initialise(CLUSTER, 1).expect("an empty directory");
    drop(data);
    // As somebody does who hopes that the node fetches its log from the others: it would vote a second time.
    fs::remove_dir_all(root.path().join("log")).expect("the log");
    fs::remove_file(root.path().join("watermark")).expect("the watermark");
    let error = DataDir::open(root.path()).expect_err("an identity that remembers nothing");
    assert!(matches!(error, DataDirError::WatermarkMissing(_)), "{error}");
    assert!(error.to_string().contains("watermark is missing"), "{error}");
}

#[test]
fn a_crash_while_a_directory_is_initialised_leaves_an_empty_one() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let watermark = root.path().join("watermark");
    Watermark::create(&watermark).expect("a new file");
    let mut data = DataDir::open(root.path()).expect("nothing was acknowledged");
    assert_eq!(data.identity(), None);
    data.initialise(CLUSTER, 1).expect("an empty directory");
    drop(data);
    fs::remove_file(root.path().join("identity")).expect("the identity");
    fs::remove_dir_all(root.path().join("log")).expect("the log");
    Watermark::open(&watermark)
        .expect("sound")
        .note(7)
        .expect("the disk works");
    let error = DataDir::open(root.path()).expect_err("something was acknowledged");
    assert!(matches!(error, DataDirError::IdentityMissing(_)), "{error}");
}

fn found(path: &std::path::Path) -> Acknowledged {
    Watermark::open(path).expect("a sound watermark").found()
}

#[test]
fn the_watermark_follows_by_itself() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("watermark");
    Watermark::create(&path).expect("a new file");
    let watermark = Watermark::open(&path).expect("a sound watermark");
    watermark.note(7).expect("the disk works");
    // The bound is 100 ms; a busy machine gets more before this is called a failure.
    let deadline = Instant::now() + Duration::from_secs(5);
    while found(&path).end != 7 {
        assert!(Instant::now() < deadline, "the watermark does not follow");
        std::thread::yield_now();
    }
    watermark.note(8).expect("the disk works");
    drop(watermark);
    assert_eq!(
        found(&path),
        Acknowledged { end: 8, vote: None },
        "closing writes what is pending"
    );
}

#[test]
fn votes_and_cuts_are_in_the_file_at_once() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("watermark");
    Watermark::create(&path).expect("a new file");
    let watermark = Watermark::open(&path).expect("a sound watermark");
    watermark.raise(10, (3, 2)).expect("the disk works");
    let vote = Some((3, 2));
    assert_eq!(found(&path), Acknowledged { end: 10, vote });
    watermark.note(20).expect("the disk works");
    watermark.lower(5).expect("the disk works");
    assert_eq!(found(&path), Acknowledged { end: 5, vote });
    watermark.lower(9).expect("the disk works");
    assert_eq!(found(&path).end, 5, "lowering never raises");
    watermark.raise(4, (4, 1)).expect("the disk works");
    assert_eq!(
        found(&path),
        Acknowledged {
            end: 5,
            vote: Some((4, 1))
        },
        "raising never lowers"
    );
}

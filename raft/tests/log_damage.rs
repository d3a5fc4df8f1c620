//! Damaged files: the log refuses to open and names the file, or opens with everything that was acknowledged.

mod log_common;

use std::fs;
use std::path::{Path, PathBuf};

use log_common::*;
use openraft::storage::RaftLogStorage;
use quorate_raft::log::LogError;

const ENTRIES: u64 = 400;

/// A closed log of [`ENTRIES`] entries; the older half has been moved from the write-ahead file into a table.
fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for half in [0..ENTRIES / 2, ENTRIES / 2..ENTRIES] {
        run(async {
            let mut store = open(directory.path()).expect("a sound log opens");
            fill(&mut store, 1, half).await;
            store.save_vote(&vote(1, 1, true)).await.expect("the disk works");
            store.close().await.expect("the disk works");
        });
    }
    directory
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join("log"))
        .expect("the log's directory")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
        .collect();
    files.sort();
    files
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("a file");
    change(&mut content);
    fs::write(path, content).expect("a file");
}

fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(copy.path().join("log")).expect("a directory");
    for file in fs::read_dir(directory.join("log")).expect("the log's directory") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.path().join("log").join(file.file_name())).expect("a copy");
    }
    fs::copy(directory.join("watermark"), copy.path().join("watermark")).expect("a copy");
    copy
}

/// True if the log opens, with all entries; false if it refuses.
fn whole_or_refused(directory: &Path, case: &str) -> bool {
    let Ok(store) = open(directory) else {
        return false;
    };
    let found = run(async { read_all(&store).await.expect("readable") });
    assert_eq!(found.len() as u64, ENTRIES, "{case}");
    assert!(
        found.iter().zip(0..).all(|(found, index)| *found == entry(1, index)),
        "{case}"
    );
    true
}

fn refusal(directory: &Path) -> LogError {
    match open(directory) {
        Ok(_) => panic!("a damaged log must not open"),
        Err(error) => error,
    }
}

fn assert_names(error: &LogError, path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(error.to_string().contains(name), "{error} does not name {name}");
}

#[test]
fn a_shortened_write_ahead_file_is_named_and_left_as_it_is() {
    let directory = written();
    let file = files(directory.path(), "log").pop().expect("a write-ahead file");
    change(&file, |content| content.truncate(content.len() / 2));
    let damaged = fs::read(&file).expect("a file");
    for _ in 0..2 {
        let error = refusal(directory.path());
        assert!(
            matches!(
                error,
                LogError::EndsBelowWatermark {
                    acknowledged: ENTRIES,
                    ..
                }
            ),
            "{error}"
        );
        assert_names(&error, &file);
    }
    assert_eq!(fs::read(&file).expect("a file"), damaged, "kept for examination");
}

#[test]
fn a_flipped_bit_in_a_write_ahead_file_is_refused() {
    let directory = written();
    let file = files(directory.path(), "log").pop().expect("a write-ahead file");
    change(&file, |content| {
        let middle = content.len() / 3;
        content[middle] ^= 4;
    });
    assert_names(&refusal(directory.path()), &file);
}

#[test]
fn a_torn_tail_above_the_watermark_starts() {
    let directory = written();
    let watermark = directory.path().join("watermark");
    let older = fs::read(&watermark).expect("the watermark");
    run(async {
        let mut store = open(directory.path()).expect("a sound log opens");
        for index in ENTRIES..ENTRIES + 100 {
            fill(&mut store, 1, index..index + 1).await;
        }
        store.close().await.expect("the disk works");
    });
    fs::write(&watermark, older).expect("the watermark");
    let file = files(directory.path(), "log").pop().expect("a write-ahead file");
    change(&file, |content| content.truncate(content.len() / 2));
    let found = run(async {
        read_all(&open(directory.path()).expect("a torn tail"))
            .await
            .expect("readable")
    });
    let found_end = found.len() as u64;
    assert!(
        (ENTRIES + 1..ENTRIES + 99).contains(&found_end),
        "a clean cut, not {found_end}"
    );
    assert!(found.iter().zip(0..).all(|(found, index)| *found == entry(1, index)));
}

#[test]
fn damaged_tables_are_named() {
    let damages: [fn(&mut Vec<u8>); 3] = [
        |content| content[1000] ^= 1,
        |content| content.truncate(content.len() - 100),
        |content| content.clear(),
    ];
    for damage in damages {
        let directory = written();
        let file = files(directory.path(), "sst").pop().expect("a table");
        change(&file, damage);
        assert_names(&refusal(directory.path()), &file);
    }
    let directory = written();
    let file = files(directory.path(), "sst").pop().expect("a table");
    fs::remove_file(&file).expect("a file");
    assert_names(&refusal(directory.path()), &file);
}

/// One flipped bit anywhere in what RocksDB reads: refused, or harmless.
#[test]
fn no_single_flipped_bit_loses_an_acknowledged_entry() {
    let directory = written();
    let mut random = Random(3);
    let mut refused = 0;
    for round in 0..40 {
        let copy = copy_of(directory.path());
        let mut targets = files(copy.path(), "log");
        targets.extend(files(copy.path(), "sst"));
        targets.extend(
            fs::read_dir(copy.path().join("log"))
                .expect("the log's directory")
                .filter_map(|file| {
                    let path = file.expect("a file").path();
                    let name = path.file_name()?.to_str()?;
                    (name.starts_with("MANIFEST") || name == "CURRENT").then_some(path)
                }),
        );
        let target = &targets[random.below(targets.len() as u64) as usize];
        let mut at = 0;
        change(target, |content| {
            at = random.below(content.len() as u64) as usize;
            content[at] ^= 1 << random.below(8);
        });
        refused += u32::from(!whole_or_refused(
            copy.path(),
            &format!("round {round}: {target:?} at {at}"),
        ));
    }
    assert!(refused >= 20, "only {refused} of 40 were noticed");
}

/// Bits of a write-ahead file's first header and of the manifest; some of these RocksDB itself would read for ever.
#[test]
fn damaged_headers_neither_hang_nor_lose_anything() {
    let directory = written();
    let log = directory.path().join("log");
    let manifest = fs::read_to_string(log.join("CURRENT")).expect("a file");
    let manifest = log.join(manifest.trim_end());
    let write_ahead = files(directory.path(), "log").pop().expect("a write-ahead file");
    let flip = |path: &Path, bit: usize| change(path, |content| content[bit / 8] ^= 1 << (bit % 8));
    for bit in (0..11 * 8).step_by(3) {
        let copy = copy_of(directory.path());
        let target = copy.path().join("log").join(write_ahead.file_name().expect("a name"));
        flip(&target, bit);
        assert_names(&refusal(copy.path()), &target);
    }
    // The last record may look cut off, which a crash does too and which costs nothing.
    let mut refused = 0;
    let bits = fs::read(&manifest).expect("a file").len() * 8;
    for bit in (0..bits).step_by(11) {
        flip(&manifest, bit);
        let copy = copy_of(directory.path());
        flip(&manifest, bit);
        refused += usize::from(!whole_or_refused(copy.path(), &format!("bit {bit}")));
    }
    assert!(refused > bits / 11 * 9 / 10, "only {refused} were noticed");
}

#[test]
fn a_lost_vote_is_refused() {
    let directory = written();
    let (log, older) = (directory.path().join("log"), directory.path().join("older"));
    fs::create_dir(&older).expect("a directory");
    for file in fs::read_dir(&log).expect("the log's directory") {
        let file = file.expect("a file");
        fs::copy(file.path(), older.join(file.file_name())).expect("a copy");
    }
    run(async {
        let mut store = open(directory.path()).expect("a sound log opens");
        store.save_vote(&vote(7, 2, false)).await.expect("the disk works");
        store.close().await.expect("the disk works");
    });
    fs::remove_dir_all(&log).expect("a directory");
    fs::rename(&older, &log).expect("a directory");
    let error = refusal(directory.path());
    assert!(matches!(error, LogError::VoteLost { term: 7, .. }), "{error}");
}

#[test]
fn one_damaged_slot_of_the_watermark_starts_two_do_not() {
    let directory = written();
    let path = directory.path().join("watermark");
    let sound = fs::read(&path).expect("the watermark");
    assert_eq!(sound.len(), 4096);
    for slot in [0, 2048] {
        change(&path, |content| content[slot + 20] ^= 1);
        open(directory.path()).expect("the other slot is sound");
        fs::write(&path, &sound).expect("the watermark");
    }
    change(&path, |content| {
        content[20] ^= 1;
        content[2068] ^= 1;
    });
    let error = refusal(directory.path());
    assert!(matches!(error, LogError::WatermarkDamaged(_)), "{error}");
    fs::write(&path, &sound[..100]).expect("the watermark");
    let error = refusal(directory.path());
    assert!(matches!(error, LogError::WatermarkDamaged(_)), "{error}");
    fs::remove_file(&path).expect("the watermark");
    let error = refusal(directory.path());
    assert!(matches!(error, LogError::WatermarkMissing(_)), "{error}");
}

#[test]
fn a_vanished_log_is_refused() {
    let directory = written();
    fs::remove_dir_all(directory.path().join("log")).expect("the log's directory");
    let error = refusal(directory.path());
    assert!(matches!(error, LogError::EndsBelowWatermark { end: 0, .. }), "{error}");
}

//! The board between probers and reporter: what is told, what is told again, what the digest covers.

use std::time::Duration;

use quorate::reconcilers::Board;
use quorate_machine::{DataCenter, DigestVote, FindingClass, Id, LagThreshold, Vote, worker_digest};
use quorate_probes::{JudgeSettings, Observation, RoleInfo, Stage};

const SETTINGS: JudgeSettings = JudgeSettings {
    retry_interval_ms: 3_000,
    access_timeout_ms: 3_000,
    monitor_timeout_ms: 40_000,
    thresholds: None,
    lag: LagThreshold {
        seconds: None,
        bytes: None,
    },
    canary_votes: false,
};
const GENERATION: u64 = 4;

fn key(monitor: u128) -> (Id, DataCenter) {
    (Id::from_u128(monitor), DataCenter::Dc1)
}

fn observation(class: FindingClass) -> Observation {
    Observation {
        stage: Stage::Query,
        class,
        engine_text: String::new(),
        role: None,
        canary: None,
        latency_us: 100,
        fresh: false,
    }
}

/// A board with monitors 1 to `targets`, nothing found yet.
fn board(targets: u128) -> Board {
    let board = Board::default();
    for monitor in 1..=targets {
        board.begin(key(monitor), GENERATION, SETTINGS);
    }
    board
}

fn digest(votes: &[(u128, Vote)]) -> Option<u64> {
    Some(worker_digest(votes.iter().map(|(monitor, vote)| DigestVote {
        monitor: Id::from_u128(*monitor),
        generation: GENERATION,
        data_center: DataCenter::Dc1,
        vote: *vote,
    })))
}

#[test]
fn only_changes_are_told() {
    let board = board(2);
    assert!(board.take().is_none(), "nothing was found yet");
    board.observe(key(1), &observation(FindingClass::Refused));
    let taken = board.take().expect("a change");
    let vote = &taken.votes[0];
    assert_eq!((taken.votes.len(), taken.full), (1, false));
    assert_eq!(
        (vote.monitor, vote.generation, vote.vote()),
        (Id::from_u128(1), GENERATION, Vote::Down)
    );
    board.settle(&taken, true);
    board.observe(key(1), &observation(FindingClass::Refused));
    assert!(board.take().is_none(), "the same finding again");
}

#[test]
fn a_report_that_did_not_get_through_is_told_again_with_what_came_meanwhile() {
    let board = board(2);
    board.observe(key(1), &observation(FindingClass::Ok));
    let lost = board.take().expect("a change");
    board.observe(key(2), &observation(FindingClass::Timeout));
    board.settle(&lost, false);
    let again = board.take().expect("both changes");
    let votes: Vec<Vote> = again.votes.iter().map(|vote| vote.vote()).collect();
    assert_eq!(votes, [Vote::Up, Vote::Down]);
}

#[test]
fn the_digest_covers_what_was_accepted() {
    let board = board(2);
    assert_eq!(board.digest(), digest(&[]));
    board.observe(key(1), &observation(FindingClass::Ok));
    assert_eq!(board.digest(), None, "a report is owed");
    let taken = board.take().expect("a change");
    assert_eq!(board.digest(), None, "nobody can know while a report is under way");
    board.settle(&taken, false);
    assert_eq!(board.digest(), None, "it did not get through and is still owed");
    let taken = board.take().expect("again");
    board.settle(&taken, true);
    assert_eq!(board.digest(), digest(&[(1, Vote::Up)]));
    board.end(&key(1));
    assert_eq!(board.digest(), digest(&[]), "no longer probed");
}

#[test]
fn a_full_report_names_every_target() {
    let board = board(3);
    board.ask_full();
    let taken = board.take().expect("all of them");
    assert_eq!((taken.votes.len(), taken.full), (3, true));
    board.settle(&taken, false);
    assert!(board.take().expect("still owed").full);
}

#[test]
fn a_sick_node_votes_unknown_and_takes_it_back() {
    let board = board(2);
    for monitor in [1, 2] {
        board.observe(key(monitor), &observation(FindingClass::Timeout));
    }
    board.look(2, 1);
    let taken = board.take().expect("two votes");
    assert!(
        taken.votes.iter().all(|vote| vote.vote() == Vote::Down),
        "one peer answers: the fault is not here"
    );
    board.settle(&taken, true);

    board.look(2, 2);
    let taken = board.take().expect("everything fails at once");
    assert!(
        taken
            .votes
            .iter()
            .all(|vote| vote.vote() == Vote::Unknown && vote.class() == FindingClass::OwnShortage)
    );
    board.settle(&taken, true);

    board.look(2, 0);
    let taken = board.take().expect("the peers are back");
    assert!(
        taken.votes.iter().all(|vote| vote.vote() == Vote::Unknown),
        "what the sick node found is no vote"
    );
    board.settle(&taken, true);
    // An attempt that began while the node was sick tells nothing either.
    let mut late = observation(FindingClass::Timeout);
    late.latency_us = 60_000_000;
    board.observe(key(1), &late);
    assert!(board.take().is_none());
    // Nor does one that another target's turn made then.
    let minute = Duration::from_secs(60);
    board.observe_aged(key(1), &observation(FindingClass::Timeout), minute);
    assert!(board.take().is_none());
    board.observe(key(1), &observation(FindingClass::Timeout));
    board.observe(key(2), &observation(FindingClass::Ok));
    let taken = board.take().expect("found anew");
    let votes: Vec<Vote> = taken.votes.iter().map(|vote| vote.vote()).collect();
    assert_eq!(votes, [Vote::Down, Vote::Up]);
}

#[test]
fn other_timing_forgets_nothing() {
    let board = board(2);
    for _ in 0..3 {
        board.observe(key(1), &observation(FindingClass::Ok));
        board.observe(key(2), &observation(FindingClass::Refused));
    }
    let taken = board.take().expect("changes");
    let votes: Vec<Vote> = taken.votes.iter().map(|vote| vote.vote()).collect();
    assert_eq!(votes, [Vote::UpSteady, Vote::Down]);
    board.settle(&taken, true);
    let before = board.digest();
    let faster = JudgeSettings {
        retry_interval_ms: 300,
        access_timeout_ms: 300,
        monitor_timeout_ms: 1_000,
        thresholds: None,
        lag: LagThreshold::default(),
        canary_votes: false,
    };
    board.retime(&key(1), faster);
    board.retime(&key(2), faster);
    board.look(2, 0);
    assert!(board.take().is_none(), "nothing has changed");
    assert_eq!(board.digest(), before);
    board.observe(key(1), &observation(FindingClass::Ok));
    assert!(board.take().is_none(), "still steady");
}

#[test]
fn a_prober_that_failed_votes_unknown() {
    let board = board(1);
    board.observe(key(1), &observation(FindingClass::Refused));
    let taken = board.take().expect("down");
    board.settle(&taken, true);
    board.prober_failed(key(1));
    let taken = board.take().expect("unknown");
    assert_eq!(
        (taken.votes[0].vote(), taken.votes[0].class()),
        (Vote::Unknown, FindingClass::OwnShortage)
    );
}

#[test]
fn what_is_told_is_as_old_as_the_oldest_of_it() {
    let board = board(1);
    let answer = Observation {
        role: Some(RoleInfo {
            facts_age_ms: 20_000,
            ..RoleInfo::default()
        }),
        ..observation(FindingClass::Ok)
    };
    board.observe_aged(key(1), &answer, Duration::from_secs(1));
    let told = board.told(Id::from_u128(1));
    let ages: Vec<u64> = told.into_iter().map(|(_, _, age_ms)| age_ms).collect();
    assert_eq!(ages.len(), 1);
    assert!((21_000..26_000).contains(&ages[0]), "{ages:?}");
}

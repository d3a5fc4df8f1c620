//! Sub-health beside the vote: told when it comes and goes, and never how bad it is.

use quorate_machine::{Condition, ConditionReport, FindingClass, LagThreshold, Vote};
use quorate_probes::{
    CanaryFinding, Judge, JudgeSettings, Observation, RoleInfo, Stage, Transition, judge::DETAIL_INTERVAL_MS,
};

const SETTINGS: JudgeSettings = JudgeSettings {
    retry_interval_ms: 3_000,
    access_timeout_ms: 3_000,
    monitor_timeout_ms: 40_000,
    thresholds: None,
    lag: LagThreshold {
        seconds: Some(30),
        bytes: Some(1_000),
    },
    canary_votes: false,
};

fn answer(class: FindingClass, role: RoleInfo) -> Observation {
    Observation {
        stage: Stage::Role,
        class,
        engine_text: String::new(),
        role: Some(role),
        canary: None,
        latency_us: 100,
        fresh: false,
    }
}

fn behind(seconds: u64) -> Observation {
    let role = RoleInfo {
        replication_lag_seconds: Some(seconds),
        ..RoleInfo::default()
    };
    answer(FindingClass::Ok, role)
}

/// An answer beside a canary of which so many writes have failed.
fn stalled(failed_writes: u64) -> Observation {
    let report = ConditionReport {
        condition: Condition::WritesFail as i32,
        text: "no answer to a write within 1000 ms".to_owned(),
        lag: None,
    };
    Observation {
        canary: Some(CanaryFinding { report, failed_writes }),
        ..answer(FindingClass::Ok, RoleInfo::default())
    }
}

/// A new connection finds a full server.
fn full() -> Observation {
    Observation {
        role: None,
        fresh: true,
        engine_text: "ERROR 1040".to_owned(),
        ..answer(FindingClass::TooManyConnections, RoleInfo::default())
    }
}

fn ails(transition: &Transition) -> Vec<Condition> {
    transition.conditions.iter().map(|found| found.condition()).collect()
}

/// A judge whose side is steadily up, and the time by then.
fn steady(settings: JudgeSettings) -> (Judge, u64) {
    let mut judge = Judge::new(settings, 0);
    for at in 1..=3 {
        judge.observe(&behind(0), at * 3_000);
    }
    assert_eq!(judge.current().vote, Vote::UpSteady);
    (judge, 9_000 + DETAIL_INTERVAL_MS)
}

#[test]
fn lag_is_told_when_it_passes_the_threshold_and_when_it_is_below_half_of_it() {
    let (mut judge, mut now_ms) = steady(SETTINGS);
    let mut told = |seconds: u64| {
        now_ms += DETAIL_INTERVAL_MS;
        judge
            .observe(&behind(seconds), now_ms)
            .map(|transition| ails(&transition))
    };
    assert_eq!(told(30), None, "at the threshold");
    assert_eq!(told(31), Some(vec![Condition::ReplicaLag]));
    for seconds in [300, 29, 16] {
        assert_eq!(told(seconds), None, "{seconds} s: it goes on");
    }
    assert_eq!(told(15), Some(vec![]));
    assert_eq!(told(29), None, "not yet again");
}

#[test]
fn lag_in_bytes_counts_too_and_never_votes() {
    let (mut judge, now_ms) = steady(SETTINGS);
    let role = RoleInfo {
        replication_lag_bytes: Some(1_001),
        replication_broken: Some("no WAL receiver runs".to_owned()),
        ..RoleInfo::default()
    };
    let transition = judge
        .observe(&answer(FindingClass::ReadOnly, role), now_ms)
        .expect("news");
    assert_eq!(transition.vote, Vote::UpSteady);
    assert_eq!(
        ails(&transition),
        [Condition::ReadOnly, Condition::ReplicaLag, Condition::ReplicationBroken]
    );
    assert_eq!(transition.conditions[1].lag.and_then(|lag| lag.bytes), Some(1_001));
}

#[test]
fn conditions_that_come_and_go_do_not_fill_the_log() {
    let (mut judge, now_ms) = steady(SETTINGS);
    let mut reports = 0;
    for attempt in 0..100 {
        let observation = if attempt % 2 == 0 { stalled(2) } else { behind(0) };
        reports += u32::from(judge.observe(&observation, now_ms + attempt * 300).is_some());
    }
    assert!((1..=4).contains(&reports), "{reports} reports in 30 s");
}

#[test]
fn a_failing_canary_votes_only_where_the_monitor_says_so() {
    let (mut judge, now_ms) = steady(SETTINGS);
    let shown = judge.observe(&stalled(2), now_ms).expect("news");
    assert_eq!(
        (shown.vote, ails(&shown)),
        (Vote::UpSteady, vec![Condition::WritesFail])
    );

    let (mut judge, now_ms) = steady(JudgeSettings {
        canary_votes: true,
        ..SETTINGS
    });
    let failed = judge.observe(&stalled(2), now_ms).expect("news");
    assert_eq!((failed.vote, failed.class), (Vote::Down, FindingClass::WritesFail));
    assert_eq!(failed.text, "no answer to a write within 1000 ms");
    assert!(judge.is_failing());
    let back = judge.observe(&behind(0), now_ms + 1).expect("news");
    assert_eq!((back.vote, ails(&back)), (Vote::Up, vec![]));
}

const VOTING: JudgeSettings = JudgeSettings {
    canary_votes: true,
    ..SETTINGS
};

#[test]
fn a_failed_write_counts_once_however_many_attempts_tell_of_it() {
    // No second attempt fits the monitor timeout: two failures in a row vote `down`.
    let (mut judge, mut now_ms) = steady(JudgeSettings {
        monitor_timeout_ms: 5_000,
        ..VOTING
    });
    for attempt in 0..5 {
        now_ms += 3_000;
        judge.observe(&stalled(2), now_ms);
        assert_eq!(
            judge.current().vote,
            Vote::UpSteady,
            "attempt {attempt} tells of the same write"
        );
        assert!(judge.is_failing());
    }
    let down = judge.observe(&stalled(3), now_ms + 3_000).expect("the next write");
    assert_eq!((down.vote, down.class), (Vote::Down, FindingClass::WritesFail));
}

#[test]
fn the_vote_stands_while_the_same_write_is_told() {
    let (mut judge, now_ms) = steady(VOTING);
    let down = judge.observe(&stalled(2), now_ms).expect("news");
    assert_eq!((down.vote, down.failing_since_ms), (Vote::Down, Some(now_ms)));
    assert_eq!(judge.observe(&stalled(2), now_ms + 3_000), None);
    // A server that is full because its writes hang is not well for that.
    let later = now_ms + DETAIL_INTERVAL_MS;
    let full = Observation {
        canary: stalled(2).canary,
        ..full()
    };
    let told = judge.observe(&full, later).expect("news");
    assert_eq!(
        (told.vote, ails(&told)),
        (Vote::Down, vec![Condition::PoolExhausted, Condition::WritesFail])
    );
    // What is no evidence ends the run: the write counts anew.
    judge.check_overdue(later + 60_000).expect("overdue");
    let again = judge.observe(&stalled(2), later + 60_001).expect("news");
    assert_eq!(again.vote, Vote::Down);
}

#[test]
fn an_exhausted_pool_stands_beside_what_the_kept_session_still_tells() {
    let (mut judge, mut now_ms) = steady(SETTINGS);
    judge.observe(&behind(40), now_ms);
    now_ms += DETAIL_INTERVAL_MS;
    let told = judge.observe(&full(), now_ms).expect("news");
    assert_eq!(ails(&told), [Condition::PoolExhausted, Condition::ReplicaLag]);
    now_ms += DETAIL_INTERVAL_MS;
    assert_eq!(
        judge.observe(&behind(40), now_ms),
        None,
        "the kept session goes on, the pool is still full"
    );
    let fresh = Observation {
        fresh: true,
        ..behind(40)
    };
    now_ms += DETAIL_INTERVAL_MS;
    let over = judge.observe(&fresh, now_ms).expect("news");
    assert_eq!(ails(&over), [Condition::ReplicaLag]);
}

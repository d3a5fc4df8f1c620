//! Seeded simulations of a cluster under faults. `QUORATE_SIM_SEEDS` sets how many seeds are tried (default 200).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_raft::sim::{FaultMix, PlantedBug, SimOptions, SimReport, simulate};

/// Seeds within which a planted bug has to be found.
const SEEDS_TO_FIND_A_BUG: u64 = 60;

fn seeds() -> u64 {
    std::env::var("QUORATE_SIM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200)
}

/// All of them, or the one named by `QUORATE_SIM_SEED`, to look at a failure again.
fn seeds_to_run() -> std::ops::Range<u64> {
    match std::env::var("QUORATE_SIM_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(seed) => seed..seed + 1,
        None => 0..seeds(),
    }
}

/// Runs every seed, on as many threads as the machine has processors: a run knows nothing of any other.
fn simulate_all(seeds: std::ops::Range<u64>) -> Vec<(u64, SimReport)> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
        std::iter::from_fn(take)
            .map(|seed| (seed, simulate(SimOptions::new(seed))))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let reports = workers.into_iter().map(|worker| worker.join().expect("no run panics"));
        reports.flatten().collect()
    })
}

#[test]
fn no_seed_breaks_a_promise() {
    let (mut acknowledged, mut reads, mut terms) = (0, 0, 0);
    for (seed, report) in simulate_all(seeds_to_run()) {
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        acknowledged += report.acknowledged;
        reads += report.reads;
        terms += report.term;
    }
    println!("{acknowledged} writes acknowledged, {reads} reads answered, {terms} terms");
    assert!(
        acknowledged > 50 * seeds_to_run().count() as u64,
        "hardly any write went through"
    );
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in 0..3 {
        let options = SimOptions {
            trace: true,
            ..SimOptions::new(seed)
        };
        assert_eq!(simulate(options), simulate(options), "seed {seed}");
    }
}

/// The bug shows within some seeds, and in a promise to clients or between nodes, not only as a node that does not start.
fn assert_found(bug: PlantedBug, signs: &[&str]) {
    let found = (0..SEEDS_TO_FIND_A_BUG).find_map(|seed| {
        let options = SimOptions {
            bug: Some(bug),
            ..SimOptions::new(seed)
        };
        let violations = simulate(options).violations;
        let sign = violations
            .into_iter()
            .find(|text| signs.iter().any(|sign| text.contains(sign)))?;
        Some((seed, sign))
    });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not found within {SEEDS_TO_FIND_A_BUG} seeds"));
    println!("{bug:?} found with seed {seed}: {violation}");
}

#[test]
fn acknowledging_before_the_flush_is_found() {
    assert_found(PlantedBug::AckBeforeFlush, &["lost", "stale read", "differ"]);
}

#[test]
fn a_forgotten_vote_is_found() {
    assert_found(PlantedBug::ForgottenVote, &["both led", "lost", "stale read", "differ"]);
}

#[test]
fn reading_without_a_quorum_is_found() {
    assert_found(PlantedBug::ReadWithoutQuorum, &["stale read"]);
}

#[test]
fn a_killed_leader_is_replaced_before_its_lease_ends() {
    let gaps = |fast_elections| {
        let mut gaps = Vec::new();
        for seed in 0..5 {
            let options = SimOptions {
                faults: FaultMix::LeaderKills,
                fast_elections,
                ..SimOptions::new(seed)
            };
            let report = simulate(options);
            assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
            gaps.extend(report.write_gaps_ms);
        }
        gaps.sort_unstable();
        gaps[gaps.len() / 2]
    };
    let (fast, slow) = (gaps(true), gaps(false));
    println!("write gap after a kill of the leader, p50: {fast} ms, waiting for the lease: {slow} ms");
    assert!(fast < 200 && slow <= 700, "fast {fast} ms, slow {slow} ms");
}

/// Heartbeats go on while a disk stalls, and two followers commit without the leader's: only the watchdog moves leadership.
#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    for seed in 0..3 {
        let options = SimOptions {
            faults: FaultMix::LeaderDiskStalls,
            duration: Duration::from_secs(26),
            ..SimOptions::new(seed)
        };
        let report = simulate(options);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        println!("seed {seed}: {} hand-overs", report.hand_overs);
        assert_eq!(report.hand_overs, 2, "seed {seed}");
    }
}

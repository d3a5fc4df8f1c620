//! What goes wrong, and when.

use std::time::Duration;

use openraft::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

use super::Random;
use super::cluster::SimCluster;

/// How long a leader's disk stalls: five times what it may.
const STALL: Duration = Duration::from_millis(1_500);

/// Which faults a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMix {
    /// None.
    Nothing,
    /// The leader's process is killed every two seconds and comes back after one.
    LeaderKills,
    /// The leader's disk stalls for a second and a half, every twelve seconds.
    LeaderDiskStalls,
    /// Isolation, one-way loss, crashes with loss of what was not synced, slow disks, hand-overs.
    Everything,
}

/// Makes faults until the run is over, then mends everything.
pub(crate) async fn inject(cluster: SimCluster, mut random: Random) {
    while !cluster.is_over() {
        match cluster.options.faults {
            FaultMix::Nothing => SimRuntime::sleep(random.millis(100, 100)).await,
            FaultMix::LeaderKills => kill_leader(&cluster, &mut random).await,
            FaultMix::LeaderDiskStalls => stall_leader(&cluster, &mut random).await,
            FaultMix::Everything => any_fault(&cluster, &mut random).await,
        }
    }
    cluster.network.heal();
    for id in 1..=3 {
        if cluster.core(id).is_none() {
            cluster.start_node(id).await;
        }
    }
}

async fn kill_leader(cluster: &SimCluster, random: &mut Random) {
    SimRuntime::sleep(random.millis(900, 1_100)).await;
    let Some(leader) = cluster.leader() else { return };
    cluster.measure_gap();
    cluster.crash(leader);
    SimRuntime::sleep(random.millis(900, 1_100)).await;
    cluster.start_node(leader).await;
}

async fn stall_leader(cluster: &SimCluster, random: &mut Random) {
    SimRuntime::sleep(random.millis(900, 1_100)).await;
    let Some(leader) = cluster.leader() else { return };
    cluster.disk(leader).stall_next(STALL);
    SimRuntime::sleep(STALL).await;
    if cluster.leader() != Some(leader) {
        cluster.note_hand_over();
    }
    // Leadership moves at most once in ten seconds.
    SimRuntime::sleep(random.millis(10_500, 11_000)).await;
}

async fn any_fault(cluster: &SimCluster, random: &mut Random) {
    SimRuntime::sleep(random.millis(50, 700)).await;
    let someone = 1 + random.below(3);
    let other = 1 + (someone + random.below(2)) % 3;
    match random.below(9) {
        0 | 1 => {
            let isolated = cluster.leader().unwrap_or(someone);
            isolate(cluster, isolated, true);
            SimRuntime::sleep(random.millis(100, 1_500)).await;
            isolate(cluster, isolated, false);
        }
        2 => {
            cluster.network.set_cut(someone, other, true);
            SimRuntime::sleep(random.millis(100, 1_500)).await;
            cluster.network.set_cut(someone, other, false);
        }
        3 | 4 => {
            let crashed = if random.below(2) == 0 {
                someone
            } else {
                cluster.leader().unwrap_or(someone)
            };
            cluster.crash(crashed);
            // A fast restart is as instructive as a slow one.
            let down = if random.below(2) == 0 { 5 } else { 900 };
            SimRuntime::sleep(random.millis(0, down)).await;
            cluster.start_node(crashed).await;
        }
        5 => {
            for id in 1..=3 {
                cluster.crash(id);
            }
            for id in 1..=3 {
                SimRuntime::sleep(random.millis(0, 100)).await;
                cluster.start_node(id).await;
            }
        }
        6 => cluster.disk(someone).stall_next(random.millis(50, 900)),
        7 => {
            // A partition while another node restarts: what a lease does not survive.
            let isolated = cluster.leader().unwrap_or(someone);
            let crashed = isolated % 3 + 1;
            isolate(cluster, isolated, true);
            cluster.crash(crashed);
            SimRuntime::sleep(random.millis(0, 5)).await;
            cluster.start_node(crashed).await;
            SimRuntime::sleep(random.millis(100, 1_200)).await;
            isolate(cluster, isolated, false);
        }
        _ => {
            if let Some(core) = cluster.leader().and_then(|leader| cluster.core(leader)) {
                // Whether it succeeds is for the checker to survive, not for this task to know.
                let _ = core.transfer_leadership(None, random.millis(100, 500)).await;
            }
        }
    }
}

fn isolate(cluster: &SimCluster, node: u64, cut: bool) {
    for other in (1..=3).filter(|other| *other != node) {
        cluster.network.set_cut(node, other, cut);
        cluster.network.set_cut(other, node, cut);
    }
}

//! Leases and locks while nodes are killed, hang and are cut off: no lease ends before its time, none lives for ever, and a
//! lock has one holder at a time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::faults::{Signal, isolation};
use quorate_chaos::harness::{Harness, step};
use quorate_chaos::kv;
use quorate_chaos::leases::{Hold, LeaseHolders, LockUsers, double_holds, early_ends};

const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a leader hangs or is cut off: longer than an election, and most of a lease's time.
const FAULT: Duration = Duration::from_secs(3);
const PREFIX: &str = "/leases/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_locks_are_safe_under_faults() -> Result<()> {
    let harness = Harness::start(&["--faults"]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &mut harness.cluster;
        let paths = cluster
            .info
            .nodes
            .iter()
            .map(|node| kv::as_root(&cluster.info, &node.kv))
            .collect::<Result<Vec<_>>>()?;
        let leases = LeaseHolders::start(&paths, 3, PREFIX).await?;
        let locks = LockUsers::start(&paths, 2, "/locks/one");
        step("the lock is handed on", locks.wait_holds(10, TIMEOUT)).await?;
        for round in 1..=2 {
            for fault in [Fault::Kill, Fault::Hang, Fault::CutOff] {
                let name = format!("round {round}: the leader suffers {fault:?}");
                step(&name, suffer(cluster, fault, &locks)).await?;
            }
        }
        let holds = locks.finish().await?;
        let ended = step("every lease that was let go ends", leases.finish()).await?;
        println!("  {} leases, {} holds of the lock", ended.len(), holds.len());
        let mut violations = early_ends(&ended);
        violations.extend(double_holds(&holds));
        ensure!(violations.is_empty(), "{violations:#?}");
        // Otherwise nothing was proven.
        let owners: std::collections::BTreeSet<&str> = holds.iter().map(|hold: &Hold| hold.owner.as_str()).collect();
        ensure!(
            ended.len() >= 9 && owners.len() >= 4,
            "{} leases, holders {owners:?}",
            ended.len()
        );
        Ok(())
    };
    harness.run(test).await
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Hang,
    CutOff,
}

/// The leader suffers for a while, and the lock must be handed on during and after it.
async fn suffer(cluster: &mut DevCluster, fault: Fault, locks: &LockUsers) -> Result<()> {
    let leader = cluster.leader(TIMEOUT).await?;
    match fault {
        Fault::Kill => cluster.signal(leader, Signal::Kill)?,
        Fault::Hang => cluster.signal(leader, Signal::Stop)?,
        Fault::CutOff => cluster.fault_proxy()?.set(&isolation(leader, &[1, 2, 3])).await?,
    }
    // The length of the fault is what is tested.
    let (going_on, ()) = tokio::join!(locks.wait_holds(3, TIMEOUT), tokio::time::sleep(FAULT));
    going_on.context("the others do not hand the lock on")?;
    match fault {
        Fault::Kill => cluster.restart(leader).await?,
        Fault::Hang => cluster.signal(leader, Signal::Continue)?,
        Fault::CutOff => cluster.fault_proxy()?.heal().await?,
    }
    cluster.wait_ready(leader, TIMEOUT).await?;
    locks.wait_holds(5, TIMEOUT).await
}

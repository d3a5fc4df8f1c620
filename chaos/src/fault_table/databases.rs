//! Faults of the database server itself, for every engine that has them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::scene::{MonitorParts, NODES, Scene};
use super::table::Row;
use super::{Expected, Options, Reason, Scenario, Scenes};
use crate::faults::LinkFault;
use crate::scenario::Timing;

/// What is wrong with dc1's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    Refused,
    HostGone,
    Stopped,
    WrongPassword,
    ExpiredPassword,
    TooManyConnections,
    ReadOnly,
    Replica,
    TlsRequired,
    TlsWrong,
    Slow,
    BothDown,
}

const fn scenario(name: &'static str, what: &'static str, quick: bool) -> Scenario {
    Scenario { name, what, quick }
}

/// In the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("refused", "SIGKILL of dc1's server", true),
    scenario(
        "host-gone",
        "nothing passes any more between the nodes and dc1's server, and nobody is told",
        true,
    ),
    scenario("stopped", "SIGSTOP of dc1's server: it accepts and never answers", true),
    scenario(
        "wrong-password",
        "the account's password is changed on dc1 and its sessions end",
        false,
    ),
    scenario(
        "expired-password",
        "the account's password expires on dc1 and its sessions end",
        false,
    ),
    scenario(
        "too-many-connections",
        "dc1 takes no further connections, and the monitor's sessions end",
        false,
    ),
    scenario("read-only", "dc1 is made read-only", false),
    scenario("replica", "dc1 is a replica in place of a primary", false),
    scenario(
        "tls-required",
        "dc1 takes encrypted connections only; the monitor speaks plainly",
        true,
    ),
    scenario(
        "tls-wrong",
        "dc1 shows a certificate of an authority that the monitor does not trust",
        true,
    ),
    scenario(
        "slow",
        "dc1 answers 600 ms late, beyond the access timeout of 500 ms",
        true,
    ),
    scenario("both-down", "SIGKILL of dc2's server, then of dc1's", true),
];

const FAULTS: [DatabaseFault; 12] = [
    DatabaseFault::Refused,
    DatabaseFault::HostGone,
    DatabaseFault::Stopped,
    DatabaseFault::WrongPassword,
    DatabaseFault::ExpiredPassword,
    DatabaseFault::TooManyConnections,
    DatabaseFault::ReadOnly,
    DatabaseFault::Replica,
    DatabaseFault::TlsRequired,
    DatabaseFault::TlsWrong,
    DatabaseFault::Slow,
    DatabaseFault::BothDown,
];

/// How late a slow server's answers are, each way through the fault proxy counted.
const SLOW: LinkFault = LinkFault::DelayMs(300);
const TIMEOUT: Duration = Duration::from_secs(60);

/// A pair of servers of one engine that can be made to fail.
pub trait Subject: Send {
    /// As the table calls it.
    fn engine(&self) -> &'static str;

    /// Feature point, for example `mysql`.
    fn kind(&self) -> &'static str;

    /// `host:port` of dc1 and dc2 as the monitor for this fault has them.
    fn addresses(&self, fault: DatabaseFault) -> [String; 2];

    /// The kind's section of a monitor for this fault.
    fn section(&self, fault: DatabaseFault) -> Value;

    /// The connection pool of such a monitor, for kinds that have one.
    fn pool(&self, fault: DatabaseFault) -> Option<Value>;

    /// What must come of it; `None`: the engine has no such fault, or none that can be made here.
    fn expected(&self, fault: DatabaseFault) -> Option<Expected>;

    /// Times of the monitor for this fault.
    fn timing(&self, _fault: DatabaseFault) -> Timing {
        Timing::FAST
    }

    /// Before the monitor is created.
    fn prepare(&mut self, _fault: DatabaseFault) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// The fault begins.
    fn inject(&mut self, fault: DatabaseFault) -> impl Future<Output = Result<()>>;

    /// Both servers are well again when this returns.
    fn undo(&mut self, fault: DatabaseFault) -> impl Future<Output = Result<()>>;
}

/// What must come of the faults that are the same for every engine that switches.
pub fn common_expectation(fault: DatabaseFault) -> Option<Expected> {
    match fault {
        DatabaseFault::Refused => Some(Expected::failover(Reason::all("refused", "refused"))),
        DatabaseFault::HostGone | DatabaseFault::Stopped | DatabaseFault::Slow => {
            Some(Expected::failover(Reason::all("timeout", "")))
        }
        DatabaseFault::BothDown => Some(Expected {
            states: ["abnormal", "abnormal"],
            reasons: [Reason::all("refused", "refused"); 2],
            switches: 0,
            cause: "",
            withheld: "target-not-steady",
        }),
        _ => None,
    }
}

/// Runs those of the scenarios that are wanted and that the subject has.
pub async fn play<S: Subject>(
    options: &Options,
    scenes: &Scenes,
    subject: &mut S,
    keep: &mut impl FnMut(Row),
) -> Result<()> {
    for (scenario, fault) in SCENARIOS.iter().zip(FAULTS) {
        if let Some(expected) = subject.expected(fault).filter(|_| options.wants(scenario)) {
            let of_links = matches!(fault, DatabaseFault::HostGone | DatabaseFault::Slow);
            let scene = if of_links { &scenes.linked } else { &scenes.direct };
            let row = one(scene, subject, scenario, fault, expected).await;
            keep(row.with_context(|| format!("{} {}", subject.engine(), scenario.name))?);
        }
    }
    Ok(())
}

async fn one<S: Subject>(
    scene: &Scene,
    subject: &mut S,
    scenario: &Scenario,
    fault: DatabaseFault,
    expected: Expected,
) -> Result<Row> {
    subject.prepare(fault).await?;
    let parts = MonitorParts {
        kind: subject.kind(),
        section: subject.section(fault),
        pool: subject.pool(fault),
        timing: subject.timing(fault),
    };
    let mut trial = scene.monitor(parts).await?;
    let [dc1, _] = subject.addresses(fault);
    trial.strike();
    match fault {
        DatabaseFault::HostGone => scene.cut(&NODES, &dc1, LinkFault::Cut).await?,
        DatabaseFault::Slow => scene.cut(&NODES, &dc1, SLOW).await?,
        _ => subject.inject(fault).await?,
    }
    let row = trial.judge(scene, subject.engine(), scenario, expected).await?;
    scene.dismiss(trial).await?;
    tokio::time::timeout(TIMEOUT, subject.undo(fault))
        .await
        .context("the servers do not recover")??;
    Ok(row)
}

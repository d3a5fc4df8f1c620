//! The acts: automatic failover, switchback by hand, and switches while the appliance's own nodes are killed.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::record::UnixMicros;
use super::{HANDED_OUT, Trial, UNVERIFIED, now_us, sides};
use crate::demo::report::Report;
use crate::demo::sightings;
use crate::faults::Signal;
use crate::kv;
use crate::scenario::INSTANCE;
use crate::timeline::{Moment, Timeline};
use crate::watcher::Watcher;

/// Bound of everything that an SDK does after a switch.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(20);
/// Bound of catching up and of nodes that come back.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How one process followed one switch.
struct Followed {
    /// When the SDK logged the new value.
    seen_us: UnixMicros,
    /// When the first statement on the new side was answered.
    first_us: UnixMicros,
    /// Statements that failed from the fault or request on.
    failed: usize,
}

impl Trial {
    /// All acts in order.
    pub(super) async fn acts(&mut self, report: &mut Report) -> Result<()> {
        report.act("Applications start, write and ask which server they are on");
        self.start_and_wait("verified", HANDED_OUT, "dc1", report).await?;
        if !self.mutual_tls {
            self.start_and_wait("unverified", UNVERIFIED, "dc1", report).await?;
        }
        self.failover(report).await?;

        report.act("dc1 comes back and is switched back to by hand");
        self.stage.pair.return_dc1().await?;
        self.switch_by_hand("dc1", "switchback by hand", report).await?;

        report.act("The node that the SDK's watch is on is killed, then a switch by hand");
        let watched = self.watched_node().await?;
        self.kill_and_switch(watched, "dc2", "switch with the SDK's own node killed", report)
            .await?;

        report.act("The leader is killed, an application starts without it, then a switch by hand");
        let leader = self.cluster.leader(CATCH_UP_TIMEOUT).await?;
        self.cluster.signal(leader, Signal::Kill)?;
        self.start_and_wait("late", HANDED_OUT, "dc2", report).await?;
        self.switch_by_hand("dc1", "switch with the leader killed", report)
            .await?;
        self.bring_back(leader, report).await?;

        report.act("All three nodes are killed at once and restarted, then a switch by hand");
        let nodes: Vec<u64> = self.cluster.info.nodes.iter().map(|node| node.id).collect();
        for node in &nodes {
            self.cluster.signal(*node, Signal::Kill)?;
        }
        for node in &nodes {
            self.cluster.restart(*node).await?;
        }
        for node in &nodes {
            self.cluster.wait_ready(*node, CATCH_UP_TIMEOUT).await?;
        }
        self.switch_by_hand("dc2", "switch after all nodes were killed", report)
            .await?;

        report.act("Every node is stopped in order and restarted, one after the other, then a switch by hand");
        for node in nodes {
            self.cluster.signal(node, Signal::Terminate)?;
            self.bring_back(node, report).await?;
        }
        self.switch_by_hand("dc1", "switch after a rolling restart", report)
            .await
    }

    async fn start_and_wait(&mut self, name: &str, configuration: &str, side: &str, report: &Report) -> Result<()> {
        let begun = now_us();
        self.start_application(name, configuration)?;
        let server = sides()[side];
        let deadline = Instant::now() + FOLLOW_TIMEOUT;
        loop {
            let application = self.applications.last_mut().context("it was just started")?;
            application.check_alive()?;
            let first = application.look(|record| record.statements.iter().find(|line| line.server != 0).cloned());
            if let Some(line) = first {
                ensure!(
                    line.server == server,
                    "{name} began on server {}, not on that of {side}",
                    line.server
                );
                report.say(&format!(
                    "{name}: first answer of {side} {} ms after its start",
                    (line.ended_us - begun) / 1000
                ));
                return Ok(());
            }
            if Instant::now() > deadline {
                let record = application.record();
                bail!(
                    "{name} has run no statement: {:?}, {:?}",
                    record.statements.last(),
                    record.complaints
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A watcher on every node; of all status keys only `active` holds the name of a data center.
    async fn watch_status(&self) -> Result<Vec<(String, Watcher)>> {
        let mut watchers = Vec::new();
        for node in &self.cluster.info.nodes {
            let watcher = Watcher::start(kv::as_sdk(&self.cluster.info, &node.kv)?, "/mas-monitor/status/", 1);
            let watching = watcher.wait_watching(FOLLOW_TIMEOUT).await;
            watching.with_context(|| format!("watch on {}", node.name))?;
            watchers.push((node.name.clone(), watcher));
        }
        Ok(watchers)
    }

    async fn failover(&mut self, report: &mut Report) -> Result<()> {
        // The harness's own watchers have no client certificate.
        let watchers = match self.mutual_tls {
            true => Vec::new(),
            false => self.watch_status().await?,
        };
        report.act("dc1's server is killed with SIGKILL");
        let (killed, killed_us) = (SystemTime::now(), now_us());
        self.stage.pair.kill_dc1()?;
        let seen = sightings(&watchers, "dc2", killed).await?;
        let followed = self.follow("dc2", killed_us).await?;
        let mut timeline = Timeline::new(&self.stage.view(&self.cluster.rest).await?, killed, &seen)?;
        for (name, process) in &followed {
            let mut moment = |at: UnixMicros, text: String| {
                let after_ms = (at - killed_us) / 1000;
                timeline.moments.push(Moment { after_ms, text });
            };
            moment(process.seen_us, format!("the SDK of {name} has seen dc2"));
            moment(process.first_us, format!("{name}: first statement answered by dc2"));
        }
        timeline.moments.sort_by_key(|moment| moment.after_ms);
        for moment in &timeline.moments {
            report.line(&format!("  {:>7} ms  {}", moment.after_ms, moment.text));
        }
        self.tabulate("automatic failover", killed_us, &followed, report).await
    }

    async fn switch_by_hand(&mut self, to: &str, what: &str, report: &mut Report) -> Result<()> {
        self.stage.pair.caught_up().await?;
        let rest = &self.cluster.rest;
        self.stage
            .wait_sides(rest, "healthy", "healthy", CATCH_UP_TIMEOUT)
            .await?;
        let asked = now_us();
        let extra = json!({"reason": "trial of the SDK", "acknowledge": true, "restore_readable": true});
        self.ask_until_judged(to, extra).await?;
        let followed = self.follow(to, asked).await?;
        self.tabulate(what, asked, &followed, report).await
    }

    /// Asks for a switch as an operator does: again while the refusal says that the nodes have not judged the target yet,
    /// as after a restart of all of them.
    async fn ask_until_judged(&self, to: &str, body: Value) -> Result<()> {
        let deadline = Instant::now() + FOLLOW_TIMEOUT;
        loop {
            let answer = self.stage.switch(&self.cluster.rest, to, body.clone()).await?;
            if answer.code() != "target-abnormal" || Instant::now() > deadline {
                return answer.success().map(drop);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn kill_and_switch(&mut self, node: u64, to: &str, what: &str, report: &mut Report) -> Result<()> {
        let leader = self.cluster.leader(CATCH_UP_TIMEOUT).await?;
        let role = if leader == node { "the leader" } else { "a follower" };
        report.say(&format!("it is node {node}, {role}"));
        self.cluster.signal(node, Signal::Kill)?;
        self.switch_by_hand(to, what, report).await?;
        self.bring_back(node, report).await
    }

    async fn bring_back(&mut self, node: u64, report: &Report) -> Result<()> {
        self.cluster.restart(node).await?;
        let ready = self.cluster.wait_ready(node, CATCH_UP_TIMEOUT).await?;
        report.say(&format!(
            "node {node} serves again {} ms after its restart",
            ready.as_millis()
        ));
        Ok(())
    }

    /// The node that the application's watch hangs on, as the console tells it.
    async fn watched_node(&self) -> Result<u64> {
        let path = format!("{INSTANCE}/applications/{}/processes", self.stage.application);
        let processes = self.cluster.rest.get(&path).await?;
        let node = processes["items"][0]["node"].as_u64();
        node.with_context(|| format!("the console names no process: {processes}"))
    }

    /// Waits until every process has taken `to` over and been answered by its server.
    async fn follow(&mut self, to: &str, since: UnixMicros) -> Result<Vec<(String, Followed)>> {
        let server = sides()[to];
        let mut all = Vec::new();
        let deadline = Instant::now() + FOLLOW_TIMEOUT;
        for application in &mut self.applications {
            let followed = loop {
                application.check_alive()?;
                let found = application.look(|record| {
                    let seen_us = record.change_to(to, since)?.at_us;
                    let first_us = record.first_on(server, seen_us)?.ended_us;
                    let failed = record.failed_between(since, first_us);
                    Some(Followed {
                        seen_us,
                        first_us,
                        failed,
                    })
                });
                if let Some(found) = found {
                    break found;
                }
                if Instant::now() > deadline {
                    let last = application.record().statements.pop();
                    bail!(
                        "{} has not followed to {to} within {FOLLOW_TIMEOUT:?}; last: {last:?}",
                        application.name
                    );
                }
                tokio::time::sleep(POLL).await;
            };
            all.push((application.name.clone(), followed));
        }
        Ok(all)
    }

    async fn tabulate(
        &mut self,
        what: &str,
        since: UnixMicros,
        followed: &[(String, Followed)],
        report: &Report,
    ) -> Result<()> {
        let view = self.stage.view(&self.cluster.rest).await?;
        let at = view["last_switch"]["at"].as_str().context("no switch is recorded")?;
        let decided = at
            .parse::<jiff::Timestamp>()
            .context("last_switch.at")?
            .as_microsecond();
        for (name, process) in followed {
            let line = format!(
                "{what}, {name}: decided after {} ms, seen by the SDK {} ms later, first statement there {} ms after that, \
                 {} statements failed meanwhile",
                (decided - since) / 1000,
                (process.seen_us - decided) / 1000,
                (process.first_us - process.seen_us) / 1000,
                process.failed
            );
            report.say(&line);
            self.table.push(line);
        }
        Ok(())
    }
}

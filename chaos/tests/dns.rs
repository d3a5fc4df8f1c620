//! The name servers die: what has no address says nothing about a database, and what is remembered is probed on.
//!
//! The monitor under test knows its real MariaDB pair by names, which a name server of the test's own answers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::harness::{Harness, eventually, step, throughout};
use quorate_chaos::rest::RestClient;
use quorate_chaos::scenario::{INSTANCE, Stage, Timing, create_monitor, monitor_body};
use quorate_real_parts::{DnsMode, DnsServer};
use serde_json::Value;

const NAMES: [&str; 2] = ["db1.quorate.test", "db2.quorate.test"];
const TTL_SECONDS: u32 = 1;
/// The bound of what is remembered, short for the test; long enough for a failover within it on a busy machine.
const MAX_STALE: (&str, &str) = ("QUORATE_DNS_MAX_STALE_SECONDS", "20");
const TIMEOUT: Duration = Duration::from_secs(20);
/// Until nothing is remembered any more and every node has noticed: bound, TTL and ten cycles to the next fresh connection.
const FORGOTTEN_TIMEOUT: Duration = Duration::from_secs(50);
/// Within the bound, and beyond monitor timeout and the next fresh connection of the fast profile.
const REMEMBERED_WINDOW: Duration = Duration::from_secs(10);
/// As in the other tests of failover: a switch that was going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_name_server_is_no_dead_database() -> Result<()> {
    let dns = DnsServer::start()?;
    for name in NAMES {
        dns.set(name, &[IpAddr::V4(Ipv4Addr::LOCALHOST)], TTL_SECONDS);
    }
    let servers = dns.address().to_string();
    let harness = Harness::start_with(&["--dns-servers", &servers], &[MAX_STALE]).await?;
    let test = async |harness: &mut Harness| {
        let mut stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let named = step("a monitor by names", Named::create(&harness.cluster.rest, &stage)).await?;
        step("DNS dies: remembered addresses serve", remembered(&dns, &named)).await?;
        step("DNS stays dead: unknown", forgotten(&dns, &named)).await?;
        step("unknown, and the database dies", blind_death(&named, &mut stage)).await?;
        step("DNS recovers", recovered(&dns, &named, &mut stage)).await?;
        step("DNS and database die together", common_death(&dns, &named, &mut stage)).await
    };
    harness.run(test).await
}

/// The monitor that knows its databases by names.
struct Named<'a> {
    rest: &'a RestClient,
    path: String,
}

impl<'a> Named<'a> {
    async fn create(rest: &'a RestClient, stage: &Stage) -> Result<Self> {
        let by_name = |name: &str, address: String| {
            let port = address.rsplit_once(':').map(|(_, port)| port.to_owned());
            port.map(|port| format!("{name}:{port}")).context("a port")
        };
        let dc1 = by_name(NAMES[0], stage.pair.dc1.address())?;
        let dc2 = by_name(NAMES[1], stage.pair.dc2.address())?;
        let mut body = monitor_body(&stage.application, "by-name", Timing::FAST, &dc1, &dc2);
        body["connection_pool"] = rest.get(&stage.path()).await?["connection_pool"].clone();
        let path = format!("{INSTANCE}/monitors/{}", create_monitor(rest, body).await?);
        let named = Self { rest, path };
        named.steady().await?;
        Ok(named)
    }

    async fn view(&self) -> Result<Value> {
        self.rest.get(&self.path).await
    }

    /// Waits until every node votes `up-steady` for both sides.
    async fn steady(&self) -> Result<()> {
        self.all_vote(&["dc1", "dc2"], |vote| vote["vote"] == "up-steady").await
    }

    async fn all_vote(&self, sides: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<()> {
        eventually("every node's votes", FORGOTTEN_TIMEOUT, async || {
            let view = self.view().await?;
            let hold = sides.iter().all(|side| all(&view, side, &wanted));
            ensure!(hold, "{view}");
            Ok(Some(()))
        })
        .await
    }

    async fn no_switch(&self, window: Duration, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        throughout("no switch", window, async || {
            let view = self.view().await?;
            let calm = view["active"] == "dc1" && view["epoch"] == 0 && wanted(&view);
            ensure!(calm, "{view}");
            Ok(())
        })
        .await
    }
}

fn all(view: &Value, side: &str, wanted: impl Fn(&Value) -> bool) -> bool {
    let votes = view[side]["votes"].as_array();
    votes.is_some_and(|votes| votes.len() == 3 && votes.iter().all(wanted))
}

fn is_unresolved(vote: &Value) -> bool {
    vote["vote"] == "unknown" && vote["finding"] == "dns"
}

async fn remembered(dns: &DnsServer, named: &Named<'_>) -> Result<()> {
    dns.set_mode(DnsMode::Silent);
    let asked = dns.queries();
    let up = |view: &Value| {
        ["dc1", "dc2"]
            .iter()
            .all(|side| view[side]["state"] == "healthy" && all(view, side, |vote| vote["vote"] == "up-steady"))
    };
    named.no_switch(REMEMBERED_WINDOW, up).await?;
    ensure!(dns.queries() > asked, "nobody asked: the TTL is not honoured");
    Ok(())
}

async fn forgotten(dns: &DnsServer, named: &Named<'_>) -> Result<()> {
    named.all_vote(&["dc1", "dc2"], is_unresolved).await?;
    dns.set_mode(DnsMode::Failing);
    named
        .no_switch(QUIET_WINDOW, |view| all(view, "dc1", is_unresolved))
        .await
}

/// Who cannot resolve the name does not know that the database is dead: no switch, as documented.
async fn blind_death(named: &Named<'_>, stage: &mut Stage) -> Result<()> {
    stage.pair.dc1.kill()?;
    named
        .no_switch(QUIET_WINDOW, |view| all(view, "dc1", is_unresolved))
        .await?;
    stage.pair.dc1.start()?;
    stage.pair.dc1.wait_ready(TIMEOUT).await
}

async fn recovered(dns: &DnsServer, named: &Named<'_>, stage: &mut Stage) -> Result<()> {
    dns.set_mode(DnsMode::Answering);
    named.steady().await?;
    stage
        .pair
        .wait_caught_up(&stage.pair.dc1, &stage.pair.dc2, TIMEOUT)
        .await?;
    named
        .no_switch(QUIET_WINDOW, |view| view["dc1"]["state"] == "healthy")
        .await
}

/// Name servers stand in the data centers that fail: what is remembered is enough for the failover.
async fn common_death(dns: &DnsServer, named: &Named<'_>, stage: &mut Stage) -> Result<()> {
    dns.set_mode(DnsMode::Silent);
    stage.pair.dc1.kill()?;
    eventually("the failover", TIMEOUT, async || {
        let view = named.view().await?;
        ensure!(view["active"] == "dc2" && view["epoch"] == 1, "{view}");
        Ok(Some(()))
    })
    .await
}

//! Nodes that alone, or in pairs, cannot reach a database: what the tally of votes makes of it, link by link.
//!
//! The links from single nodes to the databases fail in the launcher's fault proxy; the databases themselves stay well.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::faults::{FaultProxy, Link, LinkFault};
use quorate_chaos::harness::{Harness, eventually, step, throughout};
use quorate_chaos::rest::RestClient;
use quorate_chaos::scenario::{INSTANCE, Stage, Timing};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Covers retry interval (0.3 s), access timeout (0.5 s) and monitor timeout (1 s) of the fast profile, once the votes
/// stand: a switch that was going to happen would have happened.
const QUIET_WINDOW: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blind_nodes_count_as_the_tally_says() -> Result<()> {
    let harness = Harness::start(&["--faults"]).await?;
    let test = async |harness: &mut Harness| {
        let proxy = harness.cluster.fault_proxy()?;
        let stage = step("both sides become healthy", harness.stage(Timing::FAST)).await?;
        let site = Site {
            rest: &harness.cluster.rest,
            proxy: &proxy,
            stage: &stage,
        };
        for precision in [1, 2] {
            site.set_precision(precision).await?;
            for (node, fault) in [(1, LinkFault::Cut), (2, LinkFault::Reset), (3, LinkFault::OneWay)] {
                let name = format!("precision {precision}, node {node} alone is blind ({fault:?})");
                step(&name, site.no_switch(&[node], fault)).await?;
            }
        }
        site.set_precision(1).await?;
        step(
            "precision 1, two nodes are blind",
            site.no_switch(&[1, 3], LinkFault::Cut),
        )
        .await?;
        site.set_precision(2).await?;
        step("precision 2, two nodes are blind", site.switch(&[2, 3], LinkFault::Cut)).await?;
        step("precision 2, two nodes see neither side", site.no_target(&[1, 2])).await
    };
    harness.run(test).await
}

struct Site<'a> {
    rest: &'a RestClient,
    proxy: &'a FaultProxy,
    stage: &'a Stage,
}

impl Site<'_> {
    async fn set_precision(&self, precision: u32) -> Result<()> {
        let settings = json!({"retry_interval_ms": 3000, "monitor_timeout_ms": 10_000, "access_timeout_ms": 3000,
            "health_precision": precision});
        let path = format!("{INSTANCE}/kind-settings/mysql");
        self.rest.put_with_etag(&path, settings, None).await?.success()?;
        let view = self.stage.view(self.rest).await?;
        ensure!(view["effective_timing"]["health_precision"] == precision, "{view}");
        Ok(())
    }

    /// Fails the links of these nodes to one side and waits until exactly they vote `down` there.
    async fn blind(&self, nodes: &[u64], side: &str, fault: LinkFault) -> Result<()> {
        let address = match side {
            "dc1" => self.stage.pair.dc1.address(),
            _ => self.stage.pair.dc2.address(),
        };
        let links: Vec<_> = nodes
            .iter()
            .map(|node| Link::from(*node, address.clone(), fault))
            .collect();
        self.proxy.set(&links).await?;
        eventually(&format!("{nodes:?} vote down for {side}"), TIMEOUT, async || {
            Ok((down(&self.stage.view(self.rest).await?, side) == nodes).then_some(()))
        })
        .await
    }

    /// Makes every link whole and waits until every node votes `up-steady` for both sides.
    async fn heal(&self) -> Result<()> {
        self.proxy.heal().await?;
        eventually("everybody sees both sides again", TIMEOUT, async || {
            let view = self.stage.view(self.rest).await?;
            let steady = |side: &str| {
                let votes = view[side]["votes"].as_array();
                votes.is_some_and(|votes| votes.len() == 3 && votes.iter().all(|vote| vote["vote"] == "up-steady"))
            };
            Ok((steady("dc1") && steady("dc2")).then_some(()))
        })
        .await
    }

    async fn no_switch(&self, nodes: &[u64], fault: LinkFault) -> Result<()> {
        let epoch = self.stage.view(self.rest).await?["epoch"].clone();
        self.blind(nodes, "dc1", fault).await?;
        throughout("dc1 stays healthy and active", QUIET_WINDOW, async || {
            let view = self.stage.view(self.rest).await?;
            let quiet = view["dc1"]["state"] == "healthy" && view["dc1"]["failing"] == false;
            ensure!(quiet && view["active"] == "dc1" && view["epoch"] == epoch, "{view}");
            Ok(())
        })
        .await?;
        self.heal().await
    }

    async fn switch(&self, nodes: &[u64], fault: LinkFault) -> Result<()> {
        let epoch = self.epoch().await?;
        self.blind(nodes, "dc1", fault).await?;
        self.wait_switched(epoch).await?;
        self.heal().await?;
        self.return_to_dc1().await
    }

    /// dc1 counts as failed, but dc2 is no target for the same two: the switch waits for one of them.
    async fn no_target(&self, nodes: &[u64]) -> Result<()> {
        let epoch = self.epoch().await?;
        self.blind(nodes, "dc2", LinkFault::Cut).await?;
        self.blind(nodes, "dc1", LinkFault::Cut).await?;
        eventually("dc1 is abnormal", TIMEOUT, async || {
            let view = self.stage.view(self.rest).await?;
            Ok((view["dc1"]["state"] == "abnormal").then_some(()))
        })
        .await?;
        throughout("no switch onto a side that is no better", QUIET_WINDOW, async || {
            let view = self.stage.view(self.rest).await?;
            let withheld = view["withheld"] == "target-not-steady";
            ensure!(withheld && view["active"] == "dc1" && view["epoch"] == epoch, "{view}");
            Ok(())
        })
        .await?;
        self.proxy.heal().await?;
        let links: Vec<_> = nodes
            .iter()
            .map(|node| Link::from(*node, self.stage.pair.dc1.address(), LinkFault::Cut))
            .collect();
        self.proxy.set(&links).await?;
        self.wait_switched(epoch).await?;
        self.heal().await?;
        self.return_to_dc1().await
    }

    async fn epoch(&self) -> Result<u64> {
        self.stage.view(self.rest).await?["epoch"].as_u64().context("epoch")
    }

    async fn wait_switched(&self, epoch: u64) -> Result<()> {
        eventually("the switch to dc2", TIMEOUT, async || {
            let view = self.stage.view(self.rest).await?;
            let cause = view["last_switch"]["cause"] == "source-abnormal";
            Ok((cause && view["active"] == "dc2" && view["epoch"] == epoch + 1).then_some(()))
        })
        .await
    }

    async fn return_to_dc1(&self) -> Result<()> {
        let extra = json!({"reason": "the links are whole", "acknowledge": true, "restore_readable": true});
        self.stage.switch(self.rest, "dc1", extra).await?.success().map(drop)
    }
}

/// Nodes that vote `down` for a side, in order.
fn down(view: &Value, side: &str) -> Vec<u64> {
    let votes = view[side]["votes"].as_array().into_iter().flatten();
    votes
        .filter(|vote| vote["vote"] == "down")
        .filter_map(|vote| vote["node"].as_u64())
        .collect()
}

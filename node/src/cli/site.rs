//! `quorate site`: sites, links between them, and what the loss of one does.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{Column, Rendered};

/// What to do with sites.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Sites and their state
    List,
    /// Links between nodes and to targets, as every node measures them now
    Links,
    /// How sites are watched
    Settings,
    /// Change how sites are watched; what is not named stays
    SetSettings(SettingsOptions),
    /// Datacenter-level automatic switch of the instance: show, `on` or `off`
    AutomaticSwitch {
        #[arg(value_parser = ["on", "off"])]
        state: Option<String>,
    },
    /// A node goes away on purpose (`on`) or is back (`off`): while it is away, its silence is no lost site
    Maintenance {
        /// Number of the node
        node: u64,
        #[arg(value_parser = ["on", "off"])]
        state: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// How sites are watched.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct SettingsOptions {
    /// Silence after which a site counts as lost
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(3_000..=600_000))]
    site_timeout_ms: Option<u32>,
    /// Round trip above which a link counts as slow, microseconds
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    rtt_warning_us: Option<u32>,
    /// Address that nodes connect to, as `SITE=HOST:PORT`; SITE is dc1, dc2, arbiter or public. All of them, in place of
    /// those that are set
    #[arg(long, value_name = "SITE=ADDRESS", conflicts_with = "no_targets")]
    target: Vec<String>,
    /// Remove every target
    #[arg(long)]
    no_targets: bool,
}

const SITES: &[Column] = &[
    ("SITE", &["/site"]),
    ("STATE", &["/state"]),
    ("SINCE", &["/since"]),
    ("FINDING", &["/finding"]),
    ("WITNESSES", &["/witnesses"]),
];

const LINKS: &[Column] = &[
    ("FROM", &["/from"]),
    ("SITE", &["/from_site"]),
    ("TO", &["/to"]),
    ("TO SITE", &["/to_site"]),
    ("STATE", &["/state"]),
    ("RTT US", &["/rtt_us"]),
    ("LOSS PER MILLE", &["/loss_permille"]),
    ("SLOW", &["/slow"]),
    ("SINCE", &["/since"]),
];

const SETTINGS: &[Column] = &[
    ("site timeout ms", &["/settings/site_timeout_ms"]),
    ("round trip warning us", &["/settings/rtt_warning_us"]),
    ("targets", &["/settings/targets"]),
    ("warnings", &["/warnings"]),
];

const AUTOMATIC: &[Column] = &[
    ("datacenter-level automatic switch", &["/on"]),
    ("concerned monitors", &["/concerned_monitors"]),
    ("warnings", &["/warnings"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let read = async || client.get("/sites").await.map(|answer| answer.body);
    match verb {
        Verb::List => Ok(Rendered::list(read().await?, SITES)),
        Verb::Links => Ok(Rendered::rows(read().await?, "/links", LINKS)),
        Verb::Settings => Ok(Rendered::object(read().await?, SETTINGS)),
        Verb::SetSettings(options) => {
            let present = read().await?["settings"].take();
            let done = client.put("/sites/settings", &options.body(present)?, None).await?.body;
            Ok(Rendered::done("changed how sites are watched", done))
        }
        Verb::AutomaticSwitch { state } => {
            let path = client.of_instance("/site-switch");
            let body = match state {
                None => client.get(&path).await?.body,
                Some(state) => client.put(&path, &json!({"on": state == "on"}), None).await?.body,
            };
            let rendered = Rendered::object(body, AUTOMATIC);
            Ok(if state.is_some() { rendered.once() } else { rendered })
        }
        Verb::Maintenance { node, state, reason } => {
            let path = format!("/cluster/nodes/{node}/maintenance");
            let body = json!({"on": state == "on", "reason": reason});
            let done = client.put(&path, &body, None).await?.body;
            Ok(Rendered::done(format!("maintenance of node {node} is {state}"), done))
        }
    }
}

impl SettingsOptions {
    fn body(&self, mut present: Value) -> Result<Value, Failure> {
        if let Some(timeout) = self.site_timeout_ms {
            present["site_timeout_ms"] = json!(timeout);
        }
        if let Some(warning) = self.rtt_warning_us {
            present["rtt_warning_us"] = json!(warning);
        }
        let target = |text: &String| {
            let bad = || Failure::new(Code::Usage, format!("`{text}` is not SITE=HOST:PORT"));
            let (site, address) = text.split_once('=').ok_or_else(bad)?;
            Ok(json!({"site": site, "address": address}))
        };
        if self.no_targets || !self.target.is_empty() {
            let targets: Result<Vec<Value>, Failure> = self.target.iter().map(target).collect();
            present["targets"] = json!(targets?);
        }
        Ok(present)
    }
}

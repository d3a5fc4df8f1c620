//! `quorate switch`: make the other data center active, for a monitor or a whole application.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::monitor;
use super::output::{Column, Rendered};

/// What to switch.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// All monitors of an application (id or name), in one revision
    Application {
        application: String,
        #[command(flatten)]
        options: SwitchOptions,
    },
    /// Monitors (ids or names), in one revision
    Monitor {
        #[arg(required = true)]
        monitors: Vec<String>,
        #[command(flatten)]
        options: SwitchOptions,
    },
}

/// How to switch.
#[derive(Args, Debug)]
pub struct SwitchOptions {
    /// Data center to become active
    #[arg(long, value_parser = ["dc1", "dc2"])]
    to: String,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// Accept a target that is not healthy
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why; kept in the audit record
    #[arg(long, default_value = "")]
    reason: String,
    /// Acknowledge the last automatic switch as well
    #[arg(long)]
    acknowledge: bool,
    /// Make the target readable again in the same revision
    #[arg(long)]
    restore_readable: bool,
    /// Leave out the monitors that stand against it and name them, instead of refusing the whole
    #[arg(long)]
    partial: bool,
}

const SWITCHED: &[Column] = &[
    ("MONITOR", &["/monitor"]),
    ("EPOCH", &["/epoch"]),
    ("LEFT OUT", &["/refusal/detail"]),
];

const PREVIEW: &[Column] = &[
    ("MONITOR", &["/preview/name"]),
    ("ACTIVE", &["/preview/from"]),
    ("DC1", &["/preview/dc1"]),
    ("DC2", &["/preview/dc2"]),
    ("EPOCH", &["/epoch"]),
    ("LAG S", &["/preview/target/lag/seconds"]),
    ("LAG BYTES", &["/preview/target/lag/bytes"]),
    ("HEADROOM", &["/preview/headroom"]),
    ("WARNINGS", &["/preview/warnings"]),
    ("REFUSED", &["/preview/refusal/code"]),
    ("WHY", &["/preview/refusal/detail"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let (path, body, options) = match verb {
        Verb::Application { application, options } => {
            let id = client.resolve("applications", application).await?;
            (
                client.of_instance(&format!("/applications/{id}/switch")),
                options.body(),
                options,
            )
        }
        Verb::Monitor { monitors, options } if monitors.len() == 1 => {
            let path = monitor::path(client, &monitors[0]).await?;
            (format!("{path}/switch"), options.body(), options)
        }
        Verb::Monitor { monitors, options } => {
            let mut ids = Vec::new();
            for monitor in monitors {
                ids.push(client.resolve("monitors", monitor).await?);
            }
            let mut body = options.body();
            body["monitors"] = json!(ids);
            (client.of_instance("/monitors/switch"), body, options)
        }
    };
    let answer = client.post(&path, &body).await?.body;
    Ok(rendered(answer, options.dry_run))
}

/// One row per monitor; those that a partial switch left out follow, with the reason.
fn rendered(mut answer: Value, dry_run: bool) -> Rendered {
    if dry_run {
        return Rendered::rows(answer, "/monitors", PREVIEW).once();
    }
    let of = |field: &str| answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = [of("monitors"), of("left_out")].concat();
    answer["rows"] = json!(rows);
    Rendered::rows(answer, "/rows", SWITCHED).once()
}

impl SwitchOptions {
    /// The part of the body that every switch has.
    pub fn body(&self) -> Value {
        json!({
            "to": self.to,
            "dry_run": self.dry_run,
            "force": self.force,
            "reason": self.reason,
            "acknowledge": self.acknowledge,
            "restore_readable": self.restore_readable,
            "partial": self.partial,
        })
    }
}

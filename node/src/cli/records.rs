//! `quorate event` and `quorate audit`: what happened, and who did what.

use clap::{Args, Subcommand};

use super::client::Client;
use super::failure::Failure;
use super::output::{Column, Rendered};

/// What to do with events.
#[derive(Subcommand, Debug)]
pub enum EventVerb {
    /// List, newest first: the last 24 hours, or since a time
    List {
        #[command(flatten)]
        page: Page,
        /// Stable code, for example `failover`
        #[arg(long)]
        code: Option<String>,
        #[arg(long, value_parser = ["info", "minor", "major", "critical"])]
        level: Option<String>,
        /// Monitor (id or name)
        #[arg(long)]
        monitor: Option<String>,
        /// Application (id or name)
        #[arg(long)]
        application: Option<String>,
        /// Only before this RFC 3339 time
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
    },
    /// Write the events of the last 24 hours, or since a time, to standard output, oldest first
    Export {
        #[arg(long, default_value = "csv", value_parser = ["csv", "jsonl"])]
        format: String,
        /// Stable code, for example `failover`
        #[arg(long)]
        code: Option<String>,
        #[arg(long, value_parser = ["info", "minor", "major", "critical"])]
        level: Option<String>,
        /// Monitor (id or name)
        #[arg(long)]
        monitor: Option<String>,
        /// Only since this RFC 3339 time
        #[arg(long, value_name = "TIME")]
        since: Option<jiff::Timestamp>,
        /// Only before this RFC 3339 time
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
    },
}

/// What to do with audit records.
#[derive(Subcommand, Debug)]
pub enum AuditVerb {
    /// List, newest first
    List {
        #[command(flatten)]
        page: Page,
        /// What was done, for example `create-monitor`
        #[arg(long)]
        code: Option<String>,
        /// Who, for example `user:root`
        #[arg(long)]
        actor: Option<String>,
    },
}

/// Which page.
#[derive(Args, Debug)]
pub struct Page {
    /// Records, 1 to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// `next_cursor` of the page before (see `-o json`)
    #[arg(long)]
    cursor: Option<String>,
    /// Only since this RFC 3339 time
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
}

const EVENTS: &[Column] = &[
    ("SEQ", &["/sequence"]),
    ("AT", &["/at"]),
    ("LEVEL", &["/level"]),
    ("CODE", &["/code"]),
    ("MONITOR", &["/monitor"]),
    ("TEXT", &["/text"]),
];

const AUDIT: &[Column] = &[
    ("SEQ", &["/sequence"]),
    ("AT", &["/at"]),
    ("ACTOR", &["/actor"]),
    ("SOURCE", &["/source"]),
    ("CODE", &["/code"]),
    ("OBJECT", &["/object"]),
    ("REFUSED", &["/refused"]),
];

/// Carries a verb of events out.
pub async fn events(client: &Client, verb: &EventVerb) -> Result<Rendered, Failure> {
    match verb {
        EventVerb::List {
            page,
            code,
            level,
            monitor,
            application,
            until,
        } => {
            let filters = [
                ("code", code.clone()),
                ("level", level.clone()),
                ("monitor", resolve(client, "monitors", monitor).await?),
                ("application", resolve(client, "applications", application).await?),
                ("until", until.map(|until| until.to_string())),
            ];
            let body = client.get(&page.path("/events", filters)).await?.body;
            Ok(Rendered::list(body, EVENTS))
        }
        EventVerb::Export {
            format,
            code,
            level,
            monitor,
            since,
            until,
        } => {
            let filters = [
                ("code", code.clone()),
                ("level", level.clone()),
                ("monitor", resolve(client, "monitors", monitor).await?),
                ("since", since.map(|since| since.to_string())),
                ("until", until.map(|until| until.to_string())),
            ];
            let path = with_filters(format!("/events/export?format={format}"), filters);
            let body = client.get(&path).await?.body;
            let text = body.as_str().unwrap_or_default().to_owned();
            Ok(Rendered::text(text, body).once())
        }
    }
}

/// Id of an object that a filter names.
async fn resolve(client: &Client, collection: &str, name: &Option<String>) -> Result<Option<String>, Failure> {
    match name {
        Some(name) => client.resolve(collection, name).await.map(Some),
        None => Ok(None),
    }
}

/// Carries a verb of audit records out.
pub async fn audit(client: &Client, verb: &AuditVerb) -> Result<Rendered, Failure> {
    let AuditVerb::List { page, code, actor } = verb;
    let filters = [("code", code.clone()), ("actor", actor.clone())];
    Ok(Rendered::list(
        client.get(&page.path("/audit", filters)).await?.body,
        AUDIT,
    ))
}

impl Page {
    fn path<const N: usize>(&self, path: &str, filters: [(&str, Option<String>); N]) -> String {
        let path = format!("{path}?limit={}", self.limit);
        let own = [
            ("cursor", self.cursor.clone()),
            ("since", self.since.map(|since| since.to_string())),
        ];
        with_filters(with_filters(path, own), filters)
    }
}

fn with_filters<const N: usize>(mut path: String, filters: [(&str, Option<String>); N]) -> String {
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(&value)));
        }
    }
    path
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
pub fn encode(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| {
        if unreserved(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encoded).collect()
}

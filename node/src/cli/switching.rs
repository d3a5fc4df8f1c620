//! `quorate switching` and `quorate window`: what withholds automatic switches.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::application::id_of;
use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{Column, Rendered};

/// What to do with automatic switching as a whole.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Pauses in force
    Status,
    /// Let no automatic switch happen until it is resumed
    Pause {
        /// Why; everybody sees it
        #[arg(long)]
        reason: String,
        /// Only of the instance (`--instance`), not of the whole cluster
        #[arg(long)]
        this_instance: bool,
    },
    /// Let automatic switches happen again; what is due happens at once
    Resume {
        /// Only of the instance (`--instance`), not of the whole cluster
        #[arg(long)]
        this_instance: bool,
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// What to do with maintenance windows.
#[derive(Subcommand, Debug)]
pub enum WindowVerb {
    /// List those that have not ended
    List,
    /// Plan one
    Create(WindowOptions),
    /// Delete one, or end it early
    Delete {
        /// Id of the window
        window: String,
    },
}

/// A window to be planned.
#[derive(Args, Debug)]
pub struct WindowOptions {
    /// Only this application (id or name)
    #[arg(long, group = "scope")]
    application: Option<String>,
    /// Only this monitor (id or name)
    #[arg(long, group = "scope")]
    monitor: Option<String>,
    /// Only the instance (`--instance`); the whole cluster without any of the three
    #[arg(long, group = "scope")]
    this_instance: bool,
    /// Why; everybody sees it
    #[arg(long)]
    reason: String,
    /// RFC 3339 time; now when left out
    #[arg(long, value_name = "TIME")]
    start: Option<Timestamp>,
    /// RFC 3339 time
    #[arg(
        long,
        value_name = "TIME",
        required_unless_present = "minutes",
        conflicts_with = "minutes"
    )]
    end: Option<Timestamp>,
    /// Length in place of an end, minutes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=43_200))]
    minutes: Option<u32>,
}

const PAUSES: &[Column] = &[
    ("SCOPE", &["/scope"]),
    ("INSTANCE", &["/instance"]),
    ("SINCE", &["/since"]),
    ("WHO", &["/actor"]),
    ("REASON", &["/reason"]),
];

const WINDOWS: &[Column] = &[
    ("ID", &["/id"]),
    ("SCOPE", &["/scope"]),
    ("OBJECT", &["/object"]),
    ("OPEN", &["/open"]),
    ("START", &["/start"]),
    ("END", &["/end"]),
    ("WHO", &["/created_by"]),
    ("REASON", &["/reason"]),
];

/// Carries a verb out.
pub async fn run(client: &Client, verb: &Verb) -> Result<Rendered, Failure> {
    let path = |this_instance: bool| match this_instance {
        true => client.of_instance("/switching"),
        false => "/switching".to_owned(),
    };
    match verb {
        Verb::Status => Ok(Rendered::rows(client.get("/switching").await?.body, "/pauses", PAUSES)),
        Verb::Pause { reason, this_instance } => {
            let body = json!({"paused": true, "reason": reason});
            let done = client.put(&path(*this_instance), &body, None).await?.body;
            Ok(Rendered::done("paused all automatic switching", done))
        }
        Verb::Resume { this_instance, reason } => {
            let body = json!({"paused": false, "reason": reason});
            let done = client.put(&path(*this_instance), &body, None).await?.body;
            Ok(Rendered::done("resumed automatic switching", done))
        }
    }
}

/// Carries a verb of windows out.
pub async fn windows(client: &Client, verb: &WindowVerb) -> Result<Rendered, Failure> {
    match verb {
        WindowVerb::List => Ok(Rendered::list(client.get_all("/windows").await?, WINDOWS)),
        WindowVerb::Create(options) => {
            let created = client.post("/windows", &options.body(client).await?).await?.body;
            Ok(Rendered::done(
                format!("planned maintenance window {}", id_of(&created)),
                created,
            ))
        }
        WindowVerb::Delete { window } => {
            let deleted = client.delete(&format!("/windows/{window}"), None).await?.body;
            Ok(Rendered::done(format!("deleted maintenance window {window}"), deleted))
        }
    }
}

impl WindowOptions {
    async fn body(&self, client: &Client) -> Result<Value, Failure> {
        let start = self.start.unwrap_or_else(Timestamp::now);
        let length = SignedDuration::from_mins(i64::from(self.minutes.unwrap_or(0)));
        let late = |error| Failure::new(Code::Usage, format!("the end is out of range: {error}"));
        let end = match self.end {
            Some(end) => end,
            None => start.checked_add(length).map_err(late)?,
        };
        let mut body = json!({"reason": self.reason, "end": end.to_string()});
        // Without a start the server takes its own now: the clock of this machine may be another.
        if let Some(start) = self.start {
            body["start"] = json!(start.to_string());
        }
        if let Some(application) = &self.application {
            body["application"] = json!(client.resolve("applications", application).await?);
        }
        if let Some(monitor) = &self.monitor {
            body["monitor"] = json!(client.resolve("monitors", monitor).await?);
        }
        if self.this_instance {
            body["instance"] = json!(client.instance());
        }
        Ok(body)
    }
}

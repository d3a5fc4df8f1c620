//! What concerns several monitors or several nodes: the filtered list, batch deletion, the report of a connection test.

use serde_json::{Value, json};

use super::{COLUMNS, path};
use crate::cli::application::id_of;
use crate::cli::client::{Client, strange};
use crate::cli::failure::Failure;
use crate::cli::output::{Column, Rendered};
use crate::cli::records::encode;

const DELETED: &[Column] = &[("ID", &["/id"]), ("DELETED", &["/deleted"])];

/// Filters of the list; a monitor is listed if it passes all of them.
#[derive(clap::Args, Debug)]
pub struct Filters {
    /// Part of the name, whatever the case
    #[arg(long)]
    name: Option<String>,
    /// Kind, for example `mysql`
    #[arg(long)]
    kind: Option<String>,
    /// Active data center
    #[arg(long, value_parser = ["dc1", "dc2"])]
    active: Option<String>,
    #[arg(long)]
    probing: Option<bool>,
    #[arg(long)]
    automatic_switch: Option<bool>,
    /// An automatic switch is due and withheld
    #[arg(long)]
    withheld: Option<bool>,
    /// The last automatic switch waits for an acknowledgement
    #[arg(long)]
    needs_acknowledgement: Option<bool>,
}

impl Filters {
    /// Names and values of the parameters that are set.
    pub fn pairs(&self, application: Option<&str>, state: Option<&str>) -> Vec<(&'static str, String)> {
        let text = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let all = [
            ("application", application.map(str::to_owned)),
            ("state", state.map(str::to_owned)),
            ("name", self.name.clone()),
            ("kind", self.kind.clone()),
            ("active", self.active.clone()),
            ("probing", text(self.probing)),
            ("automatic_switch", text(self.automatic_switch)),
            ("withheld", text(self.withheld)),
            ("needs_acknowledgement", text(self.needs_acknowledgement)),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The monitors that pass the filters, of every page.
pub async fn list(client: &Client, collection: &str, filters: Vec<(&str, String)>) -> Result<Rendered, Failure> {
    let mut path = collection.to_owned();
    for (position, (name, value)) in filters.into_iter().enumerate() {
        let value = match name {
            "application" => client.resolve("applications", &value).await?,
            _ => encode(&value),
        };
        let joint = if position == 0 { '?' } else { '&' };
        path.push_str(&format!("{joint}{name}={value}"));
    }
    Ok(Rendered::list(client.get_all(&path).await?, COLUMNS))
}

/// Deletes several monitors as they stand now; it fails if one of them is still there, with the reasons.
pub async fn delete(client: &Client, collection: &str, monitors: &[String]) -> Result<Rendered, Failure> {
    let mut items = Vec::with_capacity(monitors.len());
    for monitor in monitors {
        let read = client.get(&path(client, monitor).await?).await?;
        items.push(json!({"id": id_of(&read.body), "generation": read.generation}));
    }
    let body = json!({"monitors": items});
    let deleted = client.post(&format!("{collection}/delete"), &body).await?.body;
    let items = deleted.get("items").and_then(Value::as_array).ok_or_else(strange)?;
    let mut kept = items
        .iter()
        .filter_map(|item| Some((id_of(item), item.get("problem")?)));
    let Some((id, problem)) = kept.next() else {
        return Ok(Rendered::list(deleted, DELETED).once());
    };
    let status = problem.get("status").and_then(Value::as_u64);
    let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    let mut failure = Failure::from_problem(status, problem).and(format!("{id} is still there"));
    for (id, problem) in kept {
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
        failure = failure.and(format!("{id} is still there: {detail}"));
    }
    Err(failure.and("what is not named here was deleted"))
}

/// A connection test with `rows` beside it: one per node and address, with the stage that it ended at.
pub fn by_address(mut tested: Value) -> Value {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for node in list(&tested, "nodes") {
        if node.get("failure").is_some() {
            rows.push(json!({"node": node["node"], "passed": false, "finding": "silent", "text": node["failure"]}));
        }
        for mut row in list(&node, "addresses") {
            let last = list(&row, "stages").pop().unwrap_or_default();
            row["stage"] = last.get("stage").cloned().unwrap_or_default();
            row["node"] = node["node"].clone();
            rows.push(row);
        }
    }
    tested["rows"] = Value::Array(rows);
    tested
}

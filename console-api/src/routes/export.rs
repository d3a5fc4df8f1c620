//! Events as a file (F1): CSV for spreadsheets, JSON lines for programs.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;

use super::records::EventFilter;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::EventView;
use crate::extract::Query;
use crate::problem::Problem;

/// Events rendered from one look at the state.
const PIECE_EVENTS: usize = 256;

/// Formats of an export.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    /// RFC 4180, with a head line.
    #[default]
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Filters and format of an export.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `csv` (when left out) or `jsonl`.
    #[serde(default)]
    format: ExportFormat,
    /// Stable code, for example `failover`.
    #[serde(default)]
    code: Option<String>,
    /// `info`, `minor`, `major` or `critical`.
    #[serde(default)]
    level: Option<String>,
    /// Id of an instance.
    #[serde(default)]
    instance: Option<String>,
    /// Id of an application.
    #[serde(default)]
    application: Option<String>,
    /// Id of a monitor.
    #[serde(default)]
    monitor: Option<String>,
    /// Only what happened at or after this RFC 3339 time; the last 24 hours when left out.
    #[serde(default)]
    since: Option<String>,
    /// Only what happened before this RFC 3339 time.
    #[serde(default)]
    until: Option<String>,
}

/// Exports events, oldest first, as the list filters them; at most what the ring holds (50,000).
#[utoipa::path(get, path = "/events/export", tag = "records", params(ExportQuery),
    responses((status = 200, content_type = "text/csv", body = String), (status = "default", body = Problem)))]
pub(crate) async fn export_events(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let filter = EventFilter {
        code: query.code,
        level: query.level,
        instance: query.instance,
        application: query.application,
        monitor: query.monitor,
        ..EventFilter::default()
    };
    let filter = filter.within(query.since.as_deref(), query.until.as_deref(), context.now_ms())?;
    let last = context.read(false, |state| state.events().last_sequence()).await?;
    let mut out = match query.format {
        ExportFormat::Csv => HEAD.to_owned(),
        ExportFormat::Jsonl => String::new(),
    };
    let mut next = 0;
    while next <= last {
        // A piece at a time: whoever reads the state keeps what is committed from being applied.
        let views: Vec<EventView> = context.handle().read(|state| {
            let piece = state.events().from_sequence(next).take(PIECE_EVENTS);
            next = u64::MAX;
            let piece = piece
                .inspect(|event| next = event.sequence + 1)
                .take_while(|event| event.sequence <= last);
            piece
                .filter(|event| filter.admits(state, &caller, event))
                .map(EventView::from)
                .collect()
        });
        for view in &views {
            match query.format {
                ExportFormat::Csv => push_row(&mut out, view),
                ExportFormat::Jsonl => push_line(&mut out, view),
            }
        }
        tokio::task::yield_now().await;
    }
    let (media_type, name) = match query.format {
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
        ExportFormat::Jsonl => ("application/jsonl", "attachment; filename=\"events.jsonl\""),
    };
    let headers = [(header::CONTENT_TYPE, media_type), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, out).into_response())
}

fn push_line(out: &mut String, event: &EventView) {
    out.push_str(&serde_json::to_string(event).expect("a view is plain data"));
    out.push('\n');
}

const HEAD: &str = "sequence,at,level,code,name,instance,application,monitor,text,impact,advice\r\n";

fn push_row(out: &mut String, event: &EventView) {
    let id = |id: &Option<String>| id.clone().unwrap_or_default();
    let fields = [
        event.sequence.to_string(),
        event.at.clone(),
        event.level.clone(),
        event.code.clone(),
        event.name.clone(),
        id(&event.instance),
        id(&event.application),
        id(&event.monitor),
        event.text.clone(),
        event.impact.clone(),
        event.advice.clone(),
    ];
    out.push_str(&fields.map(|field| quoted(&field)).join(","));
    out.push_str("\r\n");
}

/// A field of RFC 4180. One that a spreadsheet would take for a formula gets an apostrophe in front: what an engine says
/// in an error text is not to be carried out.
fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if formula { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"no\"\n"), "\"say \"\"no\"\"\n\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("-2,3"), "\"'-2,3\"");
    }
}

//! Lists of events (F1) and audit records (A4), newest first, in pages.

use axum::Json;
use axum::extract::State;
use quorate_machine::catalog::edge;
use quorate_machine::{AuditRecord, EventRecord, Object};
use serde::Deserialize;
use utoipa::IntoParams;

use super::may_see;
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{AuditView, EventView, Page};
use crate::extract::Query;
use crate::language::text;
use crate::pages::check_limit;
use crate::problem::Problem;

/// Filters and page of the event list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Records in the page, 1 to 500; 100 when left out.
    #[serde(default)]
    limit: Option<usize>,
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
    /// Answer from this node's state as it stands; it may be behind.
    #[serde(default)]
    serializable: bool,
}

/// What an event must be to be listed.
#[derive(Debug, Default)]
pub(super) struct EventFilter {
    pub(super) code: Option<String>,
    pub(super) level: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) application: Option<String>,
    pub(super) monitor: Option<String>,
    /// Wall time, milliseconds; see [`Self::within`].
    pub(super) since_ms: i64,
    pub(super) until_ms: Option<i64>,
}

/// Without `since`, events of this long ago and newer are listed, milliseconds: 24 hours (F1).
const DEFAULT_EVENTS_MS: i64 = 24 * 3_600_000;

impl EventFilter {
    /// The same within times as they were asked for.
    pub(super) fn within(mut self, since: Option<&str>, until: Option<&str>, now_ms: i64) -> Result<Self, Problem> {
        self.since_ms = match since {
            Some(since) => parse_time("?since", since)?,
            None => now_ms.saturating_sub(DEFAULT_EVENTS_MS),
        };
        self.until_ms = until.map(|until| parse_time("?until", until)).transpose()?;
        Ok(self)
    }

    /// True if the event passes and the caller may see it.
    pub(super) fn admits(&self, state: &quorate_machine::State, caller: &Caller, event: &EventRecord) -> bool {
        event.wall_ms >= self.since_ms
            && self.until_ms.is_none_or(|until| event.wall_ms < until)
            && wants(&self.code, Some(event.code().code().to_owned()))
            && wants(&self.level, Some(event.level().code().to_owned()))
            && wants(&self.instance, event.instance.map(|id| id.to_string()))
            && wants(&self.application, event.application.map(|id| id.to_string()))
            && wants(&self.monitor, event.monitor.map(|id| id.to_string()))
            && may_see_event(state, caller, event)
    }
}

fn parse_time(parameter: &str, value: &str) -> Result<i64, Problem> {
    let bad = |_| Problem::field(parameter, "bad-parameter", text(edge::BAD_TIME, &[]));
    let time = value.parse::<jiff::Timestamp>().map_err(bad)?;
    Ok(time.as_millisecond())
}

/// Filters and page of the audit list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Records in the page, 1 to 500; 100 when left out.
    #[serde(default)]
    limit: Option<usize>,
    /// What was done, for example `create-monitor`.
    #[serde(default)]
    code: Option<String>,
    /// Who, for example `user:root`.
    #[serde(default)]
    actor: Option<String>,
    /// Id of the object.
    #[serde(default)]
    object: Option<String>,
    /// Only what happened at or after this RFC 3339 time.
    #[serde(default)]
    since: Option<String>,
    /// Answer from this node's state as it stands; it may be behind.
    #[serde(default)]
    serializable: bool,
}

/// Where a page begins, how long it is and how far back it reaches.
struct Window {
    /// Only sequences below this one.
    below: u64,
    limit: usize,
    since_ms: i64,
}

impl Window {
    fn parse(cursor: Option<&str>, limit: Option<usize>, since: Option<&str>) -> Result<Self, Problem> {
        let below = match cursor {
            None => u64::MAX,
            Some(cursor) => cursor
                .parse()
                .map_err(|_| Problem::field("?cursor", "bad-parameter", text(edge::BAD_CURSOR, &[])))?,
        };
        let limit = check_limit(limit)?;
        let since_ms = match since {
            None => i64::MIN,
            Some(since) => parse_time("?since", since)?,
        };
        Ok(Self { below, limit, since_ms })
    }
}

/// A page out of records that come newest first and passed every filter; one more than the limit tells that there are more.
fn page<'a, R: 'a, V: From<&'a R>>(
    records: impl Iterator<Item = &'a R>,
    limit: usize,
    sequence: fn(&R) -> u64,
) -> Page<V> {
    let mut found: Vec<&R> = records.take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    Page {
        next_cursor: found.last().filter(|_| more).map(|last| sequence(last).to_string()),
        items: found.into_iter().map(V::from).collect(),
    }
}

/// True unless a filter is set and differs.
fn wants(filter: &Option<String>, value: Option<String>) -> bool {
    filter.is_none() || *filter == value
}

/// Lists events, newest first.
#[utoipa::path(get, path = "/events", tag = "records", params(EventsQuery),
    responses((status = 200, body = Page<EventView>), (status = "default", body = Problem)))]
pub(crate) async fn list_events(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Page<EventView>>, Problem> {
    let window = Window::parse(query.cursor.as_deref(), query.limit, None)?;
    let filter = EventFilter {
        code: query.code,
        level: query.level,
        instance: query.instance,
        application: query.application,
        monitor: query.monitor,
        ..EventFilter::default()
    };
    let filter = filter.within(query.since.as_deref(), query.until.as_deref(), context.now_ms())?;
    let read = context.read(query.serializable, |state| {
        let below = state
            .events()
            .iter()
            .rev()
            .filter(|event| event.sequence < window.below);
        let admitted = below.filter(|event| filter.admits(state, &caller, event));
        page(admitted, window.limit, |event| event.sequence)
    });
    Ok(Json(read.await?))
}

/// An event of a monitor is for who may see the monitor; one of the cluster is for everybody.
pub(super) fn may_see_event(state: &quorate_machine::State, caller: &Caller, event: &EventRecord) -> bool {
    match &event.monitor {
        None => true,
        Some(id) => match state.monitor(id) {
            Some(monitor) => may_see(state, caller, monitor.as_object()),
            None => may_see(state, caller, Object::OwnedBy("")),
        },
    }
}

/// Lists audit records, newest first: everybody's for administrators, otherwise the caller's own.
#[utoipa::path(get, path = "/audit", tag = "records", params(AuditQuery),
    responses((status = 200, body = Page<AuditView>), (status = "default", body = Problem)))]
pub(crate) async fn list_audit(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let window = Window::parse(query.cursor.as_deref(), query.limit, query.since.as_deref())?;
    let read = context.read(query.serializable, |state| {
        let sight = AuditSight::of(state, &caller);
        let admits = |record: &&AuditRecord| {
            record.sequence < window.below
                // Wall time is that of whoever led, and may go back from one record to the next.
                && record.wall_ms >= window.since_ms
                && wants(&query.code, Some(record.code.clone()))
                && wants(&query.actor, Some(record.actor.clone()))
                && wants(&query.object, record.object.map(|id| id.to_string()))
                && sight.covers(state, &caller, record)
        };
        let newest_first = state.audit().iter().rev();
        page(newest_first.filter(admits), window.limit, |record| record.sequence)
    });
    Ok(Json(read.await?))
}

/// Which audit records somebody sees: administrators everybody's, everybody else those of their own. A token that is bound to
/// applications sees of them what happened to these applications and their monitors.
enum AuditSight {
    All,
    Own,
    OwnWithin,
}

impl AuditSight {
    fn of(state: &quorate_machine::State, caller: &Caller) -> Self {
        let token = caller.token.and_then(|id| state.api_token(&id));
        if may_see(state, caller, Object::OwnedBy("")) {
            Self::All
        } else if token.is_some_and(|token| !token.applications.is_empty()) {
            Self::OwnWithin
        } else {
            Self::Own
        }
    }

    fn covers(&self, state: &quorate_machine::State, caller: &Caller, record: &AuditRecord) -> bool {
        let own = || record.actor.strip_prefix("user:") == Some(&caller.user);
        let within = || {
            let id = record.object?;
            let application = state.application(&id).map(|found| found.as_object());
            application.or_else(|| state.monitor(&id).map(|found| found.as_object()))
        };
        match self {
            Self::All => true,
            Self::Own => own(),
            Self::OwnWithin => own() && within().is_some_and(|object| may_see(state, caller, object)),
        }
    }
}

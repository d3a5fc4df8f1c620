//! Server-sent events: the cluster's events with resumption, and live changes of monitors.
//!
//! A stream looks at this node's state whenever something was applied, at most every [`STREAM_PACE`]; `apply` never waits
//! for it. It ends when the session or token it was opened with ends.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use quorate_machine::Id;
use quorate_machine::catalog::{Locale, edge};
use quorate_raft::ClusterStatus;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::records::may_see_event;
use super::{find_instance, may_see};
use crate::auth::{Caller, still_valid};
use crate::context::ApiContext;
use crate::dto::{EventView, MonitorView};
use crate::extract::{Query, Segments};
use crate::language::{current, text, within};
use crate::limits::{RETRY_AFTER_SECONDS, STREAM_BATCH_EVENTS, STREAM_KEEP_ALIVE, STREAM_PACE};
use crate::places::Place;
use crate::problem::Problem;

/// Longest time between two looks at the state, whatever the consensus layer announces.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a stream of events begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventStreamQuery {
    /// Begin after this sequence; `Last-Event-ID` overrides it. Without both, only what happens from now on.
    #[serde(default)]
    after: Option<u64>,
}

/// What a stream shows: asked again and again, gives what is new.
trait Look: Send + 'static {
    /// News since the last look, in order.
    fn look(&mut self, context: &ApiContext, caller: &Caller) -> Vec<Event>;
}

struct Follower<L> {
    context: ApiContext,
    caller: Caller,
    look: L,
    locale: Locale,
    pending: VecDeque<Event>,
    status: watch::Receiver<ClusterStatus>,
    wakeups: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    _places: (OwnedSemaphorePermit, Place),
}

impl<L: Look> Follower<L> {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some((Ok(event), self));
            }
            if *self.stopping.borrow() || !still_valid(&self.context, &self.caller) {
                return None;
            }
            let news = within(self.locale, || self.look.look(&self.context, &self.caller));
            self.pending.extend(news);
            if self.pending.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Until something may have changed, and no shorter than the pace.
    async fn wait(&mut self) {
        let pace = tokio::time::sleep(STREAM_PACE);
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => return,
            () = pace => {}
        }
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            Ok(()) = self.wakeups.changed() => {}
            Ok(()) = self.status.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

fn follow<L: Look>(
    context: ApiContext,
    caller: Caller,
    look: L,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let of_user = context.streams_of_user().take(&caller.user).ok_or_else(too_many)?;
    let place = context.streams().try_acquire_owned().map_err(|_| too_many())?;
    let follower = Follower {
        status: context.handle().status(),
        wakeups: context.handle().wakeups(),
        stopping: context.stopping(),
        context,
        caller,
        look,
        locale: current(),
        pending: VecDeque::new(),
        _places: (place, of_user),
    };
    Ok(Sse::new(stream::unfold(follower, Follower::next)).keep_alive(KeepAlive::new().interval(STREAM_KEEP_ALIVE)))
}

fn too_many() -> Problem {
    let detail = text(edge::TOO_MANY_STREAMS, &[]);
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail).retry_after(RETRY_AFTER_SECONDS)
}

/// Follows events: `id` is the sequence, `event` is `event`, `data` the event as JSON. A stream that resumes further back
/// than the ring reaches begins with an event `gap` that names the oldest sequence present.
#[utoipa::path(get, path = "/events/stream", tag = "records",
    params(EventStreamQuery, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = EventView), (status = "default", body = Problem)))]
pub(crate) async fn stream_events(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventStreamQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let resumed = last_event_id(&headers)?;
    let after = resumed.or(query.after);
    let look = EventLook {
        after: after.unwrap_or_else(|| context.handle().read(|state| state.events().last_sequence())),
    };
    follow(context, caller, look)
}

/// The sequence that a client has seen last. What is no sequence is refused: to follow from now on instead would lose
/// events without a word.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let sequence = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let bad = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-last-event-id",
            text(edge::BAD_LAST_EVENT_ID, &[]),
        )
    };
    sequence.map(Some).ok_or_else(bad)
}

struct EventLook {
    after: u64,
}

impl Look for EventLook {
    fn look(&mut self, context: &ApiContext, caller: &Caller) -> Vec<Event> {
        // The client names it: any number there is.
        let first = self.after.saturating_add(1);
        let (oldest, last, found) = context.handle().read(|state| {
            let ring = state.events();
            let oldest = ring.iter().next().map_or(first, |event| event.sequence);
            let mut last = self.after;
            let batch = ring
                .from_sequence(first)
                .take(STREAM_BATCH_EVENTS)
                .inspect(|event| last = event.sequence);
            let found: Vec<EventView> = batch
                .filter(|event| may_see_event(state, caller, event))
                .map(EventView::from)
                .collect();
            (oldest, last, found)
        });
        self.after = last;
        let gap = (oldest > first).then(|| Event::default().event("gap").data(format!("{{\"oldest\":{oldest}}}")));
        let events = found.iter().map(|view| {
            let id = view.sequence.to_string();
            Event::default()
                .id(id)
                .event("event")
                .json_data(view)
                .expect("a view is plain data")
        });
        gap.into_iter().chain(events).collect()
    }
}

/// Follows the monitors of an instance: at first every one, then those that changed, as `monitor`; a deleted one as
/// `monitor-deleted` with its id.
#[utoipa::path(get, path = "/instances/{instance}/monitors/stream", tag = "monitors",
    responses((status = 200, content_type = "text/event-stream", body = MonitorView),
        (status = "default", body = Problem)))]
pub(crate) async fn stream_monitors(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let instance = context
        .handle()
        .read(|state| find_instance(state, &instance).map(|found| found.meta.id))?;
    let look = MonitorLook {
        instance,
        shown: BTreeMap::new(),
    };
    follow(context, caller, look)
}

struct MonitorLook {
    instance: Id,
    shown: BTreeMap<String, MonitorView>,
}

impl Look for MonitorLook {
    fn look(&mut self, context: &ApiContext, caller: &Caller) -> Vec<Event> {
        let now_wall_ms = context.now_ms();
        let now: BTreeMap<String, MonitorView> = context.handle().read(|state| {
            let visible = state
                .monitors(&self.instance)
                .filter(|monitor| may_see(state, caller, monitor.as_object()));
            visible
                .map(|monitor| (monitor.id().to_string(), MonitorView::new(state, monitor, now_wall_ms)))
                .collect()
        });
        let changed = now.iter().filter(|(id, view)| self.shown.get(*id) != Some(*view));
        let changed = changed.map(|(_, view)| {
            Event::default()
                .event("monitor")
                .json_data(view)
                .expect("a view is plain data")
        });
        let gone = self.shown.keys().filter(|id| !now.contains_key(*id));
        let gone = gone.map(|id| {
            Event::default()
                .event("monitor-deleted")
                .data(format!("{{\"id\":\"{id}\"}}"))
        });
        let news = changed.chain(gone).collect();
        self.shown = now;
        news
    }
}

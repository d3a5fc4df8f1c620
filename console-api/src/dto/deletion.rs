//! Batch deletion of monitors (C7).

use quorate_machine::catalog::edge;
use quorate_machine::{DeleteObject, DeletedReply, Id};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::language::text;
use crate::limits::MAX_SWITCH_MONITORS;
use crate::problem::Problem;

/// Monitors to be deleted.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MonitorsDeletionBody {
    /// 1 to 1000 different monitors.
    monitors: Vec<MonitorDeletion>,
}

/// One monitor to be deleted.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MonitorDeletion {
    id: String,
    /// Generation that was read, as `If-Match` of a single deletion: at least 1.
    generation: u64,
}

impl MonitorsDeletionBody {
    /// What the machine is asked for; 422 for an empty or too long list, for what is no id and for generation 0.
    pub(crate) fn objects(&self) -> Result<Vec<DeleteObject>, Problem> {
        if self.monitors.is_empty() || self.monitors.len() > MAX_SWITCH_MONITORS {
            let detail = text(edge::BATCH_SIZE, &[("maximum", &MAX_SWITCH_MONITORS)]);
            return Err(Problem::field("/monitors", "out-of-range", detail));
        }
        let parse = |(position, monitor): (usize, &MonitorDeletion)| {
            let at = |field: &str| format!("/monitors/{position}/{field}");
            let id =
                Id::parse(&monitor.id).ok_or_else(|| Problem::field(&at("id"), "bad-id", text(edge::BAD_ID, &[])))?;
            if monitor.generation == 0 {
                let detail = text(edge::IF_MATCH_REQUIRED, &[]);
                return Err(Problem::field(&at("generation"), "out-of-range", detail));
            }
            let generation = monitor.generation;
            Ok(DeleteObject { id, generation })
        };
        self.monitors.iter().enumerate().map(parse).collect()
    }
}

/// What became of a batch of deletions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MonitorsDeletedView {
    /// Every one was deleted.
    pub(crate) complete: bool,
    /// Revision of the keyspace that the SDK keys of all of them left with; 0 if they had none.
    pub(crate) revision: i64,
    /// In the order asked for.
    pub(crate) items: Vec<MonitorDeletedView>,
}

/// What became of one monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MonitorDeletedView {
    pub(crate) id: String,
    pub(crate) deleted: bool,
    /// Why it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<Problem>,
}

impl From<&DeletedReply> for MonitorsDeletedView {
    fn from(reply: &DeletedReply) -> Self {
        let item = |item: &quorate_machine::DeletedMonitor| MonitorDeletedView {
            id: item.monitor.to_string(),
            deleted: item.refusal.is_none(),
            problem: item.refusal.as_ref().map(Problem::from),
        };
        let items: Vec<MonitorDeletedView> = reply.items.iter().map(item).collect();
        Self {
            complete: items.iter().all(|item| item.deleted),
            revision: reply.revision,
            items,
        }
    }
}

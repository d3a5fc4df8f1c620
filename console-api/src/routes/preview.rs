//! Dry runs of switches (B2, C5): what would change, what stands against it, and what the target would be in for.

use futures_util::future::{join, ready};
use futures_util::{StreamExt, stream};
use quorate_machine::catalog::edge;
use quorate_machine::{
    Condition, DataCenter, Id, LagThreshold, Preview, PreviewMonitor, SideState, State, Switch, preview_switch,
};

use super::processes::connected_processes;
use crate::auth::Caller;
use crate::context::{ApiContext, SideMeasure};
use crate::dto::{DataCenterName, Headroom, SidePreviewView, SwitchView};
use crate::language::text;
use crate::limits::{APPLICATIONS_ASKED_AT_ONCE, MEASURES_DEADLINE};
use crate::peers::{MeasuresRequest, NodeAnswerKind, NodeRequestKind};
use crate::problem::Problem;

/// A dry run of a switch.
pub(super) async fn dry_run(
    context: &ApiContext,
    caller: &Caller,
    to: DataCenterName,
    command: &Switch,
) -> Result<SwitchView, Problem> {
    let read = context.read(false, |state| {
        let preview = preview_switch(state, command, &caller.principal);
        let known = preview
            .monitors
            .iter()
            .map(|monitor| Known::of(state, monitor))
            .collect::<Vec<_>>();
        (preview, known)
    });
    let (preview, known) = read.await?;
    let mut view = SwitchView::preview(to, &preview);
    let (measured, connected) = join(measure(context, &preview), processes(context, &known)).await;
    for ((monitor, known), shown) in preview.monitors.iter().zip(&known).zip(&mut view.monitors) {
        let Some(shown) = &mut shown.preview else { continue };
        let side = |dc: DataCenter| {
            let measure = measured
                .iter()
                .find(|(_, found)| found.monitor == monitor.monitor && found.data_center == dc as i32);
            SidePreviewView::new(known.conditions(dc), measure)
        };
        let (source, target) = (side(monitor.from), side(monitor.to));
        shown.headroom = Headroom::of(&source, &target);
        shown.warnings = warnings(monitor, known, command, &target, shown.headroom, &source);
        (shown.source, shown.target) = (Some(source), Some(target));
    }
    view.connected_processes = Some(connected);
    Ok(view)
}

/// What the state knows of a monitor beside the preview.
struct Known {
    instance: Id,
    application: Id,
    threshold: LagThreshold,
    dc1: Vec<Condition>,
    dc2: Vec<Condition>,
    /// The target is readable as SDKs see it; true for kinds without a read/write state.
    target_readable: bool,
}

impl Known {
    fn of(state: &State, preview: &PreviewMonitor) -> Self {
        let monitor = state.monitor(&preview.monitor).expect("what was previewed exists");
        let conditions = |dc| {
            monitor
                .side(dc)
                .conditions
                .iter()
                .map(|found| found.condition())
                .collect()
        };
        Self {
            instance: monitor.instance,
            application: monitor.application,
            threshold: monitor.spec.lag_threshold.unwrap_or_default(),
            dc1: conditions(DataCenter::Dc1),
            dc2: conditions(DataCenter::Dc2),
            target_readable: !monitor.spec.has_read_write() || monitor.side(preview.to).read_write.readable,
        }
    }

    fn conditions(&self, dc: DataCenter) -> &[Condition] {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

/// What the probers learned last: of each side the freshest word, with the node that has it.
async fn measure(context: &ApiContext, preview: &Preview) -> Vec<(u64, SideMeasure)> {
    let monitors: Vec<Id> = preview.monitors.iter().map(|monitor| monitor.monitor).collect();
    let mut freshest: Vec<(u64, SideMeasure)> = Vec::new();
    let request = NodeRequestKind::Measures(MeasuresRequest { monitors });
    for (node, answer) in context.ask_every_node(request, MEASURES_DEADLINE).await {
        // A node that does not answer knows nothing that the others would not.
        let Ok(NodeAnswerKind::Measures(answer)) = answer else {
            continue;
        };
        for measure in answer.measures {
            let same = |(_, known): &&mut (u64, SideMeasure)| {
                (known.monitor, known.data_center) == (measure.monitor, measure.data_center)
            };
            match freshest.iter_mut().find(same) {
                Some(known) if measure.age_ms < known.1.age_ms => *known = (node.id, measure),
                Some(_) => {}
                None => freshest.push((node.id, measure)),
            }
        }
    }
    freshest
}

/// Processes of every application concerned. A node that does not answer costs every question its whole deadline, so that many are
/// asked at once.
async fn processes(context: &ApiContext, known: &[Known]) -> usize {
    let mut applications: Vec<(Id, Id)> = known.iter().map(|known| (known.instance, known.application)).collect();
    applications.sort_unstable();
    applications.dedup();
    let asked = applications.into_iter().map(|(instance, application)| async move {
        connected_processes(context, instance, application).await.0.len()
    });
    sum_of(asked.collect()).await
}

/// The sum of what is found, a bounded number of searches at a time.
async fn sum_of<F: Future<Output = usize>>(searches: Vec<F>) -> usize {
    let found = stream::iter(searches).buffer_unordered(APPLICATIONS_ASKED_AT_ONCE);
    found.fold(0, |sum, found| ready(sum + found)).await
}

/// What an operator should know before the switch, though it does not forbid it.
fn warnings(
    monitor: &PreviewMonitor,
    known: &Known,
    command: &Switch,
    target: &SidePreviewView,
    headroom: Headroom,
    source: &SidePreviewView,
) -> Vec<String> {
    let to = monitor.to.name();
    let mut warnings = Vec::new();
    let source_state = if monitor.from == DataCenter::Dc1 {
        monitor.dc1
    } else {
        monitor.dc2
    };
    if monitor.from == DataCenter::Dc1 && monitor.to == DataCenter::Dc2 && source_state == SideState::Healthy {
        warnings.push(text(edge::SOURCE_HEALTHY, &[("data_center", &monitor.from.name())]));
    }
    if target.lags(&known.threshold) {
        let behind = target.behind();
        warnings.push(text(edge::TARGET_LAGS, &[("data_center", &to), ("behind", &behind)]));
    }
    if let Some(words) = &target.replication_broken {
        warnings.push(text(
            edge::TARGET_REPLICATION_BROKEN,
            &[("data_center", &to), ("text", words)],
        ));
    }
    if target.read_only == Some(true) {
        warnings.push(text(edge::TARGET_READ_ONLY, &[("data_center", &to)]));
    }
    if headroom == Headroom::Short {
        let (free, needed) = (
            target.connections_free().unwrap_or(0),
            source.connections_used.unwrap_or(0),
        );
        let params: [(&str, &dyn std::fmt::Display); 3] = [("data_center", &to), ("free", &free), ("needed", &needed)];
        warnings.push(text(edge::HEADROOM_SHORT, &params));
    }
    if !known.target_readable && !command.restore_readable {
        warnings.push(text(edge::TARGET_NOT_READABLE, &[("data_center", &to)]));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn applications_are_asked_at_once_and_never_all_of_them() {
        // Each waits for as many others as may be asked at once: one after the other they would wait for ever.
        let barrier = Arc::new(Barrier::new(APPLICATIONS_ASKED_AT_ONCE));
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let search = |_| {
            let (barrier, under_way, most) = (barrier.clone(), under_way.clone(), most.clone());
            async move {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                barrier.wait().await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                2
            }
        };
        let searches: Vec<_> = (0..3 * APPLICATIONS_ASKED_AT_ONCE).map(search).collect();
        let sum = tokio::time::timeout(Duration::from_secs(10), sum_of(searches)).await;
        assert_eq!(sum, Ok(6 * APPLICATIONS_ASKED_AT_ONCE));
        assert_eq!(most.load(Ordering::SeqCst), APPLICATIONS_ASKED_AT_ONCE);
    }
}

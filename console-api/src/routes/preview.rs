//! Dry runs of switches (B2, C5): what would change, what stands against it, and what the target would be in for.

use quorate_machine::catalog::edge;
use quorate_machine::{
    Condition, DataCenter, Id, LagThreshold, Preview, PreviewMonitor, SideState, State, Switch, preview_switch,
};

use super::processes::connected_processes;
use crate::auth::Caller;
use crate::context::{ApiContext, SideMeasure};
use crate::dto::{DataCenterName, Headroom, SidePreviewView, SwitchView};
use crate::language::text;
use crate::limits::MEASURES_DEADLINE;
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
    let measured = measure(context, &preview).await;
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
    view.connected_processes = Some(processes(context, &known).await);
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

/// Processes of every application concerned.
async fn processes(context: &ApiContext, known: &[Known]) -> usize {
    let mut applications: Vec<(Id, Id)> = known.iter().map(|known| (known.instance, known.application)).collect();
    applications.sort_unstable();
    applications.dedup();
    let mut connected = 0;
    for (instance, application) in applications {
        connected += connected_processes(context, instance, application).await.0.len();
    }
    connected
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

//! Metrics in the OpenMetrics text format; gauges are read when they are asked for.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use quorate_etcd_api::Clients;
use quorate_machine::{HoldReason, PartitionState, State};
use quorate_raft::{DurationHistogram, Handle};

use crate::reconcilers::{Board, DiskGuard};

/// The node's metrics.
pub struct Metrics {
    registry: Registry,
}

/// What the metrics are read from.
pub struct Sources {
    pub handle: Handle,
    pub board: Arc<Board>,
    pub clients: Arc<Clients>,
    pub disk: Arc<DiskGuard>,
}

impl Metrics {
    /// Metrics of one node.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("quorate");
        registry.register_collector(Box::new(NodeCollector(sources)));
        Self { registry }
    }

    /// All metrics as text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct NodeCollector(Sources);

impl std::fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeCollector")
    }
}

/// Writes one metric after another.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> std::fmt::Result {
        let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let encoder = self.0.encode_descriptor(name, help, unit, metric.metric_type())?;
        metric.encode(encoder)
    }

    /// Durations, in seconds.
    fn durations(&mut self, name: &str, help: &str, durations: &DurationHistogram) -> std::fmt::Result {
        let bounds = durations.buckets.iter();
        let mut buckets: Vec<(f64, u64)> = bounds.map(|(bound, count)| (bound.as_secs_f64(), *count)).collect();
        buckets.push((f64::INFINITY, durations.above));
        let unit = Some(&Unit::Seconds);
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let sum = durations.sum.as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, durations.count(), &buckets, None)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> std::fmt::Result {
        let metric = ConstCounter::new(value);
        let encoder = self.0.encode_descriptor(name, help, unit, metric.metric_type())?;
        metric.encode(encoder)
    }
}

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut writer = Writer(encoder);
        self.consensus(&mut writer)?;
        self.consensus_measures(&mut writer)?;
        self.workload(&mut writer)?;
        self.withheld(&mut writer)?;
        process(&mut writer)
    }
}

impl NodeCollector {
    fn consensus(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let status = self.0.handle.status().borrow().clone();
        let leads = u64::from(status.leader == Some(status.node_id));
        writer.gauge("raft_term", "Present term", None, status.term)?;
        writer.gauge("raft_is_leader", "1 while this node leads", None, leads)?;
        writer.gauge(
            "raft_leader",
            "Id of the leader; 0 while none is known",
            None,
            status.leader.unwrap_or(0),
        )?;
        writer.gauge(
            "raft_last_log_index",
            "Index of the last log entry",
            None,
            status.last_log_index,
        )?;
        writer.gauge(
            "raft_committed_index",
            "Index of the last committed entry",
            None,
            status.committed_index,
        )?;
        writer.gauge(
            "raft_applied_index",
            "Index of the last applied entry",
            None,
            self.0.handle.applied_index(),
        )?;
        writer.gauge(
            "raft_snapshot_index",
            "Index of the last snapshot",
            None,
            status.snapshot_index,
        )?;
        writer.gauge("raft_voters", "Voting members", None, status.voters.len() as u64)?;
        writer.gauge(
            "raft_learners",
            "Members that do not vote yet",
            None,
            status.learners.len() as u64,
        )?;
        writer.gauge(
            "raft_serving",
            "1 while in contact with a quorum",
            None,
            u64::from(status.serving),
        )?;
        writer.gauge(
            "raft_fenced",
            "1 while this node's state differs from the others' and it serves nobody",
            None,
            u64::from(status.fenced.is_some()),
        )
    }

    fn consensus_measures(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let metrics = self.0.handle.metrics();
        let counters = [
            (
                "raft_leader_changes",
                "Times that another leader was seen",
                metrics.leader_changes,
            ),
            (
                "raft_proposals_answered",
                "Proposals made here that the state machine answered",
                metrics.proposals_answered,
            ),
            (
                "raft_proposals_failed",
                "Proposals made here that ended without an answer",
                metrics.proposals_failed,
            ),
            (
                "raft_snapshots_failed",
                "Snapshots that could not be written; the log is not shortened meanwhile",
                metrics.snapshots_failed,
            ),
        ];
        for (name, help, value) in counters {
            writer.counter(name, help, None, value as f64)?;
        }
        writer.gauge(
            "raft_proposals_pending",
            "Proposals made here that have no answer yet",
            None,
            metrics.proposals_pending,
        )?;
        writer.gauge(
            "raft_log_queue",
            "Requests that wait for the log's writer",
            None,
            metrics.log_queue,
        )?;
        writer.gauge(
            "raft_log_since_snapshot",
            "Entries applied since the last snapshot was begun",
            Some(&Unit::Bytes),
            metrics.log_since_snapshot_bytes,
        )?;
        writer.durations("raft_fsync_duration", "Synced writes of the log", &metrics.fsync)?;
        writer.durations(
            "raft_apply_duration",
            "Applying a batch of entries to the state",
            &metrics.apply,
        )?;
        writer.durations(
            "raft_snapshot_build_duration",
            "Writing a snapshot",
            &metrics.snapshot_build,
        )?;
        writer.durations(
            "raft_snapshot_install_duration",
            "Installing a snapshot of the leader's",
            &metrics.snapshot_install,
        )
    }

    fn withheld(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let counts = self.0.handle.read(withheld_counts);
        let gauges = [
            (
                "switching_paused",
                "Pauses of all automatic switching in force, of the cluster and of instances",
            ),
            ("maintenance_windows_open", "Open maintenance windows"),
            (
                "failovers_withheld",
                "Monitors with an automatic switch that is due but withheld",
            ),
            ("sites_lost", "Sites that count as lost"),
            ("sites_not_normal", "Sites in any other state than normal"),
        ];
        for ((name, help), value) in gauges.into_iter().zip(counts) {
            writer.gauge(name, help, None, value)?;
        }
        Ok(())
    }

    fn workload(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let counts = self.0.board.counts();
        let disk = self.0.disk.state();
        let watching = self.0.clients.connected_processes().len() as u64;
        let (applications, monitors) = self.0.handle.read(|state| {
            let applications = state
                .instances()
                .map(|instance| state.applications(&instance.meta.id).count())
                .sum::<usize>();
            (applications as u64, state.all_monitors().count() as u64)
        });
        writer.gauge("applications", "Applications of all instances", None, applications)?;
        writer.gauge("monitors", "Monitors of all instances", None, monitors)?;
        writer.gauge("probe_targets", "Addresses that this node probes", None, counts.targets)?;
        writer.gauge(
            "probe_targets_failing",
            "Of those, with a failed last attempt",
            None,
            counts.failing_targets,
        )?;
        writer.counter("probe_attempts", "Attempts that ended", None, counts.attempts as f64)?;
        writer.counter(
            "probe_attempts_failed",
            "Of those, failed",
            None,
            counts.failed_attempts as f64,
        )?;
        writer.gauge(
            "kv_watching_processes",
            "Application processes that watch here",
            None,
            watching,
        )?;
        writer.gauge(
            "disk_free",
            "Free space of the data directory",
            Some(&Unit::Bytes),
            disk.free_bytes,
        )
    }
}

/// Numbers of pauses, open windows, withheld switches, and lost and troubled sites.
fn withheld_counts(state: &State) -> [u64; 5] {
    let sites = |wanted: fn(PartitionState) -> bool| state.sites().filter(|site| wanted(site.state())).count() as u64;
    [
        state.pauses().count() as u64,
        state.windows().filter(|window| window.open).count() as u64,
        state
            .all_monitors()
            .filter(|monitor| monitor.withheld() != HoldReason::None)
            .count() as u64,
        sites(|state| state == PartitionState::Lost),
        sites(|state| state != PartitionState::Normal),
    ]
}

/// Memory and processor time of this process, from the kernel.
fn process(writer: &mut Writer<'_>) -> std::fmt::Result {
    let resident = resident_bytes().unwrap_or(0);
    writer.gauge(
        "process_resident_memory",
        "Resident memory",
        Some(&Unit::Bytes),
        resident,
    )?;
    let cpu = cpu_seconds().unwrap_or(0.0);
    writer.counter("process_cpu", "Processor time used", Some(&Unit::Seconds), cpu)
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The process name, in parentheses, may hold blanks; the fields counted here come after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct One(DurationHistogram);

    impl Collector for One {
        fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
            Writer(encoder).durations("fsync_duration", "Synced writes", &self.0)
        }
    }

    #[test]
    fn durations_become_cumulative_buckets_in_seconds() {
        use std::time::Duration;
        let histogram = DurationHistogram {
            buckets: vec![(Duration::from_millis(1), 2), (Duration::from_millis(10), 3)],
            above: 1,
            sum: Duration::from_millis(1_500),
        };
        let mut registry = Registry::with_prefix("quorate");
        registry.register_collector(Box::new(One(histogram)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it can be encoded");
        for line in [
            "# TYPE quorate_fsync_duration_seconds histogram",
            "quorate_fsync_duration_seconds_sum 1.5",
            "quorate_fsync_duration_seconds_count 6",
            "quorate_fsync_duration_seconds_bucket{le=\"0.001\"} 2",
            "quorate_fsync_duration_seconds_bucket{le=\"0.01\"} 5",
            "quorate_fsync_duration_seconds_bucket{le=\"+Inf\"} 6",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}

//! One task per target: attempts at the schedule's times, by clients that targets share, results to the board.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_machine::{DataCenter, EffectiveTiming, Id, LagThreshold, MonitorRecord, ProbedSecret, ProbedSide};
use quorate_probes::canary::Canaries;
use quorate_probes::{JudgeSettings, Names, ProbeTarget, Schedule, Secret, StartError, engine};
use quorate_raft::Handle;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::board::{Board, TargetKey};
use super::clients::{Shared, SharedClients};
use crate::identity::ClusterKey;
use crate::links::Links;

/// Pause before a prober that panicked is started again, the first time.
const FIRST_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The same at most.
const LAST_RESTART_PAUSE: Duration = Duration::from_secs(60);
/// Pause before the fault proxy of a development cluster is asked again.
const PROXY_PAUSE: Duration = Duration::from_secs(1);

/// Everything about a target that a prober depends on; a change of any of it starts a new prober.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetSpec {
    pub key: TargetKey,
    /// Generation of the probed configuration, which votes carry.
    pub generation: u64,
    pub timing: EffectiveTiming,
    lag: LagThreshold,
    side: ProbedSide,
}

impl TargetSpec {
    /// The targets of a monitor that is to be probed: one per side, none while probing is off.
    pub fn of(monitor: &MonitorRecord, timing: EffectiveTiming) -> Vec<Self> {
        if !monitor.spec.probing {
            return Vec::new();
        }
        let target = |data_center| {
            Some(Self {
                key: (monitor.id(), data_center),
                generation: monitor.probe_generation,
                timing,
                lag: monitor.spec.lag_threshold.unwrap_or_default(),
                side: monitor.spec.probed(data_center)?,
            })
        };
        DataCenter::ALL.into_iter().filter_map(target).collect()
    }

    /// Whether both say the same but for the timing: what was found of one holds for the other.
    fn same_target(&self, other: &Self) -> bool {
        let timing = self.timing;
        Self {
            timing,
            ..other.clone()
        } == *self
    }

    fn judge_settings(&self) -> JudgeSettings {
        JudgeSettings {
            retry_interval_ms: self.timing.retry_interval_ms.into(),
            access_timeout_ms: self.timing.access_timeout_ms.into(),
            monitor_timeout_ms: self.timing.monitor_timeout_ms.into(),
            thresholds: self.timing.thresholds,
            lag: self.lag,
            canary_votes: self.side.canary().is_some_and(|canary| canary.votes),
        }
    }
}

struct Running {
    spec: TargetSpec,
    task: AbortHandle,
}

/// The probers of this node.
#[derive(Clone)]
pub struct Probers {
    handle: Handle,
    board: Arc<Board>,
    key: ClusterKey,
    links: Links,
    names: Names,
    clients: SharedClients,
    canaries: Canaries,
}

impl Probers {
    /// Probers that write to `board`, open passwords with `key`, dial through `links` and resolve with `names`.
    pub fn new(handle: Handle, board: Arc<Board>, key: ClusterKey, links: Links, names: Names) -> Self {
        Self {
            handle,
            board,
            key,
            links,
            names,
            clients: SharedClients::default(),
            canaries: Canaries::default(),
        }
    }

    fn start(&self, spec: TargetSpec) -> Running {
        self.board.begin(spec.key, spec.generation, spec.judge_settings());
        self.spawn(spec)
    }

    /// Replaces a prober by one of other timing, without forgetting what was found.
    fn retime(&self, running: &mut Running, spec: TargetSpec) {
        if spec.judge_settings() == running.spec.judge_settings() {
            running.spec = spec;
            return;
        }
        running.task.abort();
        self.board.retime(&spec.key, spec.judge_settings());
        *running = self.spawn(spec);
    }

    fn spawn(&self, spec: TargetSpec) -> Running {
        let (probers, wanted) = (self.clone(), spec.clone());
        let probe = move || {
            let (probers, wanted) = (probers.clone(), wanted.clone());
            async move { probers.probe(wanted).await }
        };
        let (board, key) = (self.board.clone(), spec.key);
        let panicked = move |error: &JoinError| {
            tracing::error!(monitor = %key.0, data_center = key.1.name(), "a prober failed and is started anew: {error}");
            board.prober_failed(key);
        };
        let task = tokio::spawn(supervise(FIRST_RESTART_PAUSE, probe, panicked)).abort_handle();
        Running { spec, task }
    }

    async fn probe(&self, spec: TargetSpec) {
        let mut prober = match self.prober(&spec).await {
            Ok(prober) => prober,
            Err(problem) => {
                self.board.misconfigured(spec.key, problem);
                return;
            }
        };
        let (monitor, dc) = spec.key;
        let interval_ms = u64::from(spec.timing.retry_interval_ms);
        let schedule = Schedule::new(monitor, dc, self.handle.node_id(), interval_ms);
        loop {
            // Cluster time, so that the nodes' grids lie beside each other.
            let now_ms = self.handle.cluster_time_ms();
            let pause_ms = schedule.next_after(now_ms).saturating_sub(now_ms).min(interval_ms);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            match prober.attempt(Duration::from_millis(interval_ms)).await {
                Some(found) => self
                    .board
                    .observe_aged(spec.key, &found.observation, found.ended.elapsed()),
                None => self.board.backed_off(&spec.key),
            }
        }
    }

    /// A prober of a target, once there is a path to it; `Err`: the specification does not allow one.
    async fn prober(&self, spec: &TargetSpec) -> Result<Shared, String> {
        let kind = spec.side.kind;
        let engine = engine(kind).ok_or_else(|| format!("no prober for this kind in this version: {kind}"))?;
        let target = self.target(spec)?;
        loop {
            match self.clients.of(engine, target.clone()).await {
                Ok(prober) => return Ok(prober),
                Err(StartError::Misconfigured(problem)) => return Err(problem),
                Err(StartError::NoPath(problem)) => {
                    tracing::warn!("a prober of {kind} waits: {problem}");
                    tokio::time::sleep(PROXY_PAUSE).await;
                }
            }
        }
    }

    fn target(&self, spec: &TargetSpec) -> Result<ProbeTarget, String> {
        let timeout = Duration::from_millis(spec.timing.access_timeout_ms.into());
        let mut target = ProbeTarget::new(spec.side.clone(), timeout, self.names.clone());
        target.paths = Arc::new(self.links.clone());
        target.canaries = self.canaries.clone();
        target.secrets = opened(&self.key, spec.key.0, &spec.side)?;
        Ok(target)
    }
}

/// The secrets of a monitor's side in clear, by name.
pub fn opened(key: &ClusterKey, monitor: Id, side: &ProbedSide) -> Result<BTreeMap<String, Secret>, String> {
    let one = |secret: &ProbedSecret| {
        let clear = key
            .unseal(monitor, &secret.field, &secret.sealed)
            .map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&clear).map_err(|_| format!("the secret {} is not text", secret.name))?;
        Ok((secret.name.clone(), Secret::new(text.to_owned())))
    };
    side.secrets.iter().map(one).collect()
}

/// Runs a task for ever: one that panics is started again, after a pause that doubles with every panic from `pause` on. One that ends by
/// itself has nothing to do any more. Dropping it ends the task.
async fn supervise<F>(mut pause: Duration, start: impl Fn() -> F, panicked: impl Fn(&JoinError))
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(start());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => panicked(&error),
            _ => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RESTART_PAUSE);
    }
}

/// The running probers by target; dropping it ends them.
pub struct ProberSet {
    probers: Probers,
    running: BTreeMap<TargetKey, Running>,
}

impl ProberSet {
    pub fn new(probers: Probers) -> Self {
        Self {
            probers,
            running: BTreeMap::new(),
        }
    }

    /// Starts, replaces and ends probers until exactly `wanted` is probed.
    pub fn adjust(&mut self, wanted: Vec<TargetSpec>) {
        let mut wanted: BTreeMap<TargetKey, TargetSpec> = wanted.into_iter().map(|spec| (spec.key, spec)).collect();
        let probers = self.probers.clone();
        self.running.retain(|key, running| {
            if let Some(spec) = wanted.remove(key) {
                if spec.same_target(&running.spec) {
                    if spec != running.spec {
                        probers.retime(running, spec);
                    }
                    return true;
                }
                wanted.insert(*key, spec);
            }
            running.task.abort();
            probers.board.end(key);
            false
        });
        for (key, spec) in wanted {
            let running = probers.start(spec);
            self.running.insert(key, running);
        }
    }
}

impl Drop for ProberSet {
    fn drop(&mut self) {
        for (key, running) in &self.running {
            running.task.abort();
            self.probers.board.end(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_prober_that_panics_is_noticed_and_started_again_ever_slower() {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        static NOTICED: AtomicUsize = AtomicUsize::new(0);
        let probe = || async {
            assert!(STARTS.fetch_add(1, Ordering::SeqCst) >= 3, "planted");
        };
        let (began, pause) = (std::time::Instant::now(), Duration::from_millis(10));
        let notice = |_: &JoinError| {
            NOTICED.fetch_add(1, Ordering::SeqCst);
        };
        supervise(pause, probe, notice).await;
        assert_eq!(STARTS.load(Ordering::SeqCst), 4);
        assert_eq!(NOTICED.load(Ordering::SeqCst), 3);
        assert!(began.elapsed() >= pause * (1 + 2 + 4));
    }

    #[tokio::test]
    async fn an_aborted_supervisor_takes_its_prober_along() {
        let (alive, mut dead) = tokio::sync::mpsc::channel::<()>(1);
        let probe = move || {
            let alive = alive.clone();
            async move {
                std::future::pending::<()>().await;
                drop(alive);
            }
        };
        let task = tokio::spawn(supervise(FIRST_RESTART_PAUSE, probe, |_| ()));
        tokio::task::yield_now().await;
        task.abort();
        assert_eq!(dead.recv().await, None, "the prober holds its end no more");
    }
}

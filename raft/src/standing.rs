//! How this node stands: whom it follows, and whether it heard of a quorum lately.
//!
//! openraft's metrics say who leads; contact times say whether that is worth anything. Both become one [`Standing`], which
//! proposals and reads consult, and from which the node publishes its [`ClusterStatus`](crate::ClusterStatus).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Instant, RaftMetrics};

use crate::handle::CallError;
use crate::network::Peer;
use crate::published::{Followed, Published};
use crate::types::{Raft, TypeConfig};

/// Calls wait for a leader this long after the last contact with one; then they fail at once.
pub(crate) const SERVING_AFTER_CONTACT_MS: u64 = 800;
/// Watch streams live this long after the last contact.
pub(crate) const WATCHABLE_AFTER_CONTACT_MS: u64 = 2_000;
/// How often contact times are looked at.
const CHECK_INTERVAL_MS: u64 = 20;

/// How this node stands now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub term: u64,
    /// The leader this node follows or is.
    pub leader: Option<Peer>,
    /// This node leads.
    pub leading: bool,
    /// Contact with a leader (or, leading, a quorum) within the time to serve.
    pub serving: bool,
    /// The same for watch streams.
    pub watchable: bool,
    /// Consensus has stopped on this node.
    pub fatal: Option<String>,
    /// Why this node must not serve although consensus goes on.
    pub fenced: Option<String>,
}

/// Follows the standing.
pub(crate) type StandingReceiver<RT> = Followed<RT, Standing>;

/// Keeps contact times and publishes the standing.
pub(crate) struct Standings<RT: AsyncRuntime> {
    node_id: u64,
    /// Last contact, as described at [`Standing::serving`].
    contact: Mutex<Option<RT::Instant>>,
    /// This node stops: it takes no leadership any more.
    stopping: AtomicBool,
    fenced: Mutex<Option<String>>,
    /// Why consensus counts as stopped here although openraft goes on; see [`Self::essential`].
    failed: Mutex<Option<String>>,
    leader_changes: AtomicU64,
    published: Published<RT, Standing>,
}

/// Dropped with the task that it watches over.
struct Witness<RT: AsyncRuntime> {
    standings: Arc<Standings<RT>>,
    what: &'static str,
}

impl<RT: AsyncRuntime> Drop for Witness<RT> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.standings.fail(format!("{} panicked; the log has more", self.what));
        }
    }
}

impl<RT: AsyncRuntime> Standings<RT> {
    pub fn new(node_id: u64) -> Arc<Self> {
        let published = Published::new(Standing::default());
        Arc::new(Self {
            node_id,
            contact: Mutex::new(None),
            stopping: AtomicBool::new(false),
            fenced: Mutex::default(),
            failed: Mutex::default(),
            leader_changes: AtomicU64::new(0),
            published,
        })
    }

    /// Runs a task that this node is of no use without. If it panics, consensus counts as stopped here and says why, so that the
    /// node ends: it would go on leading, or being counted on, and do only half of it.
    pub async fn essential(self: Arc<Self>, what: &'static str, task: impl Future<Output = ()>) {
        let _witness = Witness { standings: self, what };
        task.await;
    }

    fn fail(&self, reason: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(reason);
    }

    /// Notes that a leader of this term or a newer one was heard just now.
    pub fn heard_leader(&self) {
        self.contact_at(RT::Instant::now());
    }

    fn contact_at(&self, when: RT::Instant) {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        *contact = (*contact).max(Some(when));
    }

    /// Time of the last contact.
    pub fn last_contact(&self) -> Option<RT::Instant> {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this node takes no leadership.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on this node neither serves nor takes leadership, for this reason; the first one stays.
    pub fn fence(&self, reason: String) {
        let mut fenced = self.fenced.lock().unwrap_or_else(PoisonError::into_inner);
        fenced.get_or_insert(reason);
    }

    /// Why this node must not serve.
    pub fn fenced(&self) -> Option<String> {
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Self::fenced`], without the reason.
    pub fn is_fenced(&self) -> bool {
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// True while this node may be asked to lead.
    pub fn may_lead(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed) && !self.is_fenced()
    }

    /// Times that another leader, or the same one in another term, was seen.
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    pub fn now(&self) -> Standing {
        self.published.get()
    }

    /// Looks at the present standing, for what every call asks.
    pub fn with<T>(&self, look: impl FnOnce(&Standing) -> T) -> T {
        self.published.with(look)
    }

    /// Refuses what is asked of a node that does not serve.
    pub fn check_serving(&self) -> Result<(), CallError> {
        let (stopped, serving) = self.with(|standing| (standing.fatal.is_some(), standing.serving));
        match () {
            () if stopped => Err(CallError::Stopped),
            // The published standing follows the fence at some distance.
            () if !serving || self.is_fenced() => Err(CallError::NoLeader),
            () => Ok(()),
        }
    }

    pub fn subscribe(&self) -> StandingReceiver<RT> {
        self.published.follow()
    }

    /// Publishes until consensus stops; `changed` is called after every look.
    pub async fn run(
        self: Arc<Self>,
        raft: Raft<RT>,
        changed: impl Fn(&RaftMetrics<TypeConfig<RT>>, &Standing) + Send,
    ) {
        let mut metrics = raft.metrics();
        // The whole metrics change several times with every entry; who leads and who is a member changes rarely. So only the
        // latter wake this task, and the rest is looked at regularly.
        let mut server = raft.server_metrics();
        let interval = Duration::from_millis(CHECK_INTERVAL_MS);
        let mut led_term = None;
        let mut followed = None;
        let mut ended = false;
        loop {
            let now = metrics.borrow_and_update().clone();
            if now.state.is_leader() {
                if led_term != Some(now.current_term) {
                    led_term = Some(now.current_term);
                    self.heard_leader();
                }
                if let Some(acknowledged) = &now.last_quorum_acked {
                    self.contact_at(**acknowledged);
                }
                // The only voter is a quorum by itself; nothing is acknowledged to it between two writes.
                if now.membership_config.membership().voter_ids().eq([self.node_id]) {
                    self.heard_leader();
                }
            }
            let standing = self.standing(&now);
            let leadership = standing.leader.as_ref().map(|leader| (standing.term, leader.id));
            if leadership.is_some() && leadership != followed {
                followed = leadership;
                self.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            let stopped = standing.fatal.is_some();
            self.published
                .publish_if(standing.clone(), |present, new| present != new);
            changed(&now, &standing);
            if stopped || ended {
                return;
            }
            match RT::timeout(interval, server.changed()).await {
                Ok(Ok(())) => {
                    // openraft publishes the whole metrics right after these; an error shows at the next look.
                    let _ = RT::timeout(interval, metrics.changed()).await;
                }
                // One more look tells why.
                Ok(Err(_)) => ended = true,
                Err(_) => {}
            }
        }
    }

    fn standing(&self, metrics: &RaftMetrics<TypeConfig<RT>>) -> Standing {
        let contact = self.last_contact();
        let fenced = self.fenced();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let within =
            |limit_ms| fenced.is_none() && contact.is_some_and(|at| at.elapsed() < Duration::from_millis(limit_ms));
        let leader = metrics.current_leader.map(|id| {
            let node = metrics.membership_config.membership().get_node(&id);
            Peer {
                id,
                address: node.map(|node| node.peer.clone()).unwrap_or_default(),
            }
        });
        Standing {
            term: metrics.current_term,
            leading: metrics.state.is_leader() && metrics.current_leader == Some(self.node_id),
            leader,
            serving: within(SERVING_AFTER_CONTACT_MS),
            watchable: within(WATCHABLE_AFTER_CONTACT_MS),
            fatal: metrics.running_state.as_ref().err().map(ToString::to_string).or(failed),
            fenced,
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft_rt_tokio::TokioRuntime;

    use super::*;

    fn failed(standings: &Standings<TokioRuntime>) -> Option<String> {
        standings.failed.lock().expect("nothing panics under it").clone()
    }

    #[tokio::test]
    async fn an_essential_task_that_panics_ends_consensus_here_and_one_that_ends_does_not() {
        let standings = Standings::<TokioRuntime>::new(1);
        standings.clone().essential("a task", async {}).await;
        let endless = tokio::spawn(standings.clone().essential("another", std::future::pending()));
        tokio::task::yield_now().await;
        endless.abort();
        assert!(endless.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(failed(&standings), None);
        let panics = async {
            panic!("planted");
        };
        let panicked = tokio::spawn(standings.clone().essential("a third one", panics)).await;
        assert!(panicked.is_err_and(|error| error.is_panic()));
        assert!(failed(&standings).is_some_and(|reason| reason.contains("a third one panicked")));
    }
}

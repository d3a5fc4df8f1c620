//! Hands what is open to whoever leads now: to the own log, or over a stream to the leader.
//!
//! One task owns the route. When the leader changes or the stream breaks, everything open goes out again under the same
//! stamps; the machine answers repeats with the stored reply. While nobody leads, proposals wait here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use tokio::sync::mpsc;

use super::{DoorItem, DoorOutcomes, EntryOutcome, LeaderDoor, Session};
use crate::handle::CallError;
use crate::network::wire::{ForwardBatch, ForwardItem, ForwardReplies};
use crate::network::{Peer, Purpose, StreamKind, Transport};
use crate::standing::{Standing, StandingReceiver, Standings};

/// Batches on their way to the leader at most; more wait as single proposals and become larger batches.
const FORWARD_QUEUE_BATCHES: usize = 16;
/// Pause before something is sent again to the same leader.
const RETRY_PAUSE_MS: u64 = 10;

/// Sends the session's proposals; see the module.
pub(crate) struct Pump<RT: AsyncRuntime, T> {
    pub session: Arc<Session>,
    pub standings: Arc<Standings<RT>>,
    pub door: Arc<LeaderDoor<RT>>,
    pub transport: T,
}

enum Route {
    Nobody,
    /// This node leads this term.
    Own(u64),
    Remote(Link),
}

/// A stream of batches to a leader.
struct Link {
    term: u64,
    leader: u64,
    batches: mpsc::Sender<Bytes>,
    broken: Arc<AtomicBool>,
}

impl Route {
    fn fits(&self, standing: &Standing) -> bool {
        match (self, &standing.leader) {
            (Self::Nobody, None) => true,
            (Self::Own(term), Some(_)) => standing.leading && standing.term == *term,
            (Self::Remote(link), Some(leader)) => {
                let same = !standing.leading && link.term == standing.term && link.leader == leader.id;
                same && !link.broken.load(Ordering::Acquire)
            }
            _ => false,
        }
    }
}

impl<RT: AsyncRuntime, T: Transport> Pump<RT, T> {
    /// Runs until consensus stops on this node.
    pub async fn run(self) {
        let mut standing_changes: StandingReceiver<RT> = self.standings.subscribe();
        let mut route = Route::Nobody;
        loop {
            let standing = standing_changes.borrow_and_update().clone();
            if standing.fatal.is_some() {
                // What was sent may still be carried out by the others.
                self.session
                    .fail_all(&CallError::Stopped, &CallError::TimedOutLeaderLost);
                return;
            }
            let (unsent, sent) = (CallError::NoLeader, CallError::TimedOutLeaderLost);
            if standing.fenced.is_some() {
                // A node with another state than the others serves no more: nothing is worth waiting for.
                self.session.fail_all(&unsent, &sent);
            } else if !standing.serving {
                self.session.fail_impatient(&unsent, &sent);
            }
            if !route.fits(&standing) {
                route = self.new_route(&standing).await;
            }
            let again = self.send(&route).await;
            let pause = Duration::from_millis(if again { RETRY_PAUSE_MS } else { 1000 });
            let woken = RT::timeout(pause, self.session.wake.notified());
            match RT::select2(standing_changes.changed(), woken).await {
                openraft::async_runtime::Select2::First(Err(_)) => return,
                openraft::async_runtime::Select2::First(Ok(())) | openraft::async_runtime::Select2::Second(_) => {}
            }
        }
    }

    async fn new_route(&self, standing: &Standing) -> Route {
        let Some(leader) = &standing.leader else {
            return Route::Nobody;
        };
        self.session.requeue_all();
        if standing.leading {
            Route::Own(standing.term)
        } else {
            Route::Remote(self.open_link(standing.term, leader.clone()))
        }
    }

    /// Sends what is unsent; true if something is left that has to be tried again soon.
    async fn send(&self, route: &Route) -> bool {
        match route {
            Route::Nobody => self.session.is_open(),
            Route::Own(term) => loop {
                if !self.door.has_begun(*term) && !self.begin_term().await {
                    return true;
                }
                let batch = self.session.next_batch();
                if batch.is_empty() {
                    return false;
                }
                let (sequences, items): (Vec<u64>, Vec<DoorItem>) = batch.into_iter().unzip();
                let Some(outcomes) = self.door.submit(items).await else {
                    self.session.requeue(sequences);
                    return true;
                };
                let session = self.session.clone();
                let _detached = RT::spawn(async move {
                    if !take_outcomes(&session, sequences, outcomes).await {
                        RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
                        session.wake.notify_one();
                    }
                });
            },
            Route::Remote(link) => {
                while let Ok(permit) = link.batches.try_reserve() {
                    let batch = self.session.next_batch();
                    if batch.is_empty() {
                        return false;
                    }
                    let items = batch.into_iter().filter_map(|(_, item)| {
                        item.stamp.map(|stamp| ForwardItem {
                            stamp,
                            proposal: item.proposal,
                        })
                    });
                    permit.send(ForwardBatch { items: items.collect() }.encode_to_vec().into());
                }
                true
            }
        }
    }

    /// Proposes `LeaderStarted`, also when there is nothing else to propose; false if this node does not lead.
    async fn begin_term(&self) -> bool {
        let Some(mut outcomes) = self.door.submit(Vec::new()).await else {
            return false;
        };
        let session = self.session.clone();
        let _detached = RT::spawn(async move {
            // Empty, but it ends only when the entry was applied or refused.
            while outcomes.next().await.is_some() {}
            RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
            session.wake.notify_one();
        });
        true
    }

    fn open_link(&self, term: u64, leader: Peer) -> Link {
        let (batches, queued) = mpsc::channel::<Bytes>(FORWARD_QUEUE_BATCHES);
        let broken = Arc::new(AtomicBool::new(false));
        let link = Link {
            term,
            leader: leader.id,
            batches,
            broken: broken.clone(),
        };
        let (session, transport) = (self.session.clone(), self.transport.clone());
        let _detached = RT::spawn(async move {
            let frames = futures_util::stream::unfold(queued, |mut queued| async move {
                queued.recv().await.map(|frame| (frame, queued))
            });
            let opened = transport
                .stream(&leader, Purpose::Append, StreamKind::Forward, frames.boxed())
                .await;
            let ended = match opened {
                Ok(mut replies) => take_replies::<RT>(&session, &mut replies).await,
                Err(error) => error.to_string(),
            };
            tracing::debug!("the stream of proposals to node {} ended: {ended}", leader.id);
            RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
            broken.store(true, Ordering::Release);
            session.wake.notify_one();
        });
        link
    }
}

/// Resolves proposals by what became of them in the own log; false if some have to be sent again.
async fn take_outcomes(session: &Session, sequences: Vec<u64>, mut outcomes: DoorOutcomes) -> bool {
    let mut complete = true;
    let mut sequences = sequences.into_iter().peekable();
    while sequences.peek().is_some() {
        // A stream that ends early says the same as an outcome that is none.
        let outcome = outcomes.next().await.unwrap_or(EntryOutcome {
            items: sequences.len(),
            applied: None,
        });
        complete &= outcome.applied.is_some();
        let (replies, log_index) = outcome.applied.unwrap_or_default();
        let replies = replies.into_iter().map(|reply| Some((reply, log_index)));
        let replies = replies.chain(std::iter::repeat(None));
        session.resolve(sequences.by_ref().take(outcome.items).zip(replies));
    }
    complete
}

/// Resolves proposals by what the leader answers; gives back why the stream ended.
async fn take_replies<RT: AsyncRuntime>(session: &Session, replies: &mut crate::network::Frames) -> String {
    while let Some(frame) = replies.next().await {
        let decoded = frame.map_err(|error| error.to_string());
        let decoded = decoded.and_then(|frame| ForwardReplies::decode(frame).map_err(|error| error.to_string()));
        match decoded {
            Ok(replies) => {
                let mut complete = true;
                session.resolve(replies.items.into_iter().map(|item| {
                    complete &= item.reply.is_some();
                    (item.sequence, item.reply.map(|reply| (reply, item.log_index)))
                }));
                if !complete {
                    RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
                    session.wake.notify_one();
                }
            }
            Err(error) => return error,
        }
    }
    "closed by the leader".to_owned()
}

//! One client for everything that this node probes at the same place: a hundred monitors of one server are one session there and
//! not a hundred, and one login where the account is refused.
//!
//! Two targets share a client where they ask the same servers the same question as the same account within the same time; what
//! is found of one then holds for the other. Each keeps its own schedule and its own judge: an attempt that is under way when
//! another target's is due serves both, and one that has ended only just now serves as well. Nothing here judges or decides.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use quorate_machine::ProbedSide;
use quorate_probes::{Engine, Observation, ProbeTarget, Prober, StartError};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// How old an observation may be, as a part of the interval of whom it serves: less than what a busy machine delays an attempt by.
const FRESH_PART: u32 = 10;

/// What makes two targets the same.
#[derive(PartialEq, Eq)]
struct Identity {
    side: ProbedSide,
    /// In clear, by name: sealed ones differ from monitor to monitor.
    secrets: Vec<(String, zeroize::Zeroizing<String>)>,
    access_timeout: Duration,
}

impl Identity {
    fn of(target: &ProbeTarget) -> Self {
        let mut side = target.side.clone();
        side.secrets.clear();
        let secrets = target.secrets.iter();
        Self {
            side,
            secrets: secrets
                .map(|(name, secret)| (name.clone(), secret.expose().to_owned().into()))
                .collect(),
            access_timeout: target.access_timeout,
        }
    }
}

/// The clients in use; they end with the last target that uses them.
#[derive(Clone, Default)]
pub struct SharedClients(Arc<Mutex<Vec<Weak<Client>>>>);

impl SharedClients {
    /// The client of a target, or a new one.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn of(&self, engine: &'static dyn Engine, target: ProbeTarget) -> Result<Shared, StartError> {
        let identity = Identity::of(&target);
        if let Some(client) = self.find(&identity) {
            return Ok(Shared::new(client));
        }
        let prober = engine.start(target).await?;
        // Another target may have been quicker in the meantime.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|client| client.serves(&identity));
        let client = found.unwrap_or_else(|| {
            let client = Arc::new(Client::new(identity, prober));
            known.retain(|client| client.strong_count() > 0);
            known.push(Arc::downgrade(&client));
            client
        });
        Ok(Shared::new(client))
    }

    fn find(&self, identity: &Identity) -> Option<Arc<Client>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|client| client.serves(identity))
    }
}

struct Client {
    identity: Identity,
    state: AsyncMutex<State>,
}

/// An attempt that brought something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub observation: Observation,
    /// When it ended; another target's turn may have made it.
    pub ended: Instant,
}

struct State {
    /// `None` once an attempt has panicked: nobody uses this client any more.
    prober: Option<Box<dyn Prober>>,
    last: Option<Ended>,
    /// The last one that opened a connection of its own.
    fresh: Option<Ended>,
}

/// What a client has to tell after an attempt.
struct Told {
    /// `None`: nothing was due.
    found: Option<Ended>,
    last: Option<Ended>,
    fresh: Option<Ended>,
}

impl Client {
    fn new(identity: Identity, prober: Box<dyn Prober>) -> Self {
        let state = State {
            prober: Some(prober),
            last: None,
            fresh: None,
        };
        Self {
            identity,
            state: AsyncMutex::new(state),
        }
    }

    /// Whether it is the client of such a target, and in order.
    fn serves(&self, identity: &Identity) -> bool {
        // Where an attempt is under way it is in order so far.
        let broken = self.state.try_lock().is_ok_and(|state| state.prober.is_none());
        self.identity == *identity && !broken
    }

    /// An attempt that ended at `since` or later and after `served`, or a new one.
    async fn attempt(&self, since: Instant, served: Option<Instant>) -> Told {
        let mut state = self.state.lock().await;
        let recent = state.last.as_ref().filter(|last| last.ended >= since);
        let recent = recent.filter(|last| served.is_none_or(|served| last.ended > served));
        let found = if let Some(last) = recent {
            Some(last.clone())
        } else {
            let mut prober = state.prober.take().expect("an earlier attempt of this client panicked");
            // A panic leaves no prober behind.
            let observation = prober.attempt().await;
            state.prober = Some(prober);
            let ended = Instant::now();
            let found = observation.map(|observation| Ended { observation, ended });
            if let Some(fresh) = found.as_ref().filter(|found| found.observation.fresh) {
                state.fresh = Some(fresh.clone());
            }
            if found.is_some() {
                state.last = found.clone();
            }
            found
        };
        Told {
            found,
            last: state.last.clone(),
            fresh: state.fresh.clone(),
        }
    }
}

/// One target's part in a client.
pub struct Shared {
    client: Arc<Client>,
    /// When the attempt ended that this target got last; `None`: it has got none yet.
    served: Option<Instant>,
}

impl Shared {
    fn new(client: Arc<Client>) -> Self {
        Self { client, served: None }
    }

    /// One attempt on behalf of a target with this interval, as [`Prober::attempt`].
    ///
    /// # Panics
    /// The prober did: whoever supervises the target starts it anew, with another client.
    pub async fn attempt(&mut self, interval: Duration) -> Option<Ended> {
        let now = Instant::now();
        let since = now.checked_sub(interval / FRESH_PART).unwrap_or(now);
        let (client, served) = (self.client.clone(), self.served);
        // On a task of its own: a target that ends must not break off what others wait for.
        let told = match tokio::spawn(async move { client.attempt(since, served).await }).await {
            Ok(told) => told,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => return None,
        };
        // In a pause after a refused login few attempts are due, and whose turn brings one about is chance: what another target
        // was told is news to each that has not heard it yet.
        let unheard = |last: &Ended| served.is_none_or(|served| last.ended > served);
        let found = told.found.or_else(|| told.last.filter(unheard))?;
        self.served = Some(found.ended);
        Some(match served {
            Some(served) => with_news(found, told.fresh, served),
            None => found,
        })
    }
}

/// A target whose turn always falls on the kept session would never learn what fresh connections meet: what the last one since
/// its turn before has met counts as met now.
fn with_news(mut found: Ended, fresh: Option<Ended>, served: Instant) -> Ended {
    let Some(fresh) = fresh.filter(|fresh| fresh.ended > served) else {
        return found;
    };
    let answered = |found: &Ended| found.observation.role.is_some();
    match (answered(&found), answered(&fresh)) {
        (true, true) => {
            found.observation.fresh = true;
            found
        }
        (true, false) => fresh,
        (false, _) => found,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use quorate_machine::{FindingClass, ProbedDetail, TlsSpec};
    use quorate_probes::{RoleInfo, Stage};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn identity() -> Identity {
        let side = ProbedSide {
            kind: "mysql",
            addresses: vec!["10.0.0.1:3306".to_owned()],
            user: "mon".to_owned(),
            secrets: Vec::new(),
            database: "orders".to_owned(),
            tls: TlsSpec::default(),
            detail: ProbedDetail::Relational {
                database_is_sid: false,
                canary: None,
            },
        };
        Identity {
            side,
            secrets: Vec::new(),
            access_timeout: Duration::from_secs(1),
        }
    }

    fn observation(class: FindingClass, fresh: bool) -> Observation {
        Observation {
            stage: Stage::Role,
            class,
            engine_text: String::new(),
            role: (class == FindingClass::Ok).then(RoleInfo::default),
            canary: None,
            latency_us: 1,
            fresh,
        }
    }

    /// Every tenth attempt is fresh and meets `fresh`.
    struct Script {
        attempts: Arc<AtomicUsize>,
        takes: Duration,
        fresh: FindingClass,
        /// From this attempt on nothing is due.
        pause_at: usize,
        panic_at: usize,
    }

    impl Prober for Script {
        fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
            Box::pin(async {
                tokio::time::sleep(self.takes).await;
                let number = self.attempts.fetch_add(1, Ordering::SeqCst);
                assert!(number < self.panic_at, "planted");
                let fresh = number % 10 == 9;
                let class = if fresh { self.fresh } else { FindingClass::Ok };
                (number < self.pause_at).then(|| observation(class, fresh))
            })
        }
    }

    fn client(fresh: FindingClass, pause_at: usize, panic_at: usize) -> (Arc<Client>, Arc<AtomicUsize>) {
        client_that_takes(Duration::from_millis(100), fresh, pause_at, panic_at)
    }

    fn client_that_takes(
        takes: Duration,
        fresh: FindingClass,
        pause_at: usize,
        panic_at: usize,
    ) -> (Arc<Client>, Arc<AtomicUsize>) {
        let attempts = Arc::new(AtomicUsize::new(0));
        let script = Script {
            attempts: attempts.clone(),
            takes,
            fresh,
            pause_at,
            panic_at,
        };
        (Arc::new(Client::new(identity(), Box::new(script))), attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_an_attempt_is_under_way_shares_it() {
        let (client, attempts) = client(FindingClass::Ok, 1000, 1000);
        let mut targets: Vec<Shared> = (0..100).map(|_| Shared::new(client.clone())).collect();
        let together = targets.iter_mut().map(|target| target.attempt(INTERVAL));
        let found = futures_util::future::join_all(together).await;
        assert!(found.iter().all(Option::is_some));
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        // An interval later that is old, and one more serves all of them.
        tokio::time::sleep(INTERVAL).await;
        let again = targets.iter_mut().map(|target| target.attempt(INTERVAL));
        futures_util::future::join_all(again).await;
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_twice_of_one_attempt() {
        let takes = INTERVAL * 19 / 20;
        let (client, attempts) = client_that_takes(takes, FindingClass::Ok, 1000, 1000);
        let mut target = Shared::new(client.clone());
        let mut told = Vec::new();
        for turn in 1..=4 {
            told.extend(target.attempt(INTERVAL).await.map(|found| found.ended));
            assert_eq!(attempts.load(Ordering::SeqCst), turn);
            // The next turn comes when the last attempt has only just ended.
            tokio::time::sleep(INTERVAL - takes).await;
        }
        told.dedup();
        assert_eq!(told.len(), 4);
        // To another target it is news, and as old as it is.
        let found = Shared::new(client).attempt(INTERVAL).await.expect("an observation");
        assert_eq!(attempts.load(Ordering::SeqCst), 4);
        assert!(found.ended.elapsed() >= INTERVAL - takes);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_ends_does_not_break_off_what_others_wait_for() {
        let (client, attempts) = client(FindingClass::Ok, 1000, 1000);
        let (mut first, mut second) = (Shared::new(client.clone()), Shared::new(client));
        let leaving = tokio::spawn(async move { first.attempt(INTERVAL).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        leaving.abort();
        assert!(second.attempt(INTERVAL).await.is_some());
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_always_meets_the_kept_session_hears_of_fresh_ones() {
        let (client, _) = client(FindingClass::Auth, 1000, 1000);
        // Ten targets in turn: each always gets the same place in the prober's cycle.
        let mut targets: Vec<Shared> = (0..10).map(|_| Shared::new(client.clone())).collect();
        let mut warned = [false; 10];
        for _ in 0..3 {
            for (target, warned) in targets.iter_mut().zip(&mut warned) {
                tokio::time::sleep(INTERVAL / 10 + Duration::from_millis(1)).await;
                let found = target.attempt(INTERVAL).await.expect("an observation");
                *warned |= found.observation.class == FindingClass::Auth;
            }
        }
        assert_eq!(warned, [true; 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_after_a_refused_login_is_one_for_all_and_no_secret_to_newcomers() {
        let (client, attempts) = client(FindingClass::Ok, 1, 1000);
        let mut first = Shared::new(client.clone());
        assert!(first.attempt(INTERVAL).await.is_some());
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(first.attempt(INTERVAL).await, None);
        let mut newcomer = Shared::new(client);
        tokio::time::sleep(INTERVAL).await;
        assert!(
            newcomer.attempt(INTERVAL).await.is_some(),
            "what the first one was told"
        );
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(newcomer.attempt(INTERVAL).await, None);
        assert_eq!(attempts.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_target_learns_in_a_pause_every_one_learns() {
        // Nothing is due after the second attempt, and their turns are further apart than an attempt is shared for.
        let (client, attempts) = client(FindingClass::Ok, 2, 1000);
        let (mut first, mut second) = (Shared::new(client.clone()), Shared::new(client));
        assert!(first.attempt(INTERVAL).await.is_some());
        assert!(second.attempt(INTERVAL).await.is_some());
        tokio::time::sleep(INTERVAL).await;
        assert!(first.attempt(INTERVAL).await.is_some());
        tokio::time::sleep(INTERVAL / 2).await;
        let told = second.attempt(INTERVAL).await.expect("what the first one was told");
        assert!(told.ended.elapsed() >= INTERVAL / 2, "as old as it is");
        assert_eq!(second.attempt(INTERVAL).await, None, "and once");
        assert!(attempts.load(Ordering::SeqCst) >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_panicked_is_nobodys_any_more() {
        let (client, _) = client(FindingClass::Ok, 1000, 0);
        assert!(client.serves(&identity()));
        let mut target = Shared::new(client.clone());
        let panicked = std::panic::AssertUnwindSafe(target.attempt(INTERVAL))
            .catch_unwind()
            .await;
        assert!(panicked.is_err());
        assert!(!client.serves(&identity()));
    }

    #[test]
    fn another_account_or_timeout_is_another_client() {
        let (client, _) = client(FindingClass::Ok, 1000, 1000);
        let mut other = identity();
        other.secrets.push(("password".to_owned(), "other".to_owned().into()));
        assert!(!client.serves(&other));
        let mut slower = identity();
        slower.access_timeout *= 2;
        assert!(!client.serves(&slower));
    }
}

//! Names of data sources and their addresses: asked of the DNS, remembered for a bounded time.
//!
//! # What is remembered, and for how long
//!
//! An answer holds for its TTL (RFC 1035; at least [`MIN_TTL`], at most [`MAX_TTL`]). After that the name is asked again; the
//! old addresses go on being used while *no* answer comes (time-out, SERVFAIL, nobody there), for at most
//! [`NameSettings::max_stale`] beyond the TTL (the idea of RFC 8767). An answer that the name does not exist, or has no
//! address, is an answer: it is believed at once and nothing old is used.
//!
//! A name without a usable address is a finding of class DNS, which votes `unknown` and never `down`: whoever cannot
//! resolve a name has learned nothing about the server. A *remembered* address is probed like any other and does vote:
//! name servers stand in the data centers that fail, and a database that dies with them must still fail over.
//!
//! # Bounds
//!
//! A lookup has a deadline of its own and outlives the attempt that began it, so that the next attempt finds its result;
//! per name there is one at a time, and after a failed one a pause. Nobody waits long for a lookup while a remembered
//! address is at hand.
//!
//! It resolves for probers only, and deliberately does without the other sources of the C library (NIS, mDNS, …).

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

mod asker;

use asker::{Answer, Asker};

/// Shortest time that an answer is held, so that a TTL of 0 does not make a query of every attempt.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest time that an answer is held, whatever its TTL says: a mistyped TTL must not outlast a fail-over by DNS.
pub const MAX_TTL: Duration = Duration::from_secs(300);
/// How long addresses are used beyond their TTL where nothing else is configured.
pub const DEFAULT_MAX_STALE: Duration = Duration::from_secs(3600);
/// Longest time that may be configured for it.
pub const LONGEST_MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Most name servers that can be configured.
pub const MAX_SERVERS: usize = 8;

/// Addresses of one name that are used.
const MAX_ADDRESSES_PER_NAME: usize = 8;
/// Names that are remembered; the one unused for longest makes room.
const MAX_NAMES: usize = 4096;
/// Bound of one lookup with all its repetitions.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);
/// Pause after a lookup that brought no address before the name is asked again.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// How long an attempt waits for a lookup while a remembered address is at hand.
const STALE_WAIT: Duration = Duration::from_millis(100);

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSettings {
    /// Name servers, at most [`MAX_SERVERS`]; empty: those of `/etc/resolv.conf`. `/etc/hosts` comes first in either case.
    pub servers: Vec<SocketAddr>,
    /// How long addresses are used beyond their TTL while the name servers give no answer; zero: not at all.
    pub max_stale: Duration,
}

impl Default for NameSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            max_stale: DEFAULT_MAX_STALE,
        }
    }
}

/// Addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// At least one, at most 8; IPv4 before IPv6.
    pub addresses: Arc<[IpAddr]>,
    /// The addresses are older than their TTL; says why there are no newer ones.
    pub stale: Option<String>,
}

/// Why a name has no usable address, in the resolver's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// The names that a node knows; cheap to clone, clones share what is remembered.
#[derive(Clone)]
pub struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    max_stale: Duration,
    asker: Asker,
    names: Mutex<BTreeMap<String, Entry>>,
}

/// What is known of one name.
struct Entry {
    /// Empty: none.
    addresses: Arc<[IpAddr]>,
    fresh_until: Instant,
    /// Words of the last lookup, if it brought no address.
    failure: Option<String>,
    ask_again_at: Instant,
    used_at: Instant,
    /// Ends when the running lookup ends.
    running: Option<watch::Receiver<()>>,
}

/// What can be said of a name at a moment.
enum Known {
    Fresh(Resolved),
    Stale(Resolved),
    Nothing(NameError),
}

impl Default for Names {
    fn default() -> Self {
        Self::new(NameSettings::default())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Nothing is asked or read before the first name is to be resolved.
    pub fn new(settings: NameSettings) -> Self {
        let shared = Shared {
            max_stale: settings.max_stale,
            asker: Asker::new(settings.servers),
            names: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The addresses of `host` (a name or an IP address), by `deadline`.
    ///
    /// # Errors
    /// No usable address is known by then, with the reason.
    pub async fn resolve(&self, host: &str, deadline: Instant) -> Result<Resolved, NameError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Resolved {
                addresses: [address].into(),
                stale: None,
            });
        }
        let name = host.to_ascii_lowercase();
        let (known, running) = self.begin(&name);
        let until = match known {
            Known::Fresh(resolved) => return Ok(resolved),
            Known::Stale(_) => deadline.min(Instant::now() + STALE_WAIT),
            Known::Nothing(_) => deadline,
        };
        if let Some(mut running) = running
            // Nothing is ever sent: what ends the wait is the end of the sender.
            && timeout_at(until, running.changed()).await.is_err()
            && matches!(known, Known::Nothing(_))
        {
            return Err(NameError(format!("no answer for the name {host} in time")));
        }
        let names = self.shared.names();
        match names.get(&name).map(|entry| entry.known(host, self.shared.max_stale)) {
            Some(Known::Fresh(resolved) | Known::Stale(resolved)) => Ok(resolved),
            Some(Known::Nothing(error)) => Err(error),
            None => Err(NameError(format!(
                "too many names are asked for at once: {host} had no place"
            ))),
        }
    }

    /// What is known of `name`, and the lookup that is running for it: a new one if it is time for that.
    fn begin(&self, name: &str) -> (Known, Option<watch::Receiver<()>>) {
        let mut names = self.shared.names();
        if !names.contains_key(name) {
            make_room(&mut names);
        }
        let now = Instant::now();
        let entry = names.entry(name.to_owned()).or_insert_with(|| Entry::unknown(now));
        entry.used_at = now;
        let known = entry.known(name, self.shared.max_stale);
        // A lookup that has ended, however it did, has dropped its end.
        entry.running.take_if(|running| running.has_changed().is_err());
        if entry.running.is_none() && !matches!(known, Known::Fresh(_)) && now >= entry.ask_again_at {
            let (sender, receiver) = watch::channel(());
            entry.running = Some(receiver);
            let (shared, name) = (self.shared.clone(), name.to_owned());
            tokio::spawn(async move {
                let answer = timeout(LOOKUP_DEADLINE, shared.asker.ask(&name)).await;
                let late = || Answer::Failed(format!("no answer within {} s", LOOKUP_DEADLINE.as_secs()));
                shared.record(&name, answer.unwrap_or_else(|_| late()));
                drop(sender);
            });
        }
        (known, entry.running.clone())
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, name: &str, answer: Answer) {
        let now = Instant::now();
        // Gone: others needed its place.
        if let Some(entry) = self.names().get_mut(name) {
            entry.take(answer, now);
        }
    }
}

impl Entry {
    fn unknown(now: Instant) -> Self {
        Self {
            addresses: [].into(),
            fresh_until: now,
            failure: None,
            ask_again_at: now,
            used_at: now,
            running: None,
        }
    }

    fn take(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Addresses { mut addresses, ttl } => {
                addresses.truncate(MAX_ADDRESSES_PER_NAME);
                self.addresses = addresses.into();
                self.fresh_until = now + ttl.clamp(MIN_TTL, MAX_TTL);
                self.ask_again_at = self.fresh_until;
                self.failure = None;
            }
            Answer::None(words) => {
                self.addresses = [].into();
                self.ask_again_at = now + FAILURE_PAUSE;
                self.failure = Some(words);
            }
            Answer::Failed(words) => {
                self.ask_again_at = now + FAILURE_PAUSE;
                self.failure = Some(words);
            }
        }
    }

    fn known(&self, host: &str, max_stale: Duration) -> Known {
        let now = Instant::now();
        let words = || self.failure.clone().unwrap_or_else(|| "no answer yet".to_owned());
        let resolved = |stale| Resolved {
            addresses: self.addresses.clone(),
            stale,
        };
        if self.addresses.is_empty() {
            Known::Nothing(NameError(format!("{host}: {}", words())))
        } else if now < self.fresh_until {
            Known::Fresh(resolved(None))
        } else if now < self.fresh_until + max_stale {
            Known::Stale(resolved(Some(words())))
        } else {
            let age = (now - self.fresh_until).as_secs();
            let text = format!("{host}: {}; the last known address ran out {age} s ago", words());
            Known::Nothing(NameError(text))
        }
    }
}

/// Forgets the name that was unused for longest where there is no room for another one.
fn make_room(names: &mut BTreeMap<String, Entry>) {
    if names.len() >= MAX_NAMES
        && let Some((oldest, _)) = names.iter().min_by_key(|(_, entry)| entry.used_at)
    {
        let oldest = oldest.clone();
        names.remove(&oldest);
    }
}

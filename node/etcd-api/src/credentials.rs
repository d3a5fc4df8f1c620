//! Checks of passwords: bcrypt on a few blocking threads, and a cache of what was verified before, so that an SDK's login
//! stays far below its limit of one second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quorate_kv::UserView;
use quorate_machine::Id;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::attempts::Attempts;
use crate::errors::too_many_requests;
use crate::token::TokenKey;

/// bcrypt computations at a time.
const MAX_CONCURRENT_HASHES: usize = 2;

/// Logins whose computation runs or waits; more are refused. All processes of a site may come at once, and one that is not let
/// in within its second never watches again (sdk-contract 5).
const MAX_QUEUED_HASHES: usize = 4_096;

/// Remembered users; the cache starts anew when it is full.
const MAX_CACHED_USERS: usize = 4_096;

/// bcrypt cost, as etcd's default.
const BCRYPT_COST: u32 = 10;

/// Longest password; bcrypt looks at no more.
const MAX_PASSWORD_BYTES: usize = 72;

/// Highest cost of a hash that a client brings: one second. A higher one would occupy this node's few hashing threads at
/// every login.
const MAX_BCRYPT_COST: u32 = 14;

/// What was verified: for this revision of the user, this digest of the password.
struct Verified {
    user_revision: u64,
    digest: [u8; 32],
}

/// A login: what was said, and from where (`ip:port`).
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) password: &'a str,
    pub(crate) source: &'a str,
}

/// Password checks of one process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Credentials {
    key: TokenKey,
    running: Arc<Semaphore>,
    queued: Arc<Semaphore>,
    verified: Arc<Mutex<HashMap<(Id, String), Verified>>>,
    attempts: Arc<Attempts>,
}

impl Credentials {
    pub(crate) fn new(key: TokenKey) -> Credentials {
        Credentials {
            key,
            running: Arc::new(Semaphore::new(MAX_CONCURRENT_HASHES)),
            queued: Arc::new(Semaphore::new(MAX_QUEUED_HASHES)),
            verified: Arc::default(),
            attempts: Arc::default(),
        }
    }

    /// Whether `password` is the user's. A user that does not exist, or that has no password, takes as long as a wrong
    /// password, so that nobody learns from the clock who exists.
    ///
    /// # Errors
    ///
    /// "too many requests" while the queue of checks is full; resource exhausted after too many failures from this source.
    pub(crate) async fn verify(
        &self,
        instance: Id,
        name: &str,
        user: Option<&UserView>,
        attempt: Attempt<'_>,
    ) -> Result<bool, Status> {
        let user = user.filter(|user| !user.no_password && !user.password_hash.is_empty());
        let digest = self.key.digest_password(instance, name, attempt.password);
        let entry = (instance, name.to_owned());
        if self.is_known(&entry, user, &digest) {
            return Ok(true);
        }
        self.check_failures(attempt.source, name)?;
        let turn = self.turn().await?;
        // Many come at once with the same password, or to guess at one: what the first of them learned holds for the others.
        if self.is_known(&entry, user, &digest) {
            return Ok(true);
        }
        self.check_failures(attempt.source, name)?;
        let password = attempt.password.to_owned();
        let hash = user.map(|user| user.password_hash.clone());
        // The turn ends when what came of it is written down: the next in line must not guess once more than it may.
        let (matches, _turn) = compute(turn, move || match hash {
            Some(hash) => bcrypt::verify(&password, std::str::from_utf8(&hash).unwrap_or_default()).unwrap_or(false),
            None => {
                // Only the time it takes matters.
                let _ = bcrypt::hash_with_salt(&password, BCRYPT_COST, [0; 16]);
                false
            }
        })
        .await?;
        let Some(user) = user.filter(|_| matches) else {
            self.attempts.failed(attempt.source, name, Instant::now());
            return Ok(false);
        };
        self.attempts.succeeded(attempt.source, name);
        let mut verified = self.lock();
        if verified.len() >= MAX_CACHED_USERS {
            verified.clear();
        }
        let user_revision = user.revision;
        verified.insert(entry, Verified { user_revision, digest });
        Ok(true)
    }

    /// A bcrypt hash as etcd stores it.
    ///
    /// # Errors
    ///
    /// "too many requests" while the queue is full.
    pub(crate) async fn hash_password(&self, password: String) -> Result<Bytes, Status> {
        let (hash, _) = compute(self.turn().await?, move || bcrypt::hash(&password, BCRYPT_COST)).await?;
        let hash = hash.map_err(|error| Status::invalid_argument(format!("quorate: unusable password: {error}")))?;
        Ok(Bytes::from(hash))
    }

    /// Refuses a password that bcrypt would cut.
    ///
    /// # Errors
    ///
    /// For more than [`MAX_PASSWORD_BYTES`], with text and code of the library that etcd takes.
    pub(crate) fn check_length(password: &str) -> Result<(), Status> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Status::unknown("bcrypt: password length exceeds 72 bytes"));
        }
        Ok(())
    }

    /// Takes a hash that the client computed.
    ///
    /// # Errors
    ///
    /// Invalid argument for anything but a bcrypt hash of a bearable cost.
    pub(crate) fn accept_hash(hash: Vec<u8>) -> Result<Bytes, Status> {
        let parts = std::str::from_utf8(&hash)
            .ok()
            .and_then(|text| text.parse::<bcrypt::HashParts>().ok());
        match parts {
            Some(parts) if parts.get_cost() <= MAX_BCRYPT_COST => Ok(Bytes::from(hash)),
            _ => Err(Status::invalid_argument(format!(
                "quorate: hashedPassword is no bcrypt hash of a cost up to {MAX_BCRYPT_COST}"
            ))),
        }
    }

    /// True if this very password was verified before for the user's present revision.
    fn is_known(&self, entry: &(Id, String), user: Option<&UserView>, digest: &[u8; 32]) -> bool {
        let verified = self.lock();
        let known = verified.get(entry).zip(user);
        known.is_some_and(|(known, user)| {
            known.user_revision == user.revision
                && aws_lc_rs::constant_time::verify_slices_are_equal(&known.digest, digest).is_ok()
        })
    }

    fn check_failures(&self, source: &str, name: &str) -> Result<(), Status> {
        let Some(wait) = self.attempts.blocked(source, name, Instant::now()) else {
            return Ok(());
        };
        let seconds = wait.as_secs() + 1;
        let text = format!("quorate: too many failed logins from this address; try again in {seconds} s");
        Err(Status::resource_exhausted(text))
    }

    /// Waits until a computation may begin.
    async fn turn(&self) -> Result<Turn, Status> {
        let queued = Arc::clone(&self.queued).try_acquire_owned();
        let queued = queued.map_err(|_| too_many_requests())?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        Ok(Turn {
            _queued: queued,
            _running: running.map_err(|_| too_many_requests())?,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Id, String), Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one computation, given back when it is dropped.
struct Turn {
    _queued: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

/// Computes on a blocking thread and hands the turn back. It lasts as long as the computation, also when its client has gone.
async fn compute<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, Turn), Status> {
    let done = tokio::task::spawn_blocking(move || (work(), turn));
    done.await
        .map_err(|_| Status::unavailable("etcdserver: server stopped"))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const INSTANCE: Id = Id::from_u128(1);
    const AT_ONCE: usize = 60;

    fn user(password: &str, cost: u32) -> UserView {
        UserView {
            name: "mas".to_owned(),
            password_hash: bcrypt::hash(password, cost).expect("a password").into(),
            no_password: false,
            roles: Vec::new(),
            revision: 1,
        }
    }

    async fn at_once(credentials: &Credentials, user: &UserView, password: &str) -> Vec<Result<bool, Status>> {
        let attempt = Attempt {
            password,
            source: "10.0.0.1:5",
        };
        join_all((0..AT_ONCE).map(|_| credentials.verify(INSTANCE, "mas", Some(user), attempt))).await
    }

    #[tokio::test]
    async fn processes_that_log_in_at_once_cost_no_hash_each() {
        let credentials = Credentials::new(TokenKey::new(&[1; 32]));
        let user = user("right", BCRYPT_COST);
        let begun = Instant::now();
        assert!(bcrypt::verify("right", std::str::from_utf8(&user.password_hash).expect("text")).expect("a hash"));
        let one = begun.elapsed();
        let begun = Instant::now();
        let all = at_once(&credentials, &user, "right").await;
        assert!(all.into_iter().all(|answer| answer.expect("room")));
        let hashes = begun.elapsed().as_secs_f64() / one.as_secs_f64();
        assert!(hashes < AT_ONCE as f64 / 4.0, "as long as {hashes} hashes");
    }

    #[tokio::test]
    async fn guesses_that_come_at_once_are_limited_like_others() {
        let credentials = Credentials::new(TokenKey::new(&[1; 32]));
        // Four is the lowest cost there is.
        let answers = at_once(&credentials, &user("right", 4), "wrong").await;
        let looked_at = answers.iter().filter(|answer| matches!(answer, Ok(false))).count();
        let most = crate::attempts::MAX_FAILURES_PER_USER as usize + MAX_CONCURRENT_HASHES - 1;
        assert!(
            (1..=most).contains(&looked_at),
            "{looked_at} guesses of {AT_ONCE} were looked at"
        );
    }
}

//! Passwords of console users: argon2id hashes, computed on the blocking pool, few at a time.

use std::sync::{Arc, OnceLock};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use http::StatusCode;
use quorate_machine::catalog::edge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::language::text;
use crate::limits::{
    MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARACTERS, NEW_PASSWORDS_AT_ONCE, NEW_PASSWORDS_AT_ONCE_PER_USER,
    PASSWORD_CHECKS_AT_ONCE, PASSWORD_QUEUE_WAIT,
};
use crate::places::Places;
use crate::problem::Problem;

/// Hashes a password as argon2id in PHC form, with a fresh salt. Takes tens of milliseconds: not for an async task.
pub fn hash_password(password: &str) -> String {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).expect("16 bytes are a salt");
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.expect("argon2 with default parameters takes any password")
        .to_string()
}

/// Refuses passwords that are too short or too long, at `pointer`.
pub(crate) fn check_new_password(pointer: &str, password: &str) -> Result<(), Problem> {
    if password.chars().count() < MIN_PASSWORD_CHARACTERS {
        let detail = text(edge::PASSWORD_TOO_SHORT, &[("minimum", &MIN_PASSWORD_CHARACTERS)]);
        return Err(Problem::field(pointer, "out-of-range", detail));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        let detail = text(edge::PASSWORD_TOO_LONG, &[("maximum", &MAX_PASSWORD_BYTES)]);
        return Err(Problem::field(pointer, "out-of-range", detail));
    }
    Ok(())
}

/// Computes hashes, few at a time, so that a flood of logins cannot take the processors from consensus. New passwords have a
/// queue of their own, where each user has few places: no user who is logged in keeps others from logging in.
pub(crate) struct PasswordChecker {
    checks: Arc<Semaphore>,
    new: Arc<Semaphore>,
    new_of_user: Places,
}

impl PasswordChecker {
    pub(crate) fn new() -> Self {
        Self {
            checks: Arc::new(Semaphore::new(PASSWORD_CHECKS_AT_ONCE)),
            new: Arc::new(Semaphore::new(NEW_PASSWORDS_AT_ONCE)),
            new_of_user: Places::new(NEW_PASSWORDS_AT_ONCE_PER_USER),
        }
    }

    /// True if the password fits the hash. An unknown user (`None`) costs the same time and is always false.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let known = hash.is_some();
        let fits = on_blocking_pool(&self.checks, move || {
            let hash = hash.unwrap_or_else(|| decoy().to_owned());
            let parsed = PasswordHash::new(&hash);
            parsed.is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(fits.await? && known)
    }

    /// Hashes a new password at the request of `user`.
    pub(crate) async fn hash(&self, user: &str, password: String) -> Result<String, Problem> {
        let _place = self.new_of_user.take(user).ok_or_else(busy)?;
        on_blocking_pool(&self.new, move || hash_password(&password)).await
    }
}

async fn on_blocking_pool<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn: OwnedSemaphorePermit = tokio::time::timeout(PASSWORD_QUEUE_WAIT, turns.clone().acquire_owned())
        .await
        .map_err(|_| busy())?
        .expect("the semaphore is never closed");
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    Ok(done.await.expect("hashing does not panic"))
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text(edge::PASSWORDS_BUSY, &[]))
        .retry_after(PASSWORD_QUEUE_WAIT.as_secs())
}

/// A hash that fits nothing a user can know, so that unknown users take as long as known ones.
fn decoy() -> &'static str {
    static DECOY: OnceLock<String> = OnceLock::new();
    DECOY.get_or_init(|| hash_password(&uuid::Uuid::now_v7().to_string()))
}

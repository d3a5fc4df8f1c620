//! Refused logins of this process, by account: what must not be tried again yet.
//!
//! A prober remembers its own refusal, but it is replaced when a monitor is edited, retimed or its task failed, and a connection test
//! uses the account too. Engines that lock an account or a source after wrong passwords count all of them. The password is part of the
//! account here: a corrected one is tried at once.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Secret, endpoint::Endpoint};

/// Accounts that are remembered; the one whose pause ends first makes room.
const MAX_ACCOUNTS: usize = 4096;

/// An account at a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    source: String,
    user: String,
    /// Of the password, with a key of this process: tells two apart and reveals nothing.
    fingerprint: u64,
}

impl Account {
    /// The account `user` with `password` at the source that answers at `endpoints`.
    pub(crate) fn new(engine: &str, endpoints: &[Endpoint], user: &str, password: &Secret) -> Self {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let mut addresses: Vec<String> = endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        addresses.sort_unstable();
        Self {
            source: format!("{engine} {}", addresses.join(" ")),
            user: user.to_owned(),
            fingerprint: KEY.get_or_init(RandomState::new).hash_one(password.expose()),
        }
    }

    /// The words of the refusal and the time until the account may be tried again; `None`: now.
    pub(crate) fn refused(&self) -> Option<(String, Duration)> {
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = known.get(self)?;
        let left = refusal.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            known.remove(self);
            return None;
        }
        Some((refusal.text.clone(), left))
    }

    /// Remembers that the account was refused and rests for `pause`.
    pub(crate) fn refuse(&self, text: &str, pause: Duration) {
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        known.retain(|_, refusal| refusal.until > now);
        if known.len() >= MAX_ACCOUNTS {
            let soonest = known.iter().min_by_key(|(_, refusal)| refusal.until);
            if let Some(account) = soonest.map(|(account, _)| account.clone()) {
                known.remove(&account);
            }
        }
        let refusal = Refusal {
            text: text.to_owned(),
            until: now + pause,
        };
        known.insert(self.clone(), refusal);
    }

    /// The account was let in.
    pub(crate) fn accepted(&self) {
        known().lock().unwrap_or_else(PoisonError::into_inner).remove(self);
    }
}

#[derive(Debug)]
struct Refusal {
    text: String,
    until: Instant,
}

fn known() -> &'static Mutex<BTreeMap<Account, Refusal>> {
    static KNOWN: Mutex<BTreeMap<Account, Refusal>> = Mutex::new(BTreeMap::new());
    &KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(address: &str, password: &str) -> Account {
        let endpoint = Endpoint::parse(address).unwrap();
        Account::new("engine", &[endpoint], "user", &Secret::new(password.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_rests_until_its_pause_is_over() {
        let pause = Duration::from_secs(900);
        account("a:1", "wrong").refuse("words", pause);
        tokio::time::advance(Duration::from_secs(899)).await;
        let (text, left) = account("a:1", "wrong").refused().unwrap();
        assert_eq!((text.as_str(), left), ("words", Duration::from_secs(1)));
        // A corrected password and another source are other accounts.
        assert_eq!(account("a:1", "right").refused(), None);
        assert_eq!(account("a:2", "wrong").refused(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(account("a:1", "wrong").refused(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_account_rests_no_longer() {
        account("b:1", "pw").refuse("words", Duration::from_secs(900));
        account("b:1", "pw").accepted();
        assert_eq!(account("b:1", "pw").refused(), None);
    }
}

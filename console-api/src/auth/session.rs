//! Console sessions: a signed statement (user, auth revision, issued, expiry) that every node can check by itself.
//!
//! Nothing is stored, so a session ends when it expires or when the user's auth revision moves on (a changed password or
//! role); logging out is the client forgetting it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use quorate_machine::catalog::{Texts, edge};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::limits::{MAX_CLOCK_SKEW_MS, SESSION_LIFE};

/// Start of a session; API tokens start with [`TOKEN_PREFIX`].
const SESSION_PREFIX: &str = "qs1.";
/// Start of an API token.
pub(crate) const TOKEN_PREFIX: &str = "qt1.";
/// A session longer than this is not looked at.
const MAX_SESSION_BYTES: usize = 1024;

/// Key of the sessions' HMAC-SHA-256: 32 bytes, the same on every node of the cluster. Never printed.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// From key material that the node derives from the cluster key.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn sign(&self, payload: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(SESSION_PREFIX.as_bytes());
        mac.update(payload.as_bytes());
        mac
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey")
    }
}

/// What a session states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    #[serde(rename = "u")]
    pub(crate) user: String,
    #[serde(rename = "r")]
    pub(crate) auth_revision: u64,
    #[serde(rename = "i")]
    pub(crate) issued_ms: i64,
    #[serde(rename = "e")]
    pub(crate) expires_ms: i64,
}

impl Session {
    /// A session from now on for [`SESSION_LIFE`].
    pub(crate) fn begin(user: &str, auth_revision: u64, now_ms: i64) -> Self {
        Self {
            user: user.to_owned(),
            auth_revision,
            issued_ms: now_ms,
            expires_ms: now_ms + SESSION_LIFE.as_millis() as i64,
        }
    }

    /// The signed text that the client presents.
    pub(crate) fn encode(&self, key: &SessionKey) -> String {
        let payload = serde_json::to_vec(self).expect("a session has only strings and numbers");
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let tag = URL_SAFE_NO_PAD.encode(key.sign(&payload).finalize().into_bytes());
        format!("{SESSION_PREFIX}{payload}.{tag}")
    }

    /// Checks signature and times; the reason of a refusal is for the client.
    pub(crate) fn decode(text: &str, key: &SessionKey, now_ms: i64) -> Result<Self, Texts> {
        const FORGED: Texts = edge::SESSION_FORGED;
        if text.len() > MAX_SESSION_BYTES {
            return Err(FORGED);
        }
        let signed = text.strip_prefix(SESSION_PREFIX).ok_or(FORGED)?;
        let (payload, tag) = signed.split_once('.').ok_or(FORGED)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| FORGED)?;
        key.sign(payload).verify_slice(&tag).map_err(|_| FORGED)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| FORGED)?;
        let session: Self = serde_json::from_slice(&payload).map_err(|_| FORGED)?;
        if now_ms >= session.expires_ms {
            return Err(edge::SESSION_EXPIRED);
        }
        if session.issued_ms > now_ms.saturating_add(MAX_CLOCK_SKEW_MS) {
            return Err(edge::SESSION_FROM_THE_FUTURE);
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_valid_for_its_life_and_its_key_only() {
        let key = SessionKey::new([7; 32]);
        let session = Session::begin("root", 3, 1_000_000);
        let text = session.encode(&key);
        assert_eq!(Session::decode(&text, &key, 1_000_001), Ok(session.clone()));
        assert!(Session::decode(&text, &SessionKey::new([8; 32]), 1_000_001).is_err());
        assert!(Session::decode(&text, &key, session.expires_ms).is_err());
        assert!(Session::decode(&text, &key, 1_000_000 - MAX_CLOCK_SKEW_MS - 1).is_err());
    }

    #[test]
    fn every_changed_character_voids_a_session() {
        let key = SessionKey::new([7; 32]);
        let text = Session::begin("root", 3, 1_000_000).encode(&key);
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(Session::decode(&changed, &key, 1_000_001).is_err(), "{changed}");
        }
    }
}

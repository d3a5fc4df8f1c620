//! Tokens that every node accepts without a log entry: an HMAC-SHA256 over instance, user, the user's revision and the time
//! of issue. A token does not expire; it is void once the user's password changed or the user is gone, because then the
//! user's revision is another one.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_machine::Id;

/// Bytes of the signature at the end of a token.
const TAG_BYTES: usize = 32;

/// Bytes before the user's name: format, user revision, time of issue.
const FIXED_BYTES: usize = 1 + 8 + 8;

/// First byte of a token of this format.
const FORMAT: u8 = 1;

/// Longest token that is looked at, in characters.
pub(crate) const MAX_TOKEN_CHARS: usize = 2048;

/// Key that the nodes of a cluster share for signing tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenKey {
    key: hmac::Key,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) user: String,
    /// The user's revision when it logged in.
    pub(crate) user_revision: u64,
    /// Cluster time of issue, milliseconds; makes tokens of the same user differ.
    pub(crate) issued_ms: u64,
    /// When the token ends, in seconds since 1970 by this node's clock; these here end never, those of [`crate::JwtKeys`] do.
    pub(crate) expires_unix_seconds: Option<u64>,
}

impl TokenKey {
    /// A key from secret bytes, at least 32 of them, equal on every node of the cluster.
    pub fn new(secret: &[u8]) -> TokenKey {
        TokenKey {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    pub(crate) fn issue(&self, instance: Id, claims: &Claims) -> String {
        let mut token = Vec::with_capacity(FIXED_BYTES + claims.user.len() + TAG_BYTES);
        token.push(FORMAT);
        token.extend_from_slice(&claims.user_revision.to_be_bytes());
        token.extend_from_slice(&claims.issued_ms.to_be_bytes());
        token.extend_from_slice(claims.user.as_bytes());
        let tag = self.sign(instance, &token);
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The claims of a token of this cluster for this instance; `None` for anything else.
    pub(crate) fn verify(&self, instance: Id, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG_BYTES)?)?;
        let mut message = Vec::with_capacity(16 + signed.len());
        message.extend_from_slice(&instance.as_u128().to_be_bytes());
        message.extend_from_slice(signed);
        hmac::verify(&self.key, &message, tag).ok()?;
        let (fixed, user) = signed.split_at_checked(FIXED_BYTES)?;
        if fixed[0] != FORMAT {
            return None;
        }
        Some(Claims {
            user: std::str::from_utf8(user).ok()?.to_owned(),
            user_revision: u64::from_be_bytes(fixed[1..9].try_into().ok()?),
            issued_ms: u64::from_be_bytes(fixed[9..17].try_into().ok()?),
            expires_unix_seconds: None,
        })
    }

    /// A digest of a password for the cache of verified credentials: useless without the key.
    pub(crate) fn digest_password(&self, instance: Id, user: &str, password: &str) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"password");
        context.update(&instance.as_u128().to_be_bytes());
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        context.sign().as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }

    fn sign(&self, instance: Id, signed: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&instance.as_u128().to_be_bytes());
        context.update(signed);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: Id = Id::from_u128(7);

    fn claims() -> Claims {
        Claims {
            user: "mas".to_owned(),
            user_revision: 3,
            issued_ms: 12_345,
            expires_unix_seconds: None,
        }
    }

    #[test]
    fn a_token_says_what_was_issued() {
        let key = TokenKey::new(&[1; 32]);
        let token = key.issue(INSTANCE, &claims());
        assert_eq!(key.verify(INSTANCE, &token), Some(claims()));
    }

    #[test]
    fn other_instances_keys_and_changed_tokens_are_refused() {
        let key = TokenKey::new(&[1; 32]);
        let token = key.issue(INSTANCE, &claims());
        assert_eq!(key.verify(Id::from_u128(8), &token), None);
        assert_eq!(TokenKey::new(&[2; 32]).verify(INSTANCE, &token), None);
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.verify(INSTANCE, &changed), None, "position {position}");
            assert_eq!(key.verify(INSTANCE, &token[..position]), None, "cut at {position}");
        }
        assert_eq!(key.verify(INSTANCE, &"A".repeat(5000)), None);
    }

    #[test]
    fn password_digests_differ_by_user_and_password() {
        let key = TokenKey::new(&[1; 32]);
        let digest = key.digest_password(INSTANCE, "ab", "c");
        assert_ne!(digest, key.digest_password(INSTANCE, "a", "bc"));
        assert_ne!(digest, key.digest_password(INSTANCE, "ab", "d"));
        assert_eq!(digest, key.digest_password(INSTANCE, "ab", "c"));
    }
}

//! JSON Web Tokens (RFC 7519) as etcd makes them under `--auth-token=jwt`: whoever has the public key may check them, whoever
//! has the private key may make them, without a word with a member.
//!
//! The claims are etcd's: `username`, `revision` and `exp`. Here `revision` is that of the user when it logged in, so a changed
//! password voids its tokens and nothing else does; etcd voids every token with every change of any user or role. Reading key
//! files and the setting's text is the caller's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::token::{Claims, MAX_TOKEN_CHARS};

/// Least bytes of a shared secret (RFC 7518, section 3.2, for HS256).
const MIN_SECRET_BYTES: usize = 32;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error(
        "sign-method {0:?} is not possible; take one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    Method(String),
    #[error("a method that starts with HS has one secret of at least {MIN_SECRET_BYTES} bytes, in priv-key")]
    Secret,
    #[error("this method needs pub-key, a PEM file; members without priv-key check tokens and make none")]
    NoPublicKey,
    #[error("{which}: {source}")]
    Key {
        which: &'static str,
        source: jsonwebtoken::errors::Error,
    },
    #[error("pub-key and priv-key do not belong together")]
    Mismatch,
}

/// Makes and checks tokens. Without a private key it only checks.
pub struct JwtKeys {
    algorithm: Algorithm,
    private: Option<EncodingKey>,
    public: DecodingKey,
    lifetime: Duration,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JwtKeys({:?})", self.algorithm)
    }
}

/// What etcd writes into a token.
#[derive(Serialize, Deserialize)]
struct Payload {
    username: String,
    revision: u64,
    /// Seconds since 1970.
    exp: u64,
}

impl JwtKeys {
    /// Keys of a sign method by its name in RFC 7518: PEM files, or a secret in `private` for `HS…`. Tokens live for `lifetime`,
    /// whole seconds.
    ///
    /// # Errors
    ///
    /// [`JwtError`] for a method that is not possible, and for keys that do not fit it or each other.
    pub fn new(
        method: &str,
        public: Option<&[u8]>,
        private: Option<&[u8]>,
        lifetime: Duration,
    ) -> Result<Self, JwtError> {
        let algorithm: Algorithm = method.parse().map_err(|_| JwtError::Method(method.to_owned()))?;
        let public_key = |parse: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>| {
            let which = "pub-key";
            parse(public.ok_or(JwtError::NoPublicKey)?).map_err(|source| JwtError::Key { which, source })
        };
        let private_key = |parse: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
            let which = "priv-key";
            private
                .map(parse)
                .transpose()
                .map_err(|source| JwtError::Key { which, source })
        };
        let (public, private) = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let secret = private
                    .filter(|secret| secret.len() >= MIN_SECRET_BYTES)
                    .ok_or(JwtError::Secret)?;
                (DecodingKey::from_secret(secret), Some(EncodingKey::from_secret(secret)))
            }
            Algorithm::ES256 | Algorithm::ES384 => (
                public_key(DecodingKey::from_ec_pem)?,
                private_key(EncodingKey::from_ec_pem)?,
            ),
            Algorithm::EdDSA => (
                public_key(DecodingKey::from_ed_pem)?,
                private_key(EncodingKey::from_ed_pem)?,
            ),
            _ => (
                public_key(DecodingKey::from_rsa_pem)?,
                private_key(EncodingKey::from_rsa_pem)?,
            ),
        };
        let keys = JwtKeys {
            algorithm,
            private,
            public,
            lifetime,
        };
        keys.try_out()?;
        Ok(keys)
    }

    /// A token that these keys make must pass these keys.
    fn try_out(&self) -> Result<(), JwtError> {
        let Some(private) = &self.private else { return Ok(()) };
        let payload = Payload {
            username: "root".to_owned(),
            revision: 1,
            exp: now_unix_seconds() + self.lifetime.as_secs().max(1),
        };
        let which = "priv-key";
        let token = encode(&Header::new(self.algorithm), &payload, private)
            .map_err(|source| JwtError::Key { which, source })?;
        let checked: Option<TokenData<Payload>> = self.decode(&token);
        checked.map(|_| ()).ok_or(JwtError::Mismatch)
    }

    /// A token; `None` where there is no private key.
    pub(crate) fn issue(&self, claims: &Claims) -> Option<String> {
        let payload = Payload {
            username: claims.user.clone(),
            revision: claims.user_revision,
            exp: now_unix_seconds() + self.lifetime.as_secs(),
        };
        let token = encode(&Header::new(self.algorithm), &payload, self.private.as_ref()?);
        Some(token.expect("keys that have signed once sign again"))
    }

    /// The claims of a token that these keys made, whether or not it has expired; `None` for anything else.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let payload = self.decode(token)?.claims;
        Some(Claims {
            user: payload.username,
            user_revision: payload.revision,
            issued_ms: 0,
            expires_unix_seconds: Some(payload.exp),
        })
    }

    fn decode(&self, token: &str) -> Option<TokenData<Payload>> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        // The end is looked at with every call, for what a token says is remembered.
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        decode(token, &self.public, &validation).ok()
    }
}

/// Wall clock of this node: what `exp` is compared with.
pub(crate) fn now_unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            user: "root".to_owned(),
            user_revision: 7,
            issued_ms: 0,
            expires_unix_seconds: None,
        }
    }

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key pair");
        (pair.public_key_pem(), pair.serialize_pem())
    }

    fn keys(method: &str, pair: &(String, String)) -> Result<JwtKeys, JwtError> {
        let (public, private) = (Some(pair.0.as_bytes()), Some(pair.1.as_bytes()));
        JwtKeys::new(method, public, private, Duration::from_secs(300))
    }

    #[test]
    fn tokens_of_every_family_pass_and_no_other_keys_make_them() {
        for (method, algorithm) in [
            ("ES256", &rcgen::PKCS_ECDSA_P256_SHA256),
            ("ES384", &rcgen::PKCS_ECDSA_P384_SHA384),
            ("EdDSA", &rcgen::PKCS_ED25519),
            ("RS512", &rcgen::PKCS_RSA_SHA512),
            ("PS256", &rcgen::PKCS_RSA_SHA256),
        ] {
            let (own, other) = (pem(algorithm), pem(algorithm));
            let token = keys(method, &own)
                .expect(method)
                .issue(&claims())
                .expect("a private key");
            let read = keys(method, &own).expect(method).verify(&token).expect(method);
            assert_eq!((read.user.as_str(), read.user_revision), ("root", 7), "{method}");
            let left = read.expires_unix_seconds.expect("it ends") - now_unix_seconds();
            assert!((295..=300).contains(&left), "{method}: {left} s");
            assert!(keys(method, &other).expect(method).verify(&token).is_none(), "{method}");
            assert!(
                matches!(keys(method, &(own.0, other.1)), Err(JwtError::Mismatch)),
                "{method}"
            );
        }
    }

    #[test]
    fn a_member_with_the_public_key_alone_checks_and_makes_none() {
        let pair = pem(&rcgen::PKCS_ECDSA_P256_SHA256);
        let token = keys("ES256", &pair).expect("keys").issue(&claims()).expect("signed");
        let checker = JwtKeys::new("ES256", Some(pair.0.as_bytes()), None, Duration::from_secs(1)).expect("a checker");
        assert!(checker.issue(&claims()).is_none());
        assert!(checker.verify(&token).is_some());
    }

    #[test]
    fn another_algorithm_no_algorithm_and_changed_tokens_are_refused() {
        let secret = (String::new(), "s".repeat(MIN_SECRET_BYTES));
        let signer = keys("HS256", &secret).expect("a secret");
        let token = signer.issue(&claims()).expect("a secret signs");
        assert!(keys("HS512", &secret).expect("a secret").verify(&token).is_none());
        let mut parts: Vec<&str> = token.split('.').collect();
        // {"alg":"none","typ":"JWT"}
        parts[0] = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        assert!(signer.verify(&parts.join(".")).is_none());
        assert!(signer.verify(&format!("{}.{}.", parts[0], parts[1])).is_none());
        for position in 0..token.len() {
            assert!(signer.verify(&token[..position]).is_none(), "cut at {position}");
        }
        assert!(signer.verify(&"a".repeat(MAX_TOKEN_CHARS + 1)).is_none());
    }

    #[test]
    fn keys_that_do_not_fit_the_method_are_refused() {
        let pair = pem(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(matches!(keys("ES512", &pair), Err(JwtError::Method(_))));
        assert!(matches!(keys("none", &pair), Err(JwtError::Method(_))));
        assert!(matches!(keys("RS256", &pair), Err(JwtError::Key { .. })));
        assert!(matches!(
            keys("HS256", &(String::new(), "short".to_owned())),
            Err(JwtError::Secret)
        ));
        let private_alone = JwtKeys::new("ES256", None, Some(pair.1.as_bytes()), Duration::from_secs(1));
        assert!(matches!(private_alone, Err(JwtError::NoPublicKey)));
    }
}

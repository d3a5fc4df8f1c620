//! SCRAM (RFC 5802, RFC 7677) as MongoDB uses it: no channel binding, and for SHA-1 a password that is hashed before.
//!
//! Only the exchange is here; hashes and key derivation are aws-lc's.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac, pbkdf2};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::Secret;

/// Fewest iterations that are taken (RFC 5802, RFC 7677).
const MIN_ITERATIONS: u32 = 4096;
/// Most iterations: a server must not make a prober compute for ever (servers have 10,000 and 15,000).
const MAX_ITERATIONS: u32 = 500_000;
/// `n,,` in base64: no channel binding.
const NO_CHANNEL_BINDING: &str = "biws";

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Sha1,
    Sha256,
}

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Sha1 => "SCRAM-SHA-1",
            Mechanism::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// The strongest of those that a server has for an account.
    pub(super) fn of(offered: &[&str]) -> Option<Self> {
        [Mechanism::Sha256, Mechanism::Sha1]
            .into_iter()
            .find(|mechanism| offered.contains(&mechanism.name()))
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Mechanism::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Mechanism::Sha256 => &digest::SHA256,
        }
    }

    fn mac(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Mechanism::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Mechanism::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text)
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Mechanism::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Mechanism::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        };
        let mut out = Zeroizing::new(vec![0; self.digest().output_len()]);
        pbkdf2::derive(algorithm, iterations, salt, password, &mut out);
        out
    }

    /// The password as it enters the derivation.
    fn prepared(self, user: &str, password: &Secret) -> Result<Zeroizing<Vec<u8>>, String> {
        match self {
            Mechanism::Sha1 => {
                let clear = Zeroizing::new(format!("{user}:mongo:{}", password.expose()));
                let hash = Md5::digest(clear.as_bytes());
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                Ok(Zeroizing::new(hex.into_bytes()))
            }
            Mechanism::Sha256 => {
                let prepared = stringprep::saslprep(password.expose())
                    .map_err(|_| "the password has characters that no login may have (SASLprep)".to_owned())?;
                Ok(Zeroizing::new(prepared.as_bytes().to_vec()))
            }
        }
    }
}

/// An exchange whose first message was sent.
pub(super) struct Begun {
    mechanism: Mechanism,
    user: String,
    nonce: String,
    first_bare: String,
}

/// An exchange whose proof was sent.
pub(super) struct Proved {
    expected: Vec<u8>,
}

/// The first message and what waits for its answer. `nonce` is unguessable and printable.
pub(super) fn begin(mechanism: Mechanism, user: &str, nonce: String) -> (String, Begun) {
    let escaped = user.replace('=', "=3D").replace(',', "=2C");
    let first_bare = format!("n={escaped},r={nonce}");
    let begun = Begun {
        mechanism,
        user: user.to_owned(),
        nonce,
        first_bare: first_bare.clone(),
    };
    (format!("n,,{first_bare}"), begun)
}

impl Begun {
    /// The message with the proof, and what waits for the server's own. The error says what is wrong with the server's message.
    pub(super) fn prove(self, server_first: &str, password: &Secret) -> Result<(String, Proved), String> {
        let field = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = field("r=").filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len());
        let nonce = nonce.ok_or("the server's nonce does not continue ours")?;
        let salt = field("s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.ok_or("the server gives no salt")?;
        let iterations = field("i=").and_then(|count| count.parse::<u32>().ok());
        let iterations = iterations
            .filter(|count| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(count))
            .and_then(NonZeroU32::new)
            .ok_or_else(|| {
                format!("the server asks for no iteration count from {MIN_ITERATIONS} to {MAX_ITERATIONS}")
            })?;
        let mechanism = self.mechanism;
        let prepared = mechanism.prepared(&self.user, password)?;
        let salted = mechanism.salted(&prepared, &salt, iterations);
        let without_proof = format!("c={NO_CHANNEL_BINDING},r={nonce}");
        let exchange = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = mechanism.mac(&salted, b"Client Key");
        let stored_key = digest::digest(mechanism.digest(), client_key.as_ref());
        let signature = mechanism.mac(stored_key.as_ref(), exchange.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = mechanism.mac(&salted, b"Server Key");
        let expected = mechanism
            .mac(server_key.as_ref(), exchange.as_bytes())
            .as_ref()
            .to_vec();
        Ok((
            format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
            Proved { expected },
        ))
    }
}

impl Proved {
    /// Whether the server has shown that it knows the account's keys too.
    pub(super) fn verify(&self, server_final: &str) -> bool {
        let signature = server_final.split(',').find_map(|part| part.strip_prefix("v="));
        let signature = signature.and_then(|signature| BASE64_STANDARD.decode(signature).ok());
        signature.is_some_and(|signature| verify_slices_are_equal(&signature, &self.expected).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(password: &str) -> Secret {
        Secret::new(password.to_owned())
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        let (first, begun) = begin(Mechanism::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, proved) = begun.prove(server, &secret("pencil")).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proved.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proved.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proved.verify("e=invalid-proof"));
    }

    /// The example of RFC 5802, section 5, has a password that is not hashed before: MongoDB's own is in its driver specification.
    #[test]
    fn the_exchange_of_the_driver_specification_for_sha_1() {
        let (_, begun) = begin(Mechanism::Sha1, "user", "fyko+d2lbbFgONRv9qkxdawL".to_owned());
        let server = "r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000";
        let (last, proved) = begun.prove(server, &secret("pencil")).unwrap();
        assert_eq!(
            last,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,p=MC2T8BvbmWRckDw8oWl5IVghwCY="
        );
        assert!(proved.verify("v=UMWeI25JD1yNYZRMpZ4VHvhZ9e0="));
    }

    #[test]
    fn a_server_that_cheats_gets_no_proof() {
        for server in [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=nonce-more,s=?,i=4096",
            "r=nonce-more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=nonce-more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294967295",
        ] {
            let (_, begun) = begin(Mechanism::Sha256, "user", "nonce".to_owned());
            assert!(begun.prove(server, &secret("pencil")).is_err(), "{server}");
        }
        assert_eq!(
            begin(Mechanism::Sha256, "a=b,c", "n".to_owned()).0,
            "n,,n=a=3Db=2Cc,r=n"
        );
    }

    #[test]
    fn the_strongest_mechanism_is_taken() {
        assert_eq!(
            Mechanism::of(&["SCRAM-SHA-1", "SCRAM-SHA-256"]),
            Some(Mechanism::Sha256)
        );
        assert_eq!(Mechanism::of(&["SCRAM-SHA-1"]), Some(Mechanism::Sha1));
        assert_eq!(Mechanism::of(&["PLAIN"]), None);
    }
}

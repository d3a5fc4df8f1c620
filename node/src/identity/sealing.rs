//! Sealing of secrets that live in the replicated state: AES-256-GCM under `cluster.key`.
//!
//! A sealed value is `version (1) | key id (4) | generation (8) | nonce (12) | ciphertext | tag (16)`; the associated data
//! binds it to its object and field, and to the header in front. The generation is the one that the object had when the
//! secret was set: an edit that keeps the password keeps the sealed bytes, so it travels with them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use quorate_machine::{Id, Sealed};
use zeroize::Zeroizing;

use super::random_bytes;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 8;
const KEY_BYTES: usize = 32;
/// Largest secret that is sealed, bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;
const KEY_FILE_PREFIX: &str = "quorate-cluster-key-1 ";

/// Why a sealed value could not be opened. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    #[error("the sealed value is malformed")]
    Malformed,
    #[error("the value was sealed with another cluster key: is this node's cluster.key the cluster's?")]
    OtherKey,
    #[error("the sealed value was changed, or belongs to another object or field")]
    Tampered,
}

/// The cluster's key: seals and opens secrets of the state and of files. Wiped from memory when dropped.
#[derive(Clone)]
pub struct ClusterKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl ClusterKey {
    /// A new random key.
    pub fn generate() -> Self {
        Self {
            bytes: Zeroizing::new(random_bytes()),
        }
    }

    /// Reads the text of a `cluster.key` file; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end().strip_prefix(KEY_FILE_PREFIX)?;
        if digits.len() != KEY_BYTES * 2 || !digits.is_ascii() {
            return None;
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[index * 2..index * 2 + 2], 16).ok()?;
        }
        Some(Self { bytes })
    }

    /// The text of a `cluster.key` file.
    pub fn to_file_text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(self.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Zeroizing::new(format!("{KEY_FILE_PREFIX}{}\n", *digits))
    }

    /// Four bytes that tell one key from another; they reveal nothing of it.
    fn key_id(&self) -> [u8; 4] {
        let tag = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.bytes.as_ref()),
            b"quorate key id",
        );
        let mut id = [0; 4];
        id.copy_from_slice(&tag.as_ref()[..4]);
        id
    }

    /// A key for another purpose, derived from this one; equal on every node of the cluster.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.bytes.as_ref());
        let tag = aws_lc_rs::hmac::sign(&key, format!("quorate derive {purpose}").as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(tag.as_ref());
        derived
    }

    fn aead(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_ref()).expect("the key has 32 bytes")
    }

    /// Seals `secret` for one field of one object at one generation.
    ///
    /// # Panics
    /// If the secret is larger than 64 KiB: callers bound what they take.
    pub fn seal(&self, object: Id, field: &str, generation: u64, secret: &[u8]) -> Sealed {
        assert!(
            secret.len() <= MAX_SECRET_BYTES,
            "secrets are bounded where they come in"
        );
        let mut header = [0; HEADER_BYTES];
        header[0] = VERSION;
        header[1..5].copy_from_slice(&self.key_id());
        header[5..].copy_from_slice(&generation.to_be_bytes());
        let mut body = secret.to_vec();
        let nonce = self
            .aead()
            .seal_in_place_append_tag(Aad::from(associated_data(&header, object, field)), &mut body)
            .expect("sealing a bounded value does not fail");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + NONCE_LEN + body.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(nonce.as_ref());
        bytes.extend_from_slice(&body);
        Sealed { bytes: bytes.into() }
    }

    /// Opens what [`Self::seal`] made for the same object and field.
    pub fn unseal(&self, object: Id, field: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let bytes = &sealed.bytes;
        if bytes.len() < HEADER_BYTES + NONCE_LEN + AES_256_GCM.tag_len() || bytes[0] != VERSION {
            return Err(UnsealError::Malformed);
        }
        let (header, rest) = bytes.split_at(HEADER_BYTES);
        if header[1..5] != self.key_id() {
            return Err(UnsealError::OtherKey);
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnsealError::Malformed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .aead()
            .open_in_place(nonce, Aad::from(associated_data(header, object, field)), &mut body)
            .map_err(|_| UnsealError::Tampered)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

fn associated_data(header: &[u8], object: Id, field: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(header.len() + 16 + field.len());
    data.extend_from_slice(header);
    data.extend_from_slice(&object.as_u128().to_be_bytes());
    data.extend_from_slice(field.as_bytes());
    data
}

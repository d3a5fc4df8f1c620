//! Join tokens: what a further node needs to be admitted, in one line of text.
//!
//! A token names the node that issued it, carries the hash of the peers' authority (so that the newcomer knows whom it talks
//! to), a secret that works once and an expiry. The issuer keeps only the secret's hash, as a file in its identity directory.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::directory::{files, write_atomically};
use super::{IdentityDirectory, IdentityError, random_bytes};

const PREFIX: &str = "quorate-join-1.";
/// Longest token that is read, characters.
const MAX_TOKEN_CHARACTERS: usize = 4096;

/// A join token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinToken {
    pub cluster_id: String,
    /// Node that issued the token, and the peer address that it is reached at.
    pub issuer: u64,
    pub address: String,
    /// SHA-256 of the peers' authority certificate (DER), hexadecimal.
    pub authority_sha256: String,
    pub token_id: String,
    pub secret: String,
    /// Wall clock, milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct IssuedToken {
    secret_sha256: String,
    expires_at_ms: i64,
}

impl JoinToken {
    /// Makes a token that is good once within `valid_for`, and remembers it in the issuer's `directory`.
    pub fn issue(directory: &IdentityDirectory, valid_for: std::time::Duration) -> Result<Self, IdentityError> {
        let node = directory.node()?;
        let authority = super::tls::certificates(directory, files::PEER_CA)?.remove(0);
        let token = Self {
            cluster_id: node.cluster_id.to_string(),
            issuer: node.profile.node_id,
            address: node.profile.peer.clone(),
            authority_sha256: sha256_hex(&authority),
            token_id: hex(&random_bytes::<8>()),
            secret: hex(&random_bytes::<32>()),
            expires_at_ms: now_ms() + valid_for.as_millis() as i64,
        };
        let issued = IssuedToken {
            secret_sha256: sha256_hex(token.secret.as_bytes()),
            expires_at_ms: token.expires_at_ms,
        };
        let folder = directory.path().join(files::JOIN_TOKENS);
        fs::create_dir_all(&folder).map_err(|error| IdentityError::io(&folder, error))?;
        let file = folder.join(&token.token_id);
        let content = serde_json::to_vec(&issued).expect("plain fields become JSON");
        write_atomically(&file, &content).map_err(|error| IdentityError::io(&file, error))?;
        Ok(token)
    }

    /// The line of text that is handed over.
    pub fn to_text(&self) -> String {
        let json = serde_json::to_vec(self).expect("plain fields become JSON");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads a token; refuses what is none and what has expired.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_CHARACTERS {
            return Err(IdentityError::Token("is too long: was something else pasted?"));
        }
        let body = text.strip_prefix(PREFIX).ok_or(IdentityError::Token(
            "is none: it begins with quorate-join-1., as `quorate join-token` prints it",
        ))?;
        let json = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| IdentityError::Token("is damaged: copy all of it"))?;
        let token: Self =
            serde_json::from_slice(&json).map_err(|_| IdentityError::Token("is damaged: copy all of it"))?;
        if token.expires_at_ms < now_ms() {
            return Err(IdentityError::Token(
                "has expired: make a new one with `quorate join-token`",
            ));
        }
        Ok(token)
    }

    /// Uses up the token `token_id`, on its issuer: once, if the secret fits and the time has not run out.
    pub fn redeem(
        directory: &IdentityDirectory,
        token_id: &str,
        secret: &str,
    ) -> Result<Option<RedeemedToken>, IdentityError> {
        if token_id.len() != 16 || !token_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let file = directory.path().join(files::JOIN_TOKENS).join(token_id);
        let content = match fs::read(&file) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IdentityError::io(&file, error)),
        };
        let issued: IssuedToken =
            serde_json::from_slice(&content).map_err(|error| IdentityError::damaged(&file, error.to_string()))?;
        let fits = aws_lc_rs::constant_time::verify_slices_are_equal(
            sha256_hex(secret.as_bytes()).as_bytes(),
            issued.secret_sha256.as_bytes(),
        )
        .is_ok();
        if issued.expires_at_ms < now_ms() || !fits {
            return Ok(None);
        }
        // Only one of two simultaneous users removes the file.
        match fs::remove_file(&file) {
            Ok(()) => Ok(Some(RedeemedToken { file, content })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IdentityError::io(&file, error)),
        }
    }
}

/// A token that was used up for a join under way.
pub struct RedeemedToken {
    file: PathBuf,
    content: Vec<u8>,
}

impl RedeemedToken {
    /// The join came to nothing: the token is good for another try.
    pub fn give_back(self) -> Result<(), IdentityError> {
        write_atomically(&self.file, &self.content).map_err(|error| IdentityError::io(&self.file, error))
    }
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

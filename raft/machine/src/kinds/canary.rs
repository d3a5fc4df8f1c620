//! The write canary of relational kinds: a row of its own that is written now and then, by an account of its own (C20 `[+]`).
//!
//! Only a write shows a full or stalled disk. Off by default: it is the one thing that a prober ever writes.

use super::check::{Account, account};
use super::{KindTraits, ProbedSecret};
use crate::model::*;
use crate::validate::Problems;

/// Characters of the name of a database or table: what MySQL and PostgreSQL both take.
const MAX_IDENTIFIER_CHARS: usize = 63;
/// Name of the canary's secret.
pub(super) const CANARY_SECRET: &str = "canary_password";
/// Field that the canary's password is sealed for.
pub(super) const CANARY_PASSWORD: &str = "canary.password";

/// A write canary; the same account and table on both sides. The table has the columns `id` and `beat` and a row for each
/// data center: 1 for dc1, 2 for dc2, so that sides that replicate from each other never write the same row.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CanarySpec {
    /// May read and update that table and nothing else.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Absent in an edit that keeps the present one.
    #[prost(message, optional, tag = "2")]
    pub password: Option<Sealed>,
    #[prost(string, tag = "3")]
    pub database: String,
    #[prost(string, tag = "4")]
    pub table: String,
    /// A failing write is a failure of the data source and votes `down`; otherwise it is only shown.
    #[prost(bool, tag = "5")]
    pub votes: bool,
}

/// The canary of one side as a prober sees it. Its secret is `canary_password`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedCanary {
    pub user: String,
    pub database: String,
    pub table: String,
    /// The side's row: 1 or 2.
    pub row: u32,
    /// A failing write is a failure of the data source.
    pub votes: bool,
}

impl CanarySpec {
    pub(super) fn probed_secret(&self) -> Option<ProbedSecret> {
        self.password.as_ref().map(|sealed| ProbedSecret {
            name: CANARY_SECRET.to_owned(),
            field: CANARY_PASSWORD.to_owned(),
            sealed: sealed.clone(),
        })
    }

    pub(super) fn fields(&self) -> Vec<(String, String)> {
        [
            ("canary.user", self.user.clone()),
            ("canary.database", self.database.clone()),
            ("canary.table", self.table.clone()),
            ("canary.votes", self.votes.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    pub(super) fn check(&self, problems: &mut Problems, at: &str, traits: &KindTraits) {
        if !traits.has_canary {
            problems.add(at, "unsupported", "only MySQL and PostgreSQL have a write canary");
            return;
        }
        account(
            problems,
            at,
            &Account {
                user: &self.user,
                user_required: true,
                passwordless: false,
                password: self.password.as_ref(),
            },
        );
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for (field, name) in [("database", &self.database), ("table", &self.table)] {
            let fits = (1..=MAX_IDENTIFIER_CHARS).contains(&name.len()) && name.chars().all(plain);
            if !fits {
                let detail = format!("1 to {MAX_IDENTIFIER_CHARS} letters, digits and underscores");
                problems.add(format!("{at}/{field}"), "invalid-name", detail);
            }
        }
    }
}

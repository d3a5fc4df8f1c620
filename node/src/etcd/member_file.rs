//! `DIR/member.json`: who this member is and how it began, so that a restart needs no `--initial-cluster` and a directory
//! that lost its data never votes again under the same id.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::identity::write_atomically;

const NAME: &str = "member.json";
const VERSION: u32 = 1;

/// One of the members that a cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstMember {
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
}

/// How the member began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Began {
    /// With these members, in a new cluster.
    New(Vec<FirstMember>),
    /// In a cluster that ran already.
    Existing,
}

/// A member's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFile {
    version: u32,
    pub cluster: u64,
    pub member: u64,
    pub began: Began,
    /// The data directory has been used: from then on an empty one means lost data.
    pub started: bool,
}

impl MemberFile {
    /// Identity of a member that has not started yet.
    pub fn new(cluster: u64, member: u64, began: Began) -> Self {
        Self {
            version: VERSION,
            cluster,
            member,
            began,
            started: false,
        }
    }

    /// Reads the file of a data directory; `None` if there is none.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let file: Self = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        anyhow::ensure!(
            file.version == VERSION,
            "{} is of version {}; this program knows {VERSION}",
            path.display(),
            file.version
        );
        Ok(Some(file))
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = data_dir.join(NAME);
        let text = serde_json::to_vec_pretty(self).expect("plain fields become JSON");
        write_atomically(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }
}

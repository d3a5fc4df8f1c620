//! `quorate kv snapshot save` and `quorate kv import`: an instance's keyspace to a file that etcd's tools take, and the
//! snapshot of an etcd into an instance.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_etcd_api::pb::etcdserverpb::SnapshotRequest;
use quorate_etcd_api::pb::quoratepb::ImportBlock;
use quorate_etcd_api::{SnapshotError, SnapshotFile};
use serde_json::json;
use tokio::sync::mpsc;

use super::door::{Door, DoorOptions};
use super::refused;
use crate::cli::Options;
use crate::cli::failure::{Code, Failure};
use crate::cli::output::Rendered;

/// Blocks read ahead of the server.
const MAX_READ_AHEAD_BLOCKS: usize = 2;

/// Time that a snapshot or an import may take as a whole.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(3600);

/// What to do with snapshots.
#[derive(Subcommand, Debug)]
pub enum SnapshotVerb {
    /// Save the keyspace into a file for `etcdutl snapshot restore` and `quorate kv import`
    Save(SaveOptions),
}

/// Where to save to.
#[derive(Args, Debug)]
pub struct SaveOptions {
    file: PathBuf,
    #[command(flatten)]
    door: DoorOptions,
}

/// What to import.
#[derive(Args, Debug)]
pub struct ImportOptions {
    file: PathBuf,
    #[command(flatten)]
    door: DoorOptions,
}

/// Saves a snapshot: into a file beside the wanted one, which takes its name once it is whole.
pub async fn save(options: &Options, save: &SaveOptions) -> Result<Rendered, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            Code::Refused,
            format!("{} cannot be written: {error}", save.file.display()),
        )
    };
    let directory = match save.file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut door = Door::open(options, &save.door).await?;
    let mut request = door.request(SnapshotRequest {});
    request.set_timeout(TRANSFER_DEADLINE);
    let mut stream = door
        .maintenance()
        .snapshot(request)
        .await
        .map_err(refused)?
        .into_inner();
    // Passwords' hashes are in it: nobody else may read it, which a temporary file has from the start.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| failed(&error))?;
    let (mut bytes, mut whole) = (0_u64, false);
    while let Some(chunk) = stream.message().await.map_err(refused)? {
        // The checksum is what comes after the last byte of the database.
        whole = chunk.remaining_bytes == 0 && chunk.blob.len() == 32;
        bytes += chunk.blob.len() as u64;
        file.write_all(&chunk.blob).map_err(|error| failed(&error))?;
    }
    if !whole {
        return Err(Failure::new(
            Code::Unavailable,
            "the snapshot ended early; save it again, or from another node",
        ));
    }
    file.as_file().sync_all().map_err(|error| failed(&error))?;
    file.persist(&save.file).map_err(|error| failed(&error.error))?;
    Ok(Rendered::done(
        format!("{} saved, {bytes} bytes", save.file.display()),
        json!({"file": save.file.display().to_string(), "bytes": bytes}),
    ))
}

/// Imports a snapshot.
pub async fn import(options: &Options, import: &ImportOptions) -> Result<Rendered, Failure> {
    let unusable = |error: SnapshotError| Failure::new(Code::Usage, format!("{}: {error}", import.file.display()));
    let snapshot = SnapshotFile::open(&import.file).map_err(unusable)?;
    let mut door = Door::open(options, &import.door).await?;
    let (blocks, messages) = mpsc::channel::<ImportBlock>(MAX_READ_AHEAD_BLOCKS);
    let reading = tokio::task::spawn_blocking(move || {
        snapshot.blocks(|block| {
            let sent = blocks.blocking_send(ImportBlock { block });
            sent.map_err(|_| Stopped::ByServer)
        })
    });
    let messages = futures_util::stream::unfold(messages, |mut messages| async {
        let message = messages.recv().await?;
        Some((message, messages))
    });
    let mut request = door.stream(messages);
    request.set_timeout(TRANSFER_DEADLINE);
    let answer = door.import().import(request).await;
    match reading.await {
        // A file that ends in the middle is the reason, whatever the server made of it.
        Ok(Err(Stopped::ByFile(error))) => return Err(unusable(error)),
        Ok(Ok(()) | Err(Stopped::ByServer)) => {}
        Err(error) => return Err(Failure::new(Code::Refused, format!("reading stopped: {error}"))),
    }
    let answer = answer.map_err(refused)?.into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    Ok(Rendered::done(
        format!("{} imported at revision {revision}", import.file.display()),
        json!({"revision": revision}),
    ))
}

/// Why reading did not come to the end.
enum Stopped {
    ByServer,
    ByFile(SnapshotError),
}

impl From<SnapshotError> for Stopped {
    fn from(error: SnapshotError) -> Self {
        Stopped::ByFile(error)
    }
}

//! The stream of a snapshot: the file in chunks as etcd cuts them, then its SHA-256.
//!
//! A blocking thread writes the file into a channel of a few chunks, so a client that takes nothing stops it. Only few
//! snapshots run at a time, because each keeps the keyspace of its moment in memory.

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::Backend;
use crate::bolt::{Layout, PageSink, layout, write};
use crate::context::EMULATED_CLUSTER_VERSION;
use crate::pb::etcdserverpb::SnapshotResponse;

/// Size of a chunk, in bytes, as in etcd.
const CHUNK_BYTES: usize = 32 * 1024;

/// Chunks that wait for the client.
const MAX_WAITING_CHUNKS: usize = 8;

/// The client is gone.
struct Gone;

struct Chunks {
    buffer: Vec<u8>,
    remaining_bytes: u64,
    digest: digest::Context,
    responses: mpsc::Sender<SnapshotResponse>,
}

impl Chunks {
    fn send(&mut self, blob: Vec<u8>) -> Result<(), Gone> {
        let response = SnapshotResponse {
            // etcd fills no header here.
            header: None,
            remaining_bytes: self.remaining_bytes,
            blob: Bytes::from(blob),
            version: EMULATED_CLUSTER_VERSION.to_owned(),
        };
        self.responses.blocking_send(response).map_err(|_| Gone)
    }

    fn flush(&mut self, length: usize) -> Result<(), Gone> {
        let rest = self.buffer.split_off(length);
        let chunk = std::mem::replace(&mut self.buffer, rest);
        self.digest.update(&chunk);
        self.remaining_bytes -= chunk.len() as u64;
        self.send(chunk)
    }
}

impl PageSink for Chunks {
    type Stop = Gone;

    fn page(&mut self, page: &[u8]) -> Result<(), Gone> {
        self.buffer.extend_from_slice(page);
        while self.buffer.len() >= CHUNK_BYTES {
            self.flush(CHUNK_BYTES)?;
        }
        Ok(())
    }
}

fn run(backend: &Backend, layout: Layout, responses: mpsc::Sender<SnapshotResponse>) -> Result<(), Gone> {
    let mut chunks = Chunks {
        buffer: Vec::with_capacity(2 * CHUNK_BYTES),
        remaining_bytes: layout.file_bytes(),
        digest: digest::Context::new(&digest::SHA256),
        responses,
    };
    write(backend, layout, &mut chunks)?;
    if !chunks.buffer.is_empty() {
        chunks.flush(chunks.buffer.len())?;
    }
    let sum = chunks.digest.clone().finish();
    chunks.send(sum.as_ref().to_vec())
}

/// Streams the database file of a moment; `permit` is held until the end.
///
/// # Errors
///
/// If the system has no thread for it.
pub(crate) fn snapshot_stream(
    backend: Backend,
    permit: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Result<SnapshotResponse, Status>> + Send, Status> {
    let (responses, received) = mpsc::channel(MAX_WAITING_CHUNKS);
    let writer = std::thread::Builder::new().name("snapshot-stream".to_owned());
    let started = writer.spawn(move || {
        // Clients' other calls go first.
        quorate_raft::step_back();
        let layout = layout(&backend);
        // Nobody is left to be told.
        let _ = run(&backend, layout, responses);
        drop(permit);
    });
    started.map_err(|error| Status::resource_exhausted(format!("quorate: no thread for a snapshot: {error}")))?;
    let responses = stream::unfold(received, |mut received| async {
        let response = received.recv().await?;
        Some((response, received))
    });
    Ok(responses.map(Ok))
}

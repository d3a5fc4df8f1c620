//! Carries the bytes of one proxied connection in both directions, as the link's present faults allow.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::faults::{Direction, LinkState};

/// Most chunks that wait in one direction of a delayed or held connection.
const QUEUE_CAPACITY_CHUNKS: usize = 256;
const CHUNK_BYTES: usize = 16 * 1024;

/// Pumps until both directions have ended, one fails, or the link is reset; a failure or reset is passed on as a reset.
pub async fn pump(mut source: TcpStream, mut target: TcpStream, mut state: watch::Receiver<LinkState>) {
    let ended = {
        let (source_read, source_write) = source.split();
        let (target_read, target_write) = target.split();
        let forward = one_way(source_read, target_write, Direction::FromSource, state.clone());
        let backward = one_way(target_read, source_write, Direction::ToSource, state.clone());
        tokio::select! {
            ended = async { tokio::try_join!(forward, backward) } => ended.is_ok(),
            () = until(&mut state, |state| state.reset) => false,
        }
    };
    if !ended {
        reset(source);
        reset(target);
    }
}

/// Closes a connection so that its other end sees a reset.
pub fn reset(stream: TcpStream) {
    // An error means that the connection is gone already.
    let _ = stream.set_zero_linger();
}

/// Waits until the link's state satisfies `wanted`; for ever once the rules are gone.
pub async fn until(state: &mut watch::Receiver<LinkState>, wanted: impl FnMut(&LinkState) -> bool) {
    if state.wait_for(wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Bytes)>(QUEUE_CAPACITY_CHUNKS);
    let delays = state.clone();
    let reading = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let delay = Duration::from_millis(delays.borrow().delay_ms);
            if queue
                .send((Instant::now() + delay, Bytes::copy_from_slice(&buffer[..length])))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            until(&mut state, |state| !state.holds(direction)).await;
            to.write_all(&chunk).await?;
        }
        // The end is held back like any other packet.
        until(&mut state, |state| !state.holds(direction)).await;
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(|_: ((), ())| ())
}

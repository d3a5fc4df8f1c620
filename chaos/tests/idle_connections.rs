//! Ten thousand clients that are connected, answer pings and ask for nothing: as many as a port takes. They cost bounded
//! memory, the next one is refused at once, and those who work notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quorate_chaos::accounting::resident_kib;
use quorate_chaos::cluster::binary;
use quorate_chaos::etcd::Client;
use quorate_chaos::harness::{eventually, step};
use quorate_chaos::suites::{Members, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections that one port takes.
const CONNECTIONS: usize = 10_000;
/// Memory of the node for one of them.
const MAX_BYTES_EACH: u64 = 24 * 1024;
/// What a put of somebody else may take meanwhile, in a debug build on a busy machine.
const MAX_PUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// HTTP/2's preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEADER_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_clients_are_carried() -> Result<()> {
    let members = Members::start_with(&Program::Quorate(binary()?), 1, &[]).await?;
    let address = members.clients()[0].clone();
    let pid = members.pid(0)?;
    let mut worker = Client::connect(&members.path(0), TIMEOUT).await?;
    worker.put("k", "before").await?;
    let before = resident_kib(pid)?;

    let alive = Arc::new(AtomicUsize::new(0));
    let mut idle = tokio::task::JoinSet::new();
    step("they connect", async {
        // The worker has one of the places.
        for _ in 1..CONNECTIONS {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(HELLO).await?;
            idle.spawn(stay(stream, alive.clone()));
        }
        eventually("all are answered", TIMEOUT, async || {
            Ok((alive.load(Ordering::Relaxed) == CONNECTIONS - 1).then_some(()))
        })
        .await
    })
    .await?;

    let mut longest = Duration::ZERO;
    step("one works beside them", async {
        for number in 0..200 {
            let begun = Instant::now();
            worker.put("k", number.to_string()).await?;
            longest = longest.max(begun.elapsed());
        }
        Ok(())
    })
    .await?;
    let each = (resident_kib(pid)?.saturating_sub(before) * 1024) / CONNECTIONS as u64;
    println!("  {each} bytes for each of {CONNECTIONS}, longest put beside them {longest:.0?}");
    ensure!(alive.load(Ordering::Relaxed) == CONNECTIONS - 1, "some were let go");
    ensure!(each < MAX_BYTES_EACH, "{each} bytes for each");
    ensure!(longest < MAX_PUT, "a put took {longest:?}");

    step("the next one is refused at once", async {
        let mut stream = TcpStream::connect(&address).await?;
        let mut answer = [0; 1];
        let ended = tokio::time::timeout(TIMEOUT, stream.read(&mut answer)).await;
        // Closed in order, or reset.
        let read = ended.context("it is neither served nor refused")?;
        ensure!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        Ok(())
    })
    .await?;
    idle.shutdown().await;
    step("their places are free again", async {
        eventually("a new client is served", TIMEOUT, async || {
            let mut fresh = Client::connect(&members.path(0), MAX_PUT).await?;
            Ok(Some(fresh.put("k", "after").await?))
        })
        .await
        .map(drop)
    })
    .await?;
    members.stop().await
}

/// Answers settings and pings, as every client of HTTP/2 does, and nothing else, for as long as it is let.
async fn stay(mut stream: TcpStream, alive: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut counted = false;
    let result = answer_until_ended(&mut stream, || {
        if !std::mem::replace(&mut counted, true) {
            alive.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    if counted {
        alive.fetch_sub(1, Ordering::Relaxed);
    }
    result
}

async fn answer_until_ended(stream: &mut TcpStream, mut answered: impl FnMut()) -> std::io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    loop {
        stream.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        answered();
        if flags & ACK != 0 {
            continue;
        }
        let payload = match kind {
            SETTINGS => &[][..],
            PING => &payload[..],
            _ => continue,
        };
        let mut frame = vec![0, 0, payload.len() as u8, kind, ACK, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        stream.write_all(&frame).await?;
    }
}

//! Watch streams that count what comes, and one that does not read until the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::{Published, WATCHED_PREFIX, watched_key};
use crate::bench::peers::Peer;
use crate::etcd::{Client, Event, WatchCreateRequest, WatchRequest, WatchRequestKind, WatchResponse, prefix_end};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last events may take after the last put.
const TAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client takes that sets no window.
const USUAL_WINDOW_BYTES: u32 = 65_535;
/// Messages that a stream's sender holds.
const REQUESTS: usize = 128;

/// What streams saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub latencies: Vec<Duration>,
    /// Events that did not follow the one before, and events that never came.
    pub gaps: u64,
}

/// The number of the last event of each key that a stream watches.
#[derive(Debug, Default)]
struct Position(HashMap<Vec<u8>, u64>);

impl Position {
    /// Before the first put of each key.
    fn before(watched: &[u64]) -> Self {
        Self(watched.iter().map(|key| (watched_key(*key).into_bytes(), 0)).collect())
    }

    /// Takes an event; gives the microseconds in it and whether it follows.
    fn take(&mut self, event: &Event) -> Result<(u64, bool)> {
        let kv = event.kv.as_ref().context("an event without a key")?;
        let number = |at: usize| -> Result<u64> {
            let bytes = kv.value.get(at..at + 8).context("a value of somebody else")?;
            Ok(u64::from_be_bytes(bytes.try_into()?))
        };
        let last = self.0.get_mut(kv.key.as_ref()).context("an event of another key")?;
        let follows = number(0)? == *last + 1;
        *last = number(0)?;
        Ok((number(8)?, follows))
    }

    /// How many keys are not at the last put.
    fn behind(&self, published: &HashMap<Vec<u8>, u64>) -> u64 {
        let behind = self.0.iter().filter(|(key, last)| published.get(*key) != Some(*last));
        behind.count() as u64
    }
}

fn totals(published: &Published) -> HashMap<Vec<u8>, u64> {
    let total =
        |(key, count): (usize, &AtomicU64)| (watched_key(key as u64).into_bytes(), count.load(Ordering::Relaxed));
    published.iter().enumerate().map(total).collect()
}

/// How often each key was put in all, once that is known.
type Totals = Option<Arc<HashMap<Vec<u8>, u64>>>;

/// Streams whose events are counted as they come.
pub struct Streams {
    ending: watch::Sender<Totals>,
    tasks: JoinSet<Result<(Position, Seen)>>,
}

impl Streams {
    /// Opens `streams` with `per_stream` watches each, of the keys in turn, and waits until all stand.
    pub async fn open(
        connections: &[Client],
        streams: u64,
        per_stream: u64,
        keys: u64,
        begin: Instant,
    ) -> Result<Self> {
        let (ending, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for stream in 0..streams {
            let watched: Vec<u64> = (0..per_stream)
                .map(|watch| (stream * per_stream + watch) % keys)
                .collect();
            let client = connections[stream as usize % connections.len()].clone();
            let (responses, requests) = create(client, &watched).await?;
            let follow = Follow {
                responses,
                _requests: requests,
                position: Position::before(&watched),
                begin,
                ended: ended.clone(),
            };
            tasks.spawn(follow.run());
        }
        Ok(Self { ending, tasks })
    }

    /// Waits for what has been put and is still on its way; what does not come in time is a gap.
    pub async fn finish(mut self, published: &Published) -> Result<Seen> {
        let totals = Arc::new(totals(published));
        self.ending.send_replace(Some(totals.clone()));
        let mut seen = Seen::default();
        while let Some(task) = self.tasks.join_next().await {
            let (position, own) = task??;
            seen.gaps += own.gaps + position.behind(&totals);
            seen.latencies.extend(own.latencies);
        }
        Ok(seen)
    }
}

/// One stream.
struct Follow {
    responses: Streaming<WatchResponse>,
    /// Keeps the sending side open.
    _requests: Sender<WatchRequest>,
    position: Position,
    begin: Instant,
    ended: watch::Receiver<Totals>,
}

impl Follow {
    async fn run(mut self) -> Result<(Position, Seen)> {
        let mut seen = Seen::default();
        loop {
            let totals = self.ended.borrow_and_update().clone();
            if let Some(totals) = totals {
                // What is behind after this is what never came.
                let rest = self.read_until(&totals, &mut seen);
                if let Ok(read) = tokio::time::timeout(TAIL_TIMEOUT, rest).await {
                    read?;
                }
                return Ok((self.position, seen));
            }
            tokio::select! {
                response = self.responses.message() => {
                    let response = response?.context("a watch stream ended")?;
                    count(&response, &mut self.position, self.begin, &mut seen)?;
                }
                changed = self.ended.changed() => changed?,
            }
        }
    }

    async fn read_until(&mut self, totals: &HashMap<Vec<u8>, u64>, seen: &mut Seen) -> Result<()> {
        while self.position.behind(totals) > 0 {
            let response = self.responses.message().await?.context("a watch stream ended")?;
            count(&response, &mut self.position, self.begin, seen)?;
        }
        Ok(())
    }
}

fn count(response: &WatchResponse, position: &mut Position, begin: Instant, seen: &mut Seen) -> Result<()> {
    ensure!(!response.canceled, "a watch was cancelled: {}", response.cancel_reason);
    let now = begin.elapsed();
    for event in &response.events {
        let (micros, follows) = position.take(event)?;
        seen.gaps += u64::from(!follows);
        seen.latencies.push(now.saturating_sub(Duration::from_micros(micros)));
    }
    Ok(())
}

/// A stream with a watch of each key, all of which stand.
async fn create(mut client: Client, watched: &[u64]) -> Result<(Streaming<WatchResponse>, Sender<WatchRequest>)> {
    let (requests, receiver) = tokio::sync::mpsc::channel(REQUESTS);
    let create = |key: &u64| WatchRequest {
        request: Some(WatchRequestKind::Create(WatchCreateRequest {
            key: watched_key(*key).into(),
            ..WatchCreateRequest::default()
        })),
    };
    for request in watched.iter().map(create) {
        requests
            .try_send(request)
            .context("more watches than a stream's sender holds")?;
    }
    let mut responses = client.stream("/etcdserverpb.Watch/Watch", receiver).await?;
    for _ in watched {
        let response: WatchResponse = responses.message().await?.context("a watch stream ended")?;
        ensure!(
            response.created && !response.canceled,
            "a watch was refused: {}",
            response.cancel_reason
        );
    }
    Ok((responses, requests))
}

/// A consumer of every key, with a window as clients usually have, that does not read.
pub struct Stalled {
    responses: Streaming<WatchResponse>,
    _requests: Sender<WatchRequest>,
}

impl Stalled {
    /// Opens the watch on the first node.
    pub async fn open(peer: &Peer) -> Result<Self> {
        let options = &peer.access()[0];
        let mut client = Client::connect_with_window(options, CONNECT_TIMEOUT, USUAL_WINDOW_BYTES).await?;
        let (requests, receiver) = tokio::sync::mpsc::channel(REQUESTS);
        let create = WatchCreateRequest {
            key: WATCHED_PREFIX.into(),
            range_end: prefix_end(WATCHED_PREFIX),
            ..WatchCreateRequest::default()
        };
        requests.try_send(WatchRequest {
            request: Some(WatchRequestKind::Create(create)),
        })?;
        let mut responses = client.stream("/etcdserverpb.Watch/Watch", receiver).await?;
        let first: WatchResponse = responses.message().await?.context("the watch stream ended")?;
        ensure!(first.created, "the watch was refused: {}", first.cancel_reason);
        Ok(Self {
            responses,
            _requests: requests,
        })
    }

    /// Begins to read, and gives the number of gaps up to the last put.
    pub async fn read_to_end(mut self, published: &Published) -> Result<u64> {
        let totals = totals(published);
        let every: Vec<u64> = (0..published.len() as u64).collect();
        let (mut position, mut seen) = (Position::before(&every), Seen::default());
        let reading = async {
            while position.behind(&totals) > 0 {
                let response = self.responses.message().await?.context("the watch stream ended")?;
                count(&response, &mut position, Instant::now(), &mut seen)?;
            }
            anyhow::Ok(())
        };
        if let Ok(read) = tokio::time::timeout(TAIL_TIMEOUT, reading).await {
            read?;
        }
        Ok(seen.gaps + position.behind(&totals))
    }
}

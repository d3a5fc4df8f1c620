//! A network that delays, cuts and loses, and knows which nodes live.
//!
//! Connections behave like TCP: frames of a stream arrive in order or not at all; a cut holds them up, and a long one breaks
//! the connection. Links are cut one way at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use openraft::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};
use tokio::sync::mpsc;

use super::Random;
use crate::network::{Frames, Peer, PeerHandler, Purpose, StreamKind, Transport, TransportError};

/// How long a connection lives on a link that is cut.
const CUT_BREAKS_AFTER: Duration = Duration::from_secs(2);
/// How often a waiting end looks whether its link or peer is back.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Frames under way on one stream.
const STREAM_FRAMES: usize = 256;
/// One-way delays, in microseconds: usual ones and the rare long ones.
const DELAY_MICROS: (u64, u64) = (100, 1_500);
const LONG_DELAY_MICROS: u64 = 20_000;
const LONG_DELAY_ONE_IN: u64 = 50;

struct State {
    random: Random,
    handlers: BTreeMap<u64, Arc<dyn PeerHandler>>,
    /// Rises with every start and end of a node: what belongs to an older run is dead.
    runs: BTreeMap<u64, u64>,
    cut: BTreeSet<(u64, u64)>,
}

/// The network of all nodes.
#[derive(Clone)]
pub(crate) struct SimNetwork {
    state: Arc<Mutex<State>>,
}

/// One run of one node's end of the network.
#[derive(Clone)]
pub(crate) struct SimTransport {
    network: SimNetwork,
    id: u64,
    run: u64,
}

/// Two ends of a connection, each with the run that it belongs to.
#[derive(Clone, Copy)]
struct Connection {
    from: (u64, u64),
    to: (u64, u64),
}

impl Connection {
    fn back(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }
}

impl SimNetwork {
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            handlers: BTreeMap::new(),
            runs: BTreeMap::new(),
            cut: BTreeSet::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport of a new run of a node; [`Self::listen`] makes it reachable.
    pub fn transport(&self, id: u64) -> SimTransport {
        let mut state = self.state();
        let run = state.runs.entry(id).or_insert(0);
        *run += 1;
        SimTransport {
            network: self.clone(),
            id,
            run: *run,
        }
    }

    /// From now on the node answers.
    pub fn listen(&self, id: u64, handler: Arc<dyn PeerHandler>) {
        self.state().handlers.insert(id, handler);
    }

    /// The node's process ends: its connections are reset, new ones refused.
    pub fn kill(&self, id: u64) {
        let mut state = self.state();
        state.handlers.remove(&id);
        *state.runs.entry(id).or_insert(0) += 1;
    }

    /// Cuts or mends one direction of a link.
    pub fn set_cut(&self, from: u64, to: u64, cut: bool) {
        let mut state = self.state();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    /// Mends everything.
    pub fn heal(&self) {
        self.state().cut.clear();
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.state().cut.contains(&(from, to))
    }

    fn delay(&self) -> Duration {
        let random = &mut self.state().random;
        let (least, most) = DELAY_MICROS;
        let usual = least + random.below(most - least);
        let long = if random.below(LONG_DELAY_ONE_IN) == 0 {
            random.below(LONG_DELAY_MICROS)
        } else {
            0
        };
        Duration::from_micros(usual + long)
    }

    fn is_alive(&self, connection: Connection) -> bool {
        let state = self.state();
        [connection.from, connection.to]
            .iter()
            .all(|(id, run)| state.runs.get(id) == Some(run))
    }

    /// Waits until something under way can arrive.
    async fn pass(&self, connection: Connection) -> Result<(), TransportError> {
        let (from, to) = (connection.from.0, connection.to.0);
        let begun = SimInstant::now();
        loop {
            if !self.is_alive(connection) {
                return Err(TransportError::Lost("reset".to_owned()));
            }
            if !self.is_cut(from, to) {
                return Ok(());
            }
            if begun.elapsed() > CUT_BREAKS_AFTER {
                return Err(TransportError::Lost("timed out".to_owned()));
            }
            SimRuntime::sleep(LOOK_PAUSE).await;
        }
    }

    /// Carries a stream over a connection: each item arrives after its delay, in order.
    fn carry(
        &self,
        connection: Connection,
        items: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    ) -> Frames {
        let (sender, under_way) = mpsc::channel(STREAM_FRAMES);
        let network = self.clone();
        let _detached = SimRuntime::spawn(async move {
            let mut items = Box::pin(items);
            let mut last = SimInstant::now();
            while let Some(item) = items.next().await {
                last = last.max(SimInstant::now() + network.delay());
                if sender.send((last, item)).await.is_err() {
                    return;
                }
            }
        });
        let network = self.clone();
        futures_util::stream::unfold(Some(under_way), move |under_way| {
            let network = network.clone();
            async move {
                let mut under_way = under_way?;
                let (arrives, item) = loop {
                    match SimRuntime::timeout(LOOK_PAUSE, under_way.recv()).await {
                        Ok(received) => break received?,
                        Err(_) if network.is_alive(connection) => {}
                        Err(_) => return Some((Err(TransportError::Lost("reset".to_owned())), None)),
                    }
                };
                SimRuntime::sleep_until(arrives).await;
                match network.pass(connection).await {
                    Ok(()) if item.is_ok() => Some((item, Some(under_way))),
                    Ok(()) => Some((item, None)),
                    Err(error) => Some((Err(error), None)),
                }
            }
        })
        .boxed()
    }
}

impl SimTransport {
    /// Connects: the way there has to be open.
    async fn connect(&self, to: u64) -> Result<(Connection, Arc<dyn PeerHandler>), TransportError> {
        SimRuntime::sleep(self.network.delay()).await;
        let (handler, run) = {
            let state = self.network.state();
            (
                state.handlers.get(&to).cloned(),
                state.runs.get(&to).copied().unwrap_or(0),
            )
        };
        let connection = Connection {
            from: (self.id, self.run),
            to: (to, run),
        };
        self.network.pass(connection).await?;
        match handler {
            Some(handler) => Ok((connection, handler)),
            None => Err(TransportError::Unreachable("refused".to_owned())),
        }
    }
}

impl Transport for SimTransport {
    async fn call(&self, to: &Peer, _purpose: Purpose, frame: Bytes) -> Result<Bytes, TransportError> {
        let (connection, handler) = self.connect(to.id).await?;
        // The other side goes on even if the caller gives up.
        let answer = SimRuntime::spawn(handler.call(self.id, frame)).await;
        let answer = answer.map_err(|error| TransportError::Lost(error.to_string()))?;
        SimRuntime::sleep(self.network.delay()).await;
        self.network.pass(connection.back()).await?;
        answer.map_err(TransportError::Lost)
    }

    async fn stream(
        &self,
        to: &Peer,
        _purpose: Purpose,
        kind: StreamKind,
        frames: BoxStream<'static, Bytes>,
    ) -> Result<Frames, TransportError> {
        let (connection, handler) = self.connect(to.id).await?;
        let incoming = self.network.carry(connection, frames.map(Ok));
        let answers = handler.stream(self.id, kind, incoming);
        let answers = answers.map(|answer| answer.map_err(TransportError::Lost));
        Ok(self.network.carry(connection.back(), answers))
    }

    async fn is_refused(&self, to: &Peer) -> bool {
        matches!(self.connect(to.id).await, Err(TransportError::Unreachable(_)))
    }
}

//! The clients of one connection: each has one call under way, and begins the next when it is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::connection::{Connection, Ended};
use super::requests::Requests;
use super::{CONNECT_TIMEOUT, CONNECTIONS_PER_NODE, KEYS, Operation};
use crate::bench::peers::Peer;
use crate::etcd::Client;

/// Calls are made and not counted.
pub const WARMING_UP: u8 = 0;
/// What ends now counts.
pub const COUNTING: u8 = 1;
/// No further calls.
pub const ENDING: u8 = 2;

/// How long a connection may be silent, and the last calls may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

struct OneClient {
    random: u64,
    started: Instant,
    /// What the answer to the call under way has at least.
    least_answer_bytes: usize,
}

/// Some of the clients, and their connection.
pub struct Calls {
    connection: Connection,
    operation: Operation,
    requests: Requests,
    clients: Vec<OneClient>,
    /// Clients whose call does not fit the connection's window yet.
    waiting: VecDeque<usize>,
    latencies: Vec<Duration>,
    failures: usize,
}

/// Divides clients among connections, and these among the nodes.
pub async fn open(peer: &Peer, operation: Operation, clients: usize) -> Result<Vec<Calls>> {
    let access = peer.access();
    let connections = (access.len() * CONNECTIONS_PER_NODE).min(clients);
    let mut tokens = Vec::new();
    for options in &access {
        tokens.push(
            Client::connect(options, CONNECT_TIMEOUT)
                .await?
                .token()
                .map(str::to_owned),
        );
    }
    let mut all = Vec::new();
    for number in 0..connections {
        let node = number % access.len();
        let options = &access[node];
        let opening = Connection::open(options, tokens[node].as_deref(), Requests::path(operation));
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, opening).await;
        let clients = (number..clients).step_by(connections);
        all.push(Calls {
            connection: connection
                .context("no answer")
                .flatten()
                .with_context(|| options.endpoint.clone())?,
            operation,
            requests: Requests::new(operation)?,
            clients: clients.map(OneClient::new).collect(),
            waiting: VecDeque::new(),
            latencies: Vec::with_capacity(1 << 16),
            failures: 0,
        });
    }
    Ok(all)
}

impl OneClient {
    fn new(seed: usize) -> Self {
        Self {
            random: (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            started: Instant::now(),
            least_answer_bytes: 0,
        }
    }

    /// Xorshift.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Calls {
    /// Calls until `phase` is [`ENDING`] and every call is over; gives how long those took that ended while it was [`COUNTING`],
    /// and how many of them failed or had less of an answer than there must be.
    ///
    /// # Errors
    ///
    /// If the connection ends, or a call does not.
    pub async fn run(mut self, phase: Arc<AtomicU8>) -> Result<(Vec<Duration>, usize)> {
        self.waiting.extend(0..self.clients.len());
        let mut ended = Vec::new();
        while phase.load(Ordering::Relaxed) != ENDING {
            self.begin_waiting();
            let exchange = self.connection.exchange(&mut ended);
            tokio::time::timeout(ANSWER_TIMEOUT, exchange)
                .await
                .context("a connection without an answer")??;
            let counting = phase.load(Ordering::Relaxed) == COUNTING;
            self.note(&mut ended, counting);
        }
        let rest = async {
            while self.connection.open_calls() > 0 {
                self.connection.exchange(&mut ended).await?;
                ended.clear();
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(ANSWER_TIMEOUT, rest)
            .await
            .context("calls without an answer")??;
        Ok((self.latencies, self.failures))
    }

    fn note(&mut self, ended: &mut Vec<Ended>, counting: bool) {
        for Ended { caller, answer_bytes } in ended.drain(..) {
            let client = &self.clients[caller];
            if counting && answer_bytes >= client.least_answer_bytes {
                self.latencies.push(client.started.elapsed());
            } else if counting {
                self.failures += 1;
            }
            self.waiting.push_back(caller);
        }
    }

    fn begin_waiting(&mut self) {
        let most = self.requests.max_bytes();
        while self.connection.has_room(most)
            && let Some(caller) = self.waiting.pop_front()
        {
            let client = &mut self.clients[caller];
            let random = client.next();
            client.started = Instant::now();
            let turn = random >> 40;
            client.least_answer_bytes = Requests::least_answer_bytes(self.operation, turn);
            let request = self.requests.request(turn, random % KEYS);
            self.connection.call(caller, request);
        }
    }
}

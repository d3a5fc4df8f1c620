//! A small name server on loopback, so that a test owns the names it probes by: it answers, forgets, falls silent.
//!
//! It speaks just enough of RFC 1035 for stub resolvers over UDP: A and AAAA of the names it was given, NXDOMAIN for all
//! others. No zones, no TCP, no recursion.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// How often the server looks whether it is to end.
const POLL: Duration = Duration::from_millis(50);
const MAX_MESSAGE_BYTES: usize = 1232;
const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const NO_ERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
/// Response, recursion desired and available.
const FLAGS: u16 = 0x8180;
/// Pointer to the name in the question.
const SAME_NAME: u16 = 0xc00c;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// It answers what it knows.
    #[default]
    Answering,
    /// It answers nothing, like a dead host.
    Silent,
    /// It answers SERVFAIL, like a resolver that has lost its upstream.
    Failing,
}

#[derive(Default)]
struct Zone {
    mode: DnsMode,
    names: BTreeMap<String, (Vec<IpAddr>, u32)>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    queries: AtomicUsize,
    stop: AtomicBool,
}

/// A running name server; it ends when it is dropped.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts a server that knows no name, on a free port of 127.0.0.1.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).context("a name server's port")?;
        socket.set_read_timeout(Some(POLL))?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared::default());
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || serve(&socket, &served))?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives `name` these addresses, for `ttl_seconds`; none: the name exists and has no address.
    pub fn set(&self, name: &str, addresses: &[IpAddr], ttl_seconds: u32) {
        let entry = (addresses.to_vec(), ttl_seconds);
        self.zone(|zone| drop(zone.names.insert(name.to_ascii_lowercase(), entry)));
    }

    /// From now on the name does not exist.
    pub fn remove(&self, name: &str) {
        self.zone(|zone| drop(zone.names.remove(&name.to_ascii_lowercase())));
    }

    /// Behaves like this from now on.
    pub fn set_mode(&self, mode: DnsMode) {
        self.zone(|zone| zone.mode = mode);
    }

    /// Queries received since the start, answered or not; one lookup is a query for each family of addresses.
    pub fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::SeqCst)
    }

    fn zone(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.shared.zone.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    while !shared.stop.load(Ordering::SeqCst) {
        // An error is the time-out of the poll, or that a client closed its port before the answer came.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        shared.queries.fetch_add(1, Ordering::SeqCst);
        let zone = shared.zone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer(&buffer[..length], &zone) {
            // A lost answer is what UDP promises.
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// The answer to a query; `None` to be silent, also to what is no query.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, after_name) = question_name(query)?;
    let question = query.get(HEADER_BYTES..after_name + 4)?;
    let kind = u16::from_be_bytes([*query.get(after_name)?, *query.get(after_name + 1)?]);
    let known = zone.names.get(&name);
    let code = match (zone.mode, known) {
        (DnsMode::Silent, _) => return None,
        (DnsMode::Failing, _) => SERVFAIL,
        (DnsMode::Answering, Some(_)) => NO_ERROR,
        (DnsMode::Answering, None) => NXDOMAIN,
    };
    let mut records = Vec::new();
    let mut count: u16 = 0;
    let (addresses, ttl) = known.filter(|_| code == NO_ERROR).cloned().unwrap_or_default();
    for address in addresses {
        let (own_kind, data) = match address {
            IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
            IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
        };
        if own_kind == kind {
            for field in [SAME_NAME, kind, CLASS_IN] {
                records.extend(field.to_be_bytes());
            }
            records.extend(ttl.to_be_bytes());
            records.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            records.extend(data);
            count += 1;
        }
    }
    let mut message = query.get(..2)?.to_vec();
    for field in [FLAGS | u16::from(code), 1, count, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    message.extend(question);
    message.extend(records);
    Some(message)
}

/// The lower-case name of the first question, without the final dot, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

//! What the endpoint knows of its clients: which application processes watch their keys, and which keys of the service's
//! own tree were asked for that it does not have.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quorate_machine::Id;

/// Root of the keys that the machine writes.
const SERVICE_PREFIX: &[u8] = b"/mas-monitor/";

/// Root of the keys that an SDK watches.
const STATUS_PREFIX: &[u8] = b"/mas-monitor/status/";

/// Precedes the application in a key.
const APPLICATION_MARK: &[u8] = b"/services/";

/// Watch streams that are counted on one node, over all instances.
pub const MAX_PROCESSES: usize = 100_000;

/// Remembered pairs of client and unknown key; later ones are not logged.
pub const MAX_UNKNOWN_KEYS: usize = 1_024;

/// Longest application in a key that is counted, in bytes; real ones are ids of 32.
const MAX_APPLICATION_BYTES: usize = 128;

/// What is kept of an unknown key, in bytes; real ones are shorter.
const MAX_UNKNOWN_KEY_BYTES: usize = 512;

/// An application process, seen by an authenticated watch stream on its application's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedProcess {
    pub instance: Id,
    /// The application's id as it stands in the key.
    pub application: String,
    /// KV user of the stream.
    pub user: String,
    /// Address of the client, `ip:port`.
    pub source: String,
    /// Watchers of the stream on the application's keys.
    pub watches: usize,
    /// When the stream made the first of them, by this node's clock.
    pub since: SystemTime,
}

/// A key below `/mas-monitor/` that a client asked for and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownKey {
    pub instance: Id,
    /// Address of the client, without the port.
    pub client: String,
    /// Its first 512 bytes.
    pub key: String,
}

/// Registry of clients, one for all doors of a node.
#[derive(Debug, Default)]
pub struct Clients {
    /// By stream and application.
    processes: Mutex<BTreeMap<(u64, String), ConnectedProcess>>,
    unknown: Mutex<std::collections::BTreeSet<UnknownKey>>,
}

impl Clients {
    /// An empty registry.
    pub fn new() -> Clients {
        Clients::default()
    }

    /// Application processes that are connected to this node now.
    pub fn connected_processes(&self) -> Vec<ConnectedProcess> {
        lock(&self.processes).values().cloned().collect()
    }

    /// Unknown keys that clients asked this node for since it started, at most [`MAX_UNKNOWN_KEYS`].
    pub fn unknown_keys(&self) -> Vec<UnknownKey> {
        lock(&self.unknown).iter().cloned().collect()
    }

    /// Counts a watcher of a stream if it is one of an SDK: with a user, on an application's status keys.
    pub(crate) fn watch_created(&self, stream: u64, instance: Id, user: &str, source: &str, key: &[u8]) {
        let Some(application) = application_of(key).filter(|_| !user.is_empty()) else {
            return;
        };
        let mut processes = lock(&self.processes);
        let entry = (stream, application);
        if let Some(process) = processes.get_mut(&entry) {
            process.watches += 1;
        } else if processes.len() < MAX_PROCESSES {
            let process = ConnectedProcess {
                instance,
                application: entry.1.clone(),
                user: user.to_owned(),
                source: source.to_owned(),
                watches: 1,
                since: SystemTime::now(),
            };
            processes.insert(entry, process);
        }
    }

    pub(crate) fn stream_ended(&self, stream: u64) {
        let mut processes = lock(&self.processes);
        let entries = processes
            .range((stream, String::new())..)
            .take_while(|((of, _), _)| *of == stream);
        let entries: Vec<_> = entries.map(|(entry, _)| entry.clone()).collect();
        for entry in entries {
            processes.remove(&entry);
        }
    }

    /// Logs a key below `/mas-monitor/` that does not exist, once per client.
    pub(crate) fn key_not_found(&self, instance: Id, source: &str, key: &[u8]) {
        if !key.starts_with(SERVICE_PREFIX) {
            return;
        }
        let entry = UnknownKey {
            instance,
            client: source
                .rsplit_once(':')
                .map_or(source, |(address, _)| address)
                .to_owned(),
            key: String::from_utf8_lossy(&key[..key.len().min(MAX_UNKNOWN_KEY_BYTES)]).into_owned(),
        };
        let mut unknown = lock(&self.unknown);
        if unknown.len() < MAX_UNKNOWN_KEYS && !unknown.contains(&entry) {
            tracing::warn!(
                client = entry.client,
                key = entry.key,
                "a client asked for a key that does not exist"
            );
            unknown.insert(entry);
        }
    }
}

fn application_of(key: &[u8]) -> Option<String> {
    if !key.starts_with(STATUS_PREFIX) {
        return None;
    }
    let mark = key
        .windows(APPLICATION_MARK.len())
        .position(|window| window == APPLICATION_MARK)?;
    let rest = &key[mark + APPLICATION_MARK.len()..];
    let application = rest
        .split(|byte| *byte == b'/')
        .next()
        .filter(|name| !name.is_empty() && name.len() <= MAX_APPLICATION_BYTES)?;
    std::str::from_utf8(application).ok().map(str::to_owned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: Id = Id::from_u128(1);

    #[test]
    fn sdk_streams_are_counted_per_application() {
        let clients = Clients::new();
        let active = b"/mas-monitor/status/db/services/app1/m1/database/orders/active";
        clients.watch_created(1, INSTANCE, "mas", "10.0.0.1:5", active);
        clients.watch_created(
            1,
            INSTANCE,
            "mas",
            "10.0.0.1:5",
            b"/mas-monitor/status/dcs/services/app1/m2/active",
        );
        clients.watch_created(2, INSTANCE, "", "10.0.0.2:5", active);
        clients.watch_created(3, INSTANCE, "mas", "10.0.0.3:5", b"/orders/1");
        let endless = format!("/mas-monitor/status/db/services/{}/m", "a".repeat(1_000_000));
        clients.watch_created(4, INSTANCE, "mas", "10.0.0.4:5", endless.as_bytes());
        let processes = clients.connected_processes();
        assert_eq!(processes.len(), 1);
        assert_eq!((processes[0].application.as_str(), processes[0].watches), ("app1", 2));
        clients.stream_ended(1);
        assert!(clients.connected_processes().is_empty());
    }

    #[test]
    fn unknown_keys_are_kept_once_per_client() {
        let clients = Clients::new();
        for source in ["10.0.0.1:5", "10.0.0.1:6", "10.0.0.2:5"] {
            clients.key_not_found(INSTANCE, source, b"/mas-monitor/conf/dds/services/a/m/servers");
            clients.key_not_found(INSTANCE, source, b"/other");
        }
        clients.key_not_found(
            INSTANCE,
            "10.0.0.1:5",
            &[b"/mas-monitor/", &[0xff; 1_000_000][..]].concat(),
        );
        let longest = clients.unknown_keys().into_iter().map(|entry| entry.key.len()).max();
        assert!(longest < Some(2_000), "{longest:?}");
        let found: Vec<String> = clients.unknown_keys().into_iter().map(|key| key.client).collect();
        assert_eq!(found, ["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    }
}

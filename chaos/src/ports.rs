//! Port offsets for development clusters, so that clusters that run side by side do not meet.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// The ports of a development cluster at offset 0; the highest stays below the ephemeral range at every offset used.
const PORTS: [u16; 18] = [
    2379, 2380, 2401, 2402, 2403, 2404, 8443, 22379, 22380, 22401, 22402, 18443, 32379, 32380, 32401, 32402, 28443,
    28444,
];
const OFFSET_STEP: u16 = 30;
const OFFSET_LIMIT: u16 = 360;

/// An offset that is this process's own until dropped.
#[derive(Debug)]
pub struct PortOffset {
    pub value: u16,
    _lock: File,
}

/// Takes a free offset; fails if every one is in use.
pub fn take() -> Result<PortOffset> {
    for value in (OFFSET_STEP..OFFSET_LIMIT).step_by(usize::from(OFFSET_STEP)) {
        if let Some(lock) = lock(value)?
            && PORTS
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", port + value)).is_ok())
        {
            return Ok(PortOffset { value, _lock: lock });
        }
    }
    bail!("no free port offset below {OFFSET_LIMIT}: stop other development clusters first")
}

/// Offset 0, the documented ports, for the demonstration; fails if something listens there.
pub fn documented() -> Result<PortOffset> {
    let lock = lock(0)?.context("another development cluster uses the documented ports; stop it first")?;
    for port in PORTS {
        TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("port {port} is taken; free it and try again"))?;
    }
    Ok(PortOffset { value: 0, _lock: lock })
}

fn lock(value: u16) -> Result<Option<File>> {
    let path = std::env::temp_dir().join(format!("quorate-ports-{value}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    Ok(flock(&file, FlockOperation::NonBlockingLockExclusive)
        .is_ok()
        .then_some(file))
}

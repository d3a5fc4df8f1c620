//! Ports that parallel tests, in this and in other processes, do not take from each other.

use std::{
    fs::{self, File},
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Ports in one block.
pub const PORTS_PER_BLOCK: u16 = 10;

/// First port handed out. The range ends below the ephemeral ports (32768) and below the ports of a development cluster
/// of its own (18443, 22379, 28443, 32379).
const FIRST_PORT: u16 = 10_000;
const BLOCKS: u16 = 800;

/// Start of the next search in this process, so that a block just given back rests for a while.
static NEXT_BLOCK: AtomicU32 = AtomicU32::new(0);

/// Ten adjacent free ports. A locked file per block keeps other processes away for as long as this value lives.
#[derive(Debug)]
pub struct PortBlock {
    base: u16,
    /// The lock ends with the file.
    _lock: File,
}

impl PortBlock {
    /// Claims a free block: nobody else holds it and every port of it can be bound on 127.0.0.1 now.
    ///
    /// # Errors
    /// No block is free, or the lock files cannot be written.
    pub fn claim() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("quorate-ports-{}", rustix::process::geteuid().as_raw()));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        for _ in 0..BLOCKS {
            let turn = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed);
            let block = (std::process::id().wrapping_mul(7).wrapping_add(turn) % u32::from(BLOCKS)) as u16;
            let base = FIRST_PORT + block * PORTS_PER_BLOCK;
            let path = directory.join(format!("{base}.lock"));
            let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && (base..base + PORTS_PER_BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            {
                return Ok(Self { base, _lock: lock });
            }
        }
        bail!(
            "no block of {PORTS_PER_BLOCK} free ports between {FIRST_PORT} and {}",
            FIRST_PORT + BLOCKS * PORTS_PER_BLOCK
        )
    }

    /// The block's port `index`.
    ///
    /// # Panics
    /// `index` is not below [`PORTS_PER_BLOCK`].
    pub fn port(&self, index: u16) -> u16 {
        assert!(index < PORTS_PER_BLOCK, "a block has {PORTS_PER_BLOCK} ports");
        self.base + index
    }
}

#[cfg(test)]
mod tests {
    use super::PortBlock;

    #[test]
    fn blocks_do_not_overlap() {
        let blocks: Vec<_> = (0..5).map(|_| PortBlock::claim().unwrap()).collect();
        let mut bases: Vec<u16> = blocks.iter().map(|block| block.port(0)).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), 5);
    }
}

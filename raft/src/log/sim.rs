//! A simulated disk: the same engine contract on virtual time, with every way a disk fails that the log must survive.
//!
//! [`SimDisk`] is the medium and outlives the node; [`SimEngine`] is one mounting of it. Latency, what survives a crash
//! and where a write tears come from a seed that the caller gives, so equal seeds give equal runs.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;

use super::engine::{Acknowledged, Batch, Location, LogEngine, LogReads, Operation, StoredMeta};

/// How a simulated disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimDiskOptions {
    pub seed: u64,
    /// Shortest and longest duration of a sync; each is drawn between them.
    pub latency: (Duration, Duration),
    /// Whether a crash may leave the first operations of a batch that was being written.
    pub tear: bool,
}

impl Default for SimDiskOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: (Duration::from_micros(80), Duration::from_micros(400)),
            tear: true,
        }
    }
}

/// The medium. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct SimDisk {
    medium: Arc<Mutex<Medium>>,
}

#[derive(Debug)]
struct Medium {
    options: SimDiskOptions,
    random: u64,
    /// What survives a crash for certain.
    durable: Image,
    /// Written after that, in order.
    unsynced: Vec<Batch>,
    watermark: Acknowledged,
    noted_end: u64,
    /// Rises with every crash and mounting; older engines reach the medium no more.
    mounting: u64,
    stall: Duration,
    failing: bool,
}

#[derive(Debug, Default)]
struct Image {
    entries: BTreeMap<u64, Bytes>,
    meta: StoredMeta,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(options: SimDiskOptions) -> Self {
        let medium = Medium {
            options,
            random: options.seed,
            durable: Image::default(),
            unsynced: Vec::new(),
            watermark: Acknowledged::default(),
            noted_end: 0,
            mounting: 0,
            stall: Duration::ZERO,
            failing: false,
        };
        Self {
            medium: Arc::new(Mutex::new(medium)),
        }
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().expect("no panic while the disk is locked")
    }

    /// Mounts the disk; engines mounted before lose it.
    pub fn mount<RT: AsyncRuntime>(&self) -> SimEngine<RT> {
        let mut medium = self.medium();
        medium.mounting += 1;
        medium.settle();
        SimEngine {
            disk: self.clone(),
            mounting: medium.mounting,
            found: medium.watermark,
            runtime: PhantomData,
        }
    }

    /// The machine loses power: of what was not synced, an unforeseeable part survives, in order.
    pub fn crash(&self) {
        let mut medium = self.medium();
        medium.mounting += 1;
        let unsynced = medium.unsynced.len() as u64;
        let surviving = medium.draw(unsynced + 1) as usize;
        let mut lost = medium.unsynced.split_off(surviving);
        medium.settle();
        if medium.options.tear && !lost.is_empty() {
            let kept = medium.draw(lost[0].operations.len() as u64 + 1) as usize;
            lost[0].operations.truncate(kept);
            medium.durable.apply(lost.swap_remove(0));
        }
        if medium.draw(2) == 0 {
            medium.watermark.end = medium.watermark.end.max(medium.noted_end);
        }
        medium.noted_end = medium.watermark.end;
    }

    /// The next sync takes this much longer.
    pub fn stall_next(&self, duration: Duration) {
        self.medium().stall = duration;
    }

    /// From now on every write fails with EIO, or works again.
    pub fn set_failing(&self, failing: bool) {
        self.medium().failing = failing;
    }

    /// The disk lied: synced entries from this index on are gone. Mount again to see it.
    pub fn lose_from(&self, index: u64) {
        self.medium().durable.entries.split_off(&index);
    }

    /// Flips one bit of a stored entry; false if there is no such entry.
    pub fn flip_bit(&self, index: u64, bit: usize) -> bool {
        let mut medium = self.medium();
        let Some(bytes) = medium.durable.entries.get_mut(&index) else {
            return false;
        };
        let mut damaged = bytes.to_vec();
        let at = bit / 8 % damaged.len();
        damaged[at] ^= 1 << (bit % 8);
        *bytes = damaged.into();
        true
    }
}

impl Medium {
    /// A number below `bound`, from the seed (SplitMix64).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn latency(&mut self) -> Duration {
        let (least, most) = self.options.latency;
        let spread = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(self.draw(spread + 1)) + std::mem::take(&mut self.stall)
    }

    /// Everything written becomes durable.
    fn settle(&mut self) {
        for batch in std::mem::take(&mut self.unsynced) {
            self.durable.apply(batch);
        }
    }
}

impl Image {
    fn apply(&mut self, batch: Batch) {
        for operation in batch.operations {
            match operation {
                Operation::Put { index, bytes } => {
                    self.entries.insert(index, bytes);
                }
                Operation::TruncateFrom(index) => {
                    self.entries.split_off(&index);
                }
                Operation::Purge { end, purged } => {
                    self.entries = self.entries.split_off(&end);
                    self.meta.purged = Some(purged);
                }
                Operation::Vote(vote) => self.meta.vote = Some(vote),
                Operation::Committed(committed) => self.meta.committed = committed,
            }
        }
    }
}

/// The disk as one run of a node has it mounted.
pub struct SimEngine<RT> {
    disk: SimDisk,
    mounting: u64,
    found: Acknowledged,
    runtime: PhantomData<fn() -> RT>,
}

impl<RT> SimEngine<RT> {
    fn medium(&self) -> io::Result<MutexGuard<'_, Medium>> {
        let medium = self.disk.medium();
        if medium.mounting != self.mounting {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the machine has crashed"));
        }
        if medium.failing {
            return Err(io::Error::other("simulated input/output error"));
        }
        Ok(medium)
    }
}

impl<RT: AsyncRuntime> LogReads for SimEngine<RT> {
    fn meta(&self) -> io::Result<StoredMeta> {
        Ok(self.medium()?.durable.meta.clone())
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let medium = self.medium()?;
        let mut bytes = 0;
        let fitting = medium
            .durable
            .entries
            .range(range)
            .enumerate()
            .take_while(|(at, (_, entry))| {
                bytes += entry.len();
                *at == 0 || bytes <= max_bytes
            });
        Ok(fitting.map(|(_, (index, entry))| (*index, entry.clone())).collect())
    }

    fn acknowledged(&self) -> Acknowledged {
        self.found
    }

    fn location(&self) -> Location {
        Location {
            log: "the simulated disk".into(),
            watermark: "the simulated watermark".into(),
            write_ahead: "simulated".into(),
        }
    }
}

impl<RT: AsyncRuntime> LogEngine for SimEngine<RT> {
    async fn write(&self, batch: Batch) -> io::Result<()> {
        let latency = {
            let mut medium = self.disk.medium();
            if medium.mounting == self.mounting {
                // What a failing write leaves behind is unknown, so it may survive.
                let sync = batch.sync;
                medium.unsynced.push(batch);
                sync.then(|| medium.latency())
            } else {
                None
            }
        };
        if let Some(latency) = latency {
            RT::sleep(latency).await;
            self.medium()?.settle();
        }
        self.medium().map(|_| ())
    }

    fn note_acknowledged(&self, end: u64) -> io::Result<()> {
        let mut medium = self.medium()?;
        medium.noted_end = medium.noted_end.max(end);
        Ok(())
    }

    async fn raise_watermark(&self, end: u64, vote: (u64, u64)) -> io::Result<()> {
        let latency = self.medium()?.latency();
        RT::sleep(latency).await;
        let mut medium = self.medium()?;
        medium.noted_end = medium.noted_end.max(end);
        medium.watermark = Acknowledged {
            end: medium.noted_end,
            vote: Some(vote),
        };
        Ok(())
    }

    async fn lower_watermark(&self, end: u64) -> io::Result<()> {
        let latency = self.medium()?.latency();
        RT::sleep(latency).await;
        let mut medium = self.medium()?;
        medium.noted_end = medium.noted_end.min(end);
        medium.watermark.end = medium.watermark.end.min(end);
        Ok(())
    }
}

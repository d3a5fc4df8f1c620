//! Links of test nodes that can be cut or silenced by purpose, and that count how often they are dialled.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{PeerDialer, Purpose};

/// From one node to another, for a purpose.
type Link = (u64, u64, Purpose);

/// What is wrong with a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Connections break, and new ones are refused.
    Cut,
    /// Connections stay open and carry nothing, and new ones are never made.
    Silent,
}

/// The links of a cluster; cheap to clone.
#[derive(Clone, Default)]
pub struct TestLinks {
    faults: Arc<watch::Sender<BTreeMap<Link, Fault>>>,
    dialled: Arc<Mutex<BTreeMap<Link, u64>>>,
}

impl TestLinks {
    /// Breaks the connections of a link and refuses new ones.
    pub fn cut(&self, from: u64, to: u64, purpose: Purpose) {
        self.set((from, to, purpose), Some(Fault::Cut));
    }

    /// Cuts a node off from another, both ways and for every purpose, as a network does that swallows everything: nobody is
    /// told.
    pub fn silence(&self, one: u64, other: u64) {
        for purpose in Purpose::ALL {
            self.set((one, other, purpose), Some(Fault::Silent));
            self.set((other, one, purpose), Some(Fault::Silent));
        }
    }

    /// Lets connections be made again; those that were silent break.
    pub fn mend(&self, from: u64, to: u64, purpose: Purpose) {
        self.set((from, to, purpose), None);
    }

    fn set(&self, link: Link, fault: Option<Fault>) {
        self.faults.send_if_modified(|faults| {
            let before = match fault {
                Some(fault) => faults.insert(link, fault),
                None => faults.remove(&link),
            };
            before != fault
        });
    }

    /// How often the link was dialled.
    pub fn dialled(&self, from: u64, to: u64, purpose: Purpose) -> u64 {
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.get(&(from, to, purpose)).copied().unwrap_or(0)
    }

    pub(super) fn dialer(&self, from: u64) -> Arc<dyn PeerDialer> {
        Arc::new(Dialer {
            from,
            links: self.clone(),
        })
    }

    async fn connect(self, link: Link, address: String) -> io::Result<TcpStream> {
        let counter = |dialled: &mut BTreeMap<Link, u64>| *dialled.entry(link).or_insert(0) += 1;
        counter(&mut self.dialled.lock().unwrap_or_else(PoisonError::into_inner));
        let mut faults = self.faults.subscribe();
        let now = faults
            .wait_for(|faults| faults.get(&link) != Some(&Fault::Silent))
            .await;
        if now.is_ok_and(|faults| faults.contains_key(&link)) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut target = TcpStream::connect(address).await?;
        // The node gets the near end of a pair; the far one can be let go of.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        let (near, (mut far, _)) = (near?, far?);
        for stream in [&target, &far] {
            stream.set_nodelay(true)?;
        }
        tokio::spawn(async move {
            tokio::select! {
                // However it ends: both ends are closed.
                _ = tokio::io::copy_bidirectional(&mut far, &mut target) => {}
                _ = faults.wait_for(|faults| faults.contains_key(&link)) => {}
            }
            let _ = faults
                .wait_for(|faults| faults.get(&link) != Some(&Fault::Silent))
                .await;
        });
        Ok(near)
    }
}

struct Dialer {
    from: u64,
    links: TestLinks,
}

impl PeerDialer for Dialer {
    fn connect(&self, to: u64, address: String, purpose: Purpose) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(self.links.clone().connect((self.from, to, purpose), address))
    }
}

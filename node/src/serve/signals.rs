//! What asks a node to stop: SIGTERM, SIGINT, and in a development cluster the death of its parent.

use std::io::Read;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Listens from its making on, so that a signal during the start is not lost.
pub struct StopRequest {
    interrupt: Signal,
    terminate: Signal,
    /// Fires when standard input ends; `None` outside of a development cluster.
    orphaned: Option<oneshot::Receiver<()>>,
}

impl StopRequest {
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            orphaned: std::env::var_os(crate::dev::STOP_WITH_PARENT).map(|_| watch_input()),
        })
    }

    /// Waits for a reason to stop.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = ended(&mut self.orphaned) => "the parent process has ended",
        }
    }
}

async fn ended(orphaned: &mut Option<oneshot::Receiver<()>>) {
    match orphaned {
        // An error means that the watching thread is gone, which only an end of the input brings about.
        Some(orphaned) => drop(orphaned.await),
        None => std::future::pending().await,
    }
}

/// Watches standard input on a thread of its own, which blocks as long as the parent lives.
fn watch_input() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut sink), Ok(length) if length > 0) {}
        // Nobody waits any more when the node stops for another reason.
        let _ = sender.send(());
    });
    receiver
}

//! One server process: started, signalled, and killed when dropped.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::tree;

/// Lines of a server's log that go into an error's text.
const LOG_TAIL_LINES: usize = 15;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A signal reaches every thread in microseconds, unless the kernel holds one in a system call.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running (or paused, or ended) server. Dropping it kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `command` in the foreground; its output is appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on_lasting_thread(command).with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Process id of the server itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of the log when the process has ended.
    ///
    /// # Errors
    /// The process has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}; end of its log:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// Whether the process has not ended (a paused one has not).
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL to the process and its children, and waits until all are gone: its ports refuse connections from then on.
    /// Works on a paused one.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        let children = tree::children(self.pid());
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait()?;
        tree::kill_and_wait(&children, PAUSE_TIMEOUT)
    }

    /// SIGSTOP to the process and its children, and waits until every thread has stopped: from then on the kernel still
    /// completes handshakes on its ports, but no byte comes back.
    ///
    /// # Errors
    /// The process has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.wait_stopped(self.pid())?;
        // A stopped parent starts no more of them.
        for child in tree::children(self.pid()) {
            tree::signal(child, Signal::STOP);
            self.wait_stopped(child)?;
        }
        Ok(())
    }

    fn wait_stopped(&self, pid: u32) -> Result<()> {
        let deadline = Instant::now() + PAUSE_TIMEOUT;
        while !tree::all_threads_stopped(pid) {
            if Instant::now() >= deadline {
                bail!("{} has not stopped within {PAUSE_TIMEOUT:?}", self.name);
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// SIGCONT after [`Self::pause`].
    ///
    /// # Errors
    /// The process has ended.
    pub fn resume(&mut self) -> Result<()> {
        for child in tree::children(self.pid()) {
            tree::signal(child, Signal::CONT);
        }
        self.signal(Signal::CONT)
    }

    /// SIGINT, and waits up to `timeout` for the end (PostgreSQL's way of ending without waiting for its clients).
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub async fn interrupt(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        self.wait_end(timeout).await
    }

    /// SIGTERM, and waits up to `timeout` for the end.
    ///
    /// # Errors
    /// The process has ended before, or does not end in time (it goes on running).
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_end(timeout).await
    }

    async fn wait_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} did not stop within {timeout:?}; end of its log:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_alive()?;
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // An error means that it is gone already. A paused child would outlive its parent.
        let children = tree::children(self.pid());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = tree::kill_and_wait(&children, PAUSE_TIMEOUT);
    }
}

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command from a thread that lives as long as this process: the kernel sends the death signal when the
/// *thread* that started a child ends, and an async runtime's threads come and go.
fn spawn_on_lasting_thread(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                // A requester that is gone needs no answer; the child it does not get is killed with this process.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).context("the spawning thread is gone")?;
    Ok(answer.recv().context("the spawning thread is gone")??)
}

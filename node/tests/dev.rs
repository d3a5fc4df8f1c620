//! `quorate dev` with real processes: start, a killed node, restart, orderly stop, resumption, refusals.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use quorate::dev::DevFile;
use quorate::dev::ports::NodePorts;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A launcher with its output, killed when it is dropped.
struct Launcher {
    child: Child,
    lines: Receiver<String>,
    directory: PathBuf,
}

impl Launcher {
    fn start(directory: &Path, offset: u16, extra: &[&str]) -> Self {
        let mut child = command(directory, offset, extra)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self {
            child,
            lines,
            directory: directory.to_path_buf(),
        }
    }

    fn wait_line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with `{part}`:\n{}", seen.join("\n"));
    }

    fn file(&self) -> DevFile {
        let text = std::fs::read(self.directory.join("dev.json")).expect("dev.json is there");
        serde_json::from_slice(&text).expect("dev.json is whole at any moment")
    }

    fn stop(mut self) {
        signal(self.child.id(), Signal::TERM);
        assert!(
            self.child.wait().expect("it ends").success(),
            "an orderly stop is a success"
        );
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Gone already after an orderly stop; its nodes follow it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(directory: &Path, offset: u16, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command
        .arg("dev")
        .arg("--data-dir")
        .arg(directory)
        .args(["--port-offset", &offset.to_string()])
        .args(extra);
    command
}

fn run(directory: &Path, offset: u16) -> Output {
    command(directory, offset, &[]).output().expect("the program runs")
}

/// A port offset whose ports are free; tests that run side by side give bases of their own.
fn free_offset(base: u16) -> u16 {
    const STEP: u16 = 90;
    let free = |offset: &u16| {
        let ports = (1..=3).flat_map(|node| NodePorts::of(node, *offset).all());
        ports.into_iter().all(|(_, address)| TcpListener::bind(address).is_ok())
    };
    (base..900)
        .step_by(usize::from(STEP))
        .find(free)
        .expect("some offset is free")
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(raw as i32).expect("a process id")
}

fn signal(raw: u32, signal: Signal) {
    kill_process(pid(raw), signal).expect("the process is there");
}

fn alive(raw: u32) -> bool {
    test_kill_process(pid(raw)).is_ok()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(POLL);
    }
}

#[test]
fn a_cluster_starts_loses_a_node_stops_and_goes_on() {
    let offset = free_offset(13);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launcher = Launcher::start(folder.path(), offset, &[]);
    launcher.wait_line("three nodes serve");
    let file = launcher.file();
    assert_eq!(file.version, 1);
    let expected = [2379, 22379, 32379].map(|port| format!("127.0.0.1:{}", port + u32::from(offset)));
    assert_eq!(
        file.nodes.iter().map(|node| node.kv.clone()).collect::<Vec<_>>(),
        expected
    );
    assert!(
        [&file.kv.ca, &file.kv.cert, &file.kv.key, &file.console.ca]
            .iter()
            .all(|path| path.exists())
    );
    assert!(file.faults.is_none());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.path().join("dev.json"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let refused = run(folder.path(), offset);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another `quorate dev`"));

    signal(file.nodes[2].pid, Signal::KILL);
    launcher.wait_line("stays down");
    wait_until("the dead node's pid is taken out", || launcher.file().nodes[2].pid == 0);
    let others: Vec<u32> = launcher.file().nodes[..2].iter().map(|node| node.pid).collect();
    launcher.stop();
    assert!(
        !others.into_iter().any(alive),
        "the nodes have ended before the launcher"
    );

    let password = file.kv.root.password;
    let resumed = Launcher::start(folder.path(), offset, &["--restart", "--faults"]);
    resumed.wait_line("three nodes serve");
    assert_eq!(resumed.file().kv.root.password, password, "the same cluster");
    assert!(resumed.file().faults.is_some());
    let before = resumed.file().nodes[0].pid;
    signal(before, Signal::KILL);
    resumed.wait_line("started again");
    wait_until("the node runs again", || {
        ![0, before].contains(&resumed.file().nodes[0].pid)
    });
    resumed.stop();
}

#[test]
fn a_whole_cluster_stops_without_waiting_for_itself() {
    let offset = free_offset(17);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launcher = Launcher::start(folder.path(), offset, &[]);
    launcher.wait_line("three nodes serve");
    let begun = Instant::now();
    launcher.stop();
    // A quarter of a second on an idle machine; three where nodes that stop hand leadership to each other.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn nodes_end_with_a_launcher_that_is_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut launcher = Launcher::start(folder.path(), free_offset(43), &[]);
    launcher.wait_line("three nodes serve");
    let pids: Vec<u32> = launcher.file().nodes.iter().map(|node| node.pid).collect();
    launcher.child.kill().expect("it runs");
    launcher.child.wait().expect("it ends");
    wait_until("the nodes end", || !pids.iter().copied().any(alive));
}

#[test]
fn a_used_port_and_another_offset_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let offset = free_offset(73);
    let address = NodePorts::of(1, offset).kv;
    let _taken = TcpListener::bind(address).expect("a free port");
    let refused = run(folder.path(), offset);
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr).to_string();
    assert!(
        text.contains(&format!("{address} (the KV port of node 1) is in use")),
        "{text}"
    );
    let refused = run(folder.path(), offset + 1);
    let text = String::from_utf8_lossy(&refused.stderr).to_string();
    assert!(
        text.contains(&format!("was made with --port-offset {offset}")),
        "{text}"
    );
}

#[test]
fn a_node_without_identity_says_what_to_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["serve", "--identity-dir"])
        .arg(folder.path().join("identity"))
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(
        text.contains("quorate bootstrap") && text.contains("quorate join"),
        "{text}"
    );
}

//! Clusters of processes that were started by etcd's flags.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// How members and clients speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
    MutualTls,
    /// Each member makes its certificates by itself, and nobody verifies them.
    AutoTls,
}

impl Transport {
    pub fn scheme(self) -> &'static str {
        if self == Self::Plain { "http://" } else { "https://" }
    }

    /// Whether certificates are given to members and clients.
    fn has_files(self) -> bool {
        matches!(self, Self::Tls | Self::MutualTls)
    }
}

/// Waits for a condition, with a deadline.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // A pause between two looks; the deadline bounds them.
        std::sync::mpsc::channel::<()>().1.recv_timeout(POLL).unwrap_err();
    }
}

/// The program, under the name `etcd` of a subcommand.
pub fn etcd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("etcd");
    command
}

/// Addresses of one member.
#[derive(Clone)]
pub struct Place {
    pub name: String,
    pub client: u16,
    pub peer: u16,
}

/// A running cluster, killed when dropped.
pub struct Cluster {
    pub folder: TempDir,
    pub places: Vec<Place>,
    transport: Transport,
    extra: Vec<String>,
    children: Vec<Option<Child>>,
    etcdctl: PathBuf,
    starts: usize,
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    listeners.iter().map(port).collect()
}

/// The real etcdctl.
pub fn etcdctl_command() -> Command {
    Command::new(etcdctl())
}

fn etcdctl() -> PathBuf {
    let home = std::env::var("HOME").expect("a home");
    let path = Path::new(&home).join(".cache/quorate/etcd-v3.6.16/etcdctl");
    assert!(path.exists(), "{} is missing: run cargo xtask setup", path.display());
    path
}

impl Cluster {
    pub fn start(members: usize, transport: Transport) -> Self {
        Self::start_with(members, transport, &[])
    }

    pub fn start_with(members: usize, transport: Transport, extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        symlink(env!("CARGO_BIN_EXE_quorate"), folder.path().join("etcd")).expect("a link");
        if transport.has_files() {
            write_certificates(folder.path());
        }
        let mut cluster = Self {
            folder,
            places: Vec::new(),
            transport,
            extra: extra.iter().map(ToString::to_string).collect(),
            children: Vec::new(),
            etcdctl: etcdctl(),
            starts: 0,
        };
        for _ in 0..members {
            cluster.new_place();
        }
        for member in 0..members {
            cluster.spawn(member, "new");
        }
        for member in 0..members {
            cluster.wait_ready(member);
        }
        cluster
    }

    /// Addresses for one more member; gives its index.
    pub fn new_place(&mut self) -> usize {
        // What earlier places were given is free as well until their members run.
        let given: Vec<u16> = self
            .places
            .iter()
            .flat_map(|place| [place.client, place.peer])
            .collect();
        let mut ports = free_ports(given.len() + 2);
        ports.retain(|port| !given.contains(port));
        self.places.push(Place {
            name: format!("m{}", self.places.len() + 1),
            client: ports[0],
            peer: ports[1],
        });
        self.children.push(None);
        self.places.len() - 1
    }

    pub fn peer_url(&self, member: usize) -> String {
        format!("{}127.0.0.1:{}", self.transport.scheme(), self.places[member].peer)
    }

    pub fn client_url(&self, member: usize) -> String {
        format!("{}127.0.0.1:{}", self.transport.scheme(), self.places[member].client)
    }

    fn log(&self, member: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.places[member].name))
    }

    fn command(&self, member: usize, state: &str, cluster: &[usize]) -> Command {
        let place = &self.places[member];
        let initial: Vec<String> = cluster
            .iter()
            .map(|other| format!("{}={}", self.places[*other].name, self.peer_url(*other)))
            .collect();
        let mut command = Command::new(self.folder.path().join("etcd"));
        command
            .args(["--name", &place.name])
            .arg("--data-dir")
            .arg(self.folder.path().join(format!("{}.data", place.name)))
            .arg(format!("--listen-client-urls={}", self.client_url(member)))
            .arg(format!("--advertise-client-urls={}", self.client_url(member)))
            .arg(format!("--listen-peer-urls={}", self.peer_url(member)))
            .arg(format!("--initial-advertise-peer-urls={}", self.peer_url(member)))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .args(["--initial-cluster-token", "tests", "--initial-cluster-state", state])
            .args(&self.extra);
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        if self.transport == Transport::AutoTls {
            command.args(["--auto-tls", "--peer-auto-tls"]);
        }
        if self.transport.has_files() {
            for prefix in ["", "peer-"] {
                command.arg(format!("--{prefix}cert-file={}", file("server.crt")));
                command.arg(format!("--{prefix}key-file={}", file("server.key")));
                command.arg(format!("--{prefix}trusted-ca-file={}", file("ca.crt")));
                if self.transport == Transport::MutualTls {
                    command.arg(format!("--{prefix}client-cert-auth"));
                }
            }
        }
        command
    }

    fn spawn(&mut self, member: usize, state: &str) {
        let all: Vec<usize> = (0..self.places.len()).collect();
        self.spawn_among(member, state, &all);
    }

    /// Starts a member that is told of `cluster`.
    pub fn spawn_among(&mut self, member: usize, state: &str, cluster: &[usize]) {
        self.starts += 1;
        // Each start has a log of its own, so that a line of the last one is not taken for one of this.
        let log = File::create(self.log(member)).expect("a log");
        let child = self
            .command(member, state, cluster)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program runs");
        self.children[member] = Some(child);
    }

    /// Waits for the line that etcd's starters wait for.
    pub fn wait_ready(&mut self, member: usize) {
        let path = self.log(member);
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        let deadline = Instant::now() + PATIENCE;
        while !read().contains("ready to serve client requests") {
            let child = self.children[member].as_mut().expect("it was started");
            let ended = child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", read());
            std::sync::mpsc::channel::<()>().1.recv_timeout(POLL).unwrap_err();
        }
    }

    /// Starts a member that must refuse to run; gives what it says.
    pub fn start_expecting_refusal(&mut self, member: usize) -> String {
        self.spawn(member, "new");
        let mut child = self.children[member].take().expect("it was started");
        let mut ended = None;
        wait_until("the member refuses to run", || {
            ended = child.try_wait().expect("it can be asked");
            ended.is_some()
        });
        assert!(!ended.expect("it has ended").success());
        std::fs::read_to_string(self.log(member)).expect("a log")
    }

    pub fn kill(&mut self, member: usize) {
        let mut child = self.children[member].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    pub fn lose_data(&self, member: usize) {
        let path = self.folder.path().join(format!("{}.data", self.places[member].name));
        std::fs::remove_dir_all(path).expect("there was data");
    }

    /// Waits until a member has ended by itself.
    pub fn wait_ended(&mut self, member: usize) {
        let mut child = self.children[member].take().expect("it was started");
        wait_until("the member ends", || {
            child.try_wait().expect("it can be asked").is_some()
        });
    }

    /// Stops every member with SIGTERM; each must end well and soon.
    pub fn stop(&mut self) {
        let pid = |child: &Child| Pid::from_raw(child.id() as i32).expect("a process id");
        for child in self.children.iter().flatten() {
            kill_process(pid(child), Signal::TERM).expect("it runs");
        }
        for child in &mut self.children {
            let Some(mut child) = child.take() else { continue };
            let mut ended = None;
            wait_until("a member stops", || {
                ended = child.try_wait().expect("it can be asked");
                ended.is_some()
            });
            assert!(ended.expect("it has ended").success(), "an orderly stop is a success");
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        for member in 0..self.places.len() {
            self.spawn(member, "new");
        }
        for member in 0..self.places.len() {
            self.wait_ready(member);
        }
    }

    fn ctl_command(&self, member: usize) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.arg("--endpoints").arg(self.client_url(member));
        if self.transport == Transport::AutoTls {
            command.args(["--insecure-transport=false", "--insecure-skip-tls-verify"]);
        }
        if self.transport.has_files() {
            command.arg("--cacert").arg(self.folder.path().join("ca.crt"));
        }
        command
    }

    /// Runs etcdctl at one member.
    pub fn output_at(&self, member: usize, arguments: &[&str]) -> Output {
        let mut command = self.ctl_command(member);
        if self.transport == Transport::MutualTls {
            command.arg("--cert").arg(self.folder.path().join("client.crt"));
            command.arg("--key").arg(self.folder.path().join("client.key"));
        }
        command.args(arguments).output().expect("etcdctl runs")
    }

    pub fn ctl_without_certificate(&self, arguments: &[&str]) -> Output {
        let mut command = self.ctl_command(0);
        command.args(["--command-timeout=2s", "--dial-timeout=2s"]);
        command.args(arguments).output().expect("etcdctl runs")
    }

    /// Runs etcdctl at one member, where it must succeed.
    pub fn ctl_at(&self, member: usize, arguments: &[&str]) -> String {
        let output = self.output_at(member, arguments);
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{arguments:?}: {out}{error}");
        // Some commands say on standard error that all went well.
        format!("{out}{error}")
    }

    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.ctl_at(0, arguments)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // Gone already after an orderly stop.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for member in 0..self.places.len() {
                let text = std::fs::read_to_string(self.log(member)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!(
                    "{}:\n{}",
                    self.places[member].name,
                    lines[lines.len().saturating_sub(15)..].join("\n")
                );
            }
        }
    }
}

/// An authority, a server certificate that members also show each other, and a client certificate.
fn write_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("an authority");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("it can be written");
    write("ca.crt", ca.pem());
    let issuer = Issuer::from_ca_cert_pem(&ca.pem(), &ca_key).expect("an issuer");
    for (name, hosts) in [
        ("server", vec!["127.0.0.1".to_string(), "localhost".to_string()]),
        ("client", Vec::new()),
    ] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(hosts).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{name}.crt"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

//! The fault proxy over real connections on loopback: what passes, what hangs, what is reset, what comes late.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::dev::faults::{FaultKind, LinkFault};
use quorate::dev::proxy::FaultProxy;
use quorate::links::Links;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for anything on loopback.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to say that nothing comes.
const QUIET: Duration = Duration::from_millis(200);

struct Bench {
    proxy: Arc<FaultProxy>,
    /// Links of node 1 and of node 2.
    links: [Links; 2],
    target: String,
}

/// An echo server behind a proxy.
async fn bench() -> Bench {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = echo.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let proxy = FaultProxy::new(BTreeMap::from([(target.clone(), "node-2".to_string())]));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(proxy.clone().serve(listener));
    let links = [1, 2].map(|node| Links::new(node, None, Some(address)));
    Bench { proxy, links, target }
}

impl Bench {
    fn set(&self, fault: FaultKind, delay_ms: u64) {
        let fault = LinkFault {
            from: 1,
            to: "node-2".to_string(),
            fault,
            delay_ms,
        };
        self.proxy.set_fault(fault).expect("a valid fault");
    }

    async fn connect(&self, node: usize) -> TcpStream {
        let connected = timeout(SOON, self.links[node - 1].connect(&self.target)).await;
        connected.expect("in time").expect("a connection")
    }
}

async fn echoed(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn without_a_fault_bytes_and_ends_pass() {
    let bench = bench().await;
    let mut stream = bench.connect(1).await;
    assert_eq!(echoed(&mut stream, b"hello").await.expect("an echo"), b"hello");
    stream.shutdown().await.expect("an end");
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("in time")
        .expect("the end comes back");
}

#[tokio::test]
async fn a_refusal_is_a_refusal() {
    let bench = bench().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = unused.local_addr().expect("an address").to_string();
    drop(unused);
    let error = timeout(SOON, bench.links[0].connect(&address))
        .await
        .expect("in time")
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_cut_link_hangs_and_goes_on_when_healed() {
    let bench = bench().await;
    let mut kept = bench.connect(1).await;
    assert_eq!(echoed(&mut kept, b"before").await.expect("an echo"), b"before");
    bench.set(FaultKind::Cut, 0);
    assert!(
        timeout(QUIET, bench.links[0].connect(&bench.target)).await.is_err(),
        "a new connection hangs"
    );
    assert!(
        timeout(QUIET, echoed(&mut kept, b"during")).await.is_err(),
        "a kept connection hangs"
    );
    let mut other = bench.connect(2).await;
    assert_eq!(
        echoed(&mut other, b"other").await.expect("another source passes"),
        b"other"
    );

    bench.set(FaultKind::Heal, 0);
    let mut late = [0; 6];
    timeout(SOON, kept.read_exact(&mut late))
        .await
        .expect("in time")
        .expect("what was held arrives");
    assert_eq!(&late, b"during");
    bench.connect(1).await;
}

#[tokio::test]
async fn a_one_way_link_still_delivers_answers() {
    let bench = bench().await;
    let speaker = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = speaker.local_addr().expect("an address").to_string();
    let mut client = bench.links[0].connect(&address).await.expect("a connection");
    let (mut server, _) = speaker.accept().await.expect("accepted");
    let fault = LinkFault {
        from: 1,
        to: address,
        fault: FaultKind::OneWay,
        delay_ms: 0,
    };
    bench.proxy.set_fault(fault).expect("a valid fault");

    server.write_all(b"down").await.expect("written");
    let mut down = [0; 4];
    timeout(SOON, client.read_exact(&mut down))
        .await
        .expect("in time")
        .expect("towards the source it passes");
    client.write_all(b"up").await.expect("written");
    let mut up = [0; 2];
    assert!(
        timeout(QUIET, server.read_exact(&mut up)).await.is_err(),
        "from the source nothing passes"
    );
}

#[tokio::test]
async fn a_reset_link_resets_and_refuses() {
    let bench = bench().await;
    let mut kept = bench.connect(1).await;
    bench.set(FaultKind::Reset, 0);
    let mut byte = [0];
    let error = timeout(SOON, kept.read(&mut byte))
        .await
        .expect("in time")
        .expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = timeout(SOON, bench.links[0].connect(&bench.target))
        .await
        .expect("in time")
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_slow_link_is_late_in_both_directions() {
    const DELAY_MS: u64 = 60;
    let bench = bench().await;
    let mut stream = bench.connect(1).await;
    bench.set(FaultKind::Delay, DELAY_MS);
    let started = Instant::now();
    assert_eq!(echoed(&mut stream, b"slow").await.expect("an echo"), b"slow");
    assert!(
        started.elapsed() >= Duration::from_millis(2 * DELAY_MS),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn drivers_reach_the_target_by_a_forwarder() {
    let bench = bench().await;
    let forwarder = bench.links[0]
        .forwarder(&bench.target)
        .await
        .expect("an answer")
        .expect("a forwarder");
    let again = bench.links[0]
        .forwarder(&bench.target)
        .await
        .expect("an answer")
        .expect("a forwarder");
    assert_eq!(forwarder, again, "one per link");
    let mut stream = TcpStream::connect(forwarder).await.expect("a connection");
    assert_eq!(echoed(&mut stream, b"driver").await.expect("an echo"), b"driver");
    bench.set(FaultKind::Reset, 0);
    let mut byte = [0];
    assert!(
        timeout(SOON, stream.read(&mut byte)).await.expect("in time").is_err(),
        "reset"
    );
}

#[test]
fn senseless_faults_are_refused() {
    let proxy = FaultProxy::new(BTreeMap::new());
    let fault = |from, to: &str, fault, delay_ms| LinkFault {
        from,
        to: to.to_string(),
        fault,
        delay_ms,
    };
    for wrong in [
        fault(0, "node-2", FaultKind::Cut, 0),
        fault(4, "node-2", FaultKind::Cut, 0),
        fault(1, "node-4", FaultKind::Cut, 0),
        fault(1, "somewhere", FaultKind::Cut, 0),
        fault(1, "node-2", FaultKind::Delay, 0),
        fault(1, "node-2", FaultKind::Delay, 60_001),
        fault(1, "node-2", FaultKind::Cut, 5),
    ] {
        assert!(proxy.set_fault(wrong.clone()).is_err(), "{wrong:?}");
    }
    assert!(proxy.faults().is_empty());
}

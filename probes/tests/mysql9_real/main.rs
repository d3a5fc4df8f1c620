//! The MySQL prober against genuine MySQL 9: `caching_sha2_password`, expired and locked accounts, its own words for roles.

use std::time::Duration;

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Observation, Secret, Stage,
    kept::{LOGIN_BACKOFF, REACHABILITY_INTERVAL},
    mysql::{MysqlProber, MysqlTarget, MysqlTls},
};
use quorate_real_parts::{
    Account, PortBlock, ServerDirectory,
    mysql::{MONITOR, MysqlServer},
};

const READY: Duration = Duration::from_secs(60);
const ACCESS_TIMEOUT: Duration = Duration::from_secs(4);

/// Fields are dropped in order: the server first.
struct Fixture {
    server: MysqlServer,
    ports: PortBlock,
    directory: ServerDirectory,
}

impl Fixture {
    async fn start(extra: &[String]) -> Result<Self> {
        let directory = ServerDirectory::new()?;
        let ports = PortBlock::claim()?;
        let server = start(&directory, &ports, 0, extra).await?;
        let account = format!("CREATE USER {} IDENTIFIED BY '{}'", MONITOR.user, MONITOR.password);
        let grant = format!("GRANT REPLICATION CLIENT ON *.* TO {}", MONITOR.user);
        server.exec(&[&account, &grant]).await?;
        Ok(Self {
            server,
            ports,
            directory,
        })
    }

    async fn alter(&self, what: &str) -> Result<()> {
        self.server
            .exec(&[&format!("ALTER USER {} {what}", MONITOR.user)])
            .await
    }

    fn target(&self) -> MysqlTarget {
        target(&self.server.address(), MONITOR.password)
    }
}

async fn start(directory: &ServerDirectory, ports: &PortBlock, index: u16, extra: &[String]) -> Result<MysqlServer> {
    let at = directory.path().join(format!("server{index}"));
    let mut server = MysqlServer::init(&at, ports.port(index), extra.to_vec())?;
    server.start()?;
    server.wait_ready(READY).await?;
    Ok(server)
}

fn target(address: &str, password: &str) -> MysqlTarget {
    let password = Secret::new(password.to_owned());
    MysqlTarget::new(address, MONITOR.user, password, "", ACCESS_TIMEOUT).expect("a target")
}

async fn attempt(target: MysqlTarget) -> Observation {
    MysqlProber::new(target).attempt().await.expect("an attempt is due")
}

fn found(observation: &Observation) -> (FindingClass, Stage) {
    (observation.class, observation.stage)
}

fn serves(observation: &Observation) -> bool {
    matches!(observation.class, FindingClass::Ok | FindingClass::Slow) && observation.stage == Stage::Role
}

#[tokio::test]
async fn it_logs_in_by_the_full_and_by_the_cached_exchange() -> Result<()> {
    let fixture = Fixture::start(&[]).await?;
    let plugin = format!("SELECT plugin FROM mysql.user WHERE user = '{}'", MONITOR.user);
    let plugin: Option<String> = fixture.server.query_first(&plugin).await?;
    assert_eq!(plugin.as_deref(), Some("caching_sha2_password"));
    // The first login of an account encrypts the password with the server's key; the next ones are by a hash in its memory.
    for exchange in ["full", "cached"] {
        let observation = attempt(fixture.target()).await;
        assert!(serves(&observation), "{exchange}: {observation:?}");
        let role = observation.role.context("a role")?;
        assert!(!role.read_only && role.server_version.starts_with("9."), "{role:?}");
    }
    fixture.server.exec(&["FLUSH PRIVILEGES"]).await?;
    let encrypted = attempt(fixture.target().with_tls(MysqlTls::Unverified)).await;
    assert!(serves(&encrypted), "{encrypted:?}");
    // Every printable character.
    let printable: String = (' '..='~').collect();
    let quoted = printable.replace('\\', "\\\\").replace('\'', "\\'");
    fixture.alter(&format!("IDENTIFIED BY '{quoted}'")).await?;
    let observation = attempt(target(&fixture.server.address(), &printable)).await;
    assert!(serves(&observation), "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn refused_expired_and_locked_accounts_are_no_failures_of_the_server() -> Result<()> {
    let mut fixture = Fixture::start(&[]).await?;
    let mut wrong = MysqlProber::new(target(&fixture.server.address(), "wrong"));
    let refused = wrong.attempt().await.context("due")?;
    assert_eq!(found(&refused), (FindingClass::Auth, Stage::Login), "{refused:?}");
    assert!(refused.engine_text.contains("1045"), "{refused:?}");
    // The reachability check speaks to this server as to MariaDB.
    for _ in 0..3 {
        skip(REACHABILITY_INTERVAL).await;
        let reachable = wrong.attempt().await.context("due")?;
        assert_eq!(found(&reachable), (FindingClass::Auth, Stage::Login), "{reachable:?}");
    }

    fixture.alter("PASSWORD EXPIRE").await?;
    let expired = attempt(fixture.target()).await;
    assert_eq!(found(&expired), (FindingClass::Auth, Stage::Login), "{expired:?}");
    assert!(expired.engine_text.contains("1862"), "{expired:?}");

    let password = MONITOR.password;
    fixture
        .alter(&format!("IDENTIFIED BY '{password}' ACCOUNT LOCK"))
        .await?;
    let locked = attempt(fixture.target()).await;
    assert_eq!(found(&locked), (FindingClass::Auth, Stage::Login), "{locked:?}");
    assert!(locked.engine_text.contains("3118"), "{locked:?}");

    fixture.alter("ACCOUNT UNLOCK").await?;
    fixture.alter("IDENTIFIED BY 'wrong'").await?;
    skip(LOGIN_BACKOFF).await;
    let back = wrong.attempt().await.context("due")?;
    assert!(serves(&back), "{back:?}");
    fixture.server.kill()?;
    let gone = wrong.attempt().await.context("due")?;
    assert_eq!(found(&gone), (FindingClass::Refused, Stage::Tcp), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn a_password_that_expires_in_a_sandbox_is_a_login_fault_too() -> Result<()> {
    let fixture = Fixture::start(&["--disconnect-on-expired-password=OFF".to_owned()]).await?;
    fixture.alter("PASSWORD EXPIRE").await?;
    let expired = attempt(fixture.target()).await;
    assert_eq!(expired.class, FindingClass::Auth, "{expired:?}");
    assert!(
        expired.engine_text.contains("1820") || expired.engine_text.contains("1862"),
        "{expired:?}"
    );
    Ok(())
}

#[tokio::test]
async fn tls_is_demanded_and_verified() -> Result<()> {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let files = ServerDirectory::new()?;
    let (certificate, key) = (files.path().join("server.crt"), files.path().join("server.key"));
    std::fs::write(&certificate, own.cert.pem())?;
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    let extra = [
        format!("--ssl-cert={}", certificate.display()),
        format!("--ssl-key={}", key.display()),
        "--require-secure-transport=ON".to_owned(),
    ];
    let fixture = Fixture::start(&extra).await?;
    let verify = |pem: String| MysqlTls::Verify {
        ca_pem: pem.into_bytes(),
    };
    let good = attempt(fixture.target().with_tls(verify(own.cert.pem()))).await;
    assert!(serves(&good), "{good:?}");
    let bad = attempt(fixture.target().with_tls(verify(other.cert.pem()))).await;
    assert_eq!(found(&bad), (FindingClass::Tls, Stage::Tls), "{bad:?}");
    let plain = attempt(fixture.target()).await;
    assert_eq!(plain.class, FindingClass::Tls, "{plain:?}");
    assert!(plain.engine_text.contains("3159"), "{plain:?}");
    Ok(())
}

#[tokio::test]
async fn a_replica_is_read_only_and_tells_its_lag() -> Result<()> {
    let fixture = Fixture::start(&[]).await?;
    let replication = Account {
        user: "repl",
        password: "repl-pw",
    };
    let create = format!(
        "CREATE USER {} IDENTIFIED BY '{}'",
        replication.user, replication.password
    );
    fixture
        .server
        .exec(&[&create, "GRANT REPLICATION SLAVE ON *.* TO repl"])
        .await?;
    let replica = start(
        &fixture.directory,
        &fixture.ports,
        1,
        &["--super-read-only=1".to_owned()],
    )
    .await?;
    replica.replicate_from(&fixture.server, replication).await?;
    let deadline = std::time::Instant::now() + READY;
    let role = loop {
        // The account arrives by replication.
        let observation = attempt(target(&replica.address(), MONITOR.password)).await;
        let lag = observation.role.as_ref().and_then(|role| role.replication_lag_seconds);
        if observation.class == FindingClass::ReadOnly && lag == Some(0) {
            break observation.role.context("a role")?;
        }
        assert!(std::time::Instant::now() < deadline, "{observation:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(role.read_only, "{role:?}");
    replica.exec(&["STOP REPLICA"]).await?;
    let broken = attempt(target(&replica.address(), MONITOR.password)).await;
    assert_eq!(broken.role.context("a role")?.replication_lag_seconds, None);
    Ok(())
}

/// Moves the prober's clock; real input and output goes on with the real one.
async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

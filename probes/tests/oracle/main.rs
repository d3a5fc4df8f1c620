//! The Oracle prober against a listener that answers as told, with a driver that does, and with Oracle's own.
//!
//! A real server is asked where the environment names one: `QUORATE_ORACLE=user/password@host:port/service`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use quorate_machine::FindingClass;
use quorate_probes::{
    Observation, Secret, Stage, Tls,
    oracle::{
        OracleProber, OracleTarget,
        driver::{Driver, DriverError, DriverSession, Login},
        test_connection,
    },
};

mod listener;
mod logins;
mod stub;

const ACCESS_TIMEOUT: Duration = Duration::from_secs(3);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

fn target(address: &str) -> OracleTarget {
    OracleTarget::new(address, "orders.example.com", false, Tls::Off, ACCESS_TIMEOUT)
        .expect("a target")
        .with_login("quorate_mon", Secret::new("monitor-pw".to_owned()))
}

async fn attempt(prober: &mut OracleProber) -> Observation {
    let started = Instant::now();
    let observation = prober.attempt().await.expect("an attempt is due");
    let took = started.elapsed();
    assert!(took < ACCESS_TIMEOUT + SLACK, "took {took:?}: {observation:?}");
    observation
}

fn found(observation: &Observation) -> (FindingClass, Stage, bool) {
    (observation.class, observation.stage, observation.fresh)
}

fn serves(observation: &Observation) -> bool {
    matches!(observation.class, FindingClass::Ok | FindingClass::Slow) && observation.stage == Stage::Role
}

/// What a driver was told to answer.
#[derive(Clone, Debug)]
enum Told {
    Rows(BTreeMap<&'static str, &'static str>),
    Refuse(&'static str),
    Panic,
    /// Reads from the relay until it ends, as a driver whose server is silent.
    Hang,
}

#[derive(Debug)]
struct FakeDriver {
    told: Mutex<Told>,
    logins: AtomicUsize,
}

impl FakeDriver {
    fn new(told: Told) -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::new(told),
            logins: AtomicUsize::new(0),
        })
    }

    /// A primary that is open, by what a query contains.
    fn primary() -> Told {
        Told::Rows(BTreeMap::from([
            ("DATABASE_ROLE", "PRIMARY"),
            ("PRODUCT_COMPONENT_VERSION", "19.0.0.0.0"),
            ("V$DATABASE", "READ WRITE"),
        ]))
    }

    fn is_told(&self, told: Told) {
        *self.told.lock().expect("unpoisoned") = told;
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    fn error(text: &str) -> DriverError {
        DriverError {
            text: text.to_owned(),
            unsupported: false,
        }
    }
}

impl Driver for FakeDriver {
    fn log_in(&self, login: &Login) -> Result<Box<dyn DriverSession>, DriverError> {
        self.logins.fetch_add(1, Ordering::SeqCst);
        let told = self.told.lock().expect("unpoisoned").clone();
        assert_eq!(
            (login.user.as_str(), login.password.expose()),
            ("quorate_mon", "monitor-pw")
        );
        match told {
            Told::Refuse(text) => Err(Self::error(text)),
            Told::Panic => panic!("planted"),
            Told::Hang => {
                let mut stream =
                    std::net::TcpStream::connect(login.relay).map_err(|error| Self::error(&error.to_string()))?;
                let ended = std::io::copy(&mut stream, &mut std::io::sink());
                Err(Self::error(&format!("the relay ended: {ended:?}")))
            }
            Told::Rows(rows) => Ok(Box::new(FakeSession(rows))),
        }
    }
}

struct FakeSession(BTreeMap<&'static str, &'static str>);

impl DriverSession for FakeSession {
    fn first_row(&mut self, query: &str, _columns: usize) -> Result<Vec<Option<String>>, DriverError> {
        let row = self.0.iter().find(|(part, _)| query.contains(**part));
        match row {
            Some((_, answer)) if answer.starts_with("ORA-") => Err(FakeDriver::error(answer)),
            Some((_, answer)) => Ok(vec![Some((*answer).to_owned())]),
            None => Err(FakeDriver::error("ORA-00942: table or view does not exist")),
        }
    }
}

#[tokio::test]
async fn a_real_oracle_serves_where_one_is_named() -> Result<()> {
    let Ok(named) = std::env::var("QUORATE_ORACLE") else {
        println!("QUORATE_ORACLE names no server: nothing of a real one is proved here");
        return Ok(());
    };
    let form = "QUORATE_ORACLE is user/password@host:port/service";
    let (account, place) = named.rsplit_once('@').context(form)?;
    let (user, password) = account.split_once('/').context(form)?;
    let (address, service) = place.split_once('/').context(form)?;
    let target = OracleTarget::new(address, service, false, Tls::Off, ACCESS_TIMEOUT)?
        .with_login(user, Secret::new(password.to_owned()));
    let driver: Arc<dyn Driver> = Arc::new(quorate_probes::oracle::ThinDriver);
    let steps = test_connection(&target, &driver).await;
    assert_eq!(
        steps.last().map(|step| (step.stage, step.class)),
        Some((Stage::Role, FindingClass::Ok)),
        "{steps:?}"
    );
    let mut prober = OracleProber::new(target);
    for _ in 0..3 {
        let observation = attempt(&mut prober).await;
        assert!(observation.role.is_some(), "{observation:?}");
    }
    Ok(())
}

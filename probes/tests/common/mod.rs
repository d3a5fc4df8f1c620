//! What the tests of all engines against real servers share.

#![allow(dead_code)]

use std::time::{Duration, Instant};

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{Observation, Prober, Stage, StageResult};
use quorate_real_parts::ServerDirectory;

pub const READY: Duration = Duration::from_secs(20);
/// Far above what a healthy server needs on a busy machine, so that its answers are not called slow.
pub const ACCESS_TIMEOUT: Duration = Duration::from_secs(4);
/// For servers that do not answer.
pub const SHORT_ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(500);

/// One attempt, which must keep its bound.
pub async fn attempt_within(access_timeout: Duration, prober: &mut impl Prober) -> Observation {
    let started = Instant::now();
    let observation = prober.attempt().await.expect("an attempt is due");
    let took = started.elapsed();
    assert!(took < access_timeout + SLACK, "took {took:?}: {observation:?}");
    observation
}

pub async fn attempt(prober: &mut impl Prober) -> Observation {
    attempt_within(ACCESS_TIMEOUT, prober).await
}

pub fn found(observation: &Observation) -> (FindingClass, Stage, bool) {
    (observation.class, observation.stage, observation.fresh)
}

pub fn steps(results: &[StageResult]) -> Vec<(Stage, FindingClass)> {
    results.iter().map(|result| (result.stage, result.class)).collect()
}

/// Repeats attempts until one has this class; the deadline is the test's failure.
pub async fn attempt_until(class: FindingClass, timeout: Duration, prober: &mut impl Prober) -> Observation {
    let deadline = Instant::now() + timeout;
    loop {
        let last = attempt(prober).await;
        if last.class == class {
            return last;
        }
        assert!(Instant::now() < deadline, "not {class:?} within {timeout:?}: {last:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Moves the prober's clock; real input and output goes on with the real one.
pub async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// A certificate for 127.0.0.1 that is its own authority.
pub struct Certificate {
    pub pem: String,
    pub certificate: std::path::PathBuf,
    pub key: std::path::PathBuf,
}

/// Makes one, with its files in `directory`, which the server's user can read.
pub fn certificate(directory: &ServerDirectory, name: &str) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let path = |end: &str| directory.path().join(format!("{name}.{end}"));
    let (certificate, key) = (path("crt"), path("key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    // PostgreSQL takes a key that only its owner reads.
    let user = quorate_real_parts::ServerUser::current()?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    user.own(&key)?;
    Ok(Certificate {
        pem: made.cert.pem(),
        certificate,
        key,
    })
}

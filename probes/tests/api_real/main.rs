//! The API prober against real HTTP servers and against what is none.

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use anyhow::Result;
use quorate_machine::FindingClass::{self, Ok as Good, Refused, Slow, Timeout, Tls as TlsFault, WrongAnswer};
use quorate_probes::{
    Observation, Stage, Tls,
    api::{ApiProber, ApiTarget, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    api::{ApiServer, Behaviour},
};

use common::{ACCESS_TIMEOUT, SHORT_ACCESS_TIMEOUT, attempt_within, certificate, found, steps};

fn target(address: &str, path: &str) -> ApiTarget {
    ApiTarget::new(address, path, ACCESS_TIMEOUT).expect("a target")
}

async fn probe(target: &ApiTarget) -> Observation {
    attempt_within(ACCESS_TIMEOUT, &mut ApiProber::new(target.clone())).await
}

#[tokio::test]
async fn the_expected_status_is_health_and_every_other_is_none() -> Result<()> {
    let server = ApiServer::start(Behaviour::Status(200)).await?;
    let health = target(&server.address(), "/health?deep=1");
    let well = probe(&health).await;
    assert_eq!(found(&well), (Good, Stage::Role, true), "{well:?}");
    let request = server.last_request();
    assert!(request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}", server.address())), "{request}");

    for status in [204, 301, 401, 404, 500, 503] {
        server.set(Behaviour::Status(status));
        let ill = probe(&health).await;
        assert_eq!(found(&ill), (WrongAnswer, Stage::Query, true), "{status}: {ill:?}");
        assert!(ill.engine_text.contains(&format!("status {status}")), "{ill:?}");
        assert!(ill.engine_text.ends_with("expected 200"), "{ill:?}");
        let wanted = probe(&health.clone().expecting("GET", status, "")?).await;
        assert_eq!(wanted.class, Good, "{status}: {wanted:?}");
    }
    // A redirect is an answer: nobody goes where it points to.
    assert!(!server.requests().iter().any(|request| request.contains("/elsewhere")));
    Ok(())
}

#[tokio::test]
async fn every_attempt_has_a_connection_of_its_own() -> Result<()> {
    let server = ApiServer::start(Behaviour::Status(200)).await?;
    let mut prober = ApiProber::new(target(&server.address(), "/"));
    for _ in 0..4 {
        attempt_within(ACCESS_TIMEOUT, &mut prober).await;
    }
    assert_eq!((server.connections(), server.requests().len()), (4, 4));
    Ok(())
}

#[tokio::test]
async fn methods_and_headers_arrive_as_they_are_set() -> Result<()> {
    let server = ApiServer::start(Behaviour::Status(200)).await?;
    for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
        let request = target(&server.address(), "/check")
            .expecting(method, 200, "")?
            .with_header("Authorization", "Bearer top-secret")?
            .with_header("X-Probe", "1")?;
        assert!(!format!("{request:?}").contains("top-secret"));
        let seen = probe(&request).await;
        assert_eq!(seen.class, Good, "{seen:?}");
        let last = server.last_request();
        assert!(last.starts_with(&format!("{method} /check HTTP/1.1\r\n")), "{last}");
        assert!(
            last.contains("authorization: Bearer top-secret\r\n") && last.contains("x-probe: 1\r\n"),
            "{last}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_body_is_searched_within_bounds() -> Result<()> {
    let server = ApiServer::start(Behaviour::Body("{\"status\":\"UP\"}".into())).await?;
    let up = target(&server.address(), "/").expecting("GET", 200, "\"UP\"")?;
    let well = probe(&up).await;
    assert_eq!(well.class, Good, "{well:?}");
    server.set(Behaviour::Body("{\"status\":\"DOWN\"}".into()));
    let ill = probe(&up).await;
    assert_eq!(found(&ill), (WrongAnswer, Stage::Role, true), "{ill:?}");
    assert!(ill.engine_text.contains("17 bytes read"), "{ill:?}");
    // The match lies across the server's writes; then behind what is read; then in a body without an end.
    server.set(Behaviour::Pieces("\"U", "P\""));
    let split = probe(&up).await;
    assert_eq!(split.class, Good, "{split:?}");
    server.set(Behaviour::Body(format!("{}\"UP\"", "x".repeat(1024 * 1024)).into()));
    let late = probe(&up).await;
    assert_eq!(late.class, WrongAnswer, "{late:?}");
    server.set(Behaviour::Endless);
    let endless = probe(&up).await;
    assert_eq!(endless.class, WrongAnswer, "{endless:?}");
    Ok(())
}

#[tokio::test]
async fn servers_that_refuse_hang_or_answer_late() -> Result<()> {
    let server = ApiServer::start(Behaviour::Delay(Duration::from_millis(2500))).await?;
    let late = probe(&target(&server.address(), "/")).await;
    assert_eq!(late.class, Slow, "{late:?}");
    server.set(Behaviour::Silent);
    let impatient = ApiTarget::new(&server.address(), "/", SHORT_ACCESS_TIMEOUT)?;
    let silent = attempt_within(SHORT_ACCESS_TIMEOUT, &mut ApiProber::new(impatient)).await;
    assert_eq!(found(&silent), (Timeout, Stage::Query, true), "{silent:?}");
    server.set(Behaviour::HangUp);
    let closed = probe(&target(&server.address(), "/")).await;
    assert_eq!(found(&closed), (WrongAnswer, Stage::Query, true), "{closed:?}");
    server.set(Behaviour::Raw("220 mail ready\r\n"));
    let other = probe(&target(&server.address(), "/")).await;
    assert_eq!(found(&other), (WrongAnswer, Stage::Query, true), "{other:?}");
    let address = server.address();
    server.stop().await;
    let gone = probe(&target(&address, "/")).await;
    assert_eq!(found(&gone), (Refused, Stage::Tcp, true), "{gone:?}");
    let nowhere = probe(&target("api.invalid:80", "/")).await;
    assert_eq!(found(&nowhere), (FindingClass::Dns, Stage::Dns, true), "{nowhere:?}");
    Ok(())
}

#[tokio::test]
async fn https_is_verified_or_not_as_wanted() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let own = certificate(&directory, "own")?;
    let other = certificate(&directory, "other")?;
    let server = ApiServer::start_tls(Behaviour::Status(200), &own.pem, &own.key).await?;
    let verified = |pem: &str| Tls::Verified {
        ca_pem: Some(pem.as_bytes().to_vec()),
    };
    let with = |tls: Tls| target(&server.address(), "/").with_tls(tls).expect("TLS");
    for tls in [Tls::Required, verified(&own.pem)] {
        let good = probe(&with(tls)).await;
        assert_eq!(good.class, Good, "{good:?}");
    }
    for tls in [verified(&other.pem), Tls::Verified { ca_pem: None }] {
        let bad = probe(&with(tls)).await;
        assert_eq!(found(&bad), (TlsFault, Stage::Tls, true), "{bad:?}");
    }
    let plain = ApiServer::start(Behaviour::Status(200)).await?;
    let demanding = target(&plain.address(), "/").with_tls(Tls::Required)?;
    let bad = probe(&demanding).await;
    assert_eq!(bad.stage, Stage::Tls, "{bad:?}");
    let results = test_connection(&with(verified(&own.pem))).await;
    let all = [Stage::Dns, Stage::Tcp, Stage::Tls, Stage::Query, Stage::Role].map(|stage| (stage, Good));
    assert_eq!(steps(&results), all, "{results:?}");
    assert_eq!(results[2].text, "TLS verified");
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let server = ApiServer::start(Behaviour::Status(503)).await?;
    let results = test_connection(&target(&server.address(), "/health")).await;
    let (dns, tcp, query) = ((Stage::Dns, Good), (Stage::Tcp, Good), (Stage::Query, Good));
    assert_eq!(
        steps(&results),
        [dns, tcp, query, (Stage::Query, WrongAnswer)],
        "{results:?}"
    );
    assert_eq!(results[3].text, "status 503 Service Unavailable, expected 200");
    server.set(Behaviour::Status(200));
    let results = test_connection(&target(&server.address(), "/health")).await;
    assert_eq!(steps(&results), [dns, tcp, query, (Stage::Role, Good)], "{results:?}");
    assert_eq!(results[3].text, "status 200 as expected");
    Ok(())
}

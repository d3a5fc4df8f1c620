//! Every answer of a listener.

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Secret, Stage, Tls,
    oracle::{OracleProber, OracleTarget},
};
use quorate_real_parts::PortBlock;
use tokio::net::TcpListener;

use crate::{
    ACCESS_TIMEOUT, FakeDriver, attempt, found, serves,
    stub::{Listener, accept, packet, redirect, redirect_apart, refuse, refuse_code, resend},
    target,
};

#[tokio::test]
async fn every_refusal_has_its_meaning_and_costs_no_login() -> Result<()> {
    use FindingClass::{ServerStarting, TooManyConnections, WrongAnswer};
    for (code, class, words) in [
        (12514, WrongAnswer, "ORA-12514: the listener does not know this service"),
        (12505, WrongAnswer, "ORA-12505: the listener does not know this SID"),
        (
            12528,
            ServerStarting,
            "ORA-12528: all instances of this service block new connections",
        ),
        (
            12526,
            ServerStarting,
            "ORA-12526: all instances of this service are in restricted mode",
        ),
        (12519, TooManyConnections, "ORA-12519: no handler is free"),
        (12599, WrongAnswer, "ORA-12599: the listener refuses"),
    ] {
        let listener = Listener::start(vec![refuse_code(code)]).await?;
        let driver = FakeDriver::new(FakeDriver::primary());
        let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver.clone());
        let observation = attempt(&mut prober).await;
        assert_eq!(found(&observation), (class, Stage::Login, true), "{observation:?}");
        assert!(observation.engine_text.starts_with(words), "{observation:?}");
        assert_eq!(driver.logins(), 0);
    }
    let listener = Listener::start(vec![refuse("no number")]).await?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver);
    assert_eq!(attempt(&mut prober).await.class, WrongAnswer);
    Ok(())
}

#[tokio::test]
async fn a_packet_that_is_wanted_again_is_sent_again_but_not_for_ever() -> Result<()> {
    let listener = Listener::start(vec![resend(), resend(), accept()]).await?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver);
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    let heard = listener.heard();
    assert_eq!(heard.len(), 3);
    assert!(
        heard
            .iter()
            .all(|(data, flags)| data.contains("(SERVICE_NAME=orders.example.com)") && *flags == 0),
        "{heard:?}"
    );

    let stubborn = Listener::start(vec![resend()]).await?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&stubborn.address.to_string()), driver);
    assert_eq!(attempt(&mut prober).await.class, FindingClass::WrongAnswer);
    assert_eq!(stubborn.heard().len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_redirection_is_followed_once() -> Result<()> {
    for form in [redirect, redirect_apart] {
        let last = Listener::start(vec![accept()]).await?;
        let first = Listener::start(vec![form(last.address)]).await?;
        let driver = FakeDriver::new(FakeDriver::primary());
        let mut prober = OracleProber::with_driver(target(&first.address.to_string()), driver);
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{observation:?}");
        let heard = last.heard();
        assert_eq!((heard.len(), heard[0].1), (1, 4), "{heard:?}");
        assert_eq!(
            heard[0].0.contains("(SID=moved)"),
            form(last.address) == redirect(last.address),
            "{heard:?}"
        );
    }
    let ports = PortBlock::claim()?;
    let dead = format!("127.0.0.1:{}", ports.port(9)).parse()?;
    let first = Listener::start(vec![redirect(dead)]).await?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&first.address.to_string()), driver.clone());
    let observation = attempt(&mut prober).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Refused, Stage::Tcp, true),
        "{observation:?}"
    );
    assert!(
        observation.engine_text.starts_with(&format!("redirected to {dead}: ")),
        "{observation:?}"
    );

    let circle = Listener::start(vec![redirect(first.address)]).await?;
    let mut prober = OracleProber::with_driver(target(&circle.address.to_string()), driver);
    let observation = attempt(&mut prober).await;
    assert_eq!(observation.class, FindingClass::WrongAnswer, "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_listener_is_told() -> Result<()> {
    for garbage in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        Vec::new(),
        packet(4, &[]),
        packet(5, &[0, 9]),
        packet(14, &[0; 20]),
        vec![0xff; 64],
    ] {
        let listener = Listener::start(vec![garbage.clone(), Vec::new()]).await?;
        let driver = FakeDriver::new(FakeDriver::primary());
        let mut prober = OracleProber::with_driver(target(&listener.address.to_string()), driver);
        let observation = attempt(&mut prober).await;
        assert!(
            matches!(observation.class, FindingClass::WrongAnswer | FindingClass::Timeout),
            "{garbage:?}: {observation:?}"
        );
    }
    let ports = PortBlock::claim()?;
    let driver = FakeDriver::new(FakeDriver::primary());
    let mut prober = OracleProber::with_driver(target(&format!("127.0.0.1:{}", ports.port(9))), driver.clone());
    let refused = attempt(&mut prober).await;
    assert_eq!(
        found(&refused),
        (FindingClass::Refused, Stage::Tcp, true),
        "{refused:?}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mut prober = OracleProber::with_driver(target(&silent.local_addr()?.to_string()), driver);
    let silence = attempt(&mut prober).await;
    assert_eq!(
        found(&silence),
        (FindingClass::Timeout, Stage::Login, true),
        "{silence:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_listener_behind_tls_is_verified_and_leads_the_driver_through() -> Result<()> {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let listener = Listener::start_tls(vec![accept()], &own).await?;
    let address = listener.address.to_string();
    let of = |pem: String| {
        let tls = Tls::Verified {
            ca_pem: Some(pem.into_bytes()),
        };
        OracleTarget::new(&address, "orders.example.com", false, tls, ACCESS_TIMEOUT)
            .map(|target| target.with_login("quorate_mon", Secret::new("monitor-pw".to_owned())))
    };
    let driver = FakeDriver::new(FakeDriver::primary());
    let good = attempt(&mut OracleProber::with_driver(of(own.cert.pem())?, driver.clone())).await;
    assert!(serves(&good), "{good:?}");
    let bad = attempt(&mut OracleProber::with_driver(of(other.cert.pem())?, driver)).await;
    assert_eq!(found(&bad), (FindingClass::Tls, Stage::Tls, true), "{bad:?}");
    // Oracle's own driver speaks in the clear to its relay, and the listener hears its CONNECT decrypted.
    let before = listener.heard().len();
    attempt(&mut OracleProber::new(of(own.cert.pem())?)).await;
    let heard = listener.heard();
    assert!(
        heard.len() >= before + 2 && heard[heard.len() - 1].0.contains("orders.example.com"),
        "{heard:?}"
    );
    Ok(())
}

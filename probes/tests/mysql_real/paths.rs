//! Replication, the connection test and the path to the server.

use std::net::SocketAddr;

use anyhow::Result;
use quorate_machine::FindingClass;
use quorate_probes::{
    Stage,
    mysql::{MysqlProber, MysqlTarget, test_connection},
};
use quorate_real_parts::{
    ServerDirectory,
    mariadb::{MONITOR, MariaDbPair, PairOptions},
};

use crate::{Fixture, attempt, found, target};

#[tokio::test]
async fn replication_lag_is_shown_where_the_server_tells_it() -> Result<()> {
    let directory = ServerDirectory::new()?;
    let pair = MariaDbPair::start(directory.path(), PairOptions::default()).await?;
    let dc2 = target(&pair.dc2.address(), MONITOR.password, "orders");
    let lag = async |target: MysqlTarget| {
        attempt(&mut MysqlProber::new(target))
            .await
            .role
            .map(|role| role.replication_lag_seconds)
    };
    assert_eq!(lag(dc2.clone()).await, Some(Some(0)));
    pair.dc2.exec(&["STOP SLAVE"]).await?;
    assert_eq!(lag(dc2).await, Some(None));
    Ok(())
}

#[tokio::test]
async fn a_connection_test_names_the_step_that_fails() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let address = fixture.server.address();
    let steps = async |target: &MysqlTarget| -> Vec<(Stage, FindingClass)> {
        let results = test_connection(target).await;
        results.iter().map(|result| (result.stage, result.class)).collect()
    };
    use FindingClass::{Auth, Ok as Good, Refused};
    let (dns, tcp) = ((Stage::Dns, Good), (Stage::Tcp, Good));
    let all = vec![
        dns,
        tcp,
        (Stage::Login, Good),
        (Stage::Query, Good),
        (Stage::Role, Good),
    ];
    assert_eq!(steps(&fixture.target()).await, all);
    let texts = test_connection(&fixture.target()).await;
    assert_eq!(texts[4].text, "writable; no replication from another server");
    let refused = vec![dns, tcp, (Stage::Login, Auth)];
    assert_eq!(steps(&target(&address, "wrong", "monitored")).await, refused);
    assert_eq!(steps(&target(&address, MONITOR.password, "elsewhere")).await, refused);
    fixture.server.kill()?;
    assert_eq!(steps(&fixture.target()).await, vec![dns, (Stage::Tcp, Refused)]);
    Ok(())
}

#[tokio::test]
async fn a_proxy_stands_for_the_address() -> Result<()> {
    let fixture = Fixture::start().await?;
    let server: SocketAddr = fixture.server.address().parse()?;
    let named = target("database.invalid:3306", MONITOR.password, "monitored");
    let unresolved = attempt(&mut MysqlProber::new(named.clone())).await;
    assert_eq!(
        found(&unresolved),
        (FindingClass::Dns, Stage::Dns, true),
        "{unresolved:?}"
    );
    let proxied = attempt(&mut MysqlProber::new(named.via(server))).await;
    assert_eq!(proxied.class, FindingClass::Ok, "{proxied:?}");
    Ok(())
}

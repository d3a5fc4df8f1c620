//! The PostgreSQL prober against real servers and against what is none.

#[path = "../common/mod.rs"]
mod common;

mod canary;
mod faults;
mod logins;
mod roles;

use std::time::Duration;

use anyhow::Result;
use quorate_probes::{
    Secret,
    postgresql::{PostgresqlProber, PostgresqlTarget},
};
use quorate_real_parts::{
    PortBlock, ServerDirectory,
    postgresql::{MONITOR, Postgresql, PostgresqlOptions},
};

use common::{ACCESS_TIMEOUT, READY};

/// A server with the monitoring account. Fields are dropped in order: the server first.
struct Fixture {
    server: Postgresql,
    _ports: PortBlock,
    _directory: ServerDirectory,
}

impl Fixture {
    async fn start() -> Result<Self> {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut PostgresqlOptions)) -> Result<Self> {
        Self::start_in(ServerDirectory::new()?, change).await
    }

    async fn start_in(directory: ServerDirectory, change: impl FnOnce(&mut PostgresqlOptions)) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let mut options = PostgresqlOptions::new(ports.port(0));
        change(&mut options);
        let mut server = Postgresql::init(&directory.path().join("server"), options).await?;
        server.start()?;
        server.wait_ready(READY).await?;
        let account = format!("CREATE ROLE {} LOGIN PASSWORD '{}'", MONITOR.user, MONITOR.password);
        server.exec(&[&account]).await?;
        Ok(Self {
            server,
            _ports: ports,
            _directory: directory,
        })
    }

    fn target(&self) -> PostgresqlTarget {
        target(&self.server.address(), MONITOR.password)
    }

    fn prober(&self) -> PostgresqlProber {
        PostgresqlProber::new(self.target())
    }
}

fn target(address: &str, password: &str) -> PostgresqlTarget {
    target_within(ACCESS_TIMEOUT, address, password)
}

fn target_within(access_timeout: Duration, address: &str, password: &str) -> PostgresqlTarget {
    let password = Secret::new(password.to_owned());
    PostgresqlTarget::new(address, MONITOR.user, password, "", access_timeout).expect("a target")
}

//! The Redis prober against real servers, sentinels and clusters, and against what is none.

#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod faults;
mod logins;
mod roles;
mod sentinels;

use std::time::Duration;

use anyhow::Result;
use quorate_probes::{
    Secret,
    redis::{Account, Arrangement, RedisProber, RedisTarget},
};
use quorate_real_parts::{
    PortBlock, ServerDirectory,
    redis::{MONITOR, Redis, RedisOptions},
};

use common::{ACCESS_TIMEOUT, READY};

/// A server with the accounts of the harness. Fields are dropped in order: the server first.
struct Fixture {
    server: Redis,
    _ports: PortBlock,
    _directory: ServerDirectory,
}

impl Fixture {
    async fn start() -> Result<Self> {
        Self::start_in(ServerDirectory::new()?, |_| ()).await
    }

    async fn start_in(directory: ServerDirectory, change: impl FnOnce(&mut RedisOptions)) -> Result<Self> {
        let ports = PortBlock::claim()?;
        let mut options = RedisOptions::new(ports.port(0));
        change(&mut options);
        let mut server = Redis::init(&directory.path().join("server"), options)?;
        server.start()?;
        server.wait_ready(READY).await?;
        Ok(Self {
            server,
            _ports: ports,
            _directory: directory,
        })
    }

    fn target(&self) -> RedisTarget {
        target(&self.server.address(), monitor(MONITOR.password))
    }

    fn prober(&self) -> RedisProber {
        RedisProber::new(self.target())
    }
}

/// The monitoring account with this password.
fn monitor(password: &str) -> Account {
    Account {
        user: MONITOR.user.to_owned(),
        password: Some(Secret::new(password.to_owned())),
    }
}

fn target(address: &str, account: Account) -> RedisTarget {
    target_within(ACCESS_TIMEOUT, address, account)
}

fn target_within(access_timeout: Duration, address: &str, account: Account) -> RedisTarget {
    RedisTarget::new(&[address.to_owned()], Arrangement::Normal, account, access_timeout).expect("a target")
}

//! Redis behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture};
use quorate_machine::{ProbedDetail, RedisMode};

use super::{Account, Arrangement, RedisProber, RedisTarget, test_connection};
use crate::{
    Observation, Tls,
    endpoint::Endpoint,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError, test_each},
};

/// Name of the secret at the sentinels themselves.
const SENTINEL_PASSWORD: &str = "sentinel_password";

/// The engine of the kind `redis`.
#[derive(Clone, Copy, Debug)]
pub struct Redis;

impl Engine for Redis {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let addresses = target.side.addresses.clone();
            let prober = RedisProber::new(at(&target, addresses).await?);
            Ok(Box::new(prober) as Box<dyn Prober>)
        }
        .boxed()
    }

    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>> {
        async move {
            let target = &target;
            test_each(target, |address| async move {
                Ok(test_connection(&at(target, vec![address]).await?, 0).await)
            })
            .await
        }
        .boxed()
    }
}

impl Prober for RedisProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        RedisProber::attempt(self).boxed()
    }
}

/// The target at these addresses.
async fn at(target: &ProbeTarget, addresses: Vec<String>) -> Result<RedisTarget, StartError> {
    let side = &target.side;
    let ProbedDetail::Redis {
        mode,
        master_name,
        sentinel_user,
    } = &side.detail
    else {
        return Err(StartError::Misconfigured("not a side of a Redis monitor".to_owned()));
    };
    let arrangement = match mode {
        RedisMode::Normal => Arrangement::Normal,
        RedisMode::Cluster => Arrangement::Cluster,
        RedisMode::Sentinel => Arrangement::Sentinel {
            master: master_name.clone(),
            account: Account {
                user: sentinel_user.clone(),
                password: target.secrets.get(SENTINEL_PASSWORD).cloned(),
            },
        },
    };
    let account = Account {
        user: side.user.clone(),
        password: target.password().cloned(),
    };
    let found = RedisTarget::new(&addresses, arrangement, account, target.access_timeout)?;
    let found = found.with_tls(Tls::of(&side.tls))?;
    let mut endpoints = Vec::new();
    for address in &addresses {
        endpoints.push(Endpoint::of(target, address).await?);
    }
    Ok(found.at(endpoints, target.paths.clone()))
}

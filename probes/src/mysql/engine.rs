//! MySQL and MariaDB behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use quorate_machine::TlsMode;

use super::{MysqlProber, MysqlTarget, MysqlTls, test_connection, test_with_canary};
use crate::{
    Observation, Secret,
    canary::Place,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError},
};

/// The engine of the kind `mysql`.
#[derive(Clone, Copy, Debug)]
pub struct Mysql;

impl Engine for Mysql {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let address = target.side.addresses.first().cloned().unwrap_or_default();
            let mut prober = MysqlProber::new(at(&target, &address).await?);
            if let Some((canary, password)) = target.canary() {
                let place = Place::of(&target, canary, &password);
                let start = || prober.start_canary(canary, password);
                prober.canary = Some(target.canaries.of(place, start));
            }
            Ok(Box::new(prober) as Box<dyn Prober>)
        }
        .boxed()
    }

    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>> {
        async move {
            let one = async |address: &String| match at(&target, address).await {
                Ok(found) => AddressTest {
                    address: address.clone(),
                    steps: match target.canary() {
                        Some((canary, password)) => test_with_canary(&found, canary, password).await,
                        None => test_connection(&found).await,
                    },
                },
                Err(error) => AddressTest::not_begun(address, &error.to_string()),
            };
            join_all(target.side.addresses.iter().map(one)).await
        }
        .boxed()
    }
}

impl Prober for MysqlProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        MysqlProber::attempt(self).boxed()
    }
}

/// The target at one address.
async fn at(target: &ProbeTarget, address: &str) -> Result<MysqlTarget, StartError> {
    let side = &target.side;
    let password = target.password().cloned().unwrap_or_else(|| Secret::new(String::new()));
    let found = MysqlTarget::new(address, &side.user, password, &side.database, target.access_timeout)
        .map_err(|error| StartError::Misconfigured(error.to_string()))?;
    let tls = match side.tls.mode() {
        TlsMode::Off => MysqlTls::Off,
        TlsMode::Unverified => MysqlTls::Unverified,
        TlsMode::Verified => MysqlTls::Verify {
            ca_pem: side.tls.ca_pem.clone().into_bytes(),
        },
    };
    let found = found.with_tls(tls).with_names(target.names.clone());
    Ok(match target.via(address).await? {
        None => found,
        Some(forwarder) => found.via(forwarder),
    })
}

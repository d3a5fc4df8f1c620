//! Oracle behind the seam that every engine has.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use quorate_machine::ProbedDetail;

use super::{OracleProber, OracleTarget, ThinDriver, driver::Driver, test_connection};
use crate::{
    Observation, Tls,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError},
};

/// The engine of the kind `oracle`.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Engine for Oracle {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let address = target.side.addresses.first().cloned().unwrap_or_default();
            let prober = OracleProber::new(at(&target, &address).await?);
            Ok(Box::new(prober) as Box<dyn Prober>)
        }
        .boxed()
    }

    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>> {
        async move {
            let driver: Arc<dyn Driver> = Arc::new(ThinDriver);
            let mut tests = Vec::new();
            for address in &target.side.addresses {
                tests.push(match at(&target, address).await {
                    Ok(found) => AddressTest {
                        address: address.clone(),
                        steps: test_connection(&found, &driver).await,
                    },
                    Err(error) => AddressTest::not_begun(address, &error.to_string()),
                });
            }
            tests
        }
        .boxed()
    }
}

impl Prober for OracleProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        OracleProber::attempt(self).boxed()
    }
}

async fn at(target: &ProbeTarget, address: &str) -> Result<OracleTarget, StartError> {
    let side = &target.side;
    let is_sid = matches!(
        side.detail,
        ProbedDetail::Relational {
            database_is_sid: true,
            ..
        }
    );
    let found = OracleTarget::new(
        address,
        &side.database,
        is_sid,
        Tls::of(&side.tls),
        target.access_timeout,
    )
    .map_err(|error| StartError::Misconfigured(error.to_string()))?
    .with_names(target.names.clone());
    let found = match target.password() {
        Some(password) => found.with_login(&side.user, password.clone()),
        None => found,
    };
    Ok(match target.via(address).await? {
        None => found,
        Some(forwarder) => found.via(forwarder),
    })
}

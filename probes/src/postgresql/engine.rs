//! PostgreSQL behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture};

use super::{PostgresqlProber, PostgresqlTarget, test_connection, test_with_canary};
use crate::{
    Observation, Secret, Tls,
    canary::Place,
    endpoint::Endpoint,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError, test_each},
};

/// The engine of the kind `postgresql`.
#[derive(Clone, Copy, Debug)]
pub struct Postgresql;

impl Engine for Postgresql {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let address = target.side.addresses.first().cloned().unwrap_or_default();
            let mut prober = PostgresqlProber::new(at(&target, &address).await?);
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
            let target = &target;
            test_each(target, |address| async move {
                let found = at(target, &address).await?;
                Ok(match target.canary() {
                    Some((canary, password)) => test_with_canary(&found, canary, password).await,
                    None => test_connection(&found).await,
                })
            })
            .await
        }
        .boxed()
    }
}

impl Prober for PostgresqlProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        PostgresqlProber::attempt(self).boxed()
    }
}

/// The target at one address.
async fn at(target: &ProbeTarget, address: &str) -> Result<PostgresqlTarget, StartError> {
    let side = &target.side;
    let password = target.password().cloned().unwrap_or_else(|| Secret::new(String::new()));
    let found = PostgresqlTarget::new(address, &side.user, password, &side.database, target.access_timeout)?;
    let found = found.with_tls(Tls::of(&side.tls))?;
    Ok(found.at(Endpoint::of(target, address).await?))
}

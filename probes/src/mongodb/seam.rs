//! MongoDB behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture};
use quorate_machine::ProbedDetail;

use super::{MongodbProber, MongodbTarget, test_connection};
use crate::{
    Observation, Tls,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError},
    several::forwarders,
};

/// The engine of the kind `mongodb`.
#[derive(Clone, Copy, Debug)]
pub struct Mongodb;

impl Engine for Mongodb {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let prober = MongodbProber::new(of(&target).await?);
            Ok(Box::new(prober) as Box<dyn Prober>)
        }
        .boxed()
    }

    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>> {
        async move {
            match of(&target).await {
                Ok(found) => test_connection(&found).await,
                Err(error) => {
                    let text = error.to_string();
                    let addresses = target.side.addresses.iter();
                    addresses
                        .map(|address| AddressTest::not_begun(address, &text))
                        .collect()
                }
            }
        }
        .boxed()
    }
}

impl Prober for MongodbProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        MongodbProber::attempt(self).boxed()
    }
}

async fn of(target: &ProbeTarget) -> Result<MongodbTarget, StartError> {
    let side = &target.side;
    let wrong = |error: crate::TargetError| StartError::Misconfigured(error.to_string());
    let found = MongodbTarget::new(&side.addresses, target.access_timeout).map_err(wrong)?;
    let found = found.with_tls(Tls::of(&side.tls)).map_err(wrong)?;
    let found = match target.password() {
        Some(password) if !side.user.is_empty() => found.with_login(&side.user, password.clone(), &side.database),
        _ => found,
    };
    let found = match &side.detail {
        ProbedDetail::Mongodb { replica_set } => found.of_set(replica_set),
        _ => found,
    };
    let paths = forwarders(target).await?;
    let found = found.with_names(&target.names);
    Ok(found.via(|address| paths.get(&address.to_string()).copied()))
}

//! Elasticsearch and OpenSearch behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture};
use quorate_machine::ProbedDetail;

use super::{ElasticsearchProber, ElasticsearchTarget, test_connection};
use crate::{
    Observation, Tls,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError},
    several::forwarders,
};

/// The engine of the kind `elasticsearch`.
#[derive(Clone, Copy, Debug)]
pub struct Elasticsearch;

impl Engine for Elasticsearch {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let prober = ElasticsearchProber::new(of(&target).await?);
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

impl Prober for ElasticsearchProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        ElasticsearchProber::attempt(self).boxed()
    }
}

async fn of(target: &ProbeTarget) -> Result<ElasticsearchTarget, StartError> {
    let side = &target.side;
    let login = target
        .password()
        .cloned()
        .map(|password| (side.user.as_str(), password));
    let tls = match side.detail {
        ProbedDetail::Elasticsearch { https: false } => Tls::Off,
        _ => Tls::of(&side.tls),
    };
    let found = ElasticsearchTarget::new(&side.addresses, login, tls, target.access_timeout)
        .map_err(|error| StartError::Misconfigured(error.to_string()))?;
    let paths = forwarders(target).await?;
    let found = found.with_names(&target.names);
    Ok(found.via(|address| paths.get(&address.to_string()).copied()))
}

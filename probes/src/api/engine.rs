//! HTTP APIs behind the seam that every engine has.

use futures_util::{FutureExt, future::BoxFuture};
use quorate_machine::ProbedDetail;

use super::{ApiProber, ApiTarget, test_connection};
use crate::{
    Observation, Tls,
    endpoint::Endpoint,
    prober::{AddressTest, Engine, ProbeTarget, Prober, StartError, test_each},
};

/// The engine of the kind `api`.
#[derive(Clone, Copy, Debug)]
pub struct Api;

impl Engine for Api {
    fn start(&self, target: ProbeTarget) -> BoxFuture<'static, Result<Box<dyn Prober>, StartError>> {
        async move {
            let address = target.side.addresses.first().cloned().unwrap_or_default();
            let prober = ApiProber::new(at(&target, &address).await?);
            Ok(Box::new(prober) as Box<dyn Prober>)
        }
        .boxed()
    }

    fn test(&self, target: ProbeTarget) -> BoxFuture<'static, Vec<AddressTest>> {
        async move {
            let target = &target;
            test_each(target, |address| async move {
                Ok(test_connection(&at(target, &address).await?).await)
            })
            .await
        }
        .boxed()
    }
}

impl Prober for ApiProber {
    fn attempt(&mut self) -> BoxFuture<'_, Option<Observation>> {
        ApiProber::attempt(self).map(Some).boxed()
    }
}

/// The target at one address.
async fn at(target: &ProbeTarget, address: &str) -> Result<ApiTarget, StartError> {
    let ProbedDetail::Api(request) = &target.side.detail else {
        return Err(StartError::Misconfigured("not a side of an API monitor".to_owned()));
    };
    let mut found = ApiTarget::new(address, &request.path, target.access_timeout)?.expecting(
        request.method.name(),
        request.expected_status,
        &request.body_contains,
    )?;
    for (name, value) in &request.headers {
        let secret = format!("header.{}", name.to_ascii_lowercase());
        let value = match (value, target.secrets.get(&secret)) {
            (Some(value), _) => value.as_str(),
            (None, Some(secret)) => secret.expose(),
            (None, None) => {
                let text = format!("the value of the header {name} is missing");
                return Err(StartError::Misconfigured(text));
            }
        };
        found = found.with_header(name, value)?;
    }
    if request.https {
        found = found.with_tls(Tls::of(&target.side.tls))?;
    }
    Ok(found.at(Endpoint::of(target, address).await?))
}

//! gRPC services that need no login: health (service "", as etcd's) and reflection of the schema.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use quorate_raft::ClusterStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower_service::Service;

use crate::gateway::schema::DESCRIPTORS;

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;
type Erased = Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// The services, by the first part of their paths. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Strangers {
    health: Erased,
    reflection: Erased,
    reflection_alpha: Erased,
}

impl Strangers {
    /// The services of a port; health follows the node's standing until `drain`.
    pub(crate) fn start(status: watch::Receiver<ClusterStatus>, drain: CancellationToken) -> Strangers {
        let reporter = HealthReporter::new();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        tokio::spawn(follow(status, reporter, drain));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        Strangers {
            health: erase(health),
            reflection: erase(reflection().build_v1().expect("the committed descriptors are valid")),
            reflection_alpha: erase(
                reflection()
                    .build_v1alpha()
                    .expect("the committed descriptors are valid"),
            ),
        }
    }

    /// Answers a request of one of the services; `None` for another service.
    pub(crate) fn call(&self, request: Request<Body>) -> Option<Answer> {
        let service = match request.uri().path().split('/').nth(1) {
            Some("grpc.health.v1.Health") => &self.health,
            Some("grpc.reflection.v1.ServerReflection") => &self.reflection,
            Some("grpc.reflection.v1alpha.ServerReflection") => &self.reflection_alpha,
            _ => return None,
        };
        Some(service(request))
    }
}

fn erase<S>(service: S) -> Erased
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Arc::new(move |request| Box::pin(service.clone().call(request)))
}

/// Says "serving" while this node can answer, "not serving" otherwise and when the port closes.
async fn follow(mut status: watch::Receiver<ClusterStatus>, reporter: HealthReporter, drain: CancellationToken) {
    loop {
        let (serving, stopped) = {
            let standing = status.borrow_and_update();
            (standing.serving && standing.fatal.is_none(), drain.is_cancelled())
        };
        let standing = match serving && !stopped {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        reporter.set_service_status("", standing).await;
        if stopped {
            return;
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = drain.cancelled() => {}
        }
    }
}

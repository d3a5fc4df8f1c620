//! One request: to its gRPC service by path, to the JSON gateway, or to a plain page. What comes over HTTP/2 and is on the hot
//! path of puts and gets ([`crate::services::hot`]) never gets here.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response, header};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service as _;

use crate::body::{Arrivals, MeteredBody, RequestBody};
use crate::caller::Connection;
use crate::context::Context;
use crate::gateway;
use crate::gateway::websocket::{self, AfterUpgrade};
use crate::pages;
use crate::pb::etcdserverpb::auth_server::AuthServer;
use crate::pb::etcdserverpb::cluster_server::ClusterServer;
use crate::pb::etcdserverpb::kv_server::KvServer;
use crate::pb::etcdserverpb::lease_server::LeaseServer;
use crate::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::pb::etcdserverpb::watch_server::WatchServer;
use crate::pb::quoratepb::import_server::ImportServer;
use crate::pb::v3electionpb::election_server::ElectionServer;
use crate::pb::v3lockpb::lock_server::LockServer;
use crate::services::Services;
use crate::strangers::Strangers;

/// Largest gRPC message that is read at all, in bytes: etcd's limit of a request and 512 KiB for what is around it. Between
/// the two the answer is etcd's "request is too large".
pub(crate) const MAX_MESSAGE_BYTES: usize = quorate_kv::MAX_REQUEST_BYTES + 512 * 1024;

/// Calls on which a client sends messages one after the other.
const STREAMING_PATHS: [&str; 3] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/quoratepb.Import/Import",
];

/// Begin the paths of etcd's own services, and of ours beside them.
const SERVICES_PREFIXES: [&str; 4] = ["/etcdserverpb.", "/v3lockpb.", "/v3electionpb.", "/quoratepb."];

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// The services of one port.
#[derive(Clone)]
pub(crate) struct Routes {
    context: Arc<Context>,
    arrivals: Arc<Arrivals>,
    waiting: Arc<Arrivals>,
    kv: KvServer<Services>,
    watch: WatchServer<Services>,
    lease: LeaseServer<Services>,
    cluster: ClusterServer<Services>,
    maintenance: MaintenanceServer<Services>,
    auth: AuthServer<Services>,
    strangers: Strangers,
    lock: LockServer<Services>,
    election: ElectionServer<Services>,
    import: ImportServer<Services>,
}

impl Routes {
    pub(crate) fn new(context: Arc<Context>) -> Routes {
        let services = Arc::new(Services(Arc::clone(&context)));
        let limit = MAX_MESSAGE_BYTES;
        Routes {
            strangers: Strangers::start(context.status.clone(), context.drain.clone()),
            context,
            arrivals: Arc::default(),
            waiting: Arc::default(),
            kv: KvServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            watch: WatchServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            lease: LeaseServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            cluster: ClusterServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            maintenance: MaintenanceServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            auth: AuthServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            lock: LockServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            election: ElectionServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            import: ImportServer::from_arc(services).max_decoding_message_size(limit),
        }
    }

    /// Answers on a port that serves no keys: health, version and metrics.
    pub(crate) async fn page(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let uri = request.uri();
        Ok(pages::serve(&self.context, request.method(), uri.path(), uri.query()).await)
    }

    /// What the services and the hot calls of this port share.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Room for messages under way.
    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Room for what streams have sent and their services have not read, apart from the other: who fills it by taking no answers
    /// keeps nobody's messages out.
    pub(crate) fn waiting(&self) -> &Arc<Arrivals> {
        &self.waiting
    }

    pub(crate) fn dispatch(&self, request: Request<RequestBody>) -> Answer {
        let path = request.uri().path();
        if !SERVICES_PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
            let routes = self.clone();
            return Box::pin(async move { Ok(routes.other(request).await) });
        }
        let unary = !STREAMING_PATHS.contains(&path);
        let request = request.map(|body| MeteredBody::new(body, unary, Arc::clone(&self.arrivals)));
        self.call(request)
    }

    /// Hands a call to its gRPC service and counts it.
    fn call<B>(&self, request: Request<B>) -> Answer
    where
        B: hyper::body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let path = request.uri().path().to_owned();
        let service = SERVICES_PREFIXES
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix))
            .and_then(|rest| rest.split('/').next());
        let answer = match service {
            Some("KV") => self.kv.clone().call(request),
            Some("Watch") => self.watch.clone().call(request),
            Some("Lease") => self.lease.clone().call(request),
            Some("Cluster") => self.cluster.clone().call(request),
            Some("Maintenance") => self.maintenance.clone().call(request),
            Some("Auth") => self.auth.clone().call(request),
            Some("Lock") => self.lock.clone().call(request),
            Some("Election") => self.election.clone().call(request),
            Some("Import") => self.import.clone().call(request),
            _ => return Box::pin(std::future::ready(Ok(unknown_service()))),
        };
        Box::pin(self.context.metrics.count(&path, answer))
    }

    /// Everything but the hot path: the JSON gateway, the pages, health and reflection.
    async fn other(&self, request: Request<RequestBody>) -> Response<Body> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            let request = request.map(|body| Body::new(MeteredBody::new(body, false, Arc::clone(&self.arrivals))));
            return match self.strangers.call(request) {
                Some(answer) => {
                    let Ok(response) = answer.await;
                    response
                }
                None => unknown_service(),
            };
        }
        let mut response = if let Some(response) = pages::preflight(&request) {
            response
        } else if gateway::owns(request.uri().path()) {
            let routes = self.clone();
            let call: gateway::Call = Arc::new(move |mut request| {
                if let Some(connection) = request.extensions_mut().get_mut::<Connection>() {
                    connection.common_name = None;
                }
                routes.call(request)
            });
            let arrivals = Arc::clone(&self.arrivals);
            if websocket::is_asked_for(&request) {
                websocket::accept(request, arrivals, call)
            } else {
                gateway::serve(request, arrivals, call).await
            }
        } else {
            let uri = request.uri().clone();
            pages::serve(&self.context, request.method(), uri.path(), uri.query()).await
        };
        pages::allow_origins(&mut response);
        response
    }
}

fn unknown_service() -> Response<Body> {
    Status::unimplemented("quorate: unknown service").into_http()
}

/// The services as hyper calls them for one connection of HTTP/1.1.
pub(crate) struct ConnectionService {
    routes: Routes,
    connection: Connection,
    after_upgrade: AfterUpgrade,
}

impl ConnectionService {
    /// The services; `after_upgrade` is told what follows once the connection speaks WebSocket.
    pub(crate) fn new(routes: Routes, connection: Connection, after_upgrade: AfterUpgrade) -> ConnectionService {
        ConnectionService {
            routes,
            connection,
            after_upgrade,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        request.extensions_mut().insert(self.after_upgrade.clone());
        self.routes.dispatch(request.map(RequestBody::Http1))
    }
}

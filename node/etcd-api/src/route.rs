//! One request: to its gRPC service by path, or to the few plain HTTP pages. What comes over HTTP/2 and is on the hot path of
//! puts and gets ([`crate::services::hot`]) never gets here.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service as _;

use crate::body::{Arrivals, MeteredBody, RequestBody};
use crate::context::{Connection, Context, EMULATED_CLUSTER_VERSION, EMULATED_VERSION};
use crate::pb::etcdserverpb::auth_server::AuthServer;
use crate::pb::etcdserverpb::cluster_server::ClusterServer;
use crate::pb::etcdserverpb::kv_server::KvServer;
use crate::pb::etcdserverpb::lease_server::LeaseServer;
use crate::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::pb::etcdserverpb::watch_server::WatchServer;
use crate::services::Services;

/// Largest gRPC message that is read at all, in bytes: etcd's limit of a request and 512 KiB for what is around it. Between
/// the two the answer is etcd's "request is too large".
pub(crate) const MAX_MESSAGE_BYTES: usize = quorate_kv::MAX_REQUEST_BYTES + 512 * 1024;

/// Calls on which a client sends messages one after the other.
const STREAMING_PATHS: [&str; 2] = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];

/// The services of one port.
#[derive(Clone)]
pub(crate) struct Routes {
    context: Arc<Context>,
    arrivals: Arc<Arrivals>,
    kv: KvServer<Services>,
    watch: WatchServer<Services>,
    lease: LeaseServer<Services>,
    cluster: ClusterServer<Services>,
    maintenance: MaintenanceServer<Services>,
    auth: AuthServer<Services>,
}

impl Routes {
    pub(crate) fn new(context: Arc<Context>) -> Routes {
        let services = Arc::new(Services(Arc::clone(&context)));
        let limit = MAX_MESSAGE_BYTES;
        Routes {
            context,
            arrivals: Arc::default(),
            kv: KvServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            watch: WatchServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            lease: LeaseServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            cluster: ClusterServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            maintenance: MaintenanceServer::from_arc(Arc::clone(&services)).max_decoding_message_size(limit),
            auth: AuthServer::from_arc(services).max_decoding_message_size(limit),
        }
    }

    /// What the services and the hot calls of this port share.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Room for messages under way.
    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    pub(crate) fn dispatch(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        let path = request.uri().path();
        let unary = !STREAMING_PATHS.contains(&path);
        let service = path
            .strip_prefix("/etcdserverpb.")
            .and_then(|rest| rest.split('/').next().map(str::to_owned));
        let request = request.map(|body| MeteredBody::new(body, unary, Arc::clone(&self.arrivals)));
        match service.as_deref() {
            Some("KV") => self.kv.clone().call(request),
            Some("Watch") => self.watch.clone().call(request),
            Some("Lease") => self.lease.clone().call(request),
            Some("Cluster") => self.cluster.clone().call(request),
            Some("Maintenance") => self.maintenance.clone().call(request),
            Some("Auth") => self.auth.clone().call(request),
            _ => {
                let response = self.page(&request);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }

    fn page<B>(&self, request: &Request<B>) -> Response<Body> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            return Status::unimplemented("quorate: unknown service").into_http();
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/health") => self.health(),
            (&Method::GET, "/version") => {
                let version = format!(
                    r#"{{"etcdserver":"{EMULATED_VERSION}","etcdcluster":"{EMULATED_CLUSTER_VERSION}","storage":"{EMULATED_CLUSTER_VERSION}"}}"#
                );
                json(StatusCode::OK, version)
            }
            (_, "/health" | "/version") => json(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"use GET"}"#.to_owned()),
            _ => json(StatusCode::NOT_FOUND, r#"{"error":"there is no such page"}"#.to_owned()),
        }
    }

    fn health(&self) -> Response<Body> {
        let status = self.context.status.borrow();
        match status.serving && status.leader.is_some() {
            true => json(StatusCode::OK, r#"{"health":"true","reason":""}"#.to_owned()),
            false => {
                let reason = r#"{"health":"false","reason":"RAFT NO LEADER"}"#.to_owned();
                json(StatusCode::SERVICE_UNAVAILABLE, reason)
            }
        }
    }
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(text))));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The services as hyper calls them for one connection of HTTP/1.1.
pub(crate) struct ConnectionService {
    routes: Routes,
    connection: Connection,
}

impl ConnectionService {
    pub(crate) fn new(routes: Routes, connection: Connection) -> ConnectionService {
        ConnectionService { routes, connection }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.routes.dispatch(request.map(RequestBody::Http1))
    }
}

//! What answers without login: gRPC health and reflection; and who a client certificate makes of its bearer.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use quorate_etcd_api::pb::etcdserverpb as pb;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{Login, Node, PATIENCE};

#[tokio::test]
async fn health_says_serving_and_follows_the_port() {
    let mut node = Node::start().await;
    let mut health = HealthClient::new(node.channel().await);
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer: HealthCheckResponse = health.check(ask("")).await.expect("answer").into_inner();
    assert_eq!(answer.status, ServingStatus::Serving as i32);
    let unknown = health.check(ask("nothing")).await.expect_err("an unknown service");
    assert_eq!(unknown.code(), Code::NotFound);
    let mut followed = health.watch(ask("")).await.expect("stream").into_inner();
    let first = followed.message().await.expect("answer").expect("a status");
    assert_eq!(first.status, ServingStatus::Serving as i32);
    let closing = node.close();
    let end = async {
        let next = followed.message().await;
        assert!(
            !matches!(&next, Ok(Some(answer)) if answer.status == ServingStatus::Serving as i32),
            "{next:?}"
        );
        drop((followed, health));
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(closing, end) })
        .await
        .expect("in time");
}

#[tokio::test]
async fn reflection_tells_the_schema_in_both_versions() {
    let node = Node::start().await;
    macro_rules! services {
        ($version:ident) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client = $version::server_reflection_client::ServerReflectionClient::new(node.channel().await);
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut answers = client
                .server_reflection_info(tokio_stream::iter([request]))
                .await
                .expect("stream")
                .into_inner();
            match answers.message().await.expect("answer").expect("one").message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for service in ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Auth"] {
            assert!(
                services.contains(&format!("etcdserverpb.{service}")),
                "{service}: {services:?}"
            );
        }
        assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
    }
}

/// An authority, its certificate for the server, and those of clients by common name.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

type Identity = (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>);

impl Authority {
    fn new() -> Authority {
        let key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("certificate").der().clone();
        Authority {
            issuer: rcgen::Issuer::new(params, key),
            certificate,
        }
    }

    fn issue(&self, common_name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("root");
        Arc::new(roots)
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.issue("server");
        let verifier = WebPkiClientVerifier::builder(self.roots()).build().expect("verifier");
        let config = rustls::ServerConfig::builder().with_client_cert_verifier(verifier);
        Arc::new(
            config
                .with_single_cert(vec![certificate], key.into())
                .expect("configuration"),
        )
    }

    fn connector(&self, common_name: &str, protocol: &[u8]) -> TlsConnector {
        let (certificate, key) = self.issue(common_name);
        let config = rustls::ClientConfig::builder().with_root_certificates(self.roots());
        let mut config = config
            .with_client_auth_cert(vec![certificate], key.into())
            .expect("configuration");
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

async fn channel(node: &Node, connector: TlsConnector) -> Channel {
    let address = node.address;
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let name = ServerName::try_from("127.0.0.1").expect("name");
            let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://127.0.0.1").timeout(PATIENCE);
    endpoint.connect_with_connector(connect).await.expect("connection")
}

#[tokio::test]
async fn a_verified_common_name_is_the_user_of_calls_without_a_token() {
    let authority = Authority::new();
    let tls = authority.server();
    let (expiry_sender, expiry) = watch::channel(4_000_000_000_i64);
    let node = Node::start_with(move |door| {
        door.tls = Some(watch::channel(tls).1);
        door.certificate_expiry = Some(expiry);
        door.require_client_certificate = true;
    })
    .await;
    let get = |key: &str| pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let login = async |name: &str, token| Login::new(channel(&node, authority.connector(name, b"h2")).await, token);
    let mut root = login("root", None).await;
    root.put("k", "v").await;
    root.auth
        .user_list(pb::AuthUserListRequest {})
        .await
        .expect("root may list users");
    let mut sdk = login("mas", None).await;
    sdk.kv.range(get("/mas-monitor/x")).await.expect("its own tree");
    let mut nobody = login("nobody", None).await;
    for refused in [sdk.kv.range(get("k")).await, nobody.kv.range(get("k")).await] {
        let refused = refused.expect_err("no permission");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::PermissionDenied, "etcdserver: permission denied")
        );
    }
    let mut forger = login("root", Some("forged")).await;
    let refused = forger
        .kv
        .range(get("k"))
        .await
        .expect_err("a bad token is no lack of one");
    assert_eq!(refused.code(), Code::Unauthenticated);
    // The gateway knows tokens only; and the pages need the certificate, too.
    let ask = async |path: &str, method: &str| {
        let name = ServerName::try_from("127.0.0.1").expect("name");
        let stream = TcpStream::connect(node.address).await.expect("connection");
        let mut stream = authority
            .connector("root", b"http/1.1")
            .connect(name, stream)
            .await
            .expect("TLS");
        let body = r#"{"key":"aw=="}"#;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut answer = Vec::new();
        // The end of the connection may come without TLS's farewell.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).expect("text")
    };
    let answer = ask("/v3/kv/range", "POST").await;
    assert!(answer.contains("etcdserver: user name is empty"), "{answer}");
    let metrics = ask("/metrics", "GET").await;
    assert!(
        metrics.contains("quorate_kv_certificate_expiry_timestamp_seconds 4000000000\n"),
        "{metrics}"
    );
    drop(expiry_sender);
}

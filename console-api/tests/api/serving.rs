//! The HTTPS server with real sockets: client addresses, event streams, a stop that ends them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_console_api::serve_https;
use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Version};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::{App, ROOT_PASSWORD};

const DEADLINE: Duration = Duration::from_secs(10);

/// A server configuration for 127.0.0.1 and the certificate to trust.
fn tls() -> (rustls::ServerConfig, Certificate) {
    // Another test of the process may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let trusted = Certificate::from_der(made.cert.der()).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (config, trusted)
}

fn client(trusted: &Certificate, adapt: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder()
        .tls_certs_only([trusted.clone()])
        .no_proxy()
        .timeout(DEADLINE);
    adapt(builder).build().expect("a client")
}

async fn login(client: &Client, address: SocketAddr) -> String {
    let body = json!({"user": "root", "password": ROOT_PASSWORD});
    let answer = client
        .post(format!("https://{address}/api/v1/login"))
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let body: Value = answer.json().await.expect("JSON");
    body["session"].as_str().expect("a session").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_served_until_the_stop() {
    let app = App::start().await;
    let (config, trusted) = tls();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_https(listener, Arc::new(config), app.router.clone(), async {
        let _ = stopped.await;
    }));
    let old = client(&trusted, ClientBuilder::http1_only);
    let session = login(&old, address).await;
    let me = old
        .get(format!("https://{address}/api/v1/me"))
        .bearer_auth(&session)
        .send()
        .await
        .expect("an answer");
    assert_eq!((me.status(), me.version()), (StatusCode::OK, Version::HTTP_11));
    let create = old.post(format!("https://{address}/api/v1/instances/default/applications"));
    let created = create
        .bearer_auth(&session)
        .json(&json!({"name": "shop"}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let audit = app.root("GET", "/audit?limit=1", "").await;
    assert_eq!(audit.body["items"][0]["source"], "127.0.0.1", "{}", audit.body);

    let events = format!("https://{address}/api/v1/events/stream?after=0");
    let mut stream = old.get(events).bearer_auth(&session).send().await.expect("an answer");
    assert!(stream.chunk().await.expect("no error").is_some());
    app.context.end_streams();
    stop.send(()).expect("the server waits");
    while stream.chunk().await.expect("the stream ends in order").is_some() {}
    tokio::time::timeout(DEADLINE, served)
        .await
        .expect("the server stops in time")
        .expect("no panic");
    assert!(old.get(format!("https://{address}/api/v1/me")).send().await.is_err());
}

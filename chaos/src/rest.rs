//! A client of the console's REST interface that behaves as the CLI does: next node where one does not serve.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::cluster::DevInfo;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// REST client with the console's root user.
#[derive(Debug, Clone)]
pub struct RestClient {
    client: reqwest::Client,
    addresses: Vec<String>,
    user: String,
    password: String,
    token: Arc<Mutex<Option<String>>>,
}

/// An answer whose refusal is of interest.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    pub body: Value,
}

impl Answer {
    /// The body if the request succeeded, else an error with the problem's words.
    pub fn success(self) -> Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        bail!("status {}: {}", self.status, self.body)
    }

    /// Stable code of the problem, empty for a success.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl RestClient {
    /// For the nodes of a development cluster.
    pub fn new(info: &DevInfo) -> Result<Self> {
        let ca = std::fs::read(&info.console.ca).with_context(|| format!("{}", info.console.ca.display()))?;
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
            .no_proxy()
            .connect_timeout(Duration::from_millis(500))
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self {
            client,
            addresses: info.nodes.iter().map(|node| node.console.clone()).collect(),
            user: info.console.user.clone(),
            password: info.console.password.clone(),
            token: Arc::default(),
        })
    }

    /// The same client without the node at this console address.
    #[must_use]
    pub fn without(&self, console: &str) -> Self {
        let mut other = self.clone();
        other.addresses.retain(|address| address != console);
        other
    }

    /// The wall clock of the node at this console address, to the second, as its answers date themselves.
    pub async fn clock_of(&self, console: &str) -> Result<SystemTime> {
        let response = self.client.get(format!("{console}/readyz")).send().await?;
        let date = response.headers().get("date").context("the answer has no date")?;
        let date = jiff::fmt::rfc2822::parse(date.to_str()?)?;
        Ok(date.timestamp().into())
    }

    /// Whether the node at this console address serves.
    pub async fn ready(&self, console: &str) -> bool {
        let request = self
            .client
            .get(format!("{console}/readyz"))
            .timeout(Duration::from_secs(1));
        request
            .send()
            .await
            .is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Text of a page beside the REST interface such as `/metrics`, from one node, with the session.
    pub async fn page(&self, console: &str, path: &str) -> Result<String> {
        let token = self.token(console).await?;
        Ok(self
            .client
            .get(format!("{console}{path}"))
            .bearer_auth(token)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    /// GET below `/api/v1`; a refusal is an error.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.request(Method::GET, path, None, None)
            .await?
            .success()
            .with_context(|| format!("GET {path}"))
    }

    /// POST below `/api/v1`; a refusal is an error.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.try_post(path, body)
            .await?
            .success()
            .with_context(|| format!("POST {path}"))
    }

    /// POST below `/api/v1` whose refusal is of interest.
    pub async fn try_post(&self, path: &str, body: Value) -> Result<Answer> {
        self.request(Method::POST, path, Some(body), None).await
    }

    /// PUT with the object's present ETag.
    pub async fn put(&self, path: &str, body: Value) -> Result<Value> {
        let etag = self.request(Method::GET, path, None, None).await?.etag;
        self.request(Method::PUT, path, Some(body), etag)
            .await?
            .success()
            .with_context(|| format!("PUT {path}"))
    }

    /// PUT with an ETag taken elsewhere.
    pub async fn put_with_etag(&self, path: &str, body: Value, etag: Option<String>) -> Result<Answer> {
        self.request(Method::PUT, path, Some(body), etag).await
    }

    /// A request to the first node that serves.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        etag: Option<String>,
    ) -> Result<Answer> {
        let mut last = None;
        for _ in 0..2 {
            for address in &self.addresses {
                match self
                    .request_one(address, &method, path, body.as_ref(), etag.as_deref())
                    .await
                {
                    Ok(answer) if answer.status == 503 => {
                        last = Some(anyhow::anyhow!("{address} answered 503: {}", answer.body))
                    }
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.context("no node to ask")?)
    }

    /// POST of any bytes to one node, with the session.
    pub async fn raw_post(
        &self,
        console: &str,
        path: &str,
        media_type: &str,
        body: impl Into<String>,
    ) -> Result<Answer> {
        let token = self.token(console).await?;
        let request = self.client.post(format!("{console}/api/v1{path}")).bearer_auth(token);
        let request = request.header("content-type", media_type).body(body.into());
        answer(request.send().await?).await
    }

    /// GET at one node with a credential of one's own; none if it is empty.
    pub async fn get_as(&self, credential: &str, console: &str, path: &str) -> Result<Answer> {
        let mut request = self.client.get(format!("{console}/api/v1{path}"));
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        answer(request.send().await?).await
    }

    async fn request_one(
        &self,
        address: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer> {
        for attempt in 0..2 {
            let token = self.token(address).await?;
            let mut request = self
                .client
                .request(method.clone(), format!("{address}/api/v1{path}"))
                .bearer_auth(token);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(etag) = etag {
                request = request.header("if-match", etag);
            }
            let answer = answer(request.send().await?).await?;
            if answer.status == 401 && attempt == 0 {
                self.token.lock().expect("not poisoned").take();
                continue;
            }
            return Ok(answer);
        }
        bail!("{address} refuses the login")
    }

    async fn token(&self, address: &str) -> Result<String> {
        if let Some(token) = self.token.lock().expect("not poisoned").clone() {
            return Ok(token);
        }
        let body = serde_json::json!({"user": self.user, "password": self.password});
        let response = self
            .client
            .post(format!("{address}/api/v1/login"))
            .json(&body)
            .send()
            .await?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        let token = answer["session"]
            .as_str()
            .with_context(|| format!("login at {address}: {status} {answer}"))?
            .to_owned();
        *self.token.lock().expect("not poisoned") = Some(token.clone());
        Ok(token)
    }
}

async fn answer(response: reqwest::Response) -> Result<Answer> {
    let status = response.status().as_u16();
    let etag = response.headers().get("etag").and_then(|value| value.to_str().ok());
    let etag = etag.map(str::to_owned);
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, etag, body })
}

//! REST client: tries the nodes in order and turns problems into failures.

use std::time::Duration;

use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Options;
use super::failure::{Code, Failure};
use super::language::Language;
use super::target::{Credential, Target};

/// Time to connect to one node.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Time for one request; longer than the server's own deadlines, so that its answer is the one seen.
/// A save reads, tests the connection and writes, each with a deadline of its own.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// How often a login is repeated when the server asks to wait, and the longest wait it may ask for.
const LOGIN_ATTEMPTS: u32 = 5;
const MAX_LOGIN_WAIT: Duration = Duration::from_secs(10);

/// Entries of one page when a whole list is read, and how many pages at most.
const PAGE_ENTRIES: u32 = 500;
const MAX_PAGES: u32 = 200;

/// A logged-in client.
pub struct Client {
    http: reqwest::Client,
    target: Target,
    /// `default` or an id, as given.
    instance: String,
    /// Language that the server is asked to answer in.
    language: Language,
    /// Position of the node that answered last.
    preferred: Mutex<usize>,
    bearer: String,
}

/// An answer: the body and the generation from its ETag.
pub struct Answer {
    pub body: Value,
    pub generation: Option<u64>,
}

impl Client {
    /// Finds the cluster and logs in where that is needed.
    pub async fn open(options: &Options) -> Result<Self, Failure> {
        let target = Target::find(options)?;
        Self::connect(target, options).await
    }

    /// Logs in to a target.
    pub async fn connect(target: Target, options: &Options) -> Result<Self, Failure> {
        let mut client = Self {
            http: http_client(&target)?,
            instance: options.instance.clone(),
            language: options.language.unwrap_or_else(Language::of_environment),
            preferred: Mutex::new(0),
            bearer: String::new(),
            target,
        };
        client.bearer = match client.target.credential.clone() {
            Credential::Bearer(bearer) => bearer,
            Credential::Password { user, password } => client.login(&user, &password).await?,
        };
        Ok(client)
    }

    /// The session or token in use.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    async fn login(&self, user: &str, password: &str) -> Result<String, Failure> {
        let body = json!({"user": user, "password": password});
        for _ in 0..LOGIN_ATTEMPTS {
            let (status, answer) = self.send(Method::POST, "/login", Some(&body), None).await?;
            if status == StatusCode::TOO_MANY_REQUESTS {
                let seconds = answer
                    .body
                    .get("retry_after_seconds")
                    .and_then(Value::as_u64)
                    .unwrap_or(1);
                tokio::time::sleep(Duration::from_secs(seconds).min(MAX_LOGIN_WAIT)).await;
                continue;
            }
            let body = judge(status, answer)?.body;
            let session = body.get("session").and_then(Value::as_str);
            return session.map(str::to_owned).ok_or_else(strange);
        }
        Err(Failure::new(
            Code::Unavailable,
            "the login was put off too often; try again later",
        ))
    }

    /// The instance as given: `default` or an id.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Path of the instance's `rest`.
    pub fn of_instance(&self, rest: &str) -> String {
        format!("/instances/{}{rest}", self.instance)
    }

    /// Reads `path` (below `/api/v1`).
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None, None).await
    }

    /// Reads a whole list: `path` and every page after it, as one list without `next_cursor`.
    pub async fn get_all(&self, path: &str) -> Result<Value, Failure> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{joint}limit={PAGE_ENTRIES}");
        let mut whole = self.get(&first).await?.body;
        for _ in 0..MAX_PAGES {
            let object = whole.as_object_mut().ok_or_else(strange)?;
            let Some(Value::String(cursor)) = object.remove("next_cursor") else {
                return Ok(whole);
            };
            let mut page = self.get(&format!("{first}&cursor={cursor}")).await?.body;
            let more = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            let items = object
                .get_mut("items")
                .and_then(Value::as_array_mut)
                .ok_or_else(strange)?;
            items.extend(more.ok_or_else(strange)?);
            let next = page.as_object_mut().and_then(|page| page.remove("next_cursor"));
            object.extend(next.map(|cursor| ("next_cursor".to_owned(), cursor)));
        }
        let text = format!("the list has more than {MAX_PAGES} pages; narrow it with filters");
        Err(Failure::new(Code::Refused, text))
    }

    /// Posts a body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// Replaces, guarded by a generation where one is given.
    pub async fn put(&self, path: &str, body: &Value, generation: Option<u64>) -> Result<Answer, Failure> {
        self.call(Method::PUT, path, Some(body), generation).await
    }

    /// Deletes, guarded by a generation where one is given.
    pub async fn delete(&self, path: &str, generation: Option<u64>) -> Result<Answer, Failure> {
        self.call(Method::DELETE, path, None, generation).await
    }

    /// Deletes what has to be confirmed by a body.
    pub async fn delete_with(&self, path: &str, body: &Value, generation: Option<u64>) -> Result<Answer, Failure> {
        self.call(Method::DELETE, path, Some(body), generation).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        generation: Option<u64>,
    ) -> Result<Answer, Failure> {
        let (status, answer) = self.send(method, path, body, generation).await?;
        judge(status, answer)
    }

    /// Sends to the node that answered last, then to the others: the next one when a node cannot be reached or says 503,
    /// which both mean that it has not begun to carry the request out, and for a read whenever it gives no answer. Of a write
    /// that was sent and not answered nobody knows what came of it.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        generation: Option<u64>,
    ) -> Result<(StatusCode, Answer), Failure> {
        let nodes = self.target.addresses.len();
        let first = *self.preferred.lock().await;
        let mut failed = Vec::new();
        let mut unavailable = None;
        for position in (0..nodes).map(|offset| (first + offset) % nodes) {
            let address = &self.target.addresses[position];
            match self.send_to(address, &method, path, body, generation).await {
                Ok((status, answer)) if status == StatusCode::SERVICE_UNAVAILABLE => {
                    unavailable = Some((status, answer));
                }
                Ok(answered) => {
                    *self.preferred.lock().await = position;
                    return Ok(answered);
                }
                Err(error) if error.is_connect() || (method == Method::GET && !error.is_timeout()) => {
                    failed.push(format!("{address}: {}", chain(&error)))
                }
                Err(error) => return Err(Failure::new(Code::TimedOut, format!("{address}: {}", chain(&error)))),
            }
        }
        let none = || {
            Failure::new(
                Code::Unavailable,
                format!("no node can be reached: {}", failed.join("; ")),
            )
        };
        unavailable.ok_or_else(none)
    }

    async fn send_to(
        &self,
        address: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        generation: Option<u64>,
    ) -> reqwest::Result<(StatusCode, Answer)> {
        let mut request = self.http.request(
            method.clone(),
            format!("{}/api/v1{path}", address.trim_end_matches('/')),
        );
        request = request.header("accept-language", self.language.tag());
        if !self.bearer.is_empty() {
            request = request.bearer_auth(&self.bearer);
        }
        if let Some(generation) = generation {
            request = request.header("if-match", format!("\"{generation}\""));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok());
        let generation = etag.and_then(|etag| etag.trim_matches('"').parse().ok());
        let media_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let file = media_type.is_some_and(|found| found.starts_with("text/csv") || found == "application/jsonl");
        let bytes = response.bytes().await?;
        let body = match file {
            true => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            false => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        Ok((status, Answer { body, generation }))
    }

    /// Id of the object of `collection` that has this id or name.
    pub async fn resolve(&self, collection: &str, id_or_name: &str) -> Result<String, Failure> {
        if is_id(id_or_name) {
            return Ok(id_or_name.to_owned());
        }
        let listed = self.get_all(&self.of_instance(&format!("/{collection}"))).await?;
        let items = listed.get("items").and_then(Value::as_array).ok_or_else(strange)?;
        let named = items
            .iter()
            .find(|item| item.get("name").and_then(Value::as_str) == Some(id_or_name));
        let id = named.and_then(|item| item.get("id")).and_then(Value::as_str);
        let none = || {
            Failure::new(
                Code::NotFound,
                format!("there is nothing named `{id_or_name}` among the {collection}"),
            )
        };
        id.map(str::to_owned).ok_or_else(none)
    }
}

/// Ids are 32 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn judge(status: StatusCode, answer: Answer) -> Result<Answer, Failure> {
    if status.is_success() {
        Ok(answer)
    } else {
        Err(Failure::from_problem(status.as_u16(), &answer.body))
    }
}

/// The answer is not what the API promises.
pub fn strange() -> Failure {
    Failure::new(
        Code::Refused,
        "the answer is not what this version understands; is the node of another version?",
    )
}

fn http_client(target: &Target) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(REQUEST_DEADLINE)
        .no_proxy()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(ca) = &target.ca {
        let unusable = |error: String| Failure::new(Code::Usage, format!("{}: {error}", ca.display()));
        let pem = std::fs::read(ca).map_err(|error| unusable(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(chain(&error)))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder
        .build()
        .map_err(|error| Failure::new(Code::Usage, chain(&error)))
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

//! `quorate login`, `logout`, `whoami`, `user` and `token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Options;
use super::client::Client;
use super::failure::{Code, Failure};
use super::output::{self, Column, Rendered};
use super::password::PasswordSource;
use super::target::{Context, Contexts, Credential, Target};

/// Name of the context when none is given.
const DEFAULT_CONTEXT: &str = "default";

/// Where and as whom to log in.
#[derive(Args, Debug)]
pub struct LoginOptions {
    /// Console address of a node, `https://host:port`; repeat for all nodes
    #[arg(long, required = true, value_name = "URL")]
    address: Vec<String>,
    /// Certificate authority of the console, PEM; the system's when left out
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[arg(long, default_value = "root")]
    user: String,
    #[command(flatten)]
    password: PasswordSource,
}

/// What to do with console users.
#[derive(Subcommand, Debug)]
pub enum UserVerb {
    /// List
    List,
    /// Create, below one's own role
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Set a password; ends the user's sessions and tokens
    SetPassword {
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
}

/// What to do with API tokens.
#[derive(Subcommand, Debug)]
pub enum TokenVerb {
    /// List
    List,
    /// Create; the token is printed this once
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, value_parser = ["viewer", "operator", "admin", "root"])]
        role: String,
        /// Days until it expires, 1 to 366
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        /// Bind it to this application (id or name) and its monitors; repeatable
        #[arg(long, value_name = "APPLICATION")]
        application: Vec<String>,
    },
    /// Revoke
    Revoke { id: String },
}

const USERS: &[Column] = &[
    ("NAME", &["/name"]),
    ("ROLE", &["/role"]),
    ("CREATED BY", &["/created_by"]),
    ("CREATED", &["/created_at"]),
];

const TOKENS: &[Column] = &[
    ("NAME", &["/name"]),
    ("ID", &["/id"]),
    ("USER", &["/user"]),
    ("ROLE", &["/role"]),
    ("EXPIRES", &["/expires_at"]),
    ("APPLICATIONS", &["/applications"]),
];

const ME: &[Column] = &[
    ("user", &["/user"]),
    ("role", &["/role"]),
    ("token", &["/token"]),
    ("expires", &["/expires_at"]),
];

/// Logs in and remembers the session.
pub async fn login(options: &Options, login: &LoginOptions) -> Result<(), Failure> {
    let absolute = |ca: &PathBuf| {
        let unusable = |error| Failure::new(Code::Usage, format!("{}: {error}", ca.display()));
        std::path::absolute(ca).map_err(unusable)
    };
    let ca = login.ca.as_ref().map(absolute).transpose()?;
    let target = Target {
        addresses: login.address.clone(),
        ca: ca.clone(),
        credential: Credential::Password {
            user: login.user.clone(),
            password: login.password.read(&format!("Password of {}", login.user))?,
        },
    };
    let client = Client::connect(target, options).await?;
    let name = options.context.clone().unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
    let mut known = Contexts::load()?;
    let context = Context {
        addresses: login.address.clone(),
        ca,
        session: client.bearer().to_owned(),
    };
    known.contexts.insert(name.clone(), context);
    known.current = name.clone();
    known.save()?;
    output::write(&format!(
        "logged in as {}; the session is kept as context `{name}`\n",
        login.user
    ))
}

/// Forgets a context. The session itself ends when it expires or the user's password changes.
pub fn logout(options: &Options) -> Result<(), Failure> {
    let mut known = Contexts::load()?;
    let name = options.context.clone().unwrap_or_else(|| known.current.clone());
    if known.contexts.remove(&name).is_none() {
        return Err(Failure::new(Code::NotFound, format!("there is no context `{name}`")));
    }
    known.save()?;
    output::write(&format!("forgot context `{name}`\n"))
}

/// Who the caller is.
pub async fn whoami(client: &Client) -> Result<Rendered, Failure> {
    Ok(Rendered::object(client.get("/me").await?.body, ME))
}

/// Carries a verb of users out.
pub async fn users(client: &Client, verb: &UserVerb) -> Result<Rendered, Failure> {
    match verb {
        UserVerb::List => Ok(Rendered::list(client.get_all("/users").await?, USERS)),
        UserVerb::Create { name, role, password } => {
            let password = password.read(&format!("Password of {name}"))?;
            let body = json!({"name": name, "role": role, "password": password});
            let created = client.post("/users", &body).await?.body;
            Ok(Rendered::done(format!("created user {name}"), created))
        }
        UserVerb::SetPassword { name, password } => {
            let body = json!({"password": password.read(&format!("New password of {name}"))?});
            let done = client.put(&format!("/users/{name}/password"), &body, None).await?.body;
            Ok(Rendered::done(
                format!("set the password of {name}; log in again"),
                done,
            ))
        }
    }
}

/// Carries a verb of tokens out.
pub async fn tokens(client: &Client, verb: &TokenVerb) -> Result<Rendered, Failure> {
    match verb {
        TokenVerb::List => Ok(Rendered::list(client.get_all("/tokens").await?, TOKENS)),
        TokenVerb::Create {
            name,
            role,
            days,
            application,
        } => {
            let mut applications = Vec::with_capacity(application.len());
            for application in application {
                applications.push(client.resolve("applications", application).await?);
            }
            let seconds = i64::from(*days) * 24 * 3600;
            let body = json!({"name": name, "role": role, "expires_in_seconds": seconds, "applications": applications});
            let created = client.post("/tokens", &body).await?.body;
            let token = created
                .get("token")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            Ok(Rendered::done(token, created))
        }
        TokenVerb::Revoke { id } => {
            let done = client.delete(&format!("/tokens/{id}"), None).await?.body;
            Ok(Rendered::done(format!("revoked token {id}"), done))
        }
    }
}

//! The operator's command line: `quorate application|monitor|switch|event|audit|cluster|kv|…`.
//!
//! It speaks the public REST API (and gRPC for `kv`) and nothing else, so whatever it can do, a program can do too. It
//! decides nothing: names become ids, flags become JSON, problems become exit codes. Running a node is not its business.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | refused, or any other failure |
//! | 2 | wrong usage: command line, files, fields of the request |
//! | 3 | no such object |
//! | 4 | conflict: changed meanwhile, name taken, switch in progress |
//! | 5 | not logged in, or not allowed |
//! | 6 | no node reachable, or none with a quorum |
//! | 7 | timed out: the outcome may be unknown |

mod access;
mod application;
mod client;
mod cluster;
mod failure;
mod instance;
mod kv;
mod language;
mod monitor;
mod output;
mod password;
mod records;
mod site;
mod switch;
mod switching;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use client::Client;
use failure::{Code, Failure};
use output::Rendered;

/// Pause between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Options of every operator command.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// `dev.json` of a development cluster
    #[arg(long, global = true, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Context made by `quorate login`; the one logged in last when left out
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Instance: an id, or `default`
    #[arg(long, global = true, default_value = "default", value_name = "INSTANCE")]
    instance: String,
    /// Language of the server's texts; that of the environment (`LC_ALL`, `LC_MESSAGES`, `LANG`) when left out
    #[arg(long, global = true, value_enum, value_name = "LANGUAGE")]
    language: Option<language::Language>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Look again every second and print whenever something changed
    #[arg(long, global = true)]
    watch: bool,
}

/// How to print.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns, for people
    Table,
    /// The API's own JSON
    Json,
    /// The same as YAML
    Yaml,
}

/// What to operate on.
#[derive(Subcommand, Debug)]
pub enum Noun {
    /// State of the cluster, quotas, settings
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Instances: isolated spaces, each with a keyspace and a KV port of its own
    #[command(subcommand)]
    Instance(instance::Verb),
    /// Applications
    #[command(subcommand)]
    Application(application::Verb),
    /// Monitors
    #[command(subcommand)]
    Monitor(monitor::Verb),
    /// Make the other data center active
    #[command(subcommand)]
    Switch(switch::Verb),
    /// Pause of all automatic switching
    #[command(subcommand)]
    Switching(switching::Verb),
    /// Maintenance windows: planned times without automatic switches
    #[command(subcommand)]
    Window(switching::WindowVerb),
    /// Sites, links between them, and what the loss of one does
    #[command(subcommand)]
    Site(site::Verb),
    /// What happened
    #[command(subcommand)]
    Event(records::EventVerb),
    /// Who did what
    #[command(subcommand)]
    Audit(records::AuditVerb),
    /// Console users
    #[command(subcommand)]
    User(access::UserVerb),
    /// API tokens
    #[command(subcommand)]
    Token(access::TokenVerb),
    /// Log in and remember the session as a context
    Login(access::LoginOptions),
    /// Forget the session of a context
    Logout,
    /// Who one is
    Whoami,
    /// Keys of an instance, over gRPC
    #[command(subcommand)]
    Kv(kv::Verb),
}

/// An operator's command line.
#[derive(Args, Debug)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub noun: Noun,
}

/// Carries out one operator command: results to stdout, problems to stderr, the outcome as exit code.
pub async fn run(cli: Cli) -> ExitCode {
    match carry_out(&cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            failure.code.into()
        }
    }
}

async fn carry_out(cli: &Cli) -> Result<(), Failure> {
    match &cli.noun {
        Noun::Login(options) => return access::login(&cli.options, options).await,
        Noun::Logout => return access::logout(&cli.options),
        Noun::Kv(verb) => return kv::run(&cli.options, verb).await,
        Noun::Cluster(cluster::Verb::Member(verb)) => return kv::member::run(&cli.options, verb).await,
        _ => {}
    }
    let client = Client::open(&cli.options).await?;
    let mut last = None;
    loop {
        let rendered = ask(&client, &cli.noun).await?;
        let text = rendered.print(cli.options.output)?;
        if last.as_ref() != Some(&text) {
            output::write(&text)?;
        }
        if !(cli.options.watch && rendered.repeatable) {
            return rendered
                .failed
                .map_or(Ok(()), |text| Err(Failure::new(Code::Refused, text)));
        }
        last = Some(text);
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

async fn ask(client: &Client, noun: &Noun) -> Result<Rendered, Failure> {
    match noun {
        Noun::Cluster(verb) => cluster::run(client, verb).await,
        Noun::Instance(verb) => instance::run(client, verb).await,
        Noun::Application(verb) => application::run(client, verb).await,
        Noun::Monitor(verb) => monitor::run(client, verb).await,
        Noun::Switch(verb) => switch::run(client, verb).await,
        Noun::Switching(verb) => switching::run(client, verb).await,
        Noun::Window(verb) => switching::windows(client, verb).await,
        Noun::Site(verb) => site::run(client, verb).await,
        Noun::Event(verb) => records::events(client, verb).await,
        Noun::Audit(verb) => records::audit(client, verb).await,
        Noun::User(verb) => access::users(client, verb).await,
        Noun::Token(verb) => access::tokens(client, verb).await,
        Noun::Whoami => access::whoami(client).await,
        Noun::Login(_) | Noun::Logout | Noun::Kv(_) => unreachable!("carried out without a REST client"),
    }
}

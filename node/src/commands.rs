//! What the node's own subcommands do: each reads its configuration, runs and ends with an error that says what to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::config::{self, Config, Overrides};
use crate::dev::DevError;
use crate::identity::{self, IdentityDirectory, JoinToken, NodeProfile};
use crate::links::Links;
use crate::{cli, logging, serve};

/// Validity of a join token where none is given, minutes.
const DEFAULT_TOKEN_MINUTES: u64 = 60;
/// Longest validity of a join token, minutes.
const MAX_TOKEN_MINUTES: u64 = 7 * 24 * 60;

/// Options of `quorate serve`.
#[derive(Debug, clap::Args)]
pub struct ServeOptions {
    /// Configuration file (TOML)
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Options of `quorate bootstrap`.
#[derive(Debug, clap::Args)]
pub struct BootstrapOptions {
    /// Configuration file (TOML)
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A further host name or IP address that clients use for this node (repeatable)
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Options of `quorate join-token`.
#[derive(Debug, clap::Args)]
pub struct JoinTokenOptions {
    /// Configuration file (TOML)
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long the token is good
    #[arg(long, value_name = "MINUTES", default_value_t = DEFAULT_TOKEN_MINUTES,
          value_parser = clap::value_parser!(u64).range(1..=MAX_TOKEN_MINUTES))]
    pub minutes: u64,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Options of `quorate join`.
#[derive(Debug, clap::Args)]
pub struct JoinOptions {
    /// Configuration file (TOML)
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File with the token that `quorate join-token` printed; `-` reads it from standard input
    #[arg(long, value_name = "FILE", required_unless_present = "token")]
    pub token_file: Option<PathBuf>,
    /// The token itself (it works once and expires, but it shows in the list of processes: prefer --token-file)
    #[arg(long, env = "QUORATE_JOIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A further host name or IP address that clients use for this node (repeatable)
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `quorate config …`
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file and show what is in force (flags and environment included)
    Check {
        /// Configuration file (TOML)
        file: PathBuf,
        #[command(flatten)]
        overrides: Box<Overrides>,
    },
    /// Print a documented sample
    Sample,
}

/// `quorate serve`.
pub fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let config = config::load(options.config.as_deref(), &options.overrides)?;
    logging::install(config.log_format, &config.log_filter);
    raise_open_files_limit();
    runtime()?.block_on(serve::run(config)).context("the node cannot serve")
}

/// Raises the soft limit of open files to the hard one: every connection takes a descriptor, and strangers on a door must not
/// take those that the log and the snapshots need.
pub(crate) fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(
            "cannot raise the limit of open files from {:?} to {:?}: {error}",
            limit.current,
            limit.maximum
        );
    }
}

/// `quorate bootstrap`.
pub fn bootstrap(options: BootstrapOptions) -> anyhow::Result<()> {
    let config = config::load(options.config.as_deref(), &options.overrides)?;
    config::require_reachable_addresses(&config)?;
    let directory = IdentityDirectory::new(&config.identity_dir);
    let credentials = identity::bootstrap(&directory, &profile(&config, 1, options.host))?;
    println!("a new cluster: identity written to {}", config.identity_dir.display());
    println!("keep these passwords; they are not shown again\n");
    identity::print_credentials(&credentials);
    println!("\nnext: `quorate serve` here; then `quorate join-token` here and `quorate join` on each further node");
    Ok(())
}

/// `quorate join-token`.
pub fn join_token(options: JoinTokenOptions) -> anyhow::Result<()> {
    let config = config::load(options.config.as_deref(), &options.overrides)?;
    let directory = IdentityDirectory::new(&config.identity_dir);
    let token = JoinToken::issue(&directory, Duration::from_secs(options.minutes * 60))?;
    eprintln!(
        "good once within {} minutes, while this node runs; give it to `quorate join`:",
        options.minutes
    );
    println!("{}", token.to_text());
    Ok(())
}

/// `quorate join`.
pub fn join(options: JoinOptions) -> anyhow::Result<()> {
    let config = config::load(options.config.as_deref(), &options.overrides)?;
    config::require_reachable_addresses(&config)?;
    let text = match (options.token_file, options.token) {
        (Some(file), _) if file.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?,
        (Some(file), _) => std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
        (None, Some(token)) => token,
        (None, None) => anyhow::bail!("no token: give --token-file"),
    };
    let token = JoinToken::parse(&text)?;
    let directory = IdentityDirectory::new(&config.identity_dir);
    let node = profile(&config, 0, options.host);
    let links = Links::new(0, config.source_address, None);
    let dial = links.connect(&token.address);
    let node_id = runtime()?.block_on(identity::join(&directory, &token, node, dial))?;
    println!(
        "joined as node {node_id}: identity written to {}",
        config.identity_dir.display()
    );
    println!("next: `quorate serve` here; the node becomes a voter when it has caught up");
    Ok(())
}

/// `quorate dev`; `run` makes the future inside the runtime.
pub fn dev<F: Future<Output = Result<(), DevError>>>(run: impl FnOnce() -> F) -> anyhow::Result<()> {
    logging::install(config::LogFormat::Text, "warn");
    Ok(runtime()?.block_on(run())?)
}

/// An operator's command; its exit code is part of the interface.
pub fn operator(cli: cli::Cli) -> anyhow::Result<std::process::ExitCode> {
    Ok(runtime()?.block_on(cli::run(cli)))
}

/// `quorate config …`
pub fn config(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, overrides } => {
            let config = config::load(Some(&file), &overrides)?;
            print!("{}", toml::to_string(&config)?);
            eprintln!("{} is good", file.display());
        }
        ConfigCommand::Sample => print!("{}", config::SAMPLE),
    }
    Ok(())
}

fn profile(config: &Config, node_id: u64, hosts: Vec<String>) -> NodeProfile {
    let numbered = (node_id > 0).then(|| format!("node-{node_id}"));
    NodeProfile {
        node_id,
        name: config.node_name.clone().or(numbered).unwrap_or_default(),
        zone: config.zone.clone(),
        site: config.site.clone(),
        peer: config.peer.advertise.clone(),
        kv: config.kv.advertise.clone(),
        console: config.console.advertise.clone(),
        hosts,
    }
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

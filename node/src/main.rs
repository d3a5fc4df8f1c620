//! The binary `quorate`: command line in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use quorate::cli;
use quorate::commands::{self, BootstrapOptions, ConfigCommand, JoinOptions, JoinTokenOptions, ServeOptions};
use quorate::dev::{self, DevOptions};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

/// Quorate: three nodes that decide together which data center is active.
#[derive(Parser)]
#[command(name = "quorate", version, about, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    options: cli::Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node
    Serve(ServeOptions),
    /// Make a new cluster: run once, on its first node
    Bootstrap(BootstrapOptions),
    /// Make a token with which a further node can join (run on a node of the cluster)
    JoinToken(JoinTokenOptions),
    /// Join a cluster with a token
    Join(JoinOptions),
    /// Run a whole cluster on this machine, for trying out and tests
    Dev(DevOptions),
    /// Be one member of an etcd cluster: takes etcd's flags (`quorate etcd --help`), also under the program name `etcd`
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Etcd {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
    /// Check or show configuration files
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    #[command(flatten)]
    Operator(cli::Noun),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

fn main() -> ExitCode {
    // Before anything can speak TLS; a second provider in the process would be a build fault.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no provider of cryptography was installed before");
    let words: Vec<String> = std::env::args().collect();
    if let Some(arguments) = quorate::etcd::arguments(&words) {
        return quorate::etcd::main(arguments);
    }
    let Arguments {
        options: operator,
        command,
    } = Arguments::parse();
    let outcome = match command {
        Command::Serve(options) => commands::serve(options),
        Command::Bootstrap(options) => commands::bootstrap(options),
        Command::JoinToken(options) => commands::join_token(options),
        Command::Join(options) => commands::join(options),
        Command::Dev(options) => commands::dev(|| dev::run(options)),
        Command::Etcd { flags } => return quorate::etcd::main(&flags),
        Command::Config { command } => commands::config(command),
        Command::Operator(noun) => match commands::operator(cli::Cli {
            options: operator,
            noun,
        }) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "quorate", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

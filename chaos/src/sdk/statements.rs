//! How the SDK runs statements.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{OptsBuilder, Pool, PoolConstraints, PoolOpts};

use super::{DataSourceConfig, SdkConfiguration, Shared};

/// Errors after which the SDK leaves a data source alone (access, privileges, connections, read-only).
const EXCLUDING_ERRORS: [u16; 5] = [1290, 1142, 1045, 1040, 1227];
const EXCLUSION: Duration = Duration::from_secs(60);
/// What an application allows for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_POOL_CONNECTIONS: usize = 4;

/// A data source with its connections.
#[derive(Debug)]
pub(super) struct Source {
    pool: Pool,
}

/// One statement as it was run.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: String,
    pub data_center: String,
    /// When the data source was chosen.
    pub chosen_at: Instant,
    pub ended_at: Instant,
    pub outcome: StatementOutcome,
}

/// What the application was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementOutcome {
    Done,
    /// Reported as a success although no server was asked.
    Hollow,
    Failed(String),
}

impl Source {
    pub(super) fn new(source: &DataSourceConfig, configuration: &SdkConfiguration) -> Result<Self> {
        let (host, port) = source
            .server
            .rsplit_once(':')
            .with_context(|| format!("server {:?}", source.server))?;
        let constraints = PoolConstraints::new(0, MAX_POOL_CONNECTIONS).context("pool limits")?;
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port.parse()?)
            .user(Some(&configuration.database_user.user))
            .pass(Some(&configuration.database_user.password))
            .db_name(Some(&source.schema))
            .prefer_socket(false)
            .pool_opts(PoolOpts::default().with_constraints(constraints));
        Ok(Self {
            pool: Pool::new(options),
        })
    }

    async fn run(&self, sql: &str) -> Result<(), (String, Option<u16>)> {
        let work = async {
            let mut connection = self.pool.get_conn().await?;
            connection.query_drop(sql).await
        };
        match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(mysql_async::Error::Server(error))) => Err((error.to_string(), Some(error.code))),
            Ok(Err(error)) => Err((error.to_string(), None)),
            Err(_elapsed) => Err((format!("no answer within {STATEMENT_TIMEOUT:?}"), None)),
        }
    }
}

/// Runs a statement on the master of the active side.
pub(super) async fn execute(shared: &Shared, sql: &str) -> StatementOutcome {
    let retries = shared.router.retry.times.parse::<u32>().unwrap_or(0);
    let delay = Duration::from_millis(shared.router.retry.delay.parse().unwrap_or(50));
    let mut outcome = StatementOutcome::Failed("never tried".to_owned());
    for attempt in 0..=retries {
        if attempt > 0 {
            tokio::time::sleep(delay).await;
        }
        outcome = execute_once(shared, sql).await;
        if !matches!(outcome, StatementOutcome::Failed(_)) {
            break;
        }
    }
    outcome
}

async fn execute_once(shared: &Shared, sql: &str) -> StatementOutcome {
    let chosen_at = Instant::now();
    let data_center = shared.active.lock().expect("not poisoned").clone();
    let name = shared
        .router
        .nodes
        .get(&data_center)
        .map(|node| node.master.clone())
        .unwrap_or_default();
    let outcome = run_on(shared, &name, sql).await;
    let statement = Statement {
        sql: sql.to_owned(),
        data_center,
        chosen_at,
        ended_at: Instant::now(),
        outcome: outcome.clone(),
    };
    shared.statements.lock().expect("not poisoned").push(statement);
    outcome
}

async fn run_on(shared: &Shared, name: &str, sql: &str) -> StatementOutcome {
    let excluded = shared.excluded_until.lock().expect("not poisoned").get(name).copied();
    if excluded.is_some_and(|until| until > Instant::now()) {
        return StatementOutcome::Hollow;
    }
    let Some(source) = shared.sources.get(name) else {
        return StatementOutcome::Failed(format!("the configuration names no data source {name:?}"));
    };
    match source.run(sql).await {
        Ok(()) => StatementOutcome::Done,
        Err((text, code)) => {
            if code.is_some_and(|code| EXCLUDING_ERRORS.contains(&code)) {
                shared
                    .excluded_until
                    .lock()
                    .expect("not poisoned")
                    .insert(name.to_owned(), Instant::now() + EXCLUSION);
            }
            StatementOutcome::Failed(text)
        }
    }
}

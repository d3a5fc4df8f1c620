//! Application processes that insert rows through SDK-shaped clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use quorate_real_parts::mariadb::MariaDb;
use tokio::task::JoinHandle;

use crate::cluster::DevCluster;
use crate::scenario::Stage;
use crate::sdk::{SdkClient, StatementOutcome};

/// A row by its client and number.
pub type Row = (String, i64);

/// Running application processes.
#[derive(Debug)]
pub struct ApplicationLoad {
    clients: Vec<Arc<SdkClient>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<Row>>>,
}

const INSERT_PAUSE: Duration = Duration::from_millis(10);
const ROWS_TIMEOUT: Duration = Duration::from_secs(20);

impl ApplicationLoad {
    /// Starts one process per node; each has another node first in its list.
    pub async fn start(cluster: &DevCluster, stage: &Stage) -> Result<Self> {
        let configuration = stage.sdk_configuration(cluster).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (mut clients, mut tasks) = (Vec::new(), Vec::new());
        for index in 0..configuration.endpoints.len() {
            let mut own = configuration.clone();
            own.endpoints.rotate_left(index);
            let client = Arc::new(SdkClient::start(&own).await?);
            let name = format!("process-{}", index + 1);
            tasks.push(tokio::spawn(insert(
                client.clone(),
                name,
                stop.clone(),
                acknowledged.clone(),
            )));
            clients.push(client);
        }
        Ok(Self {
            clients,
            stop,
            acknowledged,
            tasks,
        })
    }

    /// The processes.
    pub fn clients(&self) -> &[Arc<SdkClient>] {
        &self.clients
    }

    /// Rows acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many further rows are acknowledged.
    pub async fn wait_rows(&self, count: usize) -> Result<()> {
        let target = self.acknowledged() + count;
        let deadline = Instant::now() + ROWS_TIMEOUT;
        while self.acknowledged() < target {
            if Instant::now() > deadline {
                bail!("{} of {target} rows after {ROWS_TIMEOUT:?}", self.acknowledged());
            }
            tokio::time::sleep(INSERT_PAUSE).await;
        }
        Ok(())
    }

    /// Stops and gives every acknowledged row.
    pub async fn finish(self) -> Result<(Vec<Arc<SdkClient>>, BTreeSet<Row>)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut rows = BTreeSet::new();
        for task in self.tasks {
            rows.extend(task.await?);
        }
        Ok((self.clients, rows))
    }
}

async fn insert(
    client: Arc<SdkClient>,
    name: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<Row> {
    let (mut rows, mut number) = (Vec::new(), 0_i64);
    while !stop.load(Ordering::Relaxed) {
        let sql = format!("INSERT INTO orders (client, number) VALUES ('{name}', {number})");
        if client.execute(&sql).await == StatementOutcome::Done {
            rows.push((name.clone(), number));
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        number += 1;
        tokio::time::sleep(INSERT_PAUSE).await;
    }
    rows
}

/// All rows of one server.
pub async fn rows_of(server: &MariaDb) -> Result<BTreeSet<Row>> {
    use mysql_async::prelude::Queryable;
    let mut connection = server.root_connection().await?;
    let rows: Vec<Row> = connection.query("SELECT client, number FROM orders.orders").await?;
    connection.disconnect().await?;
    Ok(rows.into_iter().collect())
}

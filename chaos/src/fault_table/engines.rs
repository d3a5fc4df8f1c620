//! The other engines: which of the databases' faults each has stands in its subject.

use std::path::Path;

use anyhow::{Result, bail};

use super::table::Row;
use super::{Options, Scenes, databases, mongodb, postgresql, redis, search};

/// Engines beside MariaDB, in the order of the catalogue.
pub const OTHERS: [&str; 4] = ["postgresql", "redis", "mongodb", "elasticsearch"];

/// Starts an engine's servers and runs its scenarios.
pub async fn play(
    engine: &str,
    options: &Options,
    scenes: &Scenes,
    databases: &Path,
    keep: &mut impl FnMut(Row),
) -> Result<()> {
    let directory = databases.join(engine);
    match engine {
        "postgresql" => {
            let mut subject = postgresql::PostgresqlSubject::start(&directory).await?;
            databases::play(options, scenes, &mut subject, keep).await
        }
        "redis" => {
            let mut subject = redis::RedisSubject::start(&directory).await?;
            databases::play(options, scenes, &mut subject, keep).await
        }
        "mongodb" => {
            let mut subject = mongodb::MongodbSubject::start(&directory).await?;
            databases::play(options, scenes, &mut subject, keep).await
        }
        "elasticsearch" => {
            let mut subject = search::SearchSubject::start(&directory).await?;
            databases::play(options, scenes, &mut subject, keep).await
        }
        other => bail!("there are no scenarios on {other:?}"),
    }
}

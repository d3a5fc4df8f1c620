//! The service as the prober with a kept session asks it.

use std::{sync::Arc, time::Duration};

use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    OracleTarget,
    driver::{Driver, Session},
    listener::knock,
    tns::{connect_data, interval},
};
use crate::{
    failure::Failure,
    kept::{Answer, Dialect},
    observation::RoleInfo,
};

/// Life and role; needs no right (12c and later).
pub(super) const ROLE_QUERY: &str = "SELECT SYS_CONTEXT('USERENV', 'DATABASE_ROLE') FROM DUAL";
/// For everybody.
const VERSION_QUERY: &str = "SELECT VERSION FROM PRODUCT_COMPONENT_VERSION WHERE ROWNUM = 1";
/// These need a grant.
const OPEN_MODE_QUERY: &str = "SELECT OPEN_MODE FROM V$DATABASE";
const LAG_QUERY: &str = "SELECT VALUE FROM V$DATAGUARD_STATS WHERE NAME = 'apply lag'";

pub(super) struct Service {
    target: OracleTarget,
    driver: Arc<dyn Driver>,
    /// What only fresh connections ask for.
    details: Details,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.target.address())
    }
}

/// What changes rarely, as last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    pub(super) version: String,
    /// Empty: the account may not ask.
    pub(super) open_mode: String,
    pub(super) lag_seconds: Option<u64>,
}

impl Service {
    pub(super) fn new(target: OracleTarget, driver: Arc<dyn Driver>) -> Self {
        Self {
            target,
            driver,
            details: Details::default(),
        }
    }
}

impl Dialect for Service {
    type Session = Session;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        self.target.address().to_string()
    }

    async fn open(&mut self, deadline: Instant) -> Result<Session, Failure> {
        // The listener's own words are better than the driver's, and a service that is not there costs no thread.
        self.check_reachability(deadline).await?;
        Session::open(&self.driver, &self.target, deadline).await
    }

    async fn ask(&mut self, session: &mut Session, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        let role = role(session, deadline).await?;
        if fresh {
            self.details = details(session, deadline).await?;
        }
        Ok(answer(&role, &self.details))
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let data = connect_data(&self.target.service, self.target.is_sid);
        knock(&self.target.endpoint, self.target.encryption.as_ref(), &data, deadline).await
    }

    fn close(session: Session) {
        drop(session);
    }
}

pub(super) async fn role(session: &mut Session, deadline: Instant) -> Result<String, Failure> {
    let row = session.first_row(ROLE_QUERY, 1, deadline).await?;
    Ok(row.into_iter().next().flatten().unwrap_or_default())
}

/// Optional by nature: an account that may not ask is no fault of the server. Only a time-out is one.
pub(super) async fn details(session: &mut Session, deadline: Instant) -> Result<Details, Failure> {
    let mut found = [const { String::new() }; 3];
    for (place, query) in found.iter_mut().zip([VERSION_QUERY, OPEN_MODE_QUERY, LAG_QUERY]) {
        match session.first_row(query, 1, deadline).await {
            Ok(row) => *place = row.into_iter().next().flatten().unwrap_or_default(),
            Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
            Err(failure) => tracing::debug!("not known: {failure}"),
        }
    }
    let [version, open_mode, lag] = found;
    Ok(Details {
        version: format!("Oracle {version}").trim_end().to_owned(),
        open_mode,
        lag_seconds: interval(&lag).map(|lag| lag.as_secs()),
    })
}

pub(super) fn answer(role: &str, details: &Details) -> Answer {
    let read_only = role == "PHYSICAL STANDBY" || details.open_mode.starts_with("READ ONLY");
    let shown = match details.open_mode.is_empty() {
        true => role.to_owned(),
        false => format!("{role}, {}", details.open_mode),
    };
    Answer {
        role: RoleInfo {
            read_only,
            replication_lag_seconds: details.lag_seconds,
            server_version: details.version.clone(),
            ..RoleInfo::default()
        },
        ailment: read_only.then_some((FindingClass::ReadOnly, shown)),
        reusable: true,
    }
}

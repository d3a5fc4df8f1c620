//! The servers of one side as the prober with a kept session asks them.

use std::time::Duration;

use bson::doc;
use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    MongodbTarget,
    errors::number,
    login::greet,
    member::{Member, Standing, lag_seconds, without_primary},
    wire::{Wire, hello},
};
use crate::{
    failure::{Failure, age_ms},
    kept::{Answer, Dialect},
    observation::{Connections, RoleInfo, Stage},
    several::{Round, or_gone},
};

/// A connection that is logged in, to the server that speaks for its side.
#[derive(Debug)]
pub(super) struct MemberSession {
    wire: Wire,
    /// Place of the server among the target's addresses.
    index: usize,
    member: Member,
    version: String,
    /// What the servers said while the connection was opened, not handed out yet.
    first: Option<Answer>,
}

#[derive(Debug)]
pub(super) struct Servers {
    target: MongodbTarget,
    /// The server that spoke last.
    preferred: usize,
    lag: Option<u64>,
    /// The account may not ask for the set's state: it is not asked again.
    lag_refused: bool,
    /// As last seen when a connection was opened.
    connections: Option<Connections>,
    /// When lag and connections were asked for.
    measured: Option<Instant>,
}

impl Servers {
    pub(super) fn new(target: MongodbTarget) -> Self {
        Self {
            target,
            preferred: 0,
            lag: None,
            lag_refused: false,
            connections: None,
            measured: None,
        }
    }

    /// The first server that takes writes, from `first` on; else a readable one, if its set is well.
    async fn open_from(&mut self, first: usize, deadline: Instant) -> Result<MemberSession, Failure> {
        let mut round = Round::new(self.target.endpoints.len(), first, deadline);
        let mut readable: Option<MemberSession> = None;
        let mut failed = Vec::new();
        while let Some((index, share)) = round.next() {
            match self.open_member(index, share).await {
                Ok(session) if session.member.takes_writes() => return self.speaks(session, None, deadline).await,
                Ok(session) => {
                    // Of two without writes the one that holds data, and knows a primary.
                    if readable
                        .as_ref()
                        .is_none_or(|known| rank(&session.member) > rank(&known.member))
                    {
                        readable = Some(session);
                    }
                }
                // The same account is refused by all, and may be locked by the next one.
                Err(failure) if failure.class == FindingClass::Auth => return Err(failure),
                Err(failure) => {
                    let endpoint = &self.target.endpoints[index];
                    let failure = or_gone(endpoint, failure, share).await;
                    failed.push((endpoint.address.to_string(), failure.clone()));
                    round.failed(endpoint, failure);
                }
            }
        }
        match readable {
            None => Err(round.verdict()),
            Some(session) => {
                let text = without_primary(&session.member, &failed)?;
                self.speaks(session, Some(text), deadline).await
            }
        }
    }

    /// Makes `session` the one that speaks for the side. `read_only`: why it takes no writes.
    async fn speaks(
        &mut self,
        mut session: MemberSession,
        read_only: Option<String>,
        deadline: Instant,
    ) -> Result<MemberSession, Failure> {
        self.preferred = session.index;
        self.measured = Some(Instant::now());
        let counted = connections(&mut session.wire, deadline).await;
        let answered = counted.is_ok();
        self.connections = counted.unwrap_or_default();
        let reusable = match session.member.standing {
            // An answer that was given up would be read as the next one.
            _ if !answered => {
                self.lag = None;
                false
            }
            Standing::Secondary { .. } => self.ask_lag(&mut session.wire, deadline).await,
            _ => {
                self.lag = None;
                true
            }
        };
        let mut answer = self.answer(&session, read_only);
        answer.reusable = reusable;
        session.first = Some(answer);
        Ok(session)
    }

    fn answer(&self, session: &MemberSession, read_only: Option<String>) -> Answer {
        Answer {
            role: RoleInfo {
                read_only: read_only.is_some(),
                replication_lag_seconds: self.lag,
                connections: self.connections,
                facts_age_ms: age_ms(self.measured),
                server_version: session.version.clone(),
                ..RoleInfo::default()
            },
            ailment: read_only.map(|text| (FindingClass::ReadOnly, text)),
            reusable: true,
        }
    }

    async fn open_member(&self, index: usize, deadline: Instant) -> Result<MemberSession, Failure> {
        let endpoint = &self.target.endpoints[index];
        let mut wire = Wire::open(endpoint, self.target.encryption.as_ref(), deadline).await?;
        let member = greet(&mut wire, &self.target, deadline).await?;
        member.check_set(&self.target.replica_set)?;
        check_alive(&mut wire, &member, deadline).await?;
        let version = version(&mut wire, &member, deadline).await?;
        Ok(MemberSession {
            wire,
            index,
            member,
            version,
            first: None,
        })
    }

    /// Asks for the set's state, unless the account may not. `false` if the connection must not be used again.
    async fn ask_lag(&mut self, wire: &mut Wire, deadline: Instant) -> bool {
        if self.lag_refused {
            return true;
        }
        match wire
            .run("admin", doc! { "replSetGetStatus": 1 }, Stage::Role, deadline)
            .await
        {
            Ok(status) => {
                self.lag = lag_seconds(&status);
                true
            }
            Err(failure) => {
                tracing::debug!("the lag is not known: {failure}");
                self.lag = None;
                self.lag_refused = failure.class == FindingClass::Auth;
                self.lag_refused
            }
        }
    }
}

/// Which of two members without writes speaks for the side.
fn rank(member: &Member) -> u8 {
    match member.standing {
        Standing::Writable | Standing::Router => 4,
        Standing::Secondary { primary: Some(_) } => 3,
        Standing::Secondary { primary: None } => 2,
        Standing::Unready => 1,
        Standing::Arbiter => 0,
    }
}

/// A command that the server has to work for. A router asks its config servers, without which it routes nothing; where the account may
/// not read them, it is asked like any other server.
pub(super) async fn check_alive(wire: &mut Wire, member: &Member, deadline: Instant) -> Result<(), Failure> {
    if member.standing == Standing::Router {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let limit = i32::try_from(left).unwrap_or(i32::MAX).max(1);
        let shards = doc! { "find": "shards", "limit": 1, "singleBatch": true, "maxTimeMS": limit };
        match wire.run("config", shards, Stage::Query, deadline).await {
            Err(failure) if failure.class == FindingClass::Auth => {}
            result => return result.map(drop),
        }
    }
    wire.run("admin", doc! { "ping": 1 }, Stage::Query, deadline)
        .await
        .map(drop)
}

/// Client connections; `None` where the server tells none.
///
/// # Errors
/// No answer in time: the connection must not be used again.
async fn connections(wire: &mut Wire, deadline: Instant) -> Result<Option<Connections>, Failure> {
    let status = match wire
        .run("admin", doc! { "serverStatus": 1 }, Stage::Role, deadline)
        .await
    {
        Ok(status) => status,
        Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
        Err(_not_told) => return Ok(None),
    };
    let told = status.get_document("connections").ok();
    let count = |name: &str| told.and_then(|told| u64::try_from(number(told.get(name))?).ok());
    Ok(count("current").map(|used| Connections {
        used,
        limit: count("available").map(|free| used.saturating_add(free)),
    }))
}

/// The server's own version, where it tells it.
pub(super) async fn version(wire: &mut Wire, member: &Member, deadline: Instant) -> Result<String, Failure> {
    match wire.run("admin", doc! { "buildInfo": 1 }, Stage::Query, deadline).await {
        Ok(reply) => Ok(reply
            .get_str("version")
            .map_or_else(|_| member.version(), |version| format!("MongoDB {version}"))),
        Err(failure) if failure.class == FindingClass::Timeout => Err(failure),
        Err(_) => Ok(member.version()),
    }
}

impl Dialect for Servers {
    type Session = MemberSession;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        let addresses: Vec<String> = self.target.addresses().map(ToString::to_string).collect();
        addresses.join(", ")
    }

    async fn open(&mut self, deadline: Instant) -> Result<MemberSession, Failure> {
        self.open_from(self.preferred, deadline).await
    }

    async fn ask(&mut self, session: &mut MemberSession, _fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        if let Some(answer) = session.first.take() {
            return Ok(answer);
        }
        let several = self.target.endpoints.len();
        let (_, share) = Round::new(several.min(2), 0, deadline).next().unwrap_or((0, deadline));
        let asked = async {
            let reply = hello(&mut session.wire, share, doc! {}).await?;
            check_alive(&mut session.wire, &session.member, share).await?;
            Ok::<_, Failure>(Member::of(&reply))
        };
        let next = match asked.await {
            Ok(member) if member.standing == session.member.standing && member.set == session.member.set => {
                let read_only = (!member.takes_writes()).then(|| member.shown());
                return Ok(self.answer(session, read_only));
            }
            // Another role than before: all are asked anew, this one first.
            Ok(_) => session.index,
            // A silent member is not a silent set: the others have the rest of the time.
            Err(failure) if failure.class == FindingClass::Timeout && several > 1 => (session.index + 1) % several,
            Err(failure) => return Err(failure),
        };
        *session = self.open_from(next, deadline).await?;
        let missing = || Failure::new(Stage::Role, FindingClass::WrongAnswer, "the servers tell no role");
        session.first.take().ok_or_else(missing)
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let mut round = Round::new(self.target.endpoints.len(), self.preferred, deadline);
        while let Some((index, share)) = round.next() {
            let endpoint = &self.target.endpoints[index];
            // `hello` is for strangers.
            let reached = async {
                let mut wire = Wire::open(endpoint, self.target.encryption.as_ref(), share).await?;
                hello(&mut wire, share, doc! {}).await
            };
            match reached.await {
                Ok(_) => return Ok(()),
                Err(failure) => round.failed(endpoint, failure),
            }
        }
        Err(round.verdict())
    }

    fn close(session: MemberSession) {
        // The protocol has no farewell.
        drop(session);
    }
}

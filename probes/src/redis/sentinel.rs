//! A master behind sentinels: they say where it is, and it says that it is the master.
//!
//! Applications find the master through the sentinels too, so a side whose sentinels do not agree on one is failing, even
//! if the last master still answers. Two of them must say the same (one, where there is only one): a single sentinel may be
//! cut off and remember an old master.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    node, reachability,
    session::{self, Session},
    target::{Account, RedisTarget},
};
use crate::{
    address::Address,
    endpoint::Endpoint,
    failure::Failure,
    kept::{Answer, Dialect},
    observation::Stage,
};

/// Share of the time that the sentinels have (1/2); the rest is the master's.
const SENTINELS_DIVISOR: u32 = 2;

/// Prober of a master behind sentinels.
#[derive(Debug)]
pub(super) struct SentinelDialect {
    target: RedisTarget,
    master: String,
    account: Account,
    facts: node::Facts,
}

/// Connections to the sentinels that answered, and to the master that they named.
#[derive(Debug)]
pub(super) struct SentinelSession {
    sentinels: Vec<Session>,
    address: Address,
    master: Session,
}

impl SentinelDialect {
    pub(super) fn new(target: RedisTarget, master: String, account: Account) -> Self {
        Self {
            target,
            master,
            account,
            facts: node::Facts::default(),
        }
    }

    /// The master's address, and the sentinels that named it.
    pub(super) async fn find(&self, deadline: Instant) -> Result<(Address, Vec<Session>), Failure> {
        let ask = async |endpoint: &Endpoint| {
            let mut session = session::connect(&self.target, endpoint, &self.account, deadline).await?;
            let address = master_of(&mut session, &self.master, deadline).await?;
            Ok((address, session))
        };
        let asked: FuturesUnordered<_> = self.target.endpoints.iter().map(ask).collect();
        agree(asked, self.target.witnesses()).await
    }
}

/// Waits until enough sentinels name the same master.
async fn agree<S>(
    mut asked: impl StreamExt<Item = Result<(Address, S), Failure>> + Unpin,
    needed: usize,
) -> Result<(Address, Vec<S>), Failure> {
    let mut named: BTreeMap<String, (Address, Vec<S>)> = BTreeMap::new();
    let mut failures = Vec::new();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok((address, session)) => {
                let key = address.to_string();
                let (_, sessions) = named.entry(key.clone()).or_insert_with(|| (address, Vec::new()));
                sessions.push(session);
                if sessions.len() >= needed
                    && let Some(agreed) = named.remove(&key)
                {
                    return Ok(agreed);
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    Err(disagreement(&named.into_keys().collect::<Vec<_>>(), failures, needed))
}

/// Why there is no master to ask: in words of the sentinels that failed, or of those that contradict each other.
fn disagreement(named: &[String], failures: Vec<Failure>, needed: usize) -> Failure {
    let Some(first) = failures.first() else {
        let text = format!("the sentinels name different masters: {}", named.join(", "));
        return Failure::new(Stage::Query, FindingClass::WrongAnswer, &text);
    };
    // What asks for a repair of the configuration is told before what may pass.
    let config = |failure: &&Failure| matches!(failure.class, FindingClass::Auth | FindingClass::Misconfigured);
    let shown = failures.iter().find(config).unwrap_or(first);
    let text = format!(
        "fewer than {needed} sentinels agree on a master ({} failed): {}",
        failures.len(),
        shown.text
    );
    Failure::new(shown.stage, shown.class, &text)
}

/// Whom a sentinel takes for the master.
pub(super) async fn master_of(session: &mut Session, name: &str, deadline: Instant) -> Result<Address, Failure> {
    let question = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name)
        .to_owned();
    let answer: redis::Value = session.ask(&question, Stage::Query, deadline).await?;
    if node::is_nil(&answer) {
        let text = format!("the sentinel knows no master `{name}`");
        return Err(Failure::new(Stage::Query, FindingClass::Misconfigured, &text));
    }
    let wrong = || {
        Failure::new(
            Stage::Query,
            FindingClass::WrongAnswer,
            "the sentinel's answer is no address",
        )
    };
    let (host, port): (String, u16) = redis::from_redis_value(answer).map_err(|_| wrong())?;
    // Brackets, where it is an IPv6 address.
    let written = Address { host, port }.to_string();
    Address::parse(&written).ok_or_else(wrong)
}

impl Dialect for SentinelDialect {
    type Session = SentinelSession;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        format!("{:?}", self.target)
    }

    async fn open(&mut self, deadline: Instant) -> Result<SentinelSession, Failure> {
        let (address, sentinels) = self.find(share(deadline)).await?;
        let endpoint = self.target.discovered(address.clone()).await?;
        let opened = session::connect(&self.target, &endpoint, &self.target.account, deadline).await;
        let master = opened.map_err(|failure| of_master(failure, &address))?;
        Ok(SentinelSession {
            sentinels,
            address,
            master,
        })
    }

    async fn ask(&mut self, session: &mut SentinelSession, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        if !fresh {
            let within = share(deadline);
            let ask = async |sentinel: &mut Session| {
                master_of(sentinel, &self.master, within)
                    .await
                    .map(|address| (address, ()))
            };
            let asked: FuturesUnordered<_> = session.sentinels.iter_mut().map(ask).collect();
            let (address, _) = agree(asked, self.target.witnesses()).await.map_err(again)?;
            if address != session.address {
                let text = format!("the sentinels name another master: {address}");
                return Err(Failure::new(Stage::Query, FindingClass::WrongAnswer, &text));
            }
        }
        let answer = node::ask(&mut session.master, &mut self.facts, fresh, deadline)
            .await
            .map_err(|failure| of_master(failure, &session.address))?;
        if answer
            .ailment
            .as_ref()
            .is_some_and(|(_, text)| text.starts_with(node::REPLICA))
        {
            let text = format!("the sentinels' master {} says that it is a replica", session.address);
            return Err(Failure::new(Stage::Role, FindingClass::WrongAnswer, &text));
        }
        Ok(answer)
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        reachability::check_some(&self.target, deadline).await
    }

    fn close(session: SentinelSession) {
        drop(session);
    }
}

/// The sentinels' part of the time that is left.
fn share(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / SENTINELS_DIVISOR
}

/// Kept connections to sentinels that do not answer are opened anew within the same attempt.
fn again(failure: Failure) -> Failure {
    Failure {
        class: FindingClass::WrongAnswer,
        ..failure
    }
}

/// Says which server it was.
pub(super) fn of_master(failure: Failure, address: &Address) -> Failure {
    Failure::new(
        failure.stage,
        failure.class,
        &format!("master {address}: {}", failure.text),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str) -> Result<(Address, ()), Failure> {
        let address = Address {
            host: host.to_owned(),
            port: 6379,
        };
        Ok((address, ()))
    }

    fn failed(class: FindingClass) -> Result<(Address, ()), Failure> {
        Err(Failure::new(Stage::Tcp, class, "words"))
    }

    #[tokio::test]
    async fn two_sentinels_must_agree() {
        use FindingClass::{Auth, Refused, WrongAnswer};
        for (answers, expected) in [
            (vec![named("a"), named("a"), named("b")], Ok("a:6379")),
            (vec![named("a"), named("b"), named("b")], Ok("b:6379")),
            (vec![failed(Refused), named("a"), named("a")], Ok("a:6379")),
            (vec![named("a"), named("b")], Err(WrongAnswer)),
            (vec![named("a"), failed(Refused), failed(Refused)], Err(Refused)),
            (vec![named("a"), failed(Refused), failed(Auth)], Err(Auth)),
        ] {
            let found = agree(futures_util::stream::iter(answers), 2).await;
            let found = found
                .map(|(address, _)| address.to_string())
                .map_err(|failure| failure.class);
            assert_eq!(found, expected.map(str::to_owned));
        }
    }
}

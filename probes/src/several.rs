//! Sources with several addresses: one attempt asks one after the other, each within a share of the budget.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use quorate_machine::FindingClass;
use tokio::time::Instant;

use crate::{
    Stage,
    endpoint::{Endpoint, TargetError},
    failure::Failure,
    prober::{ProbeTarget, StartError},
};

/// Most addresses of one side of a monitor.
pub const MAX_ADDRESSES: usize = 50;

/// The addresses of `texts`, each `host:port`.
///
/// # Errors
/// None, too many, one twice or one that is no address.
pub(crate) fn endpoints(texts: &[String]) -> Result<Arc<[Endpoint]>, TargetError> {
    if texts.is_empty() || texts.len() > MAX_ADDRESSES {
        let text = format!("{} addresses: give 1 to {MAX_ADDRESSES}", texts.len());
        return Err(TargetError::Setting(text));
    }
    let mut found: Vec<Endpoint> = Vec::with_capacity(texts.len());
    for text in texts {
        let endpoint = Endpoint::parse(text)?;
        if found.iter().any(|known| known.address == endpoint.address) {
            return Err(TargetError::Setting(format!("the address `{text}` is given twice")));
        }
        found.push(endpoint);
    }
    Ok(found.into())
}

/// The sockets to dial in place of the addresses of `target`, where there are any.
///
/// # Errors
/// A path cannot be had yet.
pub(crate) async fn forwarders(target: &ProbeTarget) -> Result<BTreeMap<String, SocketAddr>, StartError> {
    let mut found = BTreeMap::new();
    for address in &target.side.addresses {
        if let Some(socket) = target.via(address).await? {
            found.insert(address.clone(), socket);
        }
    }
    Ok(found)
}

/// One pass over the addresses, beginning with a preferred one.
///
/// Every address gets an equal share of the time that is left, so that a silent one cannot use up the budget of those behind it, and
/// a refusal gives its share to them. The caller remembers who answered and begins there the next time: a dead first address costs its
/// share once.
#[derive(Debug)]
pub(crate) struct Round {
    addresses: usize,
    first: usize,
    tried: usize,
    deadline: Instant,
    verdict: Option<Failure>,
}

impl Round {
    /// A pass over `addresses` addresses (at least one) that ends by `deadline`.
    pub(crate) fn new(addresses: usize, first: usize, deadline: Instant) -> Self {
        Self {
            addresses,
            first,
            tried: 0,
            deadline,
            verdict: None,
        }
    }

    /// Index of the next address and the end of its share; `None` after the last one or when the time is over.
    pub(crate) fn next(&mut self) -> Option<(usize, Instant)> {
        let now = Instant::now();
        if self.tried >= self.addresses || (self.tried > 0 && now >= self.deadline) {
            return None;
        }
        let index = (self.first + self.tried) % self.addresses;
        let left = u32::try_from(self.addresses - self.tried).unwrap_or(u32::MAX);
        self.tried += 1;
        Some((index, now + self.deadline.saturating_duration_since(now) / left))
    }

    /// Notes why an address does not serve.
    pub(crate) fn failed(&mut self, endpoint: &Endpoint, failure: Failure) {
        let failure = match self.addresses {
            1 => failure,
            _ => Failure::new(
                failure.stage,
                failure.class,
                &format!("{}: {}", endpoint.address, failure.text),
            ),
        };
        if self
            .verdict
            .as_ref()
            .is_none_or(|known| weight(failure.class) > weight(known.class))
        {
            self.verdict = Some(failure);
        }
    }

    /// The failure that stands for a pass in which nobody served.
    pub(crate) fn verdict(self) -> Failure {
        let missing = || Failure::new(Stage::Tcp, FindingClass::Timeout, "no address was asked in time");
        self.verdict.unwrap_or_else(missing)
    }
}

/// What a connection that broke off under a question means: a process that ends closes its connections before its port, and who asks in
/// between learns nothing. Asked a moment later, the port says it.
pub(crate) async fn or_gone(endpoint: &Endpoint, failure: Failure, deadline: Instant) -> Failure {
    if failure.class != FindingClass::WrongAnswer || failure.stage == Stage::Role {
        return failure;
    }
    match endpoint.connect(deadline).await {
        Err(gone) if gone.class == FindingClass::Refused => gone,
        _ => failure,
    }
}

/// Which finding speaks for several addresses that all failed. What says nothing about the server comes first: where one name does not
/// resolve or one certificate does not fit, that address may well serve others, and the source is not known to be down.
fn weight(class: FindingClass) -> u8 {
    match class {
        FindingClass::Auth => 9,
        FindingClass::OwnShortage => 8,
        FindingClass::Dns | FindingClass::Tls | FindingClass::Misconfigured => 7,
        FindingClass::TooManyConnections => 6,
        FindingClass::WrongAnswer => 4,
        FindingClass::ServerStarting => 3,
        FindingClass::Timeout => 2,
        FindingClass::Refused | FindingClass::Unreachable => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failure(class: FindingClass) -> Failure {
        Failure::new(Stage::Tcp, class, "words")
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_leaves_time_for_the_others() {
        let deadline = Instant::now() + Duration::from_millis(3000);
        let mut round = Round::new(3, 2, deadline);
        let (index, share) = round.next().unwrap();
        assert_eq!((index, share), (2, deadline - Duration::from_millis(2000)));
        tokio::time::advance(Duration::from_millis(1000)).await;
        let (index, share) = round.next().unwrap();
        assert_eq!((index, share), (0, deadline - Duration::from_millis(1000)));
        // Refused at once: its share goes to the last one.
        let (index, share) = round.next().unwrap();
        assert_eq!((index, share), (1, deadline));
        assert_eq!(round.next(), None);
    }

    #[test]
    fn the_verdict_is_the_failure_that_proves_least() {
        use FindingClass::*;
        for (classes, expected) in [
            (vec![Refused, Timeout], Timeout),
            (vec![Timeout, Refused], Timeout),
            (vec![Refused, Dns, Timeout], Dns),
            (vec![Tls, Refused], Tls),
            (vec![Refused, Refused], Refused),
        ] {
            let endpoint = Endpoint::parse("db:1").unwrap();
            let mut round = Round::new(classes.len(), 0, Instant::now());
            for class in &classes {
                round.failed(&endpoint, failure(*class));
            }
            let verdict = round.verdict();
            assert_eq!(
                (verdict.class, verdict.text.as_str()),
                (expected, "db:1: words"),
                "{classes:?}"
            );
        }
    }

    #[test]
    fn addresses_are_few_and_different() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            endpoints(&texts).map(|found| found.len())
        };
        assert_eq!(of(&["a:1", "b:1"]), Ok(2));
        assert!(matches!(of(&[]), Err(TargetError::Setting(_))));
        assert!(matches!(of(&["a:1", "a:1"]), Err(TargetError::Setting(_))));
        assert!(matches!(of(&["a"]), Err(TargetError::Address(_))));
        let many: Vec<String> = (1..=MAX_ADDRESSES + 1).map(|port| format!("a:{port}")).collect();
        assert!(matches!(endpoints(&many), Err(TargetError::Setting(_))));
    }
}

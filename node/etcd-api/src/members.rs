//! Changes of the members: the seam between the service Cluster and whoever carries a change out, and etcd's texts for what
//! can go wrong.

use quorate_raft::CallError;
use tonic::{Code, Status};

use crate::errors;

/// Members that do not vote yet, at most; as etcd's default.
pub const MAX_LEARNERS: usize = 1;

/// A change of the members. Nodes are named by their Raft id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a member with these peer URLs.
    Add { peer_urls: Vec<String>, learner: bool },
    /// Removes a member.
    Remove { node: u64 },
    /// Gives a member other peer URLs.
    Update { node: u64, peer_urls: Vec<String> },
    /// Makes a learner a voter.
    Promote { node: u64 },
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("etcdserver: member not found")]
    NotFound,
    #[error("etcdserver: member ID already exist")]
    IdExists,
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    #[error("etcdserver: given member URLs are invalid")]
    BadUrls,
    #[error("etcdserver: can only promote a learner member")]
    NotLearner,
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Consensus gave no outcome.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl MemberError {
    /// Every refusal, in the order of the numbers under which they travel between nodes; never reordered.
    const NUMBERED: [Self; 9] = [
        Self::NotFound,
        Self::IdExists,
        Self::PeerUrlExists,
        Self::BadUrls,
        Self::NotLearner,
        Self::LearnerNotReady,
        Self::TooManyLearners,
        Self::NotEnoughStarted,
        Self::Unhealthy,
    ];

    /// The number of a refusal, for another node; `None` for a failed call.
    pub fn number(&self) -> Option<u32> {
        let position = Self::NUMBERED.iter().position(|error| error == self)?;
        u32::try_from(position).ok()
    }

    /// The refusal of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::NUMBERED.get(usize::try_from(number).ok()?).cloned()
    }

    /// The answer that etcd gives.
    pub(crate) fn status(self) -> Status {
        let code = match &self {
            Self::NotFound => Code::NotFound,
            Self::BadUrls => Code::InvalidArgument,
            Self::IdExists | Self::PeerUrlExists | Self::NotLearner | Self::LearnerNotReady | Self::TooManyLearners => {
                Code::FailedPrecondition
            }
            // etcd declares FailedPrecondition but sends Unknown.
            Self::NotEnoughStarted => Code::Unknown,
            Self::Unhealthy => Code::Unavailable,
            Self::Call(error) => return errors::call_status(error.clone()),
        };
        Status::new(code, self.to_string())
    }
}

/// Carries changes of the members out, wherever the leader is.
#[tonic::async_trait]
pub trait MemberKeeper: Send + Sync + 'static {
    /// Carries a change out and waits until this node's state holds it; gives the node that it concerns.
    ///
    /// # Errors
    ///
    /// [`MemberError`]; after a failed call the change may or may not have happened.
    async fn change(&self, change: MemberChange) -> Result<u64, MemberError>;
}

/// What the registry holds as addresses, as URLs: a member of a cluster that stands in for etcd has its URLs there.
pub(crate) fn urls(addresses: &str) -> Vec<String> {
    let addresses = addresses.split(',').filter(|address| !address.is_empty());
    addresses
        .map(|address| match address.contains("://") {
            true => address.to_owned(),
            false => format!("https://{address}"),
        })
        .collect()
}

/// Checks peer URLs as etcd does: `http` or `https`, a host, a port, no path.
pub(crate) fn check_urls(urls: &[String]) -> Result<(), MemberError> {
    let good = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
        let (host, port) = rest.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = !host.is_empty() && !host.contains([':', '/', '[', ']', ',', '@', ' ']);
        port.parse::<u16>().ok().filter(|_| bracketed || plain)
    };
    match !urls.is_empty() && urls.iter().all(|url| good(url).is_some()) {
        true => Ok(()),
        false => Err(MemberError::BadUrls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_as_in_etcd() {
        let check = |urls: &[&str]| check_urls(&urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        for good in ["http://127.0.0.1:2380", "https://node-1:2380", "http://[::1]:2380"] {
            assert_eq!(check(&[good]), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:2380",
            "http://127.0.0.1",
            "http://x:2380/path",
            "ftp://x:1",
            "http://:1",
            "http://x:99999",
            "http://a,b:1",
        ] {
            assert_eq!(check(&[bad]), Err(MemberError::BadUrls), "{bad}");
        }
        assert_eq!(check(&[]), Err(MemberError::BadUrls));
    }

    #[test]
    fn refusals_keep_their_numbers() {
        for (number, error) in (0..).zip(MemberError::NUMBERED) {
            assert_eq!(error.number(), Some(number));
            assert_eq!(MemberError::from_number(number), Some(error));
        }
        assert_eq!(MemberError::from_number(99), None);
        assert_eq!(MemberError::Call(CallError::NoLeader).number(), None);
    }
}

//! The cluster as the prober with a kept session asks it.

use std::time::Duration;

use hyper::Method;
use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    ElasticsearchTarget, LOGIN_BACKOFF,
    answers::{self, Banner},
    http::{self, HttpSession},
};
use crate::{
    failure::Failure,
    kept::{Answer, Dialect},
    observation::{RoleInfo, Stage},
    refusals::Account,
    several::{Round, or_gone},
};

/// Longest that a node may wait for the cluster's master before it answers; without it, it waits 30 s.
const MASTER_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to one node that has shown its product and version.
#[derive(Debug)]
pub(super) struct NodeSession {
    http: HttpSession,
    /// Place of the node among the target's addresses.
    index: usize,
    banner: Banner,
    /// What the node said while the connection was opened, not handed out yet.
    first: Option<Answer>,
}

#[derive(Debug)]
pub(super) struct Cluster {
    target: ElasticsearchTarget,
    account: Account,
    /// The node that answered last.
    preferred: usize,
    /// Description of a block that keeps writes out, as last seen.
    write_block: Option<String>,
    /// The account may not ask for blocks: it is not asked again.
    blocks_refused: bool,
}

impl Cluster {
    pub(super) fn new(target: ElasticsearchTarget) -> Self {
        Self {
            account: target.account(),
            target,
            preferred: 0,
            write_block: None,
            blocks_refused: false,
        }
    }

    /// The first node from the preferred one on, or the one behind it, that answers and whose cluster serves.
    async fn open_from(&mut self, first: usize, deadline: Instant) -> Result<NodeSession, Failure> {
        self.may_login()?;
        let mut round = Round::new(self.target.endpoints.len(), first, deadline);
        while let Some((index, share)) = round.next() {
            match self.open_node(index, share).await {
                Ok(session) => {
                    self.account.accepted();
                    self.preferred = index;
                    return Ok(session);
                }
                // The next node would refuse it too, and count it.
                Err(failure) if failure.class == FindingClass::Auth => return Err(self.refused(failure)),
                Err(failure) => {
                    let endpoint = &self.target.endpoints[index];
                    round.failed(endpoint, or_gone(endpoint, failure, share).await);
                }
            }
        }
        Err(round.verdict())
    }

    async fn open_node(&mut self, index: usize, deadline: Instant) -> Result<NodeSession, Failure> {
        let endpoint = &self.target.endpoints[index];
        let mut http = http::open(endpoint, self.target.encryption.as_ref(), deadline).await?;
        let banner = ask_banner(&self.target, &mut http, deadline).await?;
        let mut answer = self.health(&mut http, &banner, deadline).await?;
        answer.reusable = self.ask_blocks(&mut http, deadline).await?;
        self.note_block(&mut answer);
        Ok(NodeSession {
            http,
            index,
            banner,
            first: Some(answer),
        })
    }

    async fn health(&self, http: &mut HttpSession, banner: &Banner, deadline: Instant) -> Result<Answer, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = (left / 2).clamp(Duration::from_millis(1), MASTER_TIMEOUT).as_millis();
        let path = format!("/_cluster/health?timeout={wait}ms&master_timeout={wait}ms");
        answers::health(&self.get(http, &path, deadline).await?)?;
        Ok(Answer {
            role: RoleInfo {
                read_only: false,
                replication_lag_seconds: None,
                server_version: banner.version.clone(),
                ..RoleInfo::default()
            },
            ailment: None,
            reusable: true,
        })
    }

    /// Asks for blocks, which the health does not show. Optional: an account that may not ask is no fault of the cluster. Only a
    /// time-out is one: the node fell silent amid the attempt. `false` if the connection must not be used again.
    async fn ask_blocks(&mut self, http: &mut HttpSession, deadline: Instant) -> Result<bool, Failure> {
        if self.blocks_refused {
            return Ok(true);
        }
        let path = "/_cluster/state/blocks?local=true&filter_path=blocks.global";
        let reply = match self.get(http, path, deadline).await {
            Ok(reply) => reply,
            Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
            Err(failure) => {
                tracing::debug!("blocks are not known: {failure}");
                return Ok(false);
            }
        };
        match answers::write_block(&reply) {
            Ok(block) => self.write_block = block,
            Err(failure) => {
                // 401 is no missing right, but a login that was refused meanwhile.
                if reply.status == hyper::StatusCode::UNAUTHORIZED {
                    return Err(failure);
                }
                self.blocks_refused = failure.class == FindingClass::Auth;
                self.write_block = None;
            }
        }
        Ok(true)
    }

    fn note_block(&self, answer: &mut Answer) {
        if let Some(block) = &self.write_block {
            answer.role.read_only = true;
            answer.ailment = Some((FindingClass::ReadOnly, block.clone()));
        }
    }

    async fn get(&self, http: &mut HttpSession, path: &str, deadline: Instant) -> Result<http::Reply, Failure> {
        get(&self.target, http, path, deadline).await
    }

    /// Every request carries the login: none is sent while the account rests.
    fn may_login(&self) -> Result<(), Failure> {
        match self.account.refused() {
            None => Ok(()),
            Some((text, _)) => Err(Failure::new(Stage::Login, FindingClass::Auth, &text)),
        }
    }

    fn refused(&self, failure: Failure) -> Failure {
        let minutes = LOGIN_BACKOFF.as_secs() / 60;
        let text = format!(
            "{}; no further login for {minutes} minutes, for which the source may stay locked",
            failure.text
        );
        let failure = Failure::new(failure.stage, failure.class, &text);
        self.account.refuse(&failure.text, LOGIN_BACKOFF);
        failure
    }
}

impl Dialect for Cluster {
    type Session = NodeSession;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        let addresses: Vec<String> = self.target.addresses().map(ToString::to_string).collect();
        addresses.join(", ")
    }

    fn login_backoff(&self) -> Duration {
        // A refusal may be older than this prober.
        self.account.refused().map_or(LOGIN_BACKOFF, |(_, left)| left)
    }

    async fn open(&mut self, deadline: Instant) -> Result<NodeSession, Failure> {
        self.open_from(self.preferred, deadline).await
    }

    async fn ask(&mut self, session: &mut NodeSession, _fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        if let Some(answer) = session.first.take() {
            return Ok(answer);
        }
        self.may_login()?;
        let nodes = self.target.endpoints.len();
        let (_, share) = Round::new(nodes.min(2), 0, deadline).next().unwrap_or((0, deadline));
        match self.health(&mut session.http, &session.banner, share).await {
            Ok(mut answer) => {
                self.note_block(&mut answer);
                Ok(answer)
            }
            Err(failure) if failure.class == FindingClass::Auth => Err(self.refused(failure)),
            // A silent node is not a silent cluster: its neighbours have the rest of the time.
            Err(failure) if failure.class == FindingClass::Timeout && nodes > 1 => {
                let next = (session.index + 1) % nodes;
                *session = self.open_from(next, deadline).await?;
                session.first.take().ok_or(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        let mut round = Round::new(self.target.endpoints.len(), self.preferred, deadline);
        while let Some((index, share)) = round.next() {
            let endpoint = &self.target.endpoints[index];
            match reach(&self.target, index, share).await {
                Ok(()) => return Ok(()),
                Err(failure) => round.failed(endpoint, failure),
            }
        }
        Err(round.verdict())
    }

    fn close(session: NodeSession) {
        // HTTP has no farewell: the connection ends when its sender is dropped.
        drop(session);
    }
}

/// Asks with the target's login.
pub(super) async fn get(
    target: &ElasticsearchTarget,
    http: &mut HttpSession,
    path: &str,
    deadline: Instant,
) -> Result<http::Reply, Failure> {
    let authorization = target.authorization();
    let authorization = authorization.as_ref().map(|header| header.as_str());
    http.ask(Method::GET, path, authorization, deadline).await
}

/// Who the node is.
pub(super) async fn ask_banner(
    target: &ElasticsearchTarget,
    http: &mut HttpSession,
    deadline: Instant,
) -> Result<Banner, Failure> {
    let reply = get(target, http, "/", deadline).await?;
    if !answers::has_no_banner(&reply) {
        return answers::banner(&reply);
    }
    let path = "/_nodes/_local/_none?filter_path=cluster_name,nodes.*.version";
    answers::node_banner(&get(target, http, path, deadline).await?)
}

/// Any answer at all, without a login: both products let `OPTIONS` pass unauthenticated (for browsers' preflights), so that this is no
/// refused login in their books either.
async fn reach(target: &ElasticsearchTarget, index: usize, deadline: Instant) -> Result<(), Failure> {
    let endpoint = &target.endpoints[index];
    let mut http = http::open(endpoint, target.encryption.as_ref(), deadline).await?;
    http.ask(Method::OPTIONS, "/", None, deadline).await.map(drop)
}

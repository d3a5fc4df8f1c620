//! Gives both systems the same operations and stops at the first difference.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::checkpoint::LiveWatch;
use super::generate::{Generator, Round, World, endangers_root, password_of};
use super::operation::{Caller, Operation, Outcome, Step, shorten};
use super::systems::{Asked, Pair, Programs};
use crate::wire::etcdserverpb as pb;

/// Shown of two answers before they differ.
const SHOWN_BEFORE_CHARACTERS: usize = 600;

/// A difference, with what led to it.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// What was asked.
    pub what: String,
    /// What real etcd did.
    pub etcd: String,
    /// What ours did.
    pub quorate: String,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n  etcd:    {}\n  quorate: {}",
            self.what, self.etcd, self.quorate
        )
    }
}

/// How operations ended, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Operations asked of both.
    pub operations: usize,
    /// Of those, refused by both with the same code and text.
    pub refused: usize,
    /// Comparisons of everything.
    pub checkpoints: usize,
}

impl Tally {
    /// Takes another lane's in.
    pub(super) fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.refused += other.refused;
        self.checkpoints += other.checkpoints;
    }
}

/// Both systems in the middle of a sequence.
pub(super) struct Session {
    pair: Pair,
    world: World,
    live: [LiveWatch; 2],
    pub(super) tally: Tally,
    /// Differences still tolerated: with more than none a difference is told and the sequence goes on.
    tolerated: usize,
}

impl Session {
    pub(super) async fn start(programs: &Programs) -> Result<Self> {
        let pair = Pair::start(programs, Asked::Follower).await?;
        let (etcd, quorate) = (pair.etcd.revision().await?, pair.quorate.revision().await?);
        ensure!(
            etcd == quorate,
            "a new etcd is at revision {etcd}, a new cluster of ours at {quorate}"
        );
        let live = [
            LiveWatch::open(&pair.etcd).await?,
            LiveWatch::open(&pair.quorate).await?,
        ];
        Ok(Self {
            world: World {
                revision: etcd,
                compacted: 0,
                auth_enabled: true,
                passwords: BTreeMap::new(),
            },
            pair,
            live,
            tally: Tally::default(),
            tolerated: 0,
        })
    }

    /// Tells up to `count` differences and goes on, to see more than the first at once.
    pub(super) fn tolerate(&mut self, count: usize) {
        self.tolerated = count;
    }

    /// The difference, if it is one too many.
    fn judge(&mut self, divergence: Divergence) -> Option<Divergence> {
        if self.tolerated == 0 {
            return Some(divergence);
        }
        self.tolerated -= 1;
        eprintln!("{divergence}\n");
        None
    }

    /// Makes rounds until `operations` have been compared, and keeps them in `rounds`; gives the difference, if there is one.
    pub(super) async fn generate(
        &mut self,
        generator: &mut Generator,
        operations: usize,
        checkpoint_every: usize,
        mut rounds: Option<&mut Vec<Round>>,
        mut progress: impl FnMut(&Tally),
    ) -> Result<Option<Divergence>> {
        let mut next_checkpoint = checkpoint_every;
        while self.tally.operations < operations {
            let round = generator.round(&self.world);
            let divergence = self.round(&round).await?;
            if let Some(rounds) = &mut rounds {
                rounds.push(round);
            }
            if divergence.is_some() {
                return Ok(divergence);
            }
            if self.tally.operations >= next_checkpoint {
                next_checkpoint += checkpoint_every;
                if let Some(divergence) = self.checkpoint().await? {
                    return Ok(Some(divergence));
                }
                progress(&self.tally);
            }
        }
        self.checkpoint().await
    }

    /// Does rounds that were made before.
    pub(super) async fn replay(&mut self, rounds: &[Round]) -> Result<Option<Divergence>> {
        for round in rounds {
            let mut round = round.clone();
            let by = self.world.revision;
            for step in std::iter::once(&mut round.change).chain(&mut round.reads) {
                step.operation.rebase(by - step.base_revision);
            }
            if endangers_root(&round.change.operation) && !self.world.auth_enabled {
                continue;
            }
            if let Some(divergence) = self.round(&round).await? {
                return Ok(Some(divergence));
            }
        }
        self.checkpoint().await
    }

    pub(super) async fn stop(self) -> Result<()> {
        drop(self.live);
        self.pair.stop().await
    }

    async fn round(&mut self, round: &Round) -> Result<Option<Divergence>> {
        for step in std::iter::once(&round.change).chain(&round.reads) {
            if let Some(divergence) = self.log_in(&step.caller).await? {
                return Ok(Some(divergence));
            }
        }
        if let Some(divergence) = self.compare(std::slice::from_ref(&round.change)).await? {
            return Ok(Some(divergence));
        }
        self.compare(&round.reads).await
    }

    async fn compare(&mut self, steps: &[Step]) -> Result<Option<Divergence>> {
        let (etcd, quorate) =
            futures_util::try_join!(self.pair.etcd.perform_all(steps), self.pair.quorate.perform_all(steps))?;
        for ((step, etcd), quorate) in steps.iter().zip(&etcd).zip(&quorate) {
            self.tally.operations += 1;
            self.tally.refused += usize::from(!etcd.is_ok());
            if etcd != quorate
                && let Some(divergence) = self.judge(difference(format!("{step:?}"), etcd, quorate))
            {
                return Ok(Some(divergence));
            }
            self.learn(step, etcd);
        }
        Ok(None)
    }

    /// Takes over what the operation did to the state.
    fn learn(&mut self, step: &Step, outcome: &Outcome) {
        if let Outcome::Refused(tonic::Code::Unauthenticated, _) = outcome
            && let Caller::User(name) = &step.caller
        {
            self.forget(Some(name));
        }
        if !outcome.is_ok() {
            return;
        }
        match &step.operation {
            Operation::Compact(request) => self.world.compacted = request.revision,
            // etcd ends every token here; ours may outlive it (difference 3 of `docs/etcd-differences.md`).
            Operation::AuthDisable(_) => {
                self.world.auth_enabled = false;
                self.forget(None);
            }
            Operation::AuthEnable(_) => self.world.auth_enabled = true,
            Operation::UserAdd(request) => {
                let without = request.options.is_some_and(|options| options.no_password);
                let password = (!without).then(|| request.password.clone());
                self.world.passwords.insert(request.name.clone(), password);
            }
            Operation::UserChangePassword(request) => {
                if let Some(Some(password)) = self.world.passwords.get_mut(&request.name) {
                    *password = password_of(&request.hashed_password);
                }
            }
            Operation::UserDelete(request) => {
                self.world.passwords.remove(&request.name);
            }
            _ => {}
        }
        if let Some(revision) = outcome.revision() {
            self.world.revision = self.world.revision.max(revision);
        }
    }

    fn forget(&mut self, user: Option<&str>) {
        self.pair.etcd.forget(user);
        self.pair.quorate.forget(user);
    }

    async fn log_in(&mut self, caller: &Caller) -> Result<Option<Divergence>> {
        let Caller::User(name) = caller else {
            return Ok(None);
        };
        if !self.pair.etcd.lacks_token(caller) || !self.world.auth_enabled {
            return Ok(None);
        }
        let password = match self.world.passwords.get(name) {
            _ if name == "root" => self.pair.etcd.root.password.clone(),
            Some(Some(password)) => password.clone(),
            // Who cannot log in calls without a token.
            _ => return Ok(None),
        };
        let (etcd, quorate) = futures_util::join!(
            self.pair.etcd.log_in_as(name, &password),
            self.pair.quorate.log_in_as(name, &password)
        );
        if etcd == quorate {
            return Ok(None);
        }
        Ok(self.judge(Divergence {
            what: format!("login of {name}"),
            etcd: format!("{etcd:?}"),
            quorate: format!("{quorate:?}"),
        }))
    }

    /// Compares everything: every key at several revisions, the hash of all revisions, leases, users, and every event so far.
    async fn checkpoint(&mut self) -> Result<Option<Divergence>> {
        self.tally.checkpoints += 1;
        if self.world.auth_enabled
            && let Some(divergence) = self.log_in(&root()).await?
        {
            return Ok(Some(divergence));
        }
        if let Some(divergence) = self.compare(&self.everything()).await? {
            return Ok(Some(divergence));
        }
        let revision = self.world.revision;
        let [etcd, quorate] = &mut self.live;
        let (etcd, quorate) = futures_util::try_join!(etcd.until(revision), quorate.until(revision))?;
        let first = etcd.iter().zip(&quorate).position(|(etcd, quorate)| etcd != quorate);
        let first = first.or_else(|| (etcd.len() != quorate.len()).then_some(etcd.len().min(quorate.len())));
        let divergence = first.map(|index| Divergence {
            what: format!("event {index} of a watch on every key that stands since the beginning"),
            etcd: shorten(&format!("{:?}", etcd.get(index))),
            quorate: shorten(&format!("{:?}", quorate.get(index))),
        });
        Ok(divergence.and_then(|divergence| self.judge(divergence)))
    }

    fn everything(&self) -> Vec<Step> {
        let (newest, oldest) = (self.world.revision, self.world.compacted.max(1));
        let mut operations = vec![
            Operation::LeaseLeases(pb::LeaseLeasesRequest {}),
            Operation::UserList(pb::AuthUserListRequest {}),
            Operation::RoleList(pb::AuthRoleListRequest {}),
            Operation::AuthStatus(pb::AuthStatusRequest {}),
            Operation::Alarm(pb::AlarmRequest::default()),
            Operation::HashKv(pb::HashKvRequest { revision: 0 }),
            Operation::Watch(vec![pb::WatchCreateRequest {
                key: bytes::Bytes::from_static(b"\0"),
                range_end: bytes::Bytes::from_static(b"\0"),
                start_revision: oldest,
                prev_kv: true,
                ..Default::default()
            }]),
        ];
        for revision in [0, oldest, oldest + (newest - oldest) / 2, newest] {
            operations.push(Operation::Range(pb::RangeRequest {
                key: bytes::Bytes::from_static(b"\0"),
                range_end: bytes::Bytes::from_static(b"\0"),
                revision,
                ..Default::default()
            }));
        }
        operations.extend((1..=8).map(|id| Operation::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys: true })));
        let step = |operation| Step {
            caller: root(),
            operation,
            base_revision: newest,
        };
        operations.into_iter().map(step).collect()
    }
}

fn root() -> Caller {
    Caller::User("root".to_owned())
}

fn difference(what: String, etcd: &Outcome, quorate: &Outcome) -> Divergence {
    let (etcd, quorate) = (format!("{etcd:?}"), format!("{quorate:?}"));
    // Long answers are mostly equal: they are shown from shortly before the first difference.
    let equal = std::iter::zip(etcd.chars(), quorate.chars()).take_while(|(etcd, quorate)| etcd == quorate);
    let skipped = equal.count().saturating_sub(SHOWN_BEFORE_CHARACTERS);
    let shown = |text: &str| shorten(&text.chars().skip(skipped).collect::<String>());
    Divergence {
        what,
        etcd: shown(&etcd),
        quorate: shown(&quorate),
    }
}

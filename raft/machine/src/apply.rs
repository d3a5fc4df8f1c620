//! One entry of the log: decode, de-duplicate, authorize, carry out.
//!
//! `apply` is deterministic and infallible: a refusal is a reply and changes nothing but the records of it.

use bytes::Bytes;
use prost::Message;
use quorate_kv::{Nothing, RevisionEvents};

use crate::command::*;
use crate::model::Id;
use crate::reply::*;
use crate::sessions::Stamp;
use crate::state::State;
use crate::{access, audit, divergence, health, keyspaces, registry, sites, switch, withhold};

/// Which reconcilers may have work after an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// `outstanding` may have changed.
    pub work: bool,
    /// `next_deadline` may have changed.
    pub deadline: bool,
    /// Events were recorded.
    pub events: bool,
    /// Nodes, workers or leadership changed.
    pub membership: bool,
    /// Monitors or their settings changed: probers look at their schedule.
    pub monitors: bool,
}

impl Wake {
    /// True if any reconciler may have work.
    pub fn any(self) -> bool {
        self.work || self.deadline || self.events || self.membership || self.monitors
    }
}

/// What an entry came to.
#[derive(Debug)]
pub struct Outcome {
    /// For the proposer.
    pub reply: Reply,
    /// Revisions that keyspaces got, in order; a repeated command has none.
    pub revisions: Vec<(Id, RevisionEvents)>,
    pub wake: Wake,
    /// Set when the entry cannot be understood (it was written by a newer version): the node must stop and say this.
    /// Nothing was changed.
    pub halt: Option<String>,
}

/// What handlers know of the entry they carry out, and where they leave its effects.
pub(crate) struct Context<'a> {
    pub index: u64,
    pub now_ms: u64,
    pub wall_ms: i64,
    pub author: &'a Principal,
    /// The node that took the command in; the leader where that is not known.
    pub node: u64,
    pub revisions: Vec<(Id, RevisionEvents)>,
    pub wake: Wake,
}

/// A command that is understood, and who gave it.
pub(crate) type Decoded = (Principal, Command);

/// Applies a command that has an entry of its own.
pub fn apply(state: &mut State, index: u64, envelope: &Envelope) -> Outcome {
    match decode(index, envelope.proposal.clone()) {
        Ok(decoded) => apply_decoded(state, index, envelope, decoded),
        Err(reason) => halted(reason),
    }
}

/// Decodes a proposal of the entry at `index`, or says why the node must stop.
pub(crate) fn decode(index: u64, proposal: Bytes) -> Result<Decoded, String> {
    match Proposal::decode(proposal) {
        Ok(Proposal {
            author,
            command: Some(command),
        }) => Ok((author.unwrap_or_default(), command)),
        Ok(_) => Err(format!("entry {index} holds a command that this version does not know")),
        Err(error) => Err(format!("entry {index} holds no command that can be decoded: {error}")),
    }
}

/// Carries out what `envelope` was decoded to.
pub(crate) fn apply_decoded(state: &mut State, index: u64, envelope: &Envelope, decoded: Decoded) -> Outcome {
    let (author, command) = decoded;
    state.applied_index = index;
    state.last_time_ms = state.last_time_ms.max(envelope.time_ms);
    state.last_wall_ms = envelope.wall_ms;
    let mut context = Context {
        index,
        now_ms: state.last_time_ms,
        wall_ms: envelope.wall_ms,
        author: &author,
        node: envelope.session.map_or(state.leadership.node, |stamp| stamp.node),
        revisions: Vec::new(),
        wake: Wake::default(),
    };
    let reply = match envelope.session.map(|stamp| (stamp, state.check_stamp(index, &stamp))) {
        Some((_, Stamp::Repeat(reply))) => (*reply).clone(),
        Some((_, Stamp::OutsideWindow)) => Refusal::new(RefusalCode::ResendOutsideWindow).into(),
        Some((stamp, Stamp::New)) => {
            let reply = execute(state, &mut context, command);
            state.sessions.store(&stamp, reply.clone());
            reply
        }
        None => execute(state, &mut context, command),
    };
    Outcome {
        reply,
        revisions: context.revisions,
        wake: context.wake,
        halt: None,
    }
}

/// Tries a command without carrying it out: the refusal that it would get at this moment.
pub fn try_out(state: &State, author: &Principal, command: Command) -> Option<Refusal> {
    let mut state = state.clone();
    let mut context = Context {
        index: state.applied_index,
        now_ms: state.last_time_ms,
        wall_ms: state.last_wall_ms,
        author,
        node: state.leadership.node,
        revisions: Vec::new(),
        wake: Wake::default(),
    };
    execute(&mut state, &mut context, command).refusal().cloned()
}

fn halted(reason: String) -> Outcome {
    Outcome {
        reply: Refusal::new(RefusalCode::UnknownCommand).into(),
        revisions: Vec::new(),
        wake: Wake::default(),
        halt: Some(reason),
    }
}

fn execute(state: &mut State, context: &mut Context<'_>, command: Command) -> Reply {
    let (code, object) = (command.name(), command.object());
    let result = access::check_author(state, context.author, &command)
        .and_then(|()| divergence::check_writes(state, context.author, &command))
        .and_then(|()| dispatch(state, context, command));
    match result {
        Ok(kind) => Reply { kind: Some(kind) },
        Err(refusal) => {
            audit::record_refusal(state, context, code, object, &refusal);
            refusal.into()
        }
    }
}

/// Every command, one line each.
fn dispatch(state: &mut State, context: &mut Context<'_>, command: Command) -> Result<ReplyKind, Refusal> {
    match command {
        Command::Bootstrap(c) => registry::bootstrap(state, context, *c),
        Command::BootstrapEtcd(c) => registry::bootstrap_etcd(state, context, *c),
        Command::LeaderStarted(c) => health::leader_started(state, context, c),
        Command::WorkerSeen(c) => health::worker_seen(state, context, c),
        Command::WorkerLapsed(c) => health::worker_lapsed(state, context, c),
        Command::ReportHealth(c) => health::report(state, context, c),
        Command::Tick(_) => health::tick(state, context),
        Command::ReportStateHash(c) => health::state_hash_reported(state, context, c),
        Command::CreateApplication(c) => registry::create_application(state, context, c),
        Command::UpdateApplication(c) => registry::update_application(state, context, c),
        Command::DeleteApplication(c) => registry::delete_application(state, context, c),
        Command::CreateMonitor(c) => registry::create_monitor(state, context, *c),
        Command::UpdateMonitor(c) => registry::update_monitor(state, context, *c),
        Command::DeleteMonitor(c) => registry::delete_monitor(state, context, c),
        Command::DeleteMonitors(c) => registry::delete_monitors(state, context, c),
        Command::SetConnectionPool(c) => registry::set_connection_pool(state, context, *c),
        Command::SetReadWrite(c) => switch::set_read_write(state, context, c),
        Command::AcknowledgeMonitor(c) => switch::acknowledge(state, context, c),
        Command::Switch(c) => switch::manual(state, context, c),
        Command::Republish(c) => switch::republish(state, context, c),
        Command::SetKindSettings(c) => registry::set_kind_settings(state, context, c),
        Command::SetQuotas(c) => registry::set_quotas(state, context, c),
        Command::CreateUser(c) => registry::create_user(state, context, c),
        Command::SetUserPassword(c) => registry::set_user_password(state, context, c),
        Command::CreateApiToken(c) => registry::create_api_token(state, context, c),
        Command::RevokeApiToken(c) => registry::revoke_api_token(state, context, c),
        Command::UpsertNode(c) => registry::upsert_node(state, context, c),
        Command::RemoveNode(c) => registry::remove_node(state, context, c),
        Command::Kv(c) => keyspaces::kv(state, context, c),
        Command::ExpireLease(c) => keyspaces::expire_lease(state, context, c),
        Command::ReportDisk(c) => health::disk_reported(state, context, c),
        Command::SetKeyspaceQuota(c) => registry::set_keyspace_quota(state, context, c),
        Command::SetPause(c) => withhold::set_pause(state, context, c),
        Command::CreateWindow(c) => withhold::create_window(state, context, c),
        Command::DeleteWindow(c) => withhold::delete_window(state, context, c),
        Command::ReportLinks(c) => sites::report_links(state, context, c),
        Command::SetSiteSettings(c) => sites::set_site_settings(state, context, c),
        Command::SetSiteSwitch(c) => sites::set_site_switch(state, context, c),
        Command::AnnounceDeparture(c) => sites::announce_departure(state, context, c),
        Command::CreateInstance(c) => registry::create_instance(state, context, *c),
        Command::UpdateInstance(c) => registry::update_instance(state, context, c),
        Command::DeleteInstance(c) => registry::delete_instance(state, context, c),
        Command::ReportInstancePort(c) => registry::instance_port_reported(state, context, c),
        Command::IssueClientCertificate(c) => registry::issue_client_certificate(state, context, c),
    }
}

/// The reply of a command that has nothing to say.
pub(crate) fn done() -> Result<ReplyKind, Refusal> {
    Ok(ReplyKind::Done(Nothing {}))
}

//! Who may do what (A4): one function, [`authorize`], asked by `apply` for every command and by edges for every read.

use quorate_kv::KvOp;

use crate::command::*;
use crate::live::MonitorRecord;
use crate::model::*;
use crate::reply::{Refusal, RefusalCode};
use crate::state::State;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See an object.
    Read,
    /// Create, change or delete an application or a monitor.
    Edit,
    /// Switch, acknowledge, set the read/write state.
    Operate,
    /// Change settings of kinds and quotas; KV administration from the console.
    Settings,
    /// Create users, or change another user's password.
    Users,
    /// Change one's own password or make and revoke one's own tokens.
    Own,
    /// An operation of a KV client; its keyspace checks the user's own permissions.
    Keyspace,
    /// Act for the cluster itself: reports, ticks, leadership, nodes.
    System,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// Nothing that belongs to anybody.
    Cluster,
    /// An object that belongs to this user and to no application.
    OwnedBy(&'a str),
    /// The keyspace of this instance.
    Instance(Id),
    /// An application, or what is in it.
    InApplication {
        /// Who owns the object.
        owner: &'a str,
        /// The application.
        application: &'a Id,
    },
}

/// Checks a permission.
///
/// Viewers and operators see, and operators also change, what they own; admins everything but users of their own rank;
/// root everything. An API token narrows its user's role; one that is bound to applications reaches nothing outside of
/// them, the user's own passwords and tokens included.
///
/// # Errors
///
/// `permission-denied`, or `credentials-changed` when the user's auth revision is another one by now or the token is gone.
pub fn authorize(state: &State, principal: &Principal, action: Action, object: Object<'_>) -> Result<(), Refusal> {
    let user = match &principal.kind {
        Some(PrincipalKind::Node(_)) if action == Action::System => return Ok(()),
        // Whoever was authenticated on one instance's port reaches nothing of another.
        Some(PrincipalKind::Kv(caller))
            if action == Action::Keyspace && object == Object::Instance(caller.instance) =>
        {
            return Ok(());
        }
        Some(PrincipalKind::User(user)) => user,
        _ => return Err(Refusal::new(RefusalCode::PermissionDenied)),
    };
    let role = effective_role(state, user)?;
    let owns = match object {
        Object::OwnedBy(owner) | Object::InApplication { owner, .. } => owner == user.name,
        Object::Cluster => true,
        Object::Instance(_) => false,
    };
    if !in_scope(state, user, action, object) {
        return Err(Refusal::new(RefusalCode::OutsideTokenScope));
    }
    let allowed = match action {
        Action::Read => owns || role >= Role::Admin,
        Action::Edit | Action::Operate => role >= Role::Admin || (role == Role::Operator && owns),
        Action::Settings | Action::Users => role >= Role::Admin,
        Action::Own => owns,
        Action::Keyspace | Action::System => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Refusal::new(RefusalCode::PermissionDenied).with("role", role.code()))
    }
}

/// False if the request comes with an API token that is bound to applications and this is none of theirs. A batch asks
/// for [`Action::Operate`] as such first and for every object of its own then.
fn in_scope(state: &State, user: &UserPrincipal, action: Action, object: Object<'_>) -> bool {
    let Some(token) = user.token.as_ref().and_then(|id| state.api_token(id)) else {
        return true;
    };
    token.applications.is_empty()
        || match object {
            Object::InApplication { application, .. } => token.applications.contains(application),
            Object::Cluster => matches!(action, Action::Read | Action::Operate),
            Object::OwnedBy(_) | Object::Instance(_) => false,
        }
}

/// The role that a user's request has: the user's own, narrowed by the API token if one was used.
///
/// # Errors
///
/// `credentials-changed` as for [`authorize`].
pub fn effective_role(state: &State, principal: &UserPrincipal) -> Result<Role, Refusal> {
    let changed = || Refusal::new(RefusalCode::CredentialsChanged);
    let user = state.user(&principal.name).ok_or_else(changed)?;
    if user.auth_revision != principal.auth_revision {
        return Err(changed());
    }
    let Some(token) = &principal.token else {
        return Ok(user.role());
    };
    let token = state
        .api_token(token)
        .filter(|token| token.user == user.name)
        .ok_or_else(changed)?;
    Ok(token.role().min(user.role()))
}

/// Checks the author of a command: the one place where commands meet permissions.
pub(crate) fn check_author(state: &State, author: &Principal, command: &Command) -> Result<(), Refusal> {
    let node = |node: u64| match author.kind {
        Some(PrincipalKind::Node(id)) if id == node => Ok(()),
        _ => Err(Refusal::new(RefusalCode::PermissionDenied)),
    };
    let check = |action, object| authorize(state, author, action, object);
    match command {
        Command::Bootstrap(_)
        | Command::BootstrapEtcd(_)
        | Command::LeaderStarted(_)
        | Command::WorkerSeen(_)
        | Command::WorkerLapsed(_) => {
            return check(Action::System, Object::Cluster);
        }
        Command::Tick(_) => return check(Action::System, Object::Cluster),
        _ if state.cluster.is_none() => return Err(Refusal::new(RefusalCode::NotBootstrapped)),
        _ => {}
    }
    match command {
        Command::ReportHealth(c) => node(c.node),
        Command::ReportStateHash(c) => node(c.node),
        Command::ReportDisk(c) => node(c.node),
        Command::ReportLinks(c) => node(c.node),
        Command::ReportInstancePort(c) => node(c.port.node),
        // Of itself, or an operator of any node.
        Command::AnnounceDeparture(c) => match author.kind {
            Some(PrincipalKind::Node(_)) => node(c.node),
            _ => check(Action::Settings, Object::Cluster),
        },
        Command::UpsertNode(_) | Command::RemoveNode(_) | Command::Republish(_) | Command::ExpireLease(_) => {
            check(Action::System, Object::Cluster)
        }
        // A cluster that stands in for etcd is set up by the flags of its members.
        Command::SetKeyspaceQuota(_) if state.stands_in_for_etcd() => check(Action::System, Object::Cluster),
        Command::CreateApplication(_) => check(Action::Edit, Object::Cluster),
        Command::UpdateApplication(c) => check(Action::Edit, application(state, &c.id)),
        Command::DeleteApplication(c) => check(Action::Edit, application(state, &c.id)),
        Command::CreateMonitor(c) => check(Action::Edit, application(state, &c.application)),
        Command::UpdateMonitor(c) => check(Action::Edit, monitor(state, &c.id)),
        Command::DeleteMonitor(c) => check(Action::Edit, monitor(state, &c.id)),
        // Whose monitors they are is asked one by one: each is deleted or refused for itself.
        Command::DeleteMonitors(_) => check(Action::Operate, Object::Cluster),
        Command::SetConnectionPool(c) => check(Action::Edit, monitor(state, &c.monitor)),
        Command::SetReadWrite(c) => check(Action::Operate, monitor(state, &c.monitor)),
        Command::AcknowledgeMonitor(c) => check(Action::Operate, monitor(state, &c.monitor)),
        Command::Switch(c) => {
            check(Action::Operate, Object::Cluster)?;
            if let Some(id) = &c.application {
                check(Action::Operate, application(state, id))?;
                let mut within = state.monitors_of_application(id);
                within.try_for_each(|monitor| check(Action::Operate, monitor.as_object()))?;
            }
            c.monitors
                .iter()
                .try_for_each(|id| check(Action::Operate, monitor(state, id)))
        }
        Command::CreateWindow(c) => in_scope_of(state, author, &c.scope),
        Command::DeleteWindow(c) => match state.window(&c.id) {
            Some(window) => in_scope_of(state, author, &window.scope),
            None => check(Action::Operate, Object::Cluster),
        },
        Command::SetKindSettings(_)
        | Command::SetQuotas(_)
        | Command::SetKeyspaceQuota(_)
        | Command::SetPause(_)
        | Command::SetSiteSettings(_)
        | Command::SetSiteSwitch(_)
        | Command::CreateInstance(_)
        | Command::UpdateInstance(_)
        | Command::DeleteInstance(_) => check(Action::Settings, Object::Cluster),
        // The key of a certificate outlasts a token, as a password does.
        Command::IssueClientCertificate(_) => {
            check(Action::Settings, Object::Cluster)?;
            log_in_for_passwords(state, author)
        }
        Command::CreateUser(c) => {
            check(Action::Users, Object::Cluster)?;
            below_own_rank(state, author, Role::try_from(c.role).unwrap_or(Role::Root))?;
            // A user comes with a password.
            log_in_for_passwords(state, author)
        }
        Command::SetUserPassword(c) => {
            match state.user(&c.name) {
                Some(user) if !is_user(author, &c.name) => {
                    check(Action::Users, Object::Cluster)?;
                    below_own_rank(state, author, user.role())?;
                }
                _ => check(Action::Own, Object::OwnedBy(&c.name))?,
            }
            log_in_for_passwords(state, author)
        }
        Command::CreateApiToken(c) => {
            check(Action::Own, Object::Cluster)?;
            // An unknown role is refused by the handler, with the field that is wrong.
            at_most_effective_role(state, author, Role::try_from(c.role).unwrap_or(Role::Viewer))
        }
        Command::RevokeApiToken(c) => match state.api_token(&c.id) {
            Some(token) if !is_user(author, &token.user) => {
                check(Action::Users, Object::Cluster)?;
                let owner = state.user(&token.user).map_or(Role::Viewer, User::role);
                below_own_rank(state, author, owner)
            }
            _ => check(Action::Own, Object::Cluster),
        },
        Command::Kv(c) => match &author.kind {
            // A node compacts and maintains.
            Some(PrincipalKind::Node(_)) => Ok(()),
            Some(PrincipalKind::Kv(_)) => check(Action::Keyspace, Object::Instance(c.instance)),
            _ => {
                check(Action::Settings, Object::Cluster)?;
                match &c.op {
                    Some(KvOp::UserChangePassword(user)) => kv_password(state, author, &c.instance, &user.name),
                    _ => Ok(()),
                }
            }
        },
        Command::Bootstrap(_)
        | Command::BootstrapEtcd(_)
        | Command::LeaderStarted(_)
        | Command::WorkerSeen(_)
        | Command::WorkerLapsed(_)
        | Command::Tick(_) => Ok(()),
    }
}

/// A window over an application or a monitor is for who operates it; a wider one is a setting.
fn in_scope_of(state: &State, author: &Principal, scope: &Scope) -> Result<(), Refusal> {
    match scope.kind() {
        ScopeKind::Cluster | ScopeKind::Instance => authorize(state, author, Action::Settings, Object::Cluster),
        ScopeKind::Application => authorize(state, author, Action::Operate, application(state, &scope.object)),
        ScopeKind::Monitor => authorize(state, author, Action::Operate, monitor(state, &scope.object)),
    }
}

fn application<'a>(state: &'a State, id: &Id) -> Object<'a> {
    state.application(id).map_or(Object::Cluster, |found| found.as_object())
}

fn monitor<'a>(state: &'a State, id: &Id) -> Object<'a> {
    state.monitor(id).map_or(Object::Cluster, |found| found.as_object())
}

impl Application {
    /// What permissions are asked for.
    pub fn as_object(&self) -> Object<'_> {
        Object::InApplication {
            owner: &self.meta.owner,
            application: &self.meta.id,
        }
    }
}

impl MonitorRecord {
    /// What permissions are asked for.
    pub fn as_object(&self) -> Object<'_> {
        Object::InApplication {
            owner: &self.meta.owner,
            application: &self.application,
        }
    }
}

/// With a password, whoever holds an API token would outlast it, and its bounds.
fn log_in_for_passwords(state: &State, author: &Principal) -> Result<(), Refusal> {
    let (principal, own) = author_role(state, author)?;
    if principal.token.is_none() {
        Ok(())
    } else {
        Err(Refusal::new(RefusalCode::PermissionDenied).with("role", own.code()))
    }
}

/// The role of KV users who command their keyspace.
const KV_ROOT: &str = "root";

/// Whoever has the KV role `root` of the first instance adds and removes members, reads everything and turns authentication off:
/// who sets such a password is above administrators.
fn kv_password(state: &State, author: &Principal, instance: &Id, user: &str) -> Result<(), Refusal> {
    log_in_for_passwords(state, author)?;
    let first = state.default_instance().is_some_and(|first| first.meta.id == *instance);
    let found = state.keyspace(instance).and_then(|keyspace| keyspace.user(user));
    let commands = user == KV_ROOT || found.is_some_and(|found| found.roles.iter().any(|role| role == KV_ROOT));
    let (_, own) = author_role(state, author)?;
    if first && commands && own < Role::Root {
        return Err(Refusal::new(RefusalCode::PermissionDenied)
            .with("role", own.code())
            .with("user", user));
    }
    Ok(())
}

fn is_user(author: &Principal, name: &str) -> bool {
    matches!(&author.kind, Some(PrincipalKind::User(user)) if user.name == name)
}

/// A request under a narrowed API token cannot make a token with a wider role: the narrowing would be worth nothing.
fn at_most_effective_role(state: &State, author: &Principal, role: Role) -> Result<(), Refusal> {
    let (principal, own) = author_role(state, author)?;
    let most = state.user(&principal.name).map_or(own, User::role);
    if role.min(most) <= own {
        Ok(())
    } else {
        Err(Refusal::new(RefusalCode::PermissionDenied).with("role", own.code()))
    }
}

fn author_role<'a>(state: &State, author: &'a Principal) -> Result<(&'a UserPrincipal, Role), Refusal> {
    match &author.kind {
        Some(PrincipalKind::User(user)) => Ok((user, effective_role(state, user)?)),
        _ => Err(Refusal::new(RefusalCode::PermissionDenied)),
    }
}

/// Nobody makes or changes users of the own rank or above; root alone stands above admins, and there is one root.
fn below_own_rank(state: &State, author: &Principal, role: Role) -> Result<(), Refusal> {
    let (_, own) = author_role(state, author)?;
    if role < own {
        Ok(())
    } else {
        Err(Refusal::new(RefusalCode::PermissionDenied).with("role", own.code()))
    }
}

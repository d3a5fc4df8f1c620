//! Stable names of commands and the object that each is about, for audit records.

use crate::command::*;
use crate::model::Id;

impl Command {
    /// Stable name, the code of the command's audit records.
    pub const fn name(&self) -> &'static str {
        match self {
            Command::Bootstrap(_) => "bootstrap",
            Command::BootstrapEtcd(_) => "bootstrap-etcd",
            Command::LeaderStarted(_) => "leader-started",
            Command::WorkerSeen(_) => "worker-seen",
            Command::WorkerLapsed(_) => "worker-lapsed",
            Command::ReportHealth(_) => "report-health",
            Command::Tick(_) => "tick",
            Command::ReportStateHash(_) => "report-state-hash",
            Command::CreateApplication(_) => "create-application",
            Command::UpdateApplication(_) => "update-application",
            Command::DeleteApplication(_) => "delete-application",
            Command::CreateMonitor(_) => "create-monitor",
            Command::UpdateMonitor(_) => "update-monitor",
            Command::DeleteMonitor(_) => "delete-monitor",
            Command::DeleteMonitors(_) => "delete-monitors",
            Command::SetConnectionPool(_) => "set-connection-pool",
            Command::SetReadWrite(_) => "set-read-write",
            Command::AcknowledgeMonitor(_) => "acknowledge-monitor",
            Command::Switch(_) => "switch",
            Command::Republish(_) => "republish",
            Command::SetKindSettings(_) => "set-kind-settings",
            Command::SetQuotas(_) => "set-quotas",
            Command::CreateUser(_) => "create-user",
            Command::SetUserPassword(_) => "set-user-password",
            Command::CreateApiToken(_) => "create-api-token",
            Command::RevokeApiToken(_) => "revoke-api-token",
            Command::UpsertNode(_) => "upsert-node",
            Command::RemoveNode(_) => "remove-node",
            Command::Kv(_) => "kv",
            Command::ExpireLease(_) => "expire-lease",
            Command::ReportDisk(_) => "report-disk",
            Command::SetKeyspaceQuota(_) => "set-keyspace-quota",
            Command::SetPause(_) => "pause",
            Command::CreateWindow(_) => "create-window",
            Command::DeleteWindow(_) => "delete-window",
            Command::ReportLinks(_) => "report-links",
            Command::SetSiteSettings(_) => "set-site-settings",
            Command::SetSiteSwitch(_) => "set-site-switch",
            Command::AnnounceDeparture(_) => "announce-departure",
            Command::CreateInstance(_) => "create-instance",
            Command::UpdateInstance(_) => "update-instance",
            Command::DeleteInstance(_) => "delete-instance",
            Command::ReportInstancePort(_) => "report-instance-port",
            Command::IssueClientCertificate(_) => "issue-client-certificate",
        }
    }

    /// The object the command is about, where it names exactly one.
    pub(crate) fn object(&self) -> Option<Id> {
        match self {
            Command::CreateApplication(c) => Some(c.id),
            Command::UpdateApplication(c) => Some(c.id),
            Command::DeleteApplication(c) | Command::DeleteMonitor(c) | Command::RevokeApiToken(c) => Some(c.id),
            Command::CreateMonitor(c) => Some(c.id),
            Command::UpdateMonitor(c) => Some(c.id),
            Command::SetConnectionPool(c) => Some(c.monitor),
            Command::SetReadWrite(c) => Some(c.monitor),
            Command::AcknowledgeMonitor(c) => Some(c.monitor),
            Command::Switch(c) if c.monitors.len() == 1 => Some(c.monitors[0]),
            Command::Switch(c) if c.application.is_some() => c.application,
            Command::CreateWindow(c) => Some(c.id),
            Command::DeleteWindow(c) => Some(c.id),
            Command::SetSiteSwitch(c) => Some(c.instance),
            Command::CreateInstance(c) => Some(c.id),
            Command::UpdateInstance(c) => Some(c.id),
            Command::DeleteInstance(c) => Some(c.id),
            Command::ReportInstancePort(c) => Some(c.instance),
            Command::IssueClientCertificate(c) => Some(c.instance),
            Command::SetKindSettings(c) => Some(c.instance),
            Command::CreateUser(c) => Some(c.id),
            Command::CreateApiToken(c) => Some(c.id),
            Command::Kv(c) => Some(c.instance),
            Command::ExpireLease(c) => Some(c.instance),
            Command::SetKeyspaceQuota(c) => Some(c.instance),
            _ => None,
        }
    }
}

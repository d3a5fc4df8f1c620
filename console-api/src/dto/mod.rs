//! The JSON of the API and its conversion from and to the machine's types: the only module that knows both.
//!
//! Bodies refuse unknown fields. Optional fields of a body have the defaults of the feature catalogue. Ids are 32
//! lower-case hexadecimal digits, times RFC 3339 in UTC.

mod application;
mod checks;
mod cluster;
mod conditions;
mod connection;
mod deletion;
mod kind;
mod measure;
mod monitor;
mod monitor_view;
mod pool;
mod process;
mod record;
mod registry;
mod rules;
mod sdk;
mod settings;
mod site;
mod switch;
mod user;
mod words;

use quorate_machine::{Id, Meta};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub(crate) use application::{ApplicationBody, ApplicationView};
pub(crate) use cluster::{ClusterView, Standing, cluster_view};
pub(crate) use connection::{ConnectionTestBody, ConnectionTestView, NodeTestView};
pub(crate) use deletion::{MonitorsDeletedView, MonitorsDeletionBody};
pub(crate) use measure::{Headroom, SidePreviewView};
pub(crate) use monitor::{MonitorBody, NewMonitorBody};
pub(crate) use monitor_view::MonitorView;
pub(crate) use pool::PoolBody;
pub(crate) use process::{ProcessView, ProcessesView};
pub(crate) use record::{AuditView, EventView};
pub(crate) use registry::{
    ClientFilesView, DeleteInstanceBody, InstanceBody, InstanceConnectionView, InstanceView, KvPasswordBody,
    ModuleView, NamespaceView, NewInstanceBody, instance_connection,
};
pub(crate) use rules::{PauseBody, PauseView, SwitchingView, TransitionView, WindowBody, WindowView};
pub(crate) use sdk::{SdkConfigurationView, sdk_view};
pub(crate) use settings::{
    KeyspaceQuotaBody, KeyspaceQuotaView, KindSettingsBody, KindSettingsView, QuotasBody, QuotasView,
};
pub(crate) use site::{NodeMaintenanceBody, SiteSettingsBody, SiteSwitchBody, SiteSwitchView, SitesView};
pub(crate) use switch::{
    AcknowledgeBody, ApplicationSwitchBody, MonitorSwitchBody, MonitorsSwitchBody, ReadWriteBody, SwitchOptions,
    SwitchView,
};
pub(crate) use user::{
    LoginBody, LoginView, MeView, NewTokenBody, NewTokenView, NewUserBody, PasswordBody, TokenView, UserView,
};
pub(crate) use words::DataCenterName;

/// An RFC 3339 time in UTC with milliseconds.
pub(crate) fn rfc3339(wall_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(wall_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// What every object carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MetaView {
    pub(crate) id: String,
    /// Counts the configuration's changes; the ETag is this number in quotes.
    pub(crate) generation: u64,
    pub(crate) owner: String,
    pub(crate) created_by: String,
    pub(crate) created_at: String,
}

impl From<&Meta> for MetaView {
    fn from(meta: &Meta) -> Self {
        Self {
            id: meta.id.to_string(),
            generation: meta.generation,
            owner: meta.owner.clone(),
            created_by: meta.created_by.clone(),
            created_at: rfc3339(meta.created_at_ms),
        }
    }
}

/// An object was created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Changed {
    pub(crate) id: String,
    /// Generation now; the ETag of the answer is the same number in quotes.
    pub(crate) generation: u64,
}

impl Changed {
    pub(crate) fn new(id: Id, generation: u64) -> Self {
        Self {
            id: id.to_string(),
            generation,
        }
    }
}

/// One page of a long list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Pass it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// Parameters of every read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadQuery {
    /// Answer from this node's state as it stands, without asking the quorum; it may be behind.
    #[serde(default)]
    pub(crate) serializable: bool,
}

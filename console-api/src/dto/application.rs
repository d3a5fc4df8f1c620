//! Applications (B1).

use quorate_machine::{Application, ApplicationSpec, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MetaView;

/// What a user sets of an application.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationBody {
    /// 1 to 64 characters, unique in the instance.
    name: String,
    /// At most 255 characters.
    #[serde(default)]
    description: String,
}

impl From<ApplicationBody> for ApplicationSpec {
    fn from(body: ApplicationBody) -> Self {
        Self {
            name: body.name,
            description: body.description,
        }
    }
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ApplicationView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Number of monitors.
    pub(crate) monitors: usize,
}

impl ApplicationView {
    pub(crate) fn new(state: &State, application: &Application) -> Self {
        Self {
            meta: MetaView::from(&application.meta),
            instance: application.instance.to_string(),
            name: application.spec.name.clone(),
            description: application.spec.description.clone(),
            monitors: state.monitors_of_application(&application.meta.id).count(),
        }
    }
}

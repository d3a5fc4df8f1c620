//! How sites are watched, and whether the loss of one moves the monitors of an instance.

use std::collections::BTreeSet;

use crate::apply::{Context, done};
use crate::audit::{self, Change};
use crate::command::{SetSiteSettings, SetSiteSwitch};
use crate::events::{self, EventCode};
use crate::health;
use crate::model::*;
use crate::reply::*;
use crate::sites::look;
use crate::state::State;
use crate::validate::Problems;

/// Bounds of the site timeout, milliseconds: longer than a lapse with a leader change before it, and ten minutes.
pub const SITE_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 3_000..=600_000;
/// Bounds of the round trip that is warned of, microseconds.
const RTT_WARNING_US: std::ops::RangeInclusive<u32> = 100..=10_000_000;
/// Targets of one site, or of the public network.
pub const MAX_TARGETS_PER_SITE: usize = 8;

pub(crate) fn set_site_settings(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetSiteSettings,
) -> Result<ReplyKind, Refusal> {
    check(&command.settings)?;
    let changes = audit::differences(&describe(&state.site_settings), &describe(&command.settings));
    if changes.is_empty() {
        return done();
    }
    audit::record(state, context, "set-site-settings", None, Vec::new(), changes);
    state.site_settings = command.settings;
    context.wake.membership = true;
    look::advance(state, context);
    health::evaluate_all(state, context);
    done()
}

fn check(settings: &SiteSettings) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    for (pointer, value, range) in [
        ("/site_timeout_ms", settings.site_timeout_ms, SITE_TIMEOUT_MS),
        ("/rtt_warning_us", settings.rtt_warning_us, RTT_WARNING_US),
    ] {
        problems.range(pointer, value, *range.start(), *range.end());
    }
    let mut seen = BTreeSet::new();
    for (position, target) in settings.targets.iter().enumerate() {
        let pointer = |field: &str| format!("/targets/{position}/{field}");
        if !SITES.contains(&target.site.as_str()) && target.site != PUBLIC_TARGET {
            problems.add(pointer("site"), "unsupported", "dc1, dc2, arbiter or public");
        }
        problems.address(&pointer("address"), &target.address);
        if !seen.insert(&target.address) {
            problems.add(pointer("address"), "duplicate", "every address stands for one site");
        }
    }
    for site in SITES.into_iter().chain([PUBLIC_TARGET]) {
        if settings.witnesses(site).count() > MAX_TARGETS_PER_SITE {
            let detail = format!("at most {MAX_TARGETS_PER_SITE} of {site}");
            problems.add("/targets", "too-many", detail);
        }
    }
    problems.into_result()
}

fn describe(settings: &SiteSettings) -> Vec<(String, String)> {
    let mut fields = vec![
        ("site_timeout_ms".to_owned(), settings.site_timeout_ms.to_string()),
        ("rtt_warning_us".to_owned(), settings.rtt_warning_us.to_string()),
    ];
    for site in SITES.into_iter().chain([PUBLIC_TARGET]) {
        let addresses: Vec<&str> = settings.witnesses(site).collect();
        fields.push((format!("targets.{site}"), addresses.join(", ")));
    }
    fields
}

/// Turned on while the primary site is lost, it moves what the loss concerns at once.
pub(crate) fn set_site_switch(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetSiteSwitch,
) -> Result<ReplyKind, Refusal> {
    let Some(instance) = state.instances.get_mut(&command.instance) else {
        return Err(Refusal::new(RefusalCode::UnknownInstance).with("instance", command.instance));
    };
    if instance.site_switch == command.on {
        return done();
    }
    instance.site_switch = command.on;
    let change = Change {
        field: "site_switch".to_owned(),
        before: (!command.on).to_string(),
        after: command.on.to_string(),
    };
    let object = Some(command.instance);
    audit::record(state, context, "set-site-switch", object, Vec::new(), vec![change]);
    let params = vec![
        Param::new("state", if command.on { "on" } else { "off" }),
        Param::new("actor", audit::actor(context.author)),
    ];
    events::record_of_instance(state, context, EventCode::SiteSwitchSet, object, params);
    health::evaluate_all(state, context);
    done()
}

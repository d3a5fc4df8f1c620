//! Objects as (field, value) lists, for the before and after of audit records. Secrets show only that they changed hands.

use crate::kinds::MonitorKind;
use crate::live::MonitorRecord;
use crate::model::*;

type Fields = Vec<(String, String)>;

pub(super) fn describe_application(application: &Application) -> Fields {
    vec![
        ("name".to_owned(), application.spec.name.clone()),
        ("description".to_owned(), application.spec.description.clone()),
    ]
}

pub(super) fn describe_monitor(monitor: &MonitorRecord) -> Fields {
    let spec = &monitor.spec;
    let mut fields = Fields::new();
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    let time = |value: Option<u32>| value.map(|ms| ms.to_string()).unwrap_or_else(|| "global".to_owned());
    add("name", spec.name.clone());
    add("kind", monitor.kind_name().to_owned());
    add("notification", spec.notification.to_string());
    add("probing", spec.probing.to_string());
    add("automatic_switch", spec.automatic_switch.to_string());
    add("timing.retry_interval_ms", time(spec.timing.retry_interval_ms));
    add("timing.monitor_timeout_ms", time(spec.timing.monitor_timeout_ms));
    add("timing.access_timeout_ms", time(spec.timing.access_timeout_ms));
    add("timing.fast_profile", spec.timing.fast_profile.to_string());
    if let Some(threshold) = &spec.lag_threshold {
        add("lag_threshold.seconds", threshold.seconds_in_force().to_string());
        add("lag_threshold.bytes", threshold.bytes_in_force().to_string());
    }
    fields.extend(spec.kind.iter().flat_map(MonitorKind::fields));
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(pool) = &monitor.pool {
        add("pool.database", pool.database.clone());
        add("pool.routing", pool.routing().name().to_owned());
        for dc in DataCenter::ALL {
            let (site, dc) = (pool.site(dc), dc.name());
            let source = |source: &DataSource| format!("{}={}/{}", source.name, source.address, source.schema);
            let replicas: Vec<String> = site.replicas.iter().map(source).collect();
            add(&format!("pool.{dc}.source"), source(&site.source));
            add(&format!("pool.{dc}.replicas"), replicas.join(","));
            if !site.zones.is_empty() {
                add(&format!("pool.{dc}.zones"), site.zones.join(","));
            }
            add(
                &format!("pool.{dc}.load_balance"),
                site.load_balance().name().to_owned(),
            );
        }
    }
    fields
}

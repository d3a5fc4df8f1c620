//! Validation of what users configure: complete, before anything changes. Every problem of an object is told at once, as
//! JSON pointers into the object sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kinds::KindTraits;
use crate::model::*;
use crate::reply::{FieldProblem, Refusal, RefusalCode};

mod pool;

pub(crate) use pool::pool;

const MAX_NAME_CHARS: usize = 64;
const MAX_DESCRIPTION_CHARS: usize = 255;
pub(crate) const MAX_PLACE_CHARS: usize = 64;
pub(crate) const MAX_ACCOUNT_CHARS: usize = 64;
pub(crate) const MAX_REPLICAS: usize = 16;
/// Entry points of one side.
pub(crate) const MAX_ADDRESSES: usize = 32;
pub(crate) const MAX_ZONES: usize = 16;
/// A header value of 4096 bytes fits with what sealing adds.
const MAX_SEALED_BYTES: usize = 5_120;

/// Bounds of C3 in milliseconds: least of the fast profile, least of the reference, most.
const RETRY_INTERVAL_MS: (u32, u32, u32) = (100, 1_000, 30_000);
const MONITOR_TIMEOUT_MS: (u32, u32, u32) = (300, 1_000, 400_000);
const ACCESS_TIMEOUT_MS: (u32, u32, u32) = (100, 3_000, 100_000);

/// Problems of one object.
#[derive(Default)]
pub(crate) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub fn add(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.0.push(FieldProblem {
            pointer: pointer.into(),
            code: code.to_owned(),
            detail: detail.into(),
        });
    }

    /// A refusal if there is any problem.
    pub fn into_result(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::invalid(self.0))
        }
    }

    /// A text of `least` to `most` characters, none of them hidden.
    pub fn text(&mut self, pointer: &str, value: &str, least: usize, most: usize) {
        let chars = value.chars().count();
        if least > 0 && value.trim().is_empty() {
            self.add(pointer, "required", "must not be empty");
        } else if chars > most {
            self.add(pointer, "too-long", format!("{chars} characters; at most {most}"));
        } else if value.chars().any(hidden) {
            self.add(
                pointer,
                "invalid-characters",
                "control characters and characters that nobody sees are not allowed",
            );
        } else if least > 0 && value.trim() != value {
            self.add(
                pointer,
                "invalid-characters",
                "blanks at the beginning or the end are not allowed",
            );
        }
    }

    pub fn identifier(&mut self, pointer: &str, value: &str) {
        let allowed = value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !(1..=MAX_NAME_CHARS).contains(&value.len()) || !allowed {
            self.add(pointer, "invalid-name", "1 to 64 of A-Z a-z 0-9 _ -");
        }
    }

    /// An address `host:port`.
    pub fn address(&mut self, pointer: &str, value: &str) {
        if let Err(detail) = check_address(value) {
            self.add(pointer, "invalid-address", detail);
        }
    }

    /// A number within bounds, both included.
    pub fn range(&mut self, pointer: &str, value: u32, least: u32, most: u32) {
        if !(least..=most).contains(&value) {
            self.add(pointer, "out-of-range", format!("{value}; between {least} and {most}"));
        }
    }

    /// Cloud and region of a side.
    pub fn place(&mut self, at: &str, cloud: &str, region: &str) {
        self.text(&format!("{at}/cloud"), cloud, 0, MAX_PLACE_CHARS);
        self.text(&format!("{at}/region"), region, 0, MAX_PLACE_CHARS);
    }

    /// A sealed secret.
    pub fn secret(&mut self, pointer: &str, sealed: &Sealed) {
        if sealed.bytes.is_empty() || sealed.bytes.len() > MAX_SEALED_BYTES {
            self.add(pointer, "invalid-secret", "the sealed secret is empty or too long");
        }
    }

    /// A routing algorithm that SDKs of the kind know.
    pub fn routing(&mut self, pointer: &str, routing: i32, kind: &KindTraits) {
        let known = Routing::try_from(routing).is_ok_and(|routing| kind.routings.contains(&routing));
        if !known {
            let names: Vec<&str> = kind.routings.iter().map(|routing| routing.name()).collect();
            self.add(pointer, "unsupported", format!("one of {}", names.join(", ")));
        }
    }
}

/// Characters that nobody sees, or that turn the order of what is seen: a name must not pretend to be another.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Checks a reason or comment: it ends in records and on screens, so nothing in it may be unseen.
pub(crate) fn remark(pointer: &str, value: &str, most_chars: usize) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.text(pointer, value, 0, most_chars);
    problems.into_result()
}

/// Checks an application.
pub(crate) fn application(spec: &ApplicationSpec) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.text("/name", &spec.name, 1, MAX_NAME_CHARS);
    problems.text("/description", &spec.description, 0, MAX_DESCRIPTION_CHARS);
    problems.into_result()
}

/// Checks what a user sets of an instance.
pub(crate) fn instance(problems: &mut Problems, spec: &InstanceSpec) {
    problems.text("/name", &spec.name, 1, MAX_NAME_CHARS);
    problems.text("/description", &spec.description, 0, MAX_DESCRIPTION_CHARS);
}

/// Checks a monitor, with the secrets that an edit left out filled in.
pub(crate) fn monitor(spec: &MonitorSpec) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.identifier("/name", &spec.name);
    match &spec.kind {
        Some(kind) => {
            timing(&mut problems, &spec.timing, kind.traits());
            lag_threshold(&mut problems, spec.lag_threshold.as_ref(), kind.traits());
            kind.check(&mut problems);
        }
        None => problems.add("/kind", "required", "name what is to be monitored, for example mysql"),
    }
    problems.into_result()?;
    match FencePolicy::try_from(spec.fence_policy) {
        Ok(FencePolicy::None) => Ok(()),
        _ => Err(Refusal::new(RefusalCode::FenceUnsupported)),
    }
}

fn timing(problems: &mut Problems, timing: &Timing, kind: &KindTraits) {
    let mut check = |pointer: &str, value: Option<u32>, (fast, least, most): (u32, u32, u32)| {
        if let Some(value) = value {
            problems.range(pointer, value, if timing.fast_profile { fast } else { least }, most);
        }
    };
    check("/timing/retry_interval_ms", timing.retry_interval_ms, RETRY_INTERVAL_MS);
    if !kind.counts_attempts {
        check(
            "/timing/monitor_timeout_ms",
            timing.monitor_timeout_ms,
            MONITOR_TIMEOUT_MS,
        );
        check(
            "/timing/access_timeout_ms",
            timing.access_timeout_ms,
            access_timeout(kind),
        );
        return;
    }
    let fixed = [
        ("/timing/monitor_timeout_ms", timing.monitor_timeout_ms),
        ("/timing/access_timeout_ms", timing.access_timeout_ms),
    ];
    for (pointer, _) in fixed.iter().filter(|(_, value)| value.is_some()) {
        let detail = "this kind counts answers and failures in a row instead";
        problems.add(*pointer, "unsupported", detail);
    }
}

fn lag_threshold(problems: &mut Problems, threshold: Option<&LagThreshold>, kind: &KindTraits) {
    let Some(threshold) = threshold else { return };
    if !kind.tells_lag {
        problems.add("/lag_threshold", "unsupported", "probers of this kind learn of no lag");
        return;
    }
    if let Some(seconds) = threshold.seconds {
        problems.range("/lag_threshold/seconds", seconds, 1, MAX_LAG_SECONDS);
    }
    if threshold
        .bytes
        .is_some_and(|bytes| !(1..=MAX_LAG_BYTES).contains(&bytes))
    {
        let detail = format!("must be 1 to {MAX_LAG_BYTES}");
        problems.add("/lag_threshold/bytes", "out-of-range", detail);
    }
}

/// Bounds of an attempt for a kind.
fn access_timeout(kind: &KindTraits) -> (u32, u32, u32) {
    let (fast, least, most) = ACCESS_TIMEOUT_MS;
    (fast, least, most.min(kind.max_access_timeout_ms))
}

/// Checks the global settings of a kind (C11).
pub(crate) fn kind_settings(settings: &KindSettings, kind: &KindTraits) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    let mut check = |pointer: &str, value, (_, least, most): (u32, u32, u32)| {
        problems.range(pointer, value, least, most);
    };
    check("/retry_interval_ms", settings.retry_interval_ms, RETRY_INTERVAL_MS);
    check("/monitor_timeout_ms", settings.monitor_timeout_ms, MONITOR_TIMEOUT_MS);
    check("/access_timeout_ms", settings.access_timeout_ms, access_timeout(kind));
    problems.range("/health_precision", settings.health_precision, 1, 2);
    problems.into_result()
}

/// Checks the name of a console user or an API token.
pub(crate) fn user_name(name: &str) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.identifier("/name", name);
    problems.into_result()
}

/// One spelling for every way to write an address that [`check_address`] accepts: two addresses are the same server's if
/// their spellings are equal. What it does not accept stays as it is.
pub(crate) fn canonical(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    let Some((host, port)) = lower.rsplit_once(':') else {
        return lower;
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host).parse::<IpAddr>() {
        // A dual-stack socket reaches a.b.c.d under [::ffff:a.b.c.d] as well.
        Ok(ip) => format!("{}:{port}", ip.to_canonical()),
        Err(_) => lower,
    }
}

/// Checks `host:port`, where host is an IPv4 address, an IPv6 address in brackets, or a DNS name.
fn check_address(address: &str) -> Result<(), String> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("write it as host:port".to_owned());
    };
    let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    if !plain || port.parse::<u16>().is_err() {
        return Err("the port must be a number between 1 and 65535, without leading zeros".to_owned());
    }
    let bad = |text: &str| Err(text.to_owned());
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6
            .parse::<Ipv6Addr>()
            .map(|_| ())
            .or(bad("not an IPv6 address in brackets"));
    }
    let labels: Vec<&str> = host.split('.').collect();
    let numeric = |label: &&str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    if labels.last().is_some_and(numeric) {
        return host.parse::<Ipv4Addr>().map(|_| ()).or(bad("not an IPv4 address"));
    }
    let label_ok = |label: &&str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= 253 && labels.iter().all(label_ok) {
        Ok(())
    } else {
        bad("not a host name")
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical, check_address};

    #[test]
    fn one_server_has_one_spelling() {
        for (one, other) in [
            ("DB.example.com:3306", "db.EXAMPLE.com:3306"),
            ("[::1]:3306", "[0:0:0:0:0:0:0:1]:3306"),
            ("10.0.0.1:3306", "[::ffff:10.0.0.1]:3306"),
            ("[2001:DB8::1]:1", "[2001:db8:0::1]:1"),
        ] {
            assert_eq!((check_address(one), check_address(other)), (Ok(()), Ok(())));
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical("10.0.0.1:3306"), canonical("10.0.0.1:3307"));
    }

    #[test]
    fn addresses() {
        for good in [
            "10.0.0.1:3306",
            "[::1]:3306",
            "db.example.com:1",
            "localhost:65535",
            "mysql_1:3306",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let bad = [
            "",
            ":",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:03306",
            "10.0.0.256:1",
            "db.example.com.:1",
            "::1:3306",
            "[::g]:1",
            "a b:1",
            "-a:1",
            "a..b:1",
            "host:+1",
            "10.0.0.1:",
            ":3306",
            "http://a:1",
        ];
        for bad in bad {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}

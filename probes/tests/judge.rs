//! The judge, by scenarios: attempts in, reported transitions out.
//!
//! A scenario line is `TIME_MS FINDING [fresh] [TEXT]`, `TIME_MS overdue` (the clock asks) or `TIME_MS backoff` (nothing
//! was due).

use quorate_machine::{DataCenter, FindingClass, Id, LagThreshold, Vote};
use quorate_probes::{Judge, JudgeSettings, Observation, Stage, Transition};

fn class(name: &str) -> FindingClass {
    match name {
        "ok" => FindingClass::Ok,
        "readonly" => FindingClass::ReadOnly,
        "slow" => FindingClass::Slow,
        "toomany" => FindingClass::TooManyConnections,
        "auth" => FindingClass::Auth,
        "refused" => FindingClass::Refused,
        "timeout" => FindingClass::Timeout,
        "dns" => FindingClass::Dns,
        "tls" => FindingClass::Tls,
        "shortage" => FindingClass::OwnShortage,
        other => panic!("unknown finding {other}"),
    }
}

fn observation(name: &str, rest: &str) -> Observation {
    let (fresh, text) = match rest.strip_prefix("fresh") {
        Some(text) => (true, text.trim_start()),
        None => (false, rest),
    };
    Observation {
        stage: Stage::Query,
        class: class(name),
        engine_text: text.to_owned(),
        role: None,
        canary: None,
        latency_us: 1000,
        fresh,
    }
}

fn settings(line: &str) -> JudgeSettings {
    let value = |name: &str| -> u64 {
        let (_, rest) = line.split_once(&format!("{name}=")).expect("a setting");
        let digits = rest.split_whitespace().next().expect("a number");
        digits.parse().expect("milliseconds")
    };
    JudgeSettings {
        retry_interval_ms: value("retry"),
        access_timeout_ms: value("access"),
        monitor_timeout_ms: value("timeout"),
        thresholds: None,
        lag: LagThreshold::default(),
        canary_votes: false,
    }
}

fn shown(transition: &Transition) -> String {
    let mut line = format!("{:?} [{:?}]", transition.vote, transition.class);
    if transition.never_logged_in {
        line.push_str(" init-failed");
    }
    if let Some(since) = transition.failing_since_ms {
        line.push_str(&format!(" failing since {since}"));
    }
    if !transition.text.is_empty() {
        line.push_str(&format!(": {}", transition.text));
    }
    line
}

fn run(scenario: &str) -> String {
    let mut judge = None;
    let mut output = String::new();
    for line in scenario.lines() {
        if line.starts_with('#') {
            output.push_str(&format!("{line}\n"));
            continue;
        }
        if line.starts_with("settings") {
            judge = Some(Judge::new(settings(line), 0));
            continue;
        }
        let judge = judge.as_mut().expect("settings first");
        let (time, rest) = line.split_once(' ').expect("time and finding");
        let now_ms = time.parse().expect("milliseconds");
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let told = match name {
            "overdue" => judge.check_overdue(now_ms),
            "backoff" => {
                judge.backed_off(now_ms);
                None
            }
            name => judge.observe(&observation(name, rest), now_ms),
        };
        let told = told.as_ref().map_or("-".to_owned(), shown);
        output.push_str(&format!("{time:>6} {name:<9} {told}\n"));
    }
    output
}

macro_rules! scenarios {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(run(include_str!(concat!("scenarios/", stringify!($name), ".txt"))));
        }
    )*};
}

scenarios!(
    steady,
    refused_and_back,
    short_monitor_timeout,
    fast_profile,
    login_refused_at_first,
    login_refused_later,
    saturated,
    no_evidence,
    no_name_at_first,
    sub_health
);

#[test]
fn a_report_carries_the_transition_and_its_age() {
    let mut judge = Judge::new(settings("retry=3000 access=3000 timeout=40000"), 0);
    let transition = judge.observe(&observation("refused", "fresh no"), 500).expect("a vote");
    let report = transition.to_report(Id::from_u128(9), 4, DataCenter::Dc2, 720);
    assert_eq!(
        (
            report.monitor,
            report.generation,
            report.data_center(),
            report.vote(),
            report.class()
        ),
        (Id::from_u128(9), 4, DataCenter::Dc2, Vote::Down, FindingClass::Refused)
    );
    assert_eq!(
        (report.text.as_str(), report.age_ms, report.never_logged_in),
        ("no", 220, false)
    );
    assert_eq!(judge.current(), &transition);
    assert!(judge.is_failing());
}

#[test]
fn an_attempt_without_evidence_fails_for_the_self_check() {
    let mut judge = Judge::new(settings("retry=3000 access=3000 timeout=40000"), 0);
    assert!(!judge.is_failing(), "nothing tried yet");
    for (name, failing) in [
        ("ok", false),
        ("dns", true),
        ("ok", false),
        ("auth", false),
        ("refused", true),
    ] {
        judge.observe(&observation(name, "fresh"), 500);
        assert_eq!(judge.is_failing(), failing, "{name}");
    }
    judge.observe(&observation("ok", "fresh"), 600);
    judge.check_overdue(60_000).expect("overdue");
    assert!(judge.is_failing(), "an overdue attempt");
}

#[test]
fn a_second_attempt_must_be_able_to_report_in_time() {
    for (line, failures) in [
        ("retry=300 access=500 timeout=1000", 1),
        ("retry=300 access=500 timeout=900", 1),
        ("retry=300 access=500 timeout=899", 2),
        ("retry=3000 access=3000 timeout=6000", 2),
    ] {
        assert_eq!(settings(line).failures_to_vote_down(), failures, "{line}");
    }
}

//! Words of a scenario that stand for more than a number.

use quorate_machine::*;

use super::parse::Line;

/// `replica-lag:90` is 90 seconds behind.
pub fn condition(text: &str) -> ConditionReport {
    let (code, seconds) = text
        .split_once(':')
        .map_or((text, None), |(code, seconds)| (code, Some(seconds)));
    let condition = Condition::ALL.into_iter().find(|condition| condition.code() == code);
    ConditionReport {
        condition: condition.expect("a condition") as i32,
        text: format!("words about {code}"),
        lag: seconds.map(|seconds| ReplicaLag {
            seconds: Some(seconds.parse().expect("seconds")),
            ..ReplicaLag::default()
        }),
    }
}

/// `tested`, `owed`, or `untested=REASON` (`untested=` gives none); nothing: a log from before connection tests.
pub fn gate(line: &Line<'_>) -> Option<TestGate> {
    let verdict = match line.option("untested") {
        Some(_) => TestVerdict::Overridden,
        None if line.has("tested") => TestVerdict::Passed,
        None if line.has("owed") => TestVerdict::Owed,
        None => return None,
    };
    Some(TestGate {
        reason: line.option("untested").unwrap_or_default().to_owned(),
        ..TestGate::of(verdict)
    })
}

pub fn role(text: &str) -> Role {
    let all = [Role::Viewer, Role::Operator, Role::Admin, Role::Root];
    all.into_iter().find(|role| role.code() == text).expect("a role")
}

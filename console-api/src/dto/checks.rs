//! The four checks of a monitor that is not green (C1), each with the probers' own findings.

use quorate_machine::{FindingClass, NodeVote, SideState, Vote};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One check of a side that is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CheckView {
    /// `account` (account, password, address and database name are right), `running` (the server exists and runs), `database` (the
    /// database exists) or `network` (there is a path from every node).
    pub(crate) check: String,
    /// `failed`, `passed`, or `unknown` where no node has come so far.
    pub(crate) outcome: String,
    /// What nodes found that decides the check, in order of node id.
    pub(crate) findings: Vec<CheckFindingView>,
}

/// What a node found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CheckFindingView {
    pub(crate) node: u64,
    /// Class of the finding, for example `auth`.
    pub(crate) finding: String,
    /// The engine's own words.
    pub(crate) text: String,
}

/// What can be checked, in the order in which a prober comes by it: what fails later has passed what stands before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Network,
    Running,
    Account,
    Database,
    /// All of them.
    Done,
}

impl Step {
    const SHOWN: [(Step, &'static str); 4] = [
        (Step::Account, "account"),
        (Step::Running, "running"),
        (Step::Database, "database"),
        (Step::Network, "network"),
    ];

    /// Where this finding ended; `None`: it says nothing about the data source.
    fn of(vote: &NodeVote) -> Option<Step> {
        match vote.class() {
            FindingClass::Dns | FindingClass::Unreachable | FindingClass::Timeout => Some(Step::Network),
            FindingClass::Refused | FindingClass::ServerStarting | FindingClass::WrongAnswer => Some(Step::Running),
            FindingClass::Auth if names_a_database(&vote.text) => Some(Step::Database),
            FindingClass::Auth | FindingClass::Tls | FindingClass::Misconfigured => Some(Step::Account),
            FindingClass::None | FindingClass::OwnShortage | FindingClass::Overdue => None,
            FindingClass::Ok
            | FindingClass::TooManyConnections
            | FindingClass::ReadOnly
            | FindingClass::Slow
            | FindingClass::WritesFail => Some(Step::Done),
        }
    }
}

/// Codes with which servers say that there is no such database, service or SID: MySQL, PostgreSQL, Oracle.
fn names_a_database(text: &str) -> bool {
    ["ERROR 1049", "3D000", "ORA-12505", "ORA-12514"]
        .iter()
        .any(|code| text.contains(code))
}

/// The four checks; none while the side is healthy.
pub(crate) fn checks(state: SideState, votes: &[NodeVote]) -> Vec<CheckView> {
    if state == SideState::Healthy {
        return Vec::new();
    }
    let check = |(step, name): (Step, &str)| {
        let ended_here = votes
            .iter()
            .filter(|vote| Step::of(vote) == Some(step) && vote.vote() != Vote::UpSteady);
        let findings: Vec<CheckFindingView> = ended_here
            .map(|vote| CheckFindingView {
                node: vote.node,
                finding: vote.class().code().to_owned(),
                text: vote.text.clone(),
            })
            .collect();
        let beyond = votes
            .iter()
            .any(|vote| Step::of(vote).is_some_and(|ended| ended > step));
        let outcome = match (findings.is_empty(), beyond) {
            (false, _) => "failed",
            (true, true) => "passed",
            (true, false) => "unknown",
        };
        CheckView {
            check: name.to_owned(),
            outcome: outcome.to_owned(),
            findings,
        }
    };
    Step::SHOWN.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(node: u64, class: FindingClass, text: &str) -> NodeVote {
        NodeVote {
            node,
            vote: Vote::Down as i32,
            class: class as i32,
            text: text.to_owned(),
            ..NodeVote::default()
        }
    }

    fn outcomes(votes: &[NodeVote]) -> Vec<(String, String)> {
        let checks = checks(SideState::InitFailed, votes);
        checks.into_iter().map(|check| (check.check, check.outcome)).collect()
    }

    fn expected(outcomes: [&str; 4]) -> Vec<(String, String)> {
        let names = Step::SHOWN.map(|(_, name)| name.to_owned());
        names.into_iter().zip(outcomes.map(str::to_owned)).collect()
    }

    #[test]
    fn a_check_fails_where_a_prober_ended_and_passes_where_one_came_further() {
        // account, running, database, network
        for (votes, outcome) in [
            (vec![], ["unknown", "unknown", "unknown", "unknown"]),
            (
                vec![vote(1, FindingClass::Auth, "ERROR 1045 (28000): Access denied")],
                ["failed", "passed", "unknown", "passed"],
            ),
            (
                vec![vote(
                    1,
                    FindingClass::Auth,
                    "ERROR 1045 (28000): Access denied for user 'u1049'",
                )],
                ["failed", "passed", "unknown", "passed"],
            ),
            (
                vec![vote(1, FindingClass::Auth, "ERROR 1049 (42000): Unknown database 'x'")],
                ["passed", "passed", "failed", "passed"],
            ),
            (
                vec![
                    vote(1, FindingClass::Refused, "refused"),
                    vote(2, FindingClass::Timeout, "no answer"),
                ],
                ["unknown", "failed", "unknown", "failed"],
            ),
            (
                vec![vote(1, FindingClass::OwnShortage, "files")],
                ["unknown", "unknown", "unknown", "unknown"],
            ),
        ] {
            assert_eq!(outcomes(&votes), expected(outcome), "{votes:?}");
        }
        assert!(checks(SideState::Healthy, &[vote(1, FindingClass::Auth, "")]).is_empty());
    }
}

//! The one table from the server's error codes to findings.

use bson::{Bson, Document};
use quorate_machine::FindingClass;

use crate::{failure::Failure, observation::Stage};

/// Mark in a failure's text of an unknown command.
const UNKNOWN_COMMAND: &str = "error 59 ";

/// Finding behind an error code of a MongoDB server (its `error_codes.yml`). What is not named here is a wrong answer.
pub fn classify_server_code(code: i32) -> FindingClass {
    match code {
        // User not found, authentication failed, unauthorized, mechanism unavailable, authentication abandoned, Atlas' own.
        11 | 13 | 18 | 33 | 334 | 337 | 8000 => FindingClass::Auth,
        // A lock or an operation took longer than was asked for, a config server did not answer.
        24 | 50 | 89 | 202 | 262 => FindingClass::Timeout,
        // Too many connections wait for a login, or a ticket is not to be had.
        290 | 46841 | 5287 => FindingClass::TooManyConnections,
        // Not the primary, or no longer.
        189 | 10058 | 10107 | 13435 => FindingClass::ReadOnly,
        // Shutting down, starting, recovering.
        91 | 11600 | 11602 | 13436 => FindingClass::ServerStarting,
        _ => FindingClass::WrongAnswer,
    }
}

/// The failure that a reply tells of, if it does.
pub(super) fn of_reply(reply: &Document, stage: Stage) -> Option<Failure> {
    if number(reply.get("ok")) == Some(1) {
        return None;
    }
    let code = i32::try_from(number(reply.get("code")).unwrap_or(0)).unwrap_or(0);
    let name = reply.get_str("codeName").unwrap_or_default();
    let words = reply.get_str("errmsg").unwrap_or("no reason given");
    let class = classify_server_code(code);
    let stage = if class == FindingClass::Auth {
        Stage::Login
    } else {
        stage
    };
    Some(Failure::new(stage, class, &format!("error {code} {name}: {words}")))
}

/// Whether the server did not know the command.
pub(super) fn is_unknown_command(failure: &Failure) -> bool {
    failure.text.starts_with(UNKNOWN_COMMAND)
}

/// A number of any of the types that servers choose between.
pub(super) fn number(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        Bson::Boolean(truth) => Some(i64::from(*truth)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn every_code_has_its_row() {
        use FindingClass::*;
        for (code, class) in [
            (18, Auth),
            (13, Auth),
            (334, Auth),
            (50, Timeout),
            (262, Timeout),
            (10107, ReadOnly),
            (189, ReadOnly),
            (91, ServerStarting),
            (13436, ServerStarting),
            (59, WrongAnswer),
            (0, WrongAnswer),
        ] {
            assert_eq!(classify_server_code(code), class, "{code}");
        }
    }

    #[test]
    fn a_refused_reply_keeps_the_servers_words() {
        let reply =
            doc! { "ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed." };
        let failure = of_reply(&reply, Stage::Query).unwrap();
        assert_eq!((failure.stage, failure.class), (Stage::Login, FindingClass::Auth));
        assert_eq!(failure.text, "error 18 AuthenticationFailed: Authentication failed.");
        let unknown = doc! { "ok": 0, "code": 59, "codeName": "CommandNotFound", "errmsg": "no such command: 'hello'" };
        assert!(is_unknown_command(&of_reply(&unknown, Stage::Query).unwrap()));
        for fine in [
            doc! { "ok": 1 },
            doc! { "ok": 1.0 },
            doc! { "ok": 1_i64 },
            doc! { "ok": true },
        ] {
            assert_eq!(of_reply(&fine, Stage::Query), None);
        }
        assert!(of_reply(&doc! {}, Stage::Query).is_some());
    }
}

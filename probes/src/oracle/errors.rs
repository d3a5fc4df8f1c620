//! The one table from Oracle's error numbers to findings.

use quorate_machine::FindingClass;

use crate::{failure::Failure, observation::Stage};

/// Finding behind `ORA-number`. What is not named here is a wrong answer.
pub fn classify_server_code(number: u32) -> FindingClass {
    match number {
        // No session or process left, limits of a profile, no handler at the listener.
        18 | 20 | 2391 | 12516 | 12518..=12520 => FindingClass::TooManyConnections,
        // Account, password, rights, expired and locked accounts, no common authentication protocol.
        1004 | 1005 | 1017 | 1031 | 1045 | 12638 | 28000 | 28001 | 28009 | 28040 => FindingClass::Auth,
        // Starting, mounted only, stopping, not there; blocked or restricted at the listener.
        1033 | 1034 | 1089 | 1090 | 1109 | 12526..=12528 | 27101 => FindingClass::ServerStarting,
        // Opened for reading only.
        16000 => FindingClass::ReadOnly,
        // A call was given up, the login took too long.
        1013 | 3136 | 12170 | 12535 | 12609 => FindingClass::Timeout,
        12541 => FindingClass::Refused,
        // Certificates and wallets.
        28759 | 28860 | 28864 | 29024 => FindingClass::Tls,
        // Among them 12505 and 12514: the listener lives and knows no instance that offers the service.
        _ => FindingClass::WrongAnswer,
    }
}

/// The failure behind a text in which `ORA-number` names the reason.
pub(super) fn of_text(text: &str, stage: Stage) -> Failure {
    let class = number(text).map_or(FindingClass::WrongAnswer, classify_server_code);
    let stage = if class == FindingClass::Auth {
        Stage::Login
    } else {
        stage
    };
    Failure::new(stage, class, text)
}

/// The first `ORA-number` of a text.
pub(super) fn number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("ORA-")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(5).collect();
    digits.parse().ok()
}

/// What a listener's refusal means, in the words of Oracle's messages.
pub(super) fn of_listener(code: Option<u32>, words: &str) -> Failure {
    let Some(code) = code else {
        let text = format!("the listener refuses: {words}");
        return Failure::new(Stage::Login, FindingClass::WrongAnswer, &text);
    };
    let meaning = match code {
        12505 => "the listener does not know this SID: no instance of it runs here",
        12514 => "the listener does not know this service: no instance offers it",
        12526 => "all instances of this service are in restricted mode",
        12527 => "all instances of this service are restricted or block new connections",
        12528 => "all instances of this service block new connections",
        12516 | 12518..=12520 => "no handler is free: the instance has no process left",
        _ => "the listener refuses",
    };
    Failure::new(
        Stage::Login,
        classify_server_code(code),
        &format!("ORA-{code:05}: {meaning}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_row() {
        use FindingClass::*;
        for (text, stage, class) in [
            ("ORA-01017: invalid username/password; logon denied", Stage::Login, Auth),
            ("ORA-28001: the password has expired", Stage::Login, Auth),
            ("ORA-28000: the account is locked", Stage::Login, Auth),
            (
                "ORA-00018: maximum number of sessions exceeded",
                Stage::Query,
                TooManyConnections,
            ),
            (
                "ORA-01033: ORACLE initialization or shutdown in progress",
                Stage::Query,
                ServerStarting,
            ),
            (
                "ORA-16000: database or pluggable database open for read-only access",
                Stage::Query,
                ReadOnly,
            ),
            ("ORA-00942: table or view does not exist", Stage::Query, WrongAnswer),
            ("no number at all", Stage::Query, WrongAnswer),
        ] {
            let failure = of_text(text, Stage::Query);
            assert_eq!(
                (failure.stage, failure.class, failure.text.as_str()),
                (stage, class, text)
            );
        }
        for (code, class) in [
            (12514, WrongAnswer),
            (12505, WrongAnswer),
            (12526, ServerStarting),
            (12528, ServerStarting),
            (12519, TooManyConnections),
        ] {
            assert_eq!(of_listener(Some(code), "").class, class, "{code}");
        }
        assert!(of_listener(Some(12514), "").text.starts_with("ORA-12514: "));
    }
}

//! The one table from the driver's and the server's errors to findings.

use std::{error::Error as StdError, io};

use quorate_machine::FindingClass;
use tokio_postgres::{Error, error::SqlState};

use crate::{
    failure::{Failure, classify_io, stage_of_io},
    observation::Stage,
};

/// What the driver says where a handshake fails or the server offers none (its text; it shows no kind).
const TLS_FAILURE: &str = "error performing TLS handshake";
/// The same where a login cannot go on: unknown method, missing password.
const LOGIN_FAILURE: &str = "authentication error";
/// Poolers answer with a code of the protocol's own (PgBouncer 08P01) and these words when they are full.
const POOLER_FULL: [&str; 3] = ["no more connections allowed", "too many clients", "max_client_conn"];

/// Finding behind an SQLSTATE (PostgreSQL manual, appendix A). What is not named here is a wrong answer: the server answered
/// a plain `SELECT` with an error.
///
/// A server that takes only encrypted connections from this host says 28000, the same as without any matching line of
/// `pg_hba.conf`; both are a matter of its configuration, and its own words tell which.
pub fn classify_sqlstate(code: &str) -> FindingClass {
    match code {
        // Full for everyone, for this role, for this database.
        "53300" | "53400" => FindingClass::TooManyConnections,
        // Account, password (expired ones too), rights, database, access rules.
        "28P01" | "28000" | "42501" | "3D000" | "0LP01" | "0P000" => FindingClass::Auth,
        "25006" => FindingClass::ReadOnly,
        // Shutting down, crashed, starting, database dropped under a session, idle session ended.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => FindingClass::ServerStarting,
        // Given up by the server: statement_timeout, lock_timeout, idle transaction.
        "57014" | "55P03" | "25P03" => FindingClass::Timeout,
        _ => FindingClass::WrongAnswer,
    }
}

/// Step, finding and text of a driver's error. `stage` is where the caller was.
pub(super) fn classify(error: &Error, stage: Stage) -> Failure {
    if let Some(server) = error.as_db_error() {
        let code: &SqlState = server.code();
        let full = POOLER_FULL.iter().any(|words| server.message().contains(words));
        let class = if full {
            FindingClass::TooManyConnections
        } else {
            classify_sqlstate(code.code())
        };
        let text = format!("{} {}: {}", server.severity(), code.code(), server.message());
        return Failure::new(stage, class, &text);
    }
    let shown = error.to_string();
    let cause = causes(error).last().map(ToString::to_string);
    let text = cause.map_or_else(|| shown.clone(), |cause| format!("{shown}: {cause}"));
    if shown == TLS_FAILURE {
        return Failure::new(Stage::Tls, tls_class(error), &text);
    }
    if shown == LOGIN_FAILURE {
        return Failure::new(Stage::Login, FindingClass::Auth, &text);
    }
    match io_of(error) {
        Some(io) => {
            let class = classify_io(io);
            Failure::new(stage_of_io(class, stage), class, &text)
        }
        None => Failure::new(stage, FindingClass::WrongAnswer, &text),
    }
}

/// A peer that hangs up during the handshake has not spoken of TLS; whatever else fails there is a matter of TLS.
fn tls_class(error: &Error) -> FindingClass {
    match io_of(error).map(classify_io) {
        Some(class) => class,
        None => FindingClass::Tls,
    }
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn io_of(error: &Error) -> Option<&io::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_has_its_row() {
        use FindingClass::*;
        for (code, class) in [
            ("28P01", Auth),
            ("28000", Auth),
            ("3D000", Auth),
            ("42501", Auth),
            ("53300", TooManyConnections),
            ("25006", ReadOnly),
            ("57P01", ServerStarting),
            ("57P02", ServerStarting),
            ("57P03", ServerStarting),
            ("57014", Timeout),
            ("53100", WrongAnswer),
            ("58030", WrongAnswer),
            ("XX001", WrongAnswer),
            ("42601", WrongAnswer),
        ] {
            assert_eq!(classify_sqlstate(code), class, "{code}");
        }
    }
}

//! The one table from the driver's and the server's errors to findings.

use mysql_async::{DriverError, Error, IoError};
use quorate_machine::FindingClass;

use crate::{
    failure::{Failure, classify_io, stage_of_io},
    observation::Stage,
};

/// Finding behind an error number of a MySQL or MariaDB server (their error references). What is not named here is a
/// wrong answer: the server answered a plain `SELECT` with an error.
pub fn classify_server_code(code: u16) -> FindingClass {
    match code {
        // Connections: server full, per-user limits.
        1040 | 1203 | 1226 => FindingClass::TooManyConnections,
        // Account, password, database, rights, host not allowed or blocked, authentication plug-ins, expired and locked
        // accounts (3118 MySQL, 4151 MariaDB).
        1044 | 1045 | 1049 | 1129 | 1130 | 1142 | 1143 | 1227 | 1251 | 1275 | 1524 | 1698 | 1820 | 1862 | 1873
        | 3118 | 4151 => FindingClass::Auth,
        // The server insists on encryption.
        3159 => FindingClass::Tls,
        1290 | 1792 | 1836 => FindingClass::ReadOnly,
        // Shutting down, starting, offline mode, session killed.
        1053 | 1077..=1079 | 1927 | 3032 | 3168 | 4031 => FindingClass::ServerStarting,
        // Lock wait and statement time-outs (MySQL 3024, MariaDB 1969).
        1205 | 1969 | 3024 => FindingClass::Timeout,
        _ => FindingClass::WrongAnswer,
    }
}

/// Step, finding and text of a driver's error. `stage` is where the caller was.
pub(super) fn classify(error: &Error, stage: Stage) -> Failure {
    let (stage, class) = match error {
        Error::Server(error) => (stage, classify_server_code(error.code)),
        Error::Io(IoError::Io(error)) => {
            let class = classify_io(error);
            (stage_of_io(class, stage), class)
        }
        Error::Io(IoError::Tls(_)) | Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            (Stage::Tls, FindingClass::Tls)
        }
        Error::Driver(
            DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled,
        ) => (Stage::Login, FindingClass::Auth),
        Error::Driver(_) | Error::Other(_) => (stage, FindingClass::WrongAnswer),
        Error::Url(_) => (stage, FindingClass::Misconfigured),
    };
    let text = match error {
        Error::Server(error) => error.to_string(),
        Error::Io(IoError::Io(error)) => error.to_string(),
        Error::Io(IoError::Tls(error)) => error.to_string(),
        other => other.to_string(),
    };
    Failure::new(stage, class, &text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use mysql_async::ServerError;
    use rustix::io::Errno;

    use super::*;

    fn server(code: u16) -> Error {
        Error::Server(ServerError {
            code,
            message: "text of the\nserver".to_owned(),
            state: "HY000".to_owned(),
        })
    }

    fn system(error: io::Error) -> Error {
        Error::Io(IoError::Io(error))
    }

    #[test]
    fn every_error_has_its_row() {
        use FindingClass::*;
        let of_kind = |kind: io::ErrorKind| system(kind.into());
        let of_errno = |errno: Errno| system(io::Error::from_raw_os_error(errno.raw_os_error()));
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        for (error, stage, class) in [
            (server(1045), Stage::Login, Auth),
            (server(1044), Stage::Login, Auth),
            (server(1049), Stage::Login, Auth),
            (server(1130), Stage::Login, Auth),
            (server(4151), Stage::Login, Auth),
            (server(1040), Stage::Login, TooManyConnections),
            (server(1203), Stage::Login, TooManyConnections),
            (server(1226), Stage::Login, TooManyConnections),
            (server(1290), Stage::Login, ReadOnly),
            (server(1836), Stage::Login, ReadOnly),
            (server(1053), Stage::Login, ServerStarting),
            (server(1927), Stage::Login, ServerStarting),
            (server(3032), Stage::Login, ServerStarting),
            (server(1969), Stage::Login, Timeout),
            (server(3159), Stage::Login, Tls),
            (server(1064), Stage::Login, WrongAnswer),
            (of_kind(io::ErrorKind::ConnectionRefused), Stage::Tcp, Refused),
            (of_errno(Errno::HOSTUNREACH), Stage::Tcp, Unreachable),
            (of_errno(Errno::NETUNREACH), Stage::Tcp, Unreachable),
            (of_errno(Errno::TIMEDOUT), Stage::Login, Timeout),
            (of_errno(Errno::CONNRESET), Stage::Login, WrongAnswer),
            (of_kind(io::ErrorKind::UnexpectedEof), Stage::Login, WrongAnswer),
            (of_errno(Errno::MFILE), Stage::Tcp, OwnShortage),
            (of_errno(Errno::NFILE), Stage::Tcp, OwnShortage),
            (of_errno(Errno::ADDRNOTAVAIL), Stage::Tcp, OwnShortage),
            (system(tls), Stage::Tls, Tls),
            (Error::Driver(DriverError::NoClientSslFlagFromServer), Stage::Tls, Tls),
            (Error::Driver(DriverError::MysqlOldPasswordDisabled), Stage::Login, Auth),
            (Error::Driver(DriverError::PacketOutOfOrder), Stage::Login, WrongAnswer),
            (Error::Driver(DriverError::ConnectionClosed), Stage::Login, WrongAnswer),
        ] {
            let found = classify(&error, Stage::Login);
            assert_eq!((found.stage, found.class), (stage, class), "{error}");
        }
    }

    #[test]
    fn the_servers_own_words_are_kept_in_one_line() {
        let found = classify(&server(1045), Stage::Login);
        assert_eq!(found.text, "ERROR 1045 (HY000): text of the server");
    }
}

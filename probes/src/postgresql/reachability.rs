//! Does a PostgreSQL server answer at all? Used while logins pause.
//!
//! The check asks whether the server would encrypt (`SSLRequest`, manual 55.2.10) and hangs up: a server answers that
//! before it looks at any account, counts no failed login for it and logs nothing. A full server answers it too.

use quorate_machine::FindingClass;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::{failure::Failure, observation::Stage};

/// Length 8, then the request's code 1234, 5679.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Would encrypt, would not, or an error instead (a server that cannot start a process for it): it lives in each case.
const ANSWERS: [u8; 3] = *b"SNE";

/// Succeeds if the server answers.
pub(super) async fn check(mut stream: TcpStream, deadline: Instant) -> Result<(), Failure> {
    let started = Instant::now();
    let exchange = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    match timeout_at(deadline, exchange).await {
        Ok(Ok(answer)) if ANSWERS.contains(&answer) => Ok(()),
        Ok(Ok(_)) => Err(Failure::new(
            Stage::Login,
            FindingClass::WrongAnswer,
            "what answers is no PostgreSQL server",
        )),
        Ok(Err(error)) => Err(Failure::of_io(&error, Stage::Login)),
        Err(_) => Err(Failure::timed_out(Stage::Login, "connected, but no answer", started)),
    }
}

//! Does a MySQL or MariaDB server answer at all? Used while logins pause.
//!
//! The check speaks the connection phase to its end as an account that does not exist. Hanging up after the greeting
//! would be quieter, but servers count that as a handshake error and block the host after `max_connect_errors` of them.

use std::net::SocketAddr;

use quorate_machine::FindingClass;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::errors::classify_server_code;
use crate::{endpoint::dial, failure::Failure, observation::Stage};

/// Account name that tells an administrator who reads the server's log what this is.
const ACCOUNT: &str = "quorate_reachability";
/// Longest packet of the connection phase that is read.
const MAX_PACKET_BYTES: usize = 4096;
/// Packets of the server before the exchange is given up: greeting, authentication switch, more data, refusal.
const MAX_PACKETS: usize = 5;
const ERR_PACKET: u8 = 0xff;
const AUTH_SWITCH_PACKET: u8 = 0xfe;
const AUTH_MORE_DATA_PACKET: u8 = 0x01;
/// LONG_PASSWORD, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x8000 | 0x8_0000;
const UTF8MB4_GENERAL_CI: u8 = 45;

/// Succeeds if the server greets, whatever it says to the login.
pub(super) async fn check(addresses: &[SocketAddr], deadline: Instant) -> Result<(), Failure> {
    let started = Instant::now();
    let mut stream = dial(addresses, deadline).await?;
    match timeout_at(deadline, exchange(&mut stream)).await {
        Ok(Ok(Greeting::Server)) => Ok(()),
        Ok(Ok(Greeting::Refused { code, text })) => match classify_server_code(code) {
            // Full, or not for this host: it lives.
            FindingClass::TooManyConnections | FindingClass::Auth => Ok(()),
            class => Err(Failure::new(Stage::Login, class, &text)),
        },
        Ok(Ok(Greeting::Other)) => Err(Failure::new(
            Stage::Login,
            FindingClass::WrongAnswer,
            "what answers is no MySQL server",
        )),
        Ok(Err(error)) => Err(Failure::of_io(&error, Stage::Login)),
        Err(_) => Err(Failure::timed_out(Stage::Login, "connected, but no greeting", started)),
    }
}

enum Greeting {
    Server,
    Refused { code: u16, text: String },
    Other,
}

async fn exchange(stream: &mut TcpStream) -> std::io::Result<Greeting> {
    let Some((mut sequence, greeting)) = read_packet(stream).await? else {
        return Ok(Greeting::Other);
    };
    match greeting.first() {
        Some(&ERR_PACKET) => {
            let code = greeting
                .get(1..3)
                .map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
            let text = String::from_utf8_lossy(greeting.get(3..).unwrap_or_default());
            return Ok(Greeting::Refused {
                code,
                text: format!("ERROR {code}: {text}"),
            });
        }
        Some(10) => {}
        _ => return Ok(Greeting::Other),
    }
    let mut answer = handshake_response();
    for _ in 0..MAX_PACKETS {
        sequence = sequence.wrapping_add(1);
        // The greeting has shown what was asked; a server that hangs up now has still shown it.
        if write_packet(stream, sequence, &answer).await.is_err() {
            break;
        }
        match read_packet(stream).await {
            Ok(Some((last, packet)))
                if matches!(packet.first(), Some(&AUTH_SWITCH_PACKET | &AUTH_MORE_DATA_PACKET)) =>
            {
                sequence = last;
                answer.clear();
            }
            _ => break,
        }
    }
    Ok(Greeting::Server)
}

/// One packet with its sequence number; `None` if it is longer than any packet of the connection phase.
async fn read_packet(stream: &mut TcpStream) -> std::io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0u8; 4];
    stream.read_exact(&mut header).await?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    if length > MAX_PACKET_BYTES {
        return Ok(None);
    }
    let mut packet = vec![0u8; length];
    stream.read_exact(&mut packet).await?;
    Ok(Some((header[3], packet)))
}

async fn write_packet(stream: &mut TcpStream, sequence: u8, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend_from_slice(payload);
    stream.write_all(&packet).await
}

/// `HandshakeResponse41` without a password.
fn handshake_response() -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&CAPABILITIES.to_le_bytes());
    payload.extend_from_slice(&(MAX_PACKET_BYTES as u32).to_le_bytes());
    payload.push(UTF8MB4_GENERAL_CI);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(ACCOUNT.as_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload.extend_from_slice(b"mysql_native_password\0");
    payload
}

//! The login on one connection: which mechanism, and the exchange.

use aws_lc_rs::rand;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    MongodbTarget,
    errors::number,
    member::Member,
    scram::{self, Mechanism},
    wire::{Wire, hello},
};
use crate::{failure::Failure, observation::Stage};

const NONCE_BYTES: usize = 24;
/// Messages after the proof before the exchange is given up: older servers want an empty one.
const MAX_CLOSING_MESSAGES: usize = 2;

/// Asks who the server is, and logs in where the target has an account.
pub(super) async fn greet(wire: &mut Wire, target: &MongodbTarget, deadline: Instant) -> Result<Member, Failure> {
    let (member, mechanism) = ask_who(wire, target, deadline).await?;
    log_in(wire, target, mechanism, deadline).await?;
    Ok(member)
}

/// Who the server is, and the mechanism that it has for the target's account.
pub(super) async fn ask_who(
    wire: &mut Wire,
    target: &MongodbTarget,
    deadline: Instant,
) -> Result<(Member, Mechanism), Failure> {
    let mut more = client_metadata();
    if !target.user.is_empty() {
        more.insert("saslSupportedMechs", format!("{}.{}", target.database, target.user));
    }
    let reply = hello(wire, deadline, more).await?;
    let offered: Vec<&str> = reply
        .get_array("saslSupportedMechs")
        .map(|names| names.iter().filter_map(|name| name.as_str()).collect())
        .unwrap_or_default();
    // Nothing is told of accounts that do not exist; the login itself then says so. Servers before 4.0 have SHA-1 only.
    let old = number(reply.get("maxWireVersion")).unwrap_or(0) < 7;
    let otherwise = if old { Mechanism::Sha1 } else { Mechanism::Sha256 };
    Ok((Member::of(&reply), Mechanism::of(&offered).unwrap_or(otherwise)))
}

/// What a server's log shows of this client.
fn client_metadata() -> Document {
    doc! { "client": {
        "application": { "name": "quorate-prober" },
        "driver": { "name": "quorate-probes", "version": env!("CARGO_PKG_VERSION") },
        "os": { "type": "Linux" },
    } }
}

/// The exchange, if the target has an account. Exactly one login.
pub(super) async fn log_in(
    wire: &mut Wire,
    target: &MongodbTarget,
    mechanism: Mechanism,
    deadline: Instant,
) -> Result<(), Failure> {
    if target.user.is_empty() {
        return Ok(());
    }
    let refused = |text: &str| Failure::new(Stage::Login, FindingClass::Auth, text);
    let (first, begun) = scram::begin(mechanism, &target.user, nonce()?);
    let start = doc! {
        "saslStart": 1, "mechanism": mechanism.name(), "payload": binary(first), "options": { "skipEmptyExchange": true },
    };
    let reply = wire.run(&target.database, start, Stage::Login, deadline).await?;
    let (proof, proved) = begun
        .prove(&payload(&reply)?, &target.password)
        .map_err(|problem| refused(&problem))?;
    let conversation = reply.get("conversationId").cloned().unwrap_or_default();
    let next = |message: String| doc! { "saslContinue": 1, "conversationId": conversation.clone(), "payload": binary(message) };
    let mut reply = wire.run(&target.database, next(proof), Stage::Login, deadline).await?;
    if !proved.verify(&payload(&reply)?) {
        return Err(refused("the server does not show that it knows the account's password"));
    }
    for _ in 0..MAX_CLOSING_MESSAGES {
        if number(reply.get("done")) == Some(1) {
            return Ok(());
        }
        reply = wire
            .run(&target.database, next(String::new()), Stage::Login, deadline)
            .await?;
    }
    Err(Failure::new(
        Stage::Login,
        FindingClass::WrongAnswer,
        "the login does not come to its end",
    ))
}

fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; NONCE_BYTES];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::new(Stage::Login, FindingClass::OwnShortage, "no random numbers to be had"))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

fn binary(message: String) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: message.into_bytes(),
    }
}

fn payload(reply: &Document) -> Result<String, Failure> {
    let bytes = reply.get_binary_generic("payload").ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes.clone()).ok());
    text.ok_or_else(|| {
        Failure::new(
            Stage::Login,
            FindingClass::WrongAnswer,
            "a login message without a payload",
        )
    })
}

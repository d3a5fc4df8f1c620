//! What a server says of itself in reply to `hello`.

use bson::Document;
use quorate_machine::FindingClass;

use super::errors::number;
use crate::{failure::Failure, observation::Stage};

/// What a server is within its deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Takes writes: the primary of a set, or a server without one.
    Writable,
    /// A router of a sharded cluster.
    Router,
    /// A readable member; knows the primary, or that there is none.
    Secondary {
        /// `host:port` in the words of the set's configuration.
        primary: Option<String>,
    },
    /// Holds no data.
    Arbiter,
    /// Starting, recovering, rolling back, removed, or not yet initiated.
    Unready,
}

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) standing: Standing,
    /// Name of its replica set; empty without one.
    pub(super) set: String,
    /// How it names itself in its set.
    pub(super) me: String,
    wire_version: i64,
}

impl Member {
    /// Reads a reply to `hello` or `isMaster`.
    pub(super) fn of(reply: &Document) -> Self {
        let truth = |name: &str| number(reply.get(name)) == Some(1);
        let text = |name: &str| reply.get_str(name).unwrap_or_default().to_owned();
        let standing = if text("msg") == "isdbgrid" {
            Standing::Router
        } else if truth("isWritablePrimary") || truth("ismaster") {
            Standing::Writable
        } else if truth("secondary") {
            Standing::Secondary {
                primary: Some(text("primary")).filter(|primary| !primary.is_empty()),
            }
        } else if truth("arbiterOnly") {
            Standing::Arbiter
        } else {
            Standing::Unready
        };
        Self {
            standing,
            set: text("setName"),
            me: text("me"),
            wire_version: number(reply.get("maxWireVersion")).unwrap_or(0),
        }
    }

    /// Whether it belongs to the set `expected` (empty: to any). A router belongs to none.
    pub(super) fn check_set(&self, expected: &str) -> Result<(), Failure> {
        if expected.is_empty() || self.standing == Standing::Router || self.set == expected {
            return Ok(());
        }
        let text = match self.set.is_empty() {
            true => format!("the server belongs to no replica set, {expected} is expected"),
            false => format!(
                "the server belongs to the replica set {}, {expected} is expected",
                self.set
            ),
        };
        Err(Failure::new(Stage::Role, FindingClass::WrongAnswer, &text))
    }

    /// Whether it takes writes, or passes them on.
    pub(super) fn takes_writes(&self) -> bool {
        matches!(self.standing, Standing::Writable | Standing::Router)
    }

    /// For an operator.
    pub(super) fn shown(&self) -> String {
        let set = match self.set.is_empty() {
            true => String::new(),
            false => format!(" of {}", self.set),
        };
        match &self.standing {
            Standing::Writable if self.set.is_empty() => "writable; a server without a replica set".to_owned(),
            Standing::Writable => format!("writable; primary{set}"),
            Standing::Router => "router of a sharded cluster".to_owned(),
            Standing::Secondary { primary: Some(primary) } => {
                format!("read-only; secondary{set}, its primary is {primary}")
            }
            Standing::Secondary { primary: None } => format!("read-only; secondary{set}, which has no primary"),
            Standing::Arbiter => format!("arbiter{set}, which holds no data"),
            Standing::Unready => format!("member{set} that is starting, recovering or removed"),
        }
    }

    /// Version by the protocol, for servers that do not tell their own.
    pub(super) fn version(&self) -> String {
        format!("MongoDB, wire version {}", self.wire_version)
    }
}

/// What a set's readable members say together, when none of those asked takes writes.
///
/// A secondary in the other data center's set, or in the smaller part of a set that spans both, is read-only and well. A set without a
/// primary takes no writes anywhere, which is a failure; so is a primary that is named, is among our addresses and does not answer.
pub(super) fn without_primary(member: &Member, failed: &[(String, Failure)]) -> Result<String, Failure> {
    match &member.standing {
        Standing::Secondary { primary: Some(primary) } => {
            match failed.iter().find(|(address, _)| address.eq_ignore_ascii_case(primary)) {
                None => Ok(member.shown()),
                Some((_, failure)) => Err(Failure::new(
                    failure.stage,
                    failure.class,
                    &format!("the primary {primary}: {}", failure.text),
                )),
            }
        }
        Standing::Unready => Err(Failure::new(Stage::Role, FindingClass::ServerStarting, &member.shown())),
        _ => Err(Failure::new(Stage::Role, FindingClass::WrongAnswer, &member.shown())),
    }
}

/// Seconds that this member is behind its primary, from `replSetGetStatus`.
pub(super) fn lag_seconds(status: &Document) -> Option<u64> {
    let members = status.get_array("members").ok()?;
    let members: Vec<&Document> = members.iter().filter_map(|member| member.as_document()).collect();
    let applied = |member: &Document| Some(member.get_datetime("optimeDate").ok()?.timestamp_millis());
    let own = members.iter().find(|member| number(member.get("self")) == Some(1))?;
    let primary = members.iter().find(|member| number(member.get("state")) == Some(1))?;
    if number(own.get("state")) == Some(1) {
        return None;
    }
    let behind_ms = applied(primary)?.saturating_sub(applied(own)?);
    Some(u64::try_from(behind_ms).unwrap_or(0) / 1000)
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;

    /// Replies of genuine servers, shortened to what is read.
    fn secondary(primary: Option<&str>) -> Document {
        let mut reply = doc! {
            "topologyVersion": { "counter": 4_i64 }, "hosts": ["db1:27017", "db2:27017", "db3:27017"], "setName": "rs0",
            "setVersion": 1, "isWritablePrimary": false, "secondary": true, "me": "db2:27017", "maxWireVersion": 17, "ok": 1.0,
        };
        if let Some(primary) = primary {
            reply.insert("primary", primary);
        }
        reply
    }

    #[test]
    fn every_standing_is_read() {
        let primary =
            doc! { "isWritablePrimary": true, "secondary": false, "setName": "rs0", "me": "db1:27017", "ok": 1.0 };
        let old = doc! { "ismaster": true, "ok": 1.0 };
        let router = doc! { "isWritablePrimary": true, "msg": "isdbgrid", "ok": 1.0 };
        let arbiter = doc! { "isWritablePrimary": false, "secondary": false, "arbiterOnly": true, "setName": "rs0" };
        let recovering = doc! { "isWritablePrimary": false, "secondary": false, "setName": "rs0" };
        let uninitiated = doc! { "isWritablePrimary": false, "secondary": false, "isreplicaset": true };
        for (reply, standing, shown) in [
            (primary, Standing::Writable, "writable; primary of rs0"),
            (old, Standing::Writable, "writable; a server without a replica set"),
            (router, Standing::Router, "router of a sharded cluster"),
            (arbiter, Standing::Arbiter, "arbiter of rs0, which holds no data"),
            (
                recovering,
                Standing::Unready,
                "member of rs0 that is starting, recovering or removed",
            ),
            (
                uninitiated,
                Standing::Unready,
                "member that is starting, recovering or removed",
            ),
            (
                secondary(Some("db1:27017")),
                Standing::Secondary {
                    primary: Some("db1:27017".to_owned()),
                },
                "read-only; secondary of rs0, its primary is db1:27017",
            ),
            (
                secondary(None),
                Standing::Secondary { primary: None },
                "read-only; secondary of rs0, which has no primary",
            ),
        ] {
            let member = Member::of(&reply);
            assert_eq!((&member.standing, member.shown().as_str()), (&standing, shown));
        }
    }

    #[test]
    fn a_member_of_another_set_is_a_wrong_answer() {
        let member = Member::of(&secondary(None));
        assert_eq!(member.check_set(""), Ok(()));
        assert_eq!(member.check_set("rs0"), Ok(()));
        assert_eq!(member.check_set("rs1").unwrap_err().class, FindingClass::WrongAnswer);
        let alone = Member::of(&doc! { "ismaster": true });
        assert_eq!(
            alone.check_set("rs1").unwrap_err().text,
            "the server belongs to no replica set, rs1 is expected"
        );
    }

    #[test]
    fn a_set_is_judged_by_what_its_secondaries_know() {
        let refused = Failure::new(Stage::Tcp, FindingClass::Refused, "Connection refused");
        let failed = [("DB1:27017".to_owned(), refused)];
        let elsewhere = Member::of(&secondary(Some("other:27017")));
        assert!(without_primary(&elsewhere, &failed).is_ok());
        let dead = without_primary(&Member::of(&secondary(Some("db1:27017"))), &failed).unwrap_err();
        assert_eq!(
            (dead.class, dead.text.as_str()),
            (FindingClass::Refused, "the primary db1:27017: Connection refused")
        );
        let none = without_primary(&Member::of(&secondary(None)), &failed).unwrap_err();
        assert_eq!((none.class, none.stage), (FindingClass::WrongAnswer, Stage::Role));
        let unready = without_primary(&Member::of(&doc! {}), &[]).unwrap_err();
        assert_eq!(unready.class, FindingClass::ServerStarting);
    }

    #[test]
    fn the_lag_is_the_distance_of_the_optimes() {
        let at = |ms: i64| DateTime::from_millis(ms);
        let status = doc! { "set": "rs0", "members": [
            { "name": "db1:27017", "state": 1, "optimeDate": at(100_500) },
            { "name": "db2:27017", "state": 2, "optimeDate": at(93_000), "self": true },
            { "name": "db3:27017", "state": 8, "optimeDate": at(0) },
        ] };
        assert_eq!(lag_seconds(&status), Some(7));
        let primary = doc! { "members": [{ "state": 1, "optimeDate": at(1), "self": true }] };
        assert_eq!(lag_seconds(&primary), None);
        assert_eq!(lag_seconds(&doc! {}), None);
    }
}

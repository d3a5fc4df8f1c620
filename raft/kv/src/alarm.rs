//! Alarms of a keyspace, per member, as etcd has them: `NOSPACE` refuses whatever adds data, `CORRUPT` whatever changes it.
//!
//! An alarm stays until somebody disarms it, also after its reason is gone. Who raises one is not decided here: the state
//! machine does it when a quota is exceeded, an administrator by etcd's `Alarm` call.

use imbl::OrdSet;

use crate::error::KvError;
use crate::keyspace::Keyspace;
use crate::op::KvOp;

/// Alarms of one keyspace at most: two kinds for each member that a cluster may have. Member ids are the caller's to choose,
/// so that there must be a limit.
pub const MAX_ALARMS: usize = 64;

/// Kinds of alarms; the numbers are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmKind {
    /// In a request for the alarms: of every kind. Cannot be raised.
    None = 0,
    /// The keyspace is full.
    NoSpace = 1,
    /// The stored data cannot be trusted.
    Corrupt = 2,
}

/// What to do about alarms; the numbers are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmAction {
    /// Tell the active ones.
    Get = 0,
    /// Raise one.
    Activate = 1,
    /// Disarm one.
    Deactivate = 2,
}

/// One active alarm.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Alarm {
    /// etcd's id of the member that raised it.
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// An [`AlarmKind`].
    #[prost(enumeration = "AlarmKind", tag = "2")]
    pub kind: i32,
}

/// Asks for, raises or disarms alarms.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AlarmRequest {
    /// An [`AlarmAction`].
    #[prost(enumeration = "AlarmAction", tag = "1")]
    pub action: i32,
    /// The member whose alarm it is; without meaning for a request for the alarms.
    #[prost(uint64, tag = "2")]
    pub member: u64,
    /// An [`AlarmKind`].
    #[prost(enumeration = "AlarmKind", tag = "3")]
    pub kind: i32,
}

/// The alarms asked for; the one that was raised or disarmed; none where there was nothing to do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AlarmResponse {
    /// In order of kind and member.
    #[prost(message, repeated, tag = "1")]
    pub alarms: Vec<Alarm>,
}

/// The active alarms of a keyspace.
#[derive(Clone, Default)]
pub(crate) struct Alarms {
    /// (kind, member).
    active: OrdSet<(i32, u64)>,
}

impl Alarms {
    /// In order of kind and member.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Alarm> {
        self.active.iter().map(|(kind, member)| Alarm {
            member: *member,
            kind: *kind,
        })
    }

    pub(crate) fn is_active(&self, kind: AlarmKind) -> bool {
        self.iter().any(|alarm| alarm.kind == kind as i32)
    }

    /// Puts one in; false if there are too many.
    pub(crate) fn insert(&mut self, alarm: Alarm) -> bool {
        let key = (alarm.kind, alarm.member);
        if self.active.len() >= MAX_ALARMS && !self.active.contains(&key) {
            return false;
        }
        self.active.insert(key);
        true
    }

    pub(crate) fn execute(&mut self, request: &AlarmRequest) -> Result<AlarmResponse, KvError> {
        let known = matches!(
            AlarmKind::try_from(request.kind),
            Ok(AlarmKind::NoSpace | AlarmKind::Corrupt)
        );
        let alarm = Alarm {
            member: request.member,
            kind: request.kind,
        };
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self
                .iter()
                .filter(|alarm| [alarm.kind, AlarmKind::None as i32].contains(&request.kind))
                .collect(),
            Ok(AlarmAction::Activate) if known => {
                if !self.insert(alarm) {
                    return Err(KvError::NoSpace);
                }
                vec![alarm]
            }
            Ok(AlarmAction::Deactivate) => self
                .active
                .remove(&(alarm.kind, alarm.member))
                .map(|_| alarm)
                .into_iter()
                .collect(),
            // etcd answers an action that it does not know, and the alarm of no kind, with nothing.
            Ok(AlarmAction::Activate) | Err(_) => Vec::new(),
        };
        Ok(AlarmResponse { alarms })
    }
}

impl Keyspace {
    /// Active alarms, in order of kind and member.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter()
    }

    /// Raises an alarm on behalf of the state machine; one that is active already stays as it is. Beyond [`MAX_ALARMS`] it
    /// is not taken, which refuses nothing less: an alarm of a kind acts the same for any number of members.
    pub fn raise_alarm(&mut self, kind: AlarmKind, member: u64) {
        if kind != AlarmKind::None {
            self.alarms.insert(Alarm {
                member,
                kind: kind as i32,
            });
        }
    }

    /// Whether an alarm of this kind is active for any member.
    pub fn has_alarm(&self, kind: AlarmKind) -> bool {
        self.alarms.is_active(kind)
    }

    /// What the active alarms refuse.
    pub(crate) fn check_alarms(&self, op: &KvOp) -> Result<(), KvError> {
        let changes_data = matches!(
            op,
            KvOp::Put(_)
                | KvOp::DeleteRange(_)
                | KvOp::Txn(_)
                | KvOp::Compact(_)
                | KvOp::LeaseGrant(_)
                | KvOp::LeaseRevoke(_)
                | KvOp::Import(_)
        );
        if changes_data && self.alarms.is_active(AlarmKind::Corrupt) {
            return Err(KvError::Corrupt);
        }
        if crate::space::op_adds_data(op) && self.alarms.is_active(AlarmKind::NoSpace) {
            return Err(KvError::NoSpace);
        }
        Ok(())
    }
}

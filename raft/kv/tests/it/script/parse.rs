//! The small language of the scenarios: one command a line, keys and values as bare words, `a..b` for a range, `a..` for
//! everything from `a`, `..` for everything, `name=value` and bare words for options.

use bytes::Bytes;
use quorate_kv::*;

pub fn bytes(text: &str) -> Bytes {
    Bytes::from(text.replace("\\0", "\0").into_bytes())
}

/// `a`, `a..b`, `a..`, `..` as key and range end.
pub fn range_of(text: &str) -> (Bytes, Bytes) {
    match text.split_once("..") {
        None => (bytes(text), Bytes::new()),
        Some(("", "")) => (bytes("\\0"), bytes("\\0")),
        Some((start, "")) => (bytes(start), bytes("\\0")),
        Some((start, end)) => (bytes(start), bytes(end)),
    }
}

struct Options<'a>(&'a [&'a str]);

impl Options<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).map_or(0, |number| number.parse().expect(name))
    }
}

pub fn range(words: &[&str]) -> RangeRequest {
    let options = Options(&words[1..]);
    let (key, range_end) = range_of(words[0]);
    let (order, target) = options.text("sort").map_or((0, 0), |text| {
        let (order, target) = text.split_once(':').expect("sort=ORDER:TARGET");
        let index = |names: &[&str], name: &str| names.iter().position(|known| *known == name).unwrap_or(9) as i32;
        (
            index(&["none", "asc", "desc"], order),
            index(&["key", "ver", "create", "mod", "val"], target),
        )
    });
    RangeRequest {
        key,
        range_end,
        limit: options.number("limit"),
        revision: options.number("rev"),
        sort_order: order,
        sort_target: target,
        keys_only: options.has("keys-only"),
        count_only: options.has("count-only"),
        min_mod_revision: options.number("min-mod"),
        max_mod_revision: options.number("max-mod"),
        min_create_revision: options.number("min-create"),
        max_create_revision: options.number("max-create"),
    }
}

/// `put KEY VALUE OPTIONS`; the value is left out with `ignore-value`.
pub fn put(words: &[&str]) -> PutRequest {
    let options = Options(&words[1..]);
    let is_option = |word: &str| ["prev", "ignore-value", "ignore-lease"].contains(&word) || word.starts_with("lease=");
    PutRequest {
        key: words.first().map_or(Bytes::new(), |word| bytes(word.trim_matches('"'))),
        value: words
            .get(1)
            .filter(|word| !is_option(word))
            .map_or(Bytes::new(), |word| bytes(word.trim_matches('"'))),
        lease: options.number("lease"),
        prev_kv: options.has("prev"),
        ignore_value: options.has("ignore-value"),
        ignore_lease: options.has("ignore-lease"),
    }
}

pub fn delete(words: &[&str]) -> DeleteRangeRequest {
    let (key, range_end) = range_of(words[0]);
    DeleteRangeRequest {
        key,
        range_end,
        prev_kv: words[1..].contains(&"prev"),
    }
}

/// `if COMPARE , COMPARE then OP ; OP else OP`, each part optional; a nested transaction is `[ ... ]`.
pub fn txn(words: &[&str]) -> TxnRequest {
    let mut position = 0;
    let request = txn_at(words, &mut position);
    assert_eq!(position, words.len(), "left over in {words:?}");
    request
}

fn txn_at(words: &[&str], position: &mut usize) -> TxnRequest {
    let mut request = TxnRequest::default();
    while let Some(word) = words.get(*position) {
        *position += 1;
        match *word {
            "if" => {
                while words
                    .get(*position)
                    .is_some_and(|word| !["then", "else", "]"].contains(word))
                {
                    if words[*position] != "," {
                        request.compare.push(compare(words[*position]));
                    }
                    *position += 1;
                }
            }
            "then" => request.success = ops_at(words, position),
            "else" => request.failure = ops_at(words, position),
            "]" => {
                *position -= 1;
                break;
            }
            other => panic!("unexpected {other} in {words:?}"),
        }
    }
    request
}

fn ops_at(words: &[&str], position: &mut usize) -> Vec<RequestOp> {
    let mut ops = Vec::new();
    loop {
        let start = *position;
        match words.get(start) {
            None | Some(&"else") | Some(&"]") => return ops,
            Some(&";") => *position += 1,
            Some(&"[") => {
                *position += 1;
                let nested = txn_at(words, position);
                assert_eq!(words.get(*position), Some(&"]"), "unclosed [ in {words:?}");
                *position += 1;
                ops.push(RequestOp {
                    kind: Some(RequestOpKind::Txn(nested)),
                });
            }
            Some(_) => {
                let end = words[start..].iter().position(|word| ["else", "]", ";"].contains(word));
                *position = end.map_or(words.len(), |length| start + length);
                let kind = op(&words[start..*position]);
                ops.push(RequestOp { kind });
            }
        }
    }
}

fn op(words: &[&str]) -> Option<RequestOpKind> {
    match words[0] {
        "range" => Some(RequestOpKind::Range(range(&words[1..]))),
        "put" => Some(RequestOpKind::Put(put(&words[1..]))),
        "del" => Some(RequestOpKind::DeleteRange(delete(&words[1..]))),
        "nothing" => None,
        other => panic!("unknown operation {other}"),
    }
}

/// `ver(a)=0`, `create(a)<3`, `mod(a..c)>2`, `val(a)!=x`, `lease(a)=7`.
fn compare(word: &str) -> Compare {
    let (target, rest) = word.split_once('(').expect("TARGET(KEY)");
    let (keys, rest) = rest.split_once(')').expect("TARGET(KEY)");
    let operator_length = if rest.starts_with("!=") { 2 } else { 1 };
    let (operator, operand) = rest.split_at(operator_length);
    let number = || operand.parse::<i64>().expect("a number");
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => panic!("unknown operator {other}"),
    };
    let target = match target {
        "ver" => CompareTarget::Version(number()),
        "create" => CompareTarget::Create(number()),
        "mod" => CompareTarget::Mod(number()),
        "val" => CompareTarget::Value(bytes(operand)),
        "lease" => CompareTarget::Lease(number()),
        other => panic!("unknown target {other}"),
    };
    let (key, range_end) = range_of(keys);
    Compare {
        result: result as i32,
        key,
        range_end,
        target: Some(target),
    }
}

/// A kind of alarm by its name.
pub fn alarm_kind(word: &str) -> AlarmKind {
    match word {
        "none" => AlarmKind::None,
        "nospace" => AlarmKind::NoSpace,
        "corrupt" => AlarmKind::Corrupt,
        other => panic!("unknown alarm {other}"),
    }
}

/// Any operation of the log.
pub fn log_op(words: &[&str]) -> Option<KvOp> {
    let number = |index: usize| {
        words
            .get(index)
            .map_or(0, |word| word.parse::<i64>().expect("a number"))
    };
    let text = |index: usize| {
        words
            .get(index)
            .map_or(String::new(), |word| word.trim_matches('"').to_owned())
    };
    let credential = || UserCredential {
        name: text(2),
        password_hash: bytes(&text(3)),
        no_password: words.last() == Some(&"no-password"),
    };
    let user_role = || UserRole {
        user: text(2),
        role: text(3),
    };
    let permission = |kind: PermissionType, range: &str| {
        let (key, range_end) = range_of(range);
        Some(Permission {
            perm_type: kind as i32,
            key,
            range_end,
        })
    };
    let second = words.get(1).copied().unwrap_or_default();
    Some(match (words[0], second) {
        ("put", _) => KvOp::Put(put(&words[1..])),
        ("del", _) => KvOp::DeleteRange(delete(&words[1..])),
        ("txn", _) => KvOp::Txn(txn(&words[1..])),
        ("compact", _) => KvOp::Compact(CompactRequest { revision: number(1) }),
        ("lease", "grant") => KvOp::LeaseGrant(LeaseGrantRequest {
            id: number(2),
            ttl_seconds: number(3),
        }),
        ("lease", "revoke") => KvOp::LeaseRevoke(LeaseRevokeRequest { id: number(2) }),
        ("alarm", action) => KvOp::Alarm(AlarmRequest {
            action: match action {
                "get" => AlarmAction::Get as i32,
                "activate" => AlarmAction::Activate as i32,
                "deactivate" => AlarmAction::Deactivate as i32,
                other => other.parse().expect("a number"),
            },
            member: number(3) as u64,
            kind: words
                .get(2)
                .map_or(0, |word| word.parse().unwrap_or_else(|_| alarm_kind(word) as i32)),
        }),
        ("auth", "enable") => KvOp::AuthEnable(Nothing {}),
        ("auth", "disable") => KvOp::AuthDisable(Nothing {}),
        ("user", "add") => KvOp::UserAdd(credential()),
        ("user", "del") => KvOp::UserDelete(text(2)),
        ("user", "passwd") => KvOp::UserChangePassword(credential()),
        ("user", "grant") => KvOp::UserGrantRole(user_role()),
        ("user", "revoke") => KvOp::UserRevokeRole(user_role()),
        ("role", "add") => KvOp::RoleAdd(text(2)),
        ("role", "del") => KvOp::RoleDelete(text(2)),
        ("role", "grant") => {
            let kind = match words.get(3).copied() {
                Some("read") => PermissionType::Read,
                Some("write") => PermissionType::Write,
                _ => PermissionType::ReadWrite,
            };
            let permission = words.get(4).and_then(|range| permission(kind, range));
            KvOp::RoleGrantPermission(RolePermission {
                role: text(2),
                permission,
            })
        }
        ("role", "revoke") => KvOp::RoleRevokePermission(RolePermission {
            role: text(2),
            permission: words.get(3).and_then(|range| permission(PermissionType::Read, range)),
        }),
        _ => return None,
    })
}

//! Limits that are reached by number: leases, users, roles, names.

use quorate_kv::*;

fn refusal(keyspace: &mut Keyspace, op: KvOp) -> Option<KvError> {
    keyspace.apply(None, &op).result.err()
}

fn user(name: String) -> KvOp {
    KvOp::UserAdd(UserCredential {
        name,
        password_hash: "x".into(),
        no_password: false,
    })
}

#[test]
fn leases_are_limited_in_number() {
    let mut keyspace = Keyspace::new();
    let grant = |id: usize| {
        KvOp::LeaseGrant(LeaseGrantRequest {
            id: id as i64,
            ttl_seconds: 60,
        })
    };
    for id in 1..=MAX_LEASES {
        assert_eq!(refusal(&mut keyspace, grant(id)), None);
    }
    assert_eq!(refusal(&mut keyspace, grant(MAX_LEASES + 1)), Some(KvError::NoSpace));
    let revoke = KvOp::LeaseRevoke(LeaseRevokeRequest { id: 1 });
    assert_eq!(refusal(&mut keyspace, revoke), None);
    assert_eq!(refusal(&mut keyspace, grant(MAX_LEASES + 1)), None);
}

#[test]
fn users_roles_and_permissions_are_limited_in_number() {
    let mut keyspace = Keyspace::new();
    for number in 0..MAX_USERS {
        assert_eq!(refusal(&mut keyspace, user(format!("u{number}"))), None);
    }
    assert_eq!(refusal(&mut keyspace, user("more".to_owned())), Some(KvError::NoSpace));
    assert_eq!(
        refusal(&mut keyspace, user("u1".to_owned())),
        Some(KvError::UserAlreadyExists)
    );
    for number in 0..MAX_ROLES {
        assert_eq!(refusal(&mut keyspace, KvOp::RoleAdd(format!("r{number}"))), None);
    }
    let more = KvOp::RoleAdd("more".to_owned());
    assert_eq!(refusal(&mut keyspace, more), Some(KvError::NoSpace));
    let grant = |number: usize| {
        KvOp::RoleGrantPermission(RolePermission {
            role: "r1".to_owned(),
            permission: Some(Permission {
                perm_type: PermissionType::Read as i32,
                key: format!("k{number}").into(),
                range_end: Default::default(),
            }),
        })
    };
    for number in 0..MAX_ROLE_PERMISSIONS {
        assert_eq!(refusal(&mut keyspace, grant(number)), None);
    }
    assert_eq!(
        refusal(&mut keyspace, grant(MAX_ROLE_PERMISSIONS)),
        Some(KvError::NoSpace)
    );
    assert_eq!(refusal(&mut keyspace, grant(1)), None, "one that exists can be changed");
}

#[test]
fn names_are_limited_in_length() {
    let mut keyspace = Keyspace::new();
    let long = "n".repeat(MAX_AUTH_NAME_BYTES + 1);
    assert_eq!(
        refusal(&mut keyspace, user(long.clone())),
        Some(KvError::RequestTooLarge)
    );
    assert_eq!(
        refusal(&mut keyspace, KvOp::RoleAdd(long)),
        Some(KvError::RequestTooLarge)
    );
    assert_eq!(refusal(&mut keyspace, user("n".repeat(MAX_AUTH_NAME_BYTES))), None);
}

#[test]
fn alarms_are_limited_in_number() {
    let mut keyspace = Keyspace::new();
    let activate = |member: usize| {
        KvOp::Alarm(AlarmRequest {
            action: AlarmAction::Activate as i32,
            member: member as u64,
            kind: AlarmKind::NoSpace as i32,
        })
    };
    for member in 0..MAX_ALARMS {
        assert_eq!(refusal(&mut keyspace, activate(member)), None);
    }
    assert_eq!(refusal(&mut keyspace, activate(MAX_ALARMS)), Some(KvError::NoSpace));
    assert_eq!(refusal(&mut keyspace, activate(3)), None, "one that is active");
    keyspace.raise_alarm(AlarmKind::NoSpace, u64::MAX);
    assert_eq!(keyspace.alarms().count(), MAX_ALARMS);
}

#[test]
fn the_machine_gives_up_history_only_above_its_reserve() {
    let mut keyspace = Keyspace::new();
    keyspace.set_quota_bytes(100);
    let mut fill = |bytes: u64| {
        let write = SystemWrite::Put {
            key: "/m".into(),
            value: vec![0; bytes as usize].into(),
        };
        assert!(
            keyspace.system_write(&[write]).is_some(),
            "a machine's write is never refused"
        );
        (keyspace.compact_revision(), keyspace.size_bytes())
    };
    assert_eq!(fill(MACHINE_RESERVE_BYTES).0, -1);
    let (compacted, bytes) = fill(1);
    assert_eq!(compacted, 2, "the first value was above the reserve with its own costs");
    assert!(
        bytes > MACHINE_RESERVE_BYTES,
        "what was superseded just now can still be read"
    );
    let (compacted, bytes) = fill(1);
    assert_eq!(compacted, 3);
    assert!(bytes < 1_000);
}

//! Users, roles, permissions and the switch.

use bytes::Bytes;
use rand::RngExt;

use super::{Generator, World};
use crate::differential::operation::{Operation, bytes};
use crate::wire::authpb;
use crate::wire::etcdserverpb as pb;

const USERS: &[&str] = &["u1", "u2", "u3"];
const ROLES: &[&str] = &["r1", "r2", "r3"];
/// The password whose hash this is.
pub(in crate::differential) fn password_of(hash: &str) -> String {
    let known = PASSWORDS.iter().find(|(_, known)| *known == hash);
    known.map_or_else(String::new, |(password, _)| (*password).to_owned())
}

/// What is permitted, or refused as no range. One range end for each key: what a second one does to the first in etcd is no
/// model (`docs/etcd-differences.md`).
const PERMITTED: &[(&str, &str)] = &[
    ("n/", "n0"),
    ("n/05", "n/15"),
    ("n/1", ""),
    ("n/18", "\0"),
    ("a", ""),
    ("b", "c"),
    ("dir/", "dir0"),
    ("dir/1", "dir/3"),
    ("\0", "\0"),
    ("k", "kk"),
    ("kk", "\0"),
    ("m", "n/05"),
    ("!", "a"),
    ("", "x"),
    ("", "\0"),
    ("z", "y"),
    ("y", "y"),
];
/// Passwords and their bcrypt hashes of the lowest cost, in base64, as clients may send them: hashing and checking them
/// costs next to nothing, and so the comparison spends its time on the rest.
const PASSWORDS: &[(&str, &str)] = &[
    (
        "one",
        "JDJhJDA0JGFiY2RlZmdoaWprbG1ub3BxcnN0dXV1aU1kMVhrUDNNWWtlaHp4cFBIQjZtNVRyMEZaU1lH",
    ),
    (
        "two",
        "JDJhJDA0JGFiY2RlZmdoaWprbG1ub3BxcnN0dXVJSERSbkt3NFpkYi8zL0VBWlFNZy8ydndKUEpCTDd1",
    ),
];

/// Users with roles and permissions, the first last.
pub(super) fn beginning() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (user, role) in USERS.iter().zip(ROLES) {
        let (user, role) = ((*user).to_owned(), (*role).to_owned());
        operations.push(Operation::UserAdd(pb::AuthUserAddRequest {
            name: user.clone(),
            password: PASSWORDS[0].0.to_owned(),
            ..Default::default()
        }));
        operations.push(Operation::RoleAdd(pb::AuthRoleAddRequest { name: role.clone() }));
        let (key, range_end) = match role.as_str() {
            "r1" => (Bytes::from_static(b"n/"), Bytes::from_static(b"n0")),
            "r2" => (Bytes::from_static(b"a"), Bytes::from_static(b"\0")),
            _ => (Bytes::from_static(b"dir/"), Bytes::from_static(b"dir0")),
        };
        let perm = authpb::Permission {
            perm_type: 2,
            key,
            range_end,
        };
        let name = role.clone();
        let perm = Some(perm);
        operations.push(Operation::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
            name,
            perm,
        }));
        operations.push(Operation::UserGrantRole(pb::AuthUserGrantRoleRequest { user, role }));
    }
    operations.reverse();
    operations
}

/// Whether the operation would, with authentication off, take the root away that everything else needs.
pub(in crate::differential) fn endangers_root(operation: &Operation) -> bool {
    match operation {
        Operation::UserDelete(request) => request.name == "root",
        Operation::UserChangePassword(request) => request.name == "root",
        Operation::UserRevokeRole(request) => request.name == "root",
        Operation::RoleDelete(request) => request.role == "root",
        _ => false,
    }
}

impl Generator {
    pub(super) fn user(&mut self) -> String {
        (*self.pick(USERS)).to_owned()
    }

    fn user_name(&mut self) -> String {
        match self.random.random_range(0..40) {
            0 => String::new(),
            1 => "root".to_owned(),
            2 => "nobody".to_owned(),
            _ => self.user(),
        }
    }

    fn role_name(&mut self) -> String {
        match self.random.random_range(0..40) {
            0 => String::new(),
            1 => "root".to_owned(),
            2 => "nothing".to_owned(),
            _ => (*self.pick(ROLES)).to_owned(),
        }
    }

    /// A change of users, roles or the switch; never one that would lock everybody out.
    pub(super) fn access_change(&mut self, world: &World) -> Operation {
        if !world.auth_enabled && self.chance(30) {
            return Operation::AuthEnable(pb::AuthEnableRequest {});
        }
        let operation = self.any_access_change();
        let keeps_root = world.auth_enabled && !matches!(operation, Operation::UserChangePassword(_));
        match endangers_root(&operation) && !keeps_root {
            true => Operation::AuthEnable(pb::AuthEnableRequest {}),
            false => operation,
        }
    }

    fn any_access_change(&mut self) -> Operation {
        match self.random.random_range(0..200) {
            // Adding a user hashes a password on the server, which takes long.
            2..40 if !self.chance(15) => Operation::RoleAdd(pb::AuthRoleAddRequest { name: self.role_name() }),
            0 => Operation::AuthDisable(pb::AuthDisableRequest {}),
            1 => Operation::AuthEnable(pb::AuthEnableRequest {}),
            2..40 => Operation::UserAdd(self.user_add()),
            40..50 => Operation::UserDelete(pb::AuthUserDeleteRequest { name: self.user_name() }),
            50..60 => Operation::UserChangePassword(self.change_password()),
            60..100 => Operation::UserGrantRole(pb::AuthUserGrantRoleRequest {
                user: self.user_name(),
                role: self.role_name(),
            }),
            100..110 => Operation::UserRevokeRole(pb::AuthUserRevokeRoleRequest {
                name: self.user_name(),
                role: self.role_name(),
            }),
            110..130 => Operation::RoleAdd(pb::AuthRoleAddRequest { name: self.role_name() }),
            130..138 => Operation::RoleDelete(pb::AuthRoleDeleteRequest { role: self.role_name() }),
            138..180 => Operation::RoleGrantPermission(self.grant_permission()),
            _ => {
                let (key, range_end) = self.permitted_range();
                let role = self.role_name();
                Operation::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest { role, key, range_end })
            }
        }
    }

    fn user_add(&mut self) -> pb::AuthUserAddRequest {
        let options = match self.random.random_range(0..10) {
            0..3 => Some(authpb::UserAddOptions { no_password: true }),
            3 => Some(authpb::UserAddOptions { no_password: false }),
            _ => None,
        };
        let password = match self.random.random_range(0..10) {
            0 => String::new(),
            1 => "p".repeat(73),
            _ => self.pick(PASSWORDS).0.to_owned(),
        };
        // The hash must have no effect.
        let hashed_password = if self.chance(20) { self.pick(PASSWORDS).1 } else { "" };
        pb::AuthUserAddRequest {
            name: self.user_name(),
            password,
            options,
            hashed_password: hashed_password.to_owned(),
        }
    }

    fn change_password(&mut self) -> pb::AuthUserChangePasswordRequest {
        let hash = self.pick(PASSWORDS).1;
        pb::AuthUserChangePasswordRequest {
            name: self.user_name(),
            password: String::new(),
            hashed_password: hash.to_owned(),
        }
    }

    fn permitted_range(&mut self) -> (Bytes, Bytes) {
        let (key, range_end) = *self.pick(PERMITTED);
        (bytes(key), bytes(range_end))
    }

    fn grant_permission(&mut self) -> pb::AuthRoleGrantPermissionRequest {
        let (key, range_end) = self.permitted_range();
        let perm = authpb::Permission {
            perm_type: self.random.random_range(0..=2),
            key,
            range_end,
        };
        pb::AuthRoleGrantPermissionRequest {
            name: self.role_name(),
            perm: (!self.chance(3)).then_some(perm),
        }
    }

    pub(super) fn access_read(&mut self, world: &World) -> Operation {
        match self.random.random_range(0..10) {
            0 => Operation::AuthStatus(pb::AuthStatusRequest {}),
            1 => Operation::UserList(pb::AuthUserListRequest {}),
            2 => Operation::RoleList(pb::AuthRoleListRequest {}),
            3..6 => Operation::UserGet(pb::AuthUserGetRequest { name: self.user_name() }),
            6..9 => Operation::RoleGet(pb::AuthRoleGetRequest { role: self.role_name() }),
            _ => self.login(world),
        }
    }

    fn login(&mut self, world: &World) -> Operation {
        let name = self.user_name();
        let password = self.pick(PASSWORDS).0.to_owned();
        let known = world.passwords.get(&name).cloned().flatten();
        let request = match known {
            Some(known) if known == password || self.failing_logins == 0 => {
                pb::AuthenticateRequest { name, password: known }
            }
            None if self.failing_logins == 0 => return Operation::AuthStatus(pb::AuthStatusRequest {}),
            _ => {
                self.failing_logins -= 1;
                pb::AuthenticateRequest { name, password }
            }
        };
        Operation::Authenticate(request)
    }
}

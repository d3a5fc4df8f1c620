//! Users, roles and the switch for authentication. Passwords arrive hashed; checking them and making tokens is the edge's.

use bytes::Bytes;
use imbl::OrdMap;

use crate::error::KvError;
use crate::op::*;
use crate::types::*;

/// The user that must exist, and the role that may do everything.
pub(crate) const ROOT: &str = "root";

/// Users of one keyspace. Beyond a limit of these an addition is refused with [`KvError::NoSpace`], as if the keyspace were
/// full: users and roles are no part of the accounted bytes.
pub const MAX_USERS: usize = 10_000;

/// Roles of one keyspace.
pub const MAX_ROLES: usize = 10_000;

/// Permissions of one role.
pub const MAX_ROLE_PERMISSIONS: usize = 10_000;

/// A user as the edge needs it to check credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct UserView {
    /// Name of the user.
    pub name: String,
    /// bcrypt hash; empty for a user without a password.
    pub password_hash: Bytes,
    /// The user can only be authenticated by a certificate.
    pub no_password: bool,
    /// Granted roles, sorted.
    pub roles: Vec<String>,
    /// Auth revision at which the user was added or its password last changed. Tokens and cached credentials of an earlier
    /// one are void. Roles do not count, because permissions are looked up at every request.
    pub revision: u64,
}

impl std::fmt::Debug for UserView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UserView {
            name,
            no_password,
            roles,
            revision,
            password_hash: _,
        } = self;
        write!(
            f,
            "UserView {{ name: {name:?}, no_password: {no_password}, roles: {roles:?}, revision: {revision} }}"
        )
    }
}

/// Authentication state of a keyspace.
#[derive(Clone)]
pub(crate) struct Auth {
    pub(crate) enabled: bool,
    /// Counts changes; requests checked against an older one are refused.
    pub(crate) revision: u64,
    pub(crate) users: OrdMap<String, UserView>,
    /// Permissions by role, sorted by key and range end.
    pub(crate) roles: OrdMap<String, Vec<Permission>>,
}

impl Auth {
    pub(crate) fn new() -> Self {
        Auth {
            enabled: false,
            revision: 1,
            users: OrdMap::new(),
            roles: OrdMap::new(),
        }
    }

    /// Permissions of a role; those of `root` are everything, whatever was granted.
    pub(crate) fn role(&self, name: &str) -> Option<Vec<Permission>> {
        let permissions = self.roles.get(name)?;
        if name == ROOT {
            let everything = Permission {
                perm_type: PermissionType::ReadWrite as i32,
                key: Bytes::new(),
                range_end: Bytes::from_static(&[0]),
            };
            return Some(vec![everything]);
        }
        Some(permissions.clone())
    }

    pub(crate) fn has_root_role(user: &UserView) -> bool {
        user.roles.iter().any(|role| role == ROOT)
    }

    /// Enabling twice changes nothing and, as in etcd, enabling does not raise the revision.
    pub(crate) fn enable(&mut self) -> Result<(), KvError> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(KvError::RootUserNotExist)?;
        if !Auth::has_root_role(root) {
            return Err(KvError::RootRoleNotGranted);
        }
        self.enabled = true;
        Ok(())
    }

    pub(crate) fn disable(&mut self) -> Result<(), KvError> {
        if self.enabled {
            self.enabled = false;
            self.revision += 1;
        }
        Ok(())
    }

    pub(crate) fn user_add(&mut self, credential: &UserCredential) -> Result<(), KvError> {
        if self.users.contains_key(&credential.name) {
            return Err(KvError::UserAlreadyExists);
        }
        if self.users.len() >= MAX_USERS {
            return Err(KvError::NoSpace);
        }
        self.revision += 1;
        let password_hash = if credential.no_password {
            Bytes::new()
        } else {
            credential.password_hash.clone()
        };
        let user = UserView {
            name: credential.name.clone(),
            password_hash,
            no_password: credential.no_password,
            roles: Vec::new(),
            revision: self.revision,
        };
        self.users.insert(credential.name.clone(), user);
        Ok(())
    }

    pub(crate) fn user_delete(&mut self, name: &str) -> Result<(), KvError> {
        if self.enabled && name == ROOT {
            return Err(KvError::InvalidAuthManagement);
        }
        self.users.remove(name).ok_or(KvError::UserNotFound)?;
        self.revision += 1;
        Ok(())
    }

    /// A user without a password stays without one.
    pub(crate) fn user_change_password(&mut self, credential: &UserCredential) -> Result<(), KvError> {
        let user = self.users.get_mut(&credential.name).ok_or(KvError::UserNotFound)?;
        self.revision += 1;
        user.revision = self.revision;
        if !user.no_password {
            user.password_hash = credential.password_hash.clone();
        }
        Ok(())
    }

    /// Granting a role twice changes nothing. The role `root` can be granted before it exists, as in etcd.
    pub(crate) fn user_grant_role(&mut self, grant: &UserRole) -> Result<(), KvError> {
        let user = self.users.get_mut(&grant.user).ok_or(KvError::UserNotFound)?;
        if grant.role != ROOT && !self.roles.contains_key(&grant.role) {
            return Err(KvError::RoleNotFound);
        }
        if let Err(position) = user.roles.binary_search(&grant.role) {
            user.roles.insert(position, grant.role.clone());
            self.revision += 1;
        }
        Ok(())
    }

    pub(crate) fn user_revoke_role(&mut self, grant: &UserRole) -> Result<(), KvError> {
        if self.enabled && grant.user == ROOT && grant.role == ROOT {
            return Err(KvError::InvalidAuthManagement);
        }
        let user = self.users.get_mut(&grant.user).ok_or(KvError::UserNotFound)?;
        let position = user
            .roles
            .binary_search(&grant.role)
            .map_err(|_| KvError::RoleNotGranted)?;
        user.roles.remove(position);
        self.revision += 1;
        Ok(())
    }

    pub(crate) fn role_add(&mut self, name: &str) -> Result<(), KvError> {
        if self.roles.contains_key(name) {
            return Err(KvError::RoleAlreadyExists);
        }
        if self.roles.len() >= MAX_ROLES {
            return Err(KvError::NoSpace);
        }
        self.roles.insert(name.to_owned(), Vec::new());
        self.revision += 1;
        Ok(())
    }

    /// Takes the role from every user that has it.
    pub(crate) fn role_delete(&mut self, name: &str) -> Result<(), KvError> {
        if self.enabled && name == ROOT {
            return Err(KvError::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(KvError::RoleNotFound)?;
        let holders: Vec<String> = self
            .users
            .values()
            .filter(|user| user.roles.iter().any(|role| role == name))
            .map(|u| u.name.clone())
            .collect();
        for holder in holders {
            let user = self.users.get_mut(&holder).expect("the holder was just listed");
            user.roles.retain(|role| role != name);
        }
        self.revision += 1;
        Ok(())
    }

    /// A permission on the same range replaces the one before.
    pub(crate) fn role_grant_permission(&mut self, grant: &RolePermission) -> Result<(), KvError> {
        let permission = grant.permission.as_ref().ok_or(KvError::PermissionNotGiven)?;
        let permissions = self.roles.get_mut(&grant.role).ok_or(KvError::RoleNotFound)?;
        match position(permissions, permission) {
            Ok(index) => permissions[index].perm_type = permission.perm_type,
            Err(_) if permissions.len() >= MAX_ROLE_PERMISSIONS => return Err(KvError::NoSpace),
            Err(index) => permissions.insert(index, permission.clone()),
        }
        self.revision += 1;
        Ok(())
    }

    pub(crate) fn role_revoke_permission(&mut self, revoke: &RolePermission) -> Result<(), KvError> {
        let permission = revoke.permission.as_ref().ok_or(KvError::PermissionNotGiven)?;
        let permissions = self.roles.get_mut(&revoke.role).ok_or(KvError::RoleNotFound)?;
        let index = position(permissions, permission).map_err(|_| KvError::PermissionNotGranted)?;
        permissions.remove(index);
        self.revision += 1;
        Ok(())
    }
}

fn position(permissions: &[Permission], wanted: &Permission) -> Result<usize, usize> {
    permissions.binary_search_by(|held| (&held.key, &held.range_end).cmp(&(&wanted.key, &wanted.range_end)))
}

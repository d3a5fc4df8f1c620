//! Refusals of the store, each with the text and the class that etcd gives it.
//!
//! Clients match on these texts (etcd's `rpctypes/error.go`), so they are part of the contract.

/// Class of a refusal; the edge turns it into the gRPC code of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request is wrong in itself.
    InvalidArgument,
    /// A revision or a time to live is out of its range.
    OutOfRange,
    /// The quota is used up.
    ResourceExhausted,
    /// The lease does not exist.
    NotFound,
    /// The state does not allow it.
    FailedPrecondition,
    /// The user may not do it.
    PermissionDenied,
    /// The credentials are void.
    Unauthenticated,
    /// The stored data cannot be trusted.
    DataLoss,
}

/// A refusal. The numbers are the stable code in the log and in snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum KvError {
    /// Never produced; prost wants a zero.
    Unspecified = 0,
    /// A key is empty.
    EmptyKey = 1,
    /// `ignore_value` or `ignore_lease` for a key that does not exist, or an empty operation in a transaction.
    KeyNotFound = 2,
    /// A value together with `ignore_value`.
    ValueProvided = 3,
    /// A lease together with `ignore_lease`.
    LeaseProvided = 4,
    /// More operations in a transaction than [`crate::MAX_TXN_OPS`], or nested deeper than [`crate::MAX_TXN_DEPTH`].
    TooManyOps = 5,
    /// One branch of a transaction writes a key twice.
    DuplicateKey = 6,
    /// Unknown sort order or target.
    InvalidSortOption = 7,
    /// A block of an import is damaged, out of order, or contradicts the others.
    ImportInvalid = 15,
    /// An import brings keys that only the machine writes.
    ImportReserved = 16,
    /// Larger than [`crate::MAX_REQUEST_BYTES`].
    RequestTooLarge = 8,
    /// No user name; with authentication on, a request without credentials.
    UserEmpty = 9,
    /// No role name.
    RoleEmpty = 10,
    /// Wrong user or password; produced at the edge.
    AuthFailed = 11,
    /// No permission in a request to grant or to revoke one.
    PermissionNotGiven = 12,
    /// The range of a permission is invalid, or the change would lock `root` out.
    InvalidAuthManagement = 13,
    /// Users, roles or permissions have changed since the caller was authenticated.
    AuthOldRevision = 14,
    /// The revision lies below the compact revision; for a compaction, at or below it.
    Compacted = 20,
    /// The revision lies above the newest one.
    FutureRevision = 21,
    /// Above [`crate::MAX_LEASE_TTL_SECONDS`].
    LeaseTtlTooLarge = 22,
    /// Above the quota, a limit reached, or the alarm of that name is active; only deletions, compactions and revokes are
    /// accepted.
    NoSpace = 30,
    /// No such lease.
    LeaseNotFound = 40,
    /// A lease with this id exists.
    LeaseExists = 50,
    /// Authentication is off; produced at the edge.
    AuthNotEnabled = 51,
    /// Authentication cannot be enabled without the user `root`.
    RootUserNotExist = 52,
    /// Authentication cannot be enabled while `root` lacks the role `root`.
    RootRoleNotGranted = 53,
    /// A user with this name exists.
    UserAlreadyExists = 54,
    /// No such user.
    UserNotFound = 55,
    /// A role with this name exists.
    RoleAlreadyExists = 56,
    /// No such role.
    RoleNotFound = 57,
    /// The user does not have the role.
    RoleNotGranted = 58,
    /// The role does not have the permission.
    PermissionNotGranted = 59,
    /// An import into a keyspace that has keys or leases of users.
    ImportNotEmpty = 60,
    /// The keyspace is at a later revision than what is imported.
    ImportBehind = 61,
    /// The import was given up, or replaced by another one.
    ImportLost = 62,
    /// The user may not do this.
    PermissionDenied = 70,
    /// The token is void; produced at the edge.
    InvalidAuthToken = 71,
    /// The alarm `CORRUPT` is active: nothing may be changed.
    Corrupt = 80,
}

impl KvError {
    /// etcd's text, with its prefix.
    pub fn text(self) -> &'static str {
        match self {
            KvError::Unspecified => "etcdserver: unspecified",
            KvError::EmptyKey => "etcdserver: key is not provided",
            KvError::KeyNotFound => "etcdserver: key not found",
            KvError::ValueProvided => "etcdserver: value is provided",
            KvError::LeaseProvided => "etcdserver: lease is provided",
            KvError::TooManyOps => "etcdserver: too many operations in txn request",
            KvError::DuplicateKey => "etcdserver: duplicate key given in txn request",
            KvError::InvalidSortOption => "etcdserver: invalid sort option",
            KvError::RequestTooLarge => "etcdserver: request is too large",
            KvError::UserEmpty => "etcdserver: user name is empty",
            KvError::RoleEmpty => "etcdserver: role name is empty",
            KvError::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
            KvError::PermissionNotGiven => "etcdserver: permission not given",
            KvError::InvalidAuthManagement => "etcdserver: invalid auth management",
            KvError::AuthOldRevision => "etcdserver: revision of auth store is old",
            KvError::Compacted => "etcdserver: mvcc: required revision has been compacted",
            KvError::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            KvError::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            KvError::NoSpace => "etcdserver: mvcc: database space exceeded",
            KvError::LeaseNotFound => "etcdserver: requested lease not found",
            KvError::LeaseExists => "etcdserver: lease already exists",
            KvError::AuthNotEnabled => "etcdserver: authentication is not enabled",
            KvError::RootUserNotExist => "etcdserver: root user does not exist",
            KvError::RootRoleNotGranted => "etcdserver: root user does not have root role",
            KvError::UserAlreadyExists => "etcdserver: user name already exists",
            KvError::UserNotFound => "etcdserver: user name not found",
            KvError::RoleAlreadyExists => "etcdserver: role name already exists",
            KvError::RoleNotFound => "etcdserver: role name not found",
            KvError::RoleNotGranted => "etcdserver: role is not granted to the user",
            KvError::PermissionNotGranted => "etcdserver: permission is not granted to the role",
            KvError::ImportInvalid => "quorate: the import is damaged or inconsistent; check the file it came from",
            KvError::ImportReserved => {
                "quorate: the import holds keys under /mas-monitor/, which only this product writes; delete them before the snapshot is taken"
            }
            KvError::ImportNotEmpty => {
                "quorate: the keyspace has keys or leases already; import into an empty one, or delete them first"
            }
            KvError::ImportBehind => {
                "quorate: the keyspace is at a later revision than the import; import into a new instance"
            }
            KvError::ImportLost => "quorate: the import was given up or replaced by another one; start it again",
            KvError::PermissionDenied => "etcdserver: permission denied",
            KvError::InvalidAuthToken => "etcdserver: invalid auth token",
            KvError::Corrupt => "etcdserver: corrupt cluster",
        }
    }

    /// The class that decides the gRPC code.
    pub fn class(self) -> ErrorClass {
        match self as i32 {
            20..=29 => ErrorClass::OutOfRange,
            30..=39 => ErrorClass::ResourceExhausted,
            40..=49 => ErrorClass::NotFound,
            50..=69 => ErrorClass::FailedPrecondition,
            70 => ErrorClass::PermissionDenied,
            71 => ErrorClass::Unauthenticated,
            80 => ErrorClass::DataLoss,
            _ => ErrorClass::InvalidArgument,
        }
    }
}

impl std::fmt::Display for KvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for KvError {}

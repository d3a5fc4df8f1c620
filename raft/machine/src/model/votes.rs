//! What workers say of a side, and what comes of it.

/// What a worker says of one side of one monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Vote {
    /// No voter: DNS, login, TLS verification, own shortage, overdue attempt, or nothing tried yet.
    Unknown = 0,
    Up = 1,
    /// Up with three running successes: only these count for a switch's target.
    UpSteady = 2,
    Down = 3,
}

impl Vote {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Vote::Unknown => "unknown",
            Vote::Up => "up",
            Vote::UpSteady => "up-steady",
            Vote::Down => "down",
        }
    }
}

/// Class of the finding behind a vote. One table per engine maps driver errors to these (`probes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FindingClass {
    None = 0,
    Ok = 1,
    Refused = 2,
    Unreachable = 3,
    Timeout = 4,
    Dns = 5,
    Tls = 6,
    Auth = 7,
    TooManyConnections = 8,
    ReadOnly = 9,
    Slow = 10,
    WrongAnswer = 11,
    ServerStarting = 12,
    OwnShortage = 13,
    Overdue = 14,
    /// The prober cannot start: the specification is incomplete or wrong.
    Misconfigured = 15,
    /// The write canary fails, and the monitor says that this is a failure of the data source.
    WritesFail = 105,
}

impl FindingClass {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            FindingClass::None => "none",
            FindingClass::Ok => "ok",
            FindingClass::Refused => "refused",
            FindingClass::Unreachable => "unreachable",
            FindingClass::Timeout => "timeout",
            FindingClass::Dns => "dns",
            FindingClass::Tls => "tls",
            FindingClass::Auth => "auth",
            FindingClass::TooManyConnections => "too-many-connections",
            FindingClass::ReadOnly => "read-only",
            FindingClass::Slow => "slow",
            FindingClass::WrongAnswer => "wrong-answer",
            FindingClass::ServerStarting => "server-starting",
            FindingClass::OwnShortage => "own-shortage",
            FindingClass::Overdue => "overdue",
            FindingClass::Misconfigured => "misconfigured",
            FindingClass::WritesFail => "writes-fail",
        }
    }
}

/// State of one side of a monitor (C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SideState {
    Unconfigured = 0,
    InitFailed = 1,
    Healthy = 2,
    Abnormal = 3,
    UnreachableControl = 4,
}

impl SideState {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            SideState::Unconfigured => "unconfigured",
            SideState::InitFailed => "init-failed",
            SideState::Healthy => "healthy",
            SideState::Abnormal => "abnormal",
            SideState::UnreachableControl => "unreachable-control",
        }
    }
}

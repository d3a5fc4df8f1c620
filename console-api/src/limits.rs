//! Every limit of the REST edge, in one place.

use std::time::Duration;

/// Largest request body: 256 KiB. A larger one is answered with 413.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;
/// Largest body of a login, which comes from anybody: 4 KiB.
pub(crate) const MAX_LOGIN_BODY_BYTES: usize = 4 * 1024;
/// How long a write waits for its outcome before the answer is 504.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a fresh read waits for the read index before the answer is 503 or 504.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(3);
/// Records in a page of events or audit records when the caller names no limit.
pub(crate) const DEFAULT_PAGE_RECORDS: usize = 100;
/// Records in a page of events or audit records at most.
pub(crate) const MAX_PAGE_RECORDS: usize = 500;
/// Longest cursor that is looked at, in bytes.
pub(crate) const MAX_CURSOR_BYTES: usize = 512;
/// Monitors named in one switch at most: the quota of an instance.
pub(crate) const MAX_SWITCH_MONITORS: usize = 1000;
/// Life of a console session.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Longest life of an API token: 366 days.
pub(crate) const MAX_TOKEN_LIFE_SECONDS: i64 = 366 * 24 * 3600;
/// Clocks of two nodes may differ by this much before a session of one is refused by the other.
pub(crate) const MAX_CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// Characters of a user's or token's name at most.
pub(crate) const MAX_NAME_CHARACTERS: usize = 64;
/// Shortest password of a console user, in characters.
pub(crate) const MIN_PASSWORD_CHARACTERS: usize = 8;
/// Longest password of any kind, in bytes: bounds the work of one hash.
pub(crate) const MAX_PASSWORD_BYTES: usize = 512;
/// Password hashes computed at the same time on one node.
pub(crate) const PASSWORD_CHECKS_AT_ONCE: usize = 2;
/// New passwords hashed at the same time on one node; logins do not wait behind them.
pub(crate) const NEW_PASSWORDS_AT_ONCE: usize = 1;
/// New passwords of one user's requests that are hashed or wait for it.
pub(crate) const NEW_PASSWORDS_AT_ONCE_PER_USER: usize = 2;
/// How long a password waits for its turn to be hashed before the answer is 503.
pub(crate) const PASSWORD_QUEUE_WAIT: Duration = Duration::from_secs(2);
/// Login attempts of one source address: this many at once, then one a second.
pub(crate) const LOGIN_BURST_PER_SOURCE: u32 = 60;
/// Login attempts for one user, from one address and altogether: this many at once, then one every two seconds.
pub(crate) const LOGIN_BURST_PER_USER: u32 = 20;
/// How long a login waits when its user is being guessed at from many addresses.
pub(crate) const LOGIN_PAUSE: Duration = Duration::from_millis(500);
/// Logins of one address under way at the same time.
pub(crate) const LOGINS_AT_ONCE_PER_SOURCE: usize = 8;
/// Addresses and users that the login limiters remember; idle ones are forgotten first.
pub(crate) const LOGIN_LIMITER_KEYS: usize = 10_000;
/// Open event streams on one node at most.
pub(crate) const MAX_STREAMS: usize = 256;
/// Open event streams of one user on one node at most.
pub(crate) const MAX_STREAMS_PER_USER: usize = 64;
/// Least time between two looks at the state by one event stream.
pub(crate) const STREAM_PACE: Duration = Duration::from_millis(100);
/// Silence after which an event stream sends a comment, so that proxies keep it open.
pub(crate) const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events sent from one look at the state; the rest follows at the next.
pub(crate) const STREAM_BATCH_EVENTS: usize = 256;
/// Connection tests under way on one node at the same time.
pub(crate) const CONNECTION_TESTS_AT_ONCE: usize = 4;
/// Silence of a node, beyond the time for the test itself, after which it is named as silent.
pub(crate) const NODE_ANSWER_GRACE: Duration = Duration::from_secs(2);
/// Time for a node to list its connected processes.
pub(crate) const PROCESSES_DEADLINE: Duration = Duration::from_secs(2);
/// Applications whose connected processes a dry run asks for at the same time.
pub(crate) const APPLICATIONS_ASKED_AT_ONCE: usize = 32;
/// Time for a node to tell what it measures of its links.
pub(crate) const LINKS_DEADLINE: Duration = Duration::from_secs(1);
/// Time for a node to tell what its probers learned last.
pub(crate) const MEASURES_DEADLINE: Duration = Duration::from_secs(1);
/// Time for a whole connection test of all addresses.
pub(crate) const CONNECTION_TEST_DEADLINE: Duration = Duration::from_secs(20);
/// Least and longest access timeout of the test before a save: a monitor's own where it lies between them. A fast profile's
/// tenth of a second is for kept connections; a first login over TLS may take longer and proves as much.
pub(crate) const SAVE_TEST_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
/// How long a connection test waits for its turn on a node that is making others.
pub(crate) const TEST_TURN_WAIT: Duration = Duration::from_secs(5);
/// Connections on one console port at most; further ones wait in the backlog.
pub(crate) const MAX_CONNECTIONS: usize = 1024;
/// Connections from one address, or one IPv6 network of 64 bits, on one console port at most; further ones are closed.
pub(crate) const MAX_CONNECTIONS_PER_SOURCE: usize = 256;
/// Requests at the same time on one HTTP/2 connection.
pub(crate) const MAX_REQUESTS_PER_CONNECTION: u32 = 32;
/// Time for a TLS handshake.
pub(crate) const TLS_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Time for the headers of a request.
pub(crate) const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the body of a request, in seconds.
pub(crate) const BODY_DEADLINE_SECONDS: u64 = 30;
/// Time for the body of a login, which holds one of the few places of its address, in seconds.
pub(crate) const LOGIN_BODY_DEADLINE_SECONDS: u64 = 5;
/// Time that requests in flight get when the server stops.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// `Retry-After` of answers that a little patience cures, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 1;

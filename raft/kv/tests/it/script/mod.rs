//! Runs a scenario and renders every reply. After every command it also checks what must hold always: a snapshot gives the
//! same state back, and how far garbage was swept shows nowhere.

pub mod parse;
pub mod render;

use quorate_kv::*;
use render::line;

/// CRC32C over what the state hash feeds.
pub fn hash(keyspace: &Keyspace) -> u32 {
    let mut crc = 0;
    keyspace.state_hash(&mut |bytes| crc = crc32c::crc32c_append(crc, bytes));
    crc
}

pub fn restore(keyspace: &Keyspace) -> Keyspace {
    let mut decoder = KeyspaceDecoder::new();
    for block in keyspace.encode_blocks() {
        decoder.push(block).expect("an encoded block decodes");
    }
    decoder.finish().expect("all blocks make a keyspace")
}

/// What must hold in every state.
pub fn check_always(keyspace: &Keyspace) {
    let restored = restore(keyspace);
    let mut swept = keyspace.clone();
    while swept.sweep(1) {}
    for other in [&restored, &swept] {
        assert_eq!(hash(other), hash(keyspace));
        assert_eq!(other.size_bytes(), keyspace.size_bytes());
        assert_eq!(other.change_digest(), keyspace.change_digest());
        assert_eq!(other.hash_kv(0), keyspace.hash_kv(0));
        assert!(other.encode_blocks().eq(keyspace.encode_blocks()));
    }
}

enum Caller {
    Internal,
    User { name: String, auth_revision: Option<u64> },
}

pub struct Script {
    keyspace: Keyspace,
    caller: Caller,
    out: String,
}

pub fn run(scenario: &str) -> String {
    let caller = Caller::User {
        name: String::new(),
        auth_revision: None,
    };
    let mut script = Script {
        keyspace: Keyspace::new(),
        caller,
        out: String::new(),
    };
    for command in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
        line(&mut script.out, 0, &shorten(command));
        if !command.starts_with('#') {
            script.command(command);
            check_always(&script.keyspace);
        }
    }
    merge_repeated(&script.out)
}

fn shorten(command: &str) -> String {
    match command.char_indices().nth(110) {
        Some((end, _)) => format!("{} ...", &command[..end]),
        None => command.to_owned(),
    }
}

/// Equal lines in a row become one.
fn merge_repeated(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let merged = lines.chunk_by(|a, b| a == b).map(|same| match same.len() {
        1 => format!("{}\n", same[0]),
        times => format!("{} ({times} times)\n", same[0]),
    });
    merged.collect()
}

impl Script {
    fn caller(&self) -> Option<KvCaller> {
        match &self.caller {
            Caller::Internal => None,
            Caller::User { name, auth_revision } => Some(KvCaller {
                user: name.clone(),
                auth_revision: auth_revision.unwrap_or(self.keyspace.auth_revision()),
            }),
        }
    }

    fn say(&mut self, content: &str) {
        line(&mut self.out, 2, content);
    }

    fn refusal(&mut self, refusal: KvError) {
        self.say(&format!("{refusal}  [{:?}]", refusal.class()));
    }

    fn command(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match (words[0], &words[1..]) {
            ("range", rest) => self.range(&parse::range(rest)),
            ("txn", rest) if Keyspace::txn_is_read_only(&parse::txn(rest)) => self.read_txn(&parse::txn(rest)),
            ("as", rest) => self.become_caller(rest),
            ("system", rest) => self.system(rest),
            ("events", rest) => self.events(rest[0].parse().unwrap()),
            ("before", rest) => {
                let value = self.keyspace.value_before(rest[0].as_bytes(), rest[1].parse().unwrap());
                self.say(&value.map_or("none".to_owned(), |value| render::kv(&value)));
            }
            ("hashkv", rest) => match self.keyspace.hash_kv(rest[0].parse().unwrap()) {
                Ok(hash) => self.say(&format!("{} at {}", hash.hash, hash.hash_revision)),
                Err(refusal) => self.refusal(refusal),
            },
            ("size", _) => self.say(&format!("{} bytes", self.keyspace.size_bytes())),
            ("raise", [kind, member]) => {
                let kind = parse::alarm_kind(kind);
                self.keyspace.raise_alarm(kind, member.parse().unwrap());
            }
            ("quota", rest) => self.keyspace.set_quota_bytes(rest[0].parse().unwrap()),
            ("may-watch", rest) => {
                let (key, range_end) = parse::range_of(rest[0]);
                match self.keyspace.check_range(self.caller().as_ref(), &key, &range_end) {
                    Ok(()) => self.say("yes"),
                    Err(refusal) => self.refusal(refusal),
                }
            }
            ("writes-into", rest) => {
                let op = parse::log_op(&rest[1..]).expect("an operation");
                self.say(if op_writes_into(&op, rest[0].as_bytes()) {
                    "yes"
                } else {
                    "no"
                });
            }
            ("lease", ["expire", id, grant @ ..]) => {
                let grant = grant
                    .first()
                    .map(|grant| grant.strip_prefix("grant=").unwrap().parse().unwrap());
                let applied = self.keyspace.expire_lease(id.parse().unwrap(), grant);
                self.applied(applied);
            }
            _ if self.show(&words) => {}
            _ => {
                let op = parse::log_op(&words).unwrap_or_else(|| panic!("unknown command: {command}"));
                let caller = self.caller();
                let before = hash(&self.keyspace);
                let applied = self.keyspace.apply(caller.as_ref(), &op);
                if applied.result.is_err() {
                    assert_eq!(hash(&self.keyspace), before, "a refusal changes nothing: {command}");
                }
                self.applied(applied);
            }
        }
    }

    fn applied(&mut self, applied: Applied) {
        match &applied.result {
            Ok(result) => render::result(&mut self.out, 2, result),
            Err(refusal) => self.refusal(*refusal),
        }
        if let Some(events) = &applied.events {
            assert_eq!(events.revision(), applied.revision);
            self.say(&format!("revision {}", applied.revision));
        }
        assert_eq!(applied.revision, self.keyspace.revision());
    }

    fn range(&mut self, request: &RangeRequest) {
        let caller = self.caller();
        let allowed = self
            .keyspace
            .check_range(caller.as_ref(), &request.key, &request.range_end);
        match allowed.and_then(|()| self.keyspace.range(request)) {
            Ok(response) => render::range(&mut self.out, 2, &response),
            Err(refusal) => self.refusal(refusal),
        }
    }

    /// A read-only transaction answers the same without and with a log entry.
    fn read_txn(&mut self, request: &TxnRequest) {
        let caller = self.caller();
        let allowed = self.keyspace.check_txn(caller.as_ref(), request);
        let read = allowed.and_then(|()| self.keyspace.read_txn(request));
        let applied = self
            .keyspace
            .clone()
            .apply(caller.as_ref(), &KvOp::Txn(request.clone()));
        assert_eq!(applied.result, read.clone().map(KvResult::Txn));
        assert_eq!((applied.revision, applied.events), (self.keyspace.revision(), None));
        match read {
            Ok(response) => render::txn(&mut self.out, 2, &response),
            Err(refusal) => self.refusal(refusal),
        }
    }

    fn become_caller(&mut self, words: &[&str]) {
        let auth_revision = words
            .get(1)
            .and_then(|word| word.strip_prefix("rev="))
            .map(|rev| rev.parse().unwrap());
        self.caller = match words[0] {
            "internal" => Caller::Internal,
            "nobody" => Caller::User {
                name: String::new(),
                auth_revision,
            },
            name => Caller::User {
                name: name.to_owned(),
                auth_revision,
            },
        };
    }

    fn system(&mut self, words: &[&str]) {
        let writes: Vec<SystemWrite> = words
            .split(|word| *word == ";")
            .map(|write| match write {
                ["put", key, value] => SystemWrite::Put {
                    key: parse::bytes(key),
                    value: parse::bytes(value),
                },
                ["del", key] => SystemWrite::Delete { key: parse::bytes(key) },
                other => panic!("unknown system write {other:?}"),
            })
            .collect();
        match self.keyspace.system_write(&writes) {
            Some(events) => render::events(&mut self.out, &events),
            None => self.say("nothing"),
        }
    }

    fn events(&mut self, revision: i64) {
        let events: Result<Vec<_>, _> = self.keyspace.events_from(revision).map(Iterator::collect);
        match events {
            Ok(events) => events.iter().for_each(|events| render::events(&mut self.out, events)),
            Err(refusal) => self.refusal(refusal),
        }
    }

    fn show(&mut self, words: &[&str]) -> bool {
        let shown = match words {
            ["lease", "show", id] => format!("{:?}", self.keyspace.lease(id.parse().unwrap())),
            ["leases"] => format!("{:?}", self.keyspace.lease_ttls().collect::<Vec<_>>()),
            ["grants"] => format!("{:?}", self.keyspace.lease_grants().collect::<Vec<_>>()),
            ["user", "show", name] => {
                let user = self.keyspace.user(name);
                let hash = user
                    .as_ref()
                    .map(|user| render::text(&user.password_hash))
                    .unwrap_or_default();
                format!("{user:?} hash {hash:?}")
            }
            ["role", "show", name] => format!("{:?}", self.keyspace.role(name)),
            ["users"] => format!("{:?}", self.keyspace.users()),
            ["roles"] => format!("{:?}", self.keyspace.roles()),
            ["auth", "status"] => {
                format!(
                    "enabled {} revision {}",
                    self.keyspace.auth_enabled(),
                    self.keyspace.auth_revision()
                )
            }
            ["revision"] => format!(
                "{} compacted {}",
                self.keyspace.revision(),
                self.keyspace.compact_revision()
            ),
            _ => return false,
        };
        self.say(&shown);
        true
    }
}

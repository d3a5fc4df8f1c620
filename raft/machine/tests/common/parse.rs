//! The scenario language. A line is a verb, words, and `name=value` options.

use bytes::Bytes;
use quorate_machine::*;

use super::{Scenario, build, kinds, parse_words, print};

/// Words and options of a line.
pub struct Line<'a> {
    pub words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        let (options, words) = text
            .split_whitespace()
            .partition::<Vec<&str>, _>(|word| word.contains('='));
        let options = options.iter().filter_map(|option| option.split_once('=')).collect();
        Line { words, options }
    }

    pub fn word(&self, position: usize) -> &'a str {
        self.words
            .get(position)
            .copied()
            .unwrap_or_else(|| panic!("the line {:?} is too short", self.words))
    }

    pub fn number(&self, position: usize) -> u64 {
        self.word(position).parse().expect("a number")
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    pub fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.options.iter().copied()
    }

    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.options
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    pub fn number_option(&self, name: &str) -> Option<u64> {
        self.option(name).map(|value| value.parse().expect("a number"))
    }
}

impl Scenario {
    /// Runs one line.
    pub fn line(&mut self, text: &str) {
        if text.starts_with('#') {
            self.out.push_str(&format!("\n{text}\n"));
            return;
        }
        self.out.push_str(&format!("> {text}\n"));
        let line = Line::new(text);
        if let Some(ms) = line.word(0).strip_prefix('+') {
            self.now_ms += ms.parse::<u64>().expect("milliseconds");
        } else if !(self.cluster_line(&line)
            || self.registry_line(&line)
            || self.instances_line(&line)
            || self.access_line(&line)
            || self.rules_line(&line))
        {
            self.show_line(&line);
        }
    }

    fn cluster_line(&mut self, line: &Line<'_>) -> bool {
        match line.word(0) {
            "bootstrap" => {
                let mut command = build::bootstrap();
                if let (Some(points), Command::Bootstrap(bootstrap)) = (line.option("points"), &mut command) {
                    bootstrap.feature_points = points.split(',').map(str::to_owned).collect();
                }
                self.apply_as(build::node_principal(1), command);
            }
            "term" => {
                let (term, node) = (line.number(1), line.number(2));
                self.apply_as(
                    build::node_principal(node),
                    Command::LeaderStarted(LeaderStarted { term, node }),
                );
            }
            "seen" | "lapse" => {
                let term = line.number_option("term").unwrap_or(self.state.current_term());
                for position in 1..line.words.len() {
                    let node = line.number(position);
                    let incarnation = self.incarnation(node);
                    let command = match line.word(0) {
                        "seen" => Command::WorkerSeen(WorkerSeen {
                            node,
                            incarnation,
                            term,
                        }),
                        _ => Command::WorkerLapsed(WorkerLapsed {
                            node,
                            incarnation,
                            term,
                        }),
                    };
                    self.apply_as(build::node_principal(self.state.leadership().node), command);
                }
            }
            "restart" => {
                let next = self.incarnation(line.number(1)) + 1;
                self.incarnations.insert(line.number(1), next);
                self.sequences.remove(&line.number(1));
            }
            "vote" | "full" => self.votes(line),
            "tick" => drop(self.apply_as(build::node_principal(1), Command::Tick(Tick {}))),
            "hash" => {
                let (node, index) = (line.number(1), line.number(2));
                let hash = Bytes::from(vec![line.number(3) as u8; 32]);
                let command = Command::ReportStateHash(ReportStateHash { node, index, hash });
                self.apply_as(build::node_principal(node), command);
            }
            "disk" => {
                let node = line.number(1);
                let known = self.state.disk(node).map_or(0, |disk| disk.sequence);
                let sequence = line.number_option("seq").unwrap_or(known + 1);
                let command = ReportDisk {
                    node,
                    incarnation: self.incarnation(node),
                    sequence,
                    short: line.word(2) == "short",
                    free_bytes: line.number_option("free").unwrap_or(0) << 20,
                    total_bytes: 100 << 30,
                };
                self.apply_as(build::node_principal(node), Command::ReportDisk(command));
            }
            "stamp" => {
                self.stamp = Some(SessionStamp {
                    node: line.number(1),
                    incarnation: line.number(2),
                    sequence: line.number(3),
                    acked_below: line.number(4),
                });
            }
            "republish" => self.republish(line),
            _ => return false,
        }
        true
    }

    pub fn incarnation(&self, node: u64) -> u64 {
        self.incarnations.get(&node).copied().unwrap_or(1)
    }

    /// `vote NODES MONITOR dc1=up dc2=down [class=..] [gen=..] [seq=..]`, nodes separated by commas.
    fn votes(&mut self, line: &Line<'_>) {
        for node in line.word(1).split(',').map(|node| node.parse::<u64>().expect("a node")) {
            let monitor = self.id(line.word(2));
            let present = self
                .state
                .monitor(&monitor)
                .map_or(1, |monitor| monitor.probe_generation);
            let generation = line.number_option("gen").unwrap_or(present);
            let votes = DataCenter::ALL.into_iter().filter_map(|dc| {
                let mut report = build::vote(monitor, generation, dc, parse_vote(line.option(dc.name())?));
                if let Some(class) = line.option("class") {
                    report.class = parse_class(class) as i32;
                }
                if let Some(conditions) = line.option("ails") {
                    report.conditions = conditions.split(',').map(parse_words::condition).collect();
                }
                Some(report)
            });
            let next = self.sequences.get(&node).copied().unwrap_or(0) + 1;
            let sequence = line.number_option("seq").unwrap_or(next);
            self.sequences.insert(node, sequence.max(next - 1));
            let command = Command::ReportHealth(ReportHealth {
                node,
                incarnation: line.number_option("inc").unwrap_or(self.incarnation(node)),
                sequence,
                votes: votes.collect(),
                full: line.word(0) == "full",
            });
            self.apply_as(build::node_principal(node), command);
        }
    }

    /// Does everything that is due, or one named item.
    fn republish(&mut self, line: &Line<'_>) {
        let items = match line.number_option("work") {
            Some(work) => {
                let epoch = line.number_option("epoch").unwrap_or(0);
                vec![RepublishItem {
                    monitor: self.id(line.word(1)),
                    epoch,
                    work,
                }]
            }
            None => outstanding(&self.state)
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::Republish {
                        monitor,
                        epoch,
                        work,
                        due_ms,
                    } if due_ms <= self.now_ms => Some(RepublishItem { monitor, epoch, work }),
                    _ => None,
                })
                .collect(),
        };
        self.apply_as(build::node_principal(1), Command::Republish(Republish { items }));
    }

    fn registry_line(&mut self, line: &Line<'_>) -> bool {
        let generation = line.number_option("gen").unwrap_or(0);
        match line.word(0) {
            "app" => {
                let id = self.new_id(7, line.word(1));
                let spec = ApplicationSpec {
                    name: line.option("name").unwrap_or(line.word(1)).to_owned(),
                    description: String::new(),
                };
                let instance = self.instance_id(line.option("in").unwrap_or("default"));
                self.apply(Command::CreateApplication(CreateApplication { id, instance, spec }));
            }
            "rename-app" => {
                let spec = ApplicationSpec {
                    name: line.word(2).to_owned(),
                    description: String::new(),
                };
                let id = self.id(line.word(1));
                self.apply(Command::UpdateApplication(UpdateApplication { id, generation, spec }));
            }
            "drop-app" => {
                let id = self.id(line.word(1));
                self.apply(Command::DeleteApplication(DeleteObject { id, generation }));
            }
            "monitor" => {
                let id = self.new_id(8, line.word(1));
                let application = self.id(line.word(2));
                let spec = self.spec(build::monitor_spec(line.option("name").unwrap_or(line.word(1))), line);
                let pool = line.option("pool").map(build::pool);
                self.apply(Command::CreateMonitor(Box::new(CreateMonitor {
                    id,
                    application,
                    spec,
                    pool,
                    connection_test: parse_words::gate(line),
                })));
            }
            "edit" => {
                let id = self.id(line.word(1));
                let present = self.state.monitor(&id).map(|monitor| monitor.spec.clone());
                let spec = self.spec(present.unwrap_or_else(|| build::monitor_spec("gone")), line);
                self.apply(Command::UpdateMonitor(Box::new(UpdateMonitor {
                    id,
                    generation,
                    spec,
                    connection_test: parse_words::gate(line),
                })));
            }
            "drop" => {
                let id = self.id(line.word(1));
                self.apply(Command::DeleteMonitor(DeleteObject { id, generation }));
            }
            "drops" => {
                let monitors = line.words[1..].iter().map(|word| {
                    let (name, generation) = word.split_once('@').unwrap_or((word, "0"));
                    let generation = generation.parse().expect("a generation");
                    DeleteObject {
                        id: self.id(name),
                        generation,
                    }
                });
                let monitors = monitors.collect();
                let instance = build::instance();
                self.apply(Command::DeleteMonitors(DeleteMonitors { instance, monitors }));
            }
            "pool" => {
                let monitor = self.id(line.word(1));
                let mut pool = build::pool(line.option("database").unwrap_or("orders"));
                if let Some(name) = line.option("ds2") {
                    pool.dc2.source.name = name.to_owned();
                }
                if let Some(address) = line.option("address2") {
                    pool.dc2.source.address = address.to_owned();
                }
                if let Some(address) = line.option("address1") {
                    pool.dc1.source.address = address.to_owned();
                }
                if let Some(zones) = line.option("zones") {
                    pool.dc1.zones = zones.split(',').map(str::to_owned).collect();
                }
                if line.option("plain").is_some() {
                    pool.dc1.replicas.clear();
                    pool.dc2.load_balance = LoadBalance::Random as i32;
                }
                if let Some(routing) = line.number_option("routing") {
                    pool.routing = routing as i32;
                }
                self.apply(Command::SetConnectionPool(Box::new(SetConnectionPool {
                    monitor,
                    generation,
                    pool,
                })));
            }
            "rw" => {
                let command = SetReadWrite {
                    monitor: self.id(line.word(1)),
                    data_center: DataCenter::parse(line.word(2)).expect("dc1 or dc2") as i32,
                    state: ReadWrite {
                        readable: line.option("readable") != Some("false"),
                        writable: line.option("writable") != Some("false"),
                    },
                };
                self.apply(Command::SetReadWrite(command));
            }
            "ack" => {
                let command = AcknowledgeMonitor {
                    monitor: self.id(line.word(1)),
                    comment: "seen".to_owned(),
                };
                self.apply(Command::AcknowledgeMonitor(command));
            }
            "switch" => {
                let command = self.switch(line);
                self.apply(Command::Switch(command));
            }
            "preview" => {
                let command = self.switch(line);
                let preview = preview_switch(&self.state, &command, &self.author);
                self.out.push_str(&print::preview(&preview));
            }
            "settings" => {
                let present = self.state.kind_settings(&build::instance(), line.word(1));
                let number = |name, present| line.number_option(name).map_or(present, |value| value as u32);
                let settings = KindSettings {
                    retry_interval_ms: number("retry", present.retry_interval_ms),
                    monitor_timeout_ms: number("timeout", present.monitor_timeout_ms),
                    access_timeout_ms: number("access", present.access_timeout_ms),
                    health_precision: number("precision", present.health_precision),
                };
                let kind = line.word(1).to_owned();
                self.apply(Command::SetKindSettings(SetKindSettings {
                    instance: build::instance(),
                    kind,
                    settings,
                }));
            }
            "quota" => {
                let number = |name| line.number_option(name).unwrap_or(0) as u32;
                self.apply(Command::SetQuotas(SetQuotas {
                    instances: number("instances"),
                    applications_per_instance: number("applications"),
                    monitors_per_instance: number("monitors"),
                    ..SetQuotas::default()
                }));
            }
            _ => return false,
        }
        true
    }

    fn switch(&self, line: &Line<'_>) -> Switch {
        let application = line.option("app").map(|name| self.id(name));
        let named = line.word(1).split(',').filter(|name| *name != "-");
        Switch {
            monitors: named.map(|name| self.id(name)).collect(),
            to: DataCenter::parse(line.word(2)).expect("dc1 or dc2") as i32,
            force: line.has("force"),
            reason: line.option("reason").unwrap_or_default().to_owned(),
            acknowledge: line.has("acknowledge"),
            restore_readable: line.has("restore-readable"),
            application,
            partial: line.has("partial"),
        }
    }

    fn access_line(&mut self, line: &Line<'_>) -> bool {
        match line.word(0) {
            "as" => {
                let revision = self.state.user(line.word(1)).map_or(1, |user| user.auth_revision);
                let revision = line.number_option("revision").unwrap_or(revision);
                self.author = build::user_principal(line.word(1), revision);
                if let (Some(token), Some(PrincipalKind::User(user))) = (line.option("token"), &mut self.author.kind) {
                    user.token = Some(self.names[token]);
                }
            }
            "as-node" => self.author = build::node_principal(line.number(1)),
            "user" => {
                let id = self.new_id(6, line.word(1));
                let role = parse_words::role(line.word(2)) as i32;
                let (name, password_hash) = (line.word(1).to_owned(), "argon2".to_owned());
                self.apply(Command::CreateUser(CreateUser {
                    id,
                    name,
                    password_hash,
                    role,
                }));
            }
            "password" => {
                let (name, password_hash) = (line.word(1).to_owned(), "argon2-new".to_owned());
                self.apply(Command::SetUserPassword(SetUserPassword { name, password_hash }));
            }
            "kv-quota" => {
                let command = SetKeyspaceQuota {
                    instance: build::instance(),
                    quota_bytes: line.number(1),
                };
                self.apply(Command::SetKeyspaceQuota(command));
            }
            "token" => {
                let id = self.new_id(9, line.word(1));
                self.apply(Command::CreateApiToken(CreateApiToken {
                    id,
                    name: line.word(1).to_owned(),
                    hash: Bytes::from(vec![id.low as u8; 32]),
                    role: parse_words::role(line.word(2)) as i32,
                    expires_at_ms: line.number_option("ends").unwrap_or(0) as i64,
                    applications: line.option("bound").map(|name| self.id(name)).into_iter().collect(),
                }));
            }
            "revoke" => {
                let id = self.id(line.word(1));
                self.apply(Command::RevokeApiToken(DeleteObject { id, generation: 0 }));
            }
            "kv" => self.kv(line),
            "expire" => {
                let (lease, term) = (line.number(1) as i64, line.number(2));
                let command = ExpireLease {
                    instance: build::instance(),
                    lease,
                    term,
                    grant: line.number_option("grant"),
                };
                self.apply_as(build::node_principal(1), Command::ExpireLease(command));
            }
            _ => return false,
        }
        true
    }

    fn spec(&self, mut spec: MonitorSpec, line: &Line<'_>) -> MonitorSpec {
        for (name, value) in &line.options {
            let number = || Some(value.parse().expect("milliseconds"));
            match *name {
                "untested" => {}
                "lag" => {
                    spec.lag_threshold = Some(LagThreshold {
                        seconds: number(),
                        bytes: None,
                    });
                }
                "timeout" => spec.timing.monitor_timeout_ms = number(),
                "retry" => spec.timing.retry_interval_ms = number(),
                "access" => spec.timing.access_timeout_ms = number(),
                "fast" => spec.timing.fast_profile = *value == "on",
                "auto" => spec.automatic_switch = *value == "on",
                "probing" => spec.probing = *value == "on",
                "fence" => spec.fence_policy = FencePolicy::Require as i32,
                "rename" => spec.name = (*value).to_owned(),
                "name" | "pool" | "gen" => {}
                "kind" => {
                    spec.kind = kinds::sample(value);
                    if *value == "api" {
                        spec.timing = Timing::default();
                    }
                }
                _ => kinds::set(spec.kind.as_mut().expect("a kind"), name, value),
            }
        }
        spec
    }

    pub fn new_id(&mut self, kind: u64, name: &str) -> Id {
        let next = self.names.len() as u64 + 1;
        *self.names.entry(name.to_owned()).or_insert(build::id(kind, next))
    }

    pub fn id(&self, name: &str) -> Id {
        self.names.get(name).copied().unwrap_or(build::id(99, 99))
    }
}

fn parse_vote(text: &str) -> Vote {
    let all = [Vote::Unknown, Vote::Up, Vote::UpSteady, Vote::Down];
    all.into_iter().find(|vote| vote.code() == text).expect("a vote")
}

fn parse_class(text: &str) -> FindingClass {
    let all = (0..16)
        .chain([105])
        .filter_map(|number| FindingClass::try_from(number).ok());
    all.into_iter()
        .find(|class| class.code() == text)
        .expect("a finding class")
}

//! Lines about pauses, maintenance windows, links and sites.

use quorate_machine::*;

use super::parse::Line;
use super::{Scenario, build};

/// Wall time of cluster time 0 in scenarios, milliseconds since the Unix epoch.
const WALL_START_MS: i64 = 1_700_000_000_000;

impl Scenario {
    pub fn rules_line(&mut self, line: &Line<'_>) -> bool {
        match line.word(0) {
            // `pause [SCOPE] reason=..`, `resume [SCOPE]`
            "pause" | "resume" => {
                let command = SetPause {
                    scope: self.scope(line.words.get(1).copied().unwrap_or("cluster")),
                    paused: line.word(0) == "pause",
                    reason: line.option("reason").unwrap_or_default().to_owned(),
                };
                self.apply(Command::SetPause(command));
            }
            // `window NAME SCOPE from=MS to=MS`, in milliseconds from the beginning of the scenario
            "window" => {
                let id = self.new_id(11, line.word(1));
                let wall =
                    |name: &str| WALL_START_MS + line.option(name).expect("from and to").parse::<i64>().expect("ms");
                let command = CreateWindow {
                    id,
                    scope: self.scope(line.word(2)),
                    reason: line.option("reason").unwrap_or("patching").to_owned(),
                    start_wall_ms: wall("from"),
                    end_wall_ms: wall("to"),
                };
                self.apply(Command::CreateWindow(command));
            }
            "drop-window" => {
                let id = self.id(line.word(1));
                self.apply(Command::DeleteWindow(DeleteObject { id, generation: 0 }));
            }
            // The leader's wall clock is wrong from here on.
            "wall-error" => self.wall_error_ms = line.word(1).parse().expect("milliseconds"),
            // `links NODE 1=up 2=silent gw:22=silent`: peers by id, targets by address
            "links" => self.links(line),
            // `watch-sites [timeout=MS] [target=SITE/ADDRESS,..]`
            "watch-sites" => {
                let mut settings = SiteSettings::initial();
                if let Some(timeout) = line.number_option("timeout") {
                    settings.site_timeout_ms = timeout as u32;
                }
                let targets = line.option("targets").map(|targets| targets.split(','));
                settings.targets = targets
                    .into_iter()
                    .flatten()
                    .filter_map(|target| target.split_once('/'))
                    .map(|(site, address)| ProbedTarget {
                        site: site.to_owned(),
                        address: address.to_owned(),
                    })
                    .collect();
                self.apply(Command::SetSiteSettings(SetSiteSettings { settings }));
            }
            "site-switch" => {
                let command = SetSiteSwitch {
                    instance: build::instance(),
                    on: line.word(1) == "on",
                };
                self.apply(Command::SetSiteSwitch(command));
            }
            // `leave NODE` and `return NODE` by the node itself; with `operator`, by an operator
            "leave" | "return" => {
                let node = line.number(1);
                let command = Command::AnnounceDeparture(AnnounceDeparture {
                    node,
                    incarnation: self.incarnation(node),
                    departing: line.word(0) == "leave",
                    reason: "upgrade".to_owned(),
                });
                if line.has("operator") {
                    self.apply(command);
                } else {
                    self.apply_as(build::node_principal(node), command);
                }
            }
            // `join NODE [site=..]`: registered, not yet heard
            "join" => {
                let mut node = build::node(line.number(1));
                node.site = line.option("site").unwrap_or_default().to_owned();
                let new = Some(true);
                let command = Command::UpsertNode(UpsertNode {
                    node,
                    new,
                    keeps_place: false,
                });
                self.apply_as(build::node_principal(1), command);
            }
            "remove" => {
                let node = line.number(1);
                self.apply_as(build::node_principal(2), Command::RemoveNode(RemoveNode { node }));
            }
            "sites" => {
                let lines = self.state.sites().map(|site| {
                    let finding = &site.finding;
                    format!(
                        "  {} {} since {} {finding}\n",
                        site.site,
                        site.state().code(),
                        site.since_ms
                    )
                });
                let text: String = lines.collect();
                self.out.push_str(&text);
            }
            // what the loss of the primary site would move
            "armed" => {
                let instance = build::instance();
                let monitors = self.state.moved_by_site_loss(&instance);
                let names: Vec<&str> = monitors.map(|monitor| monitor.spec.name.as_str()).collect();
                self.out.push_str(&format!("  {names:?}\n"));
            }
            "pauses" => {
                let lines = self.state.pauses().map(|pause| {
                    let scope = pause.scope.kind().code();
                    format!("  {scope} by {}: {}\n", pause.actor, pause.reason)
                });
                let text: String = lines.collect();
                self.out.push_str(&text);
            }
            "windows" => {
                let lines = self.state.windows().map(|window| {
                    let open = if window.open { "open" } else { "planned" };
                    format!(
                        "  {open} {} .. {} {}\n",
                        window.start_ms,
                        window.end_ms,
                        window.scope.kind().code()
                    )
                });
                let text: String = lines.collect();
                self.out.push_str(&text);
            }
            "history" => {
                let id = self.id(line.word(1));
                let lines = self.state.history(&id).map(|step| {
                    let what = match step.node {
                        0 => format!("state {}", step.state().code()),
                        node => format!(
                            "node {node} {}/{} {:?}",
                            step.vote().code(),
                            step.class().code(),
                            step.text
                        ),
                    };
                    format!(
                        "  {} @{} {} {what}\n",
                        step.sequence,
                        step.time_ms,
                        step.data_center().name()
                    )
                });
                let text: String = lines.collect();
                self.out.push_str(&text);
            }
            _ => return false,
        }
        true
    }

    fn links(&mut self, line: &Line<'_>) {
        let node = line.number(1);
        let links = line.options().map(|(to, state)| {
            let (state, slow) = match state {
                "slow" => (LinkState::Up, true),
                other => (parse_state(other), false),
            };
            let peer = to.parse().unwrap_or(0);
            LinkReport {
                peer,
                target: if peer == 0 { to.to_owned() } else { String::new() },
                state: state as i32,
                slow,
                rtt_us: if state == LinkState::Up { 700 } else { 0 },
                loss_permille: 0,
            }
        });
        let links = links.collect();
        let known = self.state.links_of(node).map_or(0, |links| links.sequence);
        let command = ReportLinks {
            node,
            incarnation: self.incarnation(node),
            sequence: known + 1,
            links,
        };
        self.apply_as(build::node_principal(node), Command::ReportLinks(command));
    }

    /// `cluster`, `instance`, or the name of an application or monitor.
    fn scope(&self, name: &str) -> Scope {
        match name {
            "cluster" => Scope::CLUSTER,
            "instance" => Scope::of(ScopeKind::Instance, build::instance()),
            name => {
                let id = self.id(name);
                let kind = if self.state.instance(&id).is_some() {
                    ScopeKind::Instance
                } else if self.state.application(&id).is_some() {
                    ScopeKind::Application
                } else {
                    ScopeKind::Monitor
                };
                Scope::of(kind, id)
            }
        }
    }
}

fn parse_state(text: &str) -> LinkState {
    let all = [LinkState::Unknown, LinkState::Up, LinkState::Refused, LinkState::Silent];
    all.into_iter()
        .find(|state| state.code() == text)
        .expect("a link state")
}

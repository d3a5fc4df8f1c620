//! Pauses, windows, links, departures and the loss of the primary site in random sequences.

use quorate_machine::*;

use crate::common::build::{id, instance, node_principal, user_principal};
use crate::{MONITORS, Run};

/// Windows that a sequence makes at most, so that ticks alone come to an end.
const MAX_RANDOM_WINDOWS: u64 = 6;

impl Run {
    pub fn rules(&mut self) {
        let root = user_principal("root", 1);
        match self.random.below(20) {
            0..=1 => {
                let scope = if self.random.chance(50) {
                    Scope::CLUSTER
                } else {
                    Scope::of(ScopeKind::Instance, instance())
                };
                let paused = self.random.chance(30);
                let reason = "drill".to_owned();
                self.step(root, Command::SetPause(SetPause { scope, paused, reason }));
            }
            2 => self.window(),
            3 => {
                let number = 1 + self.random.below(self.windows.max(1));
                let window = DeleteObject {
                    id: id(11, number),
                    generation: 0,
                };
                self.step(root, Command::DeleteWindow(window));
            }
            4..=5 => {
                let on = self.random.chance(80);
                let command = SetSiteSwitch {
                    instance: instance(),
                    on,
                };
                self.step(root, Command::SetSiteSwitch(command));
            }
            6 => {
                let node = 1 + self.random.below(3);
                let departing = self.random.chance(30);
                let command = AnnounceDeparture {
                    node,
                    incarnation: self.incarnations.get(&node).copied().unwrap_or(1),
                    departing,
                    reason: String::new(),
                };
                let author = if self.random.chance(50) {
                    root
                } else {
                    node_principal(node)
                };
                self.step(author, Command::AnnounceDeparture(command));
            }
            7..=11 => self.primary_falls_silent(),
            _ => {
                let node = 1 + self.random.below(3);
                self.links(node);
            }
        }
    }

    fn window(&mut self) {
        if self.windows >= MAX_RANDOM_WINDOWS {
            return;
        }
        self.windows += 1;
        let wall = 1_700_000_000_000 + self.now_ms as i64;
        let start = wall + self.random.below(10_000) as i64 - 2_000;
        let command = CreateWindow {
            id: id(11, self.windows),
            scope: match self.random.below(3) {
                0 => Scope::CLUSTER,
                1 => Scope::of(ScopeKind::Application, id(7, 1)),
                _ => Scope::of(ScopeKind::Monitor, id(8, 1 + self.random.below(MONITORS))),
            },
            reason: "patching".to_owned(),
            start_wall_ms: start,
            end_wall_ms: start.max(wall) + 1 + self.random.below(20_000) as i64,
        };
        self.step(user_principal("root", 1), Command::CreateWindow(command));
    }

    /// Everybody else hears nothing of node 1, whose worker lapses; sometimes time passes.
    fn primary_falls_silent(&mut self) {
        for node in [2, 3] {
            self.seen(node, self.term);
        }
        let lapsed = WorkerLapsed {
            node: 1,
            incarnation: self.incarnations.get(&1).copied().unwrap_or(1),
            term: self.term,
        };
        self.step(node_principal(2), Command::WorkerLapsed(lapsed));
        for node in [2, 3] {
            self.report_links(node, |_| LinkState::Silent);
        }
        self.now_ms += [100, 9_999, 10_000][self.random.below(3) as usize];
        self.step(node_principal(2), Command::Tick(Tick {}));
    }

    fn links(&mut self, node: u64) {
        let states: Vec<LinkState> = (0..4)
            .map(|_| match self.random.below(4) {
                0 => LinkState::Refused,
                1 => LinkState::Silent,
                _ => LinkState::Up,
            })
            .collect();
        self.report_links(node, |peer| states[peer as usize]);
    }

    fn report_links(&mut self, node: u64, state: impl Fn(u64) -> LinkState) {
        let peers = (1..=3).filter(|peer| *peer != node);
        let links = peers.map(|peer| LinkReport {
            peer,
            state: state(peer) as i32,
            ..LinkReport::default()
        });
        let links = links.collect();
        let stale = self.random.chance(5);
        let known = self.state.links_of(node).map_or(0, |links| links.sequence);
        let command = ReportLinks {
            node,
            incarnation: self.incarnations.get(&node).copied().unwrap_or(1),
            sequence: known + u64::from(!stale),
            links,
        };
        self.step(node_principal(node), Command::ReportLinks(command));
    }

    /// A switch for a lost site had every right to happen, and happens once for a loss.
    pub fn check_site_loss(&mut self, switch: &SwitchRecord, after: &MonitorRecord) {
        self.site_switches += 1;
        let state = &self.state;
        let site = state.site("dc1").expect("the primary site");
        assert_eq!(site.state(), PartitionState::Lost, "a switch without a lost site");
        assert!(site.lost_index > 0 && switch.index >= site.lost_index);
        assert!(
            state
                .instance(&after.instance)
                .is_some_and(|instance| instance.site_switch),
            "the setting is off"
        );
        let worker = state.worker(1).expect("it has lapsed");
        let timeout = u64::from(state.site_settings().site_timeout_ms);
        assert!(
            worker.lapsed && state.last_time_ms() >= worker.changed_ms + timeout,
            "the site timeout has not run out"
        );
        assert!(state.departure(1).is_none(), "an announced departure is no loss");
        for node in [2, 3] {
            assert!(
                state.worker(node).is_some_and(|worker| !worker.lapsed),
                "node {node} says nothing"
            );
            let links = state.links_of(node).expect("an observer");
            assert_eq!(links.to_peer(1), LinkState::Silent, "somebody answers at the site");
        }
        assert!(
            self.moved.insert((after.id(), site.lost_index)),
            "one loss moved a monitor twice"
        );
    }
}

//! Faults of links between a node and what it connects to: pure rules, which the proxy carries out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ports::NODES;

/// Most links with a fault at a time.
pub const MAX_FAULTS: usize = 256;
/// Longest delay, milliseconds.
pub const MAX_DELAY_MS: u64 = 60_000;

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nothing passes in either direction and nobody is told: connections hang. Healed, what was under way goes on.
    Cut,
    /// Nothing passes from the node that opened the connection; answers do. New connections hang.
    OneWay,
    /// Connections are reset, new ones refused.
    Reset,
    /// Everything passes `delay_ms` later, in both directions.
    Delay,
    /// Nothing is wrong: takes the link's fault away.
    Heal,
}

/// The fault of one link, as the control endpoint takes and shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkFault {
    /// Node that opens the connections.
    pub from: u64,
    /// Where they lead: `node-2` (its peer address) or an address `host:port`.
    pub to: String,
    pub fault: FaultKind,
    /// For [`FaultKind::Delay`] only, milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl LinkFault {
    /// Refuses unknown nodes, malformed targets and delays that make no sense; the text says what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.from == 0 || self.from > NODES {
            return Err(format!("from: nodes are 1 to {NODES}"));
        }
        let node = (1..=NODES).any(|node| self.to == format!("node-{node}"));
        if !node && !self.to.contains(':') {
            return Err(format!("to: node-1 to node-{NODES}, or host:port; not `{}`", self.to));
        }
        if (self.fault == FaultKind::Delay) != (1..=MAX_DELAY_MS).contains(&self.delay_ms) {
            return Err(format!(
                "delay_ms: 1 to {MAX_DELAY_MS} with `delay`, absent with any other fault"
            ));
        }
        Ok(())
    }
}

/// Everything that is wrong at present, by link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultSet(BTreeMap<(u64, String), LinkFault>);

impl FaultSet {
    /// Sets or takes away the fault of one link.
    pub fn set(&mut self, fault: LinkFault) -> Result<(), String> {
        fault.check()?;
        let key = (fault.from, fault.to.clone());
        if fault.fault == FaultKind::Heal {
            self.0.remove(&key);
        } else if self.0.len() >= MAX_FAULTS && !self.0.contains_key(&key) {
            return Err(format!("at most {MAX_FAULTS} links can have a fault"));
        } else {
            self.0.insert(key, fault);
        }
        Ok(())
    }

    /// The faults, in order of link.
    pub fn list(&self) -> Vec<LinkFault> {
        self.0.values().cloned().collect()
    }

    /// What holds for the link from node `from` to `address`, which `name` stands for where it is a node's.
    pub fn state(&self, from: u64, address: &str, name: Option<&str>) -> LinkState {
        let by_address = self.0.get(&(from, address.to_string()));
        let by_name = name.and_then(|name| self.0.get(&(from, name.to_string())));
        let mut state = LinkState::default();
        for fault in by_address.into_iter().chain(by_name) {
            match fault.fault {
                FaultKind::Cut => {
                    state.hold_from_source = true;
                    state.hold_to_source = true;
                }
                FaultKind::OneWay => state.hold_from_source = true,
                FaultKind::Reset => state.reset = true,
                FaultKind::Delay => state.delay_ms = state.delay_ms.max(fault.delay_ms),
                FaultKind::Heal => {}
            }
        }
        state
    }
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the node that opened the connection.
    FromSource,
    /// Towards it.
    ToSource,
}

/// What the faults together mean for one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkState {
    pub hold_from_source: bool,
    pub hold_to_source: bool,
    pub reset: bool,
    /// Milliseconds.
    pub delay_ms: u64,
}

impl LinkState {
    /// True while a new connection cannot be made and hears nothing.
    pub fn hangs(&self) -> bool {
        self.hold_from_source || self.hold_to_source
    }

    /// True while `direction` is held.
    pub fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::FromSource => self.hold_from_source,
            Direction::ToSource => self.hold_to_source,
        }
    }
}

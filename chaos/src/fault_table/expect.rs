//! What a scenario must come to, and what was seen in a monitor's view.

use std::fmt;

use serde_json::Value;

/// Characters of an engine's words in the table.
const MAX_WORDS: usize = 90;

/// What the nodes must say of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Every node finds it well.
    Well,
    /// Nothing is asked: the finding changes by itself in the course of the scenario.
    Any,
    /// As many nodes find this, and each in words that contain these.
    Found {
        finding: &'static str,
        words: &'static str,
        nodes: usize,
    },
}

impl Reason {
    /// All three nodes find it.
    pub const fn all(finding: &'static str, words: &'static str) -> Self {
        Self::Found {
            finding,
            words,
            nodes: 3,
        }
    }

    fn holds(self, side: &Value) -> bool {
        let votes = || side["votes"].as_array().into_iter().flatten();
        match self {
            Self::Any => true,
            Self::Well => votes().all(|vote| vote["finding"] == "ok"),
            Self::Found { finding, words, nodes } => {
                let found: Vec<&Value> = votes().filter(|vote| vote["finding"] == finding).collect();
                let told = |vote: &&Value| vote["text"].as_str().is_some_and(|text| text.contains(words));
                found.len() == nodes && found.iter().all(told)
            }
        }
    }
}

/// What must be seen in the end, and must stay so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// States of dc1 and dc2.
    pub states: [&'static str; 2],
    /// What the nodes say of dc1 and dc2.
    pub reasons: [Reason; 2],
    /// Switches, and by how much the epoch rises.
    pub switches: u64,
    /// Cause of the switch; empty where there is none.
    pub cause: &'static str,
    /// Why a switch that is due is withheld; empty where none is.
    pub withheld: &'static str,
}

impl Expected {
    /// dc1 is abnormal and one switch follows.
    pub const fn failover(reason: Reason) -> Self {
        Self {
            states: ["abnormal", "healthy"],
            reasons: [reason, Reason::Well],
            switches: 1,
            cause: "source-abnormal",
            withheld: "",
        }
    }

    /// Something is told of dc1, which stays healthy; nothing moves.
    pub const fn calm(reason: Reason) -> Self {
        Self {
            states: ["healthy", "healthy"],
            reasons: [reason, Reason::Well],
            switches: 0,
            cause: "",
            withheld: "",
        }
    }

    /// Whether a view shows it.
    pub fn holds(&self, view: &Value) -> bool {
        self.moved_as_expected(view) && self.reasons[0].holds(&view["dc1"]) && self.reasons[1].holds(&view["dc2"])
    }

    /// States and switches alone, which must not change any more; the words behind them may.
    pub fn moved_as_expected(&self, view: &Value) -> bool {
        let cause = view["last_switch"]["cause"].as_str().unwrap_or_default();
        view["dc1"]["state"] == self.states[0]
            && view["dc2"]["state"] == self.states[1]
            && view["epoch"] == self.switches
            && view["active"] == self.active()
            && cause == self.cause
            && view["withheld"].as_str().unwrap_or_default() == self.withheld
    }

    /// The side that is active in the end.
    pub fn active(&self) -> &'static str {
        if self.switches % 2 == 1 { "dc2" } else { "dc1" }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |reason: Reason| match reason {
            Reason::Well | Reason::Any => String::new(),
            Reason::Found { finding, nodes, .. } => format!(" ({nodes} × {finding})"),
        };
        let [dc1, dc2] = self.reasons.map(reason);
        write!(f, "{}{dc1} / {}{dc2}; ", self.states[0], self.states[1])?;
        outcome(f, self.switches, self.cause, self.withheld)
    }
}

/// What a view showed, for the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub states: [String; 2],
    pub reasons: [String; 2],
    pub switches: u64,
    pub cause: String,
    pub withheld: String,
}

impl Seen {
    /// From a monitor's view.
    pub fn of(view: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            states: ["dc1", "dc2"].map(|side| text(&view[side]["state"])),
            reasons: ["dc1", "dc2"].map(|side| reason(&view[side])),
            switches: view["epoch"].as_u64().unwrap_or_default(),
            cause: text(&view["last_switch"]["cause"]),
            withheld: text(&view["withheld"]),
        }
    }
}

/// `3 × refused: Connection refused`, or nothing where all is well.
fn reason(side: &Value) -> String {
    let votes = side["votes"].as_array();
    let ill = |vote: &&Value| vote["finding"] != "ok";
    let Some(first) = votes.into_iter().flatten().find(ill) else {
        return String::new();
    };
    let same = |vote: &&Value| vote["finding"] == first["finding"];
    let count = votes.into_iter().flatten().filter(same).count();
    let words: String = first["text"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(MAX_WORDS)
        .collect();
    format!("{count} × {}: {words}", first["finding"].as_str().unwrap_or_default())
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!(" ({text})")
            }
        };
        let [dc1, dc2] = self.reasons.each_ref().map(|text| reason(text));
        write!(f, "{}{dc1} / {}{dc2}; ", self.states[0], self.states[1])?;
        outcome(f, self.switches, &self.cause, &self.withheld)
    }
}

fn outcome(f: &mut fmt::Formatter<'_>, switches: u64, cause: &str, withheld: &str) -> fmt::Result {
    match switches {
        0 => write!(f, "no switch")?,
        1 => write!(f, "1 switch, {cause}, epoch + 1")?,
        more => write!(f, "{more} switches, {cause}, epoch + {more}")?,
    }
    if !withheld.is_empty() {
        write!(f, ", withheld: {withheld}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(finding: &str, epoch: u64) -> Value {
        let vote = json!({"vote": "down", "finding": finding, "text": "Connection refused (os error 111)"});
        let well = json!({"vote": "up-steady", "finding": "ok", "text": ""});
        json!({
            "active": if epoch == 1 { "dc2" } else { "dc1" }, "epoch": epoch,
            "dc1": {"state": "abnormal", "votes": [vote, vote, vote]},
            "dc2": {"state": "healthy", "votes": [well, well, well]},
            "last_switch": {"cause": if epoch == 1 { "source-abnormal" } else { "" }},
        })
    }

    #[test]
    fn a_difference_in_any_part_is_a_difference() {
        let expected = Expected::failover(Reason::all("refused", "Connection refused"));
        assert!(expected.holds(&view("refused", 1)));
        assert!(!expected.holds(&view("refused", 0)), "the switch is missing");
        assert!(!expected.holds(&view("timeout", 1)), "another finding");
        let words = Expected::failover(Reason::all("refused", "no route"));
        assert!(!words.holds(&view("refused", 1)), "other words");
        let mut two = view("refused", 1);
        two["dc1"]["votes"][2]["finding"] = json!("ok");
        assert!(!expected.holds(&two), "two nodes instead of three");
        let mut held = view("refused", 1);
        held["withheld"] = json!("repeat-block");
        assert!(!expected.holds(&held), "something is withheld");
    }

    #[test]
    fn both_are_told_in_the_same_words() {
        let expected = Expected::failover(Reason::all("refused", ""));
        assert_eq!(
            expected.to_string(),
            "abnormal (3 × refused) / healthy; 1 switch, source-abnormal, epoch + 1"
        );
        assert_eq!(
            Seen::of(&view("refused", 1)).to_string(),
            "abnormal (3 × refused: Connection refused (os error 111)) / healthy; 1 switch, source-abnormal, epoch + 1"
        );
    }
}

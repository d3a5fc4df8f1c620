//! Lines of a scenario that show something of the state.

use quorate_machine::*;

use super::parse::Line;
use super::{Scenario, build, print};

impl Scenario {
    /// A line that only looks.
    pub fn show_line(&mut self, line: &Line<'_>) {
        let text = match line.word(0) {
            "show" => print::monitor(
                &self.state,
                self.state.monitor(&self.id(line.word(1))).expect("a monitor"),
            ),
            "keys" => print::keys(&self.state, &build::instance()),
            "events" => print::events(&self.state, &self.names, 0),
            "audit" => print::audit(
                &self.state,
                line.words.get(1).map_or(usize::MAX, |_| line.number(1) as usize),
            ),
            "outstanding" => print::effects(&self.state, &self.names),
            "deadline" => format!("  {:?}\n", next_deadline(&self.state)),
            "hold" => {
                let monitor = self.state.monitor(&self.id(line.word(1))).expect("a monitor");
                format!("  {:?}\n", decide(&self.state, monitor, self.now_ms))
            }
            "divergent" => {
                let (nodes, lost) = (self.state.divergent_nodes(), self.state.hash_majority_lost());
                format!("  nodes {nodes:?}, majority lost: {lost}\n")
            }
            "workers" => print::workers(&self.state),
            "registry" => print::registry(&self.state),
            "configuration" => format!("{:#?}\n", sdk_configuration(&self.state, &self.id(line.word(1)))),
            other => panic!("unknown verb {other}"),
        };
        self.out.push_str(&text);
    }
}

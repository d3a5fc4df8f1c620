//! Lines about instances.

use bytes::Bytes;
use quorate_machine::*;

use super::parse::Line;
use super::{Scenario, build};

impl Scenario {
    pub fn instances_line(&mut self, line: &Line<'_>) -> bool {
        let generation = line.number_option("gen").unwrap_or(0);
        match line.word(0) {
            // `instance NAME [name=..] [ca=none]`
            "instance" => {
                let id = self.new_id(5, line.word(1));
                let mut command = build::instance_command(id, line.option("name").unwrap_or(line.word(1)));
                if let (Some(_), Command::CreateInstance(create)) = (line.option("ca"), &mut command) {
                    create.kv_ca.clear();
                    create.kv_root_password_hash = Bytes::new();
                }
                self.apply(command);
            }
            "rename-instance" => {
                let spec = InstanceSpec {
                    name: line.word(2).to_owned(),
                    description: "renamed".to_owned(),
                };
                let id = self.instance_id(line.word(1));
                self.apply(Command::UpdateInstance(UpdateInstance { id, generation, spec }));
            }
            // `drop-instance NAME confirm=..`
            "drop-instance" => {
                let command = DeleteInstance {
                    id: self.instance_id(line.word(1)),
                    generation,
                    name: line.option("confirm").unwrap_or_default().to_owned(),
                };
                self.apply(Command::DeleteInstance(command));
            }
            // `port NODE INSTANCE [problem=..] [as=NODE]`
            "port" => {
                let node = line.number(1);
                let port = InstancePort {
                    node,
                    problem: line.option("problem").unwrap_or_default().to_owned(),
                };
                let instance = self.instance_id(line.word(2));
                let author = build::node_principal(line.number_option("as").unwrap_or(node));
                self.apply_as(
                    author,
                    Command::ReportInstancePort(ReportInstancePort { instance, port }),
                );
            }
            // `ports INSTANCE`: what nodes said of its port
            "ports" => {
                let id = self.instance_id(line.word(1));
                let ports = self.state.instance(&id).map(|found| found.ports.clone());
                for port in ports.unwrap_or_default() {
                    let said = if port.problem.is_empty() {
                        "open"
                    } else {
                        port.problem.as_str()
                    };
                    self.out.push_str(&format!("  node {} {said}\n", port.node));
                }
            }
            "remove-node" => {
                let node = line.number(1);
                self.apply_as(build::node_principal(1), Command::RemoveNode(RemoveNode { node }));
            }
            "instances" => {
                let text = self.instances_text();
                self.out.push_str(&text);
            }
            _ => return false,
        }
        true
    }

    /// `default`, or an instance by the name it was given in the scenario.
    pub fn instance_id(&self, name: &str) -> Id {
        match name {
            "default" => build::instance(),
            other => self.id(other),
        }
    }

    fn instances_text(&self) -> String {
        let mut out = String::new();
        for instance in self.state.instances() {
            let keyspace = self.state.keyspace(&instance.meta.id).expect("every instance has one");
            let first = self.state.node(1).and_then(|node| instance.kv_address(node));
            out.push_str(&format!(
                "  {} {} ordinal {} at {} applications {} monitors {} revision {} users {} gen {}\n",
                instance.name,
                self.state.instance_status(instance).code(),
                instance.ordinal,
                first.as_deref().unwrap_or("nowhere"),
                self.state.applications(&instance.meta.id).count(),
                self.state.monitors(&instance.meta.id).count(),
                keyspace.revision(),
                ["root", "mas"]
                    .iter()
                    .filter(|user| keyspace.user(user).is_some())
                    .count(),
                instance.meta.generation,
            ));
        }
        let keyspaces = self.state.instances().count();
        out.push_str(&format!(
            "  {keyspaces} instances, {} bytes\n",
            self.state.stored_bytes()
        ));
        out
    }
}

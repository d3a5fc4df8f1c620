//! Released encodings: what lies in logs and snapshots must stay readable. A changed line here breaks running clusters.

mod common;

use common::build;
use prost::Message;
use quorate_machine::*;

#[test]
fn proposals() {
    let root = build::user_principal("root", 1);
    let spec = build::monitor_spec("m1");
    let create = CreateMonitor {
        id: build::id(8, 1),
        application: build::id(7, 1),
        spec,
        pool: Some(build::pool("d")),
    };
    let report = ReportHealth {
        node: 2,
        incarnation: 3,
        sequence: 4,
        votes: vec![build::vote(build::id(8, 1), 5, DataCenter::Dc2, Vote::Down)],
        full: true,
    };
    let switch = Switch {
        monitors: vec![build::id(8, 1)],
        to: DataCenter::Dc2 as i32,
        force: true,
        reason: "drill".to_owned(),
        acknowledge: true,
        restore_readable: true,
    };
    let commands = [
        (build::node_principal(1), build::bootstrap()),
        (
            build::node_principal(1),
            Command::LeaderStarted(LeaderStarted { term: 7, node: 1 }),
        ),
        (root.clone(), Command::CreateMonitor(Box::new(create))),
        (build::node_principal(2), Command::ReportHealth(report)),
        (root, Command::Switch(switch)),
        (
            build::node_principal(1),
            Command::BootstrapEtcd(Box::new(BootstrapEtcd {
                cluster_id: etcd_numbered_cluster(7),
                nodes: vec![NodeRecord {
                    learner: true,
                    ..build::node(4)
                }],
                instance_id: build::instance(),
                namespace_id: build::id(4, 1),
                token_secret: build::id(9, 9),
            })),
        ),
        (build::node_principal(1), Command::RemoveNode(RemoveNode { node: 4 })),
    ];
    let mut out = String::new();
    for (author, command) in commands {
        let name = command.name();
        let proposal = Proposal {
            author: Some(author),
            command: Some(command),
        };
        let bytes = proposal.encode_to_vec();
        assert_eq!(Proposal::decode(bytes.as_slice()), Ok(proposal));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        out.push_str(&format!("{name} {hex}\n"));
    }
    insta::assert_snapshot!("proposals", out);
}

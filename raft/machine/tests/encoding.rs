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
        connection_test: None,
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
        application: None,
        partial: false,
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
    let commands = commands.into_iter().chain(rules()).chain(instances());
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

/// Pauses, windows, links and sites.
fn rules() -> Vec<(Principal, Command)> {
    let root = build::user_principal("root", 1);
    let pause = SetPause {
        scope: Scope::of(ScopeKind::Instance, build::instance()),
        paused: true,
        reason: "storm".to_owned(),
    };
    let window = CreateWindow {
        id: build::id(11, 1),
        scope: Scope::of(ScopeKind::Monitor, build::id(8, 1)),
        reason: "patching".to_owned(),
        start_wall_ms: 5,
        end_wall_ms: 6,
    };
    let dropped = DeleteObject {
        id: build::id(11, 1),
        generation: 1,
    };
    let links = ReportLinks {
        node: 1,
        incarnation: 2,
        sequence: 3,
        links: vec![LinkReport {
            peer: 2,
            target: "gw:22".to_owned(),
            state: LinkState::Silent as i32,
            slow: true,
            rtt_us: 700,
            loss_permille: 20,
        }],
    };
    let settings = SiteSettings {
        targets: vec![ProbedTarget {
            site: "dc1".to_owned(),
            address: "gw:22".to_owned(),
        }],
        ..SiteSettings::initial()
    };
    let departure = AnnounceDeparture {
        node: 1,
        incarnation: 2,
        departing: true,
        reason: "upgrade".to_owned(),
    };
    let on = SetSiteSwitch {
        instance: build::instance(),
        on: true,
    };
    let switch = Switch {
        application: Some(build::id(7, 1)),
        partial: true,
        ..Switch::default()
    };
    vec![
        (root.clone(), Command::SetPause(pause)),
        (root.clone(), Command::CreateWindow(window)),
        (root.clone(), Command::DeleteWindow(dropped)),
        (build::node_principal(1), Command::ReportLinks(links)),
        (root.clone(), Command::SetSiteSettings(SetSiteSettings { settings })),
        (root.clone(), Command::SetSiteSwitch(on)),
        (build::node_principal(1), Command::AnnounceDeparture(departure)),
        (root, Command::Switch(switch)),
    ]
}

/// Instances and their ports.
fn instances() -> Vec<(Principal, Command)> {
    let root = build::user_principal("root", 1);
    let id = build::id(5, 2);
    let update = UpdateInstance {
        id,
        generation: 1,
        spec: InstanceSpec {
            name: "store".to_owned(),
            description: "web".to_owned(),
        },
    };
    let delete = DeleteInstance {
        id,
        generation: 2,
        name: "store".to_owned(),
    };
    let report = ReportInstancePort {
        instance: id,
        port: InstancePort::new(3, "in use"),
    };
    vec![
        (root.clone(), build::instance_command(id, "shop")),
        (root.clone(), Command::UpdateInstance(update)),
        (root.clone(), Command::DeleteInstance(delete)),
        (build::node_principal(3), Command::ReportInstancePort(report)),
        (
            root,
            Command::IssueClientCertificate(IssueClientCertificate { instance: id }),
        ),
    ]
}

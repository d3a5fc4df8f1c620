//! Arbitrary and damaged bytes: proposals halt or are refused, snapshots are refused, nothing panics.

mod common;

use bytes::Bytes;
use common::build;
use proptest::prelude::*;
use prost::Message;
use quorate_machine::*;

fn small_state() -> State {
    let mut state = State::new();
    let root = build::user_principal("root", 1);
    let commands = [
        (build::node_principal(1), build::bootstrap()),
        (
            build::node_principal(1),
            Command::LeaderStarted(LeaderStarted { term: 1, node: 1 }),
        ),
        (root.clone(), build::application(1, "shop")),
        (root, create_monitor()),
        (build::node_principal(1), report()),
    ];
    for (index, (author, command)) in (1..).zip(commands) {
        let stamp = SessionStamp {
            node: 1,
            incarnation: 1,
            sequence: index,
            acked_below: 0,
        };
        let outcome = apply(&mut state, index, &build::envelope(10, Some(stamp), author, command));
        assert_eq!(outcome.reply.refusal(), None);
    }
    state
}

fn create_monitor() -> Command {
    Command::CreateMonitor(Box::new(CreateMonitor {
        id: build::id(8, 1),
        application: build::id(7, 1),
        spec: build::monitor_spec("m1"),
        pool: Some(build::pool("orders")),
        connection_test: None,
    }))
}

fn report() -> Command {
    Command::ReportHealth(ReportHealth {
        node: 1,
        incarnation: 1,
        sequence: 1,
        votes: vec![build::vote(build::id(8, 1), 1, DataCenter::Dc1, Vote::Up)],
        full: false,
    })
}

/// Valid proposals to damage.
fn proposals() -> Vec<Vec<u8>> {
    let root = build::user_principal("root", 1);
    let switch = Switch {
        monitors: vec![build::id(8, 1)],
        to: 1,
        force: true,
        reason: "x".into(),
        ..Switch::default()
    };
    let commands = [
        (build::node_principal(1), build::bootstrap()),
        (root.clone(), create_monitor()),
        (root.clone(), build::application(2, "other")),
        (root.clone(), Command::Switch(switch)),
        (build::node_principal(1), report()),
        (build::node_principal(1), Command::Tick(Tick {})),
        (
            root,
            Command::SetQuotas(SetQuotas {
                namespaces: 7,
                ..SetQuotas::default()
            }),
        ),
    ];
    let encode = |(author, command)| {
        Proposal {
            author: Some(author),
            command: Some(command),
        }
        .encode_to_vec()
    };
    commands.into_iter().map(encode).collect()
}

fn apply_bytes(state: &mut State, proposal: Vec<u8>, time_ms: u64) {
    let before = state.state_hash();
    let envelope = Envelope {
        time_ms,
        wall_ms: -1,
        session: None,
        proposal: Bytes::from(proposal),
    };
    let outcome = apply(state, 6, &envelope);
    if outcome.halt.is_some() {
        assert_eq!(
            state.state_hash(),
            before,
            "an entry that halts the node changed its state"
        );
    }
    next_deadline(state);
    outstanding(state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_proposals(bytes in proptest::collection::vec(any::<u8>(), 0..200), time_ms: u64) {
        apply_bytes(&mut small_state(), bytes, time_ms);
    }

    #[test]
    fn damaged_proposals(which in 0usize..7, at: usize, value: u8, bootstrapped: bool, time_ms: u64) {
        let mut bytes = proposals().swap_remove(which);
        let at = at % bytes.len();
        bytes[at] = value;
        apply_bytes(&mut if bootstrapped { small_state() } else { State::new() }, bytes, time_ms);
    }

    #[test]
    fn arbitrary_snapshots(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned: bool) {
        if versioned {
            bytes.splice(0..0, SNAPSHOT_FORMAT_VERSION.to_be_bytes());
        }
        let mut decoder = StateDecoder::new();
        prop_assert!(decoder.push(&bytes).is_err() || decoder.finish().is_err());
    }

    #[test]
    fn damaged_snapshots(at: usize, value: u8, cut: Option<u16>) {
        let mut blocks: Vec<Vec<u8>> = encode_snapshot(&small_state()).collect();
        let block = &mut blocks[0];
        if let Some(cut) = cut {
            block.truncate(cut as usize % block.len());
        } else {
            let at = at % block.len();
            block[at] = value;
        }
        let mut decoder = StateDecoder::new();
        if blocks.iter().try_for_each(|block| decoder.push(block)).is_ok() && let Ok(mut state) = decoder.finish() {
            apply_bytes(&mut state, proposals().swap_remove(5), 20);
        }
    }
}

#[test]
fn an_unknown_command_halts_and_changes_nothing() {
    let mut state = small_state();
    let before = state.state_hash();
    // Field 1999, length-delimited, empty: a command of a newer version.
    let envelope = Envelope {
        time_ms: 99,
        proposal: Bytes::from_static(&[0xfa, 0x7c, 0x00]),
        ..Envelope::default()
    };
    let outcome = apply(&mut state, 6, &envelope);
    assert!(outcome.halt.is_some_and(|reason| reason.contains("entry 6")));
    assert_eq!(state.state_hash(), before);
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let state = small_state();
    let mut block = encode_snapshot(&state).next().expect("a block");
    block[1] = 2;
    assert!(matches!(
        StateDecoder::new().push(&block),
        Err(SnapshotError::Version(2))
    ));
}

#[test]
fn a_snapshot_without_its_last_block_is_incomplete() {
    assert!(matches!(StateDecoder::new().finish(), Err(SnapshotError::Incomplete)));
}

#[test]
fn digests_agree_between_node_and_state() {
    let state = small_state();
    let vote = |dc, vote| DigestVote {
        monitor: build::id(8, 1),
        generation: 1,
        data_center: dc,
        vote,
    };
    let own = [vote(DataCenter::Dc2, Vote::Unknown), vote(DataCenter::Dc1, Vote::Up)];
    assert_eq!(worker_digest(own), state.digest_of(1));
    assert_ne!(state.digest_of(1), state.digest_of(2));
}

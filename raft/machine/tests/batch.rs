//! Several commands in one entry: the same as one after the other, each at most once, all or none understood.

mod common;

use bytes::Bytes;
use common::build;
use proptest::prelude::*;
use prost::Message;
use quorate_kv::{DeleteRangeRequest, KvCaller, KvOp, PutRequest};
use quorate_machine::*;

fn ready() -> State {
    let mut state = State::new();
    let outcome = apply(
        &mut state,
        1,
        &build::envelope(10, None, build::node_principal(1), build::bootstrap()),
    );
    assert_eq!(outcome.reply.refusal(), None);
    state
}

fn proposal(op: KvOp) -> Bytes {
    let caller = KvCaller {
        user: "root".to_owned(),
        auth_revision: u64::MAX,
    };
    let author = Principal {
        kind: Some(PrincipalKind::Kv(KvPrincipal::new(build::instance(), caller))),
        source: "10.0.0.1:5".to_owned(),
    };
    let command = KvCommand {
        instance: build::instance(),
        op: Some(op),
    };
    let proposal = Proposal {
        author: Some(author),
        command: Some(Command::Kv(command)),
    };
    proposal.encode_to_vec().into()
}

fn put(key: &'static str, value: &'static str) -> Bytes {
    proposal(KvOp::Put(PutRequest {
        key: key.into(),
        value: value.into(),
        prev_kv: true,
        ..PutRequest::default()
    }))
}

fn stamp(sequence: u64) -> Option<SessionStamp> {
    Some(SessionStamp {
        node: 2,
        incarnation: 1,
        sequence,
        acked_below: 0,
    })
}

fn batch(commands: &[(Option<SessionStamp>, Bytes)]) -> Commands {
    let commands = commands.iter().map(|(session, proposal)| BatchedCommand {
        session: *session,
        proposal: proposal.clone(),
    });
    let commands = BatchedCommands {
        commands: commands.collect(),
    };
    Commands::Many(Batch {
        time_ms: 20,
        wall_ms: 30,
        commands: commands.encode_to_vec().into(),
    })
}

fn outcomes(state: &mut State, index: u64, commands: &Commands) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    apply_entry(state, index, commands, |outcome| outcomes.push(outcome)).expect("it is understood");
    outcomes
}

#[test]
fn a_batch_is_the_same_as_its_commands_one_by_one() {
    let delete = proposal(KvOp::DeleteRange(DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    }));
    let refused = proposal(KvOp::Put(PutRequest::default()));
    let commands = [
        put("a", "1"),
        put("b", "2"),
        put("a", "3"),
        refused,
        delete,
        put("c", "4"),
    ];
    let stamped: Vec<_> = (1..).map(stamp).zip(commands).collect();
    let (mut together, mut single) = (ready(), ready());
    let many = outcomes(&mut together, 2, &batch(&stamped));
    let mut ones = Vec::new();
    for (session, proposal) in stamped {
        let envelope = Envelope {
            time_ms: 20,
            wall_ms: 30,
            session,
            proposal,
        };
        ones.extend(outcomes(&mut single, 2, &envelope.into()));
    }
    assert_eq!(many.len(), 6);
    for (many, one) in many.iter().zip(&ones) {
        assert_eq!(many.reply, one.reply);
        assert_eq!(many.revisions, one.revisions);
    }
    assert_eq!(together.state_hash(), single.state_hash());
    assert_eq!((together.applied_index(), together.last_time_ms()), (2, 20));
}

#[test]
fn a_repeat_in_a_batch_is_answered_and_not_applied_again() {
    let mut state = ready();
    let first = outcomes(
        &mut state,
        2,
        &batch(&[(stamp(1), put("a", "1")), (stamp(1), put("a", "1"))]),
    );
    assert_eq!(first[0].reply, first[1].reply);
    assert_eq!((first[0].revisions.len(), first[1].revisions.len()), (1, 0));
    let again = outcomes(
        &mut state,
        3,
        &batch(&[(stamp(2), put("a", "2")), (stamp(1), put("a", "1"))]),
    );
    assert_eq!(again[1].reply, first[0].reply);
    assert!(again[1].revisions.is_empty());
}

#[test]
fn a_batch_with_an_unknown_command_halts_and_changes_nothing() {
    let mut state = ready();
    let before = state.state_hash();
    // Field 1999, length-delimited, empty: a command of a newer version.
    let unknown = Bytes::from_static(&[0xfa, 0x7c, 0x00]);
    let commands = batch(&[(stamp(1), put("a", "1")), (stamp(2), unknown)]);
    let halted = apply_entry(&mut state, 2, &commands, |_| panic!("nothing was carried out"));
    assert!(halted.is_err_and(|reason| reason.contains("entry 2")));
    assert_eq!(state.state_hash(), before);
}

#[test]
fn the_state_keeps_no_batch_alive() {
    let mut state = ready();
    let Commands::Many(batch) = batch(&[(stamp(1), put("a", "1")), (stamp(2), put("b", "2"))]) else {
        unreachable!("it is a batch");
    };
    let bytes = batch.commands.clone();
    outcomes(&mut state, 2, &Commands::Many(batch));
    assert!(bytes.is_unique());
}

#[test]
fn only_commands_on_keyspaces_share_an_entry() {
    assert!(may_share_entry(&put("a", "1")));
    let kv = Command::Kv(KvCommand {
        instance: build::instance(),
        op: None,
    });
    let without_author = |command| Proposal {
        author: None,
        command: Some(command),
    };
    assert!(may_share_entry(&without_author(kv).encode_to_vec()));
    let others = [
        Command::Tick(Tick {}),
        build::bootstrap(),
        Command::ExpireLease(ExpireLease::default()),
        Command::ReportHealth(ReportHealth::default()),
        Command::Switch(Switch::default()),
    ];
    for command in others {
        let author = Some(build::user_principal("root", 1));
        assert!(!may_share_entry(&without_author(command.clone()).encode_to_vec()));
        let proposal = Proposal {
            author,
            command: Some(command),
        };
        assert!(!may_share_entry(&proposal.encode_to_vec()));
    }
    assert!(!may_share_entry(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_batches_halt_or_apply(bytes in proptest::collection::vec(any::<u8>(), 0..100), damaged: bool, at: usize) {
        let mut commands = bytes.clone();
        if damaged {
            let Commands::Many(batch) = batch(&[(stamp(1), put("a", "1")), (None, put("b", "2"))]) else {
                unreachable!("it is a batch");
            };
            commands = batch.commands.to_vec();
            let at = at % commands.len();
            commands[at] = bytes.first().copied().unwrap_or_default();
        }
        let mut state = ready();
        let before = state.state_hash();
        let entry = Commands::Many(Batch { time_ms: 1, wall_ms: 1, commands: commands.into() });
        let mut applied = 0;
        if apply_entry(&mut state, 2, &entry, |_| applied += 1).is_err() {
            prop_assert_eq!((applied, state.state_hash()), (0, before));
        }
        may_share_entry(&bytes);
    }
}

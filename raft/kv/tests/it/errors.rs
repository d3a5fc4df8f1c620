//! Clients match on codes and texts, so the whole table is golden, as is the code in the log.

use quorate_kv::*;

#[test]
fn texts_codes_and_classes() {
    let mut table = String::new();
    for refusal in (1..=255).filter_map(|code| KvError::try_from(code).ok()) {
        table += &format!(
            "{:3} {:20} {}\n",
            refusal as i32,
            format!("{:?}", refusal.class()),
            refusal.text()
        );
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_refusal_becomes_a_reply_with_its_code_and_the_revision() {
    let mut keyspace = Keyspace::new();
    let reply = keyspace
        .apply(None, &KvOp::Compact(CompactRequest { revision: 5 }))
        .into_reply();
    assert_eq!(
        reply,
        KvReply {
            revision: 1,
            result: Some(KvResult::Refused(KvError::FutureRevision as i32))
        }
    );
}

#[test]
fn a_request_above_the_limit_is_refused() {
    let put = |length: usize| {
        KvOp::Put(PutRequest {
            key: "k".into(),
            value: vec![1; length].into(),
            ..Default::default()
        })
    };
    assert_eq!(validate(&put(MAX_REQUEST_BYTES)), Err(KvError::RequestTooLarge));
    assert_eq!(validate(&put(MAX_REQUEST_BYTES - 100)), Ok(()));
}

#[test]
fn password_hashes_do_not_show_in_debug_output() {
    let credential = UserCredential {
        name: "bob".into(),
        password_hash: "topsecret".into(),
        no_password: false,
    };
    let op = KvOp::UserAdd(credential);
    let mut keyspace = Keyspace::new();
    assert!(keyspace.apply(None, &op).result.is_ok());
    let shown = format!("{op:?} {:?}", keyspace.user("bob"));
    assert!(
        shown.contains("bob") && !shown.contains("topsecret") && !shown.contains("116, 111"),
        "{shown}"
    );
}

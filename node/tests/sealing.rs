//! Sealed secrets: what comes back, and what does not.

use quorate::identity::{ClusterKey, UnsealError};
use quorate_machine::{Id, Sealed};

const FIELD: &str = "password";

fn object() -> Id {
    Id::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)
}

#[test]
fn what_was_sealed_comes_back() {
    let key = ClusterKey::generate();
    for secret in [&b""[..], b"x", &[0xff; 4096]] {
        let sealed = key.seal(object(), FIELD, 7, secret);
        assert_eq!(
            key.unseal(object(), FIELD, &sealed).expect("the key fits").as_slice(),
            secret
        );
    }
}

#[test]
fn the_same_secret_is_sealed_differently_each_time() {
    let key = ClusterKey::generate();
    assert_ne!(
        key.seal(object(), FIELD, 1, b"secret"),
        key.seal(object(), FIELD, 1, b"secret")
    );
}

#[test]
fn every_changed_bit_is_noticed() {
    let key = ClusterKey::generate();
    let sealed = key.seal(object(), FIELD, 1, b"secret");
    for bit in 0..sealed.bytes.len() * 8 {
        let mut bytes = sealed.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = Sealed { bytes: bytes.into() };
        assert!(key.unseal(object(), FIELD, &changed).is_err(), "bit {bit}");
    }
    for length in 0..sealed.bytes.len() {
        let cut = Sealed {
            bytes: sealed.bytes.slice(..length),
        };
        assert!(key.unseal(object(), FIELD, &cut).is_err(), "{length} bytes");
    }
}

#[test]
fn a_secret_belongs_to_its_object_field_and_key() {
    let key = ClusterKey::generate();
    let sealed = key.seal(object(), FIELD, 1, b"secret");
    let other = Id::from_u128(object().as_u128() + 1);
    assert_eq!(key.unseal(other, FIELD, &sealed).unwrap_err(), UnsealError::Tampered);
    assert_eq!(
        key.unseal(object(), "header", &sealed).unwrap_err(),
        UnsealError::Tampered
    );
    assert_eq!(
        ClusterKey::generate().unseal(object(), FIELD, &sealed).unwrap_err(),
        UnsealError::OtherKey
    );
}

#[test]
fn the_key_file_is_read_back_and_nothing_else_is() {
    let key = ClusterKey::generate();
    let text = key.to_file_text();
    let sealed = key.seal(object(), FIELD, 1, b"secret");
    let read = ClusterKey::parse(&text).expect("the key's own text");
    assert_eq!(
        read.unseal(object(), FIELD, &sealed).expect("the same key").as_slice(),
        b"secret"
    );
    for wrong in [
        "",
        "quorate-cluster-key-1 ",
        &text[..text.len() - 2],
        &text.replace('1', "g"),
        "äöü",
    ] {
        assert!(ClusterKey::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn derived_keys_differ_by_purpose_and_agree_between_nodes() {
    let key = ClusterKey::generate();
    let same = ClusterKey::parse(&key.to_file_text()).expect("the key's own text");
    assert_eq!(*key.derive("a"), *same.derive("a"));
    assert_ne!(*key.derive("a"), *key.derive("b"));
}

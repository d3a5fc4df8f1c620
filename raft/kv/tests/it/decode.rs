//! Snapshot blocks: damaged, cut, shuffled and invented input gives an error or a keyspace, never a panic.

use crate::random::Random;
use crate::script;
use quorate_kv::*;

fn decode(blocks: impl IntoIterator<Item = Vec<u8>>) -> Result<Keyspace, DecodeError> {
    let mut decoder = KeyspaceDecoder::new();
    for block in blocks {
        decoder.push(block)?;
    }
    decoder.finish()
}

/// A keyspace with some of everything.
fn sample(seed: u64) -> Keyspace {
    let mut random = Random::new(seed);
    let mut keyspace = Keyspace::new();
    for words in [
        "user add root h",
        "user grant root root",
        "role add r",
        "role grant r read a..c",
        "auth enable",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let applied = keyspace.apply(None, &script::parse::log_op(&words).unwrap());
        assert!(applied.result.is_ok());
    }
    for _ in 0..60 {
        keyspace.apply(None, &random.op(keyspace.revision()));
    }
    keyspace
}

/// Uses whatever was decoded, so that damage which decodes shows here.
fn exercise(mut keyspace: Keyspace, random: &mut Random) {
    script::hash(&keyspace);
    keyspace.size_bytes();
    for _ in 0..5 {
        keyspace.apply(None, &random.op(keyspace.revision()));
    }
    while keyspace.sweep(7) {}
    script::hash(&keyspace);
}

#[test]
fn flipped_bits_and_cuts_never_panic() {
    let mut random = Random::new(3);
    for seed in 0..12 {
        let blocks: Vec<Vec<u8>> = sample(seed).encode_blocks().collect();
        assert_eq!(blocks.len(), 1);
        for _ in 0..400 {
            let mut block = blocks[0].clone();
            for _ in 0..=random.below(3) {
                let position = random.below(block.len());
                block[position] ^= 1 << random.below(8);
            }
            if let Ok(keyspace) = decode([block]) {
                exercise(keyspace, &mut random);
            }
            let mut cut = blocks[0].clone();
            cut.truncate(random.below(cut.len()));
            assert!(decode([cut]).is_err(), "a cut snapshot is never whole");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let mut block: Vec<u8> = (0..random.below(60)).map(|_| random.below(256) as u8).collect();
        if random.one_in(2) && block.len() > 2 {
            block[..2].copy_from_slice(&[1, 0]);
        }
        if let Ok(keyspace) = decode([block]) {
            exercise(keyspace, &mut random);
        }
    }
}

#[test]
fn large_keyspaces_take_several_blocks_of_bounded_size() {
    let mut keyspace = Keyspace::new();
    for index in 0..40 {
        let request = PutRequest {
            key: format!("key-{index}").into(),
            value: vec![index as u8; 100_000].into(),
            ..Default::default()
        };
        assert!(keyspace.apply(None, &KvOp::Put(request)).result.is_ok());
    }
    let blocks: Vec<Vec<u8>> = keyspace.encode_blocks().collect();
    assert_eq!(blocks.len(), 4);
    assert!(blocks.iter().all(|block| block.len() < (1 << 20) + 101_000));
    script::check_always(&keyspace);
    // A block that is missing, doubled or out of its place.
    assert!(decode(blocks[..3].to_vec()).is_err());
    assert!(decode(blocks[1..].to_vec()).is_err());
    assert!(
        decode([
            blocks[0].clone(),
            blocks[2].clone(),
            blocks[1].clone(),
            blocks[3].clone()
        ])
        .is_err()
    );
    assert!(decode([blocks[0].clone(), blocks[0].clone()]).is_err());
    let mut doubled = blocks.clone();
    doubled.push(blocks[3].clone());
    assert!(decode(doubled).is_err());
}

#[test]
fn errors_say_what_is_wrong() {
    let blocks: Vec<Vec<u8>> = sample(1).encode_blocks().collect();
    let mut other_format = blocks.clone();
    other_format[0][0] = 9;
    let cases = [
        ("nothing", vec![]),
        ("an empty block", vec![vec![]]),
        ("another format", other_format),
        ("no records", vec![vec![1, 0]]),
        ("garbage", vec![vec![1, 0, 5, 1, 2, 3]]),
        ("an empty record", vec![vec![1, 0, 0]]),
        ("twice the same", [blocks.clone(), blocks].concat()),
    ];
    let mut table = String::new();
    for (name, blocks) in cases {
        let error = decode(blocks).err().expect(name);
        table += &format!("{name}: {error}\n");
    }
    insta::assert_snapshot!(table);
}

//! A node of this version understands what a later minor version may send, and says so clearly
//! when a later major version calls.

use rkyv::util::AlignedVec;
use teff_wire::{
    Fingerprint, Hello, HelloError, Incarnation, KindId, KindOffer, NodeId, ShardId, Version,
    decode_kinds, encode_kinds,
};

#[test]
fn a_later_minor_version_may_append_to_each_part_of_a_hello() {
    let mut bytes = encoded(&hello(7));
    let name = bytes.len() - "counter".len();
    bytes.extend_from_slice(b"a section of its own");
    // A field of six bytes more for each kind, and one of four in the fixed part.
    bytes.splice(name..name, *b"wider.");
    bytes[14..16].copy_from_slice(&22_u16.to_le_bytes());
    bytes.splice(64..64, *b"more");
    bytes[8..10].copy_from_slice(&68_u16.to_le_bytes());
    assert_eq!(Hello::decode(&bytes), Ok(hello(7)));
}

#[test]
fn what_only_a_later_version_may_append_is_refused_from_this_one() {
    let mut longer = encoded(&hello(0));
    longer.push(0);
    let version = Version::CURRENT;
    assert_eq!(
        Hello::decode(&longer),
        Err(HelloError::Trailing { version, len: 1 })
    );
}

#[test]
fn another_major_version_is_told_from_the_first_eight_bytes() {
    let theirs = Version { major: 2, minor: 3 };
    let refused = Err(HelloError::Version { theirs });
    assert_eq!(
        Hello::decode(b"TEFF\x02\0\x03\0 and whatever it has to say"),
        refused
    );
    assert_eq!(Hello::decode(b"TEFF\x02\0\x03\0"), refused);
}

#[test]
fn a_later_minor_version_may_widen_a_list_of_kinds() {
    let kinds = hello(0).kinds;
    let mut bytes = AlignedVec::<16>::new();
    encode_kinds(&kinds, &mut bytes).unwrap();
    let mut bytes = bytes.to_vec();
    bytes.splice(24..24, *b"wide");
    bytes[2..4].copy_from_slice(&20_u16.to_le_bytes());
    bytes.splice(8..8, *b"head");
    bytes[0..2].copy_from_slice(&12_u16.to_le_bytes());
    assert_eq!(decode_kinds(&bytes), Ok(kinds));
}

fn hello(minor: u16) -> Hello {
    let kind = KindOffer {
        kind: KindId::of("counter"),
        fingerprint: Fingerprint(1),
        name: "counter".to_owned(),
    };
    Hello {
        version: Version { major: 1, minor },
        cluster: "test".to_owned(),
        node: NodeId(1),
        incarnation: Incarnation(2),
        shards: 2,
        from_shard: ShardId(0),
        to_shard: ShardId(1),
        placement: 3,
        link: 4,
        resumes: Incarnation(5),
        taken_in: 6,
        kinds: vec![kind],
    }
}

fn encoded(hello: &Hello) -> Vec<u8> {
    let mut bytes = AlignedVec::new();
    hello
        .encode(&mut bytes)
        .expect("the hello obeys every rule");
    bytes.to_vec()
}

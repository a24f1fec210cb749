//! No byte of a peer can panic a node, and each one that is wrong has its own name.

mod common;

use proptest::{collection::vec, prelude::*, sample::Index};
use rkyv::util::AlignedVec;
use teff_wire::{
    Fingerprint, FrameError, FrameType, Hello, HelloError, KindId, KindOffer, KindsError,
    MAX_CONTROL_PAYLOAD, NameError, Reader, ShardId, Version, decode_kinds, encode_kinds,
};

use common::{MAX_PAYLOAD, chunks, frame, hello, kinds, read, stream};

proptest! {
    #[test]
    fn noise_is_refused_alike_however_it_is_cut(
        bytes in vec(any::<u8>(), 0..200),
        lens in chunks(),
    ) {
        prop_assert_eq!(read(&bytes, &lens), read(&bytes, &[usize::MAX]));
    }

    #[test]
    fn headers_of_noise_are_refused_alike_however_they_are_cut(
        // Mostly zero and small, so that many headers get past the first checks.
        bytes in vec(prop_oneof![6 => Just(0_u8), 2 => 1..8_u8, 1 => any::<u8>()], 0..400),
        lens in chunks(),
    ) {
        prop_assert_eq!(read(&bytes, &lens), read(&bytes, &[usize::MAX]));
    }

    #[test]
    fn flipped_bits_are_refused_alike_however_they_are_cut(
        frames in vec(frame(), 1..6),
        flips in vec((any::<Index>(), 0..8_u8), 1..4),
        lens in chunks(),
    ) {
        let mut bytes = stream(&frames);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let (received, error) = read(&bytes, &lens);
        prop_assert!(error.is_some() || received.len() <= bytes.len() / 32);
        prop_assert_eq!((received, error), read(&bytes, &[usize::MAX]));
    }

    #[test]
    fn frames_before_the_malformed_one_are_handed_out(
        frames in vec(frame(), 0..6),
        lens in chunks(),
    ) {
        let mut bytes = stream(&frames);
        bytes.extend_from_slice(&[0xff; 32]);
        let error = Some(FrameError::UnknownType { value: 0xff });
        prop_assert_eq!(read(&bytes, &lens), (frames, error));
    }

    #[test]
    fn a_hello_of_noise_is_refused(mut bytes in vec(any::<u8>(), 0..300), version in 0..2_u16) {
        prop_assert!(Hello::decode(&bytes).is_err());
        let front = [b"TEFF", &version.to_le_bytes()[..], &[0, 0, 64, 0]].concat();
        let known = bytes.len().min(front.len());
        bytes[..known].copy_from_slice(&front[..known]);
        // May be a hello by chance: then it can be written again.
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert_eq!(hello.encode(&mut AlignedVec::new()), Ok(()));
        }
    }

    #[test]
    fn a_flipped_hello_never_panics(hello in hello(), at in any::<Index>(), bit in 0..8_u8) {
        let mut bytes = encoded(&hello);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert_eq!(hello.encode(&mut AlignedVec::new()), Ok(()));
        }
    }

    #[test]
    fn a_hello_that_ends_early_is_refused(hello in hello(), end in any::<Index>()) {
        let bytes = encoded(&hello);
        let end = end.index(bytes.len());
        prop_assert!(Hello::decode(&bytes[..end]).is_err(), "{end}");
    }

    #[test]
    fn kinds_of_noise_never_panic(kinds in kinds(), at in any::<Index>(), bit in 0..8_u8) {
        let mut bytes = AlignedVec::new();
        encode_kinds(&kinds, &mut bytes).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(decode_kinds(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        if let Ok(kinds) = decode_kinds(&bytes) {
            prop_assert_eq!(encode_kinds(&kinds, &mut AlignedVec::new()), Ok(()));
        }
    }
}

/// A tell to the grain `k` with one byte of payload.
const TELL: [u8; 64] = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    bytes[4] = 4;
    bytes[12] = 1;
    bytes[32] = b'k';
    bytes[48] = 0xff;
    bytes
};

#[test]
fn every_wrong_byte_of_a_header_has_its_name() {
    use FrameType::{Ack, Hello, Kinds, Reply, Tell};
    let not_zero = |frame, field| FrameError::NotZero { frame, field };
    let unexpected = |frame| FrameError::KeyUnexpected { frame, len: 1 };
    // The type of the frame, a byte to set, and what it is called.
    let wrong: &[(u8, usize, u8, FrameError)] = &[
        (0, 4, 0, FrameError::UnknownType { value: 0 }),
        (7, 4, 7, FrameError::UnknownType { value: 7 }),
        (6, 5, 12, FrameError::UnknownStatus { value: 12 }),
        (4, 5, 200, FrameError::UnknownStatus { value: 200 }),
        (4, 5, 1, not_zero(Tell, "status")),
        (1, 6, 1, not_zero(Hello, "method")),
        (6, 7, 1, not_zero(Reply, "method")),
        (2, 8, 1, not_zero(Kinds, "kind")),
        (6, 11, 1, not_zero(Reply, "kind")),
        (6, 12, 1, unexpected(Reply)),
        (1, 12, 1, unexpected(Hello)),
        (4, 12, 0, FrameError::KeyMissing { frame: Tell }),
        (4, 13, 2, FrameError::KeyTooLong { len: 0x201 }),
        (6, 13, 2, FrameError::KeyTooLong { len: 0x200 }),
        (3, 15, 1, not_zero(Ack, "reserved")),
        (4, 16, 1, not_zero(Tell, "number")),
        (1, 23, 1, not_zero(Hello, "number")),
        (4, 24, 1, not_zero(Tell, "deadline")),
        (6, 27, 1, not_zero(Reply, "deadline")),
    ];
    for &(frame, at, value, error) in wrong {
        let mut bytes = [0; 32];
        bytes[4] = frame;
        bytes[12] = u8::from(frame == 4 || frame == 5);
        bytes[at] = value;
        let mut reader = Reader::new(MAX_PAYLOAD);
        assert_eq!(reader.push(&bytes[..31]), Ok(()), "{at}");
        assert_eq!(reader.push(&bytes[31..]), Err(error), "{at}");
    }
}

#[test]
fn a_payload_over_the_limit_is_refused_with_its_header() {
    let too_large = |frame, len, limit| FrameError::PayloadTooLarge { frame, len, limit };
    let control = MAX_CONTROL_PAYLOAD as u32;
    let wrong = [
        (4, 4097, too_large(FrameType::Tell, 4097, 4096)),
        (5, u32::MAX, too_large(FrameType::Call, u32::MAX, 4096)),
        (6, u32::MAX, too_large(FrameType::Reply, u32::MAX, 4096)),
        (3, 1, too_large(FrameType::Ack, 1, 0)),
        (
            1,
            control + 1,
            too_large(FrameType::Hello, control + 1, control as usize),
        ),
        (
            2,
            control + 1,
            too_large(FrameType::Kinds, control + 1, control as usize),
        ),
    ];
    for (frame, len, error) in wrong {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4] = frame;
        bytes[12] = u8::from(frame == 4 || frame == 5);
        assert_eq!(Reader::new(4096).push(&bytes), Err(error));
        bytes[..4].copy_from_slice(&(len - 1).min(4096).to_le_bytes());
        assert_eq!(Reader::new(4096).push(&bytes), Ok(()));
    }
    // No limit allows what the field could say.
    let mut bytes = TELL;
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = too_large(FrameType::Tell, u32::MAX, 1 << 30);
    assert_eq!(Reader::new(usize::MAX).push(&bytes), Err(error));
}

#[test]
fn padding_and_text_are_checked() {
    let padding = |after| FrameError::Padding {
        frame: FrameType::Tell,
        after,
    };
    let wrong = [
        (33, 1, padding("key")),
        (47, 1, padding("key")),
        (49, 1, padding("payload")),
        (63, 0x80, padding("payload")),
        (
            32,
            0xff,
            FrameError::KeyNotUtf8 {
                frame: FrameType::Tell,
            },
        ),
    ];
    for (at, value, error) in wrong {
        let mut bytes = TELL;
        bytes[at] = value;
        assert_eq!(read(&bytes, &[64]), (vec![], Some(error)), "{at}");
        assert_eq!(read(&bytes, &[1]), (vec![], Some(error)), "{at}");
    }
    assert_eq!(read(&TELL, &[64]).1, None);
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let mut bytes = TELL;
    bytes[15] = 1;
    let mut reader = Reader::new(MAX_PAYLOAD);
    reader.push(&TELL).unwrap();
    let error = reader.push(&bytes).unwrap_err();
    assert_eq!(reader.push(&TELL), Err(error));
    assert_eq!(reader.push(&[]), Err(error));
    assert_eq!(reader.buffered(), 0);
    assert_eq!(reader.ready(), 1);
    assert_eq!(*reader.next().unwrap().payload, [0xff]);
    assert_eq!(reader.next(), None);
}

#[test]
fn every_wrong_hello_has_its_name() {
    let name = |reason| HelloError::ClusterName { reason };
    let current = Version::CURRENT;
    let wrong: &[(usize, &[u8], HelloError)] = &[
        (0, b"GET ", HelloError::Magic),
        (
            4,
            &[2, 0],
            HelloError::Version {
                theirs: Version { major: 2, minor: 0 },
            },
        ),
        (
            4,
            &[0, 0],
            HelloError::Version {
                theirs: Version { major: 0, minor: 0 },
            },
        ),
        (
            8,
            &[39, 0],
            HelloError::FixedLength {
                version: current,
                len: 39,
            },
        ),
        (
            8,
            &[41, 0],
            HelloError::FixedLength {
                version: current,
                len: 41,
            },
        ),
        (
            8,
            &[0, 0],
            HelloError::FixedLength {
                version: current,
                len: 0,
            },
        ),
        (10, &[0, 0], name(NameError::Empty)),
        (10, &[64, 0], name(NameError::TooLong { len: 64, max: 63 })),
        (10, &[255, 255], HelloError::Truncated),
        (
            12,
            &[1, 4],
            HelloError::Kinds(KindsError::TooMany { count: 1025 }),
        ),
        (12, &[0, 4], HelloError::Kinds(KindsError::Truncated)),
        (
            12,
            &[0, 0],
            HelloError::Trailing {
                version: current,
                len: 17 + 71,
            },
        ),
        (
            14,
            &[15, 0],
            HelloError::Kinds(KindsError::TooNarrow {
                width: 15,
                least: 16,
            }),
        ),
        (
            14,
            &[17, 0],
            HelloError::FixedLength {
                version: current,
                len: 17,
            },
        ),
        (
            34,
            &[0, 0],
            HelloError::Shards {
                from: ShardId(1),
                shards: 0,
            },
        ),
        (
            36,
            &[2, 0],
            HelloError::Shards {
                from: ShardId(2),
                shards: 2,
            },
        ),
        (64, b"\n", name(NameError::Control)),
        (64, b"\xff", name(NameError::NotUtf8)),
    ];
    for (at, bytes, error) in wrong {
        let mut hello = encoded(&plain());
        hello[*at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(Hello::decode(&hello).as_ref(), Err(error), "at {at}");
    }
}

#[test]
fn a_hello_that_a_peer_would_refuse_is_not_written() {
    type Spoil = fn(&mut Hello);
    let name = |reason| HelloError::ClusterName { reason };
    let kind_name = |reason| {
        KindsError::Name {
            kind: KindId(2),
            reason,
        }
        .into()
    };
    let wrong: [(Spoil, HelloError); 8] = [
        (|hello| hello.cluster.clear(), name(NameError::Empty)),
        (
            |hello| hello.cluster = "c".repeat(64),
            name(NameError::TooLong { len: 64, max: 63 }),
        ),
        (|hello| hello.cluster.push('\r'), name(NameError::Control)),
        (
            |hello| hello.shards = 1,
            HelloError::Shards {
                from: ShardId(1),
                shards: 1,
            },
        ),
        (
            |hello| hello.kinds[1].name = "n".repeat(257),
            kind_name(NameError::TooLong { len: 257, max: 256 }),
        ),
        (
            |hello| hello.kinds[1].name.clear(),
            kind_name(NameError::Empty),
        ),
        (
            |hello| hello.kinds[1].kind = KindId(1),
            KindsError::Duplicate { kind: KindId(1) }.into(),
        ),
        (
            |hello| hello.kinds = vec![hello.kinds[0].clone(); 1025],
            KindsError::TooMany { count: 1025 }.into(),
        ),
    ];
    for (spoil, error) in wrong {
        let mut hello = plain();
        spoil(&mut hello);
        assert_eq!(hello.encode(&mut AlignedVec::new()), Err(error));
    }
}

#[test]
fn every_wrong_list_of_kinds_has_its_name() {
    let narrow = |width, least| KindsError::TooNarrow { width, least };
    let name = |kind, reason| KindsError::Name {
        kind: KindId(kind),
        reason,
    };
    let too_long = NameError::TooLong { len: 257, max: 256 };
    let wrong: &[(usize, &[u8], KindsError)] = &[
        (0, &[7, 0], narrow(7, 8)),
        (0, &[255, 0], KindsError::Truncated),
        (2, &[0, 0], narrow(0, 16)),
        (2, &[255, 255], KindsError::Truncated),
        (4, &[1, 0], KindsError::Trailing { len: 71 }),
        (4, &[3, 0], KindsError::Truncated),
        (4, &[255, 255], KindsError::TooMany { count: 65535 }),
        (6, &[1], KindsError::Reserved),
        (14, &[1], KindsError::Reserved),
        (12, &[0, 0], name(1, NameError::Empty)),
        (24, &[7], name(1, NameError::Control)),
        (24, &[0xc3], name(1, NameError::NotUtf8)),
        (25, &[1], KindsError::Duplicate { kind: KindId(1) }),
        (29, &[255, 255], KindsError::Truncated),
    ];
    let mut good = AlignedVec::new();
    encode_kinds(&plain().kinds, &mut good).unwrap();
    for (at, bytes, error) in wrong {
        let mut list = good.to_vec();
        list[*at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(decode_kinds(&list).as_ref(), Err(error), "at {at}");
    }
    let mut long = good.to_vec();
    long[29..31].copy_from_slice(&257_u16.to_le_bytes());
    long.resize(long.len() + 257 - 55, b'n');
    assert_eq!(decode_kinds(&long), Err(name(2, too_long)));
}

fn plain() -> Hello {
    let offer = |kind, name: &str| KindOffer {
        kind: KindId(kind),
        fingerprint: Fingerprint(9),
        name: name.to_owned(),
    };
    Hello {
        version: Version::CURRENT,
        cluster: "c".to_owned(),
        node: teff_wire::NodeId(3),
        incarnation: teff_wire::Incarnation(4),
        shards: 2,
        from_shard: ShardId(1),
        to_shard: ShardId(0),
        placement: 5,
        link: 6,
        resumes: teff_wire::Incarnation(7),
        taken_in: 8,
        kinds: vec![offer(1, "k"), offer(2, &"n".repeat(55))],
    }
}

fn encoded(hello: &Hello) -> Vec<u8> {
    let mut bytes = AlignedVec::new();
    hello
        .encode(&mut bytes)
        .expect("the hello obeys every rule");
    bytes.to_vec()
}

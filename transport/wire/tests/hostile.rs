//! No byte of a peer can panic a node, and each one that is wrong has its own name.

mod common;

use proptest::{collection::vec, prelude::*, sample::Index};
use rkyv::util::AlignedVec;
use teff_wire::{
    Fingerprint, FrameError, FrameType, Hello, HelloError, KindId, KindOffer, KindsError,
    MAX_CONTROL_PAYLOAD, MAX_NAMES, NameError, Preamble, PreambleError, Reader, ShardId, Version,
    decode_kinds, encode_kinds,
};

use common::{NAMES, chunks, frame, hash, hello, kinds, read, reader, stream};

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
        bytes in vec(prop_oneof![20 => Just(0_u8), 2 => 1..9_u8, 1 => any::<u8>()], 0..400),
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
        prop_assert!(error.is_some() || received.len() <= bytes.len() / 16);
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

/// The name of the grain `k`, and a tell to it with one byte of payload.
const TELL: [u8; 64] = {
    let mut bytes = [0; 64];
    bytes[4] = 7;
    bytes[6] = 1;
    bytes[16] = b'k';
    bytes[32] = 1;
    bytes[36] = 4;
    bytes[48] = 0xff;
    bytes
};

/// The name alone.
const NAME: [u8; 32] = *TELL.first_chunk().unwrap();

#[test]
fn every_wrong_byte_of_a_header_has_its_name() {
    use FrameType::{Ack, Call, Hello, Kinds, Name, Reply, Tell};
    let unknown = |value| FrameError::UnknownType { value };
    let status = |value| FrameError::UnknownStatus { value };
    let not_zero = |frame, field| FrameError::NotZero { frame, field };
    let number_unknown = |frame, number| FrameError::NumberUnknown { frame, number };
    let number_too_large = |frame, number| FrameError::NumberTooLarge {
        frame,
        number,
        limit: NAMES,
    };
    let skipped = |number| FrameError::NumberSkipped { number, next: 1 };
    // The type of the frame, a byte to set, and what it is called.
    let wrong: &[(u8, usize, u8, FrameError)] = &[
        (0, 4, 0, unknown(0)),
        (8, 4, 8, unknown(8)),
        (0x80, 4, 0x80, unknown(0x80)),
        (0x81, 4, 0x81, unknown(0x81)),
        (0x83, 4, 0x83, unknown(0x83)),
        (0x87, 4, 0x87, unknown(0x87)),
        (6, 5, 12, status(12)),
        (0x86, 5, 200, status(200)),
        (1, 5, 1, not_zero(Hello, "status")),
        (2, 5, 1, not_zero(Kinds, "status")),
        (3, 5, 255, not_zero(Ack, "status")),
        (7, 5, 1, not_zero(Name, "status")),
        (1, 6, 1, not_zero(Hello, "method")),
        (2, 7, 1, not_zero(Kinds, "method")),
        (3, 6, 1, not_zero(Ack, "method")),
        (6, 7, 1, not_zero(Reply, "method")),
        (0x86, 7, 1, not_zero(Reply, "method")),
        (1, 8, 1, not_zero(Hello, "number")),
        (2, 15, 1, not_zero(Kinds, "number")),
        (7, 6, 0, FrameError::KeyMissing),
        (7, 7, 2, FrameError::KeyTooLong { len: 0x201 }),
        (4, 8, 1, number_unknown(Tell, 1)),
        (0x84, 8, 7, number_unknown(Tell, 7)),
        (5, 8, 8, number_too_large(Call, 8)),
        (0x85, 11, 0xff, number_too_large(Call, 0xff00_0000)),
        (7, 8, 2, skipped(2)),
        (7, 8, 7, skipped(7)),
        (7, 8, 8, number_too_large(Name, 8)),
        (7, 11, 1, number_too_large(Name, 0x100_0000)),
    ];
    for &(frame, at, value, error) in wrong {
        let mut bytes = [0; 16];
        bytes[4] = frame;
        bytes[6] = u8::from(frame == 7);
        bytes[at] = value;
        let mut reader = reader();
        assert_eq!(reader.push(&NAME), Ok(()));
        assert_eq!(reader.push(&bytes[..15]), Ok(()), "{frame} {at}");
        assert_eq!(reader.push(&bytes[15..]), Err(error), "{frame} {at}");
    }
}

#[test]
fn bytes_that_a_frame_carries_are_not_refused() {
    // The type of the frame, and the bytes of its header that may be anything.
    let carried: &[(u8, &[usize])] = &[
        (3, &[8, 9, 10, 11, 12, 13, 14, 15]),
        (4, &[5, 6, 7, 12, 13, 14, 15]),
        (5, &[5, 6, 7, 12, 13, 14, 15, 16, 19, 20, 23, 24, 27]),
        (6, &[8, 9, 10, 11, 12, 13, 14, 15]),
        (7, &[12, 13, 14, 15]),
    ];
    for &(frame, places) in carried {
        for &at in places {
            let mut bytes = [0; 32];
            bytes[4] = frame;
            bytes[6] = u8::from(frame == 7);
            bytes[16] = u8::from(frame == 7);
            bytes[at] = 0xff;
            let len = if frame == 5 || frame == 7 { 32 } else { 16 };
            let mut reader = reader();
            assert_eq!(reader.push(&NAME), Ok(()));
            assert_eq!(reader.push(&bytes[..len]), Ok(()), "{frame} {at}");
            assert_eq!(
                (reader.ready(), reader.buffered()),
                (usize::from(frame != 7), 0)
            );
        }
    }
}

#[test]
fn a_grain_has_no_number_before_its_name_is_whole() {
    let unknown = FrameError::NumberUnknown {
        frame: FrameType::Tell,
        number: 0,
    };
    assert_eq!(read(&TELL[32..], &[7]), (vec![], Some(unknown)));
    // Not even when all of it but the end arrived before a stream broke.
    let mut reader = reader();
    reader.push(&TELL[..31]).unwrap();
    reader.cut();
    assert_eq!(reader.push(&TELL[32..]), Err(unknown));
}

#[test]
fn a_payload_over_the_limit_is_refused_with_its_header() {
    let too_large = |frame, len, limit| FrameError::PayloadTooLarge { frame, len, limit };
    let control = MAX_CONTROL_PAYLOAD as u32;
    let over = control + 1;
    let wrong = [
        (4, 4097, too_large(FrameType::Tell, 4097, 4096)),
        (0x84, 4097, too_large(FrameType::Tell, 4097, 4096)),
        (5, u32::MAX, too_large(FrameType::Call, u32::MAX, 4096)),
        (6, u32::MAX, too_large(FrameType::Reply, u32::MAX, 4096)),
        (0x86, 4097, too_large(FrameType::Reply, 4097, 4096)),
        (3, 1, too_large(FrameType::Ack, 1, 0)),
        (7, 1, too_large(FrameType::Name, 1, 0)),
        (1, over, too_large(FrameType::Hello, over, control as usize)),
        (2, over, too_large(FrameType::Kinds, over, control as usize)),
    ];
    for (frame, len, error) in wrong {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4] = frame;
        bytes[6] = u8::from(frame == 7);
        let push = |bytes: &[u8]| {
            let mut reader = reader();
            reader.push(&NAME).and_then(|()| reader.push(bytes))
        };
        assert_eq!(push(&bytes), Err(error));
        bytes[..4].copy_from_slice(&(len - 1).min(4096).to_le_bytes());
        assert_eq!(push(&bytes), Ok(()));
    }
    // No limit allows what the field could say.
    let mut bytes = TELL;
    bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = too_large(FrameType::Tell, u32::MAX, 1 << 30);
    let mut reader = Reader::new(usize::MAX, u32::MAX, std::sync::Arc::new(hash));
    assert_eq!(reader.push(&bytes), Err(error));
}

#[test]
fn no_limit_allows_endless_numbers() {
    let mut bytes = TELL;
    bytes[40..44].copy_from_slice(&MAX_NAMES.to_le_bytes());
    let mut reader = Reader::new(64, u32::MAX, std::sync::Arc::new(hash));
    let error = FrameError::NumberTooLarge {
        frame: FrameType::Tell,
        number: MAX_NAMES,
        limit: MAX_NAMES,
    };
    assert_eq!(reader.push(&bytes), Err(error));
}

#[test]
fn padding_text_and_reserved_bytes_are_checked() {
    let padding = |frame, after| FrameError::Padding { frame, after };
    let wrong = [
        (17, 1, padding(FrameType::Name, "key")),
        (31, 1, padding(FrameType::Name, "key")),
        (16, 0xff, FrameError::KeyNotUtf8),
        (49, 1, padding(FrameType::Tell, "payload")),
        (63, 0x80, padding(FrameType::Tell, "payload")),
    ];
    for (at, value, error) in wrong {
        let mut bytes = TELL;
        bytes[at] = value;
        assert_eq!(read(&bytes, &[64]), (vec![], Some(error)), "{at}");
        assert_eq!(read(&bytes, &[1]), (vec![], Some(error)), "{at}");
    }
    assert_eq!(read(&TELL, &[64]).1, None);

    let reserved = FrameError::NotZero {
        frame: FrameType::Call,
        field: "reserved",
    };
    for at in 28..32 {
        let mut call = [0; 64];
        call[..32].copy_from_slice(&NAME);
        call[36] = 5;
        call[32 + at] = 1;
        assert_eq!(read(&call, &[64]), (vec![], Some(reserved)), "{at}");
        assert_eq!(read(&call, &[1]), (vec![], Some(reserved)), "{at}");
    }
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let mut bytes = TELL;
    bytes[5] = 1;
    let mut reader = reader();
    reader.push(&TELL).unwrap();
    // What came before is handed out first.
    assert_eq!(reader.push(&bytes), Ok(()));
    assert_eq!(*reader.next().unwrap().payload, [0xff]);
    assert_eq!(
        (reader.next(), reader.ready(), reader.buffered()),
        (None, 0, 0)
    );
    let error = reader.failed().unwrap();
    assert_eq!(reader.push(&TELL), Err(error));
    assert_eq!(reader.push(&[]), Err(error));
    assert!(reader.next().is_none() && reader.take_run().is_none());
}

#[test]
fn every_wrong_byte_of_a_preamble_has_its_name() {
    let good = Preamble { len: 5, frame: 6 };
    let wrong = [
        (4, 0, PreambleError::NotPayload { value: 0 }),
        (4, 4, PreambleError::NotPayload { value: 4 }),
        (4, 0x88, PreambleError::NotPayload { value: 0x88 }),
        (5, 1, PreambleError::Reserved),
        (6, 1, PreambleError::Reserved),
        (7, 0x80, PreambleError::Reserved),
        (0, 65, PreambleError::TooLarge { len: 65, limit: 64 }),
    ];
    for (at, value, error) in wrong {
        let mut bytes = good.to_bytes();
        bytes[at] = value;
        assert_eq!(Preamble::from_bytes(&bytes, 64), Err(error), "{at}");
    }
    for (at, value) in [(0, 64), (8, 0xff), (15, 0xff)] {
        let mut bytes = good.to_bytes();
        bytes[at] = value;
        let read = Preamble::from_bytes(&bytes, 64);
        assert_eq!(read.map(Preamble::to_bytes), Ok(bytes), "{at}");
    }
    let endless = Preamble {
        len: u32::MAX,
        frame: 0,
    };
    let error = PreambleError::TooLarge {
        len: u32::MAX,
        limit: 1 << 30,
    };
    let read = Preamble::from_bytes(&endless.to_bytes(), usize::MAX);
    assert_eq!(read, Err(error));
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

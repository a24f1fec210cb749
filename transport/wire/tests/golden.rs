//! Bytes that may never change: one frame of each type and the hello, written out.
//!
//! A failure here means that this build and the ones out there can no longer talk to each other.
//! Then the code is wrong, or [`Version::CURRENT`] needs a new major number; the bytes below are
//! right either way.

use rkyv::util::AlignedVec;
use teff_wire::{
    Block, CallId, Epoch, Fingerprint, Frame, FrameType, Header, Hello, Incarnation, Key, KindId,
    KindOffer, MethodId, NodeId, Reader, ShardId, Status, Version, Writer, decode_kinds,
    encode_kinds,
};

const HELLO: &str = "
    74000000 01 00 0000 00000000 0000 00 00
    0000000000000000 00000000 05000000
    54454646 0100 0000 4000 0400 0200 1000
    efcdab8967452301 8877665544332211
    0201 0400 0300 0100
    0900000000000000 0f00000000000000 0000000001000000
    70726f64
    23deac9c 0700 0000 00000000000000a0 636f756e746572
    57f7eefb 0900 0000 0100000000000000 636861742f726f6f6d
    000000000000000000000000
";

const KINDS: &str = "
    1f000000 02 00 0000 00000000 0000 00 00
    0000000000000000 00000000 00000000
    0800 1000 0100 0000
    23deac9c 0700 0000 00000000000000a0 636f756e746572 00
";

const ACK: &str = "
    00000000 03 00 0000 00000000 0000 00 00
    0807060504030201 00000000 00000000
";

const TELL: &str = "
    05000000 04 00 0201 23deac9c 0400 01 00
    0000000000000000 00000000 09000000
    63c3a974 000000000000000000000000
    68656c6c6f 0000000000000000000000
";

const CALL: &str = "
    10000000 05 00 0300 23deac9c 1000 00 00
    0700000002000000 40420f00 09000000
    30313233343536373839616263646566
    000102030405060708090a0b0c0d0e0f
";

const REPLY: &str = "
    02000000 06 00 0000 00000000 0000 00 00
    0700000002000000 00000000 0a000000
    6f6b 0000000000000000000000000000
";

const REFUSAL: &str = "
    00000000 06 09 0000 00000000 0000 02 00
    0700000002000000 00000000 0a000000
";

#[test]
fn the_hello_never_changes() {
    let header = Header {
        epoch: Epoch(5),
        ..Header::new(FrameType::Hello)
    };
    let mut writer = Writer::new(0);
    writer
        .frame(&header, None, |out| hello().encode(out))
        .unwrap();
    assert_hex(&writer.take(), HELLO);

    let frame = read(HELLO);
    assert_eq!(frame.header, header);
    assert_eq!(frame.payload.len(), 0x74);
    assert_eq!(Hello::decode(&frame.payload), Ok(hello()));
}

#[test]
fn the_kinds_never_change() {
    let kinds = &hello().kinds[..1];
    let mut writer = Writer::new(0);
    writer
        .frame(&Header::new(FrameType::Kinds), None, |out| {
            encode_kinds(kinds, out)
        })
        .unwrap();
    assert_hex(&writer.take(), KINDS);
    assert_eq!(decode_kinds(&read(KINDS).payload).unwrap(), kinds);
}

#[test]
fn an_ack_never_changes() {
    both_ways(ACK, Header::ack(0x0102_0304_0506_0708), None, b"");
}

#[test]
fn a_tell_never_changes() {
    let header = Header {
        hops: 1,
        epoch: Epoch(9),
        ..Header::tell(KindId::of("counter"), MethodId(0x0102))
    };
    both_ways(TELL, header, Some("c\u{e9}t"), b"hello");
}

#[test]
fn a_call_never_changes() {
    let header = Header {
        deadline_us: 1_000_000,
        epoch: Epoch(9),
        ..Header::call(KindId::of("counter"), MethodId(3), call())
    };
    let payload: Vec<u8> = (0..16).collect();
    both_ways(CALL, header, Some("0123456789abcdef"), &payload);
}

#[test]
fn a_reply_never_changes() {
    let header = Header {
        epoch: Epoch(10),
        ..Header::reply(call(), Status::Ok)
    };
    both_ways(REPLY, header, None, b"ok");
    let header = Header {
        hops: 2,
        status: Status::NotOwner,
        ..header
    };
    both_ways(REFUSAL, header, None, b"");
}

#[test]
fn frame_types_and_the_version_keep_their_numbers() {
    use FrameType::{Ack, Call, Hello, Kinds, Reply, Tell};
    let numbers = [Hello, Kinds, Ack, Tell, Call, Reply].map(FrameType::to_u8);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let known = |value: &u8| FrameType::from_u8(*value).is_some();
    assert_eq!((0..=u8::MAX).filter(known).collect::<Vec<_>>(), numbers);
    assert_eq!(Version::CURRENT, Version { major: 1, minor: 0 });
}

fn hello() -> Hello {
    let offer = |name: &str, fingerprint| KindOffer {
        kind: KindId::of(name),
        fingerprint: Fingerprint(fingerprint),
        name: name.to_owned(),
    };
    Hello {
        version: Version { major: 1, minor: 0 },
        cluster: "prod".to_owned(),
        node: NodeId(0x0102),
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
        shards: 4,
        from_shard: ShardId(3),
        to_shard: ShardId(1),
        placement: 0x1122_3344_5566_7788,
        link: 9,
        resumes: Incarnation(0x0f),
        taken_in: 0x1_0000_0000,
        kinds: vec![offer("counter", 0xa0 << 56), offer("chat/room", 1)],
    }
}

fn call() -> CallId {
    CallId {
        slot: 7,
        generation: 2,
    }
}

fn both_ways(hex: &str, header: Header, key: Option<&str>, payload: &[u8]) {
    let key = key.map(|key| Key::new(key).expect("neither empty nor long"));
    let mut writer = Writer::new(1024);
    let append = |out: &mut AlignedVec<16>| {
        out.extend_from_slice(payload);
        Ok::<(), ()>(())
    };
    let len = writer
        .frame(&header, key.as_ref(), append)
        .expect("the frame is valid");
    assert_eq!(len, bytes(hex).len());
    assert_hex(&writer.take(), hex);

    let payload = Block::copy_from(payload);
    assert_eq!(
        read(hex),
        Frame {
            header,
            key,
            payload
        }
    );
}

fn read(hex: &str) -> Frame {
    let mut reader = Reader::new(1024);
    assert_eq!(reader.push(&bytes(hex)), Ok(()));
    let frame = reader.next().expect("the bytes are one whole frame");
    assert_eq!((reader.next(), reader.buffered()), (None, 0));
    frame
}

fn assert_hex(written: &[u8], hex: &str) {
    let dump = |bytes: &[u8]| {
        let lines = bytes.chunks(16).map(|line| format!("{line:02x?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(
        written == bytes(hex),
        "written:\n{}\nagreed on:\n{}",
        dump(written),
        dump(&bytes(hex))
    );
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two hex digits");
    digits.chunks(2).map(byte).collect()
}

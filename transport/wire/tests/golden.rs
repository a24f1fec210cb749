//! Bytes that may never change: frames of each type, the hello, a preamble and a lossy tell,
//! written out.
//!
//! A failure here means that this build and the ones out there can no longer talk to each other.
//! Then the code is wrong, or [`Version::CURRENT`] needs a new major number; the bytes below are
//! right either way.

mod common;

use teff_wire::{
    Block, CallId, Epoch, Fingerprint, Frame, FrameType, Header, Hello, Incarnation, KindId,
    KindOffer, MethodId, NodeId, Preamble, ShardId, Status, Version, Writer, decode_kinds,
    encode_kinds, read_lossy, write_lossy,
};

use common::{append, grain, hash, reader, writer};

const HELLO: &str = "
    74000000 01 00 0000 00000000 00000000
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
    1f000000 02 00 0000 00000000 00000000
    0800 1000 0100 0000
    23deac9c 0700 0000 00000000000000a0 636f756e746572 00
";

const ACK: &str = "
    00000000 03 00 0000 0807060504030201
";

const FULL: &str = "
    00000000 09 00 0000 0102030405060708
";

const ROOM: &str = "
    00000000 0a 00 0000 0102030405060708
";

const NAME: &str = "
    00000000 07 00 0400 00000000 23deac9c
    63c3a974 000000000000000000000000
";

const TELL: &str = "
    05000000 04 01 0201 00000000 09000000
    68656c6c6f 0000000000000000000000
";

const DETACHED_TELL: &str = "
    00020000 84 01 0201 00000000 09000000
";

const PREAMBLE: &str = "
    00020000 08 000000 0807060504030201
";

const LOSSY_TELL: &str = "
    0b 01 0201 23deac9c 09000000 0400 0000
    63c3a974 000000000000000000000000
    68656c6c6f
";

const NAME_OF_CALL: &str = "
    00000000 07 00 1000 00000000 23deac9c
    30313233343536373839616263646566
";

const CALL: &str = "
    10000000 05 00 0300 00000000 09000000
    0700000002000000 40420f00 00000000
    000102030405060708090a0b0c0d0e0f
";

const DETACHED_CALL: &str = "
    00040000 85 00 0300 00000000 09000000
    0700000002000000 40420f00 00000000
";

const REPLY: &str = "
    02000000 06 00 0000 0700000002000000
    6f6b 0000000000000000000000000000
";

const REFUSAL: &str = "
    00000000 06 09 0000 0700000002000000
";

const DETACHED_REPLY: &str = "
    01000000 86 00 0000 0700000002000000
";

const SECOND_NAME: &str = "
    00000000 07 00 0100 01000000 23deac9c
    78 000000000000000000000000000000
";

const SECOND_TELL: &str = "
    00000000 04 00 0000 01000000 00000000
";

#[test]
fn the_hello_never_changes() {
    let header = Header::new(FrameType::Hello);
    let mut writer = Writer::new(0, 0);
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
    let mut writer = Writer::new(0, 0);
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
    both_ways(ACK, &[frame(Header::ack(0x0102_0304_0506_0708), None, b"")]);
}

#[test]
fn what_is_said_of_mailboxes_never_changes() {
    let pressure = |full| frame(Header::pressure(0x0807_0605_0403_0201, full), None, b"");
    both_ways(FULL, &[pressure(true)]);
    both_ways(ROOM, &[pressure(false)]);
}

#[test]
fn a_name_and_a_tell_never_change() {
    let tell = frame(tell(), Some("c\u{e9}t"), b"hello");
    both_ways(&[NAME, TELL].concat(), std::slice::from_ref(&tell));
    both_ways(&[NAME, TELL, TELL].concat(), &[tell.clone(), tell]);
}

#[test]
fn a_lossy_tell_never_changes() {
    let frame = frame(tell(), Some("c\u{e9}t"), b"hello");
    let key = &frame.grain.as_ref().unwrap().key;
    let mut written = Default::default();
    write_lossy(&mut written, &frame.header, key, 5, |out| {
        out.extend_from_slice(b"hello");
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_hex(&written, LOSSY_TELL);
    assert_eq!(read_lossy(&bytes(LOSSY_TELL), 5, &hash), Ok(frame));
}

#[test]
fn numbers_are_given_in_order() {
    let first = frame(tell(), Some("c\u{e9}t"), b"hello");
    let header = Header::tell(KindId::of("counter"), MethodId(0));
    let second = frame(header, Some("x"), b"");
    let hex = [NAME, TELL, SECOND_NAME, SECOND_TELL, TELL].concat();
    both_ways(&hex, &[first.clone(), second, first]);
}

#[test]
fn a_call_never_changes() {
    let header = call();
    let payload: Vec<u8> = (0..16).collect();
    let key = "0123456789abcdef";
    let call = frame(header, Some(key), &payload);
    both_ways(&[NAME_OF_CALL, CALL].concat(), &[call]);
    let call = detached(header, Some(key), 0x400);
    both_ways(&[NAME_OF_CALL, DETACHED_CALL].concat(), &[call]);
}

#[test]
fn a_reply_never_changes() {
    let header = Header::reply(call().call_id(), Status::Ok);
    both_ways(REPLY, &[frame(header, None, b"ok")]);
    both_ways(DETACHED_REPLY, &[detached(header, None, 1)]);
    let status = Status::NotOwner;
    both_ways(REFUSAL, &[frame(Header { status, ..header }, None, b"")]);
}

#[test]
fn a_detached_payload_never_changes() {
    let tell = detached(tell(), Some("c\u{e9}t"), 0x200);
    both_ways(&[NAME, DETACHED_TELL].concat(), &[tell]);
    let preamble = Preamble {
        len: 0x200,
        frame: 0x0102_0304_0506_0708,
    };
    assert_hex(&preamble.to_bytes(), PREAMBLE);
    let bytes = bytes(PREAMBLE).try_into().unwrap();
    assert_eq!(Preamble::from_bytes(&bytes, 0x200), Ok(preamble));
}

#[test]
fn frame_types_and_the_version_keep_their_numbers() {
    use FrameType::{Ack, Call, Full, Hello, Kinds, Name, Reply, Room, Tell};
    let numbers = [Hello, Kinds, Ack, Tell, Call, Reply, Name, Full, Room].map(FrameType::to_u8);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 9, 10]);
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

fn tell() -> Header {
    Header {
        hops: 1,
        epoch: Epoch(9),
        ..Header::tell(KindId::of("counter"), MethodId(0x0102))
    }
}

fn call() -> Header {
    let call = CallId {
        slot: 7,
        generation: 2,
    };
    Header {
        deadline_us: 1_000_000,
        epoch: Epoch(9),
        ..Header::call(KindId::of("counter"), MethodId(3), call)
    }
}

fn frame(header: Header, key: Option<&str>, payload: &[u8]) -> Frame {
    Frame {
        header,
        grain: key.map(|key| grain(header.kind, key)),
        payload: Block::copy_from(payload),
        detached: None,
    }
}

fn detached(header: Header, key: Option<&str>, len: u32) -> Frame {
    Frame {
        detached: Some(len),
        ..frame(header, key, b"")
    }
}

fn both_ways(hex: &str, frames: &[Frame]) {
    let mut writer = writer();
    let len: usize = frames.iter().map(|frame| append(&mut writer, frame)).sum();
    assert_eq!(len, bytes(hex).len());
    assert_hex(&writer.take(), hex);
    assert_eq!(read_all(hex), frames);
}

fn read(hex: &str) -> Frame {
    let mut frames = read_all(hex);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

fn read_all(hex: &str) -> Vec<Frame> {
    let mut reader = reader();
    assert_eq!(reader.push(&bytes(hex)), Ok(()));
    let frames = std::iter::from_fn(|| reader.next()).collect();
    assert_eq!(reader.buffered(), 0);
    frames
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

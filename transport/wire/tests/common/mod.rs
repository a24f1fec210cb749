//! Frames and hellos drawn at random, and ways to feed them to a reader.
#![allow(
    dead_code,
    reason = "every test file is a crate of its own and uses what it needs"
)]

use proptest::{collection::vec, prelude::*};
use rkyv::util::AlignedVec;
use teff_wire::{
    Block, CallId, Epoch, Fingerprint, Frame, FrameError, FrameType, Header, Hello, Incarnation,
    Key, KindId, KindOffer, MethodId, NodeId, Reader, ShardId, Status, Version, Writer,
};

/// The payload limit of readers and writers in these tests.
pub(crate) const MAX_PAYLOAD: usize = 4096;

/// A frame of any type.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        2 => (header(FrameType::Tell), key(), payload()),
        2 => (header(FrameType::Call), key(), payload()),
        2 => (header(FrameType::Reply), Just(None), payload()),
        1 => (header(FrameType::Ack), Just(None), Just(Block::new())),
        1 => (header(FrameType::Hello), Just(None), payload()),
        1 => (header(FrameType::Kinds), Just(None), payload()),
    ]
    .prop_map(|(header, key, payload)| Frame {
        header,
        key,
        payload,
    })
}

/// Lengths of chunks, used over and over. Many are tiny, so that headers are cut too.
pub(crate) fn chunks() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..8_usize, 1..80_usize, 1..5000_usize], 1..6)
}

/// A hello that obeys every rule.
pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let who = (any::<u16>(), any::<u64>(), any::<u64>());
    let link = (any::<u64>(), any::<u64>(), any::<u64>());
    let shards = (1..=u16::MAX).prop_flat_map(|shards| (Just(shards), 0..shards, any::<u16>()));
    (name(63), who, shards, link, kinds(), any::<u16>()).prop_map(
        |(cluster, (node, incarnation, placement), (shards, from, to), (link, resumes, taken_in), kinds, minor)| Hello {
            version: Version { major: 1, minor },
            cluster,
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            shards,
            from_shard: ShardId(from),
            to_shard: ShardId(to),
            placement,
            link,
            resumes: Incarnation(resumes),
            taken_in,
            kinds,
        },
    )
}

/// Kinds with different ids.
pub(crate) fn kinds() -> impl Strategy<Value = Vec<KindOffer>> {
    proptest::collection::hash_map(any::<u32>(), (any::<u64>(), name(256)), 0..20).prop_map(
        |kinds| {
            let offer = |(kind, (fingerprint, name))| KindOffer {
                kind: KindId(kind),
                fingerprint: Fingerprint(fingerprint),
                name,
            };
            kinds.into_iter().map(offer).collect()
        },
    )
}

/// The stream of these frames.
pub(crate) fn stream(frames: &[Frame]) -> Vec<u8> {
    let mut writer = Writer::new(MAX_PAYLOAD);
    for frame in frames {
        append(&mut writer, frame);
    }
    writer.take().to_vec()
}

/// Writes one frame that cannot fail, and returns its length on the stream.
pub(crate) fn append(writer: &mut Writer, frame: &Frame) -> usize {
    let payload = |out: &mut AlignedVec<16>| {
        out.extend_from_slice(&frame.payload);
        Ok::<(), ()>(())
    };
    writer
        .frame(&frame.header, frame.key.as_ref(), payload)
        .expect("the frame is valid")
}

/// Reads a stream in chunks of these lengths: the frames, and the error if there was one.
pub(crate) fn read(stream: &[u8], lens: &[usize]) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = Reader::new(MAX_PAYLOAD);
    let mut frames = Vec::new();
    let mut rest = stream;
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*len).min(rest.len()));
        rest = after;
        let result = reader.push(chunk);
        frames.extend(std::iter::from_fn(|| reader.next()));
        if let Err(error) = result {
            return (frames, Some(error));
        }
    }
    (frames, None)
}

fn header(frame: FrameType) -> impl Strategy<Value = Header> {
    let small = (0..12_u8, any::<u16>(), any::<u8>());
    (
        small,
        any::<u32>(),
        any::<u64>(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            move |((status, method, hops), kind, number, deadline_us, epoch)| {
                let call = CallId::from_u64(number);
                let header = match frame {
                    FrameType::Hello | FrameType::Kinds => Header::new(frame),
                    FrameType::Ack => Header::ack(number),
                    FrameType::Tell => Header::tell(KindId(kind), MethodId(method)),
                    FrameType::Call => Header {
                        deadline_us,
                        ..Header::call(KindId(kind), MethodId(method), call)
                    },
                    FrameType::Reply => {
                        Header::reply(call, Status::from_u8(status).expect("0 to 11 are known"))
                    }
                };
                Header {
                    hops,
                    epoch: Epoch(epoch),
                    ..header
                }
            },
        )
}

fn key() -> impl Strategy<Value = Option<Key>> {
    let text = prop_oneof![4 => "[a-z0-9/]{1,40}", 1 => "\\PC{1,60}", 1 => "[a-z]{250,256}"];
    text.prop_map(|text| Some(Key::new(text).expect("60 characters are at most 240 bytes")))
}

fn payload() -> impl Strategy<Value = Block> {
    let len = prop_oneof![3 => 0..100_usize, 1 => 0..=MAX_PAYLOAD];
    (len, any::<u8>()).prop_map(|(len, seed)| {
        // Counting is enough to notice bytes that went astray, and shrinks better than noise.
        let bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_add(seed)).collect();
        Block::copy_from(&bytes)
    })
}

fn name(max: usize) -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/ .\u{e9}\u{4e2d}]{1,80}".prop_map(move |mut name| {
        let mut end = name.len().min(max);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name
    })
}

//! Frames and hellos drawn at random, and ways to feed them to a reader.
#![allow(
    dead_code,
    reason = "every test file is a crate of its own and uses what it needs"
)]

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};
use rkyv::util::AlignedVec;
use teff_wire::{
    Block, CallId, Epoch, Fingerprint, Frame, FrameError, FrameType, Grain, Header, Hello,
    Incarnation, Key, KindId, KindOffer, MethodId, NodeId, Reader, ShardId, Status, Version,
    Writer,
};

/// The payload limit of readers and writers in these tests.
pub(crate) const MAX_PAYLOAD: usize = 4096;

/// How many grains keep a number: so few that some of the frames in a test lose theirs.
pub(crate) const NAMES: u32 = 8;

/// A writer with the limits of these tests.
pub(crate) fn writer() -> Writer {
    Writer::new(MAX_PAYLOAD, NAMES)
}

/// A reader with the limits of these tests, and the same hash as [`grain`].
pub(crate) fn reader() -> Reader {
    Reader::new(MAX_PAYLOAD, NAMES, Arc::new(hash))
}

/// Stands in for the placement hash: FNV-1a over the kind and the key, with its bits mixed.
pub(crate) fn hash(kind: KindId, key: &Key) -> u64 {
    let bytes = kind.0.to_le_bytes().into_iter().chain(key.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

/// The grain of this kind and key, as a reader hands it out.
pub(crate) fn grain(kind: KindId, key: &str) -> Grain {
    let key = Key::new(key).expect("neither empty nor long");
    let hash = hash(kind, &key);
    Grain { key, hash }
}

/// A frame of any type.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        4 => (header(FrameType::Tell), key().prop_map(Some), payload(), detached()),
        2 => (header(FrameType::Call), key().prop_map(Some), payload(), detached()),
        2 => (header(FrameType::Reply), Just(None), payload(), detached()),
        1 => (header(FrameType::Ack), Just(None), Just(Block::new()), Just(None)),
        1 => (header(FrameType::Full), Just(None), Just(Block::new()), Just(None)),
        1 => (header(FrameType::Room), Just(None), Just(Block::new()), Just(None)),
        1 => (header(FrameType::Hello), Just(None), payload(), Just(None)),
        1 => (header(FrameType::Kinds), Just(None), payload(), Just(None)),
    ]
    .prop_map(|(header, key, payload, detached)| Frame {
        header,
        grain: key.map(|key| grain(header.kind, &key)),
        payload: if detached.is_some() {
            Block::new()
        } else {
            payload
        },
        detached,
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
        |(
            cluster,
            (node, incarnation, placement),
            (shards, from, to),
            (link, resumes, taken_in),
            kinds,
            minor,
        )| Hello {
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
    let mut writer = writer();
    for frame in frames {
        append(&mut writer, frame);
    }
    writer.take().to_vec()
}

/// Writes one frame that cannot fail, and returns its length on the stream.
pub(crate) fn append(writer: &mut Writer, frame: &Frame) -> usize {
    let grain = frame.grain.as_ref().map(|grain| (&grain.key, grain.hash));
    if let Some(len) = frame.detached {
        let written = writer.detached(&frame.header, grain, len);
        return written.expect("the length is allowed");
    }
    let payload = |out: &mut AlignedVec<16>| {
        out.extend_from_slice(&frame.payload);
        Ok::<(), ()>(())
    };
    let written = writer.frame(&frame.header, grain, payload);
    written.expect("the frame is valid")
}

/// Reads a stream in chunks of these lengths: the frames, and the error if there was one.
pub(crate) fn read(stream: &[u8], lens: &[usize]) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = reader();
    let mut frames = Vec::new();
    for chunk in cut(stream, lens) {
        let result = reader.push(chunk);
        frames.extend(std::iter::from_fn(|| reader.next()));
        if let Some(error) = reader.failed() {
            return (frames, Some(error));
        }
        assert_eq!(result, Ok(()));
    }
    (frames, None)
}

/// The same by runs, as far as they go.
pub(crate) fn read_by_runs(stream: &[u8], lens: &[usize]) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = reader();
    let mut frames = Vec::new();
    for chunk in cut(stream, lens) {
        // What is malformed is found when its turn comes.
        let _ = reader.push(chunk);
        loop {
            if let Some(mut run) = reader.take_run() {
                let before = frames.len();
                while let Some(frame) = run.next() {
                    frames.push(frame.to_frame());
                }
                assert_eq!(run.taken(), (frames.len() - before) as u64);
                reader.put_back(run);
            }
            let Some(frame) = reader.next() else { break };
            frames.push(frame);
        }
        if let Some(error) = reader.failed() {
            return (frames, Some(error));
        }
    }
    (frames, None)
}

/// A stream in chunks of these lengths, used over and over.
pub(crate) fn cut<'s>(stream: &'s [u8], lens: &[usize]) -> Vec<&'s [u8]> {
    let mut rest = stream;
    let mut chunks = Vec::new();
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*len).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// Where the frames of a sound stream end, name frames included: told from the protocol's
/// description, not by the reader.
pub(crate) fn frame_ends(stream: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let header = &stream[at..at + 16];
        let declared = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let key = usize::from(u16::from_le_bytes([header[6], header[7]]));
        let behind = match header[4] {
            5 => 16 + declared,
            0x85 => 16,
            7 => key,
            value if value >= 0x80 => 0,
            _ => declared,
        };
        at += 16 + behind.next_multiple_of(16);
        ends.push(at);
    }
    ends
}

fn header(frame: FrameType) -> impl Strategy<Value = Header> {
    let small = (0..12_u8, any::<u16>(), any::<u8>());
    (small, 0..3_u32, any::<u64>(), any::<u32>(), any::<u32>()).prop_map(
        move |((status, method, hops), kind, number, deadline_us, epoch)| {
            let call = CallId::from_u64(number);
            let (kind, method, epoch) = (KindId(kind), MethodId(method), Epoch(epoch));
            match frame {
                FrameType::Hello | FrameType::Kinds | FrameType::Name => Header::new(frame),
                FrameType::Ack => Header::ack(number),
                FrameType::Full => Header::pressure(number, true),
                FrameType::Room => Header::pressure(number, false),
                FrameType::Tell => Header {
                    hops,
                    epoch,
                    ..Header::tell(kind, method)
                },
                FrameType::Call => Header {
                    hops,
                    epoch,
                    deadline_us,
                    ..Header::call(kind, method, call)
                },
                FrameType::Reply => {
                    Header::reply(call, Status::from_u8(status).expect("0 to 11 are known"))
                }
            }
        },
    )
}

/// Many are the same, so that grains are known already.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-d]",
        3 => "[a-z0-9/]{1,40}",
        1 => "\\PC{1,60}",
        1 => "[a-z]{250,256}",
    ]
}

fn detached() -> impl Strategy<Value = Option<u32>> {
    option::weighted(0.2, 0..=MAX_PAYLOAD as u32)
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

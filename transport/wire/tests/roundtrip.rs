//! What is written is what is read, however the stream was cut on its way.

mod common;

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use rkyv::{Archive, Deserialize, Serialize, rancor, util::AlignedVec};
use teff_wire::{
    Block, CallId, Frame, Header, Hello, Key, KindId, MethodId, Reader, Status, Writer,
    decode_kinds, encode_kinds,
};

use common::{append, chunks, frame, frame_ends, hello, kinds, read, reader, stream, writer};

proptest! {
    #[test]
    fn frames_survive_any_chunking(frames in vec(frame(), 0..20), lens in chunks()) {
        let (received, error) = read(&stream(&frames), &lens);
        prop_assert_eq!(error, None);
        for frame in &received {
            prop_assert!(frame.payload.as_ptr().addr().is_multiple_of(16));
        }
        prop_assert_eq!(received, frames);
    }

    #[test]
    fn a_stream_does_not_depend_on_when_it_is_taken(
        frames in vec(frame(), 1..20),
        every in 1..5_usize,
    ) {
        let mut writer = writer();
        let mut taken = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            let before = writer.len();
            let len = append(&mut writer, frame);
            prop_assert_eq!(writer.len(), before + len);
            prop_assert!(len.is_multiple_of(16));
            if i % every == 0 {
                taken.extend_from_slice(&writer.take());
                prop_assert!(writer.is_empty());
            }
        }
        taken.extend_from_slice(&writer.take());
        prop_assert_eq!(taken, stream(&frames));
    }

    #[test]
    fn an_incomplete_frame_stays_in_the_reader(
        frames in vec(frame(), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = stream(&frames);
        let cut = cut.index(whole.len());
        let complete = frame_ends(&whole).into_iter().rfind(|end| *end <= cut);
        let mut reader = reader();
        prop_assert_eq!(reader.push(&whole[..cut]), Ok(()));
        prop_assert_eq!(reader.buffered(), cut - complete.unwrap_or(0));
        prop_assert_eq!(reader.push(&whole[cut..]), Ok(()));
        prop_assert_eq!((reader.buffered(), reader.ready()), (0, frames.len()));
    }

    #[test]
    fn a_hello_says_what_it_said(hello in hello()) {
        let mut bytes = AlignedVec::new();
        hello.encode(&mut bytes).unwrap();
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn kinds_say_what_they_said(kinds in kinds()) {
        let mut bytes = AlignedVec::new();
        encode_kinds(&kinds, &mut bytes).unwrap();
        prop_assert_eq!(decode_kinds(&bytes), Ok(kinds));
    }
}

#[test]
fn a_frame_over_hundreds_of_packets_arrives_whole() {
    let payload: Vec<u8> = (0..3 << 20).map(|at: u32| (at >> 3) as u8).collect();
    let key = Key::new("big").unwrap();
    let mut writer = Writer::new(payload.len(), 16);
    for _ in 0..2 {
        writer
            .frame(
                &Header::tell(KindId(1), MethodId(2)),
                Some((&key, 7)),
                |out| -> Result<(), ()> {
                    out.extend_from_slice(&payload);
                    Ok(())
                },
            )
            .unwrap();
    }
    let stream = writer.take();
    let mut reader = Reader::new(payload.len(), 16, Arc::new(|_, _| 8));
    for packet in stream.chunks(1200) {
        reader.push(packet).unwrap();
    }
    for _ in 0..2 {
        let frame = reader.next().unwrap();
        let grain = frame.grain.map(|grain| (grain.key, grain.hash));
        assert_eq!(grain, Some((key.clone(), 8)));
        assert!(*frame.payload == *payload);
    }
    assert_eq!((reader.next(), reader.buffered()), (None, 0));
}

/// Needs the alignment of 16 that blocks promise. Miri accepts rkyv's relative pointers under
/// `-Zmiri-tree-borrows` only.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
#[rkyv(derive(Debug))]
struct Wide {
    id: u128,
    ratio: f64,
    words: Vec<String>,
}

#[test]
fn an_archive_is_read_where_it_lies() {
    let wide = Wide {
        id: u128::MAX / 3,
        ratio: 0.5,
        words: vec!["a word that is not inlined".into(), "b".into()],
    };
    let mut writer = writer();
    for slot in 0..3 {
        let call = CallId {
            slot,
            generation: 1,
        };
        writer
            .frame(&Header::reply(call, Status::Ok), None, |out| {
                rkyv::api::high::to_bytes_in::<_, rancor::Error>(&wide, out).map(|_| ())
            })
            .unwrap();
    }
    let stream = writer.take();
    // From an odd address, in two parts that cut the second archive.
    let shifted = [&[0], &*stream].concat();
    let (first, second) = shifted[1..].split_at(stream.len() / 2 + 8);
    let mut reader = reader();
    reader.push(first).unwrap();
    reader.push(second).unwrap();
    for _ in 0..3 {
        let frame = reader.next().unwrap();
        let archived = rkyv::access::<ArchivedWide, rancor::Error>(&frame.payload).unwrap();
        let range = frame.payload.as_ptr_range();
        assert!(range.contains(&std::ptr::from_ref(archived).cast()));
        let read: Wide = rkyv::deserialize::<_, rancor::Error>(archived).unwrap();
        assert_eq!(read, wide);
    }
}

#[test]
fn a_frame_outlives_its_reader() {
    let frames = [Frame {
        header: Header::reply(CallId::from_u64(1), Status::Ok),
        grain: None,
        payload: Block::copy_from(b"kept"),
        detached: None,
    }];
    let (received, _) = read(&stream(&frames), &[usize::MAX]);
    assert_eq!(received, frames);
}

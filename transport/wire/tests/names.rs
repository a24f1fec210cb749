//! A grain is named once and goes by its number from then on, whatever happens to the stream.

mod common;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::{collection::vec, prelude::*};
use rkyv::util::AlignedVec;
use teff_wire::{CallId, Frame, FrameError, Header, Key, KindId, MethodId, Reader, Status, Writer};

use common::{cut, frame_ends, grain, hash, reader};

/// What the sender of a link that resumes keeps: all frames as they were written, each with its
/// name frame.
struct Sent {
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
}

/// What becomes of a link next.
#[derive(Clone, Debug)]
enum Step {
    /// So many bytes arrive.
    Arrive(usize),
    /// The application takes so many frames.
    Take(usize),
    /// The stream breaks, and another one starts.
    Break,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![1..40_usize, 1..400_usize].prop_map(Step::Arrive),
        2 => (0..5_usize).prop_map(Step::Take),
        1 => Just(Step::Break),
    ]
}

proptest! {
    #[test]
    fn every_tell_reaches_its_grain_through_cuts_and_breaks(
        names_max in 1..20_u32,
        tells in vec((0..40_u32, 0..40_usize), 1..80),
        // From all grains in one set of the table to all spread by their hash.
        spread in prop_oneof![Just(0), Just(3), Just(u64::MAX)],
        steps in vec(step(), 1..12),
    ) {
        let sent = send(names_max, &tells, |hash, _| hash & spread);
        let mut reader = Reader::new(64, names_max, Arc::new(hash));
        let mut taken = Vec::new();
        let mut at = 0_usize;
        // However often the steps break the stream, the last one that starts comes to its end.
        let whole = [Step::Break, Step::Arrive(usize::MAX), Step::Take(usize::MAX)];
        for step in steps.iter().cycle().take(120).chain(&whole) {
            match step {
                Step::Arrive(len) => {
                    let end = sent.bytes.len().min(at.saturating_add(*len));
                    prop_assert_eq!(reader.push(&sent.bytes[at..end]), Ok(()));
                    at = end;
                }
                Step::Take(count) => {
                    taken.extend(std::iter::from_fn(|| reader.next()).take(*count));
                }
                Step::Break => {
                    reader.cut();
                    prop_assert_eq!(reader.buffered(), 0);
                    let complete = taken.len() + reader.ready();
                    at = sent.frames.get(complete).map_or(sent.bytes.len(), |frame| frame.start);
                }
            }
        }
        prop_assert!(reader.names() <= names_max as usize);
        prop_assert_eq!(taken.len(), tells.len());
        for (number, (frame, (who, len))) in taken.iter().zip(&tells).enumerate() {
            prop_assert_eq!(frame.header, tell(*who, number));
            prop_assert_eq!(frame.grain.as_ref(), Some(&grain(frame.header.kind, &key(*who))));
            prop_assert_eq!(&*frame.payload, &vec![*who as u8; *len][..]);
        }
    }

    #[test]
    fn a_grain_that_fits_is_named_once(
        tells in vec((0..40_u32, 0..40_usize), 1..80),
        lens in common::chunks(),
    ) {
        // Room for all, and hashes so that no grain is in the way of another.
        let sent = send(64, &tells, |_, who| u64::from(who));
        let calls = Arc::new(AtomicUsize::new(0));
        let mut reader = Reader::new(64, 64, counting(&calls));
        for chunk in cut(&sent.bytes, &lens) {
            prop_assert_eq!(reader.push(chunk), Ok(()));
        }
        while reader.next().is_some() {}
        let mut grains: Vec<u32> = tells.iter().map(|(who, _)| *who).collect();
        grains.sort_unstable();
        grains.dedup();
        prop_assert_eq!(calls.load(Ordering::Relaxed), grains.len());
        prop_assert_eq!(reader.names(), grains.len());
        prop_assert_eq!(frame_ends(&sent.bytes).len(), tells.len() + grains.len());
    }
}

#[test]
fn a_number_means_what_it_meant_at_its_place() {
    // One number for all: every tell to another grain takes it over.
    let sent = send(1, &[(1, 0), (2, 0), (2, 0), (1, 0), (4, 0)], |_, _| 0);
    let names: Vec<bool> = sent.frames.iter().map(|frame| frame.len() > 16).collect();
    assert_eq!(names, [true, true, false, true, true]);

    let mut reader = Reader::new(64, 1, Arc::new(hash));
    reader.push(&sent.bytes).unwrap();
    assert_eq!(reader.ready(), 5);
    assert_eq!(keys(&mut reader), ["1", "2", "2", "1", "4"]);
    assert_eq!(reader.names(), 1);
}

#[test]
fn a_name_that_arrived_without_its_tell_may_arrive_again() {
    let sent = send(1, &[(1, 0), (2, 8)], |_, _| 0);
    let mut reader = Reader::new(64, 1, Arc::new(hash));
    // All of the second name, and half of its tell.
    let second = sent.frames[1].clone();
    reader.push(&sent.bytes[..second.end - 16]).unwrap();
    assert_eq!((reader.ready(), reader.buffered()), (1, 16));
    reader.cut();
    assert_eq!((reader.ready(), reader.buffered()), (1, 0));
    reader.push(&sent.bytes[second]).unwrap();
    assert_eq!(keys(&mut reader), ["1", "2"]);
}

#[test]
fn names_stay_when_the_stream_breaks() {
    let sent = send(8, &[(1, 0), (1, 4)], |_, _| 0);
    let mut reader = Reader::new(64, 8, Arc::new(hash));
    let second = sent.frames[1].clone();
    reader.push(&sent.bytes[..second.start + 5]).unwrap();
    reader.cut();
    assert_eq!(second.len(), 32, "no name in front");
    reader.push(&sent.bytes[second]).unwrap();
    assert_eq!(keys(&mut reader), ["1", "1"]);
}

#[test]
fn names_without_messages_need_nobody_to_take_them() {
    let sent = send(8, &[(1, 0)], |_, _| 0);
    let name = &sent.bytes[..32];
    let calls = Arc::new(AtomicUsize::new(0));
    let mut reader = Reader::new(64, 8, counting(&calls));
    reader.push(name).unwrap();
    assert_eq!((reader.ready(), reader.names()), (0, 1));
    // Behind a frame they wait for their turn.
    reader.push(&[&sent.bytes[32..], name].concat()).unwrap();
    assert_eq!((reader.ready(), calls.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(keys(&mut reader), ["1"]);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn the_hash_only_says_where_to_look() {
    let mut writer = Writer::new(64, 64);
    for who in [1, 2, 1, 2, 1] {
        write(&mut writer, who, (7, 0), 0);
    }
    // The same key of another kind is another grain.
    let other = Header::tell(KindId(99), MethodId(5));
    let key = Key::new("1").unwrap();
    writer
        .frame(&other, Some((&key, 7)), |_| Ok::<(), ()>(()))
        .unwrap();
    let mut reader = Reader::new(64, 64, Arc::new(hash));
    let stream = writer.take();
    assert_eq!(stream.len(), 3 * 32 + 6 * 16, "three names, six tells");
    reader.push(&stream).unwrap();
    let frames: Vec<Frame> = std::iter::from_fn(|| reader.next()).collect();
    let kinds: Vec<u32> = frames.iter().map(|frame| frame.header.kind.0).collect();
    assert_eq!(kinds, [1, 2, 1, 2, 1, 99]);
    assert_eq!(frames[5].grain, Some(grain(KindId(99), "1")));
}

#[test]
fn few_grains_are_in_each_others_way() {
    // (The limit, grains that take turns, how many of each hundred tells may need a name.)
    for (names_max, grains, most) in [
        (64, 20, 40),
        (1 << 16, 20, 0),
        (1 << 16, 1000, 1),
        (1 << 16, 10_000, 1),
        (1 << 16, 32_768, 20),
    ] {
        let mut writer = Writer::new(64, names_max);
        let mut round = || -> usize {
            let tells = 0..grains;
            let key = |who: u32| Key::new(who.to_string()).expect("a short key");
            let hashes = tells.map(|who| (who, hash(KindId(0), &key(who))));
            let written = hashes.map(|(who, hash)| write(&mut writer, who, (hash, 0), 0));
            let named = written.filter(|written| *written > 16).count();
            drop(writer.take());
            named
        };
        assert_eq!(round(), grains as usize);
        let again = round();
        assert!(
            again * 100 <= most * grains as usize,
            "{again} of {grains} in {names_max}"
        );
    }
}

#[test]
fn a_busy_grain_keeps_its_number_while_strangers_pass() {
    let mut writer = Writer::new(64, 4);
    let mut tell = |who| write(&mut writer, who, (0, 0), 0);
    assert_eq!(tell(1), 48);
    for stranger in (2..200).map(|who| who * 3 + 1) {
        assert_eq!(tell(stranger), 48);
        assert_eq!(tell(1), 16, "behind {stranger}");
    }
}

#[test]
fn limits_for_names_are_rounded_to_what_there_is() {
    for (names_max, numbers) in [(0, 1), (1, 1), (3, 2), (7, 4), (100, 64)] {
        let mut writer = Writer::new(64, names_max);
        for who in 0..1000 {
            write(&mut writer, who, (u64::from(who), 0), 0);
        }
        // What one writer may do, the reader with the same limit takes.
        let mut reader = Reader::new(64, names_max, Arc::new(hash));
        assert_eq!(reader.push(&writer.take()), Ok(()), "{names_max}");
        assert_eq!(keys(&mut reader).len(), 1000);
        assert_eq!(reader.names(), numbers, "{names_max}");
    }
}

#[test]
fn a_failed_reader_is_not_healed_by_another_stream() {
    let mut reader = reader();
    let error = FrameError::UnknownType { value: 0xff };
    assert_eq!(reader.push(&[0xff; 16]), Err(error));
    reader.cut();
    assert_eq!(reader.push(&[]), Err(error));
}

#[test]
fn replies_and_acks_pass_between_names() {
    let mut writer = Writer::new(64, 1);
    let call = CallId::from_u64(6);
    for who in 0..3 {
        write(&mut writer, who, (0, 0), 0);
        let reply = Header::reply(call, Status::Ok);
        writer.frame(&reply, None, |_| Ok::<(), ()>(())).unwrap();
        writer
            .frame(&Header::ack(u64::from(who)), None, |_| Ok::<(), ()>(()))
            .unwrap();
    }
    let mut reader = Reader::new(64, 1, Arc::new(hash));
    reader.push(&writer.take()).unwrap();
    let grains: Vec<Option<String>> = std::iter::from_fn(|| reader.next())
        .map(|frame| frame.grain.map(|grain| grain.key.to_string()))
        .collect();
    let name = |name: &str| Some(name.to_owned());
    let expected = [
        name("0"),
        None,
        None,
        name("1"),
        None,
        None,
        name("2"),
        None,
        None,
    ];
    assert_eq!(grains, expected);
}

/// Tells to these grains with payloads of these lengths. `place` makes the hash that the writer is
/// given, from the real one and the grain.
fn send(names_max: u32, tells: &[(u32, usize)], place: impl Fn(u64, u32) -> u64) -> Sent {
    let mut writer = Writer::new(64, names_max);
    let mut end = 0;
    let frames = tells.iter().enumerate().map(|(number, (who, len))| {
        let key = Key::new(key(*who)).expect("a short key");
        let hash = place(hash(tell(*who, number).kind, &key), *who);
        let start = end;
        end += write(&mut writer, *who, (hash, number), *len);
        start..end
    });
    let frames = frames.collect();
    let bytes = writer.take().to_vec();
    Sent { bytes, frames }
}

fn write(writer: &mut Writer, who: u32, (hash, number): (u64, usize), len: usize) -> usize {
    let key = Key::new(key(who)).expect("a short key");
    let payload = |out: &mut AlignedVec<16>| {
        out.resize(out.len() + len, who as u8);
        Ok::<(), ()>(())
    };
    writer
        .frame(&tell(who, number), Some((&key, hash)), payload)
        .expect("at most 64 bytes")
}

fn tell(who: u32, number: usize) -> Header {
    Header::tell(KindId(who % 3), MethodId(number as u16))
}

/// Every third is too long to be kept in place.
fn key(who: u32) -> String {
    if who > 0 && who.is_multiple_of(3) {
        return format!("{who} of those whose names are long");
    }
    who.to_string()
}

fn counting(calls: &Arc<AtomicUsize>) -> teff_wire::HashGrain {
    let calls = calls.clone();
    Arc::new(move |kind, key| {
        calls.fetch_add(1, Ordering::Relaxed);
        hash(kind, key)
    })
}

fn keys(reader: &mut Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.next())
        .map(|frame| {
            frame
                .grain
                .map_or_else(String::new, |grain| grain.key.to_string())
        })
        .collect()
}

//! A frame is written whole or not at all.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rkyv::util::AlignedVec;
use teff_wire::{
    CallId, FrameType, Header, Key, KindId, MAX_CONTROL_PAYLOAD, MethodId, Reader, Status,
    WriteError, Writer,
};

#[test]
fn a_payload_that_fails_leaves_nothing() {
    let mut writer = filled();
    let before = writer.len();
    let result = writer.frame(&tell(), Some((&key(), 1)), |out| {
        out.extend_from_slice(&[1; 40]);
        Err("no")
    });
    assert_eq!(result, Err(WriteError::Payload("no")));
    assert_eq!(writer.len(), before);
    assert_two_frames(writer);
}

#[test]
fn a_payload_that_is_too_large_leaves_nothing() {
    let mut writer = filled();
    let result = writer.frame(&tell(), Some((&key(), 1)), zeros(65));
    assert_eq!(result, Err(WriteError::TooLarge { len: 65, limit: 64 }));
    assert_two_frames(writer);

    let mut exact = Writer::new(64, 4);
    assert_eq!(
        exact.frame(&tell(), Some((&key(), 1)), zeros(64)),
        Ok(32 + 16 + 64),
        "a name frame and the tell"
    );
}

#[test]
fn a_payload_that_panics_leaves_nothing() {
    for take_at_once in [true, false] {
        let mut writer = filled();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            writer.frame(&tell(), Some((&key(), 1)), |out| -> Result<(), ()> {
                out.extend_from_slice(&[1; 40]);
                panic!("a serialiser of a user");
            })
        }));
        assert!(panicked.is_err());
        if !take_at_once {
            writer.frame(&tell(), Some((&key(), 1)), zeros(1)).unwrap();
            let mut reader = reader(64);
            reader.push(&writer.take()).unwrap();
            assert_eq!(reader.ready(), 3);
            continue;
        }
        assert_two_frames(writer);
    }
}

#[test]
fn fields_that_a_frame_does_not_carry_are_written_as_zero() {
    let everything = Header {
        status: Status::Busy,
        deadline_us: 5,
        ..Header::call(KindId(7), MethodId(8), CallId::from_u64(9))
    };
    for value in 1..=6_u8 {
        let frame = FrameType::from_u8(value).unwrap();
        let mut writer = Writer::new(64, 4);
        let header = Header {
            frame,
            ..everything
        };
        writer.frame(&header, Some((&key(), 1)), zeros(0)).unwrap();

        let mut reader = reader(64);
        assert_eq!(reader.push(&writer.take()), Ok(()), "{frame}");
        let read = reader.next().unwrap();
        assert_eq!(read.header.frame, frame);
        assert_eq!(read.grain.is_some(), frame.is_addressed(), "{frame}");
        let number = if value >= 5 || value == 3 { 9 } else { 0 };
        assert_eq!(read.header.number, number, "{frame}");
    }
}

#[test]
fn control_frames_have_a_limit_of_their_own() {
    let mut writer = Writer::new(0, 0);
    let hello = Header::new(FrameType::Hello);
    writer
        .frame(&hello, None, zeros(MAX_CONTROL_PAYLOAD))
        .unwrap();
    let refused = writer.frame(&hello, None, zeros(MAX_CONTROL_PAYLOAD + 1));
    assert!(matches!(refused, Err(WriteError::TooLarge { .. })));
    let refused = writer.frame(&Header::ack(1), None, zeros(1));
    assert_eq!(refused, Err(WriteError::TooLarge { len: 1, limit: 0 }));

    let mut reader = reader(0);
    reader.push(&writer.take()).unwrap();
    assert_eq!(reader.next().unwrap().payload.len(), MAX_CONTROL_PAYLOAD);
}

#[test]
fn a_frame_that_was_not_written_named_nobody() {
    type Spoil = fn(&mut Writer, &Key);
    let spoils: [Spoil; 4] = [
        |writer, key| {
            let failed = writer.frame(&tell(), Some((key, 1)), |out| {
                out.extend_from_slice(&[1; 40]);
                Err("no")
            });
            assert_eq!(failed, Err(WriteError::Payload("no")));
        },
        |writer, key| {
            let failed = writer.frame(&tell(), Some((key, 1)), zeros(65));
            assert_eq!(failed, Err(WriteError::TooLarge { len: 65, limit: 64 }));
        },
        |writer, key| {
            let failed = writer.detached(&tell(), Some((key, 1)), 65);
            assert_eq!(failed, Err(WriteError::TooLarge { len: 65, limit: 64 }));
        },
        |writer, key| {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                writer.frame(&tell(), Some((key, 1)), |_| -> Result<(), ()> {
                    panic!("a serialiser of a user");
                })
            }));
            assert!(panicked.is_err());
        },
    ];
    for spoil in spoils {
        for (names_max, known, again) in [(1, 1, 16), (1, 0, 48), (4, 3, 16), (4, 4, 16)] {
            // With the table full, the grain that is not named would take the number of another.
            let mut writer = Writer::new(64, names_max);
            let keys: Vec<Key> = (0..known)
                .map(|who| Key::new(format!("{who}")).unwrap())
                .collect();
            for key in &keys {
                writer.frame(&tell(), Some((key, 1)), zeros(0)).unwrap();
            }
            let mut reader = reader(64);
            reader.push(&writer.take()).unwrap();

            let stranger = Key::new("stranger").unwrap();
            spoil(&mut writer, &stranger);
            spoil(&mut writer, &stranger);
            assert!(writer.is_empty() && writer.take().is_empty());
            for key in &keys {
                assert_eq!(writer.frame(&tell(), Some((key, 1)), zeros(0)), Ok(again));
            }
            let written = writer.frame(&tell(), Some((&stranger, 1)), zeros(0));
            assert_eq!(written, Ok(48), "named, because it was not before");
            reader.push(&writer.take()).unwrap();
            let read: Vec<Key> = std::iter::from_fn(|| reader.next())
                .filter_map(|frame| frame.grain)
                .map(|grain| grain.key)
                .collect();
            let twice: Vec<Key> = keys
                .iter()
                .chain(&keys)
                .chain([&stranger])
                .cloned()
                .collect();
            assert_eq!(read, twice, "{names_max} {known}");
        }
    }
}

#[test]
fn a_detached_frame_says_what_is_to_come() {
    let mut writer = Writer::new(64, 4);
    let call = CallId::from_u64(3);
    let headers = [
        tell(),
        Header::call(KindId(1), MethodId(2), call),
        Header::reply(call, Status::Ok),
    ];
    let lens = [64, 0, 17];
    for (header, len) in headers.iter().zip(lens) {
        let grain = header.frame.is_addressed().then(key);
        let grain = grain.as_ref().map(|key| (key, 1));
        writer.detached(header, grain, len).unwrap();
    }
    assert_eq!(writer.len(), 32 + 16 + 32 + 16);
    let mut reader = reader(64);
    reader.push(&writer.take()).unwrap();
    for (header, len) in headers.iter().zip(lens) {
        let frame = reader.next().unwrap();
        assert_eq!((frame.header, frame.detached), (*header, Some(len)));
        assert!(frame.payload.is_empty());
    }
    writer.frame(&tell(), Some((&key(), 1)), zeros(3)).unwrap();
    reader.push(&writer.take()).unwrap();
    assert_eq!(reader.next().unwrap().detached, None);
}

#[test]
#[should_panic(expected = "names the grain")]
fn a_tell_without_a_key_is_a_bug_of_the_caller() {
    let _ = Writer::new(64, 4).frame(&tell(), None, zeros(0));
}

#[test]
#[should_panic(expected = "a name frame is written for")]
fn a_name_frame_is_not_for_callers() {
    let header = Header::new(FrameType::Name);
    let _ = Writer::new(64, 4).frame(&header, Some((&key(), 1)), zeros(0));
}

#[test]
#[should_panic(expected = "the payload of a hello frame cannot be detached")]
fn a_hello_is_not_detached() {
    let header = Header::new(FrameType::Hello);
    let _ = Writer::new(64, 4).detached(&header, None, 0);
}

fn filled() -> Writer {
    let mut writer = Writer::new(64, 4);
    for len in [3, 17] {
        writer
            .frame(&tell(), Some((&key(), 1)), zeros(len))
            .expect("at most 64 bytes");
    }
    writer
}

fn assert_two_frames(mut writer: Writer) {
    let mut reader = reader(64);
    assert_eq!(reader.push(&writer.take()), Ok(()));
    let lens: Vec<usize> = std::iter::from_fn(|| reader.next())
        .map(|frame| frame.payload.len())
        .collect();
    assert_eq!((lens, reader.buffered()), (vec![3, 17], 0));
    assert!(writer.is_empty() && writer.take().is_empty());
}

fn reader(max_payload: usize) -> Reader {
    Reader::new(max_payload, 4, Arc::new(|_, _| 1))
}

fn tell() -> Header {
    Header::tell(KindId(1), MethodId(2))
}

fn key() -> Key {
    Key::new("k").expect("neither empty nor long")
}

fn zeros(len: usize) -> impl FnOnce(&mut AlignedVec<16>) -> Result<(), &'static str> {
    move |out| {
        out.resize(out.len() + len, 0);
        Ok(())
    }
}

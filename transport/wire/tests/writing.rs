//! A frame is written whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rkyv::util::AlignedVec;
use teff_wire::{
    CallId, FrameType, Header, Key, KindId, MAX_CONTROL_PAYLOAD, MethodId, Reader, Status,
    WriteError, Writer,
};

#[test]
fn a_payload_that_fails_leaves_nothing() {
    let mut writer = filled();
    let before = writer.len();
    let result = writer.frame(&tell(), Some(&key()), |out| {
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
    let result = writer.frame(&tell(), Some(&key()), zeros(65));
    assert_eq!(result, Err(WriteError::TooLarge { len: 65, limit: 64 }));
    assert_two_frames(writer);

    let mut exact = Writer::new(64);
    assert_eq!(
        exact.frame(&tell(), Some(&key()), zeros(64)),
        Ok(32 + 16 + 64)
    );
}

#[test]
fn a_payload_that_panics_leaves_nothing() {
    for take_at_once in [true, false] {
        let mut writer = filled();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            writer.frame(&tell(), Some(&key()), |out| -> Result<(), ()> {
                out.extend_from_slice(&[1; 40]);
                panic!("a serialiser of a user");
            })
        }));
        assert!(panicked.is_err());
        if !take_at_once {
            writer.frame(&tell(), Some(&key()), zeros(1)).unwrap();
            let mut reader = Reader::new(64);
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
    for value in 1..=6 {
        let frame = FrameType::from_u8(value).unwrap();
        let mut writer = Writer::new(64);
        let header = Header {
            frame,
            ..everything
        };
        writer.frame(&header, Some(&key()), zeros(0)).unwrap();

        let mut reader = Reader::new(64);
        assert_eq!(reader.push(&writer.take()), Ok(()), "{frame}");
        let read = reader.next().unwrap();
        assert_eq!(read.header.frame, frame);
        assert_eq!(read.key.is_some(), frame.is_addressed(), "{frame}");
        let number = if value >= 5 || value == 3 { 9 } else { 0 };
        assert_eq!(read.header.number, number, "{frame}");
    }
}

#[test]
fn control_frames_have_a_limit_of_their_own() {
    let mut writer = Writer::new(0);
    let hello = Header::new(FrameType::Hello);
    writer
        .frame(&hello, None, zeros(MAX_CONTROL_PAYLOAD))
        .unwrap();
    let refused = writer.frame(&hello, None, zeros(MAX_CONTROL_PAYLOAD + 1));
    assert!(matches!(refused, Err(WriteError::TooLarge { .. })));
    let refused = writer.frame(&Header::ack(1), None, zeros(1));
    assert_eq!(refused, Err(WriteError::TooLarge { len: 1, limit: 0 }));

    let mut reader = Reader::new(0);
    reader.push(&writer.take()).unwrap();
    assert_eq!(reader.next().unwrap().payload.len(), MAX_CONTROL_PAYLOAD);
}

#[test]
#[should_panic(expected = "names the grain")]
fn a_tell_without_a_key_is_a_bug_of_the_caller() {
    let _ = Writer::new(64).frame(&tell(), None, zeros(0));
}

fn filled() -> Writer {
    let mut writer = Writer::new(64);
    for len in [3, 17] {
        writer
            .frame(&tell(), Some(&key()), zeros(len))
            .expect("at most 64 bytes");
    }
    writer
}

fn assert_two_frames(mut writer: Writer) {
    let mut reader = Reader::new(64);
    assert_eq!(reader.push(&writer.take()), Ok(()));
    let lens: Vec<usize> = std::iter::from_fn(|| reader.next())
        .map(|frame| frame.payload.len())
        .collect();
    assert_eq!((lens, reader.buffered()), (vec![3, 17], 0));
    assert!(writer.is_empty() && writer.take().is_empty());
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

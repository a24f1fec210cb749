//! A stream of frames from a hostile peer, cut into chunks by the fuzzer too.
//!
//! The first byte picks the length of the chunks. However the stream is cut, frames and error are
//! the same; what was read is read again when it is written.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use teff_wire::{Frame, FrameError, FrameType, Hello, Reader, Writer, decode_kinds};

const MAX_PAYLOAD: usize = 4096;

const NAMES: u32 = 16;

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let whole = read(stream, stream.len().max(1), false);
    assert_eq!(whole, read(stream, usize::from(*cut) + 1, false));
    assert_eq!(whole, read(stream, usize::from(*cut) + 1, true));
    let (frames, error, (buffered, names)) = whole;
    let framed = frames.iter().map(|frame| frame.payload.len() + 16);
    assert!(framed.sum::<usize>() + names * 32 + buffered <= stream.len());

    let mut writer = Writer::new(MAX_PAYLOAD, NAMES);
    for frame in &frames {
        assert!(frame.payload.as_ptr().addr().is_multiple_of(16));
        write(&mut writer, frame);
        match frame.header.frame {
            FrameType::Hello => drop(Hello::decode(&frame.payload)),
            FrameType::Kinds => drop(decode_kinds(&frame.payload)),
            _ => {}
        }
    }
    let written = writer.take();
    // Which number a grain has, and when it is named, is the writer's choice. But for that there
    // is one spelling.
    if names == 0 {
        assert_eq!(*written, stream[..written.len()]);
        assert!(error.is_some() || written.len() + buffered == stream.len());
    }
    let (again, error, (buffered, _)) = read(&written, usize::MAX, true);
    assert_eq!((again, error, buffered), (frames, None, 0));
});

fn write(writer: &mut Writer, frame: &Frame) {
    let grain = frame.grain.as_ref().map(|grain| (&grain.key, grain.hash));
    if let Some(len) = frame.detached {
        let written = writer.detached(&frame.header, grain, len);
        written.expect("what was read can be written");
        return;
    }
    let payload = |out: &mut AlignedVec<16>| {
        out.extend_from_slice(&frame.payload);
        Ok::<(), ()>(())
    };
    let written = writer.frame(&frame.header, grain, payload);
    written.expect("what was read can be written");
}

/// The frames, the error, the bytes that are left, and how many numbers were given.
fn read(
    stream: &[u8],
    cut: usize,
    by_runs: bool,
) -> (Vec<Frame>, Option<FrameError>, (usize, usize)) {
    let hash = |kind: teff_wire::KindId, key: &teff_wire::Key| {
        // All sets of a writer's table, and more than one grain in each.
        u64::from(kind.0) ^ key.as_str().len() as u64
    };
    let mut reader = Reader::new(MAX_PAYLOAD, NAMES, Arc::new(hash));
    let mut frames = Vec::new();
    let error = 'read: {
        for chunk in stream.chunks(cut) {
            let result = reader.push(chunk);
            assert!(reader.ready() <= chunk.len() / 16 + 1);
            loop {
                if by_runs && let Some(mut run) = reader.take_run() {
                    while let Some(frame) = run.next() {
                        frames.push(frame.to_frame());
                    }
                    reader.put_back(run);
                }
                let Some(frame) = reader.next() else { break };
                frames.push(frame);
            }
            assert!(reader.names() <= NAMES as usize);
            if let Some(error) = reader.failed() {
                assert_eq!(reader.push(&[]), Err(error));
                break 'read Some(error);
            }
            assert_eq!(result, Ok(()));
        }
        None
    };
    (frames, error, (reader.buffered(), reader.names()))
}

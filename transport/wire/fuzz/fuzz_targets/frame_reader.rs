//! A stream of frames from a hostile peer, cut into chunks by the fuzzer too.
//!
//! The first byte picks the length of the chunks. However the stream is cut, frames and error are
//! the same; what was read is written back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use teff_wire::{Frame, FrameError, FrameType, Hello, Reader, Writer, decode_kinds};

const MAX_PAYLOAD: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, usize::from(*cut) + 1));
    let (frames, error, buffered) = whole;

    let mut writer = Writer::new(MAX_PAYLOAD);
    for frame in &frames {
        assert!(frame.payload.as_ptr().addr().is_multiple_of(16));
        let payload = |out: &mut AlignedVec<16>| {
            out.extend_from_slice(&frame.payload);
            Ok::<(), ()>(())
        };
        writer
            .frame(&frame.header, frame.key.as_ref(), payload)
            .expect("what was read can be written");
        match frame.header.frame {
            FrameType::Hello => drop(Hello::decode(&frame.payload)),
            FrameType::Kinds => drop(decode_kinds(&frame.payload)),
            _ => {}
        }
    }
    let written = writer.take();
    assert_eq!(*written, stream[..written.len()]);
    if error.is_none() {
        assert_eq!(written.len() + buffered, stream.len());
    }
});

fn read(stream: &[u8], cut: usize) -> (Vec<Frame>, Option<FrameError>, usize) {
    let mut reader = Reader::new(MAX_PAYLOAD);
    let mut frames = Vec::new();
    for chunk in stream.chunks(cut) {
        let result = reader.push(chunk);
        frames.extend(std::iter::from_fn(|| reader.next()));
        if let Err(error) = result {
            assert_eq!(reader.push(&[]), Err(error));
            return (frames, Some(error), reader.buffered());
        }
    }
    (frames, None, reader.buffered())
}

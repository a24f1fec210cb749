//! How far from a plain copy are writing and reading frames, by the size of the payload?
//!
//! A batch of tells to one grain, which is known on the link, is written and handed out, as a link
//! does between two flushes. The same bytes are read, in chunks as packets bring them and all in
//! one; of the latter also the push alone (look for frames, check them, copy them), the rest being
//! what it takes to make frames of them. And they are copied with one `memcpy`, the least that
//! moving them can cost.
//!
//! Bytes count headers and padding: all that goes over the wire. Buffers are allocated and
//! freed where writer and reader do so, and that is part of what they cost; the copy has its memory
//! ready.

use std::{
    convert::Infallible,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use teff_bench::config;
use teff_wire::{DEFAULT_NAMES, Header, Key, KindId, MethodId, Reader, Writer};

/// Bytes of a payload.
const PAYLOADS: [usize; 3] = [16, 64, 1024];

/// Frames of one batch.
const FRAMES: usize = 64;

/// What is left of a datagram of 1452 bytes for the stream that it carries.
const PACKET: usize = 1420;

const MAX_PAYLOAD: usize = 1 << 20;

const SOUND: &str = "the writer writes sound frames";

/// Stands in for the placement hash.
const HASH: u64 = 0x243f_6a88_85a3_08d3;

const TELL: Header = Header::tell(KindId::of("room"), MethodId(2));

fn write_read(c: &mut Criterion) {
    for payload in PAYLOADS {
        write_read_with(c, payload);
    }
}

fn write_read_with(c: &mut Criterion, payload: usize) {
    let key = Key::new("grain-4711").expect("a short key");
    let payload = vec![7_u8; payload];
    let mut writer = Writer::new(MAX_PAYLOAD, DEFAULT_NAMES);
    let naming = write_batch(&mut writer, &key, &payload);
    let stream = write_batch(&mut writer, &key, &payload);
    let reader = || {
        let mut reader = Reader::new(MAX_PAYLOAD, DEFAULT_NAMES, Arc::new(|_, _| HASH));
        read_batch(&mut reader, naming.as_ref(), PACKET);
        reader
    };

    let mut group = c.benchmark_group(format!("frame_write_read/{}B", payload.len()));
    group.throughput(Throughput::ElementsAndBytes {
        elements: FRAMES as u64,
        bytes: stream.as_ref().len() as u64,
    });
    group.bench_function("write", |b| {
        b.iter(|| write_batch(&mut writer, black_box(&key), black_box(&payload)));
    });
    for (name, chunk) in [("packets", PACKET), ("one_chunk", stream.as_ref().len())] {
        let mut reader = reader();
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter(|| read_batch(&mut reader, black_box(stream.as_ref()), chunk));
        });
    }
    let mut reader = reader();
    group.bench_function(BenchmarkId::new("read", "push_alone"), |b| {
        b.iter_custom(|iterations| {
            let mut pushing = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                reader.push(black_box(stream.as_ref())).expect(SOUND);
                pushing += start.elapsed();
                while reader.next().is_some() {}
            }
            pushing
        });
    });
    let mut copy = vec![0_u8; stream.as_ref().len()];
    group.bench_function("memcpy", |b| {
        b.iter(|| {
            copy.copy_from_slice(black_box(stream.as_ref()));
            black_box(&mut copy);
        });
    });
    group.finish();
}

/// The bytes of a batch of tells.
fn write_batch(writer: &mut Writer, key: &Key, payload: &[u8]) -> impl AsRef<[u8]> + use<> {
    for _ in 0..FRAMES {
        let written = writer.frame(&TELL, Some((key, black_box(HASH))), |out| {
            out.extend_from_slice(payload);
            Ok::<(), Infallible>(())
        });
        written.expect("the payload is within the limit");
    }
    writer.take()
}

/// Reads a whole batch, frame by frame as they are complete.
fn read_batch(reader: &mut Reader, stream: &[u8], chunk: usize) {
    let mut frames = 0;
    for chunk in stream.chunks(chunk) {
        reader.push(chunk).expect(SOUND);
        while let Some(frame) = reader.next() {
            frames += 1;
            black_box(&frame);
        }
    }
    assert_eq!(frames, FRAMES, "what was written is read");
}

criterion_group! {
    name = benches;
    config = config();
    targets = write_read
}
criterion_main!(benches);

//! Memory grows with what arrived, never with what was declared, and not with every message.

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use rkyv::util::AlignedVec;
use teff_wire::{
    CallId, DEFAULT_NAMES, FrameError, FrameType, Header, Hello, HelloError, Key, KindId,
    MAX_PAYLOAD, MethodId, Reader, Status, Writer,
};

#[test]
fn a_declared_length_allocates_nothing() {
    for (declared, refused) in [(u32::MAX, true), (MAX_PAYLOAD as u32, false)] {
        let mut header = stream(1, 0)[32..].to_vec();
        header[..4].copy_from_slice(&declared.to_le_bytes());
        for len in [1, 7, 16] {
            let mut result = Ok(());
            let mut reader = reader(MAX_PAYLOAD);
            reader.push(&stream(1, 0)[..32]).unwrap();
            let info = measure(|| {
                for chunk in header.chunks(len) {
                    result = reader.push(chunk);
                }
            });
            let error = FrameError::PayloadTooLarge {
                frame: FrameType::Tell,
                len: declared,
                limit: MAX_PAYLOAD,
            };
            assert_eq!(result, if refused { Err(error) } else { Ok(()) });
            assert!(info.bytes_max <= 512, "{len}: {info:?}");
            assert_eq!(reader.buffered(), if refused { 0 } else { 16 });
            assert!(
                !refused || info.bytes_current <= 0,
                "a failed reader keeps nothing: {info:?}"
            );
        }
    }
}

#[test]
fn a_push_allocates_once_for_all_of_its_frames() {
    // As on a busy link: neither chunk starts or ends where a frame does.
    let stream = stream(1700, 64);
    let mut reader = reader(1024);
    let mut counts = Vec::new();
    let mut frames = 0;
    for chunk in stream.chunks(64 * 1024 - 40) {
        let info = measure(|| reader.push(chunk).unwrap());
        counts.push(info.count_total);
        frames += drain(&mut reader);
    }
    assert_eq!((frames, counts.len()), (1700, 3));
    // A block and its owner for the frames, a block for the rest; the first push also grows
    // the queue of frames.
    assert!(counts[0] <= 30, "{counts:?}");
    assert!(counts[1..].iter().all(|&count| count <= 3), "{counts:?}");
}

#[test]
fn a_packet_allocates_its_block_and_nothing_else() {
    let stream = stream(400, 64);
    let mut reader = reader(1024);
    let mut counts = Vec::new();
    for packet in stream.chunks(1200) {
        let info = measure(|| {
            reader.push(packet).unwrap();
            drain(&mut reader);
        });
        counts.push(info.count_total);
    }
    // One block more or less at the ends, depending on where the packets cut the frames.
    let steady = &counts[1..];
    let most = 2 * steady.len() as u64 + 1;
    assert!(steady.iter().sum::<u64>() <= most, "{counts:?}");
}

#[test]
fn a_frame_in_many_packets_is_not_copied_again_and_again() {
    for len in [1 << 20, 16 << 20] {
        let stream = stream(1, len);
        for packet in [1200, 64 * 1024] {
            let mut reader = reader(len);
            let info = measure(|| {
                for packet in stream.chunks(packet) {
                    reader.push(packet).unwrap();
                }
            });
            // Counts a vector that grows as a new one: the sum is what may have been copied.
            let whole = stream.len() as u64;
            assert!(info.bytes_total < whole * 3, "{packet}: {info:?}");
            assert!(info.count_total < 40, "{packet}: {info:?}");
            assert_eq!(drain(&mut reader), 1);
        }
    }
}

#[test]
fn what_is_kept_stays_near_what_arrived() {
    let stream = stream(1, 4 << 20);
    let mut reader = reader(MAX_PAYLOAD);
    let mut arrived = 0;
    let mut kept = 0;
    for packet in stream[..3 << 20].chunks(1200) {
        kept += measure(|| reader.push(packet).unwrap()).bytes_current;
        arrived += packet.len() as i64;
        assert!(kept <= arrived * 2 + 4096, "{kept} for {arrived}");
    }
    assert_eq!(reader.buffered(), (3 << 20) - 32, "all but the name");
}

#[test]
fn a_writer_hands_out_its_buffer_and_remembers_its_size() {
    let mut writer = Writer::new(1024, DEFAULT_NAMES);
    let batch = |writer: &mut Writer| {
        let mut address = 0;
        for _ in 0..50 {
            let write = |out: &mut AlignedVec<16>| {
                address = out.as_ptr().addr();
                out.extend_from_slice(&[7; 64]);
                Ok::<(), ()>(())
            };
            writer.frame(&reply(), None, write).unwrap();
        }
        let taken = writer.take();
        assert_eq!(taken.as_ptr().addr(), address, "taken without copying");
        taken.len()
    };
    let mut len = 0;
    measure(|| len = batch(&mut writer));
    assert_eq!(len, 50 * 80);
    let info = measure(|| len = batch(&mut writer));
    assert!(info.count_total <= 2, "a buffer and its owner: {info:?}");
    assert!(info.bytes_total <= 2 * 50 * 80, "{info:?}");
}

#[test]
fn a_writer_forgets_a_burst() {
    let mut writer = Writer::new(1 << 20, DEFAULT_NAMES);
    let size = |writer: &mut Writer, len: usize| -> u64 {
        let info: AllocationInfo = measure(|| {
            let write = |out: &mut AlignedVec<16>| {
                out.extend_from_slice(&vec![0; len]);
                Ok::<(), ()>(())
            };
            writer.frame(&reply(), None, write).unwrap();
            drop(writer.take());
        });
        info.bytes_max
    };
    assert!(size(&mut writer, 1 << 20) >= 1 << 20);
    assert!(
        size(&mut writer, 10) <= 300 * 1024,
        "what is remembered has a cap"
    );
    for _ in 0..30 {
        size(&mut writer, 10);
    }
    assert!(size(&mut writer, 10) <= 1024);
}

#[test]
fn a_payload_that_was_too_large_does_not_keep_its_memory() {
    let mut writer = Writer::new(100, DEFAULT_NAMES);
    let info = measure(|| {
        for _ in 0..2 {
            let result = writer.frame(&reply(), None, |out| -> Result<(), ()> {
                out.resize(out.len() + (8 << 20), 0);
                Ok(())
            });
            assert!(result.is_err());
            let fits = |_: &mut AlignedVec<16>| Ok::<(), ()>(());
            writer.frame(&reply(), None, fits).unwrap();
        }
    });
    assert!(info.bytes_current <= 4096, "{info:?}");
    assert_eq!(writer.take().len(), 2 * 16);
}

#[test]
fn a_known_grain_costs_its_writer_and_reader_no_allocation() {
    let mut writer = Writer::new(1024, DEFAULT_NAMES);
    let mut reader = reader(1024);
    let keys = [
        "short".to_owned(),
        "of those that are kept by reference ".repeat(4),
    ];
    let keys = keys.map(|key| Key::new(key).expect("not too long"));
    let mut batch = |frames: usize| {
        let tell = Header::tell(KindId(1), MethodId(2));
        let mut write = |key| {
            let payload = |_: &mut AlignedVec<16>| Ok::<(), ()>(());
            writer.frame(&tell, Some((key, 7)), payload).expect("sound");
        };
        // Makes the buffer.
        write(&keys[0]);
        let written = measure(|| (0..frames).for_each(|i| write(&keys[i % 2])));
        reader
            .push(&writer.take())
            .expect("the writer writes sound frames");
        let read = measure(|| assert_eq!(drain(&mut reader), frames + 1));
        (written.count_total, read)
    };
    for _ in 0..30 {
        batch(200);
    }
    let (written, read) = batch(200);
    assert_eq!((written, read.count_total), (0, 0), "{read:?}");
}

#[test]
fn names_take_memory_as_they_arrive() {
    // Before the first one there is none at all.
    let info = measure(|| drop(Writer::new(64, DEFAULT_NAMES)));
    assert_eq!(info.count_total, 0);

    let mut reader = reader(64);
    let mut kept = 0;
    for packet in 0..400 {
        let names: Vec<u8> = (0..40).flat_map(|i| name_frame(packet * 40 + i)).collect();
        kept += measure(|| reader.push(&names).unwrap()).bytes_current;
        let arrived = i64::from(packet + 1) * 40 * 32;
        assert!(kept <= arrived * 3 + 8192, "{kept} for {arrived}");
    }
    assert_eq!((reader.ready(), reader.names()), (0, 16_000));
}

#[test]
fn a_flood_of_names_fills_a_bounded_table() {
    let mut reader = Reader::new(64, 64, Arc::new(|_, _| 0));
    let mut kept = 0;
    for round in 0..300 {
        // The same numbers again and again, for other grains with the longest of names.
        let names: Vec<u8> = (0..64)
            .flat_map(|number| {
                let mut name = name_frame(number);
                name[6..8].copy_from_slice(&256_u16.to_le_bytes());
                name.resize(16 + 256, b'a' + (round % 26) as u8);
                name[16..].fill(b'a' + (round % 26) as u8);
                name
            })
            .collect();
        for packet in names.chunks(1200) {
            kept += measure(|| reader.push(packet).unwrap()).bytes_current;
        }
        assert!(
            // The last is what the thread keeps to use again.
            kept <= 64 * (256 + 16 + 40) + 8192 + 8192,
            "{kept} in round {round}"
        );
    }
    assert_eq!((reader.ready(), reader.names()), (0, 64));
}

#[test]
fn a_writer_remembers_as_many_grains_as_it_may() {
    let mut writer = Writer::new(64, 256);
    let mut kept = 0;
    for who in 0..20_000_u64 {
        let key = Key::new(who.to_string()).expect("short");
        let hash = who.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let tell = Header::tell(KindId(1), MethodId(2));
        kept += measure(|| {
            let payload = |_: &mut AlignedVec<16>| Ok::<(), ()>(());
            writer
                .frame(&tell, Some((&key, hash)), payload)
                .expect("sound");
            drop(writer.take());
        })
        .bytes_current;
    }
    assert!(kept <= 256 * (32 + 8 + 8) + 64, "{kept}");
}

#[test]
fn a_hello_that_promises_kinds_allocates_for_those_it_has() {
    let mut bytes = b"TEFF\x01\0\0\0\x40\0\x01\0\0\x04\x10\0".to_vec();
    bytes.resize(64, 0);
    bytes[34] = 1;
    bytes.push(b'c');
    let mut result = None;
    let info = measure(|| result = Some(Hello::decode(&bytes)));
    let error = teff_wire::KindsError::Truncated;
    assert_eq!(result, Some(Err(HelloError::Kinds(error))));
    assert!(info.bytes_total <= 64, "{info:?}");
}

fn stream(frames: usize, payload: usize) -> Vec<u8> {
    let key = Key::new("grain").expect("neither empty nor long");
    let mut writer = Writer::new(payload, DEFAULT_NAMES);
    for _ in 0..frames {
        let write = |out: &mut AlignedVec<16>| {
            out.resize(out.len() + payload, 7);
            Ok::<(), ()>(())
        };
        writer
            .frame(
                &Header::tell(KindId(1), MethodId(2)),
                Some((&key, 7)),
                write,
            )
            .expect("the payload is as long as allowed");
    }
    writer.take().to_vec()
}

/// A name frame that gives this number to the grain `k` of the kind 0.
fn name_frame(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    (bytes[4], bytes[6], bytes[16]) = (7, 1, b'k');
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn reader(max_payload: usize) -> Reader {
    Reader::new(max_payload, DEFAULT_NAMES, Arc::new(|_, _| 7))
}

fn reply() -> Header {
    Header::reply(CallId::from_u64(1), Status::Ok)
}

fn drain(reader: &mut Reader) -> usize {
    std::iter::from_fn(|| reader.next()).count()
}

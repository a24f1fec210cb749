//! Names and numbers: a link of many grains, with a break in it, and then whatever a peer sends.
//!
//! The first byte is the limit for names, the second how many tells make the valid prefix, the
//! third where the stream breaks, the fourth the length of the chunks behind that. Each byte that
//! follows is the grain of one tell of the prefix; the rest is sent as it is. The prefix comes
//! back exactly, in order; behind it nothing panics, what a number stands for is what the last
//! name frame before said, and the table stays within its limit.
#![no_main]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use libfuzzer_sys::fuzz_target;
use teff_wire::{Header, Key, KindId, MethodId, Reader, Writer};

fuzz_target!(|input: &[u8]| {
    let [names_max, tells, cut, chunk, rest @ ..] = input else {
        return;
    };
    let names_max = u32::from(*names_max % 64);
    let (grains, noise) = rest.split_at(usize::from(*tells).min(rest.len()));
    let named = Arc::new(AtomicUsize::new(0));
    let counter = named.clone();
    let hash = move |kind: KindId, key: &Key| {
        counter.fetch_add(1, Ordering::Relaxed);
        hash(kind, key)
    };
    let mut reader = Reader::new(64, names_max, Arc::new(hash));
    let limit = names_max.max(1) as usize;

    let prefix = write(names_max, grains);
    take_prefix(&mut reader, &prefix, usize::from(*cut), grains);
    assert!(reader.names() <= limit);

    // What the numbers stand for, told from the bytes.
    let stream = [&prefix.concat(), noise].concat();
    let expected = expect(&stream);
    let before = named.load(Ordering::Relaxed);
    let mut taken = grains.len();
    for chunk in noise.chunks(usize::from(*chunk) + 1) {
        let result = reader.push(chunk);
        while let Some(frame) = reader.next() {
            let grain = frame.grain.map(|grain| {
                assert_eq!(grain.hash, self::hash(frame.header.kind, &grain.key));
                (frame.header.kind, grain.key.as_str().to_owned())
            });
            assert_eq!(Some(&grain), expected.get(taken));
            taken += 1;
        }
        assert!(reader.names() <= limit);
        if result.is_err() {
            break;
        }
    }
    assert!(named.load(Ordering::Relaxed) - before <= noise.len() / 32);
});

/// One tell to each of these grains, each with the name frame in front of it.
fn write(names_max: u32, grains: &[u8]) -> Vec<Vec<u8>> {
    let mut writer = Writer::new(64, names_max);
    let mut tell = |grain: &u8| {
        let (kind, key) = grain_of(*grain);
        let header = Header::tell(kind, MethodId(u16::from(*grain)));
        let key = Key::new(key).expect("neither empty nor long");
        // Refused once, which has to leave no trace.
        let refused = writer.frame(&header, Some((&key, hash(kind, &key))), |_| Err(()));
        assert!(refused.is_err() && writer.is_empty());
        let write = |_: &mut _| Ok::<(), ()>(());
        let written = writer.frame(&header, Some((&key, hash(kind, &key))), write);
        let bytes = writer.take().to_vec();
        assert_eq!(written, Ok(bytes.len()));
        bytes
    };
    grains.iter().map(&mut tell).collect()
}

/// Has the reader read all tells, through a stream that breaks after `cut` bytes.
fn take_prefix(reader: &mut Reader, tells: &[Vec<u8>], cut: usize, grains: &[u8]) {
    let stream = tells.concat();
    reader
        .push(&stream[..cut.min(stream.len())])
        .expect("the writer writes sound frames");
    reader.cut();
    let complete = reader.ready();
    for tell in &tells[complete..] {
        reader.push(tell).expect("the writer writes sound frames");
    }
    for grain in grains {
        let frame = reader.next().expect("every tell arrives");
        let (kind, key) = grain_of(*grain);
        assert_eq!(
            frame.header,
            Header::tell(kind, MethodId(u16::from(*grain)))
        );
        assert!(frame.grain.is_some_and(|grain| grain.key.as_str() == key));
    }
    assert_eq!((reader.next(), reader.buffered()), (None, 0));
}

/// What each frame that is handed out is for, as far as the stream looks sound.
fn expect(stream: &[u8]) -> Vec<Option<(KindId, String)>> {
    let mut names = HashMap::new();
    let mut frames = Vec::new();
    let mut rest = stream;
    while let Some((head, behind)) = rest.split_at_checked(16) {
        let u32_at = |at| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (value, number) = (head[4] & 0x7f, u32_at(8));
        let key = usize::from(u16::from_le_bytes([head[6], head[7]]));
        let declared = if head[4] < 0x80 {
            u32_at(0) as usize
        } else {
            0
        };
        let fixed = if value == 5 { 16 } else { 0 };
        let key = if value == 7 { key } else { 0 };
        let len = fixed + key.next_multiple_of(16) + declared.next_multiple_of(16);
        let Some((body, after)) = behind.split_at_checked(len) else {
            break;
        };
        match value {
            7 => {
                let key = String::from_utf8_lossy(&body[..key]).into_owned();
                names.insert(number, (KindId(u32_at(12)), key));
            }
            4 | 5 => frames.push(names.get(&number).cloned()),
            _ => frames.push(None),
        }
        rest = after;
    }
    frames
}

/// 64 grains of two kinds, some with keys that are not kept in place.
fn grain_of(grain: u8) -> (KindId, String) {
    let key = match grain % 4 {
        0 => format!("{} of those whose names are long", grain % 64),
        _ => (grain % 64).to_string(),
    };
    (KindId(u32::from(grain % 2)), key)
}

/// Five sets, so that many grains are in each other's way.
fn hash(kind: KindId, key: &Key) -> u64 {
    let sum: u64 = key.as_str().bytes().map(u64::from).sum();
    (sum ^ u64::from(kind.0)) % 5
}

//! The short ways, by runs in and by spots out, give what the long ways give.

mod common;

use proptest::{collection::vec, prelude::*};
use rkyv::util::AlignedVec;
use teff_wire::{Header, Key, KindId, MethodId, Spot, To, Writer};

use common::{chunks, cut, frame, hash, read, read_by_runs, reader, stream};

proptest! {
    #[test]
    fn runs_bring_the_frames_that_there_are(frames in vec(frame(), 0..30), lens in chunks()) {
        let stream = stream(&frames);
        prop_assert_eq!(read_by_runs(&stream, &lens), (frames, None));
    }

    #[test]
    fn runs_end_where_the_stream_is_malformed(
        frames in vec(frame(), 1..10),
        flipped in any::<prop::sample::Index>(),
        bit in 0..8,
        lens in chunks(),
    ) {
        let mut stream = stream(&frames);
        let at = flipped.index(stream.len());
        stream[at] ^= 1_u8 << bit;
        prop_assert_eq!(read_by_runs(&stream, &lens), read(&stream, &lens));
    }

    #[test]
    fn a_spot_says_nothing_of_other_grains_and_links(
        // Which writer, which grain, which of the two references to it, and how many bytes.
        tells in vec((0..2_usize, 0..12_u32, 0..2_usize, 0..100_usize), 1..200),
        takes in vec(any::<bool>(), 200),
    ) {
        // Few numbers, so that they are taken over again and again.
        let mut writers = [Writer::new(64, 4), Writer::new(64, 4)];
        let mut readers = [reader(), reader()];
        let spots: Vec<[Spot; 2]> = (0..12).map(|_| <[Spot; 2]>::default()).collect();
        for ((link, who, which, len), take) in tells.into_iter().zip(takes) {
            let (header, key) = tell(who);
            let to = To {
                key: &key,
                hash: hash(header.kind, &key),
                spot: Some(&spots[who as usize][which]),
            };
            let payload = |out: &mut AlignedVec<16>| {
                out.resize(out.len() + len, who as u8);
                if len == 50 { Err(()) } else { Ok(()) }
            };
            let writer = &mut writers[link];
            let before = writer.len();
            let short = writer.express(&header, to.spot.unwrap(), (40, payload));
            prop_assert!(short.is_none() || len <= 40);
            prop_assert_eq!(writer.len(), before + short.unwrap_or(0));
            let written = short.is_some() || writer.frame_to(&header, Some(to), payload).is_ok();
            prop_assert_eq!(written, len <= 64 && len != 50);
            if take {
                prop_assert_eq!(readers[link].push(&writer.take()), Ok(()));
                let frames = std::iter::from_fn(|| readers[link].next());
                for frame in frames {
                    let who = u32::from(frame.header.method.0);
                    let (header, key) = tell(who);
                    prop_assert_eq!(frame.header, header);
                    prop_assert_eq!(frame.grain.map(|grain| grain.key), Some(key));
                    prop_assert!(frame.payload.iter().all(|byte| u32::from(*byte) == who));
                }
            }
        }
    }
}

#[test]
fn what_was_noted_about_a_grain_is_there_until_its_number_is_anothers() {
    let mut writer = Writer::new(64, 1);
    for who in [1, 1, 2, 2, 1] {
        write(&mut writer, who);
    }
    let mut reader = reader();
    reader.push(&writer.take()).unwrap();
    let mut seen = Vec::new();
    while let Some(mut run) = reader.take_run() {
        while let Some(mut frame) = run.next() {
            seen.push((frame.method().0, frame.note()));
            frame.set_note(u64::from(frame.method().0) * 10);
        }
        reader.put_back(run);
        // Names are the reader's to take, and it hands out what is behind them.
        seen.extend(reader.next().map(|frame| (frame.header.method.0, 99)));
    }
    // The first name was taken when it arrived.
    assert_eq!(seen, [(1, 0), (1, 10), (2, 99), (2, 0), (1, 99)]);
}

#[test]
fn a_run_that_is_put_back_early_goes_on_where_it_was() {
    let mut writer = Writer::new(64, 8);
    for _ in 0..100 {
        write(&mut writer, 5);
    }
    let stream = writer.take();
    let mut reader = reader();
    let mut count = 0;
    for chunk in cut(&stream, &[333]) {
        reader.push(chunk).unwrap();
        while let Some(mut run) = reader.take_run() {
            for _ in 0..2 {
                count += usize::from(run.next().is_some());
            }
            reader.put_back(run);
        }
    }
    assert_eq!((count, reader.ready(), reader.buffered()), (100, 0, 0));
}

fn write(writer: &mut Writer, who: u32) {
    let (header, key) = tell(who);
    let payload = |_: &mut AlignedVec<16>| Ok::<(), ()>(());
    let to = Some((&key, hash(header.kind, &key)));
    writer.frame(&header, to, payload).expect("sound");
}

fn tell(who: u32) -> (Header, Key) {
    let key = Key::new(who.to_string()).expect("short");
    (Header::tell(KindId(who % 3), MethodId(who as u16)), key)
}

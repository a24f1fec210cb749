//! A datagram from a hostile peer: it is one lossy tell, in the one spelling that there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use teff_wire::{Key, KindId, lossy_room, read_lossy, write_lossy};

const MAX_PAYLOAD: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let hash = |kind: KindId, key: &Key| u64::from(kind.0) ^ key.as_str().len() as u64;
    let Ok(frame) = read_lossy(input, MAX_PAYLOAD, &hash) else {
        return;
    };
    let grain = frame.grain.expect("a lossy tell is for a grain");
    assert_eq!(grain.hash, hash(frame.header.kind, &grain.key));
    assert!(frame.payload.as_ptr().addr().is_multiple_of(16));
    assert!(frame.payload.len() <= MAX_PAYLOAD && frame.detached.is_none());
    let limit = lossy_room(input.len(), &grain.key);
    let mut written = AlignedVec::new();
    write_lossy(&mut written, &frame.header, &grain.key, limit, |out| {
        out.extend_from_slice(&frame.payload);
        Ok::<(), ()>(())
    })
    .expect("what was read can be written");
    assert_eq!(*written, *input);
});

//! A datagram is one lossy tell or an error with a name, and nothing of a peer's makes it a panic.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use proptest::{collection::vec, prelude::*, sample::Index};
use rkyv::util::AlignedVec;
use teff_wire::{
    Epoch, Frame, Header, Key, KindId, LossyError, MethodId, WriteError, lossy_room, read_lossy,
    write_lossy,
};

use common::{MAX_PAYLOAD, hash};

fn written(header: &Header, key: &Key, payload: &[u8]) -> AlignedVec<16> {
    // What was there before is of no consequence.
    let mut out = AlignedVec::new();
    out.extend_from_slice(&[0xff; 100]);
    write_lossy(&mut out, header, key, MAX_PAYLOAD, |out| {
        assert!(out.len().is_multiple_of(16), "payloads start aligned");
        out.extend_from_slice(payload);
        Ok::<(), ()>(())
    })
    .unwrap();
    out
}

fn read(datagram: &[u8]) -> Result<Frame, LossyError> {
    read_lossy(datagram, MAX_PAYLOAD, &hash)
}

/// A lossy tell to `door` with a payload of three bytes.
fn sample() -> AlignedVec<16> {
    let header = Header::tell(KindId::of("house"), MethodId(2));
    written(&header, &Key::new("door").unwrap(), b"abc")
}

fn changed(change: impl FnOnce(&mut [u8])) -> Result<Frame, LossyError> {
    let mut bytes = sample();
    change(&mut bytes);
    read(&bytes)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        key in "\\PC{1,64}",
        payload in vec(any::<u8>(), 0..300),
        (kind, method, hops, epoch) in any::<(u32, u16, u8, u32)>(),
    ) {
        let key = Key::new(key).unwrap();
        let header = Header {
            hops,
            epoch: Epoch(epoch),
            ..Header::tell(KindId(kind), MethodId(method))
        };
        let bytes = written(&header, &key, &payload);
        prop_assert_eq!(lossy_room(bytes.len(), &key), payload.len());
        let frame = read(&bytes).unwrap();
        prop_assert_eq!(frame.header, header);
        let grain = frame.grain.unwrap();
        prop_assert_eq!(grain.hash, hash(header.kind, &key));
        prop_assert_eq!(grain.key, key);
        prop_assert_eq!(&*frame.payload, &*payload);
        prop_assert!(frame.payload.as_ptr().addr().is_multiple_of(16));
    }

    #[test]
    fn a_flipped_bit_is_refused_or_reads_as_what_would_be_written(
        at in any::<Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = sample();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(frame) = read(&bytes) {
            let grain = frame.grain.unwrap();
            prop_assert_eq!(&*written(&frame.header, &grain.key, &frame.payload), &*bytes);
        }
    }

    #[test]
    fn noise_never_panics(bytes in vec(prop_oneof![9 => Just(0_u8), 1 => any::<u8>()], 0..80)) {
        let mut bytes = bytes;
        let _ = read(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 11;
            let _ = read(&bytes);
        }
    }
}

#[test]
fn a_datagram_that_ends_too_early_is_refused_wherever_it_does() {
    let whole = sample();
    for len in 0..32 {
        assert_eq!(read(&whole[..len]), Err(LossyError::Truncated { len }));
    }
    // What is missing of the payload only its reader can tell.
    assert_eq!(&*read(&whole[..32]).unwrap().payload, b"");
}

#[test]
fn every_field_that_is_wrong_has_an_error_of_its_own() {
    let unknown = |value| Err(LossyError::UnknownType { value });
    assert_eq!(changed(|bytes| bytes[0] = 4), unknown(4));
    assert_eq!(changed(|bytes| bytes[0] = 0x8b), unknown(0x8b));
    assert_eq!(changed(|bytes| bytes[15] = 1), Err(LossyError::Reserved));
    assert_eq!(changed(|bytes| bytes[12] = 0), Err(LossyError::KeyMissing));
    assert_eq!(
        changed(|bytes| bytes[12..14].copy_from_slice(&[1, 1])),
        Err(LossyError::KeyTooLong { len: 257 })
    );
    assert_eq!(
        changed(|bytes| bytes[12] = 17),
        Err(LossyError::Truncated { len: 35 })
    );
    assert_eq!(
        changed(|bytes| bytes[16] = 0xff),
        Err(LossyError::KeyNotUtf8)
    );
    assert_eq!(changed(|bytes| bytes[31] = 1), Err(LossyError::Padding));
    assert_eq!(
        read_lossy(&sample(), 2, &hash),
        Err(LossyError::PayloadTooLarge { len: 3, limit: 2 })
    );
}

#[test]
fn a_payload_that_does_not_fit_is_measured() {
    let (header, key) = (Header::tell(KindId(1), MethodId(1)), Key::new("k").unwrap());
    let limit = lossy_room(100, &key);
    assert_eq!((limit, lossy_room(20, &key)), (68, 0));
    let mut out = AlignedVec::new();
    let mut write = |len: usize| {
        write_lossy(&mut out, &header, &key, limit, |out| {
            out.extend_from_slice(&vec![7; len]);
            Ok::<(), ()>(())
        })
    };
    assert_eq!(write(69), Err(WriteError::TooLarge { len: 69, limit }));
    assert_eq!(write(68), Ok(()));
    assert_eq!(out.len(), 100);
    let failed = write_lossy(&mut out, &header, &key, limit, |_| Err("no"));
    assert_eq!(failed, Err(WriteError::Payload("no")));
}

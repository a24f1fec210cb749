//! A hello and a list of kinds from a hostile peer.
//!
//! What is accepted can be written again, and reads as the same. A hello of our own version has
//! one spelling only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use teff_wire::{Hello, Version, decode_kinds, encode_kinds};

fuzz_target!(|input: &[u8]| {
    if let Ok(hello) = Hello::decode(input) {
        let mut written = AlignedVec::new();
        hello
            .encode(&mut written)
            .expect("what was read can be written");
        assert_eq!(Hello::decode(&written).as_ref(), Ok(&hello));
        assert!(hello.version > Version::CURRENT || *written == *input);
    }
    if let Ok(kinds) = decode_kinds(input) {
        let mut written = AlignedVec::new();
        encode_kinds(&kinds, &mut written).expect("what was read can be written");
        assert_eq!(decode_kinds(&written), Ok(kinds));
    }
});

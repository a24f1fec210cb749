//! The kernel's program and the Rust function agree, and ids reach the shard they are made for.

use super::*;

/// Runs a program as the kernel would: loads beyond the end return 0.
fn run(program: &[Instruction], datagram: &[u8]) -> u32 {
    let (mut accumulator, mut index, mut at) = (0_u32, 0_u32, 0);
    loop {
        let Instruction {
            code,
            jump_true,
            jump_false,
            k,
        } = program[at];
        at += 1;
        let start = k as usize;
        match code {
            LOAD_BYTE => match datagram.get(start) {
                Some(byte) => accumulator = (*byte).into(),
                None => return 0,
            },
            LOAD_WORD => match datagram.get(start..).and_then(<[u8]>::first_chunk) {
                Some(word) => accumulator = u32::from_be_bytes(*word),
                None => return 0,
            },
            JUMP_SET => {
                at += usize::from(if accumulator & k == 0 {
                    jump_false
                } else {
                    jump_true
                });
            }
            JUMP => at += start,
            TO_INDEX => index = accumulator,
            XOR_INDEX => accumulator ^= index,
            MODULO => accumulator %= k,
            RETURN => return accumulator,
            code => panic!("no such instruction: {code:#x}"),
        }
    }
}

fn random_datagram(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn long(cid: &ConnectionId) -> Vec<u8> {
    let mut datagram = vec![0xc3, 0, 0, 0, 1, cid.len() as u8];
    datagram.extend_from_slice(cid);
    datagram.extend_from_slice(&random_datagram(40));
    datagram
}

fn short(cid: &ConnectionId) -> Vec<u8> {
    let mut datagram = vec![0x43];
    datagram.extend_from_slice(cid);
    datagram.extend_from_slice(&random_datagram(20));
    datagram
}

#[test]
fn the_program_and_the_function_agree_on_anything() {
    for shards in [1, 2, 3, 7, 64, 100, u16::MAX] {
        let program = program(shards);
        for len in (0..40).chain([1200, 1452]) {
            for _ in 0..50 {
                let datagram = random_datagram(len);
                assert_eq!(
                    run(&program, &datagram),
                    u32::from(shard_of(&datagram, shards).0),
                    "{shards} shards, {datagram:02x?}"
                );
            }
        }
    }
}

#[test]
fn ids_reach_the_shard_that_made_them_by_either_header() {
    for shards in [1, 2, 3, 17, 300] {
        for shard in [0, shards / 2, shards - 1].map(ShardId) {
            let mut cids = ShardCids::new(shard, shards);
            for _ in 0..100 {
                let cid = cids.generate_cid();
                assert_eq!(shard_of(&long(&cid), shards), shard);
                assert_eq!(shard_of(&short(&cid), shards), shard);
            }
        }
    }
}

#[test]
fn a_first_id_reaches_the_dialled_shard_whatever_the_number_of_shards() {
    for shard in [0, 1, 5, 250].map(ShardId) {
        for shards in [shard.0 + 1, shard.0 + 2, 999, u16::MAX] {
            assert_eq!(shard_of(&long(&first_cid(shard)), shards), shard);
        }
    }
}

#[test]
fn a_datagram_too_short_for_an_id_is_for_shard_0() {
    assert_eq!(shard_of(&[], 3), ShardId(0));
    assert_eq!(shard_of(&[0x40; 8], 3), ShardId(0));
    assert_eq!(shard_of(&[0xc0; 13], 3), ShardId(0));
}

#[test]
fn every_number_of_a_shard_is_equally_likely() {
    // Small enough to try all: of the 2^32 numbers, those of the last, partial block are refused
    // and each other block gives one number.
    let (shard, shards) = (ShardId(2), 7);
    let top = u32::MAX - u32::MAX % 7;
    assert_eq!(fit(0, shard, shards), Some(2));
    assert_eq!(fit(6, shard, shards), Some(2));
    assert_eq!(fit(7, shard, shards), Some(9));
    assert_eq!(fit(top - 1, shard, shards), Some(top - 7 + 2));
    assert_eq!(fit(top, shard, shards), None);
    assert_eq!(fit(u32::MAX, shard, shards), None);
    // A power of two leaves no partial block.
    assert_eq!(fit(u32::MAX, ShardId(3), 4), Some(u32::MAX));
    assert_eq!(fit(u32::MAX, ShardId(0), 1), Some(u32::MAX));
}

#[test]
fn ids_look_random_in_every_byte() {
    let mut cids = ShardCids::new(ShardId(1), 4);
    let ids: Vec<_> = (0..400).map(|_| cids.generate_cid()).collect();
    for at in 0..CID_LEN {
        let distinct = ids
            .iter()
            .map(|cid| cid[at])
            .collect::<std::collections::HashSet<_>>();
        // Of 400 draws from 256 values about 202 are distinct; 60 from a byte with two bits fixed.
        assert!(
            distinct.len() > 120,
            "byte {at} takes {} values",
            distinct.len()
        );
    }
}

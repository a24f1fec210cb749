//! How a datagram finds its shard: by the connection id that it is addressed to.
//!
//! The first eight bytes of every connection id that a node hands out are two words whose
//! exclusive or, modulo the number of shards, is the shard. The first word is random, so the ids
//! look random. The kernel runs [`program`] on every datagram and [`shard_of`] says the same in
//! Rust: a test runs both over the same datagrams. Both are total: whatever arrives has a shard.

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use teff_wire::ShardId;

/// Length in bytes of the connection ids that nodes hand out.
pub(crate) const CID_LEN: usize = 8;

/// Length in bytes of the connection id that a dialler makes up for its first packets: the longest
/// that QUIC version 1 knows.
const FIRST_CID_LEN: usize = 20;

/// Where the destination's connection id starts in a datagram with a long header.
const LONG_OFFSET: usize = 6;

/// Where it starts in a datagram with a short header.
const SHORT_OFFSET: usize = 1;

/// The bit of the first byte that tells a long header.
const LONG_HEADER: u8 = 0x80;

/// The shard that a datagram is for, at a node of `shards` shards.
///
/// Datagrams that are too short for a connection id are for shard 0, as in the kernel.
pub fn shard_of(datagram: &[u8], shards: u16) -> ShardId {
    let offset = match datagram.first() {
        Some(first) if first & LONG_HEADER != 0 => LONG_OFFSET,
        _ => SHORT_OFFSET,
    };
    let Some(words) = datagram
        .get(offset..offset + 8)
        .and_then(|bytes| bytes.first_chunk())
    else {
        return ShardId(0);
    };
    ShardId(residue(words, shards))
}

/// What the two words of a connection id say, modulo the number of shards.
fn residue(words: &[u8; 8], shards: u16) -> u16 {
    let both = u64::from_be_bytes(*words);
    let mixed = (both >> 32) as u32 ^ both as u32;
    u16::try_from(mixed % u32::from(shards.max(1))).expect("a remainder is less than the divisor")
}

/// Makes the connection ids of one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardCids {
    shard: ShardId,
    shards: u16,
}

impl ShardCids {
    pub(crate) fn new(shard: ShardId, shards: u16) -> Self {
        debug_assert!(shard.0 < shards, "a node has no shard beyond its last");
        Self { shard, shards }
    }
}

impl ConnectionIdGenerator for ShardCids {
    fn generate_cid(&mut self) -> ConnectionId {
        loop {
            let random = u64::from_be_bytes(random_bytes());
            if let Some(mixed) = fit(random as u32, self.shard, self.shards) {
                let first = (random >> 32) as u32;
                return ConnectionId::new(&join(first, first ^ mixed));
            }
        }
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Moves `random` to the number of its block of `shards` numbers that belongs to `shard`. `None`
/// for the last block if it is not whole: taking it would make some numbers likelier than others.
fn fit(random: u32, shard: ShardId, shards: u16) -> Option<u32> {
    let shards = u32::from(shards);
    let block = random - random % shards;
    (block <= u32::MAX - (shards - 1)).then(|| block + u32::from(shard.0))
}

/// A connection id for the first packets to a shard of a node whose number of shards the dialler
/// does not know yet: the words differ by exactly the shard, and that is the remainder for any
/// number of shards that has it. The bytes behind them keep the id unpredictable, as RFC 9000
/// (7.2) wants it.
pub(crate) fn first_cid(shard: ShardId) -> ConnectionId {
    let mut bytes = random_bytes::<FIRST_CID_LEN>();
    let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes[..8].copy_from_slice(&join(first, first ^ u32::from(shard.0)));
    ConnectionId::new(&bytes)
}

fn join(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the source of random numbers worked when the node started");
    bytes
}

/// One instruction of a classic BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) k: u32,
}

/// Load the byte at `k`.
pub(crate) const LOAD_BYTE: u16 = 0x30;
/// Load the big-endian word at `k`. A load beyond the end ends the program with 0.
pub(crate) const LOAD_WORD: u16 = 0x20;
/// Jump on `accumulator & k`.
pub(crate) const JUMP_SET: u16 = 0x45;
/// Jump by `k`.
pub(crate) const JUMP: u16 = 0x05;
/// Copy the accumulator to the index register.
pub(crate) const TO_INDEX: u16 = 0x07;
/// `accumulator ^= index`.
pub(crate) const XOR_INDEX: u16 = 0xac;
/// `accumulator %= k`.
pub(crate) const MODULO: u16 = 0x94;
/// Return the accumulator.
pub(crate) const RETURN: u16 = 0x16;

/// What the kernel runs to pick the socket of a reuseport group: [`shard_of`] as a program whose
/// result is the position of the socket in the group.
pub(crate) fn program(shards: u16) -> [Instruction; 12] {
    let op = |code, k| Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        k,
    };
    let jump_set = Instruction {
        jump_false: 4,
        ..op(JUMP_SET, LONG_HEADER.into())
    };
    [
        op(LOAD_BYTE, 0),
        jump_set,
        op(LOAD_WORD, LONG_OFFSET as u32),
        op(TO_INDEX, 0),
        op(LOAD_WORD, LONG_OFFSET as u32 + 4),
        op(JUMP, 3),
        op(LOAD_WORD, SHORT_OFFSET as u32),
        op(TO_INDEX, 0),
        op(LOAD_WORD, SHORT_OFFSET as u32 + 4),
        // Both ways meet here.
        op(XOR_INDEX, 0),
        op(MODULO, shards.into()),
        op(RETURN, 0),
    ]
}

#[cfg(test)]
mod tests;

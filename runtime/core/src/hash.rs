//! The one stable hash of a grain, and the partition it falls into.
//!
//! The hash is SipHash-1-3 under a key that only the cluster knows: the same on every node and
//! in every build (test vectors below), and nobody outside can look for ids that all fall on one
//! shard. Its value never leaves the cluster. Changing it moves every grain of every cluster.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use teff_wire::{GrainId, Key, KindId};

/// How many partitions the hash range is cut into: the unit of ownership.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;

/// The cluster's secret for placing grains. All nodes must have the same.
///
/// `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlacementKey([u8; 16]);

/// The hash of a grain under the cluster's key. Made once per message, then passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrainHash(pub u64);

/// One of [`PARTITIONS`] slices of the hash range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl PlacementKey {
    /// The key of these bytes. Any will do, as long as they cannot be guessed.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The hash of a grain: SipHash-1-3 of the kind (4 bytes, little-endian), then the key.
    pub fn hash(&self, grain: &GrainId) -> GrainHash {
        self.hash_parts(grain.kind, &grain.key)
    }

    /// The same of a kind and a key that are not together.
    pub fn hash_parts(&self, kind: KindId, key: &Key) -> GrainHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&kind.0.to_le_bytes());
        hasher.write(key.as_str().as_bytes());
        GrainHash(hasher.finish())
    }

    /// The bytes, for digests that prove the possession of the key.
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl GrainHash {
    /// The partition of the grain: the top 14 bits, so that tables indexed by the low bits stay
    /// well spread within one partition.
    pub const fn partition(self) -> Partition {
        Partition((self.0 >> (u64::BITS - PARTITION_BITS)) as u16)
    }
}

impl fmt::Debug for PlacementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlacementKey(..)")
    }
}

const PARTITION_BITS: u32 = 14;

#[cfg(test)]
mod tests {
    use teff_wire::{Key, KindId};

    use super::*;

    fn grain(kind: u32, key: &str) -> GrainId {
        GrainId::new(KindId(kind), Key::new(key).unwrap())
    }

    const COUNTING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    /// The published vectors of SipHash-1-3 (key 00..0f, message 00 01 02 ..) at the lengths that
    /// a kind and a key of ASCII can spell.
    #[test]
    fn hashes_agree_with_the_published_vectors_of_siphash_1_3() {
        let key = PlacementKey::new(COUNTING);
        let kind = u32::from_le_bytes([0, 1, 2, 3]);
        let text: String = (4_u8..16).map(char::from).collect();
        let published = [
            (1, 0xdef9_d52f_4953_3b67_u64),
            (4, 0x3690_9511_8d29_9a8e),
            (12, 0xcc4f_dd1a_7d90_8b66),
        ];
        for (len, expected) in published {
            assert_eq!(
                key.hash(&grain(kind, &text[..len])).0,
                expected,
                "{len} bytes of key"
            );
        }
    }

    /// The expected values come from another implementation, written for this test in Python.
    #[test]
    fn hashes_never_change() {
        let key = PlacementKey::new(COUNTING);
        let long = "a key that is longer than what is stored in place";
        for (kind, text, expected) in [
            (KindId::of("account").0, "1", 0xc07f_f02d_864b_52f0),
            (KindId::of("account").0, "4711", 0x5b7f_c849_17e6_175e),
            (KindId::of("room").0, long, 0x4d44_9114_7288_6b57),
            (u32::MAX, "\u{fc}\u{2192}", 0x00b2_b129_01bb_4c27),
        ] {
            assert_eq!(key.hash(&grain(kind, text)).0, expected, "{kind:#x} {text}");
        }
    }

    #[test]
    fn the_kind_the_key_and_the_secret_all_matter() {
        let one = PlacementKey::new(COUNTING);
        let two = PlacementKey::new([7; 16]);
        assert_ne!(one.hash(&grain(1, "a")), one.hash(&grain(2, "a")));
        assert_ne!(one.hash(&grain(1, "a")), one.hash(&grain(1, "b")));
        assert_ne!(one.hash(&grain(1, "a")), two.hash(&grain(1, "a")));
    }

    #[test]
    fn the_partition_is_the_top_of_the_hash() {
        assert_eq!(GrainHash(0).partition(), Partition(0));
        assert_eq!(
            GrainHash(u64::MAX).partition(),
            Partition(PARTITIONS as u16 - 1)
        );
        assert_eq!(GrainHash(1 << 50).partition(), Partition(1));
        assert_eq!(GrainHash((1 << 50) - 1).partition(), Partition(0));
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(
            format!("{:?}", PlacementKey::new(COUNTING)),
            "PlacementKey(..)"
        );
    }
}

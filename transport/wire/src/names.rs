//! Which grain a number stands for on a link: the receiver's table.
//!
//! A dense list: numbers are given in order, so it is never longer than the number of name frames
//! that arrived, nor than the limit. What a number stands for changes when the name frame's turn
//! comes among the frames that are handed out, not when it arrives.

use std::{fmt, sync::Arc};

use crate::id::{Key, KindId};

/// Makes the hash that is kept beside each key; [`Reader::new`](crate::Reader::new) takes it.
pub type HashGrain = Arc<dyn Fn(KindId, &Key) -> u64 + Send + Sync>;

/// The grain that a tell or call is for. Its kind stands in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grain {
    /// Which one of its kind it is.
    pub key: Key,
    /// What the reader's hash function made of kind and key when the name arrived.
    pub hash: u64,
}

/// The grains that have a number, by that number.
pub(crate) struct Names {
    list: Vec<(KindId, Grain)>,
    hash: HashGrain,
}

impl Names {
    pub(crate) fn new(hash: HashGrain) -> Self {
        let list = Vec::new();
        Self { list, hash }
    }

    /// Lets a number stand for a grain from now on.
    ///
    /// # Panics
    ///
    /// When the number is neither one that was given nor the next one.
    pub(crate) fn give(&mut self, number: u32, kind: KindId, key: Key) {
        let hash = (self.hash)(kind, &key);
        let name = (kind, Grain { key, hash });
        match self.list.get_mut(number as usize) {
            Some(place) => *place = name,
            None => {
                assert_eq!(number as usize, self.list.len(), "numbers come in order");
                self.list.push(name);
            }
        }
    }

    /// The kind and grain of a number.
    ///
    /// # Panics
    ///
    /// When the number was not given.
    #[inline]
    pub(crate) fn grain(&self, number: u32) -> &(KindId, Grain) {
        &self.list[number as usize]
    }

    /// How many numbers stand for a grain.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

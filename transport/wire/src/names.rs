//! Which grain a number stands for on a link: the receiver's table.
//!
//! A dense list: numbers are given in order, so it is never longer than the number of name frames
//! that arrived, nor than the limit. What a number stands for changes when the name frame's turn
//! comes among the frames that are handed out, not when it arrives.

use std::{fmt, mem, sync::Arc};

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

/// A grain that has a number.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) kind: KindId,
    pub(crate) grain: Grain,
    /// What the application has noted about the grain.
    pub(crate) note: u64,
}

/// The grains that have a number, by that number.
pub(crate) struct Names {
    list: Vec<Named>,
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
        let name = Named {
            kind,
            grain: Grain { key, hash },
            note: 0,
        };
        match self.list.get_mut(number as usize) {
            Some(place) => *place = name,
            None => {
                assert_eq!(number as usize, self.list.len(), "numbers come in order");
                self.list.push(name);
            }
        }
    }

    /// The grain of a number.
    ///
    /// # Panics
    ///
    /// When the number was not given.
    #[inline]
    pub(crate) fn named(&self, number: u32) -> &Named {
        &self.list[number as usize]
    }

    /// Lends the list to whoever runs the frames that it belongs to. Here it is empty meanwhile.
    pub(crate) fn lend(&mut self) -> Vec<Named> {
        mem::take(&mut self.list)
    }

    /// Takes the list back.
    pub(crate) fn take_back(&mut self, list: Vec<Named>) {
        self.list = list;
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

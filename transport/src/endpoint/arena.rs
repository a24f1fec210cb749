//! Memory for received bytes, used again once nothing refers to it.
//!
//! Datagrams share large allocations, because each is referred to until QUIC has handed out what
//! is in it. What is used up stays here, and serves again when the last reference is gone: memory
//! that is given back to the operating system comes back page by page, which takes longer than
//! copying a datagram into it.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Allocations of one size.
#[derive(Default)]
pub(super) struct Arena {
    current: BytesMut,
    /// Whether that is one at all.
    is_begun: bool,
    /// Those that were used up, longest ago first.
    used: VecDeque<BytesMut>,
}

impl Arena {
    /// A copy of these bytes.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> BytesMut {
        if self.current.capacity() < bytes.len() {
            self.renew(bytes.len());
        }
        self.current.extend_from_slice(bytes);
        self.current.split()
    }

    fn renew(&mut self, len: usize) {
        let wanted = len.max(SIZE);
        let spent = std::mem::take(&mut self.current);
        if self.is_begun {
            self.used.push_back(spent);
        }
        self.is_begun = true;
        if self.used.len() > KEPT {
            self.used.pop_front();
        }
        let reclaimed = self
            .used
            .front_mut()
            .is_some_and(|oldest| oldest.try_reclaim(wanted));
        self.current = match reclaimed.then(|| self.used.pop_front()).flatten() {
            Some(again) => again,
            None => BytesMut::with_capacity(wanted),
        };
    }
}

/// Two full batches of the kernel.
const SIZE: usize = 128 * 1024;

/// Allocations that are kept for their turn: 4 MiB, as much as a peer may send on a stream unasked.
const KEPT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nothing_refers_to_it() {
        let mut arena = Arena::default();
        let mut seen = std::collections::HashSet::new();
        for round in 0..100_u8 {
            let copies: Vec<_> = (0..3).map(|_| arena.copy(&[round; 60_000])).collect();
            assert!(
                copies
                    .iter()
                    .all(|copy| copy.iter().all(|byte| *byte == round))
            );
            seen.extend(copies.iter().map(|copy| copy.as_ptr().addr()));
        }
        assert!(seen.len() <= 8, "{}", seen.len());
    }

    #[test]
    fn what_is_referred_to_is_left_alone_and_not_waited_for() {
        let mut arena = Arena::default();
        let kept: Vec<_> = (0..200_u8).map(|n| arena.copy(&[n; 50_000])).collect();
        for (n, kept) in kept.iter().enumerate() {
            assert!(kept.iter().all(|byte| usize::from(*byte) == n));
        }
        assert!(arena.used.len() <= KEPT);
    }

    #[test]
    fn a_datagram_larger_than_all_others_fits() {
        let mut arena = Arena::default();
        assert_eq!(arena.copy(&vec![7; 3 * SIZE]), vec![7; 3 * SIZE]);
        assert_eq!(arena.copy(&[1]), vec![1]);
    }
}

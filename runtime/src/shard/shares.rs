//! How the room in a queue is divided among the turns of one shard.
//!
//! Who finds a queue full waits, and is woken with all others who wait. Without a limit the first
//! of them would fill the queue again before the second is polled, every time. So one turn gets a
//! share of the room that it finds: half of it, or less when more wait. The shares of a shard's own
//! queue are counted here; those of a lane are what its sender is told of the lane's room.

use std::cell::Cell;

/// The turns of a shard and what they may take.
#[derive(Default)]
pub(crate) struct Shares {
    /// How many turns have begun.
    turn: Cell<u64>,
    /// How many waited for room when they were woken last.
    waiting: Cell<usize>,
    /// The turn that sent to the shard's own queue last, and what is left of its share.
    queue: Cell<(u64, usize)>,
}

impl Shares {
    /// A handler or a task runs from here on.
    #[inline]
    pub(crate) fn begin_turn(&self) {
        self.turn.set(self.turn.get() + 1);
    }

    /// The number of this turn.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// So many that wait are about to look for room again.
    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.set(waiting);
    }

    /// What this turn may take of so much room: at least one place, if there is any.
    pub(crate) fn of(&self, room: usize) -> usize {
        room.div_ceil(self.waiting.get().max(1) + 1)
    }

    /// Takes one of so many places in the shard's own queue, if this turn may.
    pub(crate) fn take(&self, room: usize) -> bool {
        let (turn, left) = self.queue.get();
        let left = if turn == self.turn() {
            left
        } else {
            self.of(room)
        };
        self.queue.set((self.turn(), left.saturating_sub(1)));
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_half_of_the_room_and_leaves_the_rest_to_the_next() {
        let shares = Shares::default();
        let mut room = 100;
        for taken in [50, 25, 13, 6, 3, 2, 1, 0] {
            shares.begin_turn();
            let before = room;
            while shares.take(room) {
                room -= 1;
            }
            assert_eq!(before - room, taken);
        }
    }

    #[test]
    fn those_who_wait_get_a_place_each_as_long_as_there_are_places() {
        let shares = Shares::default();
        shares.set_waiting(9);
        let mut room = 30;
        for _ in 0..9 {
            shares.begin_turn();
            assert!(shares.take(room));
            room -= 1;
            while shares.take(room) {
                room -= 1;
            }
        }
        assert!(room > 0);
    }
}

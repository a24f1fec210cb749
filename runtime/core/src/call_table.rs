//! The outstanding calls of one shard, each completed exactly once: by its reply, by its deadline,
//! or because the link it went over died.
//!
//! A call has a slot and the slot's generation ([`CallId`]). Whoever removes the entry completes
//! the call; a second completer (a late reply, say) finds the generation over and gets nothing.
//! Generations start at 1, so no call is number 0. The table never grows beyond its capacity and
//! never shrinks, so a warm one does not allocate.
//!
//! # Deadlines
//!
//! Nearly every call is answered long before its deadline, so a finished call must cost nothing
//! later: no heap entry, no timer to cancel. Instead every block of 64 slots keeps a lower bound
//! of its live deadlines, and the table a lower bound of all. Making a call lowers the bounds,
//! finishing one leaves them alone. When time reaches the table's bound, the blocks whose bound
//! is reached are swept, which makes their bounds exact again.
//!
//! A sweep is rare. It takes a deadline to be reached, be it one of a call that is long
//! finished, and leaves behind only later ones; so with calls that may take five seconds, a block
//! is swept about once in five seconds, and then 512 bytes are read. Slots are used again last in,
//! first out, so a shard with few calls in flight has few blocks at all. If calls do expire one by
//! one, each costs a sweep of its own block and a look at the bounds of the others (8 KiB for
//! 65 536 calls), never a sweep of the whole table.

use teff_wire::CallId;

use crate::time::Micros;

/// Outstanding calls; `C` is what completes one.
#[derive(Debug)]
pub struct CallTable<C> {
    slots: Vec<Slot<C>>,
    /// The deadline of each slot, [`Micros::NEVER`] for a vacant one. Apart from the slots, so
    /// that a sweep reads nothing else.
    deadlines: Vec<Micros>,
    /// For each block of slots: no live call of it has an earlier deadline.
    bounds: Vec<Micros>,
    /// No live call has an earlier deadline.
    bound: Micros,
    /// The vacant slot to be used next, or `NONE`. Linked through [`Slot::next_vacant`].
    vacant: u32,
    live: u32,
    capacity: u32,
}

/// The table is full. Gives back what would have completed the call.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls are outstanding, wait for some of them to complete")]
pub struct Full<C>(pub C);

#[derive(Debug)]
struct Slot<C> {
    entry: Option<C>,
    generation: u32,
    next_vacant: u32,
}

impl<C> CallTable<C> {
    /// How many calls a shard may have outstanding unless told otherwise.
    pub const DEFAULT_CAPACITY: u32 = 65_536;

    /// An empty table for so many calls at once. Allocates as calls are made.
    pub fn new(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            deadlines: Vec::new(),
            bounds: Vec::new(),
            bound: Micros::NEVER,
            vacant: NONE,
            live: 0,
            capacity,
        }
    }

    /// Keeps what completes a call that expires at `deadline` ([`Micros::NEVER`] for none).
    ///
    /// # Errors
    ///
    /// [`Full`] with the entry when as many calls are outstanding as the table may hold.
    pub fn insert(&mut self, entry: C, deadline: Micros) -> Result<CallId, Full<C>> {
        if self.is_full() {
            return Err(Full(entry));
        }
        Ok(self.enter(|| entry, deadline))
    }

    /// As [`insert`](Self::insert), of an entry that is made where it is to lie; `None` when the
    /// table is full.
    #[inline]
    pub fn insert_with(&mut self, make: impl FnOnce() -> C, deadline: Micros) -> Option<CallId> {
        (!self.is_full()).then(|| self.enter(make, deadline))
    }

    /// Whether as many calls are outstanding as may be.
    pub fn is_full(&self) -> bool {
        self.live == self.capacity
    }

    /// Only called below the capacity.
    #[inline]
    fn enter(&mut self, make: impl FnOnce() -> C, deadline: Micros) -> CallId {
        let slot = if self.vacant == NONE {
            self.grow()
        } else {
            self.vacant
        };
        let index = slot as usize;
        let place = &mut self.slots[index];
        self.vacant = place.next_vacant;
        place.entry = Some(make());
        let call = CallId {
            slot,
            generation: place.generation,
        };

        self.deadlines[index] = deadline;
        let block = &mut self.bounds[index / BLOCK];
        *block = deadline.min(*block);
        // An empty table forgets the bound of calls long finished. Those of the blocks stay: they
        // cost a sweep of 64 slots each, at most.
        self.bound = if self.live == 0 {
            deadline
        } else {
            deadline.min(self.bound)
        };
        self.live += 1;
        call
    }

    /// What completes the call, unless it has been completed.
    pub fn get_mut(&mut self, call: CallId) -> Option<&mut C> {
        let slot = self.slots.get_mut(call.slot as usize)?;
        if slot.generation != call.generation {
            return None;
        }
        slot.entry.as_mut()
    }

    /// Takes what completes the call; `None` when it has been completed before or never was.
    pub fn remove(&mut self, call: CallId) -> Option<C> {
        let slot = self.slots.get(call.slot as usize)?;
        if slot.generation != call.generation {
            return None;
        }
        self.vacate(call.slot).map(|(_, entry)| entry)
    }

    /// Takes the call out like [`remove`](Self::remove), and drops what completes it.
    pub fn discard(&mut self, call: CallId) {
        if self.get_mut(call).is_some() {
            self.slots[call.slot as usize].entry = None;
            self.free(call.slot);
        }
    }

    /// The call has its outcome and waits only to be looked at: it no longer expires.
    pub fn disarm(&mut self, call: CallId) {
        if self.get_mut(call).is_some() {
            self.deadlines[call.slot as usize] = Micros::NEVER;
        }
    }

    /// Removes every call whose deadline is due at `now` and hands them out, in no particular
    /// order. Cheap when [`next_deadline`](Self::next_deadline) is not due.
    pub fn expire(&mut self, now: Micros, mut out: impl FnMut(CallId, C)) {
        if !self.bound.is_due(now) {
            return;
        }
        let mut bound = Micros::NEVER;
        for block in 0..self.bounds.len() {
            if self.bounds[block].is_due(now) {
                self.bounds[block] = self.sweep(block, now, &mut out);
            }
            bound = bound.min(self.bounds[block]);
        }
        self.bound = bound;
    }

    /// Removes every call that the predicate picks and hands them out, in no particular order:
    /// those that went over a link which died, for example. Looks at every slot ever used.
    pub fn remove_where(
        &mut self,
        mut pick: impl FnMut(CallId, &C) -> bool,
        mut out: impl FnMut(CallId, C),
    ) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let call = CallId {
                slot: index as u32,
                generation: slot.generation,
            };
            if slot.entry.as_ref().is_some_and(|entry| pick(call, entry))
                && let Some((call, entry)) = self.vacate(call.slot)
            {
                out(call, entry);
            }
        }
    }

    /// When to call [`expire`](Self::expire) next: no call has an earlier deadline, though the
    /// earliest may be later, because finished calls are forgotten lazily. `None` when no call
    /// that is outstanding can expire, or none is outstanding.
    ///
    /// Once `expire` has been called with that time, the next one is later: this cannot spin.
    pub fn next_deadline(&self) -> Option<Micros> {
        (self.live > 0 && self.bound != Micros::NEVER).then_some(self.bound)
    }

    /// How many calls are outstanding.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether no call is outstanding.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many calls may be outstanding.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Adds a vacant slot and returns it. Only called below the capacity.
    fn grow(&mut self) -> u32 {
        let index = self.slots.len();
        if index.is_multiple_of(BLOCK) {
            self.bounds.push(Micros::NEVER);
        }
        self.slots.push(Slot {
            entry: None,
            generation: 1,
            next_vacant: NONE,
        });
        self.deadlines.push(Micros::NEVER);
        index as u32
    }

    /// Removes what is due in a block and returns the earliest deadline left.
    fn sweep(&mut self, block: usize, now: Micros, out: &mut impl FnMut(CallId, C)) -> Micros {
        let first = block * BLOCK;
        let last = self.deadlines.len().min(first + BLOCK);
        let mut bound = Micros::NEVER;
        for index in first..last {
            let deadline = self.deadlines[index];
            if !deadline.is_due(now) {
                bound = bound.min(deadline);
            } else if let Some((call, entry)) = self.vacate(index as u32) {
                out(call, entry);
            }
        }
        bound
    }

    /// Empties a slot and ends its generation.
    fn vacate(&mut self, slot: u32) -> Option<(CallId, C)> {
        let place = &mut self.slots[slot as usize];
        let entry = place.entry.take()?;
        let call = CallId {
            slot,
            generation: place.generation,
        };
        self.free(slot);
        Some((call, entry))
    }

    fn free(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        // Comes round after four thousand million calls of one slot, and leaves out 0.
        place.generation = place.generation.checked_add(1).unwrap_or(1);
        place.next_vacant = self.vacant;
        self.vacant = slot;
        self.deadlines[slot as usize] = Micros::NEVER;
        self.live -= 1;
    }
}

impl<C> std::fmt::Debug for Full<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Full(..)")
    }
}

/// No slot: a table of `u32::MAX` slots ends one before it.
const NONE: u32 = u32::MAX;

/// Slots that share a bound: eight cache lines of deadlines. Twice as many would double the sweep
/// of a call that expires alone; half would double the list of bounds.
const BLOCK: usize = 64;

#[cfg(test)]
mod tests;

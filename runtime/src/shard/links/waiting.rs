//! Answers that wait for room on a link, whose peer does not read as fast as it calls. Bounded in
//! number and in bytes, whatever the peer does: it chooses how large they are.

use std::collections::VecDeque;

use rkyv::util::AlignedVec;
use teff_wire::Status;

use crate::envelope::Settled;

/// The answers that wait on one link, oldest first.
#[derive(Default)]
pub(crate) struct Waiting {
    answers: VecDeque<Answer>,
    /// What they will have on the wire, which is about what they have in memory.
    bytes: usize,
}

struct Answer {
    number: u64,
    settled: Settled,
    bytes: usize,
}

impl Waiting {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The oldest, and the number of the call that it is for.
    pub(super) fn first(&self) -> Option<(u64, &Settled)> {
        self.answers
            .front()
            .map(|answer| (answer.number, &answer.settled))
    }

    /// Takes the oldest out.
    pub(super) fn pop(&mut self) -> Option<Settled> {
        let answer = self.answers.pop_front()?;
        self.bytes -= answer.bytes;
        Some(answer.settled)
    }

    /// Lets an answer wait; gives it back if there is no room for it. When only its bytes are too
    /// many, the caller is told that: the handler ran, and what it answered is lost.
    pub(super) fn push(&mut self, number: u64, settled: Settled) -> Option<Settled> {
        if self.answers.len() >= ANSWERS_MAX {
            return Some(settled);
        }
        let bytes = bytes_of(&settled);
        if self.bytes > 0 && self.bytes + bytes > BYTES_MAX {
            self.answers.push_back(Answer {
                number,
                settled: Err((Status::ReplyTooLarge, String::new())),
                bytes: 0,
            });
            return Some(settled);
        }
        self.bytes += bytes;
        self.answers.push_back(Answer {
            number,
            settled,
            bytes,
        });
        None
    }
}

fn bytes_of(settled: &Settled) -> usize {
    match settled {
        Ok(payload) => {
            let mut bytes = AlignedVec::new();
            // What cannot be encoded will not be sent either.
            let _ = payload.encode(&mut bytes);
            bytes.len()
        }
        Err((_, text)) => text.len(),
    }
}

/// As many calls as a peer's shard can have outstanding: an honest peer never exceeds it.
const ANSWERS_MAX: usize = 65_536;

/// As much again as the link itself holds for a peer that does not read, and then some. One more
/// is taken whatever its size, while none waits.
const BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use teff_contract::Payload;

    use super::*;

    fn reply(len: usize) -> Settled {
        Ok(Payload::new(vec![0_u8; len]))
    }

    #[test]
    fn answers_come_out_as_they_went_in() {
        let mut waiting = Waiting::default();
        for number in 0..3 {
            assert!(waiting.push(number, reply(10)).is_none());
        }
        assert_eq!((waiting.len(), waiting.first().unwrap().0), (3, 0));
        for _ in 0..3 {
            assert!(waiting.pop().unwrap().is_ok());
        }
        assert!(waiting.is_empty() && waiting.pop().is_none());
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn those_that_are_too_large_for_what_is_left_are_given_back_and_told_of() {
        let mut waiting = Waiting::default();
        // Larger than all may be together, but none waits.
        assert!(waiting.push(0, reply(BYTES_MAX + 1)).is_none());
        assert!(waiting.push(1, reply(1)).unwrap().is_ok());
        waiting.pop();
        let (_, told) = waiting.first().unwrap();
        assert!(matches!(told, Err((Status::ReplyTooLarge, _))));
        assert!(waiting.push(2, reply(1)).is_none(), "there is room again");
    }

    #[test]
    fn more_than_a_peer_can_have_asked_for_are_given_back() {
        let mut waiting = Waiting::default();
        let busy = || Err((Status::Busy, String::new()));
        for number in 0..ANSWERS_MAX as u64 {
            assert!(waiting.push(number, busy()).is_none());
        }
        assert!(waiting.push(0, busy()).is_some());
        assert_eq!(waiting.len(), ANSWERS_MAX);
    }
}

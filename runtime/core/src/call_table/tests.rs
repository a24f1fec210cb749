//! The call table against a model of it, and what its sweeps cost.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

fn expired(table: &mut CallTable<u32>, now: u64) -> Vec<u32> {
    let mut out = Vec::new();
    table.expire(Micros(now), |_, entry| out.push(entry));
    out.sort_unstable();
    out
}

#[test]
fn a_call_is_completed_once() {
    let mut table = CallTable::new(8);
    let call = table.insert("reply to me", Micros(10)).unwrap();
    assert_eq!(table.get_mut(call).copied(), Some("reply to me"));
    assert_eq!(table.remove(call), Some("reply to me"));
    assert_eq!(table.remove(call), None);
    assert_eq!(table.get_mut(call), None);
    assert!(table.is_empty());
}

#[test]
fn a_late_reply_does_not_complete_the_next_call_of_the_slot() {
    let mut table = CallTable::new(1);
    let first = table.insert(1, Micros(10)).unwrap();
    assert_eq!(expired(&mut table, 10), [1]);
    let second = table.insert(2, Micros(20)).unwrap();
    assert_eq!(first.slot, second.slot);
    assert_eq!(table.remove(first), None);
    assert_eq!(table.get_mut(first), None);
    assert_eq!(table.remove(second), Some(2));
}

#[test]
fn a_call_that_was_never_made_has_no_entry() {
    let mut table = CallTable::new(4);
    assert_eq!(
        table.remove(CallId {
            slot: 0,
            generation: 1
        }),
        None
    );
    let call = table.insert(1, Micros(1)).unwrap();
    assert_eq!(
        table.remove(CallId {
            slot: 3,
            generation: call.generation
        }),
        None
    );
    assert_eq!(
        table.remove(CallId {
            slot: u32::MAX,
            generation: 0
        }),
        None
    );
    assert_eq!(table.remove(CallId::from_u64(0)), None);
    assert_ne!(call.to_u64(), 0);
}

#[test]
fn a_full_table_hands_the_entry_back() {
    let mut table = CallTable::new(2);
    let first = table.insert(1, Micros::NEVER).unwrap();
    table.insert(2, Micros::NEVER).unwrap();
    assert_eq!(table.insert(3, Micros::NEVER), Err(Full(3)));
    assert_eq!(table.len(), 2);
    table.remove(first).unwrap();
    assert!(table.insert(3, Micros::NEVER).is_ok());
    assert_eq!(CallTable::new(0).insert(1, Micros(1)), Err(Full(1)));
}

#[test]
fn a_call_without_deadline_never_expires() {
    let mut table = CallTable::new(4);
    table.insert(1, Micros::NEVER).unwrap();
    assert_eq!(table.next_deadline(), None);
    assert!(expired(&mut table, u64::MAX).is_empty());
    table.insert(2, Micros(5)).unwrap();
    assert_eq!(table.next_deadline(), Some(Micros(5)));
    assert_eq!(expired(&mut table, u64::MAX), [2]);
    assert_eq!(table.next_deadline(), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_call_that_has_its_outcome_does_not_expire() {
    let mut table = CallTable::new(4);
    let call = table.insert(1, Micros(5)).unwrap();
    table.disarm(call);
    assert!(expired(&mut table, 10).is_empty());
    assert_eq!(table.next_deadline(), None);
    assert_eq!(table.remove(call), Some(1));
    // Not the next call of the slot.
    let next = table.insert(2, Micros(20)).unwrap();
    table.disarm(call);
    assert_eq!(next.slot, call.slot);
    assert_eq!(expired(&mut table, 20), [2]);
}

#[test]
fn generations_start_anew_at_one() {
    let mut table = CallTable::new(1);
    table.insert(1, Micros::NEVER).unwrap();
    table.slots[0].generation = u32::MAX;
    table
        .remove(CallId {
            slot: 0,
            generation: u32::MAX,
        })
        .unwrap();
    assert_eq!(
        table.insert(2, Micros::NEVER),
        Ok(CallId {
            slot: 0,
            generation: 1
        })
    );
}

#[test]
fn an_entry_is_dropped_when_it_is_removed_not_when_the_slot_is_used_again() {
    let entry = Rc::new(());
    let mut table = CallTable::new(4);
    let call = table.insert(Rc::clone(&entry), Micros(1)).unwrap();
    table.insert(Rc::clone(&entry), Micros(2)).unwrap();
    table.insert(Rc::clone(&entry), Micros(3)).unwrap();
    table.remove(call);
    table.expire(Micros(2), |_, _| {});
    assert_eq!(Rc::strong_count(&entry), 2);
    table.remove_where(|_, _| true, |_, _| {});
    assert_eq!(Rc::strong_count(&entry), 1);
}

/// The work of calls that are answered at once: a million, one at a time, five seconds each.
#[test]
fn finished_calls_leave_nothing_behind() {
    let mut table = CallTable::new(CallTable::<u32>::DEFAULT_CAPACITY);
    let mut sweeps = 0;
    for n in 0..1_000_000_u64 {
        let call = table.insert(7, Micros(n * 10 + 5_000_000)).unwrap();
        table.remove(call).unwrap();
        let due = table.bound.is_due(Micros(n * 10));
        sweeps += u32::from(due);
        table.expire(Micros(n * 10), |_, _| {
            unreachable!("every call was answered")
        });
    }
    assert_eq!(table.slots.len(), 1);
    // Ten seconds passed.
    assert!(sweeps <= 2, "{sweeps} sweeps");
}

/// The worst case: calls to a node that answers none, each with a deadline of its own.
#[test]
fn calls_that_expire_one_by_one_sweep_their_own_block_only() {
    let mut table = CallTable::new(CallTable::<u32>::DEFAULT_CAPACITY);
    for n in 0..4_096 {
        table.insert(n, Micros(1_000 + u64::from(n))).unwrap();
    }
    for n in 0..4_096 {
        let now = 1_000 + u64::from(n);
        assert_eq!(table.next_deadline(), Some(Micros(now)));
        let due = table
            .bounds
            .iter()
            .filter(|bound| bound.is_due(Micros(now)))
            .count();
        // The blocks before this one are empty and have no bound.
        assert_eq!(due, 1, "at call {n}");
        assert_eq!(expired(&mut table, now), [n]);
    }
    assert!(table.is_empty());
}

/// What a shard may do to its table.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        left: u64,
    },
    /// Completes one of the calls made so far, live or not.
    Remove {
        nth: usize,
    },
    /// Lets one of the calls made so far wait without a deadline.
    Disarm {
        nth: usize,
    },
    Pass {
        micros: u64,
    },
    /// Removes every call whose entry has this remainder, as if links were numbered so.
    Break {
        link: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let left = prop_oneof![4 => 0..50_u64, 1 => Just(5_000), 1 => Just(u64::MAX)];
    let step = prop_oneof![
        6 => left.prop_map(|left| Step::Insert { left }),
        4 => any::<usize>().prop_map(|nth| Step::Remove { nth }),
        1 => any::<usize>().prop_map(|nth| Step::Disarm { nth }),
        3 => (0..40_u64).prop_map(|micros| Step::Pass { micros }),
        1 => (0..3_u32).prop_map(|link| Step::Break { link }),
    ];
    proptest::collection::vec(step, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_table_does_what_a_map_does(
        steps in steps(),
        capacity in prop_oneof![1..8_u32, 100..300_u32]
    ) {
        let mut table = CallTable::new(capacity);
        let mut model: BTreeMap<u64, (u32, Micros)> = BTreeMap::new();
        let mut made: Vec<CallId> = Vec::new();
        let mut now = Micros(0);
        for (n, step) in steps.into_iter().enumerate() {
            let n = n as u32;
            match step {
                Step::Insert { left } => {
                    let deadline = Micros(now.0.saturating_add(left));
                    match table.insert(n, deadline) {
                        Ok(call) => {
                            prop_assert!(model.len() < capacity as usize);
                            prop_assert!(model.insert(call.to_u64(), (n, deadline)).is_none());
                            made.push(call);
                        }
                        Err(Full(entry)) => {
                            prop_assert_eq!(entry, n);
                            prop_assert_eq!(model.len(), capacity as usize);
                        }
                    }
                }
                Step::Remove { nth } if !made.is_empty() => {
                    let call = made[nth % made.len()];
                    let expected = model.remove(&call.to_u64()).map(|(entry, _)| entry);
                    prop_assert_eq!(table.get_mut(call).copied(), expected);
                    prop_assert_eq!(table.remove(call), expected);
                }
                Step::Disarm { nth } if !made.is_empty() => {
                    let call = made[nth % made.len()];
                    table.disarm(call);
                    if let Some((_, deadline)) = model.get_mut(&call.to_u64()) {
                        *deadline = Micros::NEVER;
                    }
                }
                Step::Remove { .. } | Step::Disarm { .. } => {}
                Step::Pass { micros } => {
                    now.0 += micros;
                    let mut out = BTreeMap::new();
                    table.expire(now, |call, entry| _ = out.insert(call.to_u64(), entry));
                    let due = model.extract_if(.., |_, (_, deadline)| deadline.is_due(now));
                    prop_assert_eq!(out, due.map(|(call, (entry, _))| (call, entry)).collect());
                    prop_assert!(table.next_deadline().is_none_or(|next| next > now));
                }
                Step::Break { link } => {
                    let mut out = BTreeMap::new();
                    table.remove_where(
                        |_, entry| entry % 3 == link,
                        |call, entry| _ = out.insert(call.to_u64(), entry),
                    );
                    let gone = model.extract_if(.., |_, (entry, _)| *entry % 3 == link);
                    prop_assert_eq!(out, gone.map(|(call, (entry, _))| (call, entry)).collect());
                }
            }
            prop_assert_eq!(table.len(), model.len());
            let earliest = model.values().map(|&(_, deadline)| deadline).min();
            match earliest.filter(|&deadline| deadline != Micros::NEVER) {
                Some(earliest) => {
                    prop_assert!(table.next_deadline().is_some_and(|next| next <= earliest));
                }
                None => prop_assert!(!model.is_empty() || table.next_deadline().is_none()),
            }
        }
        // Sleeping until the next deadline again and again ends with nothing that could expire.
        for _ in 0..=2 * made.len() {
            let Some(next) = table.next_deadline() else { break };
            table.expire(next, |call, _| _ = model.remove(&call.to_u64()));
        }
        prop_assert_eq!(table.next_deadline(), None);
        prop_assert!(model.values().all(|&(_, deadline)| deadline == Micros::NEVER));
    }
}

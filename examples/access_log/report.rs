//! The result: sums, the busiest, where the grains lived, and whether everything was handled.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::collect::{Kind, Loss, Tallies};
use crate::counters::Counters;
use crate::grains::Tally;
use crate::pump::Read;

/// Everything that the program prints. The fields of the JSON object, in its order.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub lines: u64,
    pub unparsable: u64,
    pub clients: u64,
    pub requests: u64,
    pub bytes: u64,
    pub by_status: BTreeMap<String, u64>,
    pub top_paths: Vec<(String, u64)>,
    pub top_clients: Vec<(String, u64)>,
    /// Messages to clients, paths and statuses.
    pub messages: u64,
    /// From the first message until all were handled.
    pub seconds: f64,
    pub placement: Vec<Place>,
    pub counters: Counters,
    #[serde(skip)]
    pub losses: Vec<Loss>,
}

/// The grains of one shard.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Place {
    pub node: u16,
    pub shard: u16,
    pub grains: u64,
    #[serde(skip)]
    pub clients: u64,
    #[serde(skip)]
    pub paths: u64,
    #[serde(skip)]
    pub statuses: u64,
}

impl Report {
    /// Puts together what the reader, the grains and the nodes have counted.
    pub(crate) fn new(read: &Read, all: Tallies, counters: Counters, pumping: Duration) -> Self {
        let placement = placement(&all);
        let Tallies {
            clients,
            paths,
            statuses,
            told,
            mut losses,
        } = all;
        let Counters { sent, handled, .. } = counters;
        let dropped = counters.dropped_total();
        if dropped > 0 || sent != handled {
            losses.push(Loss::Counters {
                sent,
                handled,
                dropped,
            });
        }
        Self {
            lines: read.lines,
            unparsable: read.unparsable,
            clients: clients.len() as u64,
            requests: read.requests,
            bytes: clients
                .iter()
                .map(|client| client.bytes)
                .fold(0, u64::saturating_add),
            by_status: statuses
                .into_iter()
                .map(|status| (status.name, status.requests))
                .collect(),
            top_paths: busiest(paths),
            top_clients: busiest(clients),
            messages: read.requests + told,
            seconds: pumping.as_secs_f64(),
            placement,
            counters,
            losses,
        }
    }
}

/// The ten with the most requests; among equals, the first in the order of their bytes.
fn busiest(mut tallies: Vec<Tally>) -> Vec<(String, u64)> {
    tallies.sort_by(|a, b| (Reverse(a.requests), &a.name).cmp(&(Reverse(b.requests), &b.name)));
    tallies
        .into_iter()
        .take(BUSIEST)
        .map(|tally| (tally.name, tally.requests))
        .collect()
}

fn placement(all: &Tallies) -> Vec<Place> {
    let mut places: BTreeMap<(u16, u16), Place> = BTreeMap::new();
    let kinds = [
        (Kind::Clients, &all.clients),
        (Kind::Paths, &all.paths),
        (Kind::Statuses, &all.statuses),
    ];
    for (kind, tallies) in kinds {
        for &Tally { node, shard, .. } in tallies {
            let place = places
                .entry((node, shard))
                .or_insert(Place::empty(node, shard));
            place.grains += 1;
            match kind {
                Kind::Clients => place.clients += 1,
                Kind::Paths => place.paths += 1,
                Kind::Statuses => place.statuses += 1,
            }
        }
    }
    places.into_values().collect()
}

impl Place {
    fn empty(node: u16, shard: u16) -> Self {
        Self {
            node,
            shard,
            grains: 0,
            clients: 0,
            paths: 0,
            statuses: 0,
        }
    }
}

/// How many of the busiest are named.
const BUSIEST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(name: &str, requests: u64, node: u16, shard: u16) -> Tally {
        Tally {
            name: name.to_owned(),
            requests,
            bytes: 0,
            node,
            shard,
        }
    }

    #[test]
    fn the_busiest_come_first_and_equals_in_the_order_of_their_bytes() {
        let names = ["b", "B", "a", "\u{e9}", "z", "ab"];
        let mut tallies: Vec<_> = names.into_iter().map(|name| tally(name, 5, 1, 0)).collect();
        tallies.extend((0..20).map(|n| tally(&format!("rare {n}"), 1, 1, 0)));
        tallies.push(tally("often", 6, 1, 0));
        let busiest = busiest(tallies);
        let names: Vec<_> = busiest.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "often", "B", "a", "ab", "b", "z", "\u{e9}", "rare 0", "rare 1", "rare 10",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn places_are_counted_by_node_and_shard() {
        let all = Tallies {
            clients: vec![tally("a", 1, 2, 0), tally("b", 1, 1, 1)],
            paths: vec![tally("/", 1, 1, 1)],
            statuses: vec![tally("200", 1, 2, 0)],
            ..Tallies::default()
        };
        let place = |node, shard, clients, paths, statuses| Place {
            node,
            shard,
            grains: clients + paths + statuses,
            clients,
            paths,
            statuses,
        };
        assert_eq!(
            placement(&all),
            [place(1, 1, 1, 1, 0), place(2, 0, 1, 0, 1)]
        );
    }

    #[test]
    fn counters_that_do_not_add_up_are_a_loss() {
        let losses = |sent, handled, dropped: u64| {
            let dropped = [("mailbox_full".to_owned(), dropped)].into_iter().collect();
            let counters = Counters {
                sent,
                handled,
                dropped,
                ..Counters::default()
            };
            let read = Read::default();
            Report::new(&read, Tallies::default(), counters, Duration::from_secs(1)).losses
        };
        assert_eq!(losses(7, 7, 0), []);
        assert_eq!(
            losses(7, 6, 0),
            [Loss::Counters {
                sent: 7,
                handled: 6,
                dropped: 0
            }]
        );
        assert_eq!(
            losses(7, 6, 1),
            [Loss::Counters {
                sent: 7,
                handled: 6,
                dropped: 1
            }]
        );
        assert_eq!(
            losses(7, 8, 0),
            [Loss::Counters {
                sent: 7,
                handled: 8,
                dropped: 0
            }]
        );
    }
}

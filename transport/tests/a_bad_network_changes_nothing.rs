//! Loss, duplicates, reordering and flipped bits between two nodes: frames still arrive once and
//! in order, and no one is refused for what the network did.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{A, B, World, bad_network::BadNetwork, node_id};
use teff_transport::Event;
use teff_wire::ShardId;

#[test]
fn frames_arrive_once_and_in_order_through_a_bad_network() {
    const FRAMES: u64 = 10_000;
    for seed in [1, 2, 3] {
        let mut world = World::new(&[1, 1]);
        let mut network = BadNetwork::before(world.nodes[B].address, seed);
        let address = network.front.local_addr().unwrap();
        let now = world.now();
        let dialled = world
            .endpoint(A, 0)
            .dial(now, node_id(B), address, ShardId(0));
        let mut links = [Some(dialled), None];
        let mut sent = [0; 2];
        let mut received = [0; 2];
        world.until("all frames", |world| {
            network.step();
            world.jump(Duration::from_millis(1));
            for node in [A, B] {
                for event in std::mem::take(world.events(node, 0)) {
                    match event {
                        Event::Up { link, .. } => links[node] = Some(link),
                        Event::Frame { frame, .. } => {
                            let number = u64::from_le_bytes(*frame.payload.first_chunk().unwrap());
                            assert_eq!(number, received[node], "once and in order");
                            received[node] += 1;
                        }
                        event => panic!("seed {seed}: {event:?}"),
                    }
                }
                if let Some(link) = links[node] {
                    for _ in 0..5 {
                        if sent[node] < FRAMES {
                            let payload = [u64::to_le_bytes(sent[node]); 40];
                            world.tell((node, 0), link, payload.as_flattened());
                            sent[node] += 1;
                        }
                    }
                }
            }
            received == [FRAMES; 2]
        });
        assert!(
            network.mistreated > 100,
            "{} datagrams were mistreated",
            network.mistreated
        );
        for node in [A, B] {
            assert_eq!(world.endpoint(node, 0).counters().panics, 0);
        }
    }
}

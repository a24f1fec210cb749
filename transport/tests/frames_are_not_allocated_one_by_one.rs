//! Memory is taken per batch, not per frame.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use allocation_counter::measure;
use common::{A, B, World, bytes, key, tell};
use teff_transport::{Event, LinkId};

/// Sends frames in batches as a shard does, until the peer has taken all of them in.
fn send(world: &mut World, link: LinkId, batches: u64, per_batch: u64) {
    let (header, key) = (tell(), key());
    let expected = world.endpoint(B, 0).counters().frames_in + batches * per_batch;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut sent = 0;
    while world.endpoint(B, 0).counters().frames_in < expected {
        assert!(Instant::now() < deadline);
        let now = Instant::now();
        if sent < batches {
            for _ in 0..per_batch {
                let endpoint = world.endpoint(A, 0);
                endpoint
                    .send(link, &header, Some((&key, 0)), bytes(b"payload"))
                    .unwrap();
            }
            sent += 1;
        }
        for node in [A, B] {
            let endpoint = world.endpoint(node, 0);
            endpoint.receive(now).unwrap();
            endpoint.handle_timeout(now);
            while let Some(event) = endpoint.poll_event() {
                assert!(matches!(event, Event::Frame { .. }));
            }
            endpoint.flush(now);
        }
    }
}

#[test]
fn a_busy_link_allocates_less_than_once_in_twenty_frames() {
    let mut world = World::new(&[1, 1]);
    let (link, _) = world.link((A, 0), (B, 0));
    send(&mut world, link, 100, 500);
    let info = measure(|| send(&mut world, link, 100, 500));
    assert!(info.count_total < 50_000 / 20, "{info:?}");
}

#[test]
fn a_single_frame_allocates_a_constant_number_of_times() {
    let mut world = World::new(&[1, 1]);
    let (link, _) = world.link((A, 0), (B, 0));
    send(&mut world, link, 1000, 1);
    let info = measure(|| send(&mut world, link, 1000, 1));
    // Five when this was written: a buffer and its owner at either end, and one of QUIC's.
    assert!(info.count_total < 10 * 1000, "{info:?}");
}

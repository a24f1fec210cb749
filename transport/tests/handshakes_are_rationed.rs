//! How many handshakes one address may have in progress, and how fast it may begin them: whoever
//! takes more is refused and counted, and takes it from nobody else.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use common::{
    A, B, CLUSTER, Plan, World, node_id,
    raw::{self, RawPeer},
};
use quinn_proto::{ConnectionError, TransportErrorCode};
use teff_transport::{ClusterName, Event, Limits, LinkError, Party, Refusal, node_name};

/// Another address of this machine than the one that floods.
const ELSEWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);

/// A with these limits at 127.0.0.1, and B elsewhere.
fn world(limits: impl FnOnce(&mut Limits)) -> World {
    let mut world = World::empty();
    let plan = Plan::of(&world.authority, A).limits(limits);
    world.add(plan);
    let plan = Plan::of(&world.authority, B);
    world.add_at(plan, ELSEWHERE);
    world
}

/// A client of node A with B's certificate, at A's own address.
fn raw_peer(world: &World) -> RawPeer {
    let identity = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&identity, Some(&identity));
    RawPeer::dial(world.now(), world.nodes[A].address, &name, tls)
}

/// Drives diallers until each is through TLS or refused. How many are through.
fn settle(world: &mut World, peers: &mut [RawPeer]) -> usize {
    world.until("every dialler is through or refused", |world| {
        let now = world.now();
        peers.iter_mut().for_each(|peer| peer.step(now));
        peers
            .iter()
            .all(|peer| peer.connected || peer.lost.is_some())
    });
    for peer in &*peers {
        if let Some(lost) = &peer.lost {
            let ConnectionError::ConnectionClosed(close) = lost else {
                panic!("{lost}")
            };
            assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
        }
    }
    peers.iter().filter(|peer| peer.connected).count()
}

fn refused(world: &mut World, refusal: Refusal) -> u64 {
    world.endpoint(A, 0).counters().refused.here(refusal)
}

#[test]
fn a_flood_from_one_address_is_refused_while_another_gets_its_link() {
    let mut world = world(|limits| {
        limits.handshake_burst = 8;
        limits.handshake_rate = 1;
    });
    let start = Instant::now();
    let mut flood: Vec<_> = (0..100).map(|_| raw_peer(&world)).collect();
    let through = settle(&mut world, &mut flood);
    let longer = start.elapsed().as_secs() as usize + 1;
    assert!((8..=8 + longer).contains(&through), "{through}");
    assert_eq!(refused(&mut world, Refusal::TooOften), 100 - through as u64);
    assert_eq!(refused(&mut world, Refusal::Busy), 0);
    let accepted = world.endpoint(A, 0).counters().accepted;
    assert_eq!(accepted, through as u64, "the others cost no handshake");

    let (from_b, _) = world.link((B, 0), (A, 0));
    world.tell((B, 0), from_b, b"through");
    assert_eq!(&world.frame(A, 0).1.payload[..], b"through");

    // The address is not banned: it goes on at its rate.
    drop(flood);
    world.jump(Duration::from_secs(1));
    let mut later: Vec<_> = (0..10).map(|_| raw_peer(&world)).collect();
    let through = settle(&mut world, &mut later);
    assert!(through >= 1, "{through}");
}

#[test]
fn a_flood_that_goes_on_takes_no_more_than_its_rate() {
    let mut world = world(|limits| {
        limits.handshake_burst = 2;
        limits.handshake_rate = 5;
        limits.handshakes = 1000;
        limits.handshakes_per_address = 1000;
    });
    let start = world.now();
    let mut through = 0;
    for _ in 0..40 {
        let mut flood: Vec<_> = (0..5).map(|_| raw_peer(&world)).collect();
        through += settle(&mut world, &mut flood);
        world.jump(Duration::from_millis(50));
    }
    let seconds = (world.now() - start).as_secs_f64();
    let most = 2.0 + 5.0 * seconds + 1.0;
    assert!(through as f64 <= most, "{through} in {seconds} s");
    assert!(through >= 10, "{through} in {seconds} s");
    assert_eq!(refused(&mut world, Refusal::TooOften), 200 - through as u64);
}

#[test]
fn diallers_that_stop_half_way_keep_places_from_their_own_address_only() {
    let mut world = world(|limits| {
        limits.handshakes = 8;
        limits.handshakes_per_address = 4;
    });
    let mut silent: Vec<_> = (0..20).map(|_| raw_peer(&world)).collect();
    assert_eq!(settle(&mut world, &mut silent), 4);
    assert_eq!(refused(&mut world, Refusal::Busy), 16);
    world.link((B, 0), (A, 0));
    // Their places are theirs again when they run out of time.
    world.until("the silent ones are dropped", |world| {
        world.jump(Duration::from_millis(20));
        let now = world.now();
        silent.iter_mut().for_each(|peer| peer.step(now));
        silent.iter().all(|peer| peer.lost.is_some())
    });
    for _ in 0..4 {
        let reason = world.down(A, 0).reason;
        let refusal = Refusal::HelloTimeout;
        let by = Party::Here;
        assert_eq!(reason, LinkError::Refused { by, refusal });
    }
    let mut again: Vec<_> = (0..20).map(|_| raw_peer(&world)).collect();
    assert_eq!(settle(&mut world, &mut again), 4);
}

#[test]
fn who_has_not_proved_its_address_takes_nothing_from_who_has() {
    let mut world = world(|limits| {
        limits.handshake_burst = 1;
        limits.handshake_rate = 1;
    });
    // They never look at the answer, as if it went to somebody else.
    for _ in 0..200 {
        let now = world.now();
        raw_peer(&world).send(now);
        world.step();
    }
    let counters = *world.endpoint(A, 0).counters();
    assert_eq!((counters.answered, counters.accepted), (200, 0));
    let mut honest = [raw_peer(&world)];
    assert_eq!(settle(&mut world, &mut honest), 1);
    assert_eq!(refused(&mut world, Refusal::TooOften), 0);
}

#[test]
fn links_that_are_resumed_and_links_that_end_give_their_places_back() {
    let mut world = world(|limits| {
        limits.handshakes = 1;
        limits.handshakes_per_address = 1;
    });
    let (mut from_b, _) = world.link((B, 0), (A, 0));
    for _ in 0..3 {
        let now = world.now();
        world.endpoint(B, 0).break_connections(now);
        world.until("the link is resumed at both ends", |world| {
            [A, B].iter().all(|&node| {
                let events = world.events(node, 0);
                events
                    .iter()
                    .any(|event| matches!(event, Event::Resumed { .. }))
            })
        });
        [A, B]
            .iter()
            .for_each(|&node| world.events(node, 0).clear());
        let now = world.now();
        world
            .endpoint(B, 0)
            .close(now, from_b, teff_wire::CloseCode::Idle);
        world.down(B, 0);
        world.down(A, 0);
        (from_b, _) = world.link((B, 0), (A, 0));
    }
    assert_eq!(refused(&mut world, Refusal::Busy), 0);
}

/// 15 nodes of 16 shards begin at once to talk to one shard of the 16th, all behind one address. Who
/// finds no place dials again, as the runtime does.
#[test]
fn a_cluster_behind_one_address_may_start_at_once() {
    const PEERS: usize = 15;
    const SHARDS: u16 = 16;
    const PAUSE: Duration = Duration::from_millis(200);
    let mut world = World::empty();
    for node in 0..=PEERS {
        let mut plan = Plan::of(&world.authority, node).shards(if node == A { 1 } else { SHARDS });
        plan.members = (0..=PEERS).map(node_id).collect();
        // One thread drives all nodes here, so answers are late.
        plan.limits.idle = Duration::from_secs(60);
        plan.limits.hello = plan.limits.idle;
        world.add(plan);
    }
    let pairs: Vec<_> = (1..=PEERS)
        .flat_map(|node| (0..SHARDS).map(move |shard| (node, shard)))
        .collect();
    for &peer in &pairs {
        world.dial(peer, (A, 0));
    }
    let mut again = VecDeque::new();
    let mut up = 0;
    let start = Instant::now();
    world.until("every shard has its link", |world| {
        world.events(A, 0).clear();
        for &(node, shard) in &pairs {
            for event in std::mem::take(world.events(node, shard)) {
                match event {
                    Event::Up { .. } => up += 1,
                    Event::Down { reason, .. } => {
                        assert!(is_passing(&reason), "{reason}");
                        again.push_back((Instant::now() + PAUSE, (node, shard)));
                    }
                    event => panic!("{event:?}"),
                }
            }
        }
        while let Some((_, peer)) = again.pop_front_if(|(due, _)| *due <= Instant::now()) {
            world.dial(peer, (A, 0));
        }
        up == pairs.len()
    });
    let counters = *world.endpoint(A, 0).counters();
    println!("{} handshakes, {:?}", counters.accepted, start.elapsed());
    assert_eq!(counters.refused.here(Refusal::TooOften), 0);
    assert!(counters.accepted >= pairs.len() as u64);
}

fn is_passing(reason: &LinkError) -> bool {
    let late = matches!(reason, LinkError::Unreachable | LinkError::Quic { .. });
    late || matches!(
        reason,
        LinkError::Refused {
            refusal: Refusal::Busy | Refusal::HelloTimeout,
            ..
        }
    )
}

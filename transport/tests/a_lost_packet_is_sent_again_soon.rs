//! A packet that is lost, and has none behind it to tell of it, is sent again within a few
//! milliseconds.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use common::{A, B, Plan, World, node_id};
use teff_transport::{AckPolicy, Event, LinkId};
use teff_wire::ShardId;

/// Stands between a dialler and its peer, and loses a datagram when told to.
struct Path {
    /// Where the dialler believes the peer to be.
    front: UdpSocket,
    /// Where the peer believes the dialler to be.
    back: UdpSocket,
    dialler: Option<SocketAddr>,
    peer: SocketAddr,
    /// The next datagram for the peer is lost.
    loses: bool,
}

impl Path {
    fn to(peer: SocketAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            front: socket(),
            back: socket(),
            dialler: None,
            peer,
            loses: false,
        }
    }

    fn step(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = self.front.recv_from(&mut buffer) {
            self.dialler = Some(from);
            if !std::mem::take(&mut self.loses) {
                // What the kernel does not take is lost as well, which QUIC makes good.
                let _ = self.back.send_to(&buffer[..len], self.peer);
            }
        }
        while let Ok((len, _)) = self.back.recv_from(&mut buffer) {
            if let Some(dialler) = self.dialler {
                let _ = self.front.send_to(&buffer[..len], dialler);
            }
        }
    }
}

/// A link from B to A, and the path that it takes.
fn linked(acks: Option<AckPolicy>) -> (World, Path, LinkId) {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| limits.acks = acks);
        world.add(plan);
    }
    let mut path = Path::to(world.nodes[A].address);
    let (now, address) = (world.now(), path.front.local_addr().unwrap());
    let endpoint = world.endpoint(B, 0);
    let link = endpoint.dial(now, node_id(A), address, ShardId(0));
    for node in [A, B] {
        world.until("the link is up", |world| {
            path.step();
            matches!(world.events(node, 0).pop_front(), Some(Event::Up { .. }))
        });
    }
    (world, path, link)
}

/// Sends a tell, and waits until it is there and acknowledged. How long it took to be there.
fn send(world: &mut World, path: &mut Path, link: LinkId) -> Duration {
    let start = world.now();
    let mut arrived = None;
    world.tell((B, 0), link, b"here I am");
    world.until("the tell arrives and is acknowledged", |world| {
        path.step();
        if matches!(world.events(A, 0).pop_front(), Some(Event::Frame { .. })) {
            arrived = Some(world.now());
        }
        arrived.is_some() && world.endpoint(B, 0).unacknowledged(link) == 0
    });
    arrived.unwrap() - start
}

/// How long tells take of which the first packet is lost, from the fastest to the slowest.
fn times_of_lost(acks: Option<AckPolicy>) -> Vec<Duration> {
    let (mut world, mut path, link) = linked(acks);
    // Until the round trip is known, and what was asked of the peer has arrived there.
    for _ in 0..200 {
        send(&mut world, &mut path, link);
    }
    let lost = |_| {
        path.loses = true;
        let time = send(&mut world, &mut path, link);
        assert!(!path.loses);
        // The round trip is known again.
        for _ in 0..10 {
            send(&mut world, &mut path, link);
        }
        time
    };
    let mut times: Vec<_> = (0..21).map(lost).collect();
    times.sort();
    times
}

#[test]
fn a_lost_packet_is_sent_again_within_milliseconds() {
    let times = times_of_lost(Some(AckPolicy::default()));
    println!("{times:?}");
    // The others may have had to wait for the machine as well.
    assert!(times[5] < AT_BEST, "{times:?}");
}

#[test]
fn without_a_policy_it_takes_as_long_as_quic_allows() {
    let times = times_of_lost(None);
    println!("{times:?}");
    assert!(times[0] >= AT_BEST, "{times:?}");
}

/// What QUIC takes without a policy, whatever the machine does.
const AT_BEST: Duration = Duration::from_millis(25);

//! Loss, duplicates, reordering and flipped bits between two nodes: frames still arrive once and
//! in order, and no one is refused for what the network did.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use common::{A, B, World, node_id};
use teff_transport::Event;
use teff_wire::ShardId;

/// Stands between a dialler and its peer and mistreats what passes.
struct BadNetwork {
    /// Where the dialler believes the peer to be.
    front: UdpSocket,
    /// Where the peer believes the dialler to be.
    back: UdpSocket,
    dialler: Option<SocketAddr>,
    peer: SocketAddr,
    /// Datagrams that others overtake, and whether they are for the peer.
    held: Vec<(bool, Vec<u8>)>,
    seed: u64,
    mistreated: usize,
}

impl BadNetwork {
    fn before(peer: SocketAddr, seed: u64) -> Self {
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
            held: Vec::new(),
            seed,
            mistreated: 0,
        }
    }

    /// A number below 100 (xorshift).
    fn percent(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % 100
    }

    fn step(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = self.front.recv_from(&mut buffer) {
            self.dialler = Some(from);
            self.pass(true, &mut buffer[..len]);
        }
        while let Ok((len, _)) = self.back.recv_from(&mut buffer) {
            self.pass(false, &mut buffer[..len]);
        }
        for (to_peer, datagram) in std::mem::take(&mut self.held) {
            self.send(to_peer, &datagram);
        }
    }

    fn pass(&mut self, to_peer: bool, datagram: &mut [u8]) {
        self.mistreated += 1;
        match self.percent() {
            0..5 => {}
            5..10 => {
                self.send(to_peer, datagram);
                self.send(to_peer, datagram);
            }
            10..20 => self.held.push((to_peer, datagram.to_vec())),
            20..22 => {
                let at = self.seed as usize / 100 % datagram.len();
                datagram[at] ^= 1 << (self.seed % 8);
                self.send(to_peer, datagram);
            }
            _ => {
                self.mistreated -= 1;
                self.send(to_peer, datagram);
            }
        }
    }

    fn send(&self, to_peer: bool, datagram: &[u8]) {
        // What the kernel does not take is one more loss.
        let _ = match (to_peer, self.dialler) {
            (true, _) => self.back.send_to(datagram, self.peer),
            (false, Some(dialler)) => self.front.send_to(datagram, dialler),
            (false, None) => return,
        };
    }
}

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

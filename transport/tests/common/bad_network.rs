//! A network that loses, doubles, reorders and damages datagrams, as drawn from a seed.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// Stands between a dialler and its peer and mistreats what passes.
pub struct BadNetwork {
    /// Where the dialler believes the peer to be.
    pub front: UdpSocket,
    /// Where the peer believes the dialler to be.
    back: UdpSocket,
    dialler: Option<SocketAddr>,
    peer: SocketAddr,
    /// Datagrams that others overtake, and whether they are for the peer.
    held: Vec<(bool, Vec<u8>)>,
    seed: u64,
    pub mistreated: usize,
    /// Datagrams of more bytes do not get through.
    pub widest: usize,
}

impl BadNetwork {
    pub fn before(peer: SocketAddr, seed: u64) -> Self {
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
            widest: usize::MAX,
        }
    }

    /// A number below 100 (xorshift).
    fn percent(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % 100
    }

    pub fn step(&mut self) {
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
        if datagram.len() > self.widest {
            return;
        }
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

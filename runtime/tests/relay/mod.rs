//! A bad network between two nodes: a relay for UDP that loses, reorders and duplicates datagrams
//! as its seed says, and that can cut every connection while new ones pass.
//!
//! Each node has a *door*, the address that its peer knows it by. What comes in at a door is of a
//! connection that the peer dialled; it leaves for the node from a socket of that connection's
//! own, so what comes back there is of the same connection, whatever ids it bears by then.
//!
//! A connection that has been cut stays so: nothing of it is carried any more, and whatever one
//! end still sends is answered by a stateless reset, as a peer does that has forgotten it. The
//! relay can make those because it is given the keys of the nodes. A handshake under way is not
//! cut, since its ends could not be told: each would wait for its timer.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

mod headers;
mod weather;
mod connection;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ring::{hkdf, hmac};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use self::connection::Connection;
use self::headers::Header;
use self::weather::{Damage, Random};

pub(crate) use self::weather::Weather;

/// A node behind the relay.
pub(crate) struct End {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) shards: u16,
    /// Its private key, from which the key of its stateless resets follows.
    pub(crate) key_pem: String,
}

/// A running relay. It ends when this is dropped.
pub(crate) struct Relay {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What the relay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    pub(crate) cut: u64,
    pub(crate) carried: u64,
    pub(crate) damage: Damage,
    /// Datagrams of connections that had been cut.
    pub(crate) withheld: u64,
    pub(crate) resets: u64,
}

enum Order {
    Weather(Weather),
    Cut(mpsc::Sender<u64>),
    Tally(mpsc::Sender<Tally>),
}

impl Relay {
    /// The doors of two nodes: node 1's peer is to dial the first, node 2's the second.
    pub(crate) fn doors() -> [UdpSocket; 2] {
        [(); 2].map(|()| socket().unwrap())
    }

    pub(crate) fn start(doors: [UdpSocket; 2], ends: [End; 2], seed: u64) -> Self {
        let (orders, taken) = mpsc::channel();
        let machine = Machine::new(doors, ends, seed);
        let thread = thread::spawn(move || machine.run(&taken));
        let thread = Some(thread);
        Self { orders, thread }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.orders.send(Order::Weather(weather)).unwrap();
    }

    /// Breaks every connection that is up, for good. Says how many there were.
    pub(crate) fn cut(&self) -> u64 {
        self.ask(Order::Cut)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.ask(Order::Tally)
    }

    fn ask<T>(&self, order: impl FnOnce(mpsc::Sender<T>) -> Order) -> T {
        let (answer, answered) = mpsc::channel();
        self.orders.send(order(answer)).unwrap();
        answered.recv_timeout(PATIENCE).expect("the relay runs")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// The relay's thread and all it owns.
struct Machine {
    doors: [UdpSocket; 2],
    ends: [End; 2],
    reset_keys: [hmac::Key; 2],
    random: Random,
    seed: u64,
    weather: Weather,
    connections: BTreeMap<u64, Connection>,
    /// Connections by the dialler's first id, and by the ids that acceptors gave themselves.
    by_dialler: HashMap<Vec<u8>, u64>,
    by_acceptor: HashMap<Vec<u8>, u64>,
    tally: Tally,
    buffer: Box<[u8; 1 << 16]>,
    out: Vec<Vec<u8>>,
}

/// Which way a datagram goes.
#[derive(Clone, Copy)]
enum Way {
    ToAcceptor,
    ToDialler,
}

impl Machine {
    fn new(doors: [UdpSocket; 2], ends: [End; 2], seed: u64) -> Self {
        let reset_keys = [0, 1].map(|end: usize| reset_key(&ends[end].key_pem));
        Self {
            doors,
            ends,
            reset_keys,
            random: Random(seed),
            seed,
            weather: Weather::default(),
            connections: BTreeMap::new(),
            by_dialler: HashMap::new(),
            by_acceptor: HashMap::new(),
            tally: Tally::default(),
            buffer: Box::new([0; 1 << 16]),
            out: Vec::new(),
        }
    }

    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Order::Weather(weather)) => self.weather = weather,
                    Ok(Order::Cut(answer)) => drop(answer.send(self.cut())),
                    Ok(Order::Tally(answer)) => drop(answer.send(self.tally)),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.wait();
            let now = Instant::now();
            for door in [0, 1] {
                self.drain_door(door, now);
            }
            let numbers: Vec<u64> = self.connections.keys().copied().collect();
            for number in numbers {
                self.drain_connection(number, now);
                self.release(number, now);
            }
            self.forget_the_silent(now);
        }
    }

    fn wait(&self) {
        let sockets = self.connections.values().map(|c| &c.socket);
        let mut polled: Vec<_> = sockets
            .chain(&self.doors)
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let (tv_sec, tv_nsec) = (0, LOOK_INTERVAL.subsec_nanos().into());
        // A failing poll is a signal: the loop looks at everything in any case.
        let _ = poll(&mut polled, Some(&Timespec { tv_sec, tv_nsec }));
    }

    /// What diallers of node `door` send.
    fn drain_door(&mut self, door: usize, now: Instant) {
        for _ in 0..TURN {
            let Ok((len, dialler)) = self.doors[door].recv_from(&mut self.buffer[..]) else {
                return;
            };
            let datagram = self.buffer[..len].to_vec();
            let Some(header) = Header::read(&datagram) else {
                continue;
            };
            let number = match &header {
                Header::Long { from, .. } => Some(match self.by_dialler.get(*from) {
                    Some(number) => *number,
                    None => self.connect(door, dialler, from, now),
                }),
                Header::Short { to } => self.by_acceptor.get(*to).copied(),
            };
            match number.filter(|number| self.connections.contains_key(number)) {
                Some(number) => {
                    let connection = self.connections.get_mut(&number).unwrap();
                    connection.heard = now;
                    connection.learn_from_dialler(&header);
                    self.carry(number, Way::ToAcceptor, &datagram, now);
                }
                None => self.carry_reset(door, dialler, &datagram),
            }
        }
    }

    /// What the acceptor of a connection sends.
    fn drain_connection(&mut self, number: u64, now: Instant) {
        for _ in 0..TURN {
            let connection = self.connections.get_mut(&number).unwrap();
            let Ok((len, sender)) = connection.socket.recv_from(&mut self.buffer[..]) else {
                return;
            };
            let datagram = self.buffer[..len].to_vec();
            let Some(header) = Header::read(&datagram) else {
                continue;
            };
            if sender != self.ends[connection.acceptor].address {
                continue;
            }
            connection.heard = now;
            connection.learn_from_acceptor(&header);
            if let Header::Long { from, .. } = header {
                self.by_acceptor.insert(from.to_vec(), number);
            }
            self.carry(number, Way::ToDialler, &datagram, now);
        }
    }

    fn connect(&mut self, acceptor: usize, dialler: SocketAddr, id: &[u8], now: Instant) -> u64 {
        let number = self.tally.connections;
        self.tally.connections += 1;
        let seed = Random(self.seed ^ number).next();
        let connection = Connection::new((acceptor, dialler, id), socket().unwrap(), seed, now);
        self.connections.insert(number, connection);
        self.by_dialler.insert(id.to_vec(), number);
        number
    }

    /// Brings a datagram to the other end through the weather, or answers it if that end is cut
    /// off.
    fn carry(&mut self, number: u64, way: Way, datagram: &[u8], now: Instant) {
        let connection = self.connections.get_mut(&number).unwrap();
        if connection.cut {
            self.tally.withheld += 1;
            self.reset(number, way);
            return;
        }
        let weather = (self.weather, now);
        let stream = &mut connection.streams[way as usize];
        stream.pass(datagram, weather, &mut self.tally.damage, &mut self.out);
        for datagram in std::mem::take(&mut self.out) {
            self.send(number, way, &datagram);
        }
    }

    /// Lets go of what was held back to be overtaken.
    fn release(&mut self, number: u64, now: Instant) {
        for way in [Way::ToAcceptor, Way::ToDialler] {
            let connection = self.connections.get_mut(&number).unwrap();
            let released = connection.streams[way as usize].release(now);
            if let Some(datagram) = released.filter(|_| !connection.cut) {
                self.send(number, way, &datagram);
            }
        }
    }

    // A full socket or a node that is not there loses the datagram, as networks do.
    fn send(&mut self, number: u64, way: Way, datagram: &[u8]) {
        let connection = &self.connections[&number];
        let acceptor = connection.acceptor;
        let _ = match way {
            Way::ToAcceptor => connection
                .socket
                .send_to(datagram, self.ends[acceptor].address),
            Way::ToDialler => self.doors[acceptor].send_to(datagram, connection.dialler),
        };
        self.tally.carried += 1;
    }

    /// A short header with an id that no acceptor gave itself is a stateless reset, from a dialler
    /// that has forgotten a connection. Only the acceptor can tell which, by its token.
    fn carry_reset(&mut self, door: usize, dialler: SocketAddr, datagram: &[u8]) {
        let living = self.connections.iter().filter(|(_, connection)| {
            connection.acceptor == door && connection.dialler == dialler && !connection.cut
        });
        let living: Vec<u64> = living.map(|(number, _)| *number).collect();
        for number in living {
            self.send(number, Way::ToAcceptor, datagram);
        }
    }

    fn cut(&mut self) -> u64 {
        let up = self.connections.iter().filter(|(_, c)| c.is_up());
        let up: Vec<u64> = up.map(|(number, _)| *number).collect();
        for number in &up {
            self.connections.get_mut(number).unwrap().cut = true;
            // Both ends are told, since one that is silent would not ask.
            self.reset(*number, Way::ToAcceptor);
            self.reset(*number, Way::ToDialler);
        }
        self.tally.cut += up.len() as u64;
        up.len() as u64
    }

    /// Tells the end that a datagram came from that its peer does not know the connection.
    fn reset(&mut self, number: u64, way: Way) {
        let connection = &self.connections[&number];
        let acceptor = connection.acceptor;
        let (to, peer, back) = match way {
            Way::ToAcceptor => (&connection.to_acceptor, acceptor, Way::ToDialler),
            Way::ToDialler => (&connection.to_dialler, 1 - acceptor, Way::ToAcceptor),
        };
        let Some(id) = to else { return };
        let token = hmac::sign(&self.reset_keys[peer], id);
        // Steered by what looks like a connection id: one for every shard.
        for shard in 0..self.ends[1 - peer].shards {
            let word = self.random.next() as u32;
            let mut datagram = vec![0x40 | (self.random.next() as u8 & 0x3f)];
            datagram.extend(word.to_be_bytes());
            datagram.extend((word ^ u32::from(shard)).to_be_bytes());
            datagram.extend(self.random.next().to_be_bytes());
            datagram.extend(&token.as_ref()[..RESET_TOKEN_LEN]);
            self.send(number, back, &datagram);
            self.tally.resets += 1;
        }
    }

    fn forget_the_silent(&mut self, now: Instant) {
        let forgotten = |connection: &Connection| now - connection.heard > FORGET;
        if !self.connections.values().any(forgotten) {
            return;
        }
        self.connections
            .retain(|_, connection| !forgotten(connection));
        let known = &self.connections;
        self.by_dialler
            .retain(|_, number| known.contains_key(number));
        self.by_acceptor
            .retain(|_, number| known.contains_key(number));
    }
}

/// The key of a node's stateless resets, as the transport derives it from the node's private key.
/// Were the two to differ, `cut` would go unnoticed, and the tests of the relay itself fail.
fn reset_key(key_pem: &str) -> hmac::Key {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"teff").extract(key.secret_der());
    let label = [b"teff stateless reset key".as_slice()];
    root.expand(&label, hmac::HMAC_SHA256).unwrap().into()
}

/// A socket that never blocks, with room for a burst of the largest datagrams.
fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

const RESET_TOKEN_LEN: usize = 16;
const RECEIVE_BUFFER: usize = 4 << 20;

/// How many datagrams are taken from one socket before it is the turn of the next.
const TURN: usize = 64;

/// How often orders and held datagrams are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Longer than a link lives without a sign of life.
const FORGET: Duration = Duration::from_secs(10);

const PATIENCE: Duration = Duration::from_secs(10);

//! Positions, which are worth nothing when they are late: tells that may get lost.
//!
//! `cargo run --example positions`
//!
//! A ship on node 1 says again and again where it is, to a grain on node 2. What does not get
//! through at once is not worth sending again, because the next one says it better. Both nodes are
//! in this process, to be easy to start.

use std::thread;
use std::time::Duration;

use teff::authority::Authority;
use teff::{Listener, Member, Node, NodeId, grain, message};

/// Where a ship was, and the how manieth time it said so.
#[message]
#[derive(Clone, Debug, Default)]
pub struct Position {
    /// Counted by the ship from 1.
    pub number: u64,
    /// Nautical miles to the east.
    pub east: f64,
    /// Nautical miles to the north.
    pub north: f64,
}

/// What is known of one ship.
#[derive(Default)]
struct Track {
    last: Position,
    heard: u64,
}

#[grain]
impl Track {
    /// Lossy tells may overtake each other, so whoever cares says which is newer.
    fn moved(&mut self, to: Position) {
        self.heard += 1;
        if to.number > self.last.number {
            self.last = to;
        }
    }

    fn last(&mut self) -> (Position, u64) {
        (self.last.clone(), self.heard)
    }
}

fn main() -> anyhow::Result<()> {
    let [ship, shore] = start_nodes()?;
    let track = track_on(&ship, shore.id());
    for number in 1..=POSITIONS {
        let angle = number as f64 / 100.0;
        let (east, north) = (angle.cos(), angle.sin());
        // Says `Ok` wherever it is dropped: nobody would do anything about it.
        track
            .moved(Position {
                number,
                east,
                north,
            })
            .tell_lossy()?;
        thread::sleep(PERIOD);
    }
    // A call is not lost, and by now the link is up.
    let (last, heard) = track.last().wait()?;
    println!(
        "position {} of {POSITIONS} was the last heard of: {:.2} miles east, {:.2} north",
        last.number, last.east, last.north
    );
    for node in [&ship, &shore] {
        node.shutdown()?;
    }
    let counters = ship.counters();
    let dropped = &counters.total().dropped;
    println!(
        "{POSITIONS} were sent: {} before there was a link ({:?}), {} left in a packet,",
        POSITIONS - counters.lossy_out,
        dropped,
        counters.lossy_out
    );
    println!(
        "{} came in, {heard} of them before the question; nobody else has seen the other {}",
        shore.counters().lossy_in,
        counters.lossy_out - shore.counters().lossy_in
    );
    Ok(())
}

/// Starts two nodes, with certificates for nothing but this run.
fn start_nodes() -> anyhow::Result<[Node; 2]> {
    let authority = Authority::new()?;
    let free_port = "127.0.0.1:0".parse()?;
    let listeners = [Listener::bind(free_port)?, Listener::bind(free_port)?];
    let members = [1, 2].map(|id| {
        let address = listeners[usize::from(id) - 1].local_addr();
        Member::new(NodeId(id), address, SHARDS)
    });
    let mut nodes = Vec::new();
    for (listener, member) in listeners.into_iter().zip(&members) {
        let issued = authority.issue(CLUSTER, member.node)?;
        let node = Node::builder(CLUSTER, member.node.0)
            .listener(listener)
            .members(members.clone())
            .identity(issued.identity(&authority).with_secret(authority.secret()))
            .kind(TrackRef::kind::<Track>())
            .start()?;
        nodes.push(node);
    }
    Ok(nodes.try_into().expect("two listeners make two nodes"))
}

/// The track of a ship that lives on that node.
fn track_on(here: &Node, on: NodeId) -> TrackRef {
    (1..)
        .map(|number| here.grain(format!("ship {number}")))
        .find(|track: &TrackRef| here.owner_of(track).is_some_and(|(node, _)| node == on))
        .expect("both nodes own grains")
}

const CLUSTER: &str = "positions";

/// Shards per node: threads, each pinned to a CPU.
const SHARDS: u16 = 1;

/// How often the ship says where it is, and how long it is silent in between.
const POSITIONS: u64 = 500;
const PERIOD: Duration = Duration::from_millis(1);

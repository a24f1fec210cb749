//! A contract, and two nodes that greet each other over QUIC.
//!
//! `cargo run --example hello`
//!
//! Both nodes are in this process, to be easy to start; nothing below would change but the
//! addresses if they were on two machines.

use teff::authority::Authority;
use teff::{Ctx, Listener, Member, Node, NodeId, grain, message};

/// A message: what an argument or a reply may be, besides numbers, strings and the like.
#[message]
pub struct Greeting {
    /// The greeting itself.
    pub text: String,
    /// The node that the grain lives on.
    pub node: u16,
    /// Its shard there.
    pub shard: u16,
    /// How often it has greeted.
    pub visits: u64,
}

/// A contract. From it `#[grain]` makes `HelloRef`, whose methods are these, for callers.
#[grain]
pub trait Hello {
    /// An `async fn` may wait for others; the grain takes no other message meanwhile.
    async fn say_hello(&mut self, ctx: &Ctx, name: String) -> Greeting;

    /// A plain `fn` runs to its end at once, and costs less.
    fn visits(&mut self) -> u64;
}

/// What fulfils the contract. There is one per key, made when its first message arrives, and its
/// handlers run one at a time: no locks.
#[derive(Default)]
struct Greeter {
    visits: u64,
}

impl Hello for Greeter {
    async fn say_hello(&mut self, ctx: &Ctx, name: String) -> Greeting {
        self.visits += 1;
        // Another grain, wherever it lives. The call may fail, and then says what happened.
        let book: GuestBookRef = ctx.grain("lobby");
        let text = match book.sign(&name).await {
            Ok(number) => format!("Hello, {name}! You are guest {number} of us all."),
            Err(error) => format!("Hello, {name}! (The guest book: {error})"),
        };
        Greeting {
            text,
            node: ctx.node().0,
            shard: ctx.shard().0,
            visits: self.visits,
        }
    }

    fn visits(&mut self) -> u64 {
        self.visits
    }
}

#[derive(Default)]
struct GuestBook {
    names: Vec<String>,
}

/// Where a contract has one implementation, that can be the contract.
#[grain]
impl GuestBook {
    fn sign(&mut self, name: String) -> u64 {
        self.names.push(name);
        self.names.len() as u64
    }
}

fn main() -> anyhow::Result<()> {
    let [one, two] = start_nodes()?;
    for (here, there) in [(&one, &two), (&two, &one)] {
        greet(here, there.id(), "Ada")?;
        greet(here, here.id(), "Grace")?;
    }
    // Whoever asks, there is one grain of a name in the cluster: both nodes see its two visits.
    let hello = grain_on(&one, two.id());
    let same: HelloRef = two.grain(hello.key());
    println!(
        "\n{} has had {} visits so far,",
        hello.key(),
        hello.visits().wait()?
    );
    println!(
        "which node {} knows as well as node {}: {}",
        two.id(),
        one.id(),
        same.visits().wait()?
    );
    for node in [&one, &two] {
        node.shutdown()?;
    }
    println!();
    for node in [&one, &two] {
        let counters = node.counters();
        let messages = counters.total();
        println!(
            "node {}: sent {}, handled {}, dropped {} messages; {} frames out, {} in",
            node.id(),
            messages.sent,
            messages.handled,
            messages.dropped_total(),
            counters.frames_out,
            counters.frames_in,
        );
    }
    Ok(())
}

/// Starts two nodes, with certificates for nothing but this run.
fn start_nodes() -> anyhow::Result<[Node; 2]> {
    // In earnest, `teff certs init` makes these once and the authority stays off the nodes.
    let authority = Authority::new()?;
    // Ports are taken first, so that each node can be told the other's.
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
            .kind(HelloRef::kind::<Greeter>())
            .kind(GuestBookRef::kind::<GuestBook>())
            .start()?;
        nodes.push(node);
    }
    Ok(nodes.try_into().expect("two listeners make two nodes"))
}

/// Calls a grain that lives on node `on`, from node `here`.
fn greet(here: &Node, on: NodeId, name: &str) -> anyhow::Result<()> {
    let hello = grain_on(here, on);
    // `.wait()` blocks this thread; in a handler or in async code it is `.await`.
    let Greeting {
        text,
        node,
        shard,
        visits,
    } = hello.say_hello(name).wait()?;
    println!("node {} calls {}: {text}", here.id(), hello.key());
    let way = if node == here.id().0 {
        "without leaving the node"
    } else {
        "over QUIC"
    };
    println!("    answered by node {node}, shard {shard}, {way}; visit {visits}");
    Ok(())
}

/// A grain that lives on that node. Where a grain lives is a pure function of its name and the
/// members, so asking costs nothing, and this ends after a few names.
fn grain_on(here: &Node, on: NodeId) -> HelloRef {
    (1..)
        .map(|number| here.grain(format!("greeter {number}")))
        .find(|hello: &HelloRef| here.owner_of(hello).is_some_and(|(node, _)| node == on))
        .expect("both nodes own grains")
}

const CLUSTER: &str = "hello";

/// Shards per node: threads, each pinned to a CPU.
const SHARDS: u16 = 1;

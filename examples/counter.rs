//! The smallest program: one node in this process, one grain, one tell, one call.
//!
//! `cargo run --example counter`

use teff::{Node, grain};

#[derive(Default)]
struct Counter(u64);

#[grain]
impl Counter {
    fn add(&mut self, n: u64) {
        self.0 += n;
    }

    fn total(&mut self) -> u64 {
        self.0
    }
}

fn main() -> teff::Result {
    let node = Node::single().kind(CounterRef::kind::<Counter>()).start()?;
    let counter: CounterRef = node.grain("apples");
    counter.add(2).tell()?;
    println!("{} apples", counter.total().wait()?);
    Ok(node.shutdown()?)
}

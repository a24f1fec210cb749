//! The counter from a second process, on this machine or another: one program, started twice.
//!
//! Both read `cluster.json`, which `teff certs init --nodes 2 --dir . --spec` writes together with
//! the certificates; give node 2 `"weight": 0` in it, so that every grain lives on node 1. Then
//!
//! ```text
//! counter_remote serve     node 1, which has the grain; ends when its standard input does
//! counter_remote           node 2, which calls it
//! ```

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
    let serve = std::env::args().nth(1).is_some_and(|word| word == "serve");
    let node = Node::from_spec_file("cluster.json", if serve { 1 } else { 2 })
        .kind(CounterRef::kind::<Counter>())
        .start()?;
    if serve {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    } else {
        let counter: CounterRef = node.grain("apples");
        counter.add(2).tell()?;
        println!("{} apples", counter.total().wait()?);
    }
    Ok(node.shutdown()?)
}

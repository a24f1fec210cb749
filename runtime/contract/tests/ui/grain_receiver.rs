//! What is in a contract beside methods with `&mut self`.

use teff_contract::grain;

#[grain]
trait Receivers {
    fn shared(&self);
    fn owned(self);
    fn none();
    type Item;
    const LIMIT: u64;
}

#[grain]
trait Empty {}

struct Idle;

#[grain]
impl Idle {
    fn new() -> Self {
        Self
    }
}

fn main() {}

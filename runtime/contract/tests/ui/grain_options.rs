//! Options of `#[grain]`.

use teff_contract::grain;

#[grain(title = "x")]
trait Unknown {
    fn add(&mut self, n: u64);
}

#[grain(name = "")]
trait Nameless {
    fn add(&mut self, n: u64);
}

#[grain(name = "a", name = "b")]
trait Twice {
    fn add(&mut self, n: u64);
}

fn main() {}

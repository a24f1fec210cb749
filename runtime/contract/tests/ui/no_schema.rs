//! Types that are no messages.

use std::rc::Rc;

use teff_contract::{grain, message};

struct Plain;

#[message]
struct Shared {
    n: Rc<u8>,
}

#[grain]
trait Contract {
    fn put(&mut self, plain: Plain);
}

fn main() {}

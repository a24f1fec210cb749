//! Arguments that borrow, have no name, or are too many.

use teff_contract::{Archived, Ctx, grain};

#[grain]
trait Borrows {
    fn text(&mut self, text: &str);
    fn slice(&mut self, bytes: &[u8]);
    fn inside(&mut self, text: Option<&str>);
    fn change(&mut self, text: &mut Archived<String>);
    fn late(&mut self, n: u64, ctx: &Ctx);
    fn reply(&mut self) -> &str;
}

struct Unnamed;

#[grain]
impl Unnamed {
    fn pair(&mut self, (_a, _b): (u8, u8)) {}
    fn ignored(&mut self, _: u8) {}
}

#[grain]
trait TooMany {
    fn nine(&mut self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8);
}

fn main() {}

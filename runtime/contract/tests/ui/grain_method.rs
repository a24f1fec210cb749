//! Methods with names that references have themselves, and methods that come and go.

use teff_contract::grain;

#[grain]
trait Reserved {
    fn kind(&mut self);
    fn kind_with(&mut self);
    fn key(&mut self) -> String;
    fn clone(&mut self);
}

#[grain]
trait Conditional {
    #[cfg(unix)]
    fn sometimes(&mut self);
    fn partly(&mut self, #[cfg(unix)] n: u64);
}

fn main() {}

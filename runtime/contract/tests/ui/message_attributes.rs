//! Attributes that would change bytes behind the schema's back.

use teff_contract::message;

#[message]
struct With {
    #[rkyv(with = rkyv::with::AsBox)]
    a: u32,
    #[cfg_attr(unix, rkyv(with = rkyv::with::AsBox))]
    b: u32,
}

#[message]
#[rkyv(derive(Debug), compare(PartialEq))]
#[rkyv(as = With)]
struct As {
    a: u32,
}

#[message]
enum Numbered {
    One = 1,
    #[rkyv(other)]
    Two = 2,
}

fn main() {}

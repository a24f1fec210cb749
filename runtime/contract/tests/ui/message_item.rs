//! Items that cannot be messages.

use teff_contract::message;

#[message]
struct Generic<T> {
    value: T,
}

#[message]
struct Borrowing<'a>(&'a str);

#[message]
union Either {
    a: u32,
    b: f32,
}

#[message]
enum Never {}

#[message]
fn function() {}

#[message(name = "x")]
struct Options;

#[message]
struct Tree {
    children: Vec<Tree>,
}

#[message]
enum Expression {
    Number(f64),
    Negated(Box<Self>),
}

fn main() {}

//! `#[grain]` and `#[message]`: contracts and messages from plain Rust.
//!
//! A *contract* is a trait whose methods take `&mut self`. [`macro@grain`] leaves the trait as it
//! is and writes the two halves that a call needs: a typed reference for the caller (`HelloRef`
//! for the trait `Hello`), and the dispatch that runs a message on a grain. A *message* is a type
//! that may be an argument or a reply; [`macro@message`] makes one of a struct or an enum.
//!
//! ```
//! use teff_contract::{Archived, Ctx, grain, message};
//!
//! #[message]
//! pub struct Hit {
//!     pub path: String,
//!     pub bytes: u64,
//! }
//!
//! #[grain]
//! pub trait Hello {
//!     /// A handler that may wait: for a call, for `ctx.sleep`, for any future.
//!     async fn say_hello(&mut self, name: String) -> String;
//!
//!     /// A handler that cannot wait runs to its end at once, and costs less.
//!     fn visits(&mut self) -> u64;
//!
//!     /// A handler that reads its argument where it arrived, without copying it.
//!     fn note(&mut self, ctx: &Ctx, hit: &Archived<Hit>);
//! }
//!
//! #[derive(Default)]
//! struct Counting {
//!     visits: u64,
//! }
//!
//! impl Hello for Counting {
//!     async fn say_hello(&mut self, name: String) -> String {
//!         self.visits += 1;
//!         format!("Hello, {name}!")
//!     }
//!
//!     fn visits(&mut self) -> u64 {
//!         self.visits
//!     }
//!
//!     fn note(&mut self, ctx: &Ctx, hit: &Archived<Hit>) {
//!         println!("{} saw {} ({} B)", ctx.key(), hit.path, hit.bytes);
//!     }
//! }
//!
//! // What a node registers: the kind `Hello`, served by `Counting`.
//! let kind = HelloRef::kind::<Counting>();
//! assert_eq!(kind.name(), "Hello");
//!
//! // What a caller writes: each method of the reference makes a request.
//! async fn greet(hello: &HelloRef) -> Result<String, Box<dyn std::error::Error>> {
//!     hello.note(Hit { path: String::from("/"), bytes: 512 }).tell()?;
//!     Ok(hello.say_hello("world").await?)
//! }
//! ```
//!
//! The contract crate is named in generated code as the user's manifest names it: `teff`, or
//! `teff-contract` where there is no `teff`.
//!
//! Modules are listed bottom-up: a module uses only modules above it.
#![forbid(unsafe_code)]

mod errors;
mod naming;
mod signature;
mod contract;

mod stubs;
mod dispatch;
mod grain;
mod message;

use proc_macro::TokenStream;

/// Makes a contract of a trait, or of an `impl` block.
///
/// For `trait Hello` it writes `HelloRef`, as visible as the trait, with
///
/// - one method per method of the contract, which returns a `Request`: `.await` or `.wait()` makes
///   a call of it, `.tell()`, `.when_room()` and `.tell_lossy()` a tell. Arguments of type `String`
///   are taken as `impl Into<String>`, those of type `&Archived<T>` as a `T`;
/// - `HelloRef::kind::<T>()` and `HelloRef::kind_with(|ctx| ..)`: the kind for a node to host, its
///   grains made by `T::default()` or by a function;
/// - `key()`, the key of the grain that it refers to.
///
/// # The methods
///
/// Each takes `&mut self`, then, if it wants to, `ctx: &Ctx`, then up to eight arguments, each
/// with a plain name and a type that owns what it holds: the message may come from another
/// machine, so there is nothing that it could borrow. The exception is `&Archived<T>`: the grain
/// reads the bytes where they arrived. Inside a node, where a message is otherwise moved and never
/// encoded, such a method pays for encoding its arguments.
///
/// The types of arguments and replies are integers, floats, `bool`, `char`, `String`, `Duration`,
/// `Option`, `Vec`, `Box`, `Result`, arrays, tuples, and types with [`macro@message`]. A method
/// that can fail answers with a `Result`, which is a reply like any other.
///
/// Plain methods run to their end at once. An `async fn` may wait; the grain takes no other
/// message meanwhile.
///
/// Methods are numbered in the order of declaration and none may depend on `#[cfg]`. Two builds
/// agree on a contract if its methods have the same names, arguments and replies in the same
/// order; if not, each refuses the other's calls of this kind.
///
/// # The name of the kind
///
/// The kind is called as the trait. Use `#[grain(name = "..")]` where two traits of one name meet
/// in a cluster, or to rename the trait and still be understood by older builds.
///
/// # The short form
///
/// Where a contract has one implementation, it can be the contract itself. Every method with
/// `&mut self` in the block belongs to it, private ones too; functions that take `&self` or no
/// `self` do not. Methods that are nobody else's business go into a second `impl` block.
///
/// ```
/// use teff_contract::grain;
///
/// #[derive(Default)]
/// struct Counter {
///     total: u64,
/// }
///
/// #[grain(name = "hits")]
/// impl Counter {
///     fn add(&mut self, n: u64) -> u64 {
///         self.total += n;
///         self.total
///     }
/// }
///
/// assert_eq!(CounterRef::kind().name(), "hits");
/// ```
#[proc_macro_attribute]
pub fn grain(options: TokenStream, item: TokenStream) -> TokenStream {
    grain::expand(options.into(), item.into()).into()
}

/// Makes a message of a struct or an enum: it can be archived, validated, read in place, and has a
/// schema, whose hash decides whether two builds understand each other.
///
/// The names of fields and variants, their types and their order are part of the schema. The name
/// of the type is not.
///
/// ```
/// use teff_contract::message;
///
/// #[message]
/// #[derive(Clone, Debug, PartialEq)]
/// pub enum Event {
///     Started,
///     Moved { from: (i32, i32), to: (i32, i32) },
///     Said(String),
/// }
/// ```
///
/// A message has no type parameters, no lifetimes, and does not contain itself, not even through a
/// `Vec` or `Box`: its depth is known, so that reading one cannot exhaust the stack. Where two
/// messages contain each other, the compiler says that a requirement overflows.
///
/// ```compile_fail
/// use teff_contract::message;
///
/// #[message]
/// struct Tree {
///     children: Vec<Tree>,
/// }
/// ```
///
/// Because the schema must tell what the bytes are, `#[rkyv(..)]` is refused on fields and
/// variants, and on the type itself everything but `#[rkyv(derive(..), compare(..))]`, which adds
/// traits to the archived form. So are explicit discriminants, which rkyv would write.
#[proc_macro_attribute]
pub fn message(options: TokenStream, item: TokenStream) -> TokenStream {
    message::expand(options.into(), item.into()).into()
}

//! Generated code gives no warning in any crate, however strict: this one denies all that a
//! strict crate might, and has contracts and messages of every visibility.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    unused,
    nonstandard_style,
    future_incompatible,
    rust_2018_idioms
)]
#![deny(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications
)]
#![deny(
    unused_results,
    single_use_lifetimes,
    trivial_casts,
    let_underscore_drop,
    unit_bindings
)]
#![deny(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![deny(
    clippy::absolute_paths,
    clippy::shadow_unrelated,
    clippy::missing_const_for_fn
)]
#![deny(
    clippy::needless_pass_by_ref_mut,
    clippy::future_not_send,
    clippy::redundant_clone
)]

use std::time::Duration;

use teff_contract::{Archived, Ctx, Reference, grain, message};

/// Public in a public place.
#[message]
#[derive(Debug)]
pub struct Open {
    /// A field.
    pub n: u64,
    secret: String,
}

/// A public contract.
#[grain]
pub trait Public {
    /// Documented.
    fn documented(&mut self, open: Open) -> Open;
    /// Asynchronous.
    async fn slow(&mut self, ctx: &Ctx, open: &Archived<Open>) -> Result<(), String>;
    /// To be replaced.
    #[deprecated = "use `documented`"]
    fn old(&mut self);
    /// With a name that conventions give to other things.
    #[allow(
        clippy::wrong_self_convention,
        reason = "the contract says so, the stub need not"
    )]
    fn into_iter(&mut self);
    /// With as many arguments as there may be.
    #[allow(
        clippy::too_many_arguments,
        clippy::many_single_char_names,
        reason = "as above"
    )]
    fn many(&mut self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8);
    /// Nothing in, nothing out, but waiting.
    async fn to_wait(&mut self);
}

mod hidden {
    use teff_contract::{Archived, Ctx, grain, message};

    use super::Duration;

    #[message]
    struct Private {
        n: u8,
        pair: (u8, String),
    }

    #[message]
    enum Choice {
        One,
        Two(u8),
        Three { n: u8 },
    }

    #[message]
    struct Unit;

    #[grain]
    trait PrivateContract {
        fn undocumented(&mut self, private: Private, choice: Choice) -> Unit;
        fn in_place(&mut self, private: &Archived<Private>) -> u8;
    }

    #[grain]
    pub(crate) trait Narrow {
        fn undocumented(&mut self);
    }

    #[derive(Default)]
    struct Counter {
        total: u64,
    }

    #[grain]
    impl Counter {
        fn add(&mut self, private: Private) -> Choice {
            self.total += u64::from(private.n) + private.pair.1.len() as u64;
            match private.pair.0 {
                0 => Choice::One,
                n if self.total > 7 => Choice::Two(n),
                n => Choice::Three { n },
            }
        }

        async fn wait(&mut self, ctx: &Ctx, private: &Archived<Private>) -> u8 {
            ctx.sleep(Duration::ZERO).await;
            private.n
        }

        #[allow(clippy::missing_const_for_fn, reason = "it could be, and need not")]
        fn clear(&mut self) {
            self.total = 0;
        }
    }

    impl PrivateContract for Counter {
        fn undocumented(&mut self, private: Private, _: Choice) -> Unit {
            let _choice = self.add(private);
            Unit
        }

        fn in_place(&mut self, private: &Archived<Private>) -> u8 {
            private.n
        }
    }

    impl Narrow for Counter {
        fn undocumented(&mut self) {
            self.clear();
        }
    }

    pub(crate) fn names() -> [&'static str; 3] {
        [
            CounterRef::kind().name(),
            PrivateContractRef::kind::<Counter>().name(),
            NarrowRef::kind::<Counter>().name(),
        ]
    }
}

#[test]
fn contracts_and_messages_of_every_visibility_compile_without_warnings() {
    assert_eq!(hidden::names(), ["Counter", "PrivateContract", "Narrow"]);
    assert_eq!(PublicRef::METHODS.len(), 6);
    let open = Open {
        n: 1,
        secret: String::new(),
    };
    assert_eq!(open.secret.len(), 0);
}

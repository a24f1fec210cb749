//! The grains that are measured, one kind for each size of payload.
//!
//! All do the same work, which is as little as shows that a message has arrived: count it, and add
//! the number in its first eight bytes. The raw loops do that very work on the same [`State`].
//! Payloads are arrays, so that nothing about them is ever allocated.

use anyhow::bail;
use teff::{Kind, Message, Reference, Request};

/// What a grain, and its counterpart in a raw loop, remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Messages handled.
    pub count: u64,
    /// Sum of their numbers, wrapping.
    pub sum: u64,
}

impl State {
    /// The work of one message.
    pub(crate) fn hit<P: Payload>(&mut self, payload: &P) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(payload.number());
    }
}

/// What travels: an array of bytes that begins with a number.
pub(crate) trait Payload: Message + Copy + Sync {
    /// The payload that carries this number.
    fn numbered(number: u64) -> Self;

    /// The number.
    fn number(&self) -> u64;
}

/// A reference to a measured grain.
pub(crate) trait Target: Reference {
    /// Its payload.
    type Payload: Payload;

    /// The kind, to be hosted by a node.
    fn hosted() -> Kind;

    /// The message that is told.
    fn hit(&self, payload: Self::Payload) -> Request<'_, (Self::Payload,), ()>;

    /// The message that is called: works like a hit, and answers the number.
    fn echo(&self, payload: Self::Payload) -> Request<'_, (Self::Payload,), u64>;

    /// Asks for the count and the sum.
    fn totals(&self) -> Request<'_, (), (u64, u64)>;
}

/// Something to be done with the kind whose payload has the size that the user chose.
pub(crate) trait WithTarget {
    /// What comes out.
    type Output;

    /// Does it.
    fn with<R: Target>(self) -> Self::Output;
}

macro_rules! targets {
    ($($size:literal $module:ident;)*) => {
        /// The sizes of payload that there are, in bytes.
        pub(crate) const SIZES: &[usize] = &[$($size),*];

        /// Does something with the kind of this size.
        pub(crate) fn with_payload_of<W: WithTarget>(
            bytes: usize,
            work: W,
        ) -> anyhow::Result<W::Output> {
            match bytes {
                $($size => Ok(work.with::<$module::TargetRef>()),)*
                other => bail!("there is no payload of {other} bytes, only of {SIZES:?}"),
            }
        }

        $(
            impl Payload for [u8; $size] {
                fn numbered(number: u64) -> Self {
                    let mut payload = [0; $size];
                    payload[..8].copy_from_slice(&number.to_le_bytes());
                    payload
                }

                fn number(&self) -> u64 {
                    let (first, _) = self.split_first_chunk::<8>().expect("eight bytes or more");
                    u64::from_le_bytes(*first)
                }
            }

            // A reference knows more than every program asks for.
            #[allow(dead_code, reason = "generated for all users of a contract")]
            mod $module {
                use teff::{Kind, Request, grain};

                use super::{Payload as _, State};

                /// A measured grain.
                #[grain]
                pub(crate) trait Target {
                    fn hit(&mut self, payload: [u8; $size]);
                    fn echo(&mut self, payload: [u8; $size]) -> u64;
                    fn totals(&mut self) -> (u64, u64);
                }

                impl Target for State {
                    fn hit(&mut self, payload: [u8; $size]) {
                        Self::hit(self, &payload);
                    }

                    fn echo(&mut self, payload: [u8; $size]) -> u64 {
                        Self::hit(self, &payload);
                        payload.number()
                    }

                    fn totals(&mut self) -> (u64, u64) {
                        (self.count, self.sum)
                    }
                }

                impl super::Target for TargetRef {
                    type Payload = [u8; $size];

                    fn hosted() -> Kind {
                        Self::kind::<State>()
                    }

                    fn hit(&self, payload: [u8; $size]) -> Request<'_, ([u8; $size],), ()> {
                        Self::hit(self, payload)
                    }

                    fn echo(&self, payload: [u8; $size]) -> Request<'_, ([u8; $size],), u64> {
                        Self::echo(self, payload)
                    }

                    fn totals(&self) -> Request<'_, (), (u64, u64)> {
                        Self::totals(self)
                    }
                }
            }
        )*
    };
}

targets! {
    8 bytes_8;
    16 bytes_16;
    32 bytes_32;
    64 bytes_64;
    128 bytes_128;
    256 bytes_256;
    512 bytes_512;
    1024 bytes_1024;
    4096 bytes_4096;
}

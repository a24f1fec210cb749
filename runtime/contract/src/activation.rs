//! A grain in memory, its type erased: how a shard runs handlers without knowing them.
//!
//! A handler that is a plain `fn` runs to its end inside [`Activation::begin`]. An `async fn`
//! becomes a future that owns the grain while it runs, so the grain has exactly one handler at a
//! time, and the borrow checker says so. How a grain is kept follows from its contract: one whose
//! handlers are all plain lies in its activation ([`Stays`]), any other in a box of its own, which
//! a future can take along ([`Leaves`]).

use std::future::Future;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use teff_wire::{MethodId, Status};

use crate::context::Ctx;
use crate::handler::{Pooled, pooled};
use crate::kind::Serve;
use crate::payload::{Arguments, Payload};

/// Where a turn left the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The handler ended and has left its reply; the next message may begin.
    Done,
    /// The handler did not run; the next message may begin.
    Refused(Status),
    /// The handler waits for something; [`resume`](Activation::resume) it when it is woken.
    Suspended,
}

/// A grain in memory. A panic may come out of `begin` and `resume`; the activation is then
/// dropped.
pub trait Activation {
    /// Begins a handler. After [`Step::Suspended`] the handler has not been polled yet: resume it.
    fn begin(
        &mut self,
        ctx: &Ctx,
        method: MethodId,
        arguments: Arguments<'_>,
        reply: &mut Payload,
    ) -> Step;

    /// Polls the handler that has begun.
    fn resume(&mut self, cx: &mut Context<'_>, reply: &mut Payload) -> Step;
}

/// How a grain is kept between handlers.
pub trait Keep<T>: 'static {
    /// Keeps a new grain.
    fn new(grain: T) -> Self;

    /// The grain, for a handler that ends within its turn.
    ///
    /// # Panics
    ///
    /// When a handler that has not ended has it: two handlers of one activation overlap.
    fn grain(&mut self) -> &mut T;

    /// Polls the handler that waits.
    ///
    /// # Panics
    ///
    /// When there is none.
    fn resume(&mut self, cx: &mut Context<'_>, reply: &mut Payload) -> Step;
}

/// Keeps a grain whose handlers all end within their turn.
pub struct Stays<T>(T);

/// Keeps a grain that a waiting handler takes along.
pub struct Leaves<T> {
    grain: Option<Box<T>>,
    handler: Option<Handler<T>>,
}

/// A handler that has not ended: owns the grain and gives it back with the outcome.
type Handler<T> = Pooled<(Box<T>, Result<Payload, Status>)>;

impl<T: 'static> Keep<T> for Stays<T> {
    fn new(grain: T) -> Self {
        Self(grain)
    }

    fn grain(&mut self) -> &mut T {
        &mut self.0
    }

    fn resume(&mut self, _: &mut Context<'_>, _: &mut Payload) -> Step {
        unreachable!("a contract without asynchronous methods has no handler that waits")
    }
}

impl<T: 'static> Leaves<T> {
    /// The grain, for a handler that gives it back when it ends.
    ///
    /// # Panics
    ///
    /// As [`Keep::grain`].
    pub fn take(&mut self) -> Box<T> {
        self.grain.take().expect(AT_HOME)
    }

    /// Keeps the handler that has the grain, not yet polled.
    pub fn lend<F>(&mut self, handler: F) -> Step
    where
        F: Future<Output = (Box<T>, Result<Payload, Status>)> + 'static,
    {
        self.handler = Some(pooled(handler));
        Step::Suspended
    }
}

impl<T: 'static> Keep<T> for Leaves<T> {
    fn new(grain: T) -> Self {
        Self {
            grain: Some(Box::new(grain)),
            handler: None,
        }
    }

    fn grain(&mut self) -> &mut T {
        self.grain.as_deref_mut().expect(AT_HOME)
    }

    fn resume(&mut self, cx: &mut Context<'_>, reply: &mut Payload) -> Step {
        let handler = self
            .handler
            .as_mut()
            .expect("only a suspended handler is resumed");
        let Poll::Ready((grain, outcome)) = handler.as_mut().poll(cx) else {
            return Step::Suspended;
        };
        self.handler = None;
        self.grain = Some(grain);
        match outcome {
            Ok(payload) => {
                *reply = payload;
                Step::Done
            }
            Err(status) => Step::Refused(status),
        }
    }
}

/// An activation of `T` under the contract of `R`.
pub(crate) struct Hosted<R: Serve<T>, T: 'static> {
    keep: R::Keep,
    contract: PhantomData<fn() -> R>,
}

impl<R: Serve<T>, T: 'static> Hosted<R, T> {
    pub(crate) fn new(grain: T) -> Self {
        Self {
            keep: R::Keep::new(grain),
            contract: PhantomData,
        }
    }
}

impl<R: Serve<T>, T: 'static> Activation for Hosted<R, T> {
    fn begin(
        &mut self,
        ctx: &Ctx,
        method: MethodId,
        arguments: Arguments<'_>,
        reply: &mut Payload,
    ) -> Step {
        R::serve(&mut self.keep, ctx, method, arguments, reply)
    }

    fn resume(&mut self, cx: &mut Context<'_>, reply: &mut Payload) -> Step {
        self.keep.resume(cx, reply)
    }
}

const AT_HOME: &str = "a handler begins only after the one before has given the grain back";

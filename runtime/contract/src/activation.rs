//! A grain in memory, its type erased: how a shard runs handlers without knowing them.
//!
//! A handler that is a plain `fn` runs to its end inside [`Activation::begin`]. An `async fn`
//! becomes a future that owns the grain while it runs, so the grain has exactly one handler at a
//! time, and the borrow checker says so.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use teff_wire::{MethodId, Status};

use crate::context::Ctx;
use crate::kind::Serve;
use crate::payload::{Arguments, Payload};

/// A handler that has not ended: owns the grain and gives it back with the outcome.
pub type Handler<T> = Pin<Box<dyn Future<Output = (Box<T>, Result<Payload, Status>)>>>;

/// What generated dispatch did with a message.
pub enum Served<T> {
    /// The handler ended.
    Done(Payload),
    /// The handler is a future, not yet polled.
    Later(Handler<T>),
    /// The handler did not run.
    Refused(Status),
}

/// Where a turn left the activation.
#[derive(Debug)]
pub enum Step {
    /// The handler ended with this reply; the next message may begin.
    Done(Payload),
    /// The handler did not run; the next message may begin.
    Refused(Status),
    /// The handler waits for something; [`resume`](Activation::resume) it when it is woken.
    Suspended,
}

/// A grain in memory. A panic may come out of `begin` and `resume`; the activation is then
/// dropped.
pub trait Activation {
    /// Begins a handler. After [`Step::Suspended`] the handler has not been polled yet: resume it.
    fn begin(&mut self, ctx: &Ctx, method: MethodId, arguments: Arguments) -> Step;

    /// Polls the handler that has begun.
    fn resume(&mut self, cx: &mut Context<'_>) -> Step;
}

/// An activation of `T` under the contract of `R`.
pub(crate) struct Hosted<R, T> {
    // Away while a future has it.
    grain: Option<Box<T>>,
    handler: Option<Handler<T>>,
    contract: PhantomData<fn() -> R>,
}

impl<R, T> Hosted<R, T> {
    pub(crate) fn new(grain: T) -> Self {
        Self {
            grain: Some(Box::new(grain)),
            handler: None,
            contract: PhantomData,
        }
    }
}

impl<R: Serve<T>, T: 'static> Activation for Hosted<R, T> {
    fn begin(&mut self, ctx: &Ctx, method: MethodId, arguments: Arguments) -> Step {
        assert!(
            self.handler.is_none(),
            "a handler begins only after the one before has ended"
        );
        match R::serve(&mut self.grain, ctx, method, arguments) {
            Served::Done(reply) => Step::Done(reply),
            Served::Refused(status) => Step::Refused(status),
            Served::Later(handler) => {
                self.handler = Some(handler);
                Step::Suspended
            }
        }
    }

    fn resume(&mut self, cx: &mut Context<'_>) -> Step {
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
            Ok(reply) => Step::Done(reply),
            Err(status) => Step::Refused(status),
        }
    }
}

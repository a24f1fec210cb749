//! A kind of grain as a node hosts it: contract, dispatch and factory in one value.

use std::fmt;
use std::sync::Arc;

use teff_wire::{Fingerprint, KindId, MethodId};

use crate::activation::{Activation, Hosted, Keep, Step};
use crate::context::Ctx;
use crate::payload::{Arguments, Payload};
use crate::port::Overload;
use crate::reference::Reference;
use crate::schema::Method;

/// Dispatch of a contract onto a type that fulfils it. Implemented by `#[grain]`.
pub trait Serve<T: 'static>: Reference {
    /// How the grain is kept, which depends on whether a method is asynchronous.
    type Keep: Keep<T>;

    /// Runs a method. An asynchronous one takes the grain along and is a future from then on.
    fn serve(
        keep: &mut Self::Keep,
        ctx: &Ctx,
        method: MethodId,
        arguments: Arguments<'_>,
        reply: &mut Payload,
    ) -> Step;
}

/// A kind and how to make its grains. Register it with a node's `kind` method.
#[derive(Clone)]
pub struct Kind {
    name: &'static str,
    id: KindId,
    fingerprint: Fingerprint,
    methods: &'static [Method],
    overload: Option<Overload>,
    factory: Arc<Factory>,
}

type Factory = dyn Fn(&Ctx) -> Box<dyn Activation> + Send + Sync;

impl Kind {
    /// The kind of `R`, whose grains are made by `factory`, on the shard where they will live.
    pub fn new<R, T>(factory: impl Fn(&Ctx) -> T + Send + Sync + 'static) -> Self
    where
        R: Serve<T>,
        T: 'static,
    {
        Self {
            name: R::NAME,
            id: R::KIND,
            fingerprint: R::FINGERPRINT,
            methods: R::METHODS,
            overload: None,
            factory: Arc::new(move |ctx| Box::new(Hosted::<R, T>::new(factory(ctx)))),
        }
    }

    /// Name of the kind.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its id.
    pub fn id(&self) -> KindId {
        self.id
    }

    /// Hash of its contract.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its methods.
    pub fn methods(&self) -> &'static [Method] {
        self.methods
    }

    /// What a message to a grain of this kind does when a queue on its way is full, unless it says
    /// itself: applies to messages from nodes that host the kind. Without it tells are refused and
    /// calls wait; see [`Overload`].
    pub fn on_overload(mut self, overload: Overload) -> Self {
        self.overload = Some(overload);
        self
    }

    /// See [`on_overload`](Self::on_overload).
    pub fn overload(&self) -> Option<Overload> {
        self.overload
    }

    /// Makes a grain. Runs user code, which may panic.
    pub fn activate(&self, ctx: &Ctx) -> Box<dyn Activation> {
        (self.factory)(ctx)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.name)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

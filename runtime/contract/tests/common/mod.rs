//! A shard in miniature: one activation, a clock that stands still until it is told, and a port
//! that keeps what is sent through it.
//!
//! A request made by a stub goes into the port, and from there to the activation: as the value
//! that it is, or as the bytes that a link would carry. Replies come back the same way.

#![allow(clippy::unwrap_used, reason = "only tests are in here")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rkyv::util::AlignedVec;
use teff_contract::context::Task;
use teff_contract::{
    Activation, Arguments, Ctx, GrainRef, Host, Kind, Message, Outcome, Outgoing, Payload, Pending,
    Port, Reference, Reply, Request, Step, TellError, Ticket,
};
use teff_wire::{Block, GrainId, Key, MethodId, NodeId, ShardId, Status};

/// How messages get to the grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Moved, as inside a node.
    Value,
    /// Encoded and validated, as between nodes.
    Bytes,
}

pub(crate) const ROUTES: [Route; 2] = [Route::Value, Route::Bytes];

/// Where a reference sends to and an activation lives.
pub(crate) struct Shard {
    port: Arc<Recorder>,
    host: Rc<Clockwork>,
}

/// One activation with its context.
pub(crate) struct Hosted {
    shard: Shard,
    ctx: Ctx,
    activation: Box<dyn Activation>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            port: Arc::default(),
            host: Rc::new(Clockwork::new()),
        }
    }

    pub(crate) fn reference<R: Reference>(&self, key: &str) -> R {
        R::from_grain(GrainRef::to::<R>(
            Arc::clone(&self.port) as Arc<dyn Port>,
            key,
        ))
    }

    pub(crate) fn activate(self, kind: &Kind, key: &str) -> Hosted {
        let id = GrainId::new(kind.id(), Key::new(key).unwrap());
        let ctx = Ctx::new(
            id,
            Rc::clone(&self.host) as Rc<dyn Host>,
            Arc::clone(&self.port) as _,
        );
        let activation = kind.activate(&ctx);
        Hosted {
            shard: self,
            ctx,
            activation,
        }
    }

    /// What a request becomes.
    pub(crate) fn send<A: Message, R: Message>(&self, request: Request<'_, A, R>) -> Outgoing {
        request.tell().unwrap();
        self.port.0.lock().unwrap().pop().unwrap()
    }
}

impl Hosted {
    /// Makes a grain of `kind` under the key `here`, and a reference to it.
    pub(crate) fn new<R: Reference>(kind: &Kind) -> (Self, R) {
        let shard = Shard::new();
        let reference = shard.reference("here");
        (shard.activate(kind, "here"), reference)
    }

    /// Begins the handler that a request asks for.
    pub(crate) fn begin<A: Message, R: Message>(
        &mut self,
        request: Request<'_, A, R>,
        route: Route,
    ) -> Step {
        let message = self.shard.send(request);
        let arguments = match route {
            Route::Value => Arguments::Value(message.payload),
            Route::Bytes => Arguments::Bytes(encoded(&message.payload)),
        };
        self.begin_with(message.method, arguments)
    }

    pub(crate) fn begin_with(&mut self, method: MethodId, arguments: Arguments) -> Step {
        self.activation.begin(&self.ctx, method, arguments)
    }

    pub(crate) fn resume(&mut self) -> Step {
        self.activation
            .resume(&mut Context::from_waker(Waker::noop()))
    }

    pub(crate) fn pass(&self, duration: Duration) {
        self.shard
            .host
            .now
            .set(self.shard.host.now.get() + duration);
    }

    /// Runs a handler to its end, however often it waits, and takes the reply.
    pub(crate) fn call<A: Message, R: Message>(
        &mut self,
        request: Request<'_, A, R>,
        route: Route,
    ) -> Result<R, Status> {
        let step = self.begin(request, route);
        self.finish(step).map(|reply| match route {
            Route::Value => Reply::Value(reply).take().unwrap(),
            Route::Bytes => Reply::Bytes(encoded(&reply)).take().unwrap(),
        })
    }

    pub(crate) fn finish(&mut self, mut step: Step) -> Result<Payload, Status> {
        for _ in 0..100 {
            match step {
                Step::Done(reply) => return Ok(reply),
                Step::Refused(status) => return Err(status),
                Step::Suspended => {
                    self.pass(Duration::from_secs(1));
                    step = self.resume();
                }
            }
        }
        panic!("the handler never ends");
    }
}

pub(crate) fn encoded(payload: &Payload) -> Block {
    let mut bytes = AlignedVec::new();
    payload.encode(&mut bytes).unwrap();
    Block::from(bytes)
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Outgoing>>);

impl Port for Recorder {
    fn hash(&self, id: &GrainId) -> u64 {
        u64::from(id.kind.0)
    }

    fn tell(&self, message: Outgoing) -> Result<(), (TellError, Option<Outgoing>)> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }

    fn poll_room(&self, _: &Outgoing, _: &mut Context<'_>) {
        unreachable!("there is always room");
    }

    fn call(&self, _: Outgoing, _: Option<Duration>) -> Pending {
        unreachable!("requests are only told here");
    }

    fn poll_call(&self, _: Ticket, _: &mut Context<'_>) -> Poll<Outcome> {
        unreachable!("requests are only told here");
    }

    fn forget(&self, _: Ticket) {
        unreachable!("requests are only told here");
    }

    fn is_shard(&self) -> bool {
        true
    }
}

struct Clockwork {
    now: Cell<Instant>,
    timers: RefCell<Vec<(u64, Instant)>>,
}

impl Clockwork {
    fn new() -> Self {
        Self {
            now: Cell::new(Instant::now()),
            timers: RefCell::default(),
        }
    }
}

impl Host for Clockwork {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn shard(&self) -> ShardId {
        ShardId(2)
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn start_timer(&self, deadline: Instant, _: Waker) -> u64 {
        let mut timers = self.timers.borrow_mut();
        let number = timers.len() as u64;
        timers.push((number, deadline));
        number
    }

    fn cancel_timer(&self, timer: u64) {
        self.timers
            .borrow_mut()
            .retain(|(number, _)| *number != timer);
    }

    fn spawn(&self, _: Task) {
        unreachable!("no grain here has tasks");
    }
}

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
    Activation, Arguments, Ctx, Declined, GrainRef, Home, Host, Kind, Message, Outcome, Outgoing,
    Overload, Payload, Pending, Port, Reference, Reply, Request, Step, Target, Ticket,
};
use teff_wire::{Block, GrainId, Key, KindId, MethodId, NodeId, ShardId, Status};

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
    reply: Payload,
}

/// A message that went through the port.
pub(crate) struct Sent {
    pub(crate) target: Target,
    pub(crate) method: MethodId,
    pub(crate) payload: Payload,
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
        let home = Home {
            host: Rc::clone(&self.host) as Rc<dyn Host>,
            port: Arc::clone(&self.port) as _,
        };
        let ctx = Ctx::new(id, Rc::new(home));
        let activation = kind.activate(&ctx);
        Hosted {
            shard: self,
            ctx,
            activation,
            reply: Payload::empty(),
        }
    }

    /// What a request becomes.
    pub(crate) fn send<A: Message, R: Message>(&self, request: Request<'_, A, R>) -> Sent {
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
        let mut message = self.shard.send(request);
        match route {
            Route::Value => self.begin_with(message.method, Arguments::Value(&mut message.payload)),
            Route::Bytes => {
                let block = encoded(&message.payload);
                self.begin_with(message.method, Arguments::Bytes((&block).into()))
            }
        }
    }

    pub(crate) fn begin_with(&mut self, method: MethodId, arguments: Arguments<'_>) -> Step {
        self.activation
            .begin(&self.ctx, method, arguments, &mut self.reply)
    }

    pub(crate) fn resume(&mut self) -> Step {
        self.activation
            .resume(&mut Context::from_waker(Waker::noop()), &mut self.reply)
    }

    pub(crate) fn take_reply(&mut self) -> Payload {
        std::mem::take(&mut self.reply)
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
                Step::Done => return Ok(self.take_reply()),
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
struct Recorder(Mutex<Vec<Sent>>);

impl Port for Recorder {
    fn hash(&self, id: &GrainId) -> u64 {
        u64::from(id.kind.0)
    }

    fn tell(&self, message: &mut Outgoing<'_>) -> Result<(), Declined> {
        self.0.lock().unwrap().push(Sent {
            target: message.target.clone(),
            method: message.method,
            payload: std::mem::take(message.payload),
        });
        Ok(())
    }

    fn poll_room(&self, _: &Target, _: &mut Context<'_>) {
        unreachable!("there is always room");
    }

    fn call(&self, _: &mut Outgoing<'_>, _: Option<Duration>) -> Pending {
        unreachable!("requests are only told here");
    }

    fn poll_call(&self, _: Ticket, _: &mut Context<'_>, _: &mut Outcome) -> Poll<()> {
        unreachable!("requests are only told here");
    }

    fn forget(&self, _: Ticket) {
        unreachable!("requests are only told here");
    }

    fn overload(&self, _: KindId) -> Option<Overload> {
        unreachable!("there is always room");
    }

    fn shed(&self, _: &Target) {
        unreachable!("there is always room");
    }

    fn lose(&self, _: &Target) {
        unreachable!("there is always room");
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

//! One message to one grain, not yet sent: what the methods of a typed reference return.
//!
//! A [`Request`] becomes a call by `.await` (in handlers, in tokio, in any executor) or `.wait()`
//! (on a plain thread), and a tell by `.tell()`, `.when_room()` or `.tell_lossy()`. It borrows the
//! reference it was made from, so that making one touches no shared counter.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use teff_wire::{KeyError, MethodId};

use crate::codec::Message;
use crate::error::{CallError, Doubt, Failure, Refusal, TellError};
use crate::payload::Payload;
use crate::port::{
    Channel, Declined, Outcome, Outgoing, Overload, Patience, Pending, Port, Target,
};
use crate::reference::GrainRef;

/// A message to a grain, to be sent as a call or as a tell.
#[must_use = "a request does nothing until it is awaited, waited for or told"]
#[derive(Debug)]
pub struct Request<'a, A, R> {
    grain: &'a GrainRef,
    method: MethodId,
    payload: Payload,
    timeout: Option<Duration>,
    overload: Option<Overload>,
    types: PhantomData<fn(A) -> R>,
}

/// A call in progress. Dropping it gives up on the reply; the handler may run all the same.
#[must_use = "a call does nothing until it is polled"]
pub struct Call<'a, R> {
    port: &'a dyn Port,
    state: State<'a>,
    reply: PhantomData<fn() -> R>,
}

/// A tell that waits until there is room for it. Dropping it before it is ready sends nothing.
#[must_use = "a tell that waits for room does nothing until it is awaited or waited for"]
pub struct WhenRoom<'a> {
    port: &'a dyn Port,
    message: Result<Unsent<'a>, KeyError>,
}

enum State<'a> {
    Unsent(Unsent<'a>),
    Sent(Pending),
    Done,
}

/// A message that is still to be sent, perhaps because there was no room for it yet.
struct Unsent<'a> {
    target: &'a Target,
    method: MethodId,
    payload: Payload,
    timeout: Option<Duration>,
    overload: Option<Overload>,
    /// Until when it waits for room; set when it first finds none.
    deadline: Option<Instant>,
}

/// How long a message waits for room if its request has no timeout of its own.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

impl<'a, A: Message, R: Message> Request<'a, A, R> {
    /// Called by generated stubs.
    #[doc(hidden)]
    #[inline]
    pub fn new(grain: &'a GrainRef, method: MethodId, arguments: A) -> Self {
        Self {
            grain,
            method,
            payload: Payload::new(arguments),
            timeout: None,
            overload: None,
            types: PhantomData,
        }
    }

    /// Waits this long for the reply (or, where it waits for room, for room), instead of the
    /// node's default of 5 s. The deadline travels with the call: a handler that cannot start in
    /// time does not start.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What becomes of this message when a queue on its way is full, whatever its kind says.
    pub fn on_overload(mut self, overload: Overload) -> Self {
        self.overload = Some(overload);
        self
    }

    /// Sends the message and forgets it: at most once, in order with other messages of this
    /// sender to this grain. A tell has no deadline: [`timeout`](Self::timeout) bounds the wait
    /// for room only.
    ///
    /// # Errors
    ///
    /// [`TellError`] when it was not accepted. `Ok` means accepted, not handled.
    pub fn tell(mut self) -> Result<(), TellError> {
        let port = self.grain.port();
        let told = port.tell(&mut Outgoing {
            target: self.grain.target()?,
            method: self.method,
            payload: &mut self.payload,
            patient: self.overload.into(),
        });
        match told {
            Ok(()) => {
                // Who accepts arguments leaves nothing of them to be dropped.
                mem::forget(self);
                Ok(())
            }
            Err(declined) => self.declined(declined),
        }
    }

    /// Like [`tell`](Self::tell), for what is worth nothing when it is late: positions, gauges,
    /// heartbeats. It waits for nothing and nothing waits for it, so it **may get lost**.
    ///
    /// - To a grain on another node it goes in a QUIC datagram of its own: it may overtake other
    ///   messages and be overtaken by them, does not queue behind them, and is never sent again. It
    ///   does not arrive twice.
    /// - It is dropped where a queue is full (lane, mailbox; in the buffer of a link a newer one
    ///   takes the place of the oldest), and while there is no link to the grain's node that is up;
    ///   it starts one. It makes nobody wait: it never fills a mailbox, and timeout and
    ///   [`on_overload`](Self::on_overload) mean nothing to it.
    /// - Inside a node it is a tell otherwise.
    ///
    /// What a node drops it counts, as `lossy_no_room` or `lossy_no_link`. What is lost in the
    /// network is seen by nobody and counted nowhere.
    ///
    /// # Errors
    ///
    /// [`TellError`], but never [`Busy`](TellError::Busy) or
    /// [`NodeUnreachable`](TellError::NodeUnreachable): being dropped is no error.
    /// [`TooLarge`](TellError::TooLarge) when the message does not fit into one datagram of the
    /// path to the grain's node. The bound depends on the path, and grows with what is known of it:
    /// 1 KiB, with a key of up to 64 bytes, always fits. Threads outside the shards are not told
    /// what only the shard with the link finds out; there it is counted, as `too_large`.
    pub fn tell_lossy(mut self) -> Result<(), TellError> {
        let (port, target) = (self.grain.port(), self.grain.target()?);
        let told = port.tell(&mut Outgoing {
            target,
            method: self.method,
            payload: &mut self.payload,
            patient: Patience::Lossy,
        });
        match told {
            Ok(()) => Ok(()),
            Err(Declined::Because(error)) => Err(*error),
            Err(Declined::NoRoom) => {
                port.lose(target);
                Ok(())
            }
        }
    }

    #[cold]
    fn declined(self, declined: Declined) -> Result<(), TellError> {
        let port = self.grain.port();
        match declined {
            Declined::Because(error) => Err(*error),
            Declined::NoRoom => self.into_unsent()?.tell_without_room(port),
        }
    }

    /// Like [`tell`](Self::tell), but waits for room where a queue on the way is full, whatever
    /// the policy of the kind: `.await` the result in a handler or an executor, `.wait()` for it
    /// on a plain thread.
    pub fn when_room(self) -> WhenRoom<'a> {
        let port = self.grain.port();
        let message = self.into_unsent();
        WhenRoom { port, message }
    }

    /// Calls and blocks this thread until the reply is there. Not for handlers and not for async
    /// code: there, `.await` the request.
    ///
    /// # Errors
    ///
    /// [`CallError`]; on one of the node's own shards it is refused instead of stopping the shard.
    pub fn wait(self) -> Result<R, CallError> {
        let port = self.grain.port();
        if port.is_shard() {
            return Err(Refusal::WouldBlockShard.into());
        }
        let mut unsent = self.into_unsent().map_err(Refusal::Key)?;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            match unsent.call(port, &mut cx) {
                Poll::Ready(Pending::Ready(mut outcome)) => return receive(&mut outcome),
                Poll::Ready(Pending::Channel(channel)) => {
                    return receive(&mut wait_for(&channel));
                }
                Poll::Ready(Pending::Slot(_) | Pending::NoRoom) => {
                    unreachable!("only a shard's own calls wait in a slot")
                }
                Poll::Pending => thread::park_timeout(ROOM_RECHECK),
            }
        }
    }

    fn into_unsent(self) -> Result<Unsent<'a>, KeyError> {
        Ok(Unsent {
            target: self.grain.target()?,
            method: self.method,
            payload: self.payload,
            timeout: self.timeout,
            overload: self.overload,
            deadline: None,
        })
    }
}

impl<'a, A: Message, R: Message> IntoFuture for Request<'a, A, R> {
    type Output = Result<R, CallError>;
    type IntoFuture = Call<'a, R>;

    fn into_future(self) -> Call<'a, R> {
        let port = self.grain.port();
        let state = match self.into_unsent() {
            Ok(unsent) => State::Unsent(unsent),
            Err(error) => State::Sent(Pending::ready(Err(Refusal::Key(error).into()))),
        };
        Call {
            port,
            state,
            reply: PhantomData,
        }
    }
}

// Nothing in a call is ever pinned: its fields are moved freely between polls.
impl<R> Unpin for Call<'_, R> {}

impl<R: Message> Future for Call<'_, R> {
    type Output = Result<R, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let State::Unsent(unsent) = &mut this.state {
            match unsent.call(this.port, cx) {
                Poll::Ready(pending) => this.state = State::Sent(pending),
                Poll::Pending => return Poll::Pending,
            }
        }
        let State::Sent(pending) = &mut this.state else {
            panic!("a call was polled after it had given its reply");
        };
        let mut outcome = Err(Doubt::NodeStopped.into());
        match pending {
            Pending::Slot(ticket) => {
                ready!(this.port.poll_call(*ticket, cx, &mut outcome));
            }
            Pending::Channel(channel) => {
                if let Ok(arrived) = ready!(Pin::new(&mut channel.reply).poll(cx)) {
                    outcome = arrived;
                }
            }
            Pending::Ready(known) => mem::swap(&mut outcome, known),
            Pending::NoRoom => unreachable!("a call without room is not sent"),
        }
        this.state = State::Done;
        Poll::Ready(receive(&mut outcome))
    }
}

impl Unsent<'_> {
    /// Makes the call. Without room it asks to be woken; after its deadline it gives up.
    fn call(&mut self, port: &dyn Port, cx: &mut Context<'_>) -> Poll<Pending> {
        // What it has waited for room is no longer left for the reply.
        let left = match self.deadline {
            Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            None => self.timeout,
        };
        match port.call(&mut self.lend(self.overload.into()), left) {
            Pending::NoRoom => {}
            pending => return Poll::Ready(pending),
        }
        let policy = self.policy(port).unwrap_or(Overload::Wait);
        if policy == Overload::Shed {
            port.shed(self.target);
        }
        if policy != Overload::Wait || self.is_late() {
            return Poll::Ready(Pending::ready(Err(Refusal::Busy.into())));
        }
        port.poll_room(self.target, cx);
        Poll::Pending
    }

    /// Sends a tell. Without room it asks to be woken; after its deadline it gives up.
    fn tell(&mut self, port: &dyn Port, cx: &mut Context<'_>) -> Poll<Result<(), TellError>> {
        assert!(
            !self.payload.is_empty(),
            "a tell was polled after it had been accepted"
        );
        match port.tell(&mut self.lend(Patience::Patient)) {
            Err(Declined::NoRoom) if !self.is_late() => {}
            told => return Poll::Ready(told.map_err(TellError::from)),
        }
        port.poll_room(self.target, cx);
        Poll::Pending
    }

    /// Does with a tell that found no room what is to be done with it.
    #[cold]
    fn tell_without_room(mut self, port: &dyn Port) -> Result<(), TellError> {
        match self.policy(port).unwrap_or(Overload::Refuse) {
            Overload::Refuse => Err(TellError::Busy),
            Overload::Wait if port.is_shard() => Err(TellError::Busy),
            Overload::Wait => self.wait_to_tell(port),
            Overload::Shed => {
                port.shed(self.target);
                Ok(())
            }
        }
    }

    fn wait_to_tell(&mut self, port: &dyn Port) -> Result<(), TellError> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            match self.tell(port, &mut cx) {
                Poll::Ready(result) => return result,
                Poll::Pending if port.is_shard() => return Err(TellError::Busy),
                // The shard wakes us; the limit only bounds the wait for a shard that is stuck.
                Poll::Pending => thread::park_timeout(ROOM_RECHECK),
            }
        }
    }

    fn lend(&mut self, patient: Patience) -> Outgoing<'_> {
        Outgoing {
            target: self.target,
            method: self.method,
            payload: &mut self.payload,
            patient,
        }
    }

    fn policy(&self, port: &dyn Port) -> Option<Overload> {
        self.overload
            .or_else(|| port.overload(self.target.contract.kind))
    }

    fn is_late(&mut self) -> bool {
        let now = Instant::now();
        let timeout = self.timeout.unwrap_or(ROOM_TIMEOUT);
        now >= *self.deadline.get_or_insert(after(now, timeout))
    }
}

impl<R> Drop for Call<'_, R> {
    fn drop(&mut self) {
        if let State::Sent(Pending::Slot(ticket)) = self.state {
            self.port.forget(ticket);
        }
    }
}

impl WhenRoom<'_> {
    /// Blocks this thread until the message is accepted.
    ///
    /// # Errors
    ///
    /// [`TellError`]; [`TellError::Busy`] when there was no room in time, or at once on one of the
    /// node's own shards, which must not block.
    pub fn wait(mut self) -> Result<(), TellError> {
        match &mut self.message {
            Ok(message) => message.wait_to_tell(self.port),
            Err(error) => Err(TellError::Key(error.clone())),
        }
    }
}

// As for `Call`.
impl Unpin for WhenRoom<'_> {}

impl Future for WhenRoom<'_> {
    type Output = Result<(), TellError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &mut this.message {
            Ok(message) => message.tell(this.port, cx),
            Err(error) => Poll::Ready(Err(TellError::Key(error.clone()))),
        }
    }
}

// The shard ends a call at its deadline. It cannot while the call is still behind others in the
// thread's lane, so the thread does not rely on it.
fn wait_for(channel: &Channel) -> Outcome {
    let patience = channel.timeout.saturating_add(GRACE);
    match channel.reply.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(oneshot::RecvTimeoutError::Timeout) => Err(Doubt::Timeout(channel.timeout).into()),
        Err(oneshot::RecvTimeoutError::Disconnected) => Err(Doubt::NodeStopped.into()),
    }
}

/// Time for a shard's own answer to arrive, which knows more.
const GRACE: Duration = Duration::from_millis(100);

/// Takes the reply out of an outcome that nobody looks at again.
fn receive<R: Message>(outcome: &mut Outcome) -> Result<R, CallError> {
    match outcome {
        Ok(reply) => reply.take().map_err(|_| Failure::Undecodable.into()),
        Err(error) => Err(mem::replace(error, Doubt::NodeStopped.into())),
    }
}

/// A time so far off that it overflows is as good as never.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + FOR_EVER)
}

const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Between two looks of a blocked thread at a queue whose shard has not woken it.
const ROOM_RECHECK: Duration = Duration::from_millis(10);

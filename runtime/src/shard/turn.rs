//! Turns: one letter meets one grain.
//!
//! A letter to a grain that is at rest runs at once, where it lies. A grain whose handler is
//! suspended keeps later letters in its bounded mailbox; when the handler ends they run in order,
//! some per stage, so that one busy grain does not hold up the shard. A panic ends the activation
//! and nothing else: letters in its mailbox go to the next activation of the same grain.
//!
//! The grains belong to the loop and not to the [`Shard`] that handlers reach, so a turn borrows
//! its grain plainly, for as long as the handler runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use teff_contract::{Activation, Arguments, Ctx, Home, Host, Patience, Payload, Step};
use teff_wire::{GrainId, MethodId, Part, Status};

use crate::counters::KindCell;
use crate::envelope::{Content, Letter, LinkCall, ReplyTo};
use crate::panics::{drop_quietly, text_of};
use crate::shard::Shard;
use crate::shard::catalog::{Catalog, Entry, NONE};
use crate::shard::held::Held;
use crate::shard::suspensions::Suspensions;
use crate::shard::wakers::What;

/// The grains of a shard, and those of them that wait.
pub(crate) struct Grains {
    pub(crate) shard: Rc<Shard>,
    home: Rc<Home>,
    pub(crate) catalog: Catalog,
    pub(super) suspensions: Suspensions,
    /// Letters of peers that wait for room in a lane.
    pub(super) held: Held,
    /// Counters by place among the hosted kinds.
    kinds: Vec<Arc<KindCell>>,
}

/// Why a letter was not handled.
type Refused = (Status, String);

impl Grains {
    pub(crate) fn new(shard: Rc<Shard>) -> Self {
        let home = Home {
            host: Rc::clone(&shard) as Rc<dyn Host>,
            port: Arc::clone(&shard.port),
        };
        Self {
            home: Rc::new(home),
            catalog: Catalog::new(shard.node.limits.activations_max),
            suspensions: Suspensions::new(Arc::clone(&shard.node), shard.id()),
            held: Held::default(),
            kinds: Vec::new(),
            shard,
        }
    }

    /// Gives a letter to its grain, which is activated if need be. When the grain cannot take it
    /// now, says so with the grain's place: [`keep`](Self::keep) it there.
    #[must_use = "a letter that did not run must be kept"]
    #[inline]
    pub(crate) fn deliver(&mut self, letter: &mut Letter) -> Option<u32> {
        let slot = match self.catalog.find(letter.hash, letter.kind, &letter.key) {
            Some(slot) => slot,
            None => self.activate_for(letter)?,
        };
        let entry = self.catalog.entry(slot);
        if entry.suspension != NONE || entry.activation.is_none() {
            return Some(slot);
        }
        self.begin(slot, letter);
        None
    }

    /// As [`deliver`](Self::deliver), for whoever has the letter.
    pub(crate) fn deliver_owned(&mut self, mut letter: Letter) {
        if let Some(slot) = self.deliver(&mut letter) {
            self.keep(slot, letter);
        }
    }

    /// Whether the working set is larger than the caches that a batch would find it in.
    pub(crate) fn is_large(&self) -> bool {
        self.catalog.len() > LARGE
    }

    /// The catalog, to fetch from it what a batch will need.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How many grains wait for something.
    pub(crate) fn suspended(&self) -> usize {
        self.suspensions.len()
    }

    /// Activates the grain of a letter, or ends the letter.
    #[cold]
    fn activate_for(&mut self, letter: &mut Letter) -> Option<u32> {
        self.activate(letter)
            .map_err(|refused| self.shard.refuse(letter, refused))
            .ok()
    }

    fn activate(&mut self, letter: &Letter) -> Result<u32, Refused> {
        if self.catalog.is_full() {
            let full = "the shard holds as many grains as it may".to_owned();
            return Err((Status::Busy, full));
        }
        let id = GrainId::new(letter.kind, letter.key.clone());
        let ctx = Ctx::new(id, Rc::clone(&self.home));
        let (activation, kind) = self.make(&ctx)?;
        let entry = Entry {
            ctx,
            activation: Some(activation),
            suspension: NONE,
            kind,
        };
        let slot = self.catalog.insert(letter.hash, entry);
        self.shard
            .counters()
            .activations
            .set(self.catalog.len() as u64);
        Ok(slot)
    }

    /// Runs the kind's factory.
    pub(super) fn make(&mut self, ctx: &Ctx) -> Result<(Box<dyn Activation>, u32), Refused> {
        let (kind, cell, place) = {
            let kinds = self.shard.kinds.borrow();
            let Some(hosted) = kinds.hosted(ctx.id().kind) else {
                return Err((Status::UnknownKind, String::new()));
            };
            hosted
        };
        if self.kinds.len() <= place {
            // Places are given out in order, and kinds are hosted before they are activated.
            self.kinds.resize(place + 1, Arc::clone(&cell));
        }
        self.kinds[place] = cell;
        self.shard.shares.begin_turn();
        catch_unwind(AssertUnwindSafe(|| kind.activate(ctx)))
            .map(|activation| (activation, place as u32))
            .map_err(|panic| (Status::ActivationFailed, text_of(panic)))
    }

    /// Runs the handler that a letter asks for. The grain is at rest.
    #[inline(always)]
    pub(super) fn begin(&mut self, slot: u32, letter: &mut Letter) {
        self.shard.shares.begin_turn();
        let entry = self.catalog.entry_mut(slot);
        let cell = &*self.kinds[entry.kind as usize];
        if letter.deadline.is_due(self.shard.micros()) {
            return self.shard.expire(cell, letter);
        }
        let activation = entry.activation.as_mut().expect(AWAKE);
        let mut reply = Payload::empty();
        let arguments = match &mut letter.content {
            Content::Value { payload, .. } => Arguments::Value(payload),
            Content::Bytes { block, .. } => Arguments::Bytes((&*block).into()),
        };
        let turn = || activation.begin(&entry.ctx, letter.method, arguments, &mut reply);
        let ended = catch_unwind(AssertUnwindSafe(turn));
        letter.clear();
        if matches!(ended, Ok(Step::Done)) {
            cell.handled.add(1);
            if !letter.is_tell() || !reply.is_inert() {
                self.shard.hand_on(letter.reply_to(), &mut reply);
            }
            return;
        }
        self.end((slot, letter.reply_to()), ended, &mut reply);
    }

    /// Runs the handler that a frame of a peer asks for, where the frame lies.
    #[inline(always)]
    pub(crate) fn begin_frame(
        &mut self,
        slot: u32,
        (method, deadline_us): (MethodId, u32),
        from: LinkCall,
        arguments: Part<'_>,
    ) {
        let entry = self.catalog.entry(slot);
        if entry.suspension != NONE || entry.activation.is_none() {
            let id = entry.ctx.id().clone();
            let hash = self.shard.node.placement_key.hash(&id);
            let deadline = self.shard.deadline_from(deadline_us);
            let content = Content::Bytes {
                block: arguments.to_block(),
                from,
            };
            return self.keep(
                slot,
                Letter {
                    key: id.key,
                    hash,
                    deadline,
                    content,
                    kind: id.kind,
                    method,
                    patient: Patience::Patient,
                },
            );
        }
        self.shard.shares.begin_turn();
        let entry = self.catalog.entry_mut(slot);
        let cell = &*self.kinds[entry.kind as usize];
        let activation = entry.activation.as_mut().expect(AWAKE);
        let mut reply = Payload::empty();
        let arguments = Arguments::Bytes(arguments);
        let turn = || activation.begin(&entry.ctx, method, arguments, &mut reply);
        let ended = catch_unwind(AssertUnwindSafe(turn));
        let reply_to = match from.number {
            0 => ReplyTo::Nobody,
            _ => ReplyTo::Link(from),
        };
        match ended {
            Ok(Step::Done) => self.shard.answer_handled(cell, reply_to, &mut reply),
            ended => self.end((slot, reply_to), ended, &mut reply),
        }
    }

    /// Does with the end of a turn what is to be done with it.
    #[inline(never)]
    fn end(
        &mut self,
        (slot, reply_to): (u32, ReplyTo),
        ended: thread::Result<Step>,
        reply: &mut Payload,
    ) {
        let cell = &*self.kinds[self.catalog.entry(slot).kind as usize];
        match ended {
            Ok(Step::Done) => self.shard.answer_handled(cell, reply_to, reply),
            Ok(Step::Refused(status)) => {
                self.shard
                    .answer(cell, reply_to, Err((status, String::new())));
            }
            Ok(Step::Suspended) => self.start(slot, reply_to),
            Err(panic) => self.lose(slot, reply_to, panic),
        }
    }

    /// Polls a handler for the first time; only if it waits, it takes a place to wait in.
    fn start(&mut self, slot: u32, reply_to: ReplyTo) {
        let entry = self.catalog.entry_mut(slot);
        let (place, waker) = match entry.suspension {
            NONE => self.suspensions.next(),
            place => (place, self.suspensions.waker(place)),
        };
        let activation = entry.activation.as_mut().expect(AWAKE);
        let mut reply = Payload::empty();
        self.shard.polls(place, waker);
        let turn = || activation.resume(&mut Context::from_waker(waker), &mut reply);
        let ended = catch_unwind(AssertUnwindSafe(turn));
        self.shard.polls_nothing();
        let cell = &*self.kinds[entry.kind as usize];
        match ended {
            Ok(Step::Suspended) => match entry.suspension {
                NONE => entry.suspension = self.suspensions.occupy(slot, reply_to),
                place => {
                    self.suspensions.get_mut(place).expect(OCCUPIED).handler = Some(reply_to);
                }
            },
            Ok(Step::Done) => self.shard.answer_handled(cell, reply_to, &mut reply),
            Ok(Step::Refused(status)) => {
                self.shard
                    .answer(cell, reply_to, Err((status, String::new())));
            }
            Err(panic) => self.lose(slot, reply_to, panic),
        }
    }

    /// Polls a handler that was woken.
    fn resume(&mut self, slot: u32, place: u32, reply_to: ReplyTo) {
        self.shard.shares.begin_turn();
        let entry = self.catalog.entry_mut(slot);
        let activation = entry.activation.as_mut().expect(AWAKE);
        let waker = self.suspensions.waker(place);
        let mut reply = Payload::empty();
        self.shard.polls(place, waker);
        let turn = || activation.resume(&mut Context::from_waker(waker), &mut reply);
        let ended = catch_unwind(AssertUnwindSafe(turn));
        self.shard.polls_nothing();
        if matches!(ended, Ok(Step::Suspended)) {
            return;
        }
        self.suspensions.get_mut(place).expect(OCCUPIED).handler = None;
        let cell = &*self.kinds[entry.kind as usize];
        match ended {
            Ok(Step::Refused(status)) => {
                self.shard
                    .answer(cell, reply_to, Err((status, String::new())));
            }
            Ok(_) => self.shard.answer_handled(cell, reply_to, &mut reply),
            Err(panic) => self.lose(slot, reply_to, panic),
        }
        self.run_mailbox(slot, place);
    }

    /// The handler panicked: the activation ends. Letters in its mailbox keep their place and order
    /// for the next activation.
    #[cold]
    fn lose(&mut self, slot: u32, reply_to: ReplyTo, panic: Box<dyn Any + Send>) {
        let entry = self.catalog.entry_mut(slot);
        let cell = Arc::clone(&self.kinds[entry.kind as usize]);
        let activation = entry.activation.take();
        if entry.suspension == NONE {
            self.forget(slot);
        }
        drop_quietly(activation);
        let panicked = Err((Status::Panicked, text_of(panic)));
        self.shard.answer(&cell, reply_to, panicked);
    }

    pub(super) fn forget(&mut self, slot: u32) {
        let id = self.catalog.entry(slot).ctx.id();
        let hash = self.shard.node.placement_key.hash(id);
        let entry = self.catalog.remove(hash, slot);
        self.shard
            .counters()
            .activations
            .set(self.catalog.len() as u64);
        drop_quietly(entry);
    }

    /// Polls what can go on: a suspended handler, a mailbox, or a task.
    pub(crate) fn poll(&mut self, what: What) {
        match what {
            What::Task(id) => self.shard.poll_task(id),
            What::Suspension(place) => {
                let Some(suspension) = self.suspensions.get_mut(place) else {
                    return;
                };
                let slot = suspension.grain;
                if let Some(reply_to) = suspension.handler {
                    self.resume(slot, place, reply_to);
                } else {
                    suspension.queued = false;
                    self.run_mailbox(slot, place);
                }
            }
        }
    }

    /// The shard ends: counts what is left and drops everything.
    pub(crate) fn discard(&mut self) {
        self.discard_held();
        for suspension in self.suspensions.clear() {
            let entry = self.catalog.entry(suspension.grain);
            let cell = Arc::clone(&self.kinds[entry.kind as usize]);
            let letters = suspension.mailbox.len() + usize::from(suspension.handler.is_some());
            for _ in 0..letters {
                cell.drop_for(teff_core::dead_letter::Reason::ShuttingDown);
            }
            for letter in suspension.mailbox {
                drop_quietly(letter);
            }
        }
        for entry in self.catalog.clear() {
            drop_quietly(entry);
        }
    }
}

impl Shard {
    /// Ends a letter that does not run.
    #[cold]
    pub(crate) fn refuse(&self, letter: &mut Letter, refused: Refused) {
        let cell = self.kinds.borrow().cell_or_unknown(letter.kind);
        let reply_to = letter.reply_to();
        letter.clear();
        self.answer(&cell, reply_to, Err(refused));
    }

    /// Ends a letter whose caller has given up by now.
    #[cold]
    fn expire(&self, cell: &KindCell, letter: &mut Letter) {
        letter.clear();
        let expired = Err((Status::Expired, String::new()));
        self.answer(cell, letter.reply_to(), expired);
    }

    fn poll_task(&self, id: u64) {
        let taken = self.tasks.borrow_mut().take(id);
        let Some(mut taken) = taken else { return };
        self.shares.begin_turn();
        match catch_unwind(AssertUnwindSafe(|| taken.poll())) {
            Ok(Poll::Pending) => self.tasks.borrow_mut().put_back(taken),
            Ok(Poll::Ready(())) => self.end_task(taken),
            Err(panic) => {
                let text = text_of(panic);
                tracing::error!(shard = self.id().0, "a task panicked: {text}");
                self.end_task(taken);
            }
        }
    }

    fn end_task(&self, taken: super::tasks::Taken) {
        self.tasks.borrow_mut().remove(taken.id());
        drop_quietly(taken);
    }
}

pub(super) const OCCUPIED: &str = "a suspended grain has a place to wait in";
const AWAKE: &str = "a handler runs only where there is an activation";

/// So many entries fill the second-level cache, with their grains and their part of the index.
const LARGE: usize = 8192;

//! Turns: one letter meets one grain.
//!
//! A letter to a grain that is at rest runs at once. A grain whose handler is suspended keeps
//! later letters in its bounded mailbox; when the handler ends they run in order, some per stage,
//! so that one busy grain does not hold up the shard. A panic ends the activation and nothing
//! else: letters in its mailbox go to the next activation of the same grain.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use teff_contract::{Activation, Ctx, Host, Step};
use teff_wire::Status;

use crate::counters::KindCell;
use crate::envelope::{Letter, ReplyTo, Settled};
use crate::panics::{drop_quietly, text_of};
use crate::shard::Shard;
use crate::shard::catalog::{ActivationKey, Entry};
use crate::shard::wakers::{Runnable, What};

/// An activation taken out of the catalog for a turn.
struct Stage {
    key: ActivationKey,
    activation: Box<dyn Activation>,
    ctx: Ctx,
    kind: Arc<KindCell>,
}

/// A new activation and the counters of its kind.
type Made = (Box<dyn Activation>, Arc<KindCell>);

impl Shard {
    /// Gives a letter to its grain, which is activated if need be.
    pub(crate) fn deliver(self: &Rc<Self>, letter: Letter) {
        let found = self.catalog.borrow().find(letter.hash, &letter.id);
        match found.map_or_else(|| self.activate(&letter), Ok) {
            Ok(key) => self.deliver_to(key, letter),
            Err(refused) => self.refuse(letter, refused),
        }
    }

    fn deliver_to(self: &Rc<Self>, key: ActivationKey, letter: Letter) {
        let mut catalog = self.catalog.borrow_mut();
        let entry = catalog.get_mut(key).expect("the key was just found");
        if entry.suspended.is_some() || !entry.mailbox.is_empty() || entry.activation.is_none() {
            if entry.mailbox.len() < self.node.limits.mailbox_capacity {
                entry.mailbox.push_back(letter);
                return;
            }
            drop(catalog);
            let refused = (Status::Busy, "the grain's mailbox is full".to_owned());
            return self.refuse(letter, refused);
        }
        let stage = Stage::take(key, entry);
        drop(catalog);
        if let Some(stage) = stage {
            self.begin(stage, letter);
        }
    }

    fn refuse(&self, letter: Letter, refused: (Status, String)) {
        let cell = self.kinds.borrow().cell_or_unknown(letter.id.kind);
        let reply = letter.reply;
        drop_quietly(letter);
        self.answer(&cell, reply, Err(refused));
    }

    fn activate(self: &Rc<Self>, letter: &Letter) -> Result<ActivationKey, (Status, String)> {
        if self.catalog.borrow().is_full() {
            return Err((
                Status::Busy,
                "the shard holds as many grains as it may".to_owned(),
            ));
        }
        let host: Rc<dyn Host> = Rc::clone(self) as Rc<dyn Host>;
        let ctx = Ctx::new(letter.id.clone(), host, Arc::clone(&self.port));
        let (activation, cell) = self.make(&ctx)?;
        let mut catalog = self.catalog.borrow_mut();
        let key = catalog.insert(letter.hash, ctx, cell, activation);
        self.counters().activations.set(catalog.len() as u64);
        Ok(key)
    }

    /// Runs the kind's factory.
    fn make(&self, ctx: &Ctx) -> Result<Made, (Status, String)> {
        let kinds = self.kinds.borrow();
        let Some((kind, cell)) = kinds.hosted(ctx.id().kind) else {
            return Err((Status::UnknownKind, String::new()));
        };
        let (kind, cell) = (kind.clone(), Arc::clone(cell));
        drop(kinds);
        catch_unwind(AssertUnwindSafe(|| kind.activate(ctx)))
            .map(|activation| (activation, cell))
            .map_err(|panic| (Status::ActivationFailed, text_of(panic)))
    }

    fn begin(self: &Rc<Self>, mut stage: Stage, letter: Letter) {
        let reply = letter.reply;
        if letter.deadline.is_due(self.micros()) {
            drop_quietly(letter);
            return self.end_turn(stage, reply, Err((Status::Expired, String::new())));
        }
        let (activation, ctx) = (&mut stage.activation, &stage.ctx);
        let turn = || activation.begin(ctx, letter.method, letter.arguments);
        match catch_unwind(AssertUnwindSafe(turn)) {
            Ok(Step::Done(payload)) => self.end_turn(stage, reply, Ok(payload)),
            Ok(Step::Refused(status)) => self.end_turn(stage, reply, Err((status, String::new()))),
            Ok(Step::Suspended) => {
                self.catalog.borrow_mut().suspend(stage.key, Some(reply));
                self.resume(stage);
            }
            Err(panic) => self.lose(stage, reply, panic),
        }
    }

    fn resume(self: &Rc<Self>, mut stage: Stage) {
        let waker = {
            let mut catalog = self.catalog.borrow_mut();
            let entry = catalog
                .get_mut(stage.key)
                .expect("a staged activation keeps its entry");
            entry
                .waker
                .get_or_insert_with(|| self.waker_of(stage.key))
                .clone()
        };
        let activation = &mut stage.activation;
        let turn = || activation.resume(&mut Context::from_waker(&waker));
        let result = match catch_unwind(AssertUnwindSafe(turn)) {
            Ok(Step::Suspended) => return self.put_back(stage),
            Ok(Step::Done(payload)) => Ok(Ok(payload)),
            Ok(Step::Refused(status)) => Ok(Err((status, String::new()))),
            Err(panic) => Err(panic),
        };
        let reply = self.catalog.borrow_mut().suspend(stage.key, None);
        let reply = reply.expect("a suspended handler knows whom to answer");
        match result {
            Ok(settled) => self.end_turn(stage, reply, settled),
            Err(panic) => self.lose(stage, reply, panic),
        }
    }

    fn end_turn(&self, stage: Stage, reply: ReplyTo, settled: Settled) {
        let kind = Arc::clone(&stage.kind);
        self.put_back(stage);
        self.answer(&kind, reply, settled);
    }

    fn put_back(&self, stage: Stage) {
        let mut catalog = self.catalog.borrow_mut();
        let entry = catalog
            .get_mut(stage.key)
            .expect("a staged activation keeps its entry");
        entry.activation = Some(stage.activation);
        drop(catalog);
        self.after_turn(stage.key);
    }

    /// The handler panicked: the activation ends. Letters in its mailbox keep their place and order
    /// for the next activation.
    fn lose(&self, stage: Stage, reply: ReplyTo, panic: Box<dyn Any + Send>) {
        let Stage {
            key,
            activation,
            kind,
            ..
        } = stage;
        drop_quietly(activation);
        self.after_turn(key);
        self.answer(&kind, reply, Err((Status::Panicked, text_of(panic))));
    }

    /// Polls what was woken: a suspended handler, a mailbox that may go on, or a task.
    pub(crate) fn poll(self: &Rc<Self>, runnable: &Runnable) {
        match runnable.begin() {
            What::Activation(key) => self.poll_activation(key),
            What::Task(id) => self.poll_task(id),
        }
    }

    fn poll_activation(self: &Rc<Self>, key: ActivationKey) {
        for _ in 0..MAILBOX_BATCH {
            let mut catalog = self.catalog.borrow_mut();
            let Some(entry) = catalog.get_mut(key) else {
                return;
            };
            let suspended = entry.suspended.is_some();
            let letter = if suspended {
                None
            } else {
                entry.mailbox.pop_front()
            };
            let (stage, ctx) = (Stage::take(key, entry), entry.ctx.clone());
            drop(catalog);
            match (stage, letter) {
                (Some(stage), None) if suspended => self.resume(stage),
                (Some(stage), None) => return self.put_back(stage),
                (Some(stage), Some(letter)) => self.begin(stage, letter),
                (None, Some(letter)) => self.revive(key, ctx, letter),
                (None, None) => return,
            }
            if !self.may_go_on(key) {
                return;
            }
        }
    }

    /// Makes a new activation in the place of one that panicked, for the next letter.
    fn revive(self: &Rc<Self>, key: ActivationKey, ctx: Ctx, letter: Letter) {
        match self.make(&ctx) {
            Ok((activation, kind)) => self.begin(
                Stage {
                    key,
                    activation,
                    ctx,
                    kind,
                },
                letter,
            ),
            Err(refused) => {
                self.refuse(letter, refused);
                self.after_turn(key);
            }
        }
    }

    /// Lets the mailbox go on, or forgets an entry that has neither activation nor letters.
    fn after_turn(&self, key: ActivationKey) {
        let mut catalog = self.catalog.borrow_mut();
        let Some(entry) = catalog.get_mut(key) else {
            return;
        };
        if entry.suspended.is_some() {
            return;
        }
        if !entry.mailbox.is_empty() {
            let waker = entry
                .waker
                .get_or_insert_with(|| self.waker_of(key))
                .clone();
            drop(catalog);
            waker.wake();
        } else if entry.activation.is_none() {
            let entry = catalog.remove(key);
            self.counters().activations.set(catalog.len() as u64);
            drop(catalog);
            drop_quietly(entry);
        }
    }

    // Putting an activation back with letters in its mailbox has queued it again; going on at once
    // merely saves the detour, within the batch.
    fn may_go_on(&self, key: ActivationKey) -> bool {
        self.catalog
            .borrow_mut()
            .get_mut(key)
            .is_some_and(|entry| entry.suspended.is_none() && !entry.mailbox.is_empty())
    }

    fn poll_task(self: &Rc<Self>, id: u64) {
        let taken = self.tasks.borrow_mut().take(id);
        let Some(mut taken) = taken else { return };
        match catch_unwind(AssertUnwindSafe(|| taken.poll())) {
            Ok(Poll::Pending) => self.tasks.borrow_mut().put_back(taken),
            Ok(Poll::Ready(())) => self.end_task(taken),
            Err(panic) => {
                tracing::error!(shard = self.id().0, "a task panicked: {}", text_of(panic));
                self.end_task(taken);
            }
        }
    }

    fn end_task(&self, taken: super::tasks::Taken) {
        self.tasks.borrow_mut().remove(taken.id());
        drop_quietly(taken);
    }

    fn waker_of(&self, key: ActivationKey) -> std::task::Waker {
        Runnable::new(What::Activation(key)).waker(&self.node, self.id())
    }
}

impl Stage {
    fn take(key: ActivationKey, entry: &mut Entry) -> Option<Self> {
        let activation = entry.activation.take()?;
        Some(Self {
            key,
            activation,
            ctx: entry.ctx.clone(),
            kind: Arc::clone(&entry.kind),
        })
    }
}

/// Letters of one mailbox that run before others get their turn.
const MAILBOX_BATCH: usize = 64;

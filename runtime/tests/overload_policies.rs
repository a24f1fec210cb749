//! What becomes of a message that finds no room is what the message says, else what its kind says:
//! refused at once, kept waiting, or shed and counted. Whichever it is, nothing that was accepted
//! is lost or handled twice, and the counters add up.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use teff::{CallError, Ctx, Kind, Node, Overload, Refusal, Request, ShardId, TellError, grain};

const LANE: usize = 16;
const MAILBOX: usize = 8;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is refused is refused without waiting for anything, on however busy a machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Holds handlers up until it is opened: blocks their shard, or suspends them.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: usize,
    open: bool,
    wakers: Vec<Waker>,
}

impl Gate {
    fn block(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.open)
            .unwrap();
        assert!(state.open, "nobody opens the gate");
    }

    async fn suspend(&self) {
        self.state.lock().unwrap().waiting += 1;
        self.changed.notify_all();
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn await_someone(&self) {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.waiting == 0)
            .unwrap();
        assert!(state.waiting > 0, "nobody comes to the gate");
    }

    fn open(&self) {
        let wakers = {
            let mut state = self.state.lock().unwrap();
            state.open = true;
            std::mem::take(&mut state.wakers)
        };
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What all grains of a node share with the test.
#[derive(Clone, Default)]
struct Shared {
    gate: Arc<Gate>,
    /// The numbers that were handled.
    log: Arc<Mutex<Vec<u64>>>,
}

struct Worker(Shared);

#[grain]
impl Worker {
    /// Stops the whole shard at the gate.
    fn block(&mut self) {
        self.0.gate.block();
    }

    /// Waits at the gate, and lets the shard go on.
    async fn suspend(&mut self) {
        let gate = Arc::clone(&self.0.gate);
        gate.suspend().await;
    }

    fn note(&mut self, number: u64) -> u64 {
        self.0.log.lock().unwrap().push(number);
        number
    }

    fn ping(&mut self) {}
}

/// A grain that sends from its shard.
struct Driver;

impl Driver {
    fn new(_: &Ctx) -> Self {
        Self
    }
}

#[grain]
impl Driver {
    /// Tells numbers until one is refused. Returns how many were accepted.
    fn fill(&mut self, ctx: &Ctx, to: String) -> u64 {
        let worker: WorkerRef = ctx.grain(to);
        fill(&worker)
    }

    /// 0: accepted, 1: refused for want of room.
    fn tell(&mut self, ctx: &Ctx, to: String, number: u64, policy: u8) -> u8 {
        let worker: WorkerRef = ctx.grain(to);
        told(with(worker.note(number), policy).tell())
    }

    /// As `tell`, with a call.
    async fn call(&mut self, ctx: &Ctx, to: String, number: u64, policy: u8) -> u8 {
        let worker: WorkerRef = ctx.grain(to);
        called(with(worker.note(number), policy).await, number)
    }

    /// Tells numbers one after the other, and waits for room whenever there is none.
    async fn tell_all(&mut self, ctx: &Ctx, to: String, from: u64, count: u64) {
        let worker: WorkerRef = ctx.grain(to);
        for number in from..from + count {
            worker.note(number).when_room().await.unwrap();
        }
    }
}

fn fill(worker: &WorkerRef) -> u64 {
    for number in 0.. {
        match worker.note(number).on_overload(Overload::Refuse).tell() {
            Ok(()) => assert!(number < 10_000, "there is always room"),
            Err(TellError::Busy) => return number,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!()
}

const ACCEPTED: u8 = 0;
const BUSY: u8 = 1;

fn told(result: Result<(), TellError>) -> u8 {
    match result {
        Ok(()) => ACCEPTED,
        Err(TellError::Busy) => BUSY,
        Err(other) => panic!("{other}"),
    }
}

fn called(result: Result<u64, CallError>, number: u64) -> u8 {
    match result {
        Ok(answer) => {
            assert_eq!(answer, number);
            ACCEPTED
        }
        Err(CallError::Refused(Refusal::Busy)) => BUSY,
        Err(other) => panic!("{other}"),
    }
}

/// The policies as a message can carry them; 0 leaves it to the kind.
const POLICIES: [Overload; 3] = [Overload::Refuse, Overload::Wait, Overload::Shed];

fn with<'a, A: teff::Message, R: teff::Message>(
    request: Request<'a, A, R>,
    policy: u8,
) -> Request<'a, A, R> {
    match policy {
        0 => request.timeout(PATIENCE),
        n => request
            .timeout(PATIENCE)
            .on_overload(POLICIES[usize::from(n) - 1]),
    }
}

/// Who says what is to be done.
#[derive(Clone, Copy, Debug)]
enum Says {
    Message,
    Kind,
    /// The kind says something else, and the message wins.
    Both,
}

/// Which queue is full.
#[derive(Clone, Copy, Debug)]
enum Full {
    Lane,
    Mailbox,
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
enum From {
    Thread,
    OtherShard,
    SameShard,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    policy: Overload,
    says: Says,
    full: Full,
    from: From,
}

impl Case {
    /// What the kind says.
    fn of_kind(self) -> Option<Overload> {
        let other = match self.policy {
            Overload::Refuse => Overload::Wait,
            Overload::Wait => Overload::Shed,
            Overload::Shed => Overload::Refuse,
        };
        match self.says {
            Says::Message => None,
            Says::Kind => Some(self.policy),
            Says::Both => Some(other),
        }
    }

    /// What the message says.
    fn of_message(self) -> u8 {
        match self.says {
            Says::Kind => 0,
            Says::Message | Says::Both => {
                1 + POLICIES.iter().position(|p| *p == self.policy).unwrap() as u8
            }
        }
    }
}

/// A node whose queue to one grain is full.
struct Scene {
    node: Node,
    shared: Shared,
    case: Case,
    target: WorkerRef,
    key: String,
    driver: DriverRef,
    /// How many numbers are in the queue.
    accepted: u64,
}

fn worker(shared: &Shared) -> Kind {
    let shared = shared.clone();
    WorkerRef::kind_with(move |_: &Ctx| Worker(shared.clone()))
}

fn node(shared: &Shared, overload: Option<Overload>) -> Node {
    let kind = match overload {
        Some(overload) => worker(shared).on_overload(overload),
        None => worker(shared),
    };
    Node::single()
        .shards(2)
        .lane_capacity(LANE)
        .mailbox_capacity(MAILBOX)
        .call_timeout(PATIENCE)
        .kind(kind)
        .kind(DriverRef::kind_with(Driver::new))
        .start()
        .unwrap()
}

/// The `n`-th key of a worker on a shard.
fn worker_on(node: &Node, shard: u16, n: usize) -> String {
    let on = |key: &String| node.owner_of::<WorkerRef>(&node.grain(key)).unwrap().1;
    let keys = (0..).map(|key| format!("worker {key}"));
    keys.filter(|key| on(key) == ShardId(shard)).nth(n).unwrap()
}

fn driver_on(node: &Node, shard: u16) -> DriverRef {
    let on = |key: &String| node.owner_of::<DriverRef>(&node.grain(key)).unwrap().1;
    let keys = (0..).map(|key| format!("driver {key}"));
    let key = keys.into_iter().find(|key| on(key) == ShardId(shard));
    node.grain(key.unwrap())
}

impl Scene {
    fn new(case: Case) -> Self {
        let shared = Shared::default();
        let node = node(&shared, case.of_kind());
        let key = worker_on(&node, 1, 0);
        let scene = Self {
            target: node.grain(&key),
            driver: driver_on(&node, u16::from(matches!(case.from, From::SameShard))),
            accepted: 0,
            key,
            node,
            shared,
            case,
        };
        match case.full {
            Full::Lane => scene.with_full_lane(),
            Full::Mailbox => scene.with_full_mailbox(),
        }
    }

    fn with_full_lane(mut self) -> Self {
        let blocker: WorkerRef = self.node.grain(worker_on(&self.node, 1, 1));
        // From a thread of its own, whose lane is not the one that is to be filled.
        thread::spawn(move || blocker.block().tell().unwrap());
        self.shared.gate.await_someone();
        self.accepted = match self.case.from {
            From::Thread => fill(&self.target),
            From::OtherShard => self.driver.fill(self.key.as_str()).wait().unwrap(),
            From::SameShard => unreachable!("no lane leads to oneself"),
        };
        assert_eq!(self.accepted, LANE as u64, "{:?}", self.case);
        self
    }

    fn with_full_mailbox(mut self) -> Self {
        self.target.suspend().tell().unwrap();
        self.shared.gate.await_someone();
        for number in 0..MAILBOX as u64 {
            self.target.note(number).tell().unwrap();
        }
        // It comes after them over the same lane: they are in the mailbox then, or the mark is set.
        self.neighbour().ping().wait().unwrap();
        self.accepted = MAILBOX as u64;
        self
    }

    /// Another grain on the shard of the full one.
    fn neighbour(&self) -> WorkerRef {
        self.node.grain(worker_on(&self.node, 1, 2))
    }

    fn tell(&self, number: u64) -> u8 {
        let policy = self.case.of_message();
        match self.case.from {
            From::Thread => told(with(self.target.note(number), policy).tell()),
            _ => self
                .driver
                .tell(self.key.as_str(), number, policy)
                .wait()
                .unwrap(),
        }
    }

    fn call(&self, number: u64) -> u8 {
        let policy = self.case.of_message();
        match self.case.from {
            From::Thread => called(with(self.target.note(number), policy).wait(), number),
            _ => self
                .driver
                .call(self.key.as_str(), number, policy)
                .wait()
                .unwrap(),
        }
    }

    /// Opens the gate a little later, from a thread of its own: by then the caller should be
    /// waiting, and it does not matter if it is not.
    fn open_soon(&self) -> thread::JoinHandle<()> {
        let gate = Arc::clone(&self.shared.gate);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            gate.open();
        })
    }

    /// Opens the gate, and checks that exactly what was accepted is handled, in order, that the
    /// grain has room again, and that so many were shed.
    fn end(self, shed: u64) {
        let case = self.case;
        self.shared.gate.open();
        // It may have to wait for room, and comes after everything that was accepted.
        let last = self.accepted;
        let wait = 1 + POLICIES.iter().position(|p| *p == Overload::Wait).unwrap() as u8;
        let answer = match case.from {
            From::Thread => called(with(self.target.note(last), wait).wait(), last),
            _ => self
                .driver
                .call(self.key.as_str(), last, wait)
                .wait()
                .unwrap(),
        };
        assert_eq!(answer, ACCEPTED, "{case:?}");
        // Drained, it takes messages of every policy again.
        assert_eq!(self.tell(last + 1), ACCEPTED, "{case:?}");
        assert_eq!(self.call(last + 2), ACCEPTED, "{case:?}");
        let log = self.shared.log.lock().unwrap().clone();
        assert_eq!(log, (0..last + 3).collect::<Vec<_>>(), "{case:?}");
        self.node.shutdown().unwrap();
        let total = self.node.counters().total();
        let counted = total.dropped.get("shed").copied().unwrap_or(0);
        assert_eq!(counted, shed, "{case:?} {total:?}");
        assert_eq!(total.dropped_total(), shed, "{case:?} {total:?}");
        assert_eq!(total.sent, total.handled + shed, "{case:?} {total:?}");
    }
}

/// Every sender that can find this queue full, with every way to say so.
fn every(policy: Overload, full: Full, check: impl Fn(Case)) {
    let senders: &[From] = match full {
        Full::Lane => &[From::Thread, From::OtherShard],
        Full::Mailbox => &[From::Thread, From::OtherShard, From::SameShard],
    };
    for from in senders {
        for says in [Says::Message, Says::Kind, Says::Both] {
            check(Case {
                policy,
                says,
                full,
                from: *from,
            });
        }
    }
}

fn refused(case: Case) {
    let scene = Scene::new(case);
    for number in 0..20 {
        let started = Instant::now();
        let sent = if number % 2 == 0 {
            scene.tell(1000 + number)
        } else {
            scene.call(1000 + number)
        };
        assert_eq!(sent, BUSY, "{case:?}");
        assert!(started.elapsed() < AT_ONCE, "{case:?}");
    }
    scene.end(0);
}

fn shed(case: Case) {
    let scene = Scene::new(case);
    for number in 0..15 {
        assert_eq!(scene.tell(1000 + number), ACCEPTED, "{case:?}");
    }
    for number in 0..5 {
        let started = Instant::now();
        assert_eq!(scene.call(2000 + number), BUSY, "{case:?}");
        assert!(started.elapsed() < AT_ONCE, "{case:?}");
    }
    let total = scene.node.counters().total();
    assert_eq!(total.dropped["shed"], 20, "{case:?} {total:?}");
    scene.end(20);
}

fn waited_for(case: Case) {
    let mut scene = Scene::new(case);
    if matches!(case.from, From::Thread) {
        let opener = scene.open_soon();
        assert_eq!(scene.tell(scene.accepted), ACCEPTED, "{case:?}");
        scene.accepted += 1;
        opener.join().unwrap();
    } else {
        // A handler must not stop its shard, so its tell cannot wait.
        assert_eq!(scene.tell(1000), BUSY, "{case:?}");
    }
    scene.end(0);

    let mut scene = Scene::new(case);
    let opener = scene.open_soon();
    assert_eq!(scene.call(scene.accepted), ACCEPTED, "{case:?}");
    scene.accepted += 1;
    opener.join().unwrap();
    scene.end(0);
}

#[test]
fn a_full_lane_refuses_at_once() {
    every(Overload::Refuse, Full::Lane, refused);
}

#[test]
fn a_full_mailbox_refuses_at_once_whoever_sends() {
    every(Overload::Refuse, Full::Mailbox, refused);
}

#[test]
fn a_full_lane_sheds_with_a_count() {
    every(Overload::Shed, Full::Lane, shed);
}

#[test]
fn a_full_mailbox_sheds_with_a_count() {
    every(Overload::Shed, Full::Mailbox, shed);
}

#[test]
fn a_full_lane_is_waited_for() {
    every(Overload::Wait, Full::Lane, waited_for);
}

#[test]
fn a_full_mailbox_is_waited_for() {
    every(Overload::Wait, Full::Mailbox, waited_for);
}

/// Sends far more than a mailbox holds to a grain that is held up, and lets it go meanwhile.
fn tells_that_wait(overload: Option<Overload>, tell: fn(&WorkerRef, u64)) {
    let shared = Shared::default();
    let node = node(&shared, overload);
    let target: WorkerRef = node.grain(worker_on(&node, 1, 0));
    target.suspend().tell().unwrap();
    shared.gate.await_someone();
    let (sent, began) = mpsc::channel();
    let sender = thread::spawn({
        let target = target.clone();
        move || {
            for number in 0..1000 {
                tell(&target, number);
                if number == MAILBOX as u64 / 2 {
                    sent.send(()).unwrap();
                }
            }
            target.note(1000).wait().unwrap();
        }
    });
    began.recv_timeout(PATIENCE).unwrap();
    shared.gate.open();
    sender.join().unwrap();
    let log = shared.log.lock().unwrap().clone();
    let missing: Vec<_> = (0..=1000).filter(|n| !log.contains(n)).collect();
    assert!(missing.is_empty(), "accepted, never handled: {missing:?}");
    assert_eq!(log, (0..=1000).collect::<Vec<_>>());
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!((total.sent, total.dropped_total()), (1002, 0), "{total:?}");
}

#[test]
fn tells_that_wait_one_by_one_are_all_handled() {
    tells_that_wait(None, |target, number| {
        target
            .note(number)
            .on_overload(Overload::Wait)
            .tell()
            .unwrap();
    });
}

#[test]
fn tells_of_a_kind_that_waits_are_all_handled() {
    tells_that_wait(Some(Overload::Wait), |target, number| {
        target.note(number).tell().unwrap();
    });
}

#[test]
fn tells_that_wait_for_room_are_all_handled() {
    tells_that_wait(None, |target, number| {
        target.note(number).when_room().wait().unwrap();
    });
}

#[test]
fn a_full_mailbox_is_felt_on_its_grain_only_and_until_it_has_drained() {
    for from in [0, 1] {
        let shared = Shared::default();
        let node = node(&shared, None);
        let (key, other) = (worker_on(&node, 1, 0), worker_on(&node, 1, 1));
        let (target, driver) = (node.grain::<WorkerRef>(&key), driver_on(&node, from));
        target.suspend().tell().unwrap();
        shared.gate.await_someone();
        for number in 0..MAILBOX as u64 {
            target.note(number).tell().unwrap();
        }
        node.grain::<WorkerRef>(&other).ping().wait().unwrap();
        assert_eq!(driver.tell(key.as_str(), 99, 0).wait().unwrap(), BUSY);
        assert!(matches!(target.note(99).tell(), Err(TellError::Busy)));
        // Its neighbour on the same shard is not full.
        assert_eq!(driver.call(other.as_str(), 50, 1).wait().unwrap(), ACCEPTED);
        let neighbour: WorkerRef = node.grain(&other);
        let answer = neighbour.note(51).on_overload(Overload::Refuse).wait();
        assert_eq!(called(answer, 51), ACCEPTED);
        shared.gate.open();
        // The last comes from the same sender: only its own messages are in order.
        driver.tell_all(key.as_str(), 8, 100).wait().unwrap();
        assert_eq!(driver.call(key.as_str(), 108, 0).wait().unwrap(), ACCEPTED);
        let log = shared.log.lock().unwrap().clone();
        let expected: Vec<_> = [50, 51].into_iter().chain(0..=108).collect();
        assert_eq!(log, expected);
        node.shutdown().unwrap();
        let total = node.counters().total();
        assert_eq!(total.dropped_total(), 0, "{total:?}");
        assert_eq!(total.sent, total.handled, "{total:?}");
    }
}

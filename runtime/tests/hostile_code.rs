//! Code of users that panics where nobody expects it harms the grain that it belongs to, and never
//! the shard.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use teff::{CallError, Ctx, Node, TellError, grain};

/// The payload of a panic, which panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_any(Self);
        }
    }
}

#[derive(Default)]
struct Bomber;

#[grain]
impl Bomber {
    fn now(&mut self) {
        panic_any(Bomb);
    }

    async fn later(&mut self) {
        yield_now().await;
        panic_any(Bomb);
    }

    fn spawned(&mut self, ctx: &Ctx) {
        ctx.spawn(async { panic_any(Bomb) });
    }

    async fn stuck(&mut self, ctx: &Ctx) {
        ctx.sleep(Duration::from_millis(300)).await;
    }

    fn ping(&mut self) -> bool {
        true
    }
}

#[test]
fn a_panic_whose_payload_panics_ends_one_activation() {
    let node = Node::single()
        .shards(1)
        .kind(BomberRef::kind::<Bomber>())
        .start()
        .unwrap();
    let bomber: BomberRef = node.grain("bomber");
    for _ in 0..3 {
        assert!(matches!(bomber.now().wait(), Err(CallError::Failed(_))));
        assert!(matches!(bomber.later().wait(), Err(CallError::Failed(_))));
        bomber.spawned().wait().unwrap();
        assert!(bomber.ping().wait().unwrap());
    }
    node.shutdown().unwrap();
}

#[derive(Default)]
struct Angry(AtomicU32);

impl Wake for Angry {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("the waker of somebody's executor");
    }
}

#[test]
fn a_waker_that_panics_is_its_own_misfortune() {
    let node = Node::single()
        .shards(1)
        .mailbox_capacity(2)
        .kind(BomberRef::kind::<Bomber>())
        .start()
        .unwrap();
    let bomber: BomberRef = node.grain("bomber");
    bomber.stuck().tell().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !matches!(bomber.ping().tell(), Err(TellError::Busy)) {
        assert!(Instant::now() < until, "the mailbox never fills");
    }
    let angry = Arc::new(Angry::default());
    let waker = Waker::from(Arc::clone(&angry));
    let mut waits = bomber.ping().when_room();
    assert!(
        Pin::new(&mut waits)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    while angry.0.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until, "nobody was woken");
        std::thread::yield_now();
    }
    drop(waits);
    assert!(bomber.ping().wait().unwrap());
    node.shutdown().unwrap();
}

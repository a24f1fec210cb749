//! Grains on one node: calls, tells, threads, executors, errors.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::time::Duration;

use teff::{CallError, Ctx, Doubt, Failure, Node, Refusal, grain};

#[derive(Default)]
struct Counter(u64);

#[grain]
impl Counter {
    fn add(&mut self, n: u64) {
        self.0 += n;
    }

    fn total(&mut self) -> u64 {
        self.0
    }

    fn fail(&mut self) -> u64 {
        panic!("on purpose")
    }

    async fn slowly(&mut self, ctx: &Ctx, ms: u64) -> u64 {
        ctx.sleep(Duration::from_millis(ms)).await;
        self.0 += 1;
        self.0
    }

    async fn total_of(&mut self, ctx: &Ctx, other: String) -> u64 {
        let other: CounterRef = ctx.grain(other);
        other.total().await.unwrap()
    }
}

fn node(shards: usize) -> Node {
    Node::single()
        .shards(shards)
        .kind(CounterRef::kind::<Counter>())
        .start()
        .unwrap()
}

#[test]
fn a_tell_is_handled_before_the_call_that_follows_it() {
    let node = node(2);
    for key in 0..100 {
        let counter: CounterRef = node.grain(key.to_string());
        counter.add(2).tell().unwrap();
        counter.add(3).tell().unwrap();
        assert_eq!(counter.total().wait().unwrap(), 5);
    }
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!(
        (total.sent, total.handled, total.dropped_total()),
        (300, 300, 0)
    );
}

#[test]
fn a_panic_ends_that_activation_only() {
    let node = node(1);
    let (bad, good): (CounterRef, CounterRef) = (node.grain("bad"), node.grain("good"));
    bad.add(7).tell().unwrap();
    good.add(1).tell().unwrap();
    let error = bad.fail().wait().unwrap_err();
    assert!(
        matches!(&error, CallError::Failed(Failure::Panicked(text)) if text == "on purpose"),
        "{error}"
    );
    assert_eq!(bad.total().wait().unwrap(), 0);
    assert_eq!(good.total().wait().unwrap(), 1);
    node.shutdown().unwrap();
}

#[test]
fn a_call_without_a_reply_in_time_is_in_doubt() {
    let node = node(1);
    let counter: CounterRef = node.grain("slow");
    let error = counter
        .slowly(300)
        .timeout(Duration::from_millis(20))
        .wait()
        .unwrap_err();
    assert!(
        matches!(error, CallError::Unknown(Doubt::Timeout(_))),
        "{error}"
    );
    assert_eq!(counter.slowly(1).wait().unwrap(), 2);
    node.shutdown().unwrap();
}

#[test]
fn a_grain_calls_a_grain_on_any_shard() {
    let node = node(3);
    for key in 0..30 {
        let other: CounterRef = node.grain(format!("other {key}"));
        other.add(key).tell().unwrap();
        assert_eq!(other.total().wait().unwrap(), key);
        let asking: CounterRef = node.grain(format!("asking {key}"));
        assert_eq!(asking.total_of(format!("other {key}")).wait().unwrap(), key);
    }
    node.shutdown().unwrap();
}

#[test]
fn a_kind_that_is_not_registered_is_refused() {
    let node = Node::single().shards(1).start().unwrap();
    let counter: CounterRef = node.grain("nobody");
    let error = counter.total().wait().unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::UnknownKind { .. })),
        "{error}"
    );
    node.register(CounterRef::kind::<Counter>()).unwrap();
    assert_eq!(counter.total().wait().unwrap(), 0);
    node.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tokio_task_awaits_a_call() {
    let node = node(1);
    let tasks: Vec<_> = (0..50_u64)
        .map(|n| {
            let counter: CounterRef = node.grain(n.to_string());
            tokio::spawn(async move {
                counter.add(n).tell().unwrap();
                counter.slowly(1).await.unwrap()
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert!(task.await.unwrap() >= n as u64);
    }
    let stop = node.clone();
    tokio::task::spawn_blocking(move || stop.shutdown())
        .await
        .unwrap()
        .unwrap();
}

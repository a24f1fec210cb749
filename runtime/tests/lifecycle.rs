//! Starting and stopping: all mistakes at once, what was accepted is finished.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use cluster::{Cluster, remote_key};
use teff::{
    CallError, ConfigError, Ctx, Failure, Member, Node, NodeId, Refusal, RegisterError,
    ShutdownError, StartError, TellError, grain,
};

/// Counts in a place that outlives the node.
struct Ledger {
    sum: Arc<AtomicU64>,
}

#[grain]
impl Ledger {
    fn add(&mut self, n: u64) {
        self.sum.fetch_add(n, Ordering::Relaxed);
    }

    async fn add_late(&mut self, ctx: &Ctx, n: u64) {
        ctx.sleep(Duration::from_millis(50)).await;
        self.sum.fetch_add(n, Ordering::Relaxed);
    }

    async fn pass_on(&mut self, ctx: &Ctx, to: String, n: u64) {
        let next: LedgerRef = ctx.grain(to);
        next.add(n).when_room().await.unwrap();
    }

    async fn never(&mut self) {
        std::future::pending::<()>().await;
    }

    fn blocks(&mut self, ctx: &Ctx) -> bool {
        let other: LedgerRef = ctx.grain("other");
        matches!(
            other.add(1).wait(),
            Err(CallError::Refused(Refusal::WouldBlockShard))
        )
    }
}

fn ledger(sum: &Arc<AtomicU64>) -> teff::Kind {
    let sum = Arc::clone(sum);
    LedgerRef::kind_with(move |_: &Ctx| Ledger {
        sum: Arc::clone(&sum),
    })
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_together() {
    let error = Node::builder("Not A Name", 1)
        .listen("nowhere")
        .shards(0)
        .cpus([99_999])
        .lane_capacity(1)
        .mesh_max(0)
        .call_timeout(Duration::ZERO)
        .start()
        .unwrap_err();
    let StartError::Config(problems) = &error else {
        panic!("{error}")
    };
    let found = |wanted: fn(&ConfigError) -> bool| problems.iter().any(wanted);
    assert!(
        found(|problem| matches!(problem, ConfigError::ClusterName(_))),
        "{error}"
    );
    assert!(
        found(|problem| matches!(problem, ConfigError::Address { .. })),
        "{error}"
    );
    assert!(
        found(|problem| matches!(problem, ConfigError::Shards { given: 0, .. })),
        "{error}"
    );
    assert!(
        found(|problem| matches!(problem, ConfigError::Cpu { cpu: 99_999, .. })),
        "{error}"
    );
    assert!(
        found(|problem| matches!(problem, ConfigError::NoIdentity)),
        "{error}"
    );
    let limits = |problem: &&ConfigError| matches!(problem, ConfigError::Limit { .. });
    assert_eq!(problems.iter().filter(limits).count(), 3, "{error}");
}

#[test]
fn a_certificate_for_another_node_is_noticed_at_the_start() {
    let cluster = Cluster::new("lifecycle", 1, 1);
    let error = Node::builder("lifecycle", 1)
        .listen("127.0.0.1:0")
        .identity(cluster.identity(2))
        .start()
        .unwrap_err();
    let StartError::Config(problems) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(problems[..], [ConfigError::Identity(_)]),
        "{error}"
    );
}

#[test]
fn the_shards_that_peers_were_told_of_must_be_the_shards_there_are() {
    let mut cluster = Cluster::new("lifecycle", 2, 2);
    let error = cluster.builder(1).shards(1).start().unwrap_err();
    let StartError::Config(problems) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            problems[..],
            [ConfigError::ShardsDisagree {
                listed: 2,
                given: 1,
                ..
            }]
        ),
        "{error}"
    );
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let cluster = Cluster::new("lifecycle", 1, 1);
    let taken = cluster.members[0].address;
    let error = Node::builder("lifecycle", 1)
        .listen(taken.to_string())
        .identity(cluster.identity(1))
        .start()
        .unwrap_err();
    assert!(
        matches!(error, StartError::Listen(teff::ListenError::InUse { .. })),
        "{error}"
    );
}

#[test]
fn two_contracts_of_one_name_cannot_both_be_registered() {
    mod other {
        #[derive(Default)]
        pub(super) struct Ledger;

        #[teff::grain]
        impl Ledger {
            fn subtract(&mut self, n: u8) {
                let _ = n;
            }
        }
    }
    let sum = Arc::default();
    let other = other::LedgerRef::kind::<other::Ledger>();
    let both = Node::single()
        .kind(ledger(&sum))
        .kind(other.clone())
        .start();
    assert!(matches!(both, Err(StartError::Config(_))));
    let node = Node::single().shards(1).kind(ledger(&sum)).start().unwrap();
    let refused = node.register(other).unwrap_err();
    assert!(matches!(
        refused,
        RegisterError::OtherContract { name: "Ledger" }
    ));
    node.shutdown().unwrap();
}

#[test]
fn a_shutdown_finishes_what_was_accepted() {
    let sum = Arc::default();
    let nodes = Cluster::new("lifecycle", 2, 2).start(|_, node| node.kind(ledger(&sum)));
    let mut expected = 0;
    for n in 0..400_u64 {
        let near: LedgerRef = nodes[0].grain(format!("near {n}"));
        near.add(1).when_room().wait().unwrap();
        near.pass_on(format!("far {n}"), 10)
            .when_room()
            .wait()
            .unwrap();
        if n % 50 == 0 {
            near.add_late(100).when_room().wait().unwrap();
            expected += 100;
        }
        expected += 11;
    }
    nodes[0].shutdown().unwrap();
    nodes[1].shutdown().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), expected);
    cluster::finish(nodes);
}

#[test]
fn after_a_shutdown_everything_is_refused() {
    let sum = Arc::default();
    let node = Node::single().shards(1).kind(ledger(&sum)).start().unwrap();
    let ledger_ref: LedgerRef = node.grain("x");
    node.shutdown().unwrap();
    assert!(matches!(
        ledger_ref.add(1).tell(),
        Err(TellError::ShuttingDown)
    ));
    let error = ledger_ref.add(1).wait().unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::ShuttingDown)),
        "{error}"
    );
    assert!(matches!(
        node.register(ledger(&sum)),
        Err(RegisterError::ShuttingDown)
    ));
    node.shutdown().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), 0);
}

#[test]
fn what_cannot_be_finished_in_time_is_counted_as_dropped() {
    let sum = Arc::default();
    let node = Node::single().shards(1).kind(ledger(&sum)).start().unwrap();
    let stuck: LedgerRef = node.grain("stuck");
    stuck.never().tell().unwrap();
    stuck.add(1).tell().unwrap();
    let short = Duration::from_millis(100);
    assert_eq!(
        node.shutdown_within(short),
        Err(ShutdownError::NotAtRest(short))
    );
    let total = node.counters().total();
    assert_eq!((total.sent, total.handled), (2, 0));
    assert_eq!(total.dropped["shutting_down"], 2);
}

#[test]
fn a_caller_learns_that_its_node_stopped() {
    let sum = Arc::default();
    let node = Node::single().shards(1).kind(ledger(&sum)).start().unwrap();
    let stuck: LedgerRef = node.grain("stuck");
    let barrier = Arc::new(Barrier::new(2));
    let caller = thread::spawn({
        let (stuck, barrier) = (stuck.clone(), Arc::clone(&barrier));
        move || {
            stuck.add(5).wait().unwrap();
            barrier.wait();
            stuck.never().wait()
        }
    });
    barrier.wait();
    let _ = node.shutdown_within(Duration::from_millis(100));
    // It had been sent, or it came too late to be.
    let error = caller.join().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unknown(_) | CallError::Refused(Refusal::ShuttingDown)
        ),
        "{error}"
    );
}

#[test]
fn the_last_handle_stops_the_node() {
    let sum = Arc::new(AtomicU64::new(0));
    let node = Node::single().shards(2).kind(ledger(&sum)).start().unwrap();
    let kept: LedgerRef = node.grain("kept");
    kept.add(1).wait().unwrap();
    drop(node);
    assert!(matches!(kept.add(1).tell(), Err(TellError::ShuttingDown)));
    assert_eq!(Arc::strong_count(&sum), 1, "kinds and grains are gone");
}

#[test]
fn blocking_a_shard_is_refused() {
    let sum = Arc::default();
    let node = Node::single().shards(1).kind(ledger(&sum)).start().unwrap();
    assert!(node.grain::<LedgerRef>("x").blocks().wait().unwrap());
    node.shutdown().unwrap();
}

#[test]
fn a_factory_that_panics_refuses_the_message_and_nothing_else() {
    let node = Node::single()
        .shards(1)
        .kind(LedgerRef::kind_with(|ctx: &Ctx| {
            assert_ne!(ctx.key(), "bad", "no such ledger");
            Ledger {
                sum: Arc::default(),
            }
        }))
        .start()
        .unwrap();
    let error = node.grain::<LedgerRef>("bad").add(1).wait().unwrap_err();
    let CallError::Refused(Refusal::ActivationFailed(text)) = &error else {
        panic!("{error}")
    };
    assert!(text.contains("no such ledger"), "{text}");
    node.grain::<LedgerRef>("good").add(1).wait().unwrap();
    node.shutdown().unwrap();
}

#[test]
fn a_member_of_weight_zero_hosts_nothing() {
    let mut cluster = Cluster::new("lifecycle", 2, 1);
    cluster.members[1] = Member {
        weight: 0.0,
        ..cluster.members[1].clone()
    };
    let sum = Arc::default();
    let one = cluster.builder(1).kind(ledger(&sum)).start().unwrap();
    let two = cluster.builder(2).start().unwrap();
    for n in 0..50 {
        let far: LedgerRef = two.grain(n.to_string());
        assert_eq!(two.owner_of(&far).unwrap().0, NodeId(1));
        far.add(1).wait().unwrap();
    }
    assert_eq!(sum.load(Ordering::Relaxed), 50);
    cluster::finish(vec![two, one]);
}

#[test]
fn a_panic_between_awaits_is_a_failure() {
    #[derive(Default)]
    struct Fuse;

    #[grain]
    impl Fuse {
        async fn blow(&mut self, ctx: &Ctx) {
            ctx.sleep(Duration::from_millis(1)).await;
            panic!("blown");
        }

        fn ping(&mut self) -> u8 {
            1
        }
    }

    let node = Node::single()
        .shards(1)
        .kind(FuseRef::kind::<Fuse>())
        .start()
        .unwrap();
    let fuse: FuseRef = node.grain("f");
    fuse.blow().tell().unwrap();
    // These wait in the mailbox while the first handler is suspended, and outlive its panic.
    fuse.ping().tell().unwrap();
    let error = fuse.blow().wait().unwrap_err();
    assert!(
        matches!(error, CallError::Failed(Failure::Panicked(_))),
        "{error}"
    );
    assert_eq!(fuse.ping().wait().unwrap(), 1);
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!(
        (total.sent, total.handled, total.dropped["handler_panicked"]),
        (4, 2, 2)
    );
}

#[test]
fn keys_that_name_nothing_are_refused() {
    let node = Node::single().shards(1).start().unwrap();
    for key in [String::new(), "k".repeat(257)] {
        let grain: LedgerRef = node.grain(key);
        assert!(matches!(grain.add(1).tell(), Err(TellError::Key(_))));
        assert!(matches!(
            grain.add(1).wait(),
            Err(CallError::Refused(Refusal::Key(_)))
        ));
        assert!(node.owner_of(&grain).is_none());
    }
    let far = remote_key(
        0,
        |key| node.owner_of::<LedgerRef>(&node.grain(key)),
        NodeId(0),
    );
    assert!(!far.is_empty());
    node.shutdown().unwrap();
}

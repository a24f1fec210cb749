//! What people read in the log when nodes do not fit together.
//!
//! A binary of its own: whether a thread's log is listened to is cached for all threads.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{A, B, Plan, World};

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_refusal_is_logged_once_on_each_side() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let mut world = World::empty();
        let plan = Plan {
            placement: 43,
            ..Plan::of(&world.authority, A)
        };
        world.add(plan);
        let plan = Plan::of(&world.authority, B);
        world.add(plan);
        world.dial((A, 0), (B, 0));
        world.down(A, 0);
        world.down(B, 0);
    });
    assert_eq!(warnings.0.load(Ordering::Relaxed), 2);
}

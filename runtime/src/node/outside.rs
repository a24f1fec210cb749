//! The lanes of threads that are no shard: made at a thread's first message to a shard, closed
//! when the thread ends.
//!
//! Such a thread is a sender of its own: what it sends to one grain arrives in order, because a
//! grain always leads to the same shard and a thread has one lane to each.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use teff_lane::Sender;
use teff_wire::ShardId;

use crate::envelope::Outside;
use crate::shared::{Command, NodeShared};

thread_local! {
    static NODES: RefCell<Vec<Lanes>> = const { RefCell::new(Vec::new()) };
}

/// This thread's lanes into one node.
struct Lanes {
    node: Weak<NodeShared>,
    senders: Vec<Option<Sender<Outside>>>,
}

/// Why a shard does not take an envelope from outside.
pub(crate) enum Refused {
    /// The lane is full.
    Full,
    /// The node is stopping or has stopped.
    Stopped,
}

/// Hands a message to a shard and rings its doorbell. It is made, and finished in its slot, only if
/// there is room for it.
pub(crate) fn send(
    node: &Arc<NodeShared>,
    shard: ShardId,
    make: impl FnOnce() -> Outside,
    finish: impl FnOnce(&mut Outside),
) -> Result<(), Refused> {
    // Acquire: pairs with the Release of the shutdown, so that a message that is refused here is
    // refused for everything that came before it, too.
    if !node.accepting.load(Ordering::Acquire) {
        return Err(Refused::Stopped);
    }
    NODES
        .try_with(|nodes| {
            let mut nodes = nodes.borrow_mut();
            let sender = lane(&mut nodes, node, shard);
            if sender.is_closed() {
                return Err(Refused::Stopped);
            }
            if !sender.has_room() {
                return Err(Refused::Full);
            }
            // It has room, and nobody else pushes.
            sender.push_and_finish(make, finish);
            sender.publish();
            Ok(())
        })
        // The thread is ending and its lanes are closed already.
        .unwrap_or(Err(Refused::Stopped))?;
    let shared = node.shard(shard);
    shared.doorbell.ring();
    // The shard may have ended between the question above and the push.
    shared.bury(|outside| outside.discard(&shared.counters));
    Ok(())
}

fn lane<'a>(
    nodes: &'a mut Vec<Lanes>,
    node: &Arc<NodeShared>,
    shard: ShardId,
) -> &'a mut Sender<Outside> {
    let known = nodes
        .iter()
        .position(|lanes| lanes.node.as_ptr() == Arc::as_ptr(node));
    let index = known.unwrap_or_else(|| {
        nodes.retain(|lanes| lanes.node.strong_count() > 0);
        let senders = std::iter::repeat_with(|| None)
            .take(node.shards.len())
            .collect();
        nodes.push(Lanes {
            node: Arc::downgrade(node),
            senders,
        });
        nodes.len() - 1
    });
    nodes[index].senders[usize::from(shard.0)].get_or_insert_with(|| {
        let (sender, receiver) = teff_lane::lane(node.limits.lane_capacity);
        node.shard(shard).command(Command::Lane(receiver));
        sender
    })
}

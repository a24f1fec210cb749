//! Nodes that must not talk to each other do not, and each learns why.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::net::UdpSocket;
use std::time::Duration;

use cluster::{Cluster, remote_key};
use teff::authority::Authority;
use teff::{CallError, LinkError, LinkRefusal, Node, NodeId, Party, Refusal, grain};

#[derive(Default)]
struct Echo;

#[grain]
impl Echo {
    fn echo(&mut self, text: String) -> String {
        text
    }
}

/// The same name as `old::Tally`, another contract.
mod new {
    #[derive(Default)]
    pub(crate) struct Tally;

    #[teff::grain]
    impl Tally {
        fn count(&mut self, by: u64) -> u64 {
            by
        }
    }
}

mod old {
    #[derive(Default)]
    pub(crate) struct Tally;

    #[teff::grain]
    impl Tally {
        fn count(&mut self, by: u32) -> u32 {
            by
        }
    }
}

fn call(from: &Node, to: NodeId) -> Result<String, CallError> {
    let echo: EchoRef = from.grain(remote_key(
        0,
        |key| from.owner_of::<EchoRef>(&from.grain(key)),
        to,
    ));
    echo.echo("hello").wait()
}

/// What the link between the callers ended with.
fn reason(error: &CallError) -> (Party, LinkRefusal) {
    assert!(error.is_refused(), "no handler can have run: {error}");
    let reason = error.link_reason().unwrap_or_else(|| panic!("{error}"));
    match reason.downcast_ref::<LinkError>() {
        Some(LinkError::Refused { by, refusal }) => (*by, *refusal),
        _ => panic!("{reason}"),
    }
}

/// Node 1 as it should be, node 2 as `odd` makes it; what a call from 2 to 1 fails with.
fn odd_one_calls(
    cluster: &mut Cluster,
    odd: impl FnOnce(teff::Builder) -> teff::Builder,
) -> (Party, LinkRefusal) {
    let one = cluster
        .builder(1)
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let two = odd(cluster.builder(2))
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let found = reason(&call(&two, NodeId(1)).unwrap_err());
    assert_eq!(one.counters().total().handled, 0);
    two.shutdown().unwrap();
    one.shutdown().unwrap();
    found
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    let secret = cluster.authority.secret();
    let stranger = Authority::new().unwrap();
    let identity = stranger
        .issue("refusals", NodeId(2))
        .unwrap()
        .identity(&stranger);
    let found = odd_one_calls(&mut cluster, |two| {
        two.identity(identity.with_secret(secret))
    });
    assert_eq!(found, (Party::Here, LinkRefusal::WrongAuthority));
}

#[test]
fn a_node_reached_at_the_address_of_another_is_refused() {
    let mut cluster = Cluster::new("refusals", 3, 1);
    // Where node 1 is said to be, node 3 listens, with its own certificate.
    let at_one = cluster.take_listener(1);
    let three = Node::builder("refusals", 3)
        .listener(at_one)
        .members(cluster.members.clone())
        .identity(cluster.identity(3))
        .start()
        .unwrap();
    let two = cluster.builder(2).start().unwrap();
    let found = reason(&call(&two, NodeId(1)).unwrap_err());
    assert_eq!(found, (Party::Here, LinkRefusal::WrongName));
    two.shutdown().unwrap();
    three.shutdown().unwrap();
}

#[test]
fn another_protocol_version_is_refused() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    let found = odd_one_calls(&mut cluster, |two| two.protocol_version(2, 0));
    assert_eq!(found.1, LinkRefusal::Version);
}

#[test]
fn a_node_that_knows_other_members_is_refused() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    let far = teff::Member::new(NodeId(9), ([127, 0, 0, 1], 9).into(), 1);
    let found = odd_one_calls(&mut cluster, |two| two.member(far));
    assert_eq!(found.1, LinkRefusal::Placement);
}

#[test]
fn a_node_that_is_no_member_is_refused() {
    let cluster = Cluster::new("refusals", 1, 1);
    let member = cluster.members[0].clone();
    let stranger = cluster.identity(7);
    let nodes = cluster.start(|_, one| one.kind(EchoRef::kind::<Echo>()));
    let two = Node::builder("refusals", 7)
        .listen("127.0.0.1:0")
        .shards(1)
        .member(member)
        .member(teff::Member::new(NodeId(7), ([127, 0, 0, 1], 0).into(), 1))
        .identity(stranger)
        .start()
        .unwrap();
    let (by, refusal) = reason(&call(&two, NodeId(1)).unwrap_err());
    assert_eq!(by, Party::Peer);
    assert!(
        matches!(refusal, LinkRefusal::UnknownNode | LinkRefusal::Placement),
        "{refusal:?}"
    );
    two.shutdown().unwrap();
    cluster::finish(nodes);
}

#[test]
fn different_contracts_refuse_that_kind_only() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    let one = cluster
        .builder(1)
        .kind(new::TallyRef::kind::<new::Tally>())
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let two = cluster
        .builder(2)
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let owner = |key: &str| two.owner_of::<old::TallyRef>(&two.grain(key));
    let tally: old::TallyRef = two.grain(remote_key(0, owner, NodeId(1)));
    let error = tally.count(5).wait().unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Refused(Refusal::InterfaceMismatch {
                node: NodeId(1),
                ..
            })
        ),
        "{error}"
    );
    assert_eq!(call(&two, NodeId(1)).unwrap(), "hello");
    let right: new::TallyRef = two.grain(tally.key());
    assert_eq!(right.count(6).wait().unwrap(), 6);
    cluster::finish(vec![two, one]);
}

#[test]
fn a_kind_that_the_other_node_does_not_host_is_refused_until_it_does() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    let one = cluster.builder(1).start().unwrap();
    let two = cluster.builder(2).start().unwrap();
    let error = call(&two, NodeId(1)).unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Refused(Refusal::UnknownKind {
                node: NodeId(1),
                ..
            })
        ),
        "{error}"
    );
    one.register(EchoRef::kind::<Echo>()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match call(&two, NodeId(1)) {
            Ok(text) => break assert_eq!(text, "hello"),
            Err(CallError::Refused(Refusal::UnknownKind { .. })) => {
                assert!(
                    std::time::Instant::now() < deadline,
                    "the peer never heard of the kind"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
    cluster::finish(vec![two, one]);
}

#[test]
fn garbage_does_nothing() {
    let mut cluster = Cluster::new("refusals", 2, 2);
    let one = cluster
        .builder(1)
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let two = cluster
        .builder(2)
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 1_u64;
    for round in 0..2000_usize {
        let mut datagram = vec![0; round % 1400];
        for byte in &mut datagram {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 33) as u8;
        }
        socket.send_to(&datagram, one.address().unwrap()).unwrap();
    }
    assert_eq!(call(&two, NodeId(1)).unwrap(), "hello");
    assert_eq!(one.counters().total().dropped_total(), 0);
    cluster::finish(vec![two, one]);
}

#[test]
fn a_node_that_is_not_there_is_unreachable_and_the_handler_did_not_run() {
    let mut cluster = Cluster::new("refusals", 2, 1);
    drop(cluster.take_listener(1));
    let two = cluster.builder(2).start().unwrap();
    let error = call(&two, NodeId(1)).unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::NodeUnreachable { .. })),
        "{error}"
    );
    let reason = error.link_reason().unwrap().downcast_ref::<LinkError>();
    assert!(matches!(reason, Some(LinkError::Unreachable)), "{reason:?}");
    two.shutdown().unwrap();
}

//! One test for every way in which a hello can be wrong.

use teff_wire::{Header, Incarnation, Reader, Version, Writer};

use super::*;
use crate::{authority::Authority, name::ClusterName, settings::LocalNode};

const HERE: ShardId = ShardId(1);
const PEER: Target = Target {
    node: NodeId(2),
    shard: ShardId(5),
};

struct World {
    settings: Settings,
    certificate: CertificateDer<'static>,
}

fn world() -> World {
    let authority = Authority::new().unwrap();
    let identity = |node| authority.issue("test", node).unwrap().identity(&authority);
    let local = LocalNode {
        cluster: ClusterName::new("test").unwrap(),
        node: NodeId(1),
        incarnation: Incarnation(7),
        shards: 4,
        placement: 99,
    };
    let is_member = |node| node == PEER.node;
    let settings = Settings::new(local, &identity(NodeId(1)), is_member).unwrap();
    World {
        settings,
        certificate: identity(PEER.node).chain()[0].clone(),
    }
}

fn hello() -> Hello {
    Hello {
        version: Version::CURRENT,
        cluster: "test".to_owned(),
        node: PEER.node,
        incarnation: Incarnation(8),
        shards: 6,
        from_shard: PEER.shard,
        to_shard: HERE,
        placement: 99,
        link: 1,
        resumes: Incarnation(0),
        taken_in: 0,
        kinds: Vec::new(),
    }
}

/// The refusal that follows from a change to a good hello, at both ends.
fn refusal(change: impl Fn(&mut Hello)) -> Option<Refusal> {
    let world = world();
    let mut hello = hello();
    change(&mut hello);
    let check = |dialled| {
        check(
            &world.settings,
            HERE,
            dialled,
            &hello,
            Some(&world.certificate),
        )
        .err()
        .map(|refused| refused.refusal)
    };
    let (accepted, dialled) = (check(None), check(Some(PEER)));
    assert_eq!(accepted, dialled, "both ends judge alike");
    accepted
}

#[test]
fn a_hello_in_order_is_accepted() {
    assert_eq!(refusal(|_| ()), None);
    assert_eq!(refusal(|hello| hello.version.minor = 9), None);
}

#[test]
fn each_wrong_claim_has_its_refusal() {
    assert_eq!(refusal(|h| h.version.major = 2), Some(Refusal::Version));
    assert_eq!(
        refusal(|h| h.cluster = "other".to_owned()),
        Some(Refusal::Cluster)
    );
    assert_eq!(refusal(|h| h.node = NodeId(3)), Some(Refusal::Identity));
    assert_eq!(
        refusal(|h| h.to_shard = ShardId(2)),
        Some(Refusal::WrongTarget)
    );
    assert_eq!(refusal(|h| h.placement = 98), Some(Refusal::Placement));
}

#[test]
fn a_dialler_insists_on_whom_it_dialled() {
    let world = world();
    for target in [
        Target {
            node: NodeId(3),
            ..PEER
        },
        Target {
            shard: ShardId(0),
            ..PEER
        },
    ] {
        let refused = check(
            &world.settings,
            HERE,
            Some(target),
            &hello(),
            Some(&world.certificate),
        );
        assert_eq!(refused.unwrap_err().refusal, Refusal::WrongTarget);
    }
}

#[test]
fn a_node_that_is_no_member_is_refused_although_its_certificate_is_good() {
    let mut world = world();
    let authority = Authority::new().unwrap();
    let stranger = authority
        .issue("test", NodeId(9))
        .unwrap()
        .identity(&authority);
    world.certificate = stranger.chain()[0].clone();
    let hello = Hello {
        node: NodeId(9),
        ..hello()
    };
    let refused = check(
        &world.settings,
        HERE,
        None,
        &hello,
        Some(&world.certificate),
    );
    assert_eq!(refused.unwrap_err().refusal, Refusal::UnknownNode);
}

#[test]
fn nobody_is_who_they_claim_without_a_readable_certificate() {
    let world = world();
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    for certificate in [None, Some(&garbage)] {
        let refused = check(&world.settings, HERE, None, &hello(), certificate);
        assert_eq!(refused.unwrap_err().refusal, Refusal::Identity);
    }
}

#[test]
fn a_first_frame_that_is_no_hello_is_malformed() {
    let frame = |header: &Header, payload: &[u8]| {
        let mut writer = Writer::new(1024, 1);
        let written = writer.frame(header, None, |out| {
            out.extend_from_slice(payload);
            Ok::<(), ()>(())
        });
        written.unwrap();
        let mut reader = Reader::new(1024, 1, std::sync::Arc::new(|_, _| 0));
        reader.push(&writer.take()).unwrap();
        reader.next().unwrap()
    };
    let refusal = |frame: &Frame| read(frame).unwrap_err().refusal;
    assert_eq!(refusal(&frame(&Header::ack(0), b"")), Refusal::Malformed);
    assert_eq!(
        refusal(&frame(&Header::new(FrameType::Hello), b"GET /")),
        Refusal::Malformed
    );
    let later = [&b"TEFF"[..], &9_u16.to_le_bytes(), &0_u16.to_le_bytes()].concat();
    assert_eq!(
        refusal(&frame(&Header::new(FrameType::Hello), &later)),
        Refusal::Version
    );
}

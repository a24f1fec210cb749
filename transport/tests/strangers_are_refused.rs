//! Every way of not being the right peer, and what both sides learn from it.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{
    A, B, CLUSTER, Plan, World, node_id,
    raw::{self, RawPeer},
};
use teff_transport::{
    CipherSuite, ClusterName, Event, Identity, LinkError, Party, Refusal,
    authority::{Authority, Request},
    node_name,
};
use teff_wire::{NodeId, Version};

/// What A and B report when A dials B. Neither may have come up.
#[track_caller]
fn ends(world: &mut World) -> [LinkError; 2] {
    world.dial((A, 0), (B, 0));
    let (a, b) = (world.down(A, 0), world.down(B, 0));
    assert_eq!(
        a.peer,
        Some(node_id(B)),
        "the dialler knows whom it dialled"
    );
    for node in [A, B] {
        let counters = *world.endpoint(node, 0).counters();
        assert_eq!((counters.links_up, counters.links_down), (0, 1));
        assert_eq!(counters.frames_in, 0);
    }
    world.until("both links are forgotten", |world| {
        world.jump(Duration::from_millis(10));
        world.endpoint(A, 0).is_idle() && world.endpoint(B, 0).is_idle()
    });
    [a.reason, b.reason]
}

fn refused(by: Party, refusal: Refusal) -> LinkError {
    LinkError::Refused { by, refusal }
}

/// The dialler refused, and the acceptor was told.
fn by_dialler(refusal: Refusal) -> [LinkError; 2] {
    [refused(Party::Here, refusal), refused(Party::Peer, refusal)]
}

/// The acceptor refused, and the dialler was told.
fn by_acceptor(refusal: Refusal) -> [LinkError; 2] {
    [refused(Party::Peer, refusal), refused(Party::Here, refusal)]
}

/// A world of two nodes with plans that were bent.
fn world(bend: impl FnOnce(&Authority, &mut Plan, &mut Plan)) -> World {
    let mut world = World::empty();
    let (mut a, mut b) = (Plan::of(&world.authority, A), Plan::of(&world.authority, B));
    bend(&world.authority, &mut a, &mut b);
    world.add(a);
    world.add(b);
    world
}

/// An identity with this authority's trust and a certificate made otherwise.
fn identity(trusted: &Authority, certificate: &str, key: &str) -> Identity {
    Identity::from_pem(
        trusted.certificate_pem().as_bytes(),
        certificate.as_bytes(),
        key.as_bytes(),
    )
    .unwrap()
}

fn expired(authority: &Authority, node: NodeId) -> Identity {
    let mut request = Request::new(ClusterName::new(CLUSTER).unwrap(), node);
    request.not_before = SystemTime::now() - Duration::from_secs(7200);
    request.not_after = SystemTime::now() - Duration::from_secs(3600);
    authority.issue_with(&request).unwrap().identity(authority)
}

fn self_signed(trusted: &Authority, node: NodeId) -> Identity {
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node);
    let own = rcgen::generate_simple_self_signed(vec![name]).unwrap();
    identity(trusted, &own.cert.pem(), &own.signing_key.serialize_pem())
}

/// A certificate of another authority, at a node that trusts the right one.
fn foreign(trusted: &Authority, node: NodeId) -> Identity {
    let issued = Authority::new().unwrap().issue(CLUSTER, node).unwrap();
    identity(trusted, &issued.certificate_pem, &issued.key_pem)
}

#[test]
fn an_acceptor_of_another_authority() {
    let mut world = world(|authority, _, b| b.identity = foreign(authority, b.node));
    assert_eq!(ends(&mut world), by_dialler(Refusal::WrongAuthority));
}

#[test]
fn a_dialler_of_another_authority() {
    let mut world = world(|authority, a, _| a.identity = foreign(authority, a.node));
    assert_eq!(ends(&mut world), by_acceptor(Refusal::WrongAuthority));
}

#[test]
fn an_authority_of_the_same_name_and_another_key() {
    // The names match, so only the signature tells them apart.
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
    };
    let (right, wrong) = (authority(), authority());
    let mut world = world(|_, a, b| {
        a.identity = right.issue(CLUSTER, a.node).unwrap().identity(&right);
        let issued = wrong.issue(CLUSTER, b.node).unwrap();
        b.identity = identity(&right, &issued.certificate_pem, &issued.key_pem);
    });
    assert_eq!(ends(&mut world), by_dialler(Refusal::WrongAuthority));
}

#[test]
fn a_self_signed_acceptor() {
    let mut world = world(|authority, _, b| b.identity = self_signed(authority, b.node));
    assert_eq!(ends(&mut world), by_dialler(Refusal::WrongAuthority));
}

#[test]
fn a_self_signed_dialler() {
    let mut world = world(|authority, a, _| a.identity = self_signed(authority, a.node));
    assert_eq!(ends(&mut world), by_acceptor(Refusal::WrongAuthority));
}

#[test]
fn an_expired_acceptor() {
    let mut world = world(|authority, _, b| b.identity = expired(authority, b.node));
    assert_eq!(ends(&mut world), by_dialler(Refusal::CertificateExpired));
}

#[test]
fn an_expired_dialler() {
    let mut world = world(|authority, a, _| a.identity = expired(authority, a.node));
    assert_eq!(ends(&mut world), by_acceptor(Refusal::CertificateExpired));
}

#[test]
fn an_acceptor_with_the_certificate_of_another_node() {
    let mut world = world(|authority, _, b| {
        b.identity = authority
            .issue(CLUSTER, NodeId(7))
            .unwrap()
            .identity(authority);
    });
    assert_eq!(ends(&mut world), by_dialler(Refusal::WrongName));
}

#[test]
fn a_dialler_with_the_certificate_of_another_node() {
    let mut world = world(|authority, a, _| {
        a.identity = authority
            .issue(CLUSTER, NodeId(7))
            .unwrap()
            .identity(authority);
    });
    assert_eq!(ends(&mut world), by_acceptor(Refusal::Identity));
}

#[test]
fn an_acceptor_with_the_certificate_of_another_cluster() {
    let mut world = world(|authority, _, b| {
        b.identity = authority
            .issue("other", b.node)
            .unwrap()
            .identity(authority);
    });
    assert_eq!(ends(&mut world), by_dialler(Refusal::WrongName));
}

#[test]
fn a_dialler_of_another_cluster() {
    let mut world = world(|authority, a, b| {
        // It even has a certificate of its own cluster, and so has whom it dials.
        a.cluster = "other";
        a.identity = authority
            .issue("other", a.node)
            .unwrap()
            .identity(authority);
        b.identity = authority
            .issue("other", b.node)
            .unwrap()
            .identity(authority);
    });
    assert_eq!(ends(&mut world), by_acceptor(Refusal::Cluster));
}

#[test]
fn another_major_version_on_either_side() {
    let later = Version {
        major: Version::CURRENT.major + 1,
        minor: 0,
    };
    let mut dialler = world(|_, a, _| a.version = later);
    assert_eq!(ends(&mut dialler), by_acceptor(Refusal::Version));
    let mut acceptor = world(|_, _, b| b.version = later);
    assert_eq!(ends(&mut acceptor), by_acceptor(Refusal::Version));
}

#[test]
fn another_minor_version_is_no_reason() {
    let mut world = world(|_, a, _| a.version.minor = 9);
    world.link((A, 0), (B, 0));
}

#[test]
fn other_members_or_another_placement_key() {
    let mut world = world(|_, a, _| a.placement = 43);
    assert_eq!(ends(&mut world), by_acceptor(Refusal::Placement));
}

#[test]
fn a_dialler_that_is_not_a_member() {
    let mut world = world(|_, a, b| b.members.retain(|node| *node != a.node));
    assert_eq!(ends(&mut world), by_acceptor(Refusal::UnknownNode));
}

#[test]
fn an_acceptor_that_is_not_a_member_for_the_dialler() {
    let mut world = world(|_, a, b| a.members.retain(|node| *node != b.node));
    world.dial((A, 0), (B, 0));
    assert_eq!(
        world.down(A, 0).reason,
        refused(Party::Here, Refusal::UnknownNode)
    );
    // The acceptor said its hello, so for a moment it took the link for good.
    world.up(B, 0);
    assert_eq!(
        world.down(B, 0).reason,
        refused(Party::Peer, Refusal::UnknownNode)
    );
}

#[test]
fn a_dialler_without_a_certificate() {
    let mut world = World::new(&[1]);
    let trusted = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&trusted, None);
    let mut stranger = RawPeer::dial(world.now(), world.nodes[A].address, &name, tls);
    world.until("the stranger is told", |world| {
        stranger.step(world.now());
        stranger.lost.is_some()
    });
    assert!(
        stranger.lost.unwrap().to_string().contains("error 116"),
        "certificate_required"
    );
    let down = world.down(A, 0);
    assert_eq!(down.reason, refused(Party::Here, Refusal::NoCertificate));
    assert_eq!(down.peer, None);
}

#[test]
fn a_client_that_does_not_speak_teff() {
    let mut world = World::new(&[1]);
    let identity = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let mut tls = raw::tls(&identity, Some(&identity));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut stranger = RawPeer::dial(world.now(), world.nodes[A].address, &name, tls);
    world.until("the stranger is told", |world| {
        stranger.step(world.now());
        stranger.lost.is_some()
    });
    // That is found in the very first packet: no link was made for it.
    assert!(stranger.lost.unwrap().to_string().contains("error 120"));
    assert!(world.endpoint(A, 0).is_idle());
}

#[test]
fn nothing_of_a_dialler_is_read_before_its_certificate_is_checked() {
    let mut world = World::new(&[1]);
    let (trusted, own) = (
        Plan::of(&world.authority, B).identity,
        foreign(&world.authority, node_id(B)),
    );
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&trusted, Some(&own));
    let mut stranger = RawPeer::dial(world.now(), world.nodes[A].address, &name, tls);
    let hello = raw::hello_frame(&raw::hello(node_id(B)));
    world.until("the stranger is told", |world| {
        stranger.step(world.now());
        // TLS lets a dialler write before the acceptor has looked at its certificate.
        if stranger.connected && stranger.stream.is_none() && stranger.lost.is_none() {
            stranger.write(&hello);
        }
        stranger.lost.is_some()
    });
    assert_eq!(
        world.down(A, 0).reason,
        refused(Party::Here, Refusal::WrongAuthority)
    );
    assert!(
        !world
            .events(A, 0)
            .iter()
            .any(|event| matches!(event, Event::Up { .. }))
    );
    assert!(stranger.received.is_empty());
}

#[test]
fn nodes_without_a_common_cipher_suite() {
    let mut strict = world(|_, a, b| {
        a.suites = vec![CipherSuite::Aes256Gcm];
        b.suites = vec![CipherSuite::ChaCha20Poly1305];
    });
    strict.dial((A, 0), (B, 0));
    // The acceptor finds that in the very first packet: no link was made for it.
    let down = strict.down(A, 0);
    assert_eq!(down.reason, refused(Party::Peer, Refusal::CipherSuites));
    assert!(strict.endpoint(B, 0).is_idle());

    for suite in [CipherSuite::Aes256Gcm, CipherSuite::ChaCha20Poly1305] {
        let mut agreed = world(|_, a, b| {
            a.suites = vec![CipherSuite::Aes128Gcm, suite];
            b.suites = vec![suite];
        });
        agreed.link((A, 0), (B, 0));
    }
}

#[test]
fn each_refusal_is_counted_on_both_sides() {
    let mut world = world(|_, a, _| a.placement = 43);
    ends(&mut world);
    let (a, b) = (
        *world.endpoint(A, 0).counters(),
        *world.endpoint(B, 0).counters(),
    );
    assert_eq!(
        (
            a.refused.by_peers(Refusal::Placement),
            a.refused.here(Refusal::Placement)
        ),
        (1, 0)
    );
    assert_eq!(
        (
            b.refused.by_peers(Refusal::Placement),
            b.refused.here(Refusal::Placement)
        ),
        (0, 1)
    );
}

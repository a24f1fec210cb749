//! Tests of what an identity accepts and how it says what is wrong.

use std::time::{Duration, SystemTime};

use super::*;
use crate::authority::{Authority, Request};

fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn problems(result: Result<impl fmt::Debug, IdentityError>) -> Vec<IdentityProblem> {
    result.unwrap_err().problems
}

#[test]
fn every_missing_text_is_named_at_once() {
    let found = problems(Identity::from_pem(b"", b"nothing here", b""));
    let expected = [Part::Authority, Part::Certificate, Part::Key]
        .map(|part| IdentityProblem::Missing { part });
    assert_eq!(found, expected);
}

#[test]
fn damaged_texts_are_named_with_their_part() {
    let authority = Authority::new().unwrap();
    let issued = authority.issue("test", NodeId(1)).unwrap();
    let cut = &issued.certificate_pem.as_bytes()[..issued.certificate_pem.len() / 2];
    let found = problems(Identity::from_pem(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        cut,
        issued.key_pem.as_bytes(),
    ));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(
        found[0],
        IdentityProblem::Unusable {
            part: Part::Authority,
            ..
        }
    ));
    assert!(matches!(
        found[1],
        IdentityProblem::Pem {
            part: Part::Certificate,
            ..
        }
    ));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new().unwrap();
    let (one, other) = (
        authority.issue("test", NodeId(1)).unwrap(),
        authority.issue("test", NodeId(1)).unwrap(),
    );
    let found = problems(Identity::from_pem(
        authority.certificate_pem().as_bytes(),
        one.certificate_pem.as_bytes(),
        other.key_pem.as_bytes(),
    ));
    assert_eq!(found, [IdentityProblem::KeyMismatch]);
}

#[test]
fn files_that_are_not_there_are_named() {
    let directory = std::env::temp_dir().join("teff-no-such-directory");
    let error = Identity::from_files(
        &directory.join("ca.pem"),
        &directory.join("node.pem"),
        &directory.join("node.key"),
    )
    .unwrap_err();
    assert_eq!(error.problems.len(), 3);
    assert!(error.to_string().contains("node.key"), "{error}");
}

#[test]
fn a_certificate_for_another_node_or_cluster_fails_the_check() {
    let authority = Authority::new().unwrap();
    let identity = authority
        .issue("test", NodeId(1))
        .unwrap()
        .identity(&authority);
    let name = |name: &str| {
        vec![IdentityProblem::Name {
            expected: name.to_owned(),
        }]
    };
    let now = UnixTime::now();
    assert_eq!(
        problems(identity.check(&cluster("test"), NodeId(2), now)),
        name("n2.test.teff.internal")
    );
    assert_eq!(
        problems(identity.check(&cluster("other"), NodeId(1), now)),
        name("n1.other.teff.internal")
    );
}

#[test]
fn a_certificate_of_another_authority_fails_the_check() {
    let (mine, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let identity = other.issue("test", NodeId(1)).unwrap().identity(&mine);
    let found = problems(identity.check(&cluster("test"), NodeId(1), UnixTime::now()));
    assert_eq!(found, [IdentityProblem::NotIssued]);
}

#[test]
fn an_expired_certificate_fails_the_check() {
    let authority = Authority::new().unwrap();
    let mut request = Request::new(cluster("test"), NodeId(1));
    request.not_before = SystemTime::now() - Duration::from_secs(3600);
    request.not_after = SystemTime::now() - Duration::from_secs(1800);
    let identity = authority.issue_with(&request).unwrap().identity(&authority);
    let found = problems(identity.check(&cluster("test"), NodeId(1), UnixTime::now()));
    assert_eq!(found, [IdentityProblem::NotValidNow]);
}

#[test]
fn two_authorities_can_be_trusted_while_one_replaces_the_other() {
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    let both = [old.certificate_pem(), new.certificate_pem()].concat();
    for authority in [&old, &new] {
        let issued = authority.issue("test", NodeId(1)).unwrap();
        let identity = Identity::from_pem(
            both.as_bytes(),
            issued.certificate_pem.as_bytes(),
            issued.key_pem.as_bytes(),
        )
        .unwrap();
        assert_eq!(identity.authorities().len(), 2);
        identity
            .check(&cluster("test"), NodeId(1), UnixTime::now())
            .unwrap();
    }
}

#[test]
fn the_placement_key_follows_the_secret_and_the_cluster() {
    let authority = Authority::new().unwrap();
    let one = authority
        .issue("test", NodeId(1))
        .unwrap()
        .identity(&authority);
    let two = authority
        .issue("test", NodeId(2))
        .unwrap()
        .identity(&authority);
    let key = one.placement_key(&cluster("test"));
    assert_eq!(
        key,
        two.placement_key(&cluster("test")),
        "every node has the same key"
    );
    assert_ne!(key, one.placement_key(&cluster("other")));
    assert_ne!(
        key,
        one.with_secret([7; 32]).placement_key(&cluster("test"))
    );
}

#[test]
fn the_reset_key_is_the_nodes_own_and_stays_the_same() {
    let authority = Authority::new().unwrap();
    let issued = authority.issue("test", NodeId(1)).unwrap();
    let key = issued.identity(&authority).reset_key();
    assert_eq!(key, issued.identity(&authority).reset_key());
    let other = authority
        .issue("test", NodeId(1))
        .unwrap()
        .identity(&authority);
    assert_ne!(key, other.reset_key());
}

#[test]
fn a_secret_survives_the_way_through_its_text() {
    let secret = ClusterSecret::new(std::array::from_fn(|i| i as u8 * 7));
    assert_eq!(
        ClusterSecret::from_hex(&format!("\n{}\n", secret.to_hex())),
        Ok(secret)
    );
    assert_eq!(ClusterSecret::from_hex("abc"), Err(SecretError { len: 3 }));
    assert_eq!(
        ClusterSecret::from_hex(&"+1".repeat(32)),
        Err(SecretError { len: 64 })
    );
}

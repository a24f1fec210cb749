//! What `certs init` makes, keeps and refuses, on real folders.

use std::fs;
use std::path::Path;

use super::*;

fn plan(dir: &Path, nodes: u16) -> Plan {
    Plan {
        nodes,
        dir: dir.to_owned(),
        cluster: ClusterName::new("shop").unwrap(),
        days: 365,
        organization: None,
        base_port: None,
    }
}

fn run(plan: &Plan) -> Result<Report, InitError> {
    let mut done = 0;
    let report = init(plan, &mut || done += 1);
    if report.is_ok() {
        assert_eq!(done, plan.nodes);
    }
    report
}

#[test]
fn the_secret_survives_the_loss_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1);
    run(&plan).unwrap();
    let path = dir.path().join("cluster.secret");
    let before = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    run(&plan).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn a_secret_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cluster.secret"), "hunter2").unwrap();
    let error = run(&plan(dir.path(), 1)).unwrap_err();
    assert!(matches!(error, InitError::Secret { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn files_of_another_cluster_or_node_are_found_out() {
    let dir = tempfile::tempdir().unwrap();
    run(&plan(dir.path(), 3)).unwrap();
    for end in ["crt", "key"] {
        let file = |node: u16| dir.path().join(format!("node.{node}.{end}"));
        fs::copy(file(1), file(2)).unwrap();
    }
    let error = run(&plan(dir.path(), 3)).unwrap_err();
    let InitError::Unsound(unsound) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        unsound.iter().map(|one| one.node).collect::<Vec<_>>(),
        [NodeId(2)]
    );
    assert!(
        error
            .to_string()
            .contains("move node.2.crt and node.2.key away"),
        "{error}"
    );

    let other = Plan {
        cluster: ClusterName::new("other").unwrap(),
        ..plan(dir.path(), 3)
    };
    let error = run(&other).unwrap_err();
    assert!(
        matches!(&error, InitError::Unsound(all) if all.len() == 3),
        "{error}"
    );
}

#[test]
fn certificates_that_end_soon_are_pointed_out() {
    let dir = tempfile::tempdir().unwrap();
    let short = Plan {
        days: 7,
        ..plan(dir.path(), 1)
    };
    assert_eq!(run(&short).unwrap().warnings, []);
    let report = run(&plan(dir.path(), 2)).unwrap();
    assert_eq!(report.warnings, [Warning::EndsSoon { node: NodeId(1) }]);
}

#[test]
fn nodes_without_their_authority_get_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    run(&plan(dir.path(), 2)).unwrap();
    for name in ["ca.crt", "ca.key"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    for nodes in [1, 2, 3] {
        let error = run(&plan(dir.path(), nodes)).unwrap_err();
        assert!(matches!(error, InitError::NoAuthority { .. }), "{error}");
    }
    assert!(!dir.path().join("ca.key").exists());
}

#[test]
fn an_authority_whose_files_do_not_fit_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&plan(one.path(), 1)).unwrap();
    run(&plan(two.path(), 1)).unwrap();
    fs::copy(one.path().join("ca.key"), two.path().join("ca.key")).unwrap();
    let error = run(&plan(two.path(), 2)).unwrap_err();
    let InitError::Authority { cause, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(cause, AuthorityError::KeyMismatch);
    assert!(!two.path().join("node.2.key").exists());
}

#[test]
fn all_halves_are_reported_at_once_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    run(&plan(dir.path(), 2)).unwrap();
    for name in ["ca.crt", "node.1.key", "node.2.crt"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let before = store::names(dir.path()).unwrap();
    let error = run(&plan(dir.path(), 4)).unwrap_err();
    let InitError::Halves(halves) = &error else {
        panic!("{error}")
    };
    assert_eq!(halves.len(), 3);
    assert_eq!(error.to_string().lines().count(), 3);
    assert_eq!(store::names(dir.path()).unwrap(), before);
}

#[test]
fn ports_that_do_not_exist_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("certs");
    let error = run(&Plan {
        base_port: Some(65_534),
        ..plan(&dir, 3)
    })
    .unwrap_err();
    assert!(matches!(error, InitError::Ports { .. }), "{error}");
    assert!(!dir.exists());
    assert!(
        run(&Plan {
            base_port: Some(65_533),
            ..plan(&dir, 3)
        })
        .is_ok()
    );
}

#[test]
fn a_spec_that_is_there_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let with_spec = |nodes| Plan {
        base_port: Some(4001),
        ..plan(dir.path(), nodes)
    };
    assert_eq!(
        run(&with_spec(2)).unwrap().spec,
        Some(SpecFile::Made { base_port: 4001 })
    );
    let text = fs::read_to_string(dir.path().join("cluster.json")).unwrap();

    let kept = |missing: &[u16]| {
        let missing = missing.iter().copied().map(NodeId).collect();
        Some(SpecFile::Kept {
            missing,
            other_cluster: None,
        })
    };
    assert_eq!(run(&with_spec(2)).unwrap().spec, kept(&[]));
    let report = run(&with_spec(4)).unwrap();
    assert_eq!(report.spec, kept(&[3, 4]));
    assert!(
        report
            .to_string()
            .contains("cluster.json does not list nodes 3 to 4"),
        "{report}"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("cluster.json")).unwrap(),
        text
    );

    fs::write(
        dir.path().join("cluster.json"),
        text.replace("shop", "other"),
    )
    .unwrap();
    let report = run(&with_spec(2)).unwrap().to_string();
    assert!(
        report.contains("cluster.json is of cluster other"),
        "{report}"
    );

    fs::write(dir.path().join("cluster.json"), "{}").unwrap();
    let error = run(&with_spec(2)).unwrap_err();
    assert!(matches!(error, InitError::Spec { .. }), "{error}");
}

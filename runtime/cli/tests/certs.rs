//! The real binary makes certificates, in a directory of its own, and says what it did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rustls_pki_types::UnixTime;
use teff_core::{Spec, View};
use teff_transport::{ClusterName, ClusterSecret, Identity};
use teff_wire::{Epoch, NodeId};

fn teff(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teff"));
    command.args(["certs", "init", "--dir"]).arg(dir).args(args);
    command.output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
    text
}

/// Every file with its text.
fn files(dir: &Path) -> BTreeMap<String, String> {
    fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read_to_string(entry.path()).expect("a text"))
        })
        .collect()
}

fn identity(dir: &Path, node: u16) -> Identity {
    Identity::from_files(
        &dir.join("ca.crt"),
        &dir.join(format!("node.{node}.crt")),
        &dir.join(format!("node.{node}.key")),
    )
    .expect("the files make an identity")
}

fn check(dir: &Path, cluster: &str, node: u16) {
    let cluster = ClusterName::new(cluster).expect("a cluster name");
    identity(dir, node)
        .check(&cluster, NodeId(node), UnixTime::now())
        .expect("a valid identity");
}

#[test]
fn a_fresh_run_makes_all_that_a_cluster_needs() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("new/certs");
    let output = teff(&dir, &["--nodes", "3"]);
    let text = out(&output);
    assert!(output.status.success());
    assert!(text.contains("All 3 certificates were loaded and verified"));

    let files = files(&dir);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let expected = [
        "ca.crt",
        "ca.key",
        "cluster.secret",
        "node.1.crt",
        "node.1.key",
        "node.2.crt",
        "node.2.key",
        "node.3.crt",
        "node.3.key",
    ];
    assert_eq!(names, expected);
    for node in 1..=3 {
        check(&dir, "teff", node);
    }
    ClusterSecret::from_hex(&files["cluster.secret"]).unwrap();
    // Nothing that is secret is printed.
    assert!(!text.contains(files["cluster.secret"].trim()) && !text.contains("PRIVATE KEY"));
}

#[test]
fn keys_can_be_read_by_their_owner_only() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("certs");
    assert!(teff(&dir, &["--nodes", "2", "--spec"]).status.success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in files(&dir).keys() {
        let mode = mode(&dir.join(name));
        let secret = name.ends_with(".key") || name == "cluster.secret";
        assert_eq!(mode & 0o077 == 0, secret, "{name} has mode {mode:o}");
        assert_eq!(mode & 0o600, 0o600, "{name} has mode {mode:o}");
    }

    fs::set_permissions(dir.join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = teff(&dir, &["--nodes", "2"]);
    assert!(output.status.success());
    assert!(out(&output).contains("ca.key (mode 0644), run: chmod 600"));
}

#[test]
fn a_second_run_adds_only_what_is_missing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert!(
        teff(dir, &["--nodes", "2", "--cluster", "shop"])
            .status
            .success()
    );
    let before = files(dir);
    let output = teff(dir, &["--nodes", "4", "--cluster", "shop"]);
    let text = out(&output);
    assert!(output.status.success());
    assert!(text.contains("kept  node.N.crt, node.N.key  nodes 1 to 2"));
    assert!(text.contains("made  node.N.crt, node.N.key  nodes 3 to 4"));

    let after = files(dir);
    for (name, text) in &before {
        assert_eq!(after.get(name), Some(text), "{name} was changed");
    }
    let added: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .collect();
    assert_eq!(
        added,
        ["node.3.crt", "node.3.key", "node.4.crt", "node.4.key"]
    );
    for node in 1..=4 {
        check(dir, "shop", node);
    }

    // A third one has nothing to do, with fewer nodes too.
    for nodes in ["4", "1"] {
        assert!(
            teff(dir, &["--nodes", nodes, "--cluster", "shop"])
                .status
                .success()
        );
        assert_eq!(files(dir), after);
    }
}

#[test]
fn half_an_authority_is_explained_and_not_mended() {
    for (there, missing) in [("ca.crt", "ca.key"), ("ca.key", "ca.crt")] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        assert!(teff(dir, &["--nodes", "1"]).status.success());
        fs::remove_file(dir.join(missing)).unwrap();
        let before = files(dir);
        let output = teff(dir, &["--nodes", "2"]);
        let text = out(&output);
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains(&format!(
            "has {there} but no {missing}: both make the authority"
        )));
        assert_eq!(files(dir), before);
    }
}

#[test]
fn a_wrong_count_is_refused() {
    for count in ["0", "65536", "-1", "many"] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("certs");
        let output = teff(&dir, &[&format!("--nodes={count}")]);
        assert_eq!(output.status.code(), Some(2), "{count}");
        let text = out(&output);
        assert!(
            text.contains("--nodes <N>") && text.contains(count),
            "{text}"
        );
        assert!(!dir.exists());
    }
}

#[test]
fn the_spec_is_ready_to_start_a_cluster_on_this_machine() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let args = [
        "--nodes",
        "3",
        "--cluster",
        "shop",
        "--spec",
        "--base-port",
        "5001",
    ];
    let output = teff(dir, &args);
    assert!(output.status.success());
    assert!(out(&output).contains("127.0.0.1:5001 to 5003"));

    let spec = Spec::parse(&files(dir)["cluster.json"]).unwrap();
    assert_eq!(spec.cluster(), "shop");
    let members = spec
        .members(|name| panic!("{name} needs no resolver"))
        .unwrap();
    let ports: Vec<_> = members.iter().map(|member| member.address.port()).collect();
    assert_eq!(ports, [5001, 5002, 5003]);
    View::new(Epoch(1), members).unwrap();

    // What it names is there, beside it, and fits.
    let path = |source| match source {
        teff_core::spec::Source::Path(path) => dir.join(path),
        teff_core::spec::Source::Pem(_) => panic!("the spec names files"),
    };
    for node in [1, 2, 3].map(NodeId) {
        let identity = Identity::from_files(
            &path(spec.cluster_certificate().unwrap().clone()),
            &path(spec.node_certificate(node).unwrap()),
            &path(spec.node_key(node).unwrap()),
        )
        .unwrap();
        let cluster = ClusterName::new(spec.cluster()).unwrap();
        identity.check(&cluster, node, UnixTime::now()).unwrap();
    }
    let secret = fs::read_to_string(dir.join(spec.cluster_secret_path().unwrap())).unwrap();
    ClusterSecret::from_hex(&secret).unwrap();
}

#[test]
fn the_organization_and_the_validity_are_in_the_certificates() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let args = ["--nodes", "1", "--organization", "Shop Ltd", "--days", "2"];
    let output = teff(dir, &args);
    assert!(output.status.success());
    assert!(out(&output).contains("valid for 2 days"));
    let identity = identity(dir, 1);
    for certificate in [&identity.authorities()[0], &identity.chain()[0]] {
        assert!(certificate.windows(8).any(|bytes| bytes == b"Shop Ltd"));
    }
    let cluster = ClusterName::new("teff").unwrap();
    let at = |hours: u64| {
        let then = UnixTime::now().as_secs() + hours * 3600;
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(then))
    };
    identity.check(&cluster, NodeId(1), at(47)).unwrap();
    identity.check(&cluster, NodeId(1), at(49)).unwrap_err();
}

#[test]
fn help_says_what_is_made_and_how_to_begin() {
    let output = Command::new(env!("CARGO_BIN_EXE_teff"))
        .args(["certs", "init", "--help"])
        .output()
        .unwrap();
    let text = out(&output);
    for part in [
        "ca.key",
        "cluster.secret",
        "--nodes <N>",
        "Examples:",
        "never overwrites",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

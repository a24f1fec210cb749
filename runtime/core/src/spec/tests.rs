//! Specs that make sense, and everything that can be wrong with one.

use proptest::prelude::*;

use super::*;
use crate::view::View;
use teff_wire::Epoch;

fn problems(json: &str) -> Vec<String> {
    let errors = Spec::parse(json).expect_err("there is something wrong with it");
    errors.problems().iter().map(SpecError::to_string).collect()
}

/// A cluster of one node with these fields besides its id.
fn one(fields: &str) -> String {
    format!(r#"{{"nodes": [{{"id": 1, {fields}}}]}}"#)
}

/// Two sound nodes and these fields at the top.
fn two(fields: &str) -> String {
    let nodes = r#""nodes": [{"id": 1, "address": "127.0.0.1:4001"},
        {"id": 2, "address": "127.0.0.1:4002"}]"#;
    format!("{{{nodes} {fields}}}")
}

const CREDENTIALS: &str = r#", "node_key_path": "node.%d.key", "node_cert_path": "node.%d.crt",
    "cluster_cert_path": "ca.crt""#;

fn nobody(name: &str) -> Result<SocketAddr, String> {
    Err(format!("nobody knows {name}"))
}

const FULL: &str = r#"{
    "cluster": "shop",
    "nodes": [
        {"id": 0, "address": "10.0.0.1:4001", "shards": 4},
        {"id": 65535, "address": "Two.example:4001", "listen_address": "0.0.0.0:4002",
         "local_address": "0.0.0.0:0", "shards": 256, "weight": 0.5,
         "kinds": ["cart", "order"], "annotations": {"rack": "7", "spare": ""}}
    ],
    "permitted_protocols": ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256"],
    "node_key_path": "certs/node.%d.key",
    "node_cert_pem": "-----BEGIN CERTIFICATE-----\n%d\n-----END CERTIFICATE-----\n",
    "cluster_cert_path": "certs/ca.%d.crt",
    "cluster_secret_path": "certs/cluster.secret"
}"#;

#[test]
fn a_full_file_is_read() {
    let spec = Spec::parse(FULL).unwrap();
    assert_eq!(spec.cluster(), "shop");
    assert_eq!(
        spec.permitted_protocols(),
        [CipherSuite::Aes256GcmSha384, CipherSuite::Aes128GcmSha256]
    );
    let two = spec.node(NodeId(65535)).unwrap();
    assert_eq!(two.address.to_string(), "two.example:4001");
    assert_eq!(two.listen_address.to_string(), "0.0.0.0:4002");
    assert_eq!((two.shards, two.weight), (256, 0.5));
    assert_eq!(
        two.kinds.as_deref(),
        Some(&["cart".to_owned(), "order".to_owned()][..])
    );
    assert_eq!(two.annotations["rack"], "7");
    assert_eq!(two.annotations["spare"], "");
    assert_eq!(
        spec.node_key(two.id),
        Some(Source::Path("certs/node.65535.key".into()))
    );
    let Some(Source::Pem(pem)) = spec.node_certificate(two.id) else {
        panic!("no PEM")
    };
    assert_eq!(pem.lines().nth(1), Some("65535"));
    // Only what differs from node to node has its id put in.
    assert_eq!(
        spec.cluster_certificate(),
        Some(&Source::Path("certs/ca.%d.crt".into()))
    );
    assert_eq!(spec.cluster_secret_path(), Some("certs/cluster.secret"));
}

#[test]
fn what_is_left_out_has_a_default() {
    let spec = Spec::parse(&one(r#""address": "127.0.0.1:4001""#)).unwrap();
    assert_eq!(spec.cluster(), "teff");
    assert_eq!(spec.permitted_protocols(), CipherSuite::DEFAULT);
    let node = &spec.nodes()[0];
    assert_eq!(node.listen_address, node.address);
    assert_eq!((node.shards, node.weight, &node.kinds), (1, 1.0, &None));
    assert!(node.annotations.is_empty());
    // One node alone needs no certificates.
    assert_eq!(spec.node_key(node.id), None);
    assert_eq!(spec.node_certificate(node.id), None);
    assert_eq!(spec.cluster_certificate(), None);
    assert_eq!(spec.cluster_secret_path(), None);
}

#[test]
fn a_file_becomes_the_members_of_a_view() {
    let spec = Spec::parse(FULL).unwrap();
    let found = SocketAddr::from(([10, 0, 0, 2], 4001));
    let members = spec
        .members(|name| {
            assert_eq!(
                name, "two.example:4001",
                "addresses need nobody to resolve them"
            );
            Ok(found)
        })
        .unwrap();
    let view = View::new(Epoch(1), members).unwrap();
    let two = view.member(NodeId(65535)).unwrap();
    assert_eq!((two.address, two.shards, two.weight), (found, 256, 0.5));
    assert_eq!(two.kinds.as_ref().map(Vec::len), Some(2));
    assert_eq!(two.annotations.len(), 2);
}

#[test]
fn every_name_that_cannot_be_resolved_is_reported() {
    let json = r#"{"nodes": [{"id": 1, "address": "a:1"}, {"id": 2, "address": "b:1"},
        {"id": 3, "address": "10.0.0.1:1"}, {"id": 4, "address": "c:1"}]"#;
    let spec = Spec::parse(&format!("{json} {CREDENTIALS}}}")).unwrap();
    let resolve = |name: &str| match name {
        "c:1" => Ok(SocketAddr::from(([10, 0, 0, 1], 1))),
        name => nobody(name),
    };
    assert_eq!(
        spec.members(resolve).unwrap_err().to_string(),
        "nodes[0].address: cannot resolve a:1: nobody knows a:1\n\
         nodes[1].address: cannot resolve b:1: nobody knows b:1\n\
         nodes[3].address: the same as nodes[2].address, each must be different"
    );
}

#[test]
fn a_node_that_is_not_listed_cannot_be_started() {
    let spec = Spec::parse(FULL).unwrap();
    assert_eq!(spec.check_node(NodeId(0)), Ok(&spec.nodes()[0]));
    let error = spec.check_node(NodeId(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nodes: node 3 is not listed, there are 0, 65535"
    );
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_place() {
    let json = r#"{
        "cluster": "Shop!",
        "color": "red",
        "nodes": [
            {"id": 1, "address": "10.0.0.1:4001", "shards": 0, "weight": -1},
            {"id": 1, "address": "10.0.0.1:4001", "kinds": ["", "a", "a"]},
            {"id": 70000, "adress": "10.0.0.3:4001", "weight": "heavy"},
            {"address": "0.0.0.0:4001", "shards": 1.5, "annotations": {"rack": 7}},
            "node"
        ],
        "permitted_protocols": ["TLS_RSA_WITH_RC4_128_SHA"],
        "node_key_path": "key", "node_key_pem": "key",
        "cluster_cert_pem": "ca.crt"
    }"#;
    let fields = "id, address, listen_address, local_address, shards, weight, kinds, annotations";
    let expected = [
        "color: there is no such field, there are cluster, nodes, permitted_protocols, \
         node_key_path, node_key_pem, node_cert_path, node_cert_pem, cluster_cert_path, \
         cluster_cert_pem, cluster_secret_path",
        "cluster: \"Shop!\" is not a cluster name, use 1 to 63 of a-z, 0-9 and, inside, -",
        "nodes[0].shards: 0 is out of range, give a number from 1 to 256",
        "nodes[0].weight: -1 is not a weight, give 0 or a number from 0.000001 to 1000000",
        "nodes[1].kinds[0]: must not be empty",
        "nodes[1].kinds[2]: the same as one before, each must be different",
        &format!("nodes[2].adress: there is no such field, there are {fields}"),
        "nodes[2].address: the field is missing, give host:port",
        "nodes[2].id: 70000 is out of range, give a number from 0 to 65535",
        "nodes[2].weight: expected a number, found a text",
        "nodes[3].id: the field is missing, give a number from 0 to 65535",
        "nodes[3].address: 0.0.0.0:4001 cannot be dialled, give the address where the other \
         nodes reach this one",
        "nodes[3].shards: expected a whole number, found a fraction",
        "nodes[3].annotations.rack: expected a text, found a number",
        "nodes[4]: expected an object, found a text",
        "permitted_protocols[0]: \"TLS_RSA_WITH_RC4_128_SHA\" cannot be permitted, there are \
         TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384",
        "node_cert_path: several nodes must prove who they are, give node_cert_path or \
         node_cert_pem",
        "node_key_pem: this is not PEM of a PRIVATE KEY; if it is the name of a file, use \
         node_key_path",
        "node_key_path: both node_key_path and node_key_pem are given, keep one of them",
        "cluster_cert_pem: this is not PEM of a CERTIFICATE; if it is the name of a file, use \
         cluster_cert_path",
        "nodes[1].id: the same as nodes[0].id, each must be different",
        "nodes[1].address: the same as nodes[0].address, each must be different",
    ];
    assert_eq!(problems(json), expected);
    assert_eq!(
        Spec::parse(json).unwrap_err().to_string(),
        expected.join("\n")
    );
}

#[test]
fn what_is_not_json_says_where() {
    assert_eq!(
        problems("{\n  \"nodes\": [,]\n}"),
        ["this is not JSON: expected value at line 2 column 13"]
    );
    assert_eq!(problems("[]"), ["expected an object, found a list"]);
    assert_eq!(
        problems("{}"),
        ["nodes: the field is missing, give the list of the nodes"]
    );
    assert_eq!(
        problems(r#"{"nodes": []}"#),
        ["nodes: must not be empty, list at least one node"]
    );
    assert_eq!(
        problems(r#"{"nodes": null}"#),
        ["nodes: expected a list, found null"]
    );
}

#[test]
fn a_field_given_twice_is_not_silently_ignored() {
    let json = one(r#""id": 2, "address": "10.0.0.1:1", "annotations": {"a": "1", "a": "2"}"#);
    assert_eq!(
        problems(&json),
        [
            "nodes[0].id: the field is given more than once",
            "nodes[0].annotations.a: the field is given more than once"
        ]
    );
}

#[test]
fn addresses_must_lead_somewhere() {
    for (address, expected) in [
        ("10.0.0.1", "\"10.0.0.1\" has no port, write host:port"),
        (
            "10.0.0.1:x",
            "\"x\" is not a port, give a number from 0 to 65535",
        ),
        (
            "10.0.0.1:0",
            "port 0 would be a different port at every start, give a fixed one",
        ),
        ("", "must not be empty"),
    ] {
        let json = one(&format!(r#""address": "{address}""#));
        assert_eq!(problems(&json), [format!("nodes[0].address: {expected}")]);
        let json = one(&format!(
            r#""address": "10.0.0.1:1", "listen_address": "{address}""#
        ));
        assert_eq!(
            problems(&json),
            [format!("nodes[0].listen_address: {expected}")]
        );
    }
    let nodes = r#"{"id": 1, "address": "Host:1"}, {"id": 2, "address": "host:1"}"#;
    let json = format!(r#"{{"nodes": [{nodes}] {CREDENTIALS}}}"#);
    assert_eq!(
        problems(&json),
        ["nodes[1].address: the same as nodes[0].address, each must be different"]
    );
}

#[test]
fn a_local_address_is_accepted_where_it_changes_nothing() {
    let node = |listen: &str, local: &str| {
        let address = r#""address": "10.0.0.1:4001""#;
        one(&format!(
            r#"{address}, "listen_address": "{listen}", "local_address": "{local}""#
        ))
    };
    for (listen, local) in [
        ("10.0.0.1:4001", "0.0.0.0:0"),
        ("10.0.0.1:4001", "[::]:4001"),
        ("10.0.0.1:4001", "10.0.0.1:0"),
        ("10.0.0.1:4001", "10.0.0.1:4001"),
        ("host:4001", "HOST:4001"),
    ] {
        assert!(
            Spec::parse(&node(listen, local)).is_ok(),
            "{listen} {local}"
        );
    }
    for (listen, local) in [
        ("10.0.0.1:4001", "10.0.0.2:4001"),
        ("10.0.0.1:4001", "10.0.0.1:4002"),
        ("0.0.0.0:4001", "10.0.0.1:4001"),
        ("host:4001", "10.0.0.1:4001"),
    ] {
        let expected = format!(
            "nodes[0].local_address: a node sends from the socket it listens on, {listen}, and \
             not from {local}; leave local_address out, or make it the listen_address"
        );
        assert_eq!(problems(&node(listen, local)), [expected]);
    }
}

#[test]
fn several_nodes_must_prove_who_they_are() {
    let expected = [("node_key", 0), ("node_cert", 1), ("cluster_cert", 2)].map(|(name, _)| {
        format!(
            "{name}_path: several nodes must prove who they are, give {name}_path or {name}_pem"
        )
    });
    assert_eq!(problems(&two("")), expected);
    assert!(Spec::parse(&two(CREDENTIALS)).is_ok());
}

#[test]
fn one_node_gives_all_credentials_or_none() {
    let one = r#"{"nodes": [{"id": 1, "address": "10.0.0.1:1"}], "node_cert_path": "node.crt"}"#;
    assert_eq!(
        problems(one),
        ["node_key", "cluster_cert"].map(|name| format!(
            "{name}_path: key, certificate and cluster certificate belong together, give \
             {name}_path or {name}_pem too"
        ))
    );
}

#[test]
fn somebody_must_own_grains() {
    let json = one(r#""address": "10.0.0.1:1", "weight": 0"#);
    assert_eq!(
        problems(&json),
        ["nodes: no node owns grains, give at least one of them a weight above 0"]
    );
    let json = one(r#""address": "10.0.0.1:1", "kinds": []"#);
    assert_eq!(
        problems(&json),
        [concat!(
            "nodes[0].kinds: must not be empty, leave the field out for every kind or give ",
            "weight 0 for none"
        )]
    );
    let nodes: Vec<_> = (0..65)
        .map(|id| format!(r#"{{"id": {id}, "address": "10.0.0.{id}:1", "shards": 256}}"#))
        .collect();
    let json = format!(r#"{{"nodes": [{}] {CREDENTIALS}}}"#, nodes.join(","));
    assert_eq!(
        problems(&json),
        ["nodes: there are 16640 shards in all, at most 16384 can own grains"]
    );
}

#[test]
fn kinds_that_the_wire_cannot_carry_are_refused() {
    let long = "x".repeat(257);
    let json = one(&format!(r#""address": "10.0.0.1:1", "kinds": ["{long}"]"#));
    assert_eq!(
        problems(&json),
        ["nodes[0].kinds[0]: the name is 257 bytes long, at most 256 are allowed"]
    );
    // Two words with one FNV-1a hash.
    let json = one(r#""address": "10.0.0.1:1", "kinds": ["costarring", "liquid"]"#);
    assert_eq!(
        problems(&json),
        [concat!(
            "nodes[0].kinds: \"liquid\" has the same id as the kind \"costarring\", ",
            "rename one of them"
        )]
    );
}

#[test]
fn cluster_names_are_parts_of_dns_names() {
    for name in ["a", "teff", "shop-1", "0", &"x".repeat(63)] {
        assert!(Spec::is_cluster_name(name), "{name}");
    }
    for name in ["", "-a", "a-", "A", "a.b", "a_b", "\u{e4}", &"x".repeat(64)] {
        assert!(!Spec::is_cluster_name(name), "{name}");
    }
}

#[test]
fn neither_debug_nor_an_error_shows_a_key() {
    let key = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEA\\n-----END PRIVATE KEY-----";
    let rest = r#""node_cert_path": "a", "cluster_cert_path": "b""#;
    let json = two(&format!(r#", "node_key_pem": "{key}", {rest}"#));
    let spec = Spec::parse(&json).unwrap();
    assert!(!format!("{spec:?}").contains("MIGHAgEA"));
    let json = two(&format!(r#", "node_key_pem": "MIGHAgEA", {rest}"#));
    let errors = Spec::parse(&json).unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("MIGHAgEA"));
}

/// Values as a hand that slips would write them, under names that a file has.
fn slips() -> impl Strategy<Value = String> {
    let names = "id|address|listen_address|local_address|shards|weight|kinds|annotations|nodes|\
        cluster|permitted_protocols|node_key_path|node_key_pem|cluster_cert_pem|x";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        (-3.0..70_000.0_f64).prop_map(|n| n.to_string()),
        Just("1".to_owned()),
        "[a-z0-9.:%\\-\\[\\]]{0,12}".prop_map(|text| format!("{text:?}")),
        Just("\"10.0.0.1:4001\"".to_owned()),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        let field = (names, inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            proptest::collection::vec(field, 0..8).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_is_written_panics(json in slips(), cut in any::<prop::sample::Index>()) {
        let short = &json[..cut.index(json.len() + 1)];
        for json in [&json, short, &two(&format!(", \"x\":{json}"))] {
            match Spec::parse(json) {
                Ok(spec) => prop_assert!(!spec.nodes().is_empty()),
                Err(errors) => prop_assert!(!errors.problems().is_empty()),
            }
        }
        let _ = Spec::parse(&one(&format!("\"x\":{json}")));
    }

}

proptest! {
    // Each makes a table.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_sound_file_makes_a_view(
        nodes in proptest::collection::btree_map(any::<u16>(), (1..=4_u16, 0.1..10.0_f64), 1..6)
    ) {
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|(id, (shards, weight))| {
                let address = format!("10.1.{}.{}:4001", id >> 8, id & 255);
                let share = format!(r#""shards": {shards}, "weight": {weight}"#);
                format!(r#"{{"id": {id}, "address": "{address}", {share}}}"#)
            })
            .collect();
        let json = format!(r#"{{"nodes":[{}] {CREDENTIALS}}}"#, nodes.join(","));
        let members = Spec::parse(&json).unwrap().members(nobody).unwrap();
        prop_assert_eq!(members.len(), nodes.len());
        prop_assert!(View::new(Epoch(1), members).is_ok());
    }
}

//! Nodes from a spec: every mistake at once, certificates as text, permitted ciphers, no network
//! for a node alone.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use cluster::remote_key;
use teff::authority::Authority;
use teff::{CallError, Listener, Node, NodeId, Refusal, grain};

#[derive(Default)]
struct Echo;

#[grain]
impl Echo {
    fn echo(&mut self, text: String) -> String {
        text
    }
}

#[test]
fn a_spec_with_many_mistakes_reports_them_all() {
    let spec = r#"{
        "cluster": "Shop!",
        "nodes": [{"id": 1, "address": "nowhere"}, {"id": 1, "address": "127.0.0.1:1"}],
        "permitted_protocols": ["ROT13"],
        "colour": "red"
    }"#;
    let error = Node::from_spec(spec, 3).start().unwrap_err().to_string();
    for part in [
        "Shop!",
        "nodes[0].address",
        "nodes[1].id",
        "ROT13",
        "colour",
        "cluster_cert",
    ] {
        assert!(error.contains(part), "{part} is missing in:\n{error}");
    }
    let missing = Node::from_spec_file("/no/such/cluster.json", 1)
        .start()
        .unwrap_err();
    assert!(
        missing.to_string().contains("/no/such/cluster.json"),
        "{missing}"
    );
}

#[test]
fn a_node_alone_in_its_spec_needs_no_certificate_and_has_no_network() {
    let spec = r#"{"nodes": [{"id": 3, "address": "127.0.0.1:4001", "shards": 2}]}"#;
    let node = Node::from_spec(spec, 3)
        .kind(EchoRef::kind::<Echo>())
        .start()
        .unwrap();
    assert_eq!((node.shards(), node.address()), (2, None));
    assert_eq!(
        node.grain::<EchoRef>("x").echo("alone").wait().unwrap(),
        "alone"
    );
    node.shutdown().unwrap();
}

#[test]
fn a_setter_that_a_spec_answers_is_refused() {
    let spec = r#"{"nodes": [{"id": 1, "address": "127.0.0.1:4001"}]}"#;
    let error = Node::from_spec(spec, 1)
        .listen("127.0.0.1:0")
        .start()
        .unwrap_err()
        .to_string();
    assert!(error.contains(".listen(..)"), "{error}");
}

/// Two nodes of one spec, with certificates in the text, each with the ciphers given for it.
fn pair(ciphers: [&str; 2]) -> [Node; 2] {
    let authority = Authority::new().unwrap();
    let ports = [(); 2].map(|()| Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let ports = ports.map(|listener| listener.local_addr().port());
    let quote = |text: &str| text.replace('\n', "\\n");
    let start = |node: u16, ciphers: &str| {
        let issued = authority.issue("ciphers", NodeId(node)).unwrap();
        let spec = format!(
            r#"{{
                "cluster": "ciphers",
                "nodes": [
                    {{"id": 1, "address": "127.0.0.1:{}"}},
                    {{"id": 2, "address": "127.0.0.1:{}"}}
                ],
                "permitted_protocols": [{ciphers}],
                "node_cert_pem": "{}",
                "node_key_pem": "{}",
                "cluster_cert_pem": "{}"
            }}"#,
            ports[0],
            ports[1],
            quote(&issued.certificate_pem),
            quote(&issued.key_pem),
            quote(authority.certificate_pem()),
        );
        Node::from_spec(spec, node)
            .kind(EchoRef::kind::<Echo>())
            .start()
            .unwrap()
    };
    [start(1, ciphers[0]), start(2, ciphers[1])]
}

fn call([one, two]: &[Node; 2]) -> Result<String, CallError> {
    let owner = |key: &str| two.owner_of::<EchoRef>(&two.grain(key));
    let echo: EchoRef = two.grain(remote_key(0, owner, one.id()));
    echo.echo("hello").wait()
}

#[test]
fn nodes_use_the_ciphers_that_both_permit() {
    let strong = r#""TLS13_AES_256_GCM_SHA384""#;
    let nodes = pair([
        strong,
        r#""TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_256_GCM_SHA384""#,
    ]);
    assert_eq!(call(&nodes).unwrap(), "hello");
    cluster::finish(nodes.into());
}

#[test]
fn nodes_without_a_common_cipher_do_not_talk() {
    let aes = r#""TLS13_AES_128_GCM_SHA256""#;
    let nodes = pair([aes, r#""TLS13_CHACHA20_POLY1305_SHA256""#]);
    let error = call(&nodes).unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::NodeUnreachable { .. })),
        "{error}"
    );
    cluster::finish(nodes.into());
}

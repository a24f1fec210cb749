//! The JSON file that describes a static cluster: who is in it and what they show each other.
//!
//! A [`Spec`] only exists when the whole text made sense; otherwise every problem is reported at
//! once, each with the place it is at. Nothing is opened or resolved here: the caller reads the
//! file, resolves host names and loads what the paths name.
//!
//! ```json
//! {
//!   "cluster": "shop",
//!   "nodes": [
//!     {"id": 1, "address": "10.0.0.1:4001", "shards": 4},
//!     {"id": 2, "address": "two.example:4001", "listen_address": "0.0.0.0:4001", "weight": 0.5,
//!      "kinds": ["cart"], "annotations": {"rack": "7"}}
//!   ],
//!   "node_cert_path": "certs/node.%d.crt",
//!   "node_key_path": "certs/node.%d.key",
//!   "cluster_cert_path": "certs/ca.crt",
//!   "cluster_secret_path": "certs/cluster.secret"
//! }
//! ```
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `cluster` | `teff` | its name, 1 to 63 of `a-z`, `0-9` and inner `-`; in every certificate |
//! | `nodes` | required | the members, at least one |
//! | `permitted_protocols` | [`CipherSuite::DEFAULT`] | cipher suites, the preferred one first |
//! | `node_key_path`, `_pem` | none | this node's private key; `%d` stands for its id |
//! | `node_cert_path`, `_pem` | none | this node's certificate chain; `%d` stands for its id |
//! | `cluster_cert_path`, `_pem` | none | certificates of the authorities that are trusted |
//! | `cluster_secret_path` | none | a secret, so that outsiders cannot aim ids at one shard |
//!
//! Paths are meant relative to the directory of the file. Key and certificates are required when
//! there is more than one node; each as a path or as the
//! PEM text itself, never both. Of a node:
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `id` | required | 0 to 65535, unique |
//! | `address` | required | `host:port` where its peers reach it |
//! | `listen_address` | `address` | `host:port` where it listens |
//! | `local_address` | any | where it sends from; see below |
//! | `shards` | 1 | 1 to 256 |
//! | `weight` | 1.0 | its share of the grains; 0 owns none and only calls |
//! | `kinds` | every kind | the names of the kinds it offers |
//! | `annotations` | none | texts by name, for people and tools |
//!
//! A node sends from the very socket it listens on, so `local_address` cannot choose another one.
//! It is accepted where it changes nothing: its host must be unspecified (`0.0.0.0`, `[::]`) or
//! that of the listen address, its port 0 or that of the listen address.

mod address;
mod error;
mod json;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use teff_wire::NodeId;

use crate::view::Member;

pub use address::{AddressError, HostPort};
pub use error::{Problem, SpecError, SpecErrors};

/// A static cluster, checked.
#[derive(Clone, Debug)]
pub struct Spec {
    cluster: String,
    nodes: Vec<SpecNode>,
    permitted_protocols: Vec<CipherSuite>,
    node_key: Option<Source>,
    node_certificate: Option<Source>,
    cluster_certificate: Option<Source>,
    cluster_secret_path: Option<String>,
}

/// One node of a [`Spec`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpecNode {
    /// Which node.
    pub id: NodeId,
    /// Where its peers reach it.
    pub address: HostPort,
    /// Where it listens.
    pub listen_address: HostPort,
    /// How many shards it runs.
    pub shards: u16,
    /// Its share of the grains; 0 owns none.
    pub weight: f64,
    /// The kinds it offers; `None` offers every kind.
    pub kinds: Option<Vec<String>>,
    /// Texts by name, for people and tools.
    pub annotations: BTreeMap<String, String>,
}

/// Where a key or a certificate comes from.
///
/// `Debug` does not show PEM text, which may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, relative to the directory of the cluster file.
    Path(String),
    /// The PEM text itself.
    Pem(String),
}

/// A TLS 1.3 cipher suite that nodes may use with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CipherSuite {
    /// `TLS13_AES_128_GCM_SHA256`
    Aes128GcmSha256,
    /// `TLS13_CHACHA20_POLY1305_SHA256`
    Chacha20Poly1305Sha256,
    /// `TLS13_AES_256_GCM_SHA384`
    Aes256GcmSha384,
}

impl Spec {
    /// The name of a cluster whose file gives none.
    pub const DEFAULT_CLUSTER: &str = "teff";

    /// Reads and checks the text of a cluster file.
    ///
    /// # Errors
    ///
    /// Every problem that the text has, not only the first one. Text that is not JSON at all has
    /// only that problem.
    pub fn parse(json: &str) -> Result<Self, SpecErrors> {
        read::spec(json)
    }

    /// Whether this can be the name of a cluster: 1 to 63 of `a-z`, `0-9` and `-`, which neither
    /// begins nor ends it. So it can be part of a DNS name.
    pub fn is_cluster_name(name: &str) -> bool {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=63).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with('-')
            && !name.ends_with('-')
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The nodes, as listed.
    pub fn nodes(&self) -> &[SpecNode] {
        &self.nodes
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> Option<&SpecNode> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node of this id, which is to be started here.
    ///
    /// # Errors
    ///
    /// When the file does not list it.
    pub fn check_node(&self, id: NodeId) -> Result<&SpecNode, SpecError> {
        self.node(id).ok_or_else(|| {
            let listed = self.nodes.iter().map(|node| node.id).collect();
            SpecError::new("nodes", Problem::UndefinedNode { id, listed })
        })
    }

    /// The members of the view that this file describes. Addresses that are not IP addresses are
    /// handed to `resolve` as `host:port`.
    ///
    /// # Errors
    ///
    /// Each name that cannot be resolved, and each two that resolve to one address.
    pub fn members(
        &self,
        resolve: impl Fn(&str) -> Result<SocketAddr, String>,
    ) -> Result<Vec<Member>, SpecErrors> {
        let mut errors = Vec::new();
        let mut members = Vec::with_capacity(self.nodes.len());
        let mut taken: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let path = format!("nodes[{index}].address");
            let address = match node.address.resolve(&resolve) {
                Ok(address) => address,
                Err(reason) => {
                    let address = node.address.to_string();
                    errors.push(SpecError::new(
                        path,
                        Problem::Unresolved { address, reason },
                    ));
                    continue;
                }
            };
            if let Some(&first) = taken.get(&address) {
                let other = format!("nodes[{first}].address");
                errors.push(SpecError::new(path, Problem::SameAs { other }));
                continue;
            }
            taken.insert(address, index);
            members.push(Member {
                node: node.id,
                address,
                shards: node.shards,
                weight: node.weight,
                kinds: node.kinds.clone(),
                annotations: node.annotations.clone(),
            });
        }
        SpecErrors::unless_empty(errors).map_or(Ok(members), Err)
    }

    /// The cipher suites that nodes may use, the preferred one first.
    pub fn permitted_protocols(&self) -> &[CipherSuite] {
        &self.permitted_protocols
    }

    /// The private key of a node, its id put in; `None` in a cluster of one without certificates.
    pub fn node_key(&self, id: NodeId) -> Option<Source> {
        self.node_key.as_ref().map(|source| source.of_node(id))
    }

    /// The certificate chain of a node, its id put in; given whenever the key is.
    pub fn node_certificate(&self, id: NodeId) -> Option<Source> {
        self.node_certificate
            .as_ref()
            .map(|source| source.of_node(id))
    }

    /// The certificates of the authorities that are trusted; given whenever the key is.
    pub fn cluster_certificate(&self) -> Option<&Source> {
        self.cluster_certificate.as_ref()
    }

    /// Where the secret of the cluster is, relative to the directory of the cluster file.
    pub fn cluster_secret_path(&self) -> Option<&str> {
        self.cluster_secret_path.as_deref()
    }
}

impl Source {
    /// With `%d` replaced by the id of the node.
    fn of_node(&self, id: NodeId) -> Self {
        let id = id.to_string();
        match self {
            Self::Path(path) => Self::Path(path.replace("%d", &id)),
            Self::Pem(pem) => Self::Pem(pem.replace("%d", &id)),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Pem(_) => f.write_str("Pem(..)"),
        }
    }
}

impl CipherSuite {
    /// Every suite that may be permitted.
    pub const ALL: [Self; 3] = [
        Self::Aes128GcmSha256,
        Self::Chacha20Poly1305Sha256,
        Self::Aes256GcmSha384,
    ];

    /// What is permitted unless the file says otherwise.
    pub const DEFAULT: [Self; 2] = [Self::Aes128GcmSha256, Self::Chacha20Poly1305Sha256];

    /// The name, as in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128GcmSha256 => "TLS13_AES_128_GCM_SHA256",
            Self::Chacha20Poly1305Sha256 => "TLS13_CHACHA20_POLY1305_SHA256",
            Self::Aes256GcmSha384 => "TLS13_AES_256_GCM_SHA384",
        }
    }

    /// The suite of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }
}

#[cfg(test)]
mod tests;

//! Which file is called what.

use std::path::{Path, PathBuf};

use teff_wire::NodeId;

/// The files of a cluster in one directory.
pub(crate) struct Layout<'a> {
    dir: &'a Path,
}

impl<'a> Layout<'a> {
    pub(crate) fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir
    }

    pub(crate) fn authority_certificate(&self) -> PathBuf {
        self.dir.join(AUTHORITY_CERTIFICATE)
    }

    pub(crate) fn authority_key(&self) -> PathBuf {
        self.dir.join(AUTHORITY_KEY)
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.dir.join(SECRET)
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.dir.join(SPEC)
    }

    pub(crate) fn node_certificate(&self, node: NodeId) -> PathBuf {
        self.dir.join(Self::node_certificate_name(node))
    }

    pub(crate) fn node_key(&self, node: NodeId) -> PathBuf {
        self.dir.join(Self::node_key_name(node))
    }

    pub(crate) fn node_certificate_name(node: NodeId) -> String {
        NODE_CERTIFICATE.replace("%d", &node.to_string())
    }

    pub(crate) fn node_key_name(node: NodeId) -> String {
        NODE_KEY.replace("%d", &node.to_string())
    }

    /// Whether this is what a node's certificate or key is called.
    pub(crate) fn is_node_file(name: &str) -> bool {
        [NODE_CERTIFICATE, NODE_KEY].iter().any(|pattern| {
            let (before, after) = pattern
                .split_once("%d")
                .expect("a pattern has a place for the id");
            name.strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|id| id.parse::<u16>().is_ok())
        })
    }
}

pub(crate) const AUTHORITY_CERTIFICATE: &str = "ca.crt";
pub(crate) const AUTHORITY_KEY: &str = "ca.key";
pub(crate) const SECRET: &str = "cluster.secret";
pub(crate) const SPEC: &str = "cluster.json";
/// As in a cluster file: `%d` is the id.
pub(crate) const NODE_CERTIFICATE: &str = "node.%d.crt";
/// As in a cluster file: `%d` is the id.
pub(crate) const NODE_KEY: &str = "node.%d.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_nodes_are_recognised() {
        for node in [1, 65_535].map(NodeId) {
            assert!(Layout::is_node_file(&Layout::node_certificate_name(node)));
            assert!(Layout::is_node_file(&Layout::node_key_name(node)));
        }
        for name in [
            "ca.crt",
            "node.crt",
            "node.x.crt",
            "node.65536.crt",
            "node.1.crt.old",
        ] {
            assert!(!Layout::is_node_file(name), "{name}");
        }
    }
}

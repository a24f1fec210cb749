//! The names by which certificates know nodes.
//!
//! A node's certificate carries exactly one name, `n<id>.<cluster>.teff.internal`, as a DNS subject
//! alternative name. Both the dialler and the acceptor check it, so a key speaks for one node of
//! one cluster. A [`ClusterName`] that exists is always a valid DNS label.

use std::fmt;

use rustls_pki_types::ServerName;
use teff_wire::NodeId;

/// The name of a cluster: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

/// Why a text cannot be the name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterNameError {
    /// A cluster has a name.
    #[error(
        "the cluster name is empty, give it 1 to {} characters",
        ClusterName::MAX_LEN
    )]
    Empty,
    /// Longer than a DNS label can be.
    #[error(
        "the cluster name is {len} bytes long, at most {} are allowed",
        ClusterName::MAX_LEN
    )]
    TooLong {
        /// Length in bytes of the refused text.
        len: usize,
    },
    /// Something other than a lower-case letter, a digit or a hyphen.
    #[error("the cluster name contains {character:?}, use only a-z, 0-9 and '-'")]
    Character {
        /// The first character that is not allowed.
        character: char,
    },
    /// A DNS label neither starts nor ends with a hyphen.
    #[error("the cluster name starts or ends with '-', remove it there")]
    Hyphen,
}

impl ClusterName {
    /// The longest cluster name, in bytes: that of a DNS label.
    pub const MAX_LEN: usize = 63;

    /// Checks and keeps a cluster name.
    ///
    /// # Errors
    ///
    /// [`ClusterNameError`] names the rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, ClusterNameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(ClusterNameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(ClusterNameError::TooLong { len: text.len() });
        }
        if let Some(character) = text
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
        {
            return Err(ClusterNameError::Character { character });
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(ClusterNameError::Hyphen);
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that the certificate of `node` carries: `n<id>.<cluster>.teff.internal`.
pub fn node_name(cluster: &ClusterName, node: NodeId) -> String {
    format!("n{node}.{cluster}.teff.internal")
}

/// The same name in the form that certificate checks take.
pub(crate) fn server_name(cluster: &ClusterName, node: NodeId) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node))
        .expect("a cluster name is a DNS label, so a node name is a DNS name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_its_id_and_its_cluster() {
        let cluster = ClusterName::new("blue-7").unwrap();
        assert_eq!(node_name(&cluster, NodeId(3)), "n3.blue-7.teff.internal");
    }

    #[test]
    fn every_cluster_name_makes_a_dns_name() {
        for text in ["a", "0", "a-b", &"x".repeat(ClusterName::MAX_LEN)] {
            let cluster = ClusterName::new(text).unwrap();
            server_name(&cluster, NodeId(u16::MAX));
        }
    }

    #[test]
    fn a_name_that_breaks_a_rule_is_refused_with_that_rule() {
        let error = |text: &str| ClusterName::new(text).unwrap_err();
        assert_eq!(error(""), ClusterNameError::Empty);
        assert_eq!(
            error(&"x".repeat(64)),
            ClusterNameError::TooLong { len: 64 }
        );
        assert_eq!(
            error("Blue"),
            ClusterNameError::Character { character: 'B' }
        );
        assert_eq!(error("a.b"), ClusterNameError::Character { character: '.' });
        assert_eq!(
            error("caf\u{e9}"),
            ClusterNameError::Character {
                character: '\u{e9}'
            }
        );
        assert_eq!(error("-a"), ClusterNameError::Hyphen);
        assert_eq!(error("a-"), ClusterNameError::Hyphen);
    }
}

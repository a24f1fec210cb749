//! A node from a spec file: reads it and the files it names, resolves its host names.

use std::fs;
use std::path::{Path, PathBuf};

use teff_core::spec::{CipherSuite as Permitted, Source as Pem, Spec};
use teff_transport::{CipherSuite, ClusterSecret, Identity};
use teff_wire::NodeId;

use crate::error::ConfigError;
use crate::node::builder::{Listen, Static};
use crate::node::plan::resolve;

/// Where a spec comes from.
pub(crate) enum Source {
    /// A file; the paths in it are relative to its folder.
    File(PathBuf),
    /// A text; the paths in it are relative to the working folder.
    Text(String),
}

/// Turns a spec into the configuration of one of its nodes, and the number of that node's shards.
/// A node that is alone in its spec and has no certificates has no network either (row R6).
/// Every problem is reported.
pub(super) fn load(
    source: Source,
    node: NodeId,
) -> Result<(Option<Static>, u16), Vec<ConfigError>> {
    let (text, folder) = match source {
        Source::Text(text) => (text, PathBuf::new()),
        Source::File(path) => match fs::read_to_string(&path) {
            Ok(text) => (text, path.parent().map(Path::to_owned).unwrap_or_default()),
            Err(cause) => return Err(vec![ConfigError::SpecFile { path, cause }]),
        },
    };
    let spec = Spec::parse(&text).map_err(|errors| vec![ConfigError::Spec(errors)])?;
    let mut problems = Vec::new();
    let own = match spec.check_node(node) {
        Ok(own) => own,
        Err(error) => {
            problems.push(ConfigError::SpecNode(error));
            &spec.nodes()[0]
        }
    };
    if problems.is_empty() && spec.nodes().len() == 1 && spec.node_key(node).is_none() {
        return Ok((None, own.shards));
    }
    let mut cluster = Static::new(spec.cluster().to_owned(), node);
    cluster.listen = Some(Listen::At(own.listen_address.to_string()));
    cluster.suites = spec
        .permitted_protocols()
        .iter()
        .map(|suite| suite_of(*suite))
        .collect();
    cluster.members = spec.members(resolve).unwrap_or_else(|errors| {
        problems.push(ConfigError::Spec(errors));
        Vec::new()
    });
    cluster.identity = identity(&spec, node, &folder, &mut problems);
    if problems.is_empty() {
        Ok((Some(cluster), own.shards))
    } else {
        Err(problems)
    }
}

fn suite_of(suite: Permitted) -> CipherSuite {
    match suite {
        Permitted::Aes128GcmSha256 => CipherSuite::Aes128Gcm,
        Permitted::Chacha20Poly1305Sha256 => CipherSuite::ChaCha20Poly1305,
        Permitted::Aes256GcmSha384 => CipherSuite::Aes256Gcm,
    }
}

fn identity(
    spec: &Spec,
    node: NodeId,
    folder: &Path,
    problems: &mut Vec<ConfigError>,
) -> Option<Identity> {
    let sources = [
        (
            "the cluster's certificate",
            spec.cluster_certificate().cloned(),
        ),
        ("the node's certificate", spec.node_certificate(node)),
        ("the node's key", spec.node_key(node)),
    ];
    if sources.iter().any(|(_, source)| source.is_none()) {
        // A spec of several nodes without certificates does not parse, and one node alone with
        // only some of them does not know what it wants.
        problems.push(ConfigError::NoIdentity);
        return None;
    }
    let texts = sources.map(|(what, source)| match source {
        Some(Pem::Pem(text)) => text.into_bytes(),
        Some(Pem::Path(path)) => read(what, &folder.join(path), problems),
        None => Vec::new(),
    });
    let secret = spec
        .cluster_secret_path()
        .map(|path| read("the cluster's secret", &folder.join(path), problems));
    if !problems.is_empty() {
        return None;
    }
    let [authority, certificate, key] = texts;
    let identity = match Identity::from_pem(&authority, &certificate, &key) {
        Ok(identity) => identity,
        Err(error) => {
            problems.push(ConfigError::Identity(error));
            return None;
        }
    };
    let Some(secret) = secret else {
        return Some(identity);
    };
    match ClusterSecret::from_hex(String::from_utf8_lossy(&secret).trim()) {
        Ok(secret) => Some(identity.with_secret(secret)),
        Err(error) => {
            let what = "the cluster's secret".to_owned();
            problems.push(ConfigError::File {
                what,
                cause: error.to_string(),
            });
            None
        }
    }
}

fn read(what: &str, path: &Path, problems: &mut Vec<ConfigError>) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| {
        let what = format!("{what} {}", path.display());
        problems.push(ConfigError::File {
            what,
            cause: error.to_string(),
        });
        Vec::new()
    })
}

//! What is there already, looked at before anything is written.
//!
//! A certificate without its key, or a key without its certificate, is a file that somebody lost
//! or a run that was cut short. Neither is for this tool to guess: it says so and stops.

use std::path::PathBuf;

use teff_wire::NodeId;

use super::InitError;
use super::layout::{AUTHORITY_CERTIFICATE, AUTHORITY_KEY, Layout};
use super::store::{self, StoreError};

/// Which parts of a plan need not be made.
pub(crate) struct Survey {
    pub(crate) authority: bool,
    pub(crate) secret: bool,
    /// Whether node `i + 1` has its certificate and key.
    nodes: Vec<bool>,
}

/// One of two files that belong together.
#[derive(Debug, thiserror::Error)]
#[error("{} has {there} but no {missing}: {cure}", .dir.display())]
pub(crate) struct Half {
    dir: PathBuf,
    there: String,
    missing: String,
    cure: &'static str,
}

impl Survey {
    /// Looks at the files of so many nodes.
    pub(crate) fn of(layout: &Layout<'_>, nodes: u16) -> Result<Self, InitError> {
        let mut halves = Vec::new();
        let authority = pair(
            layout,
            [AUTHORITY_CERTIFICATE.to_owned(), AUTHORITY_KEY.to_owned()],
            "both make the authority, and certificates of a new one would not fit the old; put \
             the missing file back, or, when nothing was issued yet, remove the other and run \
             this again",
            &mut halves,
        )?;
        let nodes = (1..=nodes).map(NodeId).map(|node| {
            let names = [
                Layout::node_certificate_name(node),
                Layout::node_key_name(node),
            ];
            let cure = "put the missing file back, or remove the other and run this again for a \
                        new pair";
            pair(layout, names, cure, &mut halves)
        });
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        if !halves.is_empty() {
            return Err(InitError::Halves(halves));
        }
        if !authority {
            let mut names = store::names(layout.dir())?.into_iter();
            if let Some(example) = names.find(|name| Layout::is_node_file(name)) {
                return Err(InitError::NoAuthority {
                    dir: layout.dir().to_owned(),
                    example,
                });
            }
        }
        Ok(Self {
            authority,
            secret: store::exists(&layout.secret())?,
            nodes,
        })
    }

    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        self.nodes[usize::from(node.0) - 1]
    }
}

/// Whether both files are there; only one of them is noted.
fn pair(
    layout: &Layout<'_>,
    names: [String; 2],
    cure: &'static str,
    halves: &mut Vec<Half>,
) -> Result<bool, StoreError> {
    let [certificate, key] = names;
    let there = |name: &str| store::exists(&layout.dir().join(name));
    let (there, missing) = match (there(&certificate)?, there(&key)?) {
        (true, false) => (certificate, key),
        (false, true) => (key, certificate),
        (both, _) => return Ok(both),
    };
    halves.push(Half {
        dir: layout.dir().to_owned(),
        there,
        missing,
        cure,
    });
    Ok(false)
}

//! What was done, for the person who asked for it.

use std::fmt;
use std::path::PathBuf;

use teff_wire::NodeId;

use super::Plan;
use super::survey::Survey;

/// The outcome of a run in which all went well.
#[derive(Debug)]
pub(crate) struct Report {
    dir: PathBuf,
    cluster: String,
    nodes: u16,
    days: u16,
    made_authority: bool,
    made_secret: bool,
    pub(crate) made_nodes: Vec<NodeId>,
    pub(crate) spec: Option<SpecFile>,
    pub(crate) warnings: Vec<Warning>,
}

/// What became of `cluster.json`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpecFile {
    Made {
        base_port: u16,
    },
    /// It was there and was not touched.
    Kept {
        /// Nodes of the plan that it does not list.
        missing: Vec<NodeId>,
        /// Its cluster, when that is another one than the plan's.
        other_cluster: Option<String>,
    },
}

/// What is not wrong, but soon or easily might be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    EndsSoon { node: NodeId },
    Exposed { path: PathBuf, mode: u32 },
}

impl Report {
    pub(crate) fn new(plan: &Plan, survey: &Survey) -> Self {
        Self {
            dir: plan.dir.clone(),
            cluster: plan.cluster.to_string(),
            nodes: plan.nodes,
            days: plan.days,
            made_authority: !survey.authority,
            made_secret: !survey.secret,
            made_nodes: Vec::new(),
            spec: None,
            warnings: Vec::new(),
        }
    }

    fn made_anything(&self) -> bool {
        self.made_authority
            || self.made_secret
            || !self.made_nodes.is_empty()
            || matches!(self.spec, Some(SpecFile::Made { .. }))
    }

    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |made: bool, files: &str, about: &str| {
            let done = if made { "made" } else { "kept" };
            // As wide as the longest of the names below.
            writeln!(f, "  {done}  {files:22}  {about}")
        };
        line(self.made_authority, "ca.crt, ca.key", "the authority")?;
        line(self.made_secret, "cluster.secret", "known to all nodes")?;
        let kept = (1..=self.nodes).map(NodeId);
        let kept: Vec<_> = kept
            .filter(|id| self.made_nodes.binary_search(id).is_err())
            .collect();
        if !kept.is_empty() {
            line(false, "node.N.crt, node.N.key", &ranges(&kept))?;
        }
        if !self.made_nodes.is_empty() {
            let (nodes, days) = (ranges(&self.made_nodes), self.days);
            let unit = if days == 1 { "day" } else { "days" };
            let about = format!("{nodes}, valid for {days} {unit}");
            line(true, "node.N.crt, node.N.key", &about)?;
        }
        match self.spec {
            Some(SpecFile::Made { base_port: first }) => {
                let about = match first + (self.nodes - 1) {
                    last if last == first => format!("127.0.0.1:{first}"),
                    last => format!("127.0.0.1:{first} to {last}"),
                };
                line(true, "cluster.json", &about)
            }
            Some(SpecFile::Kept { .. }) => line(false, "cluster.json", "as it was"),
            None => Ok(()),
        }
    }

    fn write_warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let Some(SpecFile::Kept {
            missing,
            other_cluster,
        }) = &self.spec
        else {
            return Ok(());
        };
        if !missing.is_empty() {
            let missing = ranges(missing);
            writeln!(
                f,
                "warning: cluster.json does not list {missing}, add what is missing there"
            )?;
        }
        if let Some(other) = other_cluster {
            let own = &self.cluster;
            writeln!(
                f,
                "warning: cluster.json is of cluster {other}, the certificates of {own}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Cluster {} in {}", self.cluster, self.dir.display())?;
        self.write_files(f)?;
        match self.nodes {
            1 => writeln!(f, "The certificate was loaded and verified.")?,
            nodes => writeln!(f, "All {nodes} certificates were loaded and verified.")?,
        }
        self.write_warnings(f)?;
        if !self.made_anything() {
            return Ok(());
        }
        writeln!(
            f,
            "\nGive node N its node.N.crt and node.N.key, and ca.crt and cluster.secret.\n\
             Keep ca.key off the nodes: whoever has it can join the cluster as any of them."
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndsSoon { node } => write!(
                f,
                "the certificate of node {node} ends within 30 days; to renew it, move \
                 node.{node}.crt and node.{node}.key away and run this again"
            ),
            Self::Exposed { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "others can read {path} (mode {mode:04o}), run: chmod 600 {path}"
                )
            }
        }
    }
}

/// Nodes in ascending order, as people write them: `node 1`, `nodes 1 to 3 and 5`.
fn ranges(nodes: &[NodeId]) -> String {
    let mut parts: Vec<(u16, u16)> = Vec::new();
    for &NodeId(node) in nodes {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == node => *last = node,
            _ => parts.push((node, node)),
        }
    }
    let mut parts: Vec<String> = parts
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first} to {last}"),
        })
        .collect();
    let word = if nodes.len() == 1 { "node" } else { "nodes" };
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        format!("{word} {last}")
    } else {
        format!("{word} {} and {last}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_listed_as_people_write_them() {
        for (nodes, expected) in [
            (&[7][..], "node 7"),
            (&[1, 2, 3], "nodes 1 to 3"),
            (&[1, 3], "nodes 1 and 3"),
            (&[1, 2, 4, 6, 7, 8], "nodes 1 to 2, 4 and 6 to 8"),
            (&[65_534, 65_535], "nodes 65534 to 65535"),
        ] {
            let nodes: Vec<_> = nodes.iter().copied().map(NodeId).collect();
            assert_eq!(ranges(&nodes), expected);
        }
    }
}

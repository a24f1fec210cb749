//! `cluster.json`: the file of a cluster whose nodes all run on this machine.

use teff_core::Spec;
use teff_core::spec::SpecErrors;
use teff_wire::NodeId;

use super::Plan;
use super::layout::{AUTHORITY_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY, SECRET};
use super::report::SpecFile;

/// The text for all nodes of the plan, node 1 on the given port and the others behind it, which
/// must be ports.
///
/// Written line by line, so that people can go on editing it. Nothing in it needs escaping: names
/// of clusters are letters, digits and hyphens.
pub(crate) fn text(plan: &Plan, base_port: u16) -> String {
    let nodes: Vec<String> = (0..plan.nodes)
        .map(|index| {
            let (id, port) = (index + 1, base_port + index);
            format!("    {{\"id\": {id}, \"address\": \"127.0.0.1:{port}\"}}")
        })
        .collect();
    let text = format!(
        "{{\n  \"cluster\": \"{cluster}\",\n  \"nodes\": [\n{nodes}\n  ],\n  \
         \"node_cert_path\": \"{NODE_CERTIFICATE}\",\n  \
         \"node_key_path\": \"{NODE_KEY}\",\n  \
         \"cluster_cert_path\": \"{AUTHORITY_CERTIFICATE}\",\n  \
         \"cluster_secret_path\": \"{SECRET}\"\n}}\n",
        cluster = plan.cluster,
        nodes = nodes.join(",\n"),
    );
    debug_assert!(Spec::parse(&text).is_ok(), "{text}");
    text
}

/// Compares a file that is there with the plan.
pub(crate) fn compare(plan: &Plan, text: &str) -> Result<SpecFile, SpecErrors> {
    let spec = Spec::parse(text)?;
    let missing = (1..=plan.nodes)
        .map(NodeId)
        .filter(|&id| spec.node(id).is_none())
        .collect();
    let other_cluster =
        (spec.cluster() != plan.cluster.as_str()).then(|| spec.cluster().to_owned());
    Ok(SpecFile::Kept {
        missing,
        other_cluster,
    })
}

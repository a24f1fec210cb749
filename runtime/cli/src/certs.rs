//! Makes the certificates of a cluster, or what is missing of them.
//!
//! Invariants: no file that exists is changed; no key is ever readable by others; a key is
//! written before its certificate, so a certificate that is there has a key. Nothing is written
//! before everything that is there has been looked at, and nothing is called done before it has
//! been loaded as a node would load it.

mod layout;
mod store;
mod survey;
mod spec_file;
mod report;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustls_pki_types::UnixTime;
use teff_core::spec::SpecErrors;
use teff_transport::authority::{Authority, AuthorityError, Request};
use teff_transport::{ClusterName, ClusterSecret, Identity, IdentityError, SecretError};
use teff_wire::NodeId;

use layout::Layout;
use report::{Report, SpecFile, Warning};
use store::{Access, StoreError};
use survey::{Half, Survey};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Ids are 1 to this.
    pub(crate) nodes: u16,
    pub(crate) dir: PathBuf,
    pub(crate) cluster: ClusterName,
    /// How long new node certificates are valid: 1 to [`MAX_DAYS`].
    pub(crate) days: u16,
    pub(crate) organization: Option<String>,
    /// The port of node 1 in `cluster.json`; `None` when that file is not wanted.
    pub(crate) base_port: Option<u16>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error(
        "{nodes} nodes from port {base_port} on need ports above 65535, give a lower --base-port"
    )]
    Ports { nodes: u16, base_port: u16 },
    #[error("{}", lines(.0))]
    Halves(Vec<Half>),
    #[error(
        "{dir} has node certificates ({example}) but no ca.crt and ca.key, and no new authority \
         would fit them; put both back, or use another directory"
    )]
    NoAuthority { dir: PathBuf, example: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {cause}", path = .path.display())]
    Authority {
        path: PathBuf,
        cause: AuthorityError,
    },
    #[error("{path}: {cause}", path = .path.display())]
    Secret { path: PathBuf, cause: SecretError },
    #[error("{path} is there, but is not the file of a cluster:\n{cause}", path = .path.display())]
    Spec { path: PathBuf, cause: SpecErrors },
    #[error("{}", lines(.0))]
    Unsound(Vec<Unsound>),
}

/// A node whose files do not make an identity.
#[derive(Debug, thiserror::Error)]
#[error(
    "node {node}: {cause}; to replace its certificate, move {} and {} away and run this again",
    Layout::node_certificate_name(*.node),
    Layout::node_key_name(*.node)
)]
pub(crate) struct Unsound {
    node: NodeId,
    cause: IdentityError,
}

/// Makes whatever of the plan is missing and verifies all of it. `on_node` is called once for
/// each node that is done.
pub(crate) fn init(plan: &Plan, on_node: &mut dyn FnMut()) -> Result<Report, InitError> {
    if let Some(base_port) = plan.base_port
        && base_port.checked_add(plan.nodes - 1).is_none()
    {
        return Err(InitError::Ports {
            nodes: plan.nodes,
            base_port,
        });
    }
    let layout = Layout::new(&plan.dir);
    store::create_dir(&plan.dir)?;
    let survey = Survey::of(&layout, plan.nodes)?;

    let authority = authority(plan, &layout, &survey)?;
    let secret = secret(&layout, &survey, &authority)?;
    let mut report = Report::new(plan, &survey);
    let mut unsound = Vec::new();
    for node in (1..=plan.nodes).map(NodeId) {
        if !survey.has_node(node) {
            issue(plan, &layout, &authority, node)?;
            report.made_nodes.push(node);
        }
        match verify(plan, &layout, &secret, node) {
            Ok(Some(warning)) => report.warnings.push(warning),
            Ok(None) => {}
            Err(cause) => unsound.push(Unsound { node, cause }),
        }
        on_node();
    }
    if !unsound.is_empty() {
        return Err(InitError::Unsound(unsound));
    }
    if let Some(base_port) = plan.base_port {
        report.spec = Some(spec(plan, &layout, base_port)?);
    }
    report.warnings.extend(exposed(plan, &layout)?);
    store::sync_dir(&plan.dir)?;
    Ok(report)
}

/// The longest validity of a node certificate, in days: that of a new authority.
pub(crate) const MAX_DAYS: u16 = 3650;

/// The port of node 1 in `cluster.json`, unless another one is asked for.
pub(crate) const DEFAULT_BASE_PORT: u16 = 4001;

/// A certificate that ends within this time is warned about.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn authority(plan: &Plan, layout: &Layout<'_>, survey: &Survey) -> Result<Authority, InitError> {
    let (certificate, key) = (layout.authority_certificate(), layout.authority_key());
    let failed = |cause| InitError::Authority {
        path: certificate.clone(),
        cause,
    };
    if survey.authority {
        let (certificate, key) = (store::read(&certificate)?, store::read(&key)?);
        return Authority::from_pem(&certificate, &key).map_err(failed);
    }
    let authority = Authority::of_organization(plan.organization.as_deref()).map_err(failed)?;
    store::write_new(&key, &authority.key_pem(), Access::Owner)?;
    store::write_new(&certificate, authority.certificate_pem(), Access::Everybody)?;
    Ok(authority)
}

/// The secret in the file. A file that was lost is made again with the same secret, because that
/// is derived from the authority's key: one drawn anew would not fit the nodes that have the old.
fn secret(
    layout: &Layout<'_>,
    survey: &Survey,
    authority: &Authority,
) -> Result<ClusterSecret, InitError> {
    let path = layout.secret();
    if !survey.secret {
        store::write_new(
            &path,
            &format!("{}\n", authority.secret().to_hex()),
            Access::Owner,
        )?;
    }
    let text = store::read(&path)?;
    ClusterSecret::from_hex(&text).map_err(|cause| InitError::Secret { path, cause })
}

fn issue(
    plan: &Plan,
    layout: &Layout<'_>,
    authority: &Authority,
    node: NodeId,
) -> Result<(), InitError> {
    let validity = Duration::from_secs(u64::from(plan.days) * 24 * 60 * 60);
    let request = Request {
        not_after: SystemTime::now() + validity,
        organization: plan.organization.clone(),
        ..Request::new(plan.cluster.clone(), node)
    };
    let path = layout.node_certificate(node);
    let issued = authority
        .issue_with(&request)
        .map_err(|cause| InitError::Authority {
            path: path.clone(),
            cause,
        })?;
    store::write_new(&layout.node_key(node), &issued.key_pem, Access::Owner)?;
    store::write_new(&path, &issued.certificate_pem, Access::Everybody)?;
    Ok(())
}

/// Loads the files of a node as the node would and checks them as its peers would.
fn verify(
    plan: &Plan,
    layout: &Layout<'_>,
    secret: &ClusterSecret,
    node: NodeId,
) -> Result<Option<Warning>, IdentityError> {
    let identity = Identity::from_files(
        &layout.authority_certificate(),
        &layout.node_certificate(node),
        &layout.node_key(node),
    )?
    .with_secret(secret.clone());
    let now = UnixTime::now();
    identity.check(&plan.cluster, node, now)?;
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    let ends_soon = identity.check(&plan.cluster, node, soon).is_err();
    // Whoever asks for a shorter validity knows.
    let warn = ends_soon && Duration::from_secs(u64::from(plan.days) * 86_400) > SOON;
    Ok(warn.then_some(Warning::EndsSoon { node }))
}

/// Writes `cluster.json`, or looks at the one that is there.
fn spec(plan: &Plan, layout: &Layout<'_>, base_port: u16) -> Result<SpecFile, InitError> {
    let path = layout.spec();
    if store::exists(&path)? {
        let text = store::read(&path)?;
        return spec_file::compare(plan, &text).map_err(|cause| InitError::Spec { path, cause });
    }
    store::write_new(&path, &spec_file::text(plan, base_port), Access::Everybody)?;
    Ok(SpecFile::Made { base_port })
}

/// The secret files that others can read.
fn exposed(plan: &Plan, layout: &Layout<'_>) -> Result<Vec<Warning>, StoreError> {
    let nodes = (1..=plan.nodes).map(|node| layout.node_key(NodeId(node)));
    let mut warnings = Vec::new();
    for path in [layout.authority_key(), layout.secret()]
        .into_iter()
        .chain(nodes)
    {
        if let Some(mode) = store::mode_if_exposed(&path)? {
            warnings.push(Warning::Exposed { path, mode });
        }
    }
    Ok(warnings)
}

/// One a line; of very many only the first.
fn lines<T: std::fmt::Display>(all: &[T]) -> String {
    const SHOWN: usize = 10;
    let mut lines: Vec<String> = all.iter().take(SHOWN).map(T::to_string).collect();
    if all.len() > SHOWN {
        lines.push(format!("and {} more", all.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;

//! From the JSON of a cluster file to a [`Spec`], noting every problem on the way.
//!
//! Each function reads one part and returns what it could make of it; whatever is missing there
//! has been noted. Only when nothing was noted is there a [`Spec`].

use std::collections::BTreeMap;

use teff_wire::{KindId, KindOffer, NodeId};

use super::address::HostPort;
use super::error::{Problem, SpecError, SpecErrors};
use super::json::{Fields, Json, Problems};
use super::{CipherSuite, Source, Spec, SpecNode};
use crate::placement::Table;
use crate::view::Member;

pub(super) fn spec(text: &str) -> Result<Spec, SpecErrors> {
    let mut problems = Problems::default();
    let spec = match serde_json::from_str::<Json>(text) {
        Ok(json) => read(json, &mut problems),
        Err(error) => {
            problems.add("", Problem::Syntax(error.to_string()));
            None
        }
    };
    match SpecErrors::unless_empty(problems.0) {
        Some(errors) => Err(errors),
        None => Ok(spec.expect("a file that is not read has a problem")),
    }
}

fn read(json: Json, problems: &mut Problems) -> Option<Spec> {
    let mut fields = json.into_fields("", FIELDS, problems)?;
    let cluster = cluster(&mut fields, problems);
    let drafts = drafts(&mut fields, problems);
    let permitted_protocols = permitted_protocols(&mut fields, problems);
    let [node_key, node_certificate, cluster_certificate] =
        credentials(&mut fields, drafts.len(), problems);
    let cluster_secret_path = fields.text("cluster_secret_path", problems);
    compare(&drafts, problems);
    let nodes = drafts
        .into_iter()
        .map(Draft::finish)
        .collect::<Option<_>>()?;
    Some(Spec {
        cluster,
        nodes,
        permitted_protocols,
        node_key,
        node_certificate,
        cluster_certificate,
        cluster_secret_path,
    })
}

fn cluster(fields: &mut Fields, problems: &mut Problems) -> String {
    let name = fields
        .text("cluster", problems)
        .unwrap_or(Spec::DEFAULT_CLUSTER.to_owned());
    if !Spec::is_cluster_name(&name) {
        problems.add("cluster", Problem::BadClusterName(name.clone()));
    }
    name
}

fn permitted_protocols(fields: &mut Fields, problems: &mut Problems) -> Vec<CipherSuite> {
    let Some(list) = fields.list("permitted_protocols", problems) else {
        return CipherSuite::DEFAULT.to_vec();
    };
    if list.is_empty() {
        let hint = ", leave the field out for the default";
        problems.add("permitted_protocols", Problem::Empty { hint });
    }
    let mut suites: Vec<CipherSuite> = Vec::new();
    for (path, json) in list {
        let Some(name) = json.into_text(&path, problems) else {
            continue;
        };
        match CipherSuite::of_name(&name) {
            Some(suite) if suites.contains(&suite) => {
                problems.add(
                    path,
                    Problem::SameAs {
                        other: "one before".to_owned(),
                    },
                );
            }
            Some(suite) => suites.push(suite),
            None => problems.add(path, Problem::IllegalCipher { name }),
        }
    }
    suites
}

/// Something that nodes show each other, as a path or as PEM.
struct Credential {
    path: &'static str,
    pem: &'static str,
    /// What the PEM must contain.
    label: &'static str,
}

impl Credential {
    fn read(&self, fields: &mut Fields, problems: &mut Problems) -> Option<Source> {
        let path = fields.text(self.path, problems);
        let pem = fields.text(self.pem, problems);
        if let Some(pem) = &pem
            && !is_pem(pem, self.label)
        {
            problems.add(
                self.pem,
                Problem::NotPem {
                    label: self.label,
                    path: self.path,
                },
            );
        }
        match (path, pem) {
            (Some(_), Some(_)) => {
                problems.add(
                    self.path,
                    Problem::PathAndPem {
                        path: self.path,
                        pem: self.pem,
                    },
                );
                None
            }
            (path, pem) => path.map(Source::Path).or(pem.map(Source::Pem)),
        }
    }
}

fn credentials(fields: &mut Fields, nodes: usize, problems: &mut Problems) -> [Option<Source>; 3] {
    // Whether given at all: one that is given and wrong is not missing too.
    let given = CREDENTIALS
        .each_ref()
        .map(|one| fields.has(one.path) || fields.has(one.pem));
    for (&Credential { path, pem, .. }, given_too) in CREDENTIALS.iter().zip(given) {
        if given_too {
            continue;
        }
        if nodes > 1 {
            problems.add(path, Problem::MissingCredential { path, pem });
        } else if given.contains(&true) {
            problems.add(path, Problem::IncompleteCredentials { path, pem });
        }
    }
    CREDENTIALS.each_ref().map(|one| one.read(fields, problems))
}

/// A node of which parts may be missing, which has been noted.
struct Draft {
    /// Where it is.
    path: String,
    id: Option<NodeId>,
    address: Option<HostPort>,
    listen_address: Option<HostPort>,
    shards: Option<u16>,
    weight: Option<f64>,
    kinds: Option<Vec<String>>,
    annotations: BTreeMap<String, String>,
}

impl Draft {
    fn read(path: String, json: Json, problems: &mut Problems) -> Option<Self> {
        let mut fields = json.into_fields(&path, NODE_FIELDS, problems)?;
        fields.require("id", "a number from 0 to 65535", problems);
        fields.require("address", "host:port", problems);

        let id = fields.whole("id", 0..=u16::MAX, problems).map(NodeId);
        let address = address(&mut fields, problems);
        let listen_address = match fields.has("listen_address") {
            true => fixed_address(&mut fields, "listen_address", problems),
            false => address.clone(),
        };
        local_address(&mut fields, listen_address.as_ref(), problems);
        let shards = match fields.has("shards") {
            true => fields.whole("shards", 1..=Member::MAX_SHARDS, problems),
            false => Some(1),
        };
        let weight = weight(&mut fields, problems);
        let kinds = kinds(&mut fields, problems);
        let annotations = annotations(&mut fields, problems);
        Some(Self {
            path,
            id,
            address,
            listen_address,
            shards,
            weight,
            kinds,
            annotations,
        })
    }

    fn finish(self) -> Option<SpecNode> {
        Some(SpecNode {
            id: self.id?,
            address: self.address?,
            listen_address: self.listen_address?,
            shards: self.shards?,
            weight: self.weight?,
            kinds: self.kinds,
            annotations: self.annotations,
        })
    }
}

fn drafts(fields: &mut Fields, problems: &mut Problems) -> Vec<Draft> {
    fields.require("nodes", "the list of the nodes", problems);
    let Some(list) = fields.list("nodes", problems) else {
        return Vec::new();
    };
    if list.is_empty() {
        problems.add(
            "nodes",
            Problem::Empty {
                hint: ", list at least one node",
            },
        );
    }
    list.into_iter()
        .filter_map(|(path, json)| Draft::read(path, json, problems))
        .collect()
}

/// An address of this name with a port that is not 0.
fn fixed_address(fields: &mut Fields, name: &str, problems: &mut Problems) -> Option<HostPort> {
    let path = fields.path_of(name);
    let address = any_address(fields, name, problems)?;
    if address.port() == 0 {
        problems.add(path, Problem::NoFixedPort);
        return None;
    }
    Some(address)
}

/// Where peers reach the node.
fn address(fields: &mut Fields, problems: &mut Problems) -> Option<HostPort> {
    let address = fixed_address(fields, "address", problems)?;
    if address.is_unspecified() {
        problems.add(
            fields.path_of("address"),
            Problem::NotDialable(address.to_string()),
        );
        return None;
    }
    Some(address)
}

fn any_address(fields: &mut Fields, name: &str, problems: &mut Problems) -> Option<HostPort> {
    let path = fields.path_of(name);
    let text = fields.text(name, problems)?;
    HostPort::parse(&text)
        .map_err(|error| problems.add(path, error))
        .ok()
}

/// Accepts a local address that changes nothing; see the documentation of [`super`].
fn local_address(fields: &mut Fields, listen: Option<&HostPort>, problems: &mut Problems) {
    let path = fields.path_of("local_address");
    let Some(local) = any_address(fields, "local_address", problems) else {
        return;
    };
    let Some(listen) = listen else { return };
    let same_host = local.is_unspecified() || local.has_host_of(listen);
    let same_port = local.port() == 0 || local.port() == listen.port();
    if !(same_host && same_port) {
        let (listen, local) = (listen.to_string(), local.to_string());
        problems.add(path, Problem::OtherLocalAddress { listen, local });
    }
}

fn weight(fields: &mut Fields, problems: &mut Problems) -> Option<f64> {
    if !fields.has("weight") {
        return Some(1.0);
    }
    let weight = fields.number("weight", problems)?;
    if !Member::is_weight(weight) {
        problems.add(
            fields.path_of("weight"),
            Problem::BadWeight { found: weight },
        );
        return None;
    }
    Some(weight)
}

fn kinds(fields: &mut Fields, problems: &mut Problems) -> Option<Vec<String>> {
    let path = fields.path_of("kinds");
    let list = fields.list("kinds", problems)?;
    if list.is_empty() {
        let hint = ", leave the field out for every kind or give weight 0 for none";
        problems.add(path, Problem::Empty { hint });
    }
    let mut kinds: Vec<String> = Vec::new();
    for (path, json) in list {
        let Some(name) = json.into_text(&path, problems) else {
            continue;
        };
        if name.len() > KindOffer::MAX_NAME_LEN {
            problems.add(path, Problem::NameTooLong { len: name.len() });
        } else if kinds.contains(&name) {
            problems.add(
                path,
                Problem::SameAs {
                    other: "one before".to_owned(),
                },
            );
        } else {
            kinds.push(name);
        }
    }
    Some(kinds)
}

fn annotations(fields: &mut Fields, problems: &mut Problems) -> BTreeMap<String, String> {
    let path = fields.path_of("annotations");
    let Some(mut given) = fields
        .take("annotations")
        .and_then(|json| json.into_any_fields(&path, problems))
    else {
        return BTreeMap::new();
    };
    let mut annotations = BTreeMap::new();
    for (name, json) in given.take_all() {
        match json {
            // An empty text is as good as any other: a mark.
            Json::Text(text) => _ = annotations.insert(name, text),
            other => _ = other.into_text(&given.path_of(&name), problems),
        }
    }
    annotations
}

/// What can only be seen by looking at all nodes.
fn compare(drafts: &[Draft], problems: &mut Problems) {
    let mut ids: BTreeMap<NodeId, &Draft> = BTreeMap::new();
    let mut addresses: BTreeMap<&HostPort, &Draft> = BTreeMap::new();
    let mut kinds: BTreeMap<KindId, &str> = BTreeMap::new();
    for draft in drafts {
        let same = |other: &Draft, name: &str| {
            let other = format!("{}.{name}", other.path);
            SpecError::new(format!("{}.{name}", draft.path), Problem::SameAs { other })
        };
        if let Some(id) = draft.id {
            match ids.get(&id) {
                Some(other) => problems.0.push(same(other, "id")),
                None => _ = ids.insert(id, draft),
            }
        }
        if let Some(address) = &draft.address {
            match addresses.get(address) {
                Some(other) => problems.0.push(same(other, "address")),
                None => _ = addresses.insert(address, draft),
            }
        }
        for name in draft.kinds.iter().flatten() {
            let other = *kinds.entry(KindId::of(name)).or_insert(name);
            if other != name {
                let (name, other) = (name.clone(), other.to_owned());
                let path = format!("{}.kinds", draft.path);
                problems.add(path, Problem::KindCollision { name, other });
            }
        }
    }
    // A weight that could not be read says nothing about who owns grains.
    let owning = || drafts.iter().filter(|draft| draft.weight != Some(0.0));
    if !drafts.is_empty() && owning().next().is_none() {
        problems.add("nodes", Problem::NoOwner);
    }
    let shards = owning()
        .filter_map(|draft| draft.shards)
        .map(usize::from)
        .sum();
    if shards > Table::MAX_OWNERS {
        problems.add("nodes", Problem::TooManyShards { shards });
    }
}

/// Whether a text has a PEM block of this label: `PRIVATE KEY` also means `EC PRIVATE KEY`.
fn is_pem(text: &str, label: &str) -> bool {
    text.lines().any(|line| {
        line.trim()
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
            .is_some_and(|found| found.ends_with(label))
    })
}

const FIELDS: &[&str] = &[
    "cluster",
    "nodes",
    "permitted_protocols",
    "node_key_path",
    "node_key_pem",
    "node_cert_path",
    "node_cert_pem",
    "cluster_cert_path",
    "cluster_cert_pem",
    "cluster_secret_path",
];

const NODE_FIELDS: &[&str] = &[
    "id",
    "address",
    "listen_address",
    "local_address",
    "shards",
    "weight",
    "kinds",
    "annotations",
];

/// Key, certificate and authority, in the order of [`Spec`].
const CREDENTIALS: [Credential; 3] = [
    Credential {
        path: "node_key_path",
        pem: "node_key_pem",
        label: "PRIVATE KEY",
    },
    Credential {
        path: "node_cert_path",
        pem: "node_cert_pem",
        label: "CERTIFICATE",
    },
    Credential {
        path: "cluster_cert_path",
        pem: "cluster_cert_pem",
        label: "CERTIFICATE",
    },
];

//! What a node believes about the cluster at one moment: who is in it and who owns what.
//!
//! A view is immutable and checked as a whole; a change is a new view with a later epoch, shared
//! as an `Arc` by every shard. All tables are made when the view is made, so a look-up costs two
//! loads. Two views of equal members place every grain alike, whatever the order of the members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use siphasher::sip::SipHasher24;
use teff_wire::{Epoch, KindId, NodeId, ShardId};

use crate::hash::{GrainHash, PlacementKey};
use crate::placement::{Candidate, Owner, Table};

/// A node as the membership describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Where its peers reach it.
    pub address: SocketAddr,
    /// How many shards it runs: 1 to [`Member::MAX_SHARDS`].
    pub shards: u16,
    /// Its share of the grains, relative to the other members; shared equally by its shards.
    /// 0 owns nothing and only calls. Otherwise from [`Member::MIN_WEIGHT`] to
    /// [`Member::MAX_WEIGHT`].
    pub weight: f64,
    /// The names of the kinds it offers; `None` offers every kind.
    pub kinds: Option<Vec<String>>,
    /// Whatever the operator wants to say about it. Placement does not read it.
    pub annotations: BTreeMap<String, String>,
}

/// Who is in the cluster, and who owns what.
#[derive(Debug)]
pub struct View {
    epoch: Epoch,
    /// In ascending order of node.
    members: Box<[Member]>,
    /// One per distinct set of members that own grains of some kind.
    tables: Vec<Table>,
    /// The table of every kind that no member names; `None` when only named kinds are offered.
    default: Option<usize>,
    /// The table of each kind that some member names, in ascending order of kind; `None` when
    /// those members own nothing.
    named: Box<[(KindId, Option<usize>)]>,
}

/// Why members do not make a view.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Two members with one id.
    #[error("node {node} is listed more than once, give every node an id of its own")]
    DuplicateNode {
        /// The id.
        node: NodeId,
    },
    /// Two members at one address.
    #[error("nodes {first} and {second} have the same address {address}")]
    DuplicateAddress {
        /// The lower id.
        first: NodeId,
        /// The higher id.
        second: NodeId,
        /// Their address.
        address: SocketAddr,
    },
    /// A node must have a shard to run anything.
    #[error("node {node} has no shards, give it at least 1 (weight 0 keeps grains away from it)")]
    NoShards {
        /// The node.
        node: NodeId,
    },
    /// More shards than a node can run.
    #[error(
        "node {node} has {shards} shards, at most {} are allowed",
        Member::MAX_SHARDS
    )]
    TooManyShards {
        /// The node.
        node: NodeId,
        /// Its shards.
        shards: u16,
    },
    /// More shards than there are partitions to own.
    #[error(
        "the members have {shards} shards in all, at most {} can own grains",
        Table::MAX_OWNERS
    )]
    TooManyOwners {
        /// All shards of members that own grains.
        shards: usize,
    },
    /// A weight that is no share.
    #[error(
        "node {node} has weight {weight}, it must be 0 or from {} to {}",
        Member::MIN_WEIGHT,
        Member::MAX_WEIGHT
    )]
    BadWeight {
        /// The node.
        node: NodeId,
        /// Its weight.
        weight: f64,
    },
    /// Two names that the wire cannot tell apart.
    #[error("the kinds {first:?} and {second:?} have the same id, rename one of them")]
    KindCollision {
        /// The first name, in alphabetical order.
        first: String,
        /// The second name.
        second: String,
    },
    /// Nobody could own a grain.
    #[error("no member owns grains, give at least one of them a weight above 0 and a kind")]
    NoOwner,
}

impl Member {
    /// The most shards of one node.
    pub const MAX_SHARDS: u16 = 256;
    /// The smallest weight above 0. Wide enough for any share that 2^14 partitions can express,
    /// narrow enough for scores to stay normal numbers.
    pub const MIN_WEIGHT: f64 = 1e-6;
    /// The largest weight.
    pub const MAX_WEIGHT: f64 = 1e6;

    /// A member of weight 1 that offers every kind.
    pub fn new(node: NodeId, address: SocketAddr, shards: u16) -> Self {
        Self {
            node,
            address,
            shards,
            weight: 1.0,
            kinds: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether a weight is one that a member may have.
    pub fn is_weight(weight: f64) -> bool {
        weight == 0.0 || (Self::MIN_WEIGHT..=Self::MAX_WEIGHT).contains(&weight)
    }

    /// Whether it owns grains of some kind.
    pub fn owns(&self) -> bool {
        self.weight > 0.0 && self.kinds.as_ref().is_none_or(|kinds| !kinds.is_empty())
    }

    fn offers(&self, name: &str) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| kinds.iter().any(|kind| kind == name))
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate> {
        let weight = self.weight / f64::from(self.shards);
        (0..self.shards).map(move |shard| Candidate {
            owner: Owner {
                node: self.node,
                shard: ShardId(shard),
            },
            weight,
        })
    }
}

impl View {
    /// Checks the members and makes their tables.
    ///
    /// Takes about 0.2 ms per shard that owns grains (in a release build), for each distinct set
    /// of members that some kind needs.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, never only the first problem.
    pub fn new(epoch: Epoch, mut members: Vec<Member>) -> Result<Self, Vec<ViewError>> {
        members.sort_by_key(|member| member.node);
        let (names, errors) = check(&members);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut tables = Tables::default();
        let default = tables.of(&members, |member| member.kinds.is_none());
        let named = names
            .iter()
            .map(|(kind, name)| (*kind, tables.of(&members, |m| m.offers(name))));
        let named = named.collect();
        Ok(Self {
            epoch,
            members: members.into(),
            tables: tables.made,
            default,
            named,
        })
    }

    /// The version of this view.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, in ascending order of node.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this id.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let index = self
            .members
            .binary_search_by_key(&node, |member| member.node)
            .ok()?;
        Some(&self.members[index])
    }

    /// The shard that owns a grain; `None` when no member offers its kind.
    pub fn place(&self, kind: KindId, hash: GrainHash) -> Option<Owner> {
        self.table_of(kind).map(|table| table.owner_of(hash))
    }

    /// The table that places the grains of a kind; `None` when no member offers it. All kinds
    /// that the same members offer share one.
    pub fn table_of(&self, kind: KindId) -> Option<&Table> {
        // In most clusters nobody names a kind, and the search is over an empty list.
        let table = match self.named.binary_search_by_key(&kind, |&(named, _)| named) {
            Ok(index) => self.named[index].1,
            Err(_) => self.default,
        };
        table.map(|index| &self.tables[index])
    }

    /// A digest of everything that placement depends on: the members' ids, shards, weights and
    /// kinds, and the cluster's key.
    ///
    /// Two nodes with equal digests place every grain alike. Addresses, annotations and the epoch
    /// do not count: nodes may reach each other by different addresses.
    pub fn digest(&self, key: &PlacementKey) -> u64 {
        // Canonical: members by id, kinds by name, every list behind its length.
        let mut bytes = b"teff view 1".to_vec();
        put_len(&mut bytes, self.members.len());
        for member in &self.members {
            bytes.extend(member.node.0.to_le_bytes());
            bytes.extend(member.shards.to_le_bytes());
            // Adding 0 makes -0 and 0, which place alike, the same bits.
            bytes.extend((member.weight + 0.0).to_bits().to_le_bytes());
            bytes.push(u8::from(member.kinds.is_some()));
            let kinds: BTreeSet<&String> = member.kinds.iter().flatten().collect();
            put_len(&mut bytes, kinds.len());
            for kind in kinds {
                put_len(&mut bytes, kind.len());
                bytes.extend(kind.as_bytes());
            }
        }
        // It is shown to peers: more rounds than the hash of grains, and no grain hashes to it.
        SipHasher24::new_with_key(key.bytes()).hash(&bytes)
    }
}

/// The tables made so far, one for each distinct set of owning members.
#[derive(Default)]
struct Tables {
    made: Vec<Table>,
    /// By the places of the members in the view.
    by_members: BTreeMap<Vec<usize>, usize>,
}

impl Tables {
    /// The table over those members that own grains and pass the filter.
    fn of(&mut self, members: &[Member], offers: impl Fn(&Member) -> bool) -> Option<usize> {
        let set: Vec<usize> = (0..members.len())
            .filter(|&index| members[index].owns() && offers(&members[index]))
            .collect();
        if let Some(&table) = self.by_members.get(&set) {
            return Some(table);
        }
        let candidates = set
            .iter()
            .flat_map(|&index| members[index].candidates())
            .collect();
        let index = self.made.len();
        self.made.push(Table::new(candidates)?);
        self.by_members.insert(set, index);
        Some(index)
    }
}

/// The kinds that members name, and all that is wrong with the members, which are in order.
fn check(members: &[Member]) -> (BTreeMap<KindId, &str>, Vec<ViewError>) {
    let mut errors = Vec::new();
    let mut addresses: BTreeMap<SocketAddr, NodeId> = BTreeMap::new();
    let mut names: BTreeMap<KindId, &str> = BTreeMap::new();
    let mut owners = 0;
    for (index, member) in members.iter().enumerate() {
        let node = member.node;
        let repeats = index > 0 && members[index - 1].node == node;
        // A third member of one id says nothing new.
        if repeats && (index < 2 || members[index - 2].node != node) {
            errors.push(ViewError::DuplicateNode { node });
        }
        let address = member.address;
        match addresses.get(&address) {
            Some(&first) if first == node => {}
            Some(&first) => {
                errors.push(ViewError::DuplicateAddress {
                    first,
                    second: node,
                    address,
                });
            }
            None => _ = addresses.insert(address, node),
        }
        match member.shards {
            0 => errors.push(ViewError::NoShards { node }),
            shards if shards > Member::MAX_SHARDS => {
                errors.push(ViewError::TooManyShards { node, shards });
            }
            _ => {}
        }
        if !Member::is_weight(member.weight) {
            errors.push(ViewError::BadWeight {
                node,
                weight: member.weight,
            });
        }
        if member.owns() {
            owners += usize::from(member.shards);
        }
        for name in member.kinds.iter().flatten() {
            let name = name.as_str();
            let other = *names.entry(KindId::of(name)).or_insert(name);
            let (first, second) = (other.min(name), other.max(name));
            let error = ViewError::KindCollision {
                first: first.into(),
                second: second.into(),
            };
            if first != second && !errors.contains(&error) {
                errors.push(error);
            }
        }
    }
    if !members.iter().any(Member::owns) {
        errors.push(ViewError::NoOwner);
    }
    if owners > Table::MAX_OWNERS {
        errors.push(ViewError::TooManyOwners { shards: owners });
    }
    (names, errors)
}

fn put_len(bytes: &mut Vec<u8>, len: usize) {
    bytes.extend((len as u64).to_le_bytes());
}

#[cfg(test)]
mod tests;

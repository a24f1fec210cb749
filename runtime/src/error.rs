//! What keeps a node from starting, and the one error that holds any of this crate's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use teff_contract::{CallError, TellError};
use teff_core::spec::{SpecError, SpecErrors};
use teff_core::view::ViewError;
use teff_transport::{ClusterNameError, IdentityError, ListenError, SettingsError};
use teff_wire::NodeId;

use crate::probe::Obstacle;

/// Any error of this crate, for `fn main() -> teff::Result`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A call has no reply.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A tell was not accepted.
    #[error(transparent)]
    Tell(#[from] TellError),
    /// A node stopped before everything was done.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// A kind was not registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// Something else of the program's own.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration has mistakes; these are all of them.
    #[error("the node's configuration has mistakes:{}", list(.0))]
    Config(Vec<ConfigError>),
    /// The machine lacks something; this is everything that it lacks.
    #[error("this machine cannot run a shard:{}", list(.0))]
    Machine(Vec<Obstacle>),
    /// The port is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A shard's thread could not be set up.
    #[error("shard {shard} could not be set up: {cause}")]
    Shard {
        /// Which one.
        shard: u16,
        /// What the operating system or the reactor says.
        cause: io::Error,
    },
}

/// One mistake in a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The cluster's name breaks a rule.
    #[error(transparent)]
    ClusterName(#[from] ClusterNameError),
    /// The spec file cannot be read.
    #[error("the spec file {path} cannot be read: {cause}", path = .path.display())]
    SpecFile {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecErrors),
    /// The spec does not list this node.
    #[error(transparent)]
    SpecNode(#[from] SpecError),
    /// A file that the spec names cannot be used.
    #[error("{what}: {cause}")]
    File {
        /// What it was to be.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The environment names a reactor that there is not.
    #[error("TEFF_REACTOR is {given:?}, it may be epoll or io_uring")]
    Reactor {
        /// What it says.
        given: String,
    },
    /// The members contradict each other.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Certificates or key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Certificates or key do not fit the rest.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A node with a network needs to know who it is.
    #[error(
        "there is no certificate: give `.identity(..)`, or use `Node::single()` for no network"
    )]
    NoIdentity,
    /// A node with a network needs an address.
    #[error("there is no address: give `.listen(\"127.0.0.1:0\")` or `.listener(..)`")]
    NoAddress,
    /// A setter that has no meaning for this node.
    #[error(
        "`.{setter}(..)` is for `Node::builder(..)`: a single node has no network, and a spec says \
         it itself"
    )]
    Misplaced {
        /// Name of the setter.
        setter: &'static str,
    },
    /// The text is not an address.
    #[error("the address {text:?} is not of the form 127.0.0.1:4001 or [::1]:4001: {cause}")]
    Address {
        /// What was given.
        text: String,
        /// Why it cannot be used.
        cause: String,
    },
    /// The member list says something else about this node.
    #[error(
        "node {node} is listed with {listed} shards, but was given {given}: its peers place grains \
         by the list, so make them agree"
    )]
    ShardsDisagree {
        /// This node.
        node: NodeId,
        /// What the members say.
        listed: u16,
        /// What the builder was told.
        given: usize,
    },
    /// A node has between 1 and 256 shards.
    #[error("a node has 1 to {max} shards, not {given}")]
    Shards {
        /// What was given.
        given: usize,
        /// The most there can be.
        max: u16,
    },
    /// The list of CPUs is empty or names one that this process may not use.
    #[error("CPU {cpu} is not among those that this process may use: {allowed:?}")]
    Cpu {
        /// What was given.
        cpu: usize,
        /// What is there.
        allowed: Vec<usize>,
    },
    /// A limit has no sense at this value.
    #[error("{name} must be {rule}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// Two kinds cannot be told apart.
    #[error(transparent)]
    Kind(#[from] RegisterError),
}

/// Why a kind was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is a kind of this name with another contract.
    #[error("a kind {name} with another contract is registered already, rename one of them")]
    OtherContract {
        /// The name.
        name: &'static str,
    },
    /// The names of two kinds have one hash. This is bad luck, and a new name cures it.
    #[error("the names {name} and {other} have the same hash, rename one of them")]
    Collision {
        /// The name that was refused.
        name: &'static str,
        /// The one that is there.
        other: &'static str,
    },
    /// Peers would not take the name.
    #[error("the name of a kind has 1 to 256 bytes and no control characters, {name:?} is not so")]
    Name {
        /// The name.
        name: &'static str,
    },
    /// There are as many kinds as peers can be told of.
    #[error("a node hosts at most {max} kinds, {name} would be one more")]
    TooMany {
        /// The name of the one too many.
        name: &'static str,
        /// The most there can be.
        max: usize,
    },
    /// A handler cannot wait for its own shard.
    #[error("a kind cannot be registered from within a handler, do it from another thread")]
    OnShard,
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a shutdown was not clean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Something was still under way when the time was over.
    #[error(
        "after {0:?} something was still under way; it was dropped and counted as `shutting_down`"
    )]
    NotAtRest(Duration),
    /// A handler cannot wait for its own shard. Nothing was stopped.
    #[error("a node cannot be shut down from within a handler, do it from another thread")]
    OnShard,
}

/// Several errors, each on a line of its own.
fn list<E: std::fmt::Display>(errors: &[E]) -> String {
    errors
        .iter()
        .map(|error| format!("\n  - {error}"))
        .collect()
}

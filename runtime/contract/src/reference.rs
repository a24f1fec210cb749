//! References to grains: cheap to make, cheap to clone, usable on every thread.
//!
//! Making one causes no traffic and activates nothing. The id is hashed here, once; everything
//! after works with that hash.

use std::fmt;
use std::sync::Arc;

use teff_wire::{Fingerprint, GrainId, Key, KeyError, KindId, Spot};

use crate::port::{Port, Target, Way};
use crate::schema::{Method, contract_fingerprint};

/// A reference to a grain, without its contract. Generated references wrap it.
#[derive(Clone)]
pub struct GrainRef {
    port: Arc<dyn Port>,
    target: Result<Target, KeyError>,
}

/// What a caller is built with: the same for all references of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Name of the kind, for messages to people.
    pub name: &'static str,
    /// The kind.
    pub kind: KindId,
    /// Hash of the contract.
    pub fingerprint: Fingerprint,
}

/// A typed reference, as `#[grain]` generates it: knows the contract of its grain.
pub trait Reference: Clone + Send + Sync + 'static {
    /// Name of the kind, the same all over the cluster.
    const NAME: &'static str;
    /// The methods, in the order of declaration.
    const METHODS: &'static [Method];
    /// The kind.
    const KIND: KindId = KindId::of(Self::NAME);
    /// Hash of the contract. Two builds that differ in it refuse each other's calls of this kind.
    const FINGERPRINT: Fingerprint = contract_fingerprint(Self::METHODS);
    /// All of the above that a message needs.
    const CONTRACT: &'static Contract = &Contract {
        name: Self::NAME,
        kind: Self::KIND,
        fingerprint: Self::FINGERPRINT,
    };

    /// Wraps an untyped reference.
    fn from_grain(grain: GrainRef) -> Self;

    /// The untyped reference.
    fn as_grain(&self) -> &GrainRef;
}

impl GrainRef {
    /// A reference of kind `R` to the grain with this key, sending through `port`. A key that is
    /// empty or too long is reported by the first call or tell.
    pub fn to<R: Reference>(port: Arc<dyn Port>, key: impl AsRef<str>) -> Self {
        let target = Key::new(key).map(|key| {
            let id = GrainId::new(R::KIND, key);
            Target {
                hash: port.hash(&id),
                key: id.key,
                contract: R::CONTRACT,
                way: Way::default(),
                spot: Spot::default(),
            }
        });
        Self { port, target }
    }

    /// The grain's key, empty if it was not a valid one.
    pub fn key(&self) -> &str {
        self.target
            .as_ref()
            .map_or("", |target| target.key.as_str())
    }

    /// Where it sends.
    pub fn port(&self) -> &dyn Port {
        &*self.port
    }

    /// The grain.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the reference was made with a key that no grain can have.
    pub fn target(&self) -> Result<&Target, KeyError> {
        self.target.as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for GrainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Ok(target) => write!(f, "{}/{}", target.contract.name, target.key),
            Err(error) => write!(f, "invalid reference: {error}"),
        }
    }
}

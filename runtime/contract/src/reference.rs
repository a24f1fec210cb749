//! References to grains: cheap to make, cheap to clone, usable on every thread.
//!
//! Making one causes no traffic and activates nothing. The id is hashed here, once; everything
//! after works with that hash.

use std::fmt;
use std::sync::Arc;

use teff_wire::{Fingerprint, GrainId, Key, KeyError, KindId};

use crate::port::{Port, Target};
use crate::schema::{Method, contract_fingerprint};

/// A reference to a grain, without its contract. Generated references wrap it.
#[derive(Clone)]
pub struct GrainRef {
    port: Arc<dyn Port>,
    target: Result<Target, KeyError>,
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
                id,
                kind: R::NAME,
                fingerprint: R::FINGERPRINT,
            }
        });
        Self { port, target }
    }

    /// The grain's key, empty if it was not a valid one.
    pub fn key(&self) -> &str {
        self.target
            .as_ref()
            .map_or("", |target| target.id.key.as_str())
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
            Ok(target) => write!(f, "{}/{}", target.kind, target.id.key),
            Err(error) => write!(f, "invalid reference: {error}"),
        }
    }
}

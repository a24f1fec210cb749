//! The kinds of a node, to find names that cannot live together.

use std::collections::HashMap;

use teff_contract::Kind;
use teff_wire::{Fingerprint, KindId};

use crate::error::RegisterError;

/// Names and contracts of all kinds that a node hosts.
#[derive(Default)]
pub(crate) struct Registry {
    known: HashMap<KindId, (&'static str, Fingerprint)>,
}

impl Registry {
    /// Adds a kind. The same name and contract again is fine: it replaces the factory.
    pub(crate) fn add(&mut self, kind: &Kind) -> Result<(), RegisterError> {
        let name = kind.name();
        if !(1..=NAME_MAX).contains(&name.len()) {
            return Err(RegisterError::Name { name });
        }
        let known = self
            .known
            .entry(kind.id())
            .or_insert((name, kind.fingerprint()));
        match *known {
            (other, _) if other != name => Err(RegisterError::Collision { name, other }),
            (_, fingerprint) if fingerprint != kind.fingerprint() => {
                Err(RegisterError::OtherContract { name })
            }
            _ => Ok(()),
        }
    }
}

/// What a hello can carry.
const NAME_MAX: usize = 256;

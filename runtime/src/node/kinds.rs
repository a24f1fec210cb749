//! The kinds of a node, to find names that cannot live together.

use std::collections::HashMap;

use teff_contract::Kind;
use teff_wire::{Fingerprint, KindId, KindOffer};

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
        if !(1..=KindOffer::MAX_NAME_LEN).contains(&name.len())
            || name.chars().any(char::is_control)
        {
            return Err(RegisterError::Name { name });
        }
        if !self.known.contains_key(&kind.id()) && self.known.len() >= KindOffer::MAX_COUNT {
            let max = KindOffer::MAX_COUNT;
            return Err(RegisterError::TooMany { name, max });
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

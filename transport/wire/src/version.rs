//! Which protocol a node speaks.
//!
//! Nodes whose major versions are equal work together; a higher minor version only adds what the
//! lower one may skip. The version stands at the same place of every hello, whatever its major.

use std::fmt;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Grows when nodes of the old and the new version cannot work together.
    pub major: u16,
    /// Grows when something is added that a node of the same major version can skip.
    pub minor: u16,
}

impl Version {
    /// What this build speaks.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };

    /// Whether nodes of the two versions can work together.
    pub const fn is_compatible(self, other: Self) -> bool {
        self.major == other.major
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_work_together_and_major_ones_do_not() {
        let later = Version {
            minor: 7,
            ..Version::CURRENT
        };
        let other = Version { major: 2, minor: 0 };
        assert!(Version::CURRENT.is_compatible(later) && later.is_compatible(Version::CURRENT));
        assert!(!Version::CURRENT.is_compatible(other));
        assert_eq!(later.to_string(), "1.7");
    }
}

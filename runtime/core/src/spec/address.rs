//! `host:port` as text: an IP address, which needs nobody, or a name, which somebody must resolve.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address that may still have to be resolved.
///
/// Displayed as `host:port`, with brackets around an IPv6 address. Names are lower-case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(Inner);

/// Why a text is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing behind the host.
    #[error("{text:?} has no port, write host:port")]
    NoPort {
        /// The text.
        text: String,
    },
    /// Something behind the host that is no port.
    #[error("{port:?} is not a port, give a number from 0 to 65535")]
    BadPort {
        /// What is there.
        port: String,
    },
    /// Colons in the host.
    #[error("{host:?} is not a host, write an IPv6 address in brackets, like [::1]:4001")]
    Unbracketed {
        /// What is there.
        host: String,
    },
    /// Neither an IP address nor a name that could be looked up.
    #[error("{host:?} is neither an IP address nor a host name")]
    BadHost {
        /// What is there.
        host: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Inner {
    Literal(SocketAddr),
    Name { host: String, port: u16 },
}

impl HostPort {
    /// Reads `host:port`.
    ///
    /// # Errors
    ///
    /// When the port is missing or the host cannot be one.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Ok(literal) = text.parse() {
            return Ok(Self(Inner::Literal(literal)));
        }
        let unbracketed = |host: &str| AddressError::Unbracketed {
            host: host.to_owned(),
        };
        if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            return Err(unbracketed(text));
        }
        let Some((host, port)) = text
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'))
        else {
            return Err(AddressError::NoPort {
                text: text.to_owned(),
            });
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let Some(port) = port.parse().ok().filter(|_| digits) else {
            return Err(AddressError::BadPort {
                port: port.to_owned(),
            });
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(unbracketed(host));
        }
        if !is_host_name(host) {
            return Err(AddressError::BadHost {
                host: host.to_owned(),
            });
        }
        Ok(Self(Inner::Name {
            host: host.to_ascii_lowercase(),
            port,
        }))
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Inner::Literal(literal) => literal.port(),
            Inner::Name { port, .. } => *port,
        }
    }

    /// The address, unless a name must be looked up first.
    pub fn literal(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Literal(literal) => Some(*literal),
            Inner::Name { .. } => None,
        }
    }

    /// The address; a name goes through `resolve` as `host:port`.
    ///
    /// # Errors
    ///
    /// Whatever `resolve` says.
    pub fn resolve<E>(
        &self,
        resolve: impl FnOnce(&str) -> Result<SocketAddr, E>,
    ) -> Result<SocketAddr, E> {
        self.literal()
            .map_or_else(|| resolve(&self.to_string()), Ok)
    }

    /// Whether it stands for every address of its machine.
    pub fn is_unspecified(&self) -> bool {
        self.literal()
            .is_some_and(|literal| literal.ip().is_unspecified())
    }

    /// Whether both have the same host, as far as their texts tell.
    pub(super) fn has_host_of(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Inner::Literal(a), Inner::Literal(b)) => a.ip() == b.ip(),
            (Inner::Name { host: a, .. }, Inner::Name { host: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Literal(literal) => literal.fmt(f),
            Inner::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Whether a resolver could be asked for it: labels of letters, digits, `-` and `_`. A last label
/// of digits only is a mistyped IP address.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A trailing dot marks a name as complete.
    let labels = host.strip_suffix('.').unwrap_or(host);
    let last = labels.rsplit('.').next().unwrap_or_default();
    labels.len() <= 253
        && labels.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        let literal = HostPort::parse("127.0.0.1:4001").unwrap();
        assert_eq!(literal.literal(), Some(([127, 0, 0, 1], 4001).into()));
        let literal = HostPort::parse("[::1]:4001").unwrap();
        assert_eq!(literal.to_string(), "[::1]:4001");
        assert_eq!(literal.port(), 4001);
        let name = HostPort::parse("One.example:80").unwrap();
        assert_eq!((name.literal(), name.port()), (None, 80));
        assert_eq!(name.to_string(), "one.example:80");
        assert!(HostPort::parse("[::]:1").unwrap().is_unspecified());
        assert!(!name.is_unspecified());
    }

    #[test]
    fn only_names_are_resolved() {
        let found = SocketAddr::from(([10, 0, 0, 7], 80));
        let resolve = |text: &str| {
            assert_eq!(text, "one.example:80");
            Ok::<_, String>(found)
        };
        assert_eq!(
            HostPort::parse("ONE.example:80").unwrap().resolve(resolve),
            Ok(found)
        );
        let literal = HostPort::parse("10.0.0.8:1").unwrap();
        assert_eq!(literal.resolve(resolve), Ok(([10, 0, 0, 8], 1).into()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        use AddressError as E;
        let bad_host = |host: &str| E::BadHost {
            host: host.to_owned(),
        };
        let bad_port = |port: &str| E::BadPort {
            port: port.to_owned(),
        };
        let no_port = |text: &str| E::NoPort {
            text: text.to_owned(),
        };
        let unbracketed = |host: &str| E::Unbracketed {
            host: host.to_owned(),
        };
        for (text, expected) in [
            ("", no_port("")),
            ("localhost", no_port("localhost")),
            ("[::1]", no_port("[::1]")),
            ("localhost:", bad_port("")),
            ("localhost:http", bad_port("http")),
            ("localhost:65536", bad_port("65536")),
            ("localhost:+1", bad_port("+1")),
            ("127.0.0.1:-1", bad_port("-1")),
            (":4001", bad_host("")),
            ("300.1.1.1:4001", bad_host("300.1.1.1")),
            ("1.2.3:4001", bad_host("1.2.3")),
            ("a b:1", bad_host("a b")),
            ("-a:1", bad_host("-a")),
            ("a..b:1", bad_host("a..b")),
            ("[::g]:1", bad_host("[::g]")),
            ("::1", unbracketed("::1")),
            ("fe80::1:2:x:4001", unbracketed("fe80::1:2:x")),
        ] {
            assert_eq!(HostPort::parse(text), Err(expected), "{text:?}");
        }
        assert!(HostPort::parse(&format!("{}a:1", "a.".repeat(126))).is_ok());
        assert!(HostPort::parse(&format!("{}a:1", "a.".repeat(127))).is_err());
    }
}

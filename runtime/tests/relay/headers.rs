//! What anyone on the way can read of a QUIC datagram: the part of its header that is the same in
//! every version (RFC 8999), given how long the connection ids of our nodes are.

/// The length in bytes of the connection ids that nodes hand out.
const ID_LEN: usize = 8;

/// The first packet's header in a datagram; a datagram's other packets are of the same connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header<'a> {
    /// A packet of a handshake: who it is for, who it is from.
    Long { to: &'a [u8], from: &'a [u8] },
    /// A packet of a connection that is up, or a stateless reset.
    Short { to: &'a [u8] },
}

impl<'a> Header<'a> {
    /// `None` for what no node sends.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        if first & 0x80 == 0 {
            return rest.get(..ID_LEN).map(|to| Self::Short { to });
        }
        // Four bytes say the version.
        let (to, rest) = id(rest.get(4..)?)?;
        let (from, _) = id(rest)?;
        Some(Self::Long { to, from })
    }
}

/// A connection id behind its length, and what follows it.
fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

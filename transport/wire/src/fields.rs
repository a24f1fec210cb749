//! Little-endian fields, read one after the other from bytes of a peer.
//!
//! Every read says whether the bytes were there; nothing here trusts a length.

/// What is left of a run of fields.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'b [u8], Truncated> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// All bytes that are left.
    pub(crate) fn rest(self) -> &'b [u8] {
        self.0
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The bytes end before the field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// A name as it may stand in a log line: 1 to `max` bytes of UTF-8 without control characters.
pub(crate) fn read_name(bytes: &[u8], max: usize) -> Result<&str, NameError> {
    let name = str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
    check_name(name, max)?;
    Ok(name)
}

/// The rule of [`read_name`] for a name of our own.
pub(crate) fn check_name(name: &str, max: usize) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        len if len > max => Err(NameError::TooLong { len, max }),
        _ if name.chars().any(char::is_control) => Err(NameError::Control),
        _ => Ok(()),
    }
}

/// Why bytes cannot be the name of a cluster or kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name has at least one byte.
    #[error("it is empty")]
    Empty,
    /// Longer than anyone may send.
    #[error("it is {len} bytes long and {max} are allowed")]
    TooLong {
        /// Length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// Names are text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Names appear in logs, where a line break would forge a line.
    #[error("it has a control character")]
    Control,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_where_the_bytes_do() {
        let mut fields = Fields::new(&[1, 0, 2, 0, 0, 0, 9]);
        assert_eq!(fields.u16(), Ok(1));
        assert_eq!(fields.u64(), Err(Truncated));
        assert_eq!(fields.u32(), Ok(2));
        assert_eq!(fields.bytes(2), Err(Truncated));
        assert_eq!(fields.bytes(1), Ok(&[9][..]));
        assert_eq!((fields.len(), fields.u16()), (0, Err(Truncated)));
    }

    #[test]
    fn names_cannot_forge_log_lines() {
        assert_eq!(read_name(b"chat/room", 16), Ok("chat/room"));
        assert_eq!(read_name(b"a\nERROR", 16), Err(NameError::Control));
        assert_eq!(read_name(b"\xff", 16), Err(NameError::NotUtf8));
        assert_eq!(read_name(b"", 16), Err(NameError::Empty));
        assert_eq!(
            read_name(b"abc", 2),
            Err(NameError::TooLong { len: 3, max: 2 })
        );
    }
}

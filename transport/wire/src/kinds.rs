//! The kinds that a node offers: part of its hello, and the payload of a kinds frame.
//!
//! A list says how wide the fixed part of its entries is, so that a later minor version may widen
//! them and this one skips what it does not know.

use std::collections::HashSet;

use rkyv::util::AlignedVec;

use crate::{
    fields::{Fields, NameError, Truncated, check_name, read_name},
    id::{Fingerprint, KindId},
};

/// A kind that a node has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindOffer {
    /// Which kind.
    pub kind: KindId,
    /// What a caller has to agree with.
    pub fingerprint: Fingerprint,
    /// The kind's name: 1 to 256 bytes without control characters.
    pub name: String,
}

/// Why a list of kinds cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KindsError {
    /// More than a node may offer.
    #[error("{count} kinds are offered and {} are allowed", KindOffer::MAX_COUNT)]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The list ends within an entry, or before the first one.
    #[error("the list of kinds ends too early")]
    Truncated,
    /// The width of the list's head or of its entries is less than version 1.0 has.
    #[error("the list of kinds has parts of {width} bytes where at least {least} are needed")]
    TooNarrow {
        /// What the list says.
        width: u16,
        /// What version 1.0 has.
        least: u16,
    },
    /// A field that no version has used so far is not zero.
    #[error("a reserved field in the list of kinds is not zero")]
    Reserved,
    /// The list goes on behind its last entry.
    #[error("{len} bytes follow the list of kinds")]
    Trailing {
        /// How many bytes are left.
        len: usize,
    },
    /// One kind is listed twice.
    #[error("kind {:#010x} is offered twice", kind.0)]
    Duplicate {
        /// Which.
        kind: KindId,
    },
    /// The name of a kind breaks the rules.
    #[error("the name of kind {:#010x} is refused: {reason}", kind.0)]
    Name {
        /// Whose name.
        kind: KindId,
        /// Which rule.
        reason: NameError,
    },
}

impl KindOffer {
    /// How many kinds a node may offer.
    pub const MAX_COUNT: usize = 1024;
    /// The longest name of a kind, in bytes.
    pub const MAX_NAME_LEN: usize = 256;
}

impl From<Truncated> for KindsError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Appends the payload of a kinds frame.
///
/// # Errors
///
/// [`KindsError`] when the list breaks a rule that the peer would refuse it for. What was appended
/// by then has to be thrown away, as [`Writer::frame`](crate::Writer::frame) does.
pub fn encode_kinds(kinds: &[KindOffer], out: &mut AlignedVec<16>) -> Result<(), KindsError> {
    let count = checked_count(kinds)?;
    out.extend_from_slice(&HEAD_LEN.to_le_bytes());
    out.extend_from_slice(&ENTRY_LEN.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    write_entries(kinds, out)
}

/// Reads the payload of a kinds frame.
///
/// # Errors
///
/// [`KindsError`] when the payload is no list of kinds.
pub fn decode_kinds(bytes: &[u8]) -> Result<Vec<KindOffer>, KindsError> {
    let mut fields = Fields::new(bytes);
    let head_len = fields.u16()?;
    let width = fields.u16()?;
    let count = fields.u16()?;
    let reserved = fields.u16()?;
    let Some(beyond) = head_len.checked_sub(HEAD_LEN) else {
        return Err(KindsError::TooNarrow {
            width: head_len,
            least: HEAD_LEN,
        });
    };
    if reserved != 0 {
        return Err(KindsError::Reserved);
    }
    fields.bytes(beyond.into())?;
    let kinds = read_entries(&mut fields, count, width)?;
    match fields.len() {
        0 => Ok(kinds),
        len => Err(KindsError::Trailing { len }),
    }
}

/// How many kinds these are, once it is sure that a list of them can be read back.
pub(crate) fn checked_count(kinds: &[KindOffer]) -> Result<u16, KindsError> {
    match u16::try_from(kinds.len()) {
        Ok(count) if usize::from(count) <= KindOffer::MAX_COUNT => Ok(count),
        _ => Err(KindsError::TooMany { count: kinds.len() }),
    }
}

/// Appends the entries, each [`ENTRY_LEN`] bytes and its name.
pub(crate) fn write_entries(
    kinds: &[KindOffer],
    out: &mut AlignedVec<16>,
) -> Result<(), KindsError> {
    let mut seen = HashSet::new();
    for offer in kinds {
        let kind = offer.kind;
        check_name(&offer.name, KindOffer::MAX_NAME_LEN)
            .map_err(|reason| KindsError::Name { kind, reason })?;
        if !seen.insert(kind) {
            return Err(KindsError::Duplicate { kind });
        }
        let name_len = u16::try_from(offer.name.len()).expect("a checked name has 256 bytes");
        out.extend_from_slice(&kind.0.to_le_bytes());
        out.extend_from_slice(&name_len.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&offer.fingerprint.0.to_le_bytes());
        out.extend_from_slice(offer.name.as_bytes());
    }
    Ok(())
}

/// Reads `count` entries whose fixed parts are `width` bytes wide.
pub(crate) fn read_entries(
    fields: &mut Fields<'_>,
    count: u16,
    width: u16,
) -> Result<Vec<KindOffer>, KindsError> {
    let count = usize::from(count);
    if count > KindOffer::MAX_COUNT {
        return Err(KindsError::TooMany { count });
    }
    if width < ENTRY_LEN {
        return Err(KindsError::TooNarrow {
            width,
            least: ENTRY_LEN,
        });
    }
    if fields.len() < count * usize::from(width) {
        return Err(KindsError::Truncated);
    }
    let mut seen = HashSet::with_capacity(count);
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let offer = read_entry(fields, width)?;
        if !seen.insert(offer.kind) {
            return Err(KindsError::Duplicate { kind: offer.kind });
        }
        kinds.push(offer);
    }
    Ok(kinds)
}

fn read_entry(fields: &mut Fields<'_>, width: u16) -> Result<KindOffer, KindsError> {
    let mut fixed = Fields::new(fields.bytes(width.into())?);
    let kind = KindId(fixed.u32()?);
    let name_len = fixed.u16()?;
    let reserved = fixed.u16()?;
    let fingerprint = Fingerprint(fixed.u64()?);
    if reserved != 0 {
        return Err(KindsError::Reserved);
    }
    let name = fields.bytes(name_len.into())?;
    let name = read_name(name, KindOffer::MAX_NAME_LEN)
        .map_err(|reason| KindsError::Name { kind, reason })?;
    Ok(KindOffer {
        kind,
        fingerprint,
        name: name.to_owned(),
    })
}

/// Bytes in front of the entries of a kinds frame, in version 1.0.
const HEAD_LEN: u16 = 8;

/// Bytes in front of the name of an entry, in version 1.0.
pub(crate) const ENTRY_LEN: u16 = 16;

//! Tells that may get lost: one in each QUIC datagram, with everything that it takes to read it.
//!
//! A datagram may overtake the stream, so a number that the stream gives to a grain means nothing
//! in it: it names kind and key in full. It ends where the datagram does.

use rkyv::util::AlignedVec;

use crate::{
    block::Block,
    fields::{Fields, Truncated},
    frame::Frame,
    header::{FrameType, Header, MAX_PAYLOAD, UNIT, padded},
    id::{Epoch, Key, KindId, MethodId},
    names::Grain,
    writer::WriteError,
};

/// Why a datagram is no lossy tell. The link that it came by cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LossyError {
    /// The datagram ends before its key does.
    #[error("a datagram of {len} bytes is shorter than the lossy tell that it begins")]
    Truncated {
        /// Length of the datagram in bytes.
        len: usize,
    },
    /// Datagrams carry lossy tells, and nothing else.
    #[error(
        "a datagram starts with type {value:#04x} instead of a lossy tell, \
         the peer does not speak this protocol version"
    )]
    UnknownType {
        /// What stood in the place of the type.
        value: u8,
    },
    /// The reserved field is not zero.
    #[error("the reserved field of a lossy tell is not zero as it has to be")]
    Reserved,
    /// Without a key there is no grain that it could be for.
    #[error("a lossy tell has no key")]
    KeyMissing,
    /// The key is longer than [`Key::MAX_LEN`].
    #[error(
        "a lossy tell declares a key of {len} bytes and {} are allowed",
        Key::MAX_LEN
    )]
    KeyTooLong {
        /// The declared length in bytes.
        len: u16,
    },
    /// The key is not text.
    #[error("the key of a lossy tell is not UTF-8")]
    KeyNotUtf8,
    /// The bytes behind the key are zero.
    #[error("the padding after the key of a lossy tell is not zero")]
    Padding,
    /// The payload is longer than the receiver allows.
    #[error(
        "a lossy tell has {len} bytes of payload and {limit} are allowed, \
         set the same payload limit on all nodes"
    )]
    PayloadTooLarge {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload allowed, in bytes.
        limit: usize,
    },
}

/// How many bytes of a datagram are left for the payload of a lossy tell to this grain; 0 if not
/// even the key fits.
pub fn lossy_room(datagram: usize, key: &Key) -> usize {
    datagram.saturating_sub(Header::LEN + padded(key.as_str().len()))
}

/// Writes a lossy tell into `out`, whose contents it replaces: what a datagram is to carry.
///
/// Kind, method, epoch and hops stand in `header`, which is that of a tell. `payload` appends to
/// `out` at a 16-aligned position and leaves alone what is in it. It may write `limit` bytes, see
/// [`lossy_room`].
///
/// ```
/// use teff_wire::{Header, Key, KindId, MethodId, read_lossy, write_lossy};
///
/// let key = Key::new("kitchen").unwrap();
/// let header = Header::tell(KindId::of("room"), MethodId(0));
/// let mut datagram = Default::default();
/// write_lossy(&mut datagram, &header, &key, 1024, |out| {
///     out.extend_from_slice(b"21.5");
///     Ok::<(), ()>(())
/// })
/// .unwrap();
/// assert_eq!(datagram.len(), 16 + 16 + 4);
///
/// let frame = read_lossy(&datagram, 1024, &|_: KindId, _: &Key| 4711).unwrap();
/// assert_eq!((frame.header, &*frame.payload), (header, &b"21.5"[..]));
/// assert_eq!(frame.grain.map(|grain| (grain.key, grain.hash)), Some((key, 4711)));
/// ```
/// # Errors
///
/// [`WriteError`] when the payload fails or is too large; what is in `out` then means nothing.
///
/// # Panics
///
/// When `header` is not that of a tell, or `payload` removed bytes that it did not write.
pub fn write_lossy<E>(
    out: &mut AlignedVec<16>,
    header: &Header,
    key: &Key,
    limit: usize,
    payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
) -> Result<(), WriteError<E>> {
    assert!(
        header.frame == FrameType::Tell,
        "a {} frame cannot be lossy",
        header.frame
    );
    let key = key.as_str().as_bytes();
    let key_len = u16::try_from(key.len()).expect("a key has at most 256 bytes");
    let mut head = [0; Header::LEN];
    head[0] = LOSSY;
    head[1] = header.hops;
    head[2..4].copy_from_slice(&header.method.0.to_le_bytes());
    head[4..8].copy_from_slice(&header.kind.0.to_le_bytes());
    head[8..12].copy_from_slice(&header.epoch.0.to_le_bytes());
    head[12..14].copy_from_slice(&key_len.to_le_bytes());
    out.clear();
    out.extend_from_slice(&head);
    out.extend_from_slice(key);
    out.resize(padded(out.len()), 0);
    let at = out.len();
    payload(out).map_err(WriteError::Payload)?;
    let len = out.len().checked_sub(at);
    let len = len.expect("a payload only appends to the buffer it is given");
    if len > limit {
        return Err(WriteError::TooLarge { len, limit });
    }
    Ok(())
}

/// Reads what a datagram carries: a tell, with its payload copied to where it is aligned.
///
/// Everything is checked before anything is allocated. `hash` is called once; what it returns comes
/// with the grain.
///
/// # Errors
///
/// [`LossyError`] when the datagram is no lossy tell, or has more than `max_payload` bytes of
/// payload (cut to [`MAX_PAYLOAD`]).
pub fn read_lossy(
    datagram: &[u8],
    max_payload: usize,
    hash: &(impl Fn(KindId, &Key) -> u64 + ?Sized),
) -> Result<Frame, LossyError> {
    let parts = Parts::of(datagram)?;
    let limit = max_payload.min(MAX_PAYLOAD);
    let len = parts.payload.len();
    if len > limit {
        return Err(LossyError::PayloadTooLarge { len, limit });
    }
    let key = Key::from_checked(parts.key);
    let hash = hash(parts.header.kind, &key);
    Ok(Frame {
        header: parts.header,
        grain: Some(Grain { key, hash }),
        payload: Block::copy_from(parts.payload),
        detached: None,
    })
}

/// A datagram, taken apart where it lies.
struct Parts<'d> {
    header: Header,
    key: &'d str,
    payload: &'d [u8],
}

impl<'d> Parts<'d> {
    fn of(datagram: &'d [u8]) -> Result<Self, LossyError> {
        let len = datagram.len();
        let truncated = |Truncated| LossyError::Truncated { len };
        let mut fields = Fields::new(datagram);
        let [value, hops] = fields.array().map_err(truncated)?;
        if value != LOSSY {
            return Err(LossyError::UnknownType { value });
        }
        let mut header = Header::new(FrameType::Tell);
        header.hops = hops;
        header.method = MethodId(fields.u16().map_err(truncated)?);
        header.kind = KindId(fields.u32().map_err(truncated)?);
        header.epoch = Epoch(fields.u32().map_err(truncated)?);
        let key_len = fields.u16().map_err(truncated)?;
        if fields.u16().map_err(truncated)? != 0 {
            return Err(LossyError::Reserved);
        }
        match usize::from(key_len) {
            0 => return Err(LossyError::KeyMissing),
            1..=Key::MAX_LEN => {}
            _ => return Err(LossyError::KeyTooLong { len: key_len }),
        }
        let key = fields.bytes(key_len.into()).map_err(truncated)?;
        let padding = padded(key.len()) - key.len();
        if fields.bytes(padding).map_err(truncated)? != &[0; UNIT][..padding] {
            return Err(LossyError::Padding);
        }
        let key = str::from_utf8(key).map_err(|_| LossyError::KeyNotUtf8)?;
        Ok(Self {
            header,
            key,
            payload: fields.rest(),
        })
    }
}

/// The type of a lossy tell. No frame of a stream has it, so that neither can be taken for the
/// other.
const LOSSY: u8 = 11;

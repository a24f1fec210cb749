//! What the two ends of a link tell each other first.
//!
//! Magic and version stand at the front in every version there will ever be, so that nodes of
//! different major versions can at least say so. Within one major version a hello says how long
//! its fixed part is: what a later minor version appends is skipped. A hello of the version that
//! we speak has to have exactly our lengths.

use rkyv::util::AlignedVec;

use crate::{
    fields::{Fields, NameError, Truncated, check_name, read_name},
    id::{Incarnation, NodeId, ShardId},
    kinds::{ENTRY_LEN, KindOffer, KindsError, checked_count, read_entries, write_entries},
    version::Version,
};

/// The payload of the first frame in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol that the sender speaks.
    pub version: Version,
    /// The cluster that it belongs to: 1 to 63 bytes without control characters.
    pub cluster: String,
    /// Who it claims to be; its certificate has to say the same.
    pub node: NodeId,
    /// Which start of that node it is.
    pub incarnation: Incarnation,
    /// How many shards it has, at least one.
    pub shards: u16,
    /// The shard at the sender's end of the link, less than `shards`.
    pub from_shard: ShardId,
    /// The shard that the sender believes to be at the other end.
    pub to_shard: ShardId,
    /// Digest of the members and the placement key: nodes that differ would look for one grain
    /// at different places.
    pub placement: u64,
    /// The dialler's number for the link, which the acceptor repeats. A dialler gives no number
    /// twice to links of one incarnation and shard.
    pub link: u64,
    /// To resume a link: the incarnation that it is with. 0 for a link that begins.
    pub resumes: Incarnation,
    /// How many data frames of this link the sender has, taken in or read: what is resent starts
    /// behind them.
    pub taken_in: u64,
    /// The kinds that the sender offers, each once.
    pub kinds: Vec<KindOffer>,
}

/// Why a hello cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The peer speaks something else.
    #[error("the first bytes are not those of a Teff hello, is the port that of a Teff node?")]
    Magic,
    /// The peer speaks another major version. Nothing behind the version was looked at.
    #[error(
        "the peer speaks protocol {theirs} and this node {}, update the older one",
        Version::CURRENT
    )]
    Version {
        /// What the peer speaks.
        theirs: Version,
    },
    /// The hello ends before its last field.
    #[error("the hello ends too early")]
    Truncated,
    /// The fixed part of the hello, or of the kinds in it, has another length than its version
    /// says.
    #[error("a fixed part of {len} bytes in a hello of version {version} is too short or too long")]
    FixedLength {
        /// The version of the hello.
        version: Version,
        /// The length that it declares.
        len: u16,
    },
    /// The hello goes on behind its last field.
    #[error("{len} bytes follow a hello of version {version}")]
    Trailing {
        /// The version of the hello.
        version: Version,
        /// How many bytes are left.
        len: usize,
    },
    /// The name of the cluster breaks the rules.
    #[error("the name of the cluster is refused: {reason}")]
    ClusterName {
        /// Which rule.
        reason: NameError,
    },
    /// A node has at least one shard, and none beyond those that it has.
    #[error("shard {from} of {shards} shards does not exist")]
    Shards {
        /// The shard that claims to have sent the hello.
        from: ShardId,
        /// How many shards its node claims to have.
        shards: u16,
    },
    /// The list of kinds breaks the rules.
    #[error(transparent)]
    Kinds(#[from] KindsError),
}

impl Hello {
    /// The first four bytes of every hello.
    pub const MAGIC: [u8; 4] = *b"TEFF";
    /// The longest name of a cluster, in bytes: that of a DNS label, since it becomes one.
    pub const MAX_CLUSTER_LEN: usize = 63;

    /// Appends the payload of a hello frame.
    ///
    /// # Errors
    ///
    /// [`HelloError`] when a field breaks a rule that the peer would refuse it for. What was
    /// appended by then has to be thrown away, as [`Writer::frame`](crate::Writer::frame) does.
    pub fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), HelloError> {
        check_name(&self.cluster, Self::MAX_CLUSTER_LEN)
            .map_err(|reason| HelloError::ClusterName { reason })?;
        self.check_shards()?;
        let count = checked_count(&self.kinds)?;
        let cluster_len = u16::try_from(self.cluster.len()).expect("a checked name has 63 bytes");

        out.extend_from_slice(&Self::MAGIC);
        out.extend_from_slice(&self.version.major.to_le_bytes());
        out.extend_from_slice(&self.version.minor.to_le_bytes());
        out.extend_from_slice(&FIXED_LEN.to_le_bytes());
        out.extend_from_slice(&cluster_len.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&ENTRY_LEN.to_le_bytes());
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.extend_from_slice(&self.placement.to_le_bytes());
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.extend_from_slice(&self.from_shard.0.to_le_bytes());
        out.extend_from_slice(&self.to_shard.0.to_le_bytes());
        out.extend_from_slice(&self.link.to_le_bytes());
        out.extend_from_slice(&self.resumes.0.to_le_bytes());
        out.extend_from_slice(&self.taken_in.to_le_bytes());
        out.extend_from_slice(self.cluster.as_bytes());
        write_entries(&self.kinds, out)?;
        Ok(())
    }

    /// Reads the payload of a hello frame.
    ///
    /// # Errors
    ///
    /// [`HelloError`] when the payload is no hello, or one of another major version.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        let mut fields = Fields::new(bytes);
        let version = read_version(&mut fields)?;
        let len = fields.u16()?;
        let known = version <= Version::CURRENT;
        if len < FIXED_LEN || (known && len > FIXED_LEN) {
            return Err(HelloError::FixedLength { version, len });
        }
        let mut fixed = Fields::new(fields.bytes(usize::from(len) - PREFIX_LEN)?);
        let cluster_len = fixed.u16()?;
        let count = fixed.u16()?;
        let width = fixed.u16()?;
        let mut hello = Self {
            version,
            incarnation: Incarnation(fixed.u64()?),
            placement: fixed.u64()?,
            node: NodeId(fixed.u16()?),
            shards: fixed.u16()?,
            from_shard: ShardId(fixed.u16()?),
            to_shard: ShardId(fixed.u16()?),
            link: fixed.u64()?,
            resumes: Incarnation(fixed.u64()?),
            taken_in: fixed.u64()?,
            cluster: read_name(fields.bytes(cluster_len.into())?, Self::MAX_CLUSTER_LEN)
                .map_err(|reason| HelloError::ClusterName { reason })?
                .to_owned(),
            kinds: Vec::new(),
        };
        hello.check_shards()?;
        if known && width > ENTRY_LEN {
            return Err(HelloError::FixedLength {
                version,
                len: width,
            });
        }
        hello.kinds = read_entries(&mut fields, count, width)?;
        match fields.len() {
            len if len > 0 && known => Err(HelloError::Trailing { version, len }),
            _ => Ok(hello),
        }
    }

    fn check_shards(&self) -> Result<(), HelloError> {
        if self.from_shard.0 < self.shards {
            return Ok(());
        }
        Err(HelloError::Shards {
            from: self.from_shard,
            shards: self.shards,
        })
    }
}

impl From<Truncated> for HelloError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The part that hellos of all versions have in common.
fn read_version(fields: &mut Fields<'_>) -> Result<Version, HelloError> {
    if fields.array()? != Hello::MAGIC {
        return Err(HelloError::Magic);
    }
    let version = Version {
        major: fields.u16()?,
        minor: fields.u16()?,
    };
    if version.is_compatible(Version::CURRENT) {
        Ok(version)
    } else {
        Err(HelloError::Version { theirs: version })
    }
}

/// Magic, version and the length of the fixed part: what the length says is behind it.
const PREFIX_LEN: usize = 10;

/// The fixed part of version 1.0 in bytes, from the magic to the name of the cluster.
const FIXED_LEN: u16 = 64;

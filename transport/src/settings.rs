//! Everything that the endpoints of one node have in common: who the node is, what it demands of
//! peers, and the keys and QUIC parameters that follow from that.
//!
//! Settings are made once per start of a node and shared by its shards. The token key is shared,
//! because a dialler may come back to another shard; the reset key survives restarts.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use quinn_proto::{
    ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, NoneTokenLog, NoneTokenStore,
    ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
};
use ring::{hkdf, hmac};
use teff_wire::{HashGrain, Hello, Incarnation, Key, KindId, KindOffer, NodeId, ShardId, Version};

use crate::{
    identity::Identity,
    limits::{
        INCOMING_BUFFER, INCOMING_BUFFER_TOTAL, LARGE_STREAMS, LOOPBACK_DATAGRAM, Limits,
        MAX_INCOMING,
    },
    name::ClusterName,
    steering::{ShardCids, first_cid},
    tls::{CipherSuite, Tls},
};

/// What a node says of itself in every hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Who it is. Its certificate has to say the same.
    pub node: NodeId,
    /// Which start of the node this is; drawn at random.
    pub incarnation: Incarnation,
    /// How many shards it has, at least one.
    pub shards: u16,
    /// Digest of the members and the placement key: peers must have the same.
    pub placement: u64,
}

type IsMember = dyn Fn(NodeId) -> bool + Send + Sync;

/// The settings of a node, for all of its endpoints.
pub struct Settings {
    local: LocalNode,
    kinds: Vec<KindOffer>,
    is_member: Box<IsMember>,
    limits: Limits,
    version: Version,
    hash: HashGrain,
    tls: Tls,
    reset_key: Arc<hmac::Key>,
    token_key: Arc<hkdf::Prk>,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A node has at least one shard.
    #[error("a node needs at least one shard")]
    NoShards,
    /// TLS does not accept the certificates or the key.
    #[error("TLS does not accept the identity: {cause}")]
    Tls {
        /// What TLS says.
        cause: String,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers: {cause}")]
    Random {
        /// What it says.
        cause: String,
    },
    /// A limit does not fit the others.
    #[error("the limit {name} has to be {rule}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// The list of kinds breaks the rules of the protocol.
    #[error("the kinds cannot be offered: {cause}")]
    Kinds {
        /// Which rule.
        cause: String,
    },
}

impl Settings {
    /// Settings of `local` with the default limits and no kinds.
    ///
    /// A node that `is_member` does not accept gets no link, whatever its certificate says. It is
    /// asked once per link and should answer at once; whether a node may have links with itself
    /// is up to it.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when there are no shards, TLS does not accept `identity`, or there are no
    /// random numbers to be had. Whether the identity fits the node is left to
    /// [`Identity::check`].
    pub fn new(
        local: LocalNode,
        identity: &Identity,
        is_member: impl Fn(NodeId) -> bool + Send + Sync + 'static,
    ) -> Result<Self, SettingsError> {
        if local.shards == 0 {
            return Err(SettingsError::NoShards);
        }
        let tls = Tls::new(identity, &CipherSuite::DEFAULT)
            .map_err(|cause| SettingsError::Tls { cause })?;
        let mut root = [0; 32];
        getrandom::fill(&mut root).map_err(|error| SettingsError::Random {
            cause: error.to_string(),
        })?;
        Ok(Self {
            local,
            kinds: Vec::new(),
            is_member: Box::new(is_member),
            limits: Limits::default(),
            version: Version::CURRENT,
            hash: Arc::new(|_, _| 0),
            tls,
            reset_key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &identity.reset_key())),
            token_key: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&root)),
        })
    }

    /// The same settings with the kinds to offer from the start.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Kinds`] for more kinds or longer names than a hello can carry, or one kind
    /// twice.
    pub fn with_kinds(mut self, kinds: Vec<KindOffer>) -> Result<Self, SettingsError> {
        check_kinds(&kinds).map_err(|cause| SettingsError::Kinds { cause })?;
        self.kinds = kinds;
        Ok(self)
    }

    /// The same settings with other cipher suites, the preferred one first. `identity` is the one
    /// that the settings were made with.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Tls`] when there is none.
    pub fn with_cipher_suites(
        mut self,
        identity: &Identity,
        suites: &[CipherSuite],
    ) -> Result<Self, SettingsError> {
        self.tls = Tls::new(identity, suites).map_err(|cause| SettingsError::Tls { cause })?;
        Ok(self)
    }

    /// The same settings with other limits.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Limit`] names the first limit that does not fit the others.
    pub fn with_limits(mut self, limits: Limits) -> Result<Self, SettingsError> {
        if let Some((name, rule)) = limits.problems().first().copied() {
            return Err(SettingsError::Limit { name, rule });
        }
        self.limits = limits;
        Ok(self)
    }

    /// The same settings with what is to be noted beside each grain that a peer names: its
    /// placement hash, so that it need not be made for every message. Default: 0.
    pub fn with_hash(mut self, hash: HashGrain) -> Self {
        self.hash = hash;
        self
    }

    pub(crate) fn hash(&self) -> HashGrain {
        Arc::clone(&self.hash)
    }

    pub(crate) fn hash_of(&self, kind: KindId, key: &Key) -> u64 {
        (self.hash)(kind, key)
    }

    /// The same settings with another protocol version in the hello, to test that peers refuse it.
    #[doc(hidden)]
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// What the node says of itself.
    pub fn local(&self) -> &LocalNode {
        &self.local
    }

    /// The kinds offered from the start.
    pub fn kinds(&self) -> &[KindOffer] {
        &self.kinds
    }

    /// The limits of the node's links.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        (self.is_member)(node)
    }

    /// The hello from one of this node's shards to a shard of a peer, for a link that begins.
    pub(crate) fn hello(&self, from: ShardId, to: ShardId, kinds: &[KindOffer]) -> Hello {
        Hello {
            version: self.version,
            cluster: self.local.cluster.as_str().to_owned(),
            node: self.local.node,
            incarnation: self.local.incarnation,
            shards: self.local.shards,
            from_shard: from,
            to_shard: to,
            placement: self.local.placement,
            link: 0,
            resumes: Incarnation(0),
            taken_in: 0,
            kinds: kinds.to_vec(),
        }
    }

    /// The QUIC configuration of the endpoint of one shard.
    pub(crate) fn endpoint(&self, shard: ShardId) -> EndpointConfig {
        let shards = self.local.shards;
        let mut config = EndpointConfig::new(Arc::clone(&self.reset_key) as _);
        config
            .cid_generator(move || Box::new(ShardCids::new(shard, shards)))
            .supported_versions(vec![QUIC_VERSION])
            // Noise with the wrong fixed bit is dropped at its first byte.
            .grease_quic_bit(false)
            .min_reset_interval(RESET_INTERVAL);
        config
            .max_udp_payload_size(MAX_UDP_PAYLOAD)
            .expect("the largest payload of UDP is within QUIC's range");
        config
    }

    /// The QUIC configuration of connections that peers dial.
    pub(crate) fn server(&self) -> ByPath<ServerConfig> {
        // The dialler opens the one stream of a link.
        self.by_path(1, |transport| {
            let mut config = ServerConfig::new(
                Arc::clone(&self.tls.server) as _,
                Arc::clone(&self.token_key) as _,
            );
            let mut tokens = ValidationTokenConfig::default();
            tokens.sent(0).log(Arc::new(NoneTokenLog));
            config
                .transport_config(Arc::new(transport))
                .validation_token_config(tokens)
                .migration(false)
                .max_incoming(MAX_INCOMING)
                .incoming_buffer_size(INCOMING_BUFFER)
                .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
            config
        })
    }

    /// The QUIC parameters of connections that this node dials.
    pub(crate) fn dialling(&self) -> ByPath<TransportConfig> {
        self.by_path(0, |transport| transport)
    }

    /// The QUIC configuration of one connection that this node dials.
    pub(crate) fn client(&self, shard: ShardId, transport: &Arc<TransportConfig>) -> ClientConfig {
        let mut config = ClientConfig::new(Arc::clone(&self.tls.client) as _);
        config
            .transport_config(Arc::clone(transport))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || first_cid(shard)))
            .version(QUIC_VERSION);
        config
    }

    fn by_path<T>(&self, peer_opens: u32, make: impl Fn(TransportConfig) -> T) -> ByPath<T> {
        let make = |max_datagram| Arc::new(make(self.transport(peer_opens, max_datagram)));
        ByPath {
            network: make(self.limits.max_datagram),
            loopback: make(LOOPBACK_DATAGRAM),
        }
    }

    fn transport(&self, peer_opens: u32, max_datagram: u16) -> TransportConfig {
        let limits = &self.limits;
        let idle = IdleTimeout::try_from(limits.idle).expect("the limit is at most an hour");
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(max_datagram);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(peer_opens))
            // One for control.
            .max_concurrent_uni_streams(VarInt::from_u32(1 + LARGE_STREAMS))
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(limits.keep_alive))
            .stream_receive_window(limits.stream_window.into())
            .receive_window(limits.receive_window.into())
            .send_window(limits.send_window.into())
            .datagram_receive_buffer_size(Some(limits.lossy))
            .datagram_send_buffer_size(limits.lossy)
            .mtu_discovery_config(Some(discovery))
            .initial_rtt(INITIAL_RTT)
            .ack_frequency_config(limits.acks.map(|acks| acks.config()))
            .congestion_controller_factory(limits.congestion.factory(max_datagram))
            .allow_spin(false);
        config
    }
}

/// One value for peers elsewhere and one for peers on this machine.
#[derive(Debug)]
pub(crate) struct ByPath<T> {
    pub(crate) network: Arc<T>,
    pub(crate) loopback: Arc<T>,
}

impl<T> ByPath<T> {
    /// The value for a peer at this address.
    pub(crate) fn to(&self, address: SocketAddr) -> &Arc<T> {
        if address.ip().to_canonical().is_loopback() {
            &self.loopback
        } else {
            &self.network
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("local", &self.local)
            .field("kinds", &self.kinds.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The round trip that is assumed until one was measured. A first packet that is lost is sent again
/// after three of these; within a data centre even a tenth would do.
const INITIAL_RTT: Duration = Duration::from_millis(20);

/// What can be received: whatever UDP can carry. What is sent is bounded by `max_datagram`.
const MAX_UDP_PAYLOAD: u16 = 65_527;

/// How often a packet of an unknown connection is answered at most. After a restart every link of
/// the old process wants an answer; at less than 100 bytes each, 1000 per second are no burden.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// QUIC version 1, RFC 9000. Others are answered with it.
const QUIC_VERSION: u32 = 1;

/// Whether a hello and a kinds frame can carry these kinds; if not, why.
pub(crate) fn check_kinds(kinds: &[KindOffer]) -> Result<(), String> {
    teff_wire::encode_kinds(kinds, &mut rkyv::util::AlignedVec::new())
        .map_err(|error| error.to_string())
}

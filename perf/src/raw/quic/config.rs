//! The settings of Teff's links on one machine, as far as they matter to speed: the same cipher
//! suite, certificates at both ends, the same windows, datagrams of 16 KiB.
//!
//! Two things differ, for the limit's good. Datagrams have their full size from the first on, and
//! no loss makes them smaller. And a silent peer is waited for, because while Teff is measured
//! nobody drives this connection.

use std::sync::Arc;

use anyhow::Context as _;
use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{ClientConfig, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use teff::Identity;

pub(super) fn client(identity: &Identity) -> anyhow::Result<ClientConfig> {
    let tls = rustls::ClientConfig::builder_with_provider(suites())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(identity.chain().to_vec(), identity.key())?;
    let crypto = QuicClientConfig::try_from(tls).context("no cipher suite fits QUIC")?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

pub(super) fn server(identity: &Identity) -> anyhow::Result<ServerConfig> {
    let roots = Arc::new(roots(identity)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, suites()).build()?;
    let tls = rustls::ServerConfig::builder_with_provider(suites())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain().to_vec(), identity.key())?;
    let crypto = QuicServerConfig::try_from(tls).context("no cipher suite fits QUIC")?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    config.migration(false);
    Ok(config)
}

fn roots(identity: &Identity) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in identity.authorities() {
        roots.add(authority.clone())?;
    }
    Ok(roots)
}

fn suites() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..provider::default_provider()
    })
}

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    // The default is less than one such datagram, which could then never leave.
    let mut congestion = CubicConfig::default();
    congestion.initial_window(10 * u64::from(DATAGRAM));
    config
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_idle_timeout(None)
        .stream_receive_window(VarInt::from_u32(4 * MIB))
        .receive_window(VarInt::from_u32(16 * MIB))
        .send_window(8 * u64::from(MIB))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .initial_mtu(DATAGRAM)
        .min_mtu(DATAGRAM)
        .mtu_discovery_config(None)
        .allow_spin(false);
    config
}

const MIB: u32 = 1024 * 1024;

/// As links have it between nodes on one machine.
const DATAGRAM: u16 = 16 * 1024;

//! How two nodes prove to each other who they are.
//!
//! TLS 1.3 only, certificates on both sides, checked against the own authorities and nothing
//! else. No session tickets, no resumption, no early data: a resumed session would skip the
//! certificates, and early data can be replayed. The crypto provider is passed in explicitly, so
//! that another crate's choice of a process-wide default cannot change what runs here.

use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, Tls13CipherSuite,
    client::Resumption,
    crypto::{CryptoProvider, ring as provider},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
    version::TLS13,
};

use crate::identity::Identity;

/// A TLS 1.3 cipher suite that links may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// AES-128-GCM with SHA-256.
    Aes128Gcm,
    /// ChaCha20-Poly1305 with SHA-256.
    ChaCha20Poly1305,
    /// AES-256-GCM with SHA-384.
    Aes256Gcm,
}

impl CipherSuite {
    /// What links use unless told otherwise: AES-128-GCM first (any CPU worth a cluster has the
    /// instructions), and ChaCha20 for those that have not.
    pub const DEFAULT: [Self; 2] = [Self::Aes128Gcm, Self::ChaCha20Poly1305];

    fn suite(self) -> SupportedCipherSuite {
        match self {
            Self::Aes128Gcm => provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            Self::ChaCha20Poly1305 => provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            Self::Aes256Gcm => provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
        }
    }
}

/// What the two ends of a connection agree to speak: Teff links.
pub const ALPN: &[u8] = b"teff/1";

/// The TLS configurations of a node, for both directions.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) client: Arc<QuicClientConfig>,
    pub(crate) server: Arc<QuicServerConfig>,
}

impl Tls {
    /// # Errors
    ///
    /// What rustls says, when it does not accept the identity.
    pub(crate) fn new(identity: &Identity, suites: &[CipherSuite]) -> Result<Self, String> {
        let provider = provider(suites);
        let mut roots = RootCertStore::empty();
        for authority in identity.authorities() {
            roots
                .add(authority.clone())
                .map_err(|error| error.to_string())?;
        }
        let roots = Arc::new(roots);
        let client = client(identity, &provider, &roots)?;
        let server = server(identity, &provider, &roots)?;
        // The first packets of a connection are protected by a suite that QUIC prescribes,
        // whatever is permitted afterwards.
        let initial = provider::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
        let initial = initial.and_then(Tls13CipherSuite::quic_suite);
        let initial = initial.ok_or("ring has no AES-128-GCM for QUIC")?;
        let client = QuicClientConfig::with_initial(Arc::new(client), initial);
        let server = QuicServerConfig::with_initial(Arc::new(server), initial);
        Ok(Self {
            client: Arc::new(client.map_err(text)?),
            server: Arc::new(server.map_err(text)?),
        })
    }
}

fn client(
    identity: &Identity,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
) -> Result<ClientConfig, String> {
    let own = SingleCertAndKey::from(Arc::clone(identity.certified()));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(text)?
        .with_root_certificates(Arc::clone(roots))
        .with_client_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The acceptor has one certificate and needs no hint; the name would travel in the clear.
    config.enable_sni = false;
    Ok(config)
}

fn server(
    identity: &Identity,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
) -> Result<ServerConfig, String> {
    let own = SingleCertAndKey::from(Arc::clone(identity.certified()));
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(text)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(text)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// ring, with these suites only, the preferred one first.
fn provider(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.iter().map(|suite| suite.suite()).collect(),
        ..provider::default_provider()
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use teff_wire::NodeId;

    use super::*;
    use crate::authority::Authority;

    #[test]
    fn nothing_can_be_resumed_or_sent_early() {
        let authority = Authority::new().unwrap();
        let identity = authority
            .issue("test", NodeId(1))
            .unwrap()
            .identity(&authority);
        let mut roots = RootCertStore::empty();
        roots.add(identity.authorities()[0].clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = provider(&CipherSuite::DEFAULT);
        let client = client(&identity, &provider, &roots).unwrap();
        assert!(!client.enable_early_data);
        assert!(!client.enable_sni);
        let server = server(&identity, &provider, &roots).unwrap();
        assert_eq!(server.send_tls13_tickets, 0);
        assert_eq!(server.max_early_data_size, 0);
        assert!(!server.session_storage.can_cache());
        assert!(!server.ticketer.enabled());
    }
}

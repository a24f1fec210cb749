//! What a node shows to its peers and what it trusts: certificates, a key, a shared secret.
//!
//! An [`Identity`] that exists can be used for TLS: its certificate parses, its key signs and the
//! two belong together. Whether it fits a node and a moment in time is what
//! [`Identity::check`] says. Keys and secrets never appear in `Debug` output or in errors.

use std::{fmt, path::Path, sync::Arc};

use ring::hkdf;
use rustls::{crypto, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime,
    pem::{self, PemObject},
};
use teff_wire::NodeId;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::name::{ClusterName, node_name, server_name};

/// What a node shows and trusts. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    authorities: Arc<[CertificateDer<'static>]>,
    certified: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
    secret: Option<ClusterSecret>,
}

/// 32 random bytes that every node of a cluster holds and nobody else: the root of the placement
/// key. As text it is 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster secret is 64 hexadecimal digits, this is something else ({len} bytes)")]
pub struct SecretError {
    /// Length in bytes of the refused text, without surrounding white space.
    pub len: usize,
}

/// Everything that is wrong with an identity, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the identity cannot be used: {}", list(.problems))]
pub struct IdentityError {
    /// At least one problem, in the order authority, certificate, key.
    pub problems: Vec<IdentityProblem>,
}

/// One reason why an identity cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityProblem {
    /// The file cannot be read.
    #[error("{part}: cannot read {path}: {cause}")]
    File {
        /// Which part it should have been.
        part: Part,
        /// The file.
        path: String,
        /// What the operating system says.
        cause: String,
    },
    /// A PEM section is damaged.
    #[error("{part}: the PEM text is damaged: {cause}")]
    Pem {
        /// Which part.
        part: Part,
        /// What is damaged.
        cause: String,
    },
    /// There is no PEM section of the kind looked for.
    #[error("{part}: there is no PEM section of this kind in the text")]
    Missing {
        /// Which part.
        part: Part,
    },
    /// The PEM text is intact, but what it holds cannot be used.
    #[error("{part}: cannot be used: {cause}")]
    Unusable {
        /// Which part.
        part: Part,
        /// Why.
        cause: String,
    },
    /// Certificate and key were not made together.
    #[error("the key does not belong to the certificate, take both from one `teff cert` run")]
    KeyMismatch,
    /// The certificate was signed by somebody else.
    #[error("the certificate was not issued by the authority, issue it again with its key")]
    NotIssued,
    /// The certificate is not valid at the time of the check.
    #[error("the certificate is expired or not valid yet, renew it or correct the clock")]
    NotValidNow,
    /// The certificate lacks serverAuth or clientAuth.
    #[error("the certificate must be good for both serverAuth and clientAuth")]
    Usage,
    /// The certificate is for another node or another cluster.
    #[error("the certificate does not name {expected}, issue one for this node and cluster")]
    Name {
        /// The name that the node needs.
        expected: String,
    },
}

/// The three texts an identity is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One or several CA certificates.
    Authority,
    /// The node's own certificate, then any intermediates.
    Certificate,
    /// The private key of the node's certificate.
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "authority certificate",
            Self::Certificate => "node certificate",
            Self::Key => "node key",
        })
    }
}

fn list(problems: &[IdentityProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl Identity {
    /// Reads an identity from PEM texts.
    ///
    /// `authority` holds the CA certificates to trust: one, or two while one replaces the other.
    /// `certificate` holds the node's certificate, followed by intermediates if there are any;
    /// `key` its PKCS#8, SEC1 or PKCS#1 private key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] with every problem found: damaged or missing sections, certificates or
    /// keys that cannot be used, a key that does not belong to the certificate.
    pub fn from_pem(
        authority: &[u8],
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, IdentityError> {
        let mut problems = Vec::new();
        let authorities = certificates(Part::Authority, authority, &mut problems);
        for (index, certificate) in authorities.iter().enumerate() {
            if let Err(error) = anchor_from_trusted_cert(certificate) {
                let cause = format!("certificate {} of the text: {error}", index + 1);
                problems.push(IdentityProblem::Unusable {
                    part: Part::Authority,
                    cause,
                });
            }
        }
        let chain = certificates(Part::Certificate, certificate, &mut problems);
        if let Some(Err(error)) = chain.first().map(EndEntityCert::try_from) {
            let cause = error.to_string();
            problems.push(IdentityProblem::Unusable {
                part: Part::Certificate,
                cause,
            });
        }
        let key = private_key(key, &mut problems);
        let signing = key.as_ref().and_then(|key| {
            crypto::ring::sign::any_supported_type(key)
                .map_err(|error| problems.push(unusable(Part::Key, &error)))
                .ok()
        });
        let (Some(key), Some(signing), true) = (key, signing, problems.is_empty()) else {
            return Err(IdentityError { problems });
        };
        let certified = CertifiedKey::new(chain, signing);
        if certified.keys_match().is_err() {
            return Err(IdentityError {
                problems: vec![IdentityProblem::KeyMismatch],
            });
        }
        Ok(Self {
            authorities: authorities.into(),
            certified: Arc::new(certified),
            key: Arc::new(key),
            secret: None,
        })
    }

    /// Reads an identity from three PEM files, as [`from_pem`](Self::from_pem) does from texts.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] with every file that cannot be read, or with what
    /// [`from_pem`](Self::from_pem) finds.
    pub fn from_files(
        authority: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, IdentityError> {
        let mut problems = Vec::new();
        let mut read = |part, path: &Path| {
            std::fs::read(path).unwrap_or_else(|error| {
                let (path, cause) = (path.display().to_string(), error.to_string());
                problems.push(IdentityProblem::File { part, path, cause });
                Vec::new()
            })
        };
        let authority = read(Part::Authority, authority);
        let certificate = read(Part::Certificate, certificate);
        let key = read(Part::Key, key);
        if problems.is_empty() {
            Self::from_pem(&authority, &certificate, &key)
        } else {
            Err(IdentityError { problems })
        }
    }

    /// The same identity with a cluster secret to derive the placement key from.
    pub fn with_secret(mut self, secret: impl Into<ClusterSecret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// The CA certificates that peers are checked against.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The node's own certificate, followed by any intermediates.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// A copy of the private key, for a TLS configuration made elsewhere (control plane, client).
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The key of the placement hash, the same at every node of the cluster.
    ///
    /// Derived by HKDF-SHA256 from the cluster secret, or, without one, from the first CA
    /// certificate; the cluster's name is the salt. Certificates are not secret, so a cluster
    /// whose clients choose the ids of grains should have a secret; it also must have one before
    /// its authority is replaced, because both keys would change.
    pub fn placement_key(&self, cluster: &ClusterName) -> [u8; 16] {
        let root = match &self.secret {
            Some(secret) => &secret.0[..],
            None => self.authorities[0].as_ref(),
        };
        derive(cluster.as_str().as_bytes(), root, b"teff placement key")
    }

    /// The key of stateless resets, the same after a restart of this node: so that a peer learns
    /// from the first answer of the new process that the old one is gone.
    pub(crate) fn reset_key(&self) -> [u8; 32] {
        derive(b"teff", self.key.secret_der(), b"teff stateless reset key")
    }

    /// Checks that this identity lets `node` of `cluster` talk to peers at the time `now`.
    ///
    /// Meant for start-up, so that a mistake is told there and not by every peer in turn; a link
    /// does not ask it.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the certificate was not issued by an authority of this identity, is
    /// not valid at `now`, lacks serverAuth or clientAuth, or names another node or cluster.
    pub fn check(
        &self,
        cluster: &ClusterName,
        node: NodeId,
        now: UnixTime,
    ) -> Result<(), IdentityError> {
        let certificate = EndEntityCert::try_from(&self.certified.cert[0])
            .expect("from_pem parsed this certificate");
        let anchors: Vec<TrustAnchor<'_>> = self
            .authorities
            .iter()
            .map(|ca| anchor_from_trusted_cert(ca).expect("from_pem parsed this certificate"))
            .collect();
        let mut problems = Vec::new();
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            let verified = certificate.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &self.certified.cert[1..],
                now,
                usage,
                None,
                None,
            );
            if let Err(error) = verified {
                let problem = chain_problem(&error);
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        if certificate
            .verify_is_valid_for_subject_name(&server_name(cluster, node))
            .is_err()
        {
            problems.push(IdentityProblem::Name {
                expected: node_name(cluster, node),
            });
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(IdentityError { problems })
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("authorities", &self.authorities.len())
            .field("chain", &self.certified.cert.len())
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl ClusterSecret {
    /// A secret of 32 bytes, which must be random.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits, white space around them allowed.
    ///
    /// # Errors
    ///
    /// [`SecretError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let error = SecretError { len: text.len() };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| error.clone())?;
        }
        Ok(Self(bytes))
    }

    /// The secret as 64 hexadecimal digits, for the file that every node reads.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl From<[u8; 32]> for ClusterSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

fn certificates(
    part: Part,
    text: &[u8],
    problems: &mut Vec<IdentityProblem>,
) -> Vec<CertificateDer<'static>> {
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => problems.push(IdentityProblem::Missing { part }),
        Ok(found) => return found,
        Err(error) => problems.push(pem_problem(part, &error)),
    }
    Vec::new()
}

fn private_key(text: &[u8], problems: &mut Vec<IdentityProblem>) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|error| problems.push(pem_problem(Part::Key, &error)))
        .ok()
}

fn pem_problem(part: Part, error: &pem::Error) -> IdentityProblem {
    match error {
        pem::Error::NoItemsFound => IdentityProblem::Missing { part },
        error => IdentityProblem::Pem {
            part,
            cause: error.to_string(),
        },
    }
}

fn unusable(part: Part, error: &impl fmt::Display) -> IdentityProblem {
    IdentityProblem::Unusable {
        part,
        cause: error.to_string(),
    }
}

fn chain_problem(error: &webpki::Error) -> IdentityProblem {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            IdentityProblem::NotIssued
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            IdentityProblem::NotValidNow
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => IdentityProblem::Usage,
        error => unusable(Part::Certificate, error),
    }
}

/// HKDF-SHA256, extract and expand. `N` is at most 255 * 32.
pub(crate) fn derive<const N: usize>(salt: &[u8], root: &[u8], label: &[u8]) -> [u8; N] {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut key = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(root)
        .expand(&[label], Len(N))
        .and_then(|okm| okm.fill(&mut key))
        .expect("the length is within what HKDF can expand");
    key
}

#[cfg(test)]
mod tests;

//! Makes certificate authorities and node certificates, for `teff cert`, demos and tests.
//!
//! Nodes never need this: the authority's key signs certificates and belongs on one guarded
//! machine, not on the nodes. Everything is ECDSA on P-256 with random serial numbers.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use teff_wire::NodeId;

use crate::{
    identity::{ClusterSecret, Identity, IdentityError, IdentityProblem, Part, derive},
    name::{ClusterName, ClusterNameError, node_name},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a node certificate is valid. Short enough that a stolen key ages out, long enough
/// that a quarterly renewal suffices.
pub const NODE_VALIDITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long an authority is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Clocks of nodes may lag by this much behind the one that issues.
const BACKDATED: Duration = DAY;

/// A certificate authority: what makes nodes members of a cluster that trusts it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A certificate and the key that goes with it, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The node's certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS#8). Write it with mode 0600.
    pub key_pem: String,
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The cluster. 1 to 63 of `a-z`, `0-9`, `-`.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeId,
    /// When it becomes valid. Default: a day ago.
    pub not_before: SystemTime,
    /// When it stops being valid. Default: in 90 days.
    pub not_after: SystemTime,
    /// The organisation that it names. For people only, nothing checks it. Default: none.
    pub organization: Option<String>,
}

/// Why an authority cannot be made or read, or a certificate not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The cluster's name breaks a rule.
    #[error(transparent)]
    Cluster(#[from] ClusterNameError),
    /// The text holds no CA certificate.
    #[error("the authority's certificate cannot be used: {0}")]
    Certificate(String),
    /// The text holds no P-256 key.
    #[error("the authority's key cannot be used: {0}")]
    Key(String),
    /// Certificate and key are from different authorities.
    #[error("the authority's key does not belong to its certificate")]
    KeyMismatch,
    /// The operating system has no random numbers, or signing failed.
    #[error("making the certificate failed: {0}")]
    Issue(String),
}

impl Authority {
    /// A new authority, valid for ten years.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Issue`] when there are no random numbers to be had.
    pub fn new() -> Result<Self, AuthorityError> {
        Self::of_organization(None)
    }

    /// A new authority, valid for ten years, that names the organisation it belongs to.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn of_organization(organization: Option<&str>) -> Result<Self, AuthorityError> {
        let key = key_pair()?;
        let mut params = params(
            SystemTime::now() - BACKDATED,
            SystemTime::now() + AUTHORITY_VALIDITY,
        )?;
        // A name of its own, so that a certificate of another authority is told apart by name
        // ("unknown issuer") and not by a signature that does not fit.
        let label = random::<4>()?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Teff authority {label}"));
        name_organization(&mut params, organization);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(issue)?;
        let certificate_pem = certificate.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
        })
    }

    /// An authority that was made before, from its two PEM texts.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] when a text cannot be used or the two do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        // A certificate of its own key is what an identity checks.
        let pair = Identity::from_pem(
            certificate.as_bytes(),
            certificate.as_bytes(),
            key.as_bytes(),
        )
        .map_err(AuthorityError::from)?;
        let der = &pair.authorities()[0];
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(der, key)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        Ok(Self {
            issuer,
            certificate_pem: certificate.to_owned(),
        })
    }

    /// A certificate and key for a node, valid from a day ago for 90 days.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Cluster`] when the cluster's name breaks a rule.
    pub fn issue(&self, cluster: &str, node: NodeId) -> Result<Issued, AuthorityError> {
        self.issue_with(&Request::new(ClusterName::new(cluster)?, node))
    }

    /// A certificate and key as requested: an ECDSA P-256 key, one DNS name, good for serverAuth
    /// and clientAuth.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Issue`] when there are no random numbers to be had.
    pub fn issue_with(&self, request: &Request) -> Result<Issued, AuthorityError> {
        let key = key_pair()?;
        let mut params = params(request.not_before, request.not_after)?;
        let name = node_name(&request.cluster, request.node);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Teff node {}", request.node));
        name_organization(&mut params, request.organization.as_deref());
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().map_err(issue)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// The authority's certificate: every node trusts it. Not secret.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key (PKCS#8): who has it can join the cluster as any node. Write it with
    /// mode 0600 and keep it off the nodes.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The cluster secret of this authority, derived from its key: the same every time it is
    /// asked for, and of no use for finding the key.
    pub fn secret(&self) -> ClusterSecret {
        ClusterSecret::new(derive(
            b"teff",
            self.issuer.key().serialized_der(),
            b"teff cluster secret",
        ))
    }
}

impl Issued {
    /// The identity of the node: this certificate and key, `authority` trusted, its secret held.
    pub fn identity(&self, authority: &Authority) -> Identity {
        Identity::from_pem(
            authority.certificate_pem.as_bytes(),
            self.certificate_pem.as_bytes(),
            self.key_pem.as_bytes(),
        )
        .expect("an authority makes certificates and keys that can be read")
        .with_secret(authority.secret())
    }
}

impl Request {
    /// A request for the default validity: from a day ago, for 90 days from now.
    pub fn new(cluster: ClusterName, node: NodeId) -> Self {
        let now = SystemTime::now();
        Self {
            cluster,
            node,
            not_before: now - BACKDATED,
            not_after: now + NODE_VALIDITY,
            organization: None,
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

fn key_pair() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue)
}

fn params(
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let mut serial = random::<16>()?;
    // Positive and of full length, as X.509 wants it.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn name_organization(params: &mut CertificateParams, organization: Option<&str>) {
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
}

fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(issue)?;
    Ok(bytes)
}

impl From<IdentityError> for AuthorityError {
    fn from(error: IdentityError) -> Self {
        let problem = error.problems.first();
        match problem {
            Some(IdentityProblem::KeyMismatch) => Self::KeyMismatch,
            Some(
                IdentityProblem::Missing { part: Part::Key }
                | IdentityProblem::Pem {
                    part: Part::Key, ..
                }
                | IdentityProblem::Unusable {
                    part: Part::Key, ..
                },
            ) => Self::Key(error.to_string()),
            _ => Self::Certificate(error.to_string()),
        }
    }
}

fn issue(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Issue(error.to_string())
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::UnixTime;

    use super::*;

    fn cluster() -> ClusterName {
        ClusterName::new("test").unwrap()
    }

    #[test]
    fn an_issued_certificate_makes_a_valid_identity() {
        let authority = Authority::new().unwrap();
        let issued = authority.issue("test", NodeId(7)).unwrap();
        issued
            .identity(&authority)
            .check(&cluster(), NodeId(7), UnixTime::now())
            .unwrap();
    }

    #[test]
    fn an_authority_survives_the_way_through_its_files() {
        let authority = Authority::new().unwrap();
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
        assert_eq!(again.secret(), authority.secret());
        let identity = again.issue("test", NodeId(1)).unwrap().identity(&authority);
        identity
            .check(&cluster(), NodeId(1), UnixTime::now())
            .unwrap();
    }

    #[test]
    fn two_authorities_have_different_secrets() {
        assert_ne!(
            Authority::new().unwrap().secret(),
            Authority::new().unwrap().secret()
        );
    }

    #[test]
    fn texts_that_do_not_belong_together_are_refused() {
        let (one, other) = (Authority::new().unwrap(), Authority::new().unwrap());
        let mixed = Authority::from_pem(one.certificate_pem(), &other.key_pem());
        assert_eq!(mixed.unwrap_err(), AuthorityError::KeyMismatch);
        let no_key = Authority::from_pem(one.certificate_pem(), one.certificate_pem());
        assert!(matches!(no_key.unwrap_err(), AuthorityError::Key(_)));
        let empty = Authority::from_pem("", &one.key_pem());
        assert!(matches!(empty.unwrap_err(), AuthorityError::Certificate(_)));
    }

    #[test]
    fn a_bad_cluster_name_is_refused_before_anything_is_signed() {
        let error = Authority::new()
            .unwrap()
            .issue("Test", NodeId(1))
            .unwrap_err();
        assert!(matches!(error, AuthorityError::Cluster(_)));
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let authority = Authority::new().unwrap();
        let issued = authority.issue("test", NodeId(1)).unwrap();
        for text in [
            format!("{authority:?}"),
            format!("{issued:?}"),
            format!("{:?}", authority.secret()),
        ] {
            assert!(!text.contains("PRIVATE"), "{text}");
            assert!(!text.contains(&authority.secret().to_hex()), "{text}");
        }
    }
}

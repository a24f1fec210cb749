//! What the errors of QUIC and TLS mean for a link.
//!
//! TLS says why a certificate is refused by an alert, which reaches both parties; so both learn
//! the same cause.

use quinn_proto::{ConnectionError, TransportErrorCode};
use teff_wire::CloseCode;

use super::{LinkError, Party, Refusal};

/// What was known about a link when its connection was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Whether this end dialled.
    pub(crate) dialled: bool,
    /// Whether anything was ever received from the peer.
    pub(crate) heard: bool,
}

/// Why the link ended, and what more a log should say about it.
pub(crate) fn lost(error: &ConnectionError, about: Circumstances) -> (LinkError, String) {
    match error {
        ConnectionError::VersionMismatch => {
            let refusal = Refusal::NotTeff;
            (
                LinkError::Refused {
                    by: Party::Here,
                    refusal,
                },
                error.to_string(),
            )
        }
        ConnectionError::TransportError(error) => {
            let detail = error.to_string();
            (transport(error.code, &detail, Party::Here, about), detail)
        }
        ConnectionError::ConnectionClosed(close) => {
            let detail = close.to_string();
            (
                transport(close.error_code, &detail, Party::Peer, about),
                detail,
            )
        }
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            (application(close.error_code.into_inner()), reason)
        }
        ConnectionError::Reset => (LinkError::Reset, String::new()),
        ConnectionError::TimedOut if about.heard => (LinkError::TimedOut, String::new()),
        ConnectionError::TimedOut => (LinkError::Unreachable, String::new()),
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            let cause = error.to_string();
            (
                LinkError::Quic {
                    by: Party::Here,
                    cause,
                },
                String::new(),
            )
        }
    }
}

fn transport(code: TransportErrorCode, detail: &str, by: Party, about: Circumstances) -> LinkError {
    if code == TransportErrorCode::CONNECTION_REFUSED {
        return LinkError::Refused {
            by,
            refusal: Refusal::Busy,
        };
    }
    // The TLS alert is the low byte of codes from 0x100.
    let alert = u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok());
    let checked_by_dialler = (by == Party::Here) == about.dialled;
    match alert.and_then(|alert| refusal_of_alert(alert, checked_by_dialler)) {
        Some(refusal) => LinkError::Refused { by, refusal },
        None => LinkError::Quic {
            by,
            cause: detail.to_owned(),
        },
    }
}

/// What a TLS alert (RFC 8446, 6.2) says about the certificate or the peer.
fn refusal_of_alert(alert: u8, checked_by_dialler: bool) -> Option<Refusal> {
    Some(match alert {
        // handshake_failure
        40 => Refusal::CipherSuites,
        // protocol_version, no_application_protocol
        70 | 120 => Refusal::NotTeff,
        // bad_certificate: only the dialler checks the name, and its own authority does not issue
        // certificates that cannot be parsed.
        42 if checked_by_dialler => Refusal::WrongName,
        // bad_certificate, unsupported_certificate, certificate_revoked, certificate_unknown
        42 | 43 | 44 | 46 => Refusal::BadCertificate,
        // certificate_expired
        45 => Refusal::CertificateExpired,
        // unknown_ca; decrypt_error: the authority has the right name and another key
        48 | 51 => Refusal::WrongAuthority,
        // certificate_required
        116 => Refusal::NoCertificate,
        _ => return None,
    })
}

fn application(code: u64) -> LinkError {
    let known = u32::try_from(code).ok().and_then(CloseCode::from_u32);
    match known.map(|code| (code, Refusal::of_code(code))) {
        Some((CloseCode::Restarted, _)) => LinkError::TargetDied,
        Some((_, Some(refusal))) => LinkError::Refused {
            by: Party::Peer,
            refusal,
        },
        Some((code, None)) => LinkError::Closed {
            by: Party::Peer,
            code,
        },
        None => LinkError::UnknownCode { code },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quinn_proto::{ApplicationClose, TransportError, VarInt};

    use super::*;

    const DIALLED: Circumstances = Circumstances {
        dialled: true,
        heard: true,
    };
    const ACCEPTED: Circumstances = Circumstances {
        dialled: false,
        heard: true,
    };

    fn alert(alert: u8, about: Circumstances) -> LinkError {
        let code = TransportErrorCode::crypto(alert);
        let error = TransportError {
            code,
            frame: None,
            reason: String::new(),
        };
        lost(&ConnectionError::TransportError(error), about).0
    }

    #[test]
    fn only_the_dialler_checks_the_name() {
        let refused = |refusal| LinkError::Refused {
            by: Party::Here,
            refusal,
        };
        assert_eq!(alert(42, DIALLED), refused(Refusal::WrongName));
        assert_eq!(alert(42, ACCEPTED), refused(Refusal::BadCertificate));
        assert!(matches!(
            alert(80, DIALLED),
            LinkError::Quic {
                by: Party::Here,
                ..
            }
        ));
    }

    #[test]
    fn silence_from_the_start_is_another_error_than_silence_later() {
        let silent = Circumstances {
            dialled: true,
            heard: false,
        };
        assert_eq!(
            lost(&ConnectionError::TimedOut, silent).0,
            LinkError::Unreachable
        );
        assert_eq!(
            lost(&ConnectionError::TimedOut, DIALLED).0,
            LinkError::TimedOut
        );
    }

    #[test]
    fn a_close_of_the_peer_is_what_its_code_says() {
        let close = |code| {
            let error_code = VarInt::from_u32(code);
            let close = ApplicationClose {
                error_code,
                reason: Bytes::from_static(b"because"),
            };
            lost(&ConnectionError::ApplicationClosed(close), DIALLED)
        };
        let shutdown = LinkError::Closed {
            by: Party::Peer,
            code: CloseCode::Shutdown,
        };
        assert_eq!(close(0), (shutdown, "because".to_owned()));
        let placement = LinkError::Refused {
            by: Party::Peer,
            refusal: Refusal::Placement,
        };
        assert_eq!(close(0x14).0, placement);
        assert_eq!(close(999).0, LinkError::UnknownCode { code: 999 });
    }
}

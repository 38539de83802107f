//! Which certificates are trusted, and what a server showed that was not.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::probe::TlsFault;
use crate::probe::answer::shown;

/// Certificates to be trusted are not as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCertificates(String);

/// The certificates in a PEM text.
///
/// # Errors
/// When there is none, or one that cannot be read.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCertificates> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| BadCertificates(format!("a certificate cannot be read: {error}")))?;
    if found.is_empty() {
        return Err(BadCertificates("there is no certificate in PEM form in it".to_owned()));
    }
    Ok(found)
}

/// What a server showed of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    issuer: String,
    self_signed: bool,
    alone: bool,
    expires_s: Option<i64>,
}

/// The certificate that was shown last, whether it was trusted or not.
#[derive(Clone, Debug, Default)]
pub(super) struct LastShown(Arc<Mutex<Option<Shown>>>);

impl LastShown {
    fn keep(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }

    fn get(&self) -> Option<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the certificate expires, in seconds since 1970-01-01T00:00:00Z.
    pub(super) fn expires_s(&self) -> Option<i64> {
        self.get()?.expires_s
    }

    /// What a failed handshake means, of a server that showed this.
    pub(super) fn fault(&self, error: &Error) -> TlsFault {
        fault(error, self.get().as_ref())
    }
}

/// How TLS is spoken: Mozilla's roots and the given ones, TLS 1.2 and 1.3.
///
/// # Errors
/// When a given certificate cannot be an authority.
pub(super) fn client_config(
    more: &[CertificateDer<'static>],
    last: &LastShown,
) -> Result<ClientConfig, BadCertificates> {
    let wrong = |error: String| BadCertificates(format!("a certificate cannot be trusted: {error}"));
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in more {
        roots.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let verifier = Watching { inner, last: last.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Verifies as webpki does, and keeps what was shown: the reason of a refusal alone does not tell a chain that is
/// incomplete from an issuer that nobody knows.
#[derive(Debug)]
struct Watching {
    inner: Arc<WebPkiServerVerifier>,
    last: LastShown,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.last.keep(look(end_entity, intermediates.len()));
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn look(end_entity: &CertificateDer<'_>, intermediates: usize) -> Shown {
    let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else { return Shown::default() };
    Shown {
        issuer: shown(&certificate.issuer().to_string()),
        self_signed: certificate.issuer() == certificate.subject(),
        alone: intermediates == 0,
        expires_s: Some(certificate.validity().not_after.timestamp()),
    }
}

fn fault(error: &Error, shown: Option<&Shown>) -> TlsFault {
    let other = || TlsFault::Handshake { text: error.to_string() };
    let Error::InvalidCertificate(reason) = error else {
        return match error {
            Error::InvalidMessage(_) => TlsFault::NoTls,
            _ => other(),
        };
    };
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            TlsFault::Expired { at_s: shown.and_then(|shown| shown.expires_s) }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotValidYet,
        CertificateError::NotValidForName => TlsFault::WrongName { names: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsFault::WrongName { names: presented.iter().map(|name| plain_name(name)).collect() }
        }
        CertificateError::UnknownIssuer => unknown_issuer(shown),
        // A self-signed certificate that may itself sign others is refused with this reason.
        CertificateError::Other(OtherError(_)) if shown.is_some_and(|shown| shown.self_signed) => {
            TlsFault::SelfSigned
        }
        _ => other(),
    }
}

fn unknown_issuer(shown: Option<&Shown>) -> TlsFault {
    match shown {
        Some(shown) if shown.self_signed => TlsFault::SelfSigned,
        Some(shown) if shown.alone => TlsFault::IncompleteChain { issuer: shown.issuer.clone() },
        Some(shown) => TlsFault::UnknownIssuer { issuer: shown.issuer.clone() },
        None => TlsFault::UnknownIssuer { issuer: String::new() },
    }
}

/// `DnsName("a.example.com")`, as rustls gives it, without what is around it.
fn plain_name(name: &str) -> String {
    match (name.find('"'), name.rfind('"')) {
        (Some(start), Some(end)) if start < end => name[start + 1..end].to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reason: CertificateError, shown: Option<&Shown>) -> TlsFault {
        fault(&Error::InvalidCertificate(reason), shown)
    }

    #[test]
    fn an_issuer_that_nobody_knows_is_told_from_a_chain_that_is_incomplete() {
        let issuer = "CN=R3".to_owned();
        let shown =
            |self_signed, alone| Shown { issuer: issuer.clone(), self_signed, alone, expires_s: None };
        let unknown = |shown: &Shown| told(CertificateError::UnknownIssuer, Some(shown));
        assert_eq!(unknown(&shown(true, true)), TlsFault::SelfSigned);
        assert_eq!(unknown(&shown(false, true)), TlsFault::IncompleteChain { issuer: issuer.clone() });
        assert_eq!(unknown(&shown(false, false)), TlsFault::UnknownIssuer { issuer: issuer.clone() });
    }

    #[test]
    fn names_and_times_are_told() {
        let shown = Shown { expires_s: Some(7), ..Shown::default() };
        assert_eq!(told(CertificateError::Expired, Some(&shown)), TlsFault::Expired { at_s: Some(7) });
        assert_eq!(plain_name("DnsName(\"a.example.com\")"), "a.example.com");
        assert_eq!(plain_name("a"), "a");
    }

    #[test]
    fn a_text_without_certificates_is_no_authority() {
        assert!(authorities(b"").is_err());
        assert!(authorities(b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").is_err());
    }
}

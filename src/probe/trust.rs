//! Which certificates are trusted, and what a server showed that was not.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
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
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| not_trusted(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(more, last)?))
        .with_no_client_auth();
    Ok(config)
}

fn verifier(more: &[CertificateDer<'static>], last: &LastShown) -> Result<Watching, BadCertificates> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in more {
        roots.add(certificate.clone()).map_err(|error| not_trusted(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| not_trusted(&error))?;
    Ok(Watching { inner, named: more.to_vec(), last: last.clone() })
}

fn not_trusted(error: &dyn std::fmt::Display) -> BadCertificates {
    BadCertificates(format!("a certificate cannot be trusted: {error}"))
}

/// Verifies as webpki does, and keeps what was shown: the reason of a refusal alone does not tell a chain that is
/// incomplete from an issuer that nobody knows.
#[derive(Debug)]
struct Watching {
    inner: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
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
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // As `openssl req -x509` makes it: self-signed, and one that may itself sign others. webpki takes none of
            // those from a server, though it is the very one that is to be trusted.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.named.contains(end_entity) => {
                by_itself(end_entity, server_name, now)
            }
            verified => verified,
        }
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

/// Verifies a certificate that is trusted by itself: its name and its time.
fn by_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now_s < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now_s > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    Ok(ServerCertVerified::assertion())
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

    /// A self-signed certificate of `localhost` that may sign others, as `openssl req -x509` makes it.
    fn self_signed(until_year: i32) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verified(shown: &CertificateDer<'_>, named: &[CertificateDer<'static>], host: &'static str) -> String {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let verifier = verifier(named, &LastShown::default()).unwrap();
        let host = ServerName::try_from(host).unwrap();
        match verifier.verify_server_cert(shown, &[], &host, &[], now) {
            Ok(_) => "trusted".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_self_signed_certificate_is_trusted_when_it_is_named_and_right_in_name_and_time() {
        let (own, other, expired) = (self_signed(4000), self_signed(4000), self_signed(2020));
        assert_eq!(verified(&own, std::slice::from_ref(&own), "localhost"), "trusted");
        assert_ne!(verified(&own, &[], "localhost"), "trusted");
        assert_ne!(verified(&own, &[other], "localhost"), "trusted");
        let told = verified(&own, std::slice::from_ref(&own), "example.com");
        assert!(told.contains("not valid for name"), "{told}");
        let told = verified(&expired, std::slice::from_ref(&expired), "localhost");
        assert!(told.contains("expired"), "{told}");
    }
}

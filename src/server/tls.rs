//! What a handshake is answered with: the certificate in force, and what an ACME server is shown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::config::TlsVersion;
use crate::server::certificate::Certificate;

/// HTTP/2 (RFC 9113 §3.2).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301 §6).
const HTTP_1_1: &[u8] = b"http/1.1";
/// The handshake of an ACME server that looks whether a name is ours (RFC 8737 §4).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificate in force, shared by every connection and by what keeps it up to date.
#[derive(Default)]
pub(super) struct Presented {
    certificate: ArcSwapOption<CertifiedKey>,
    /// When it ends, in milliseconds since 1970-01-01T00:00:00Z; 0 while there is none.
    not_after_ms: AtomicI64,
    /// By name: what proves to an ACME server that the name is ours.
    alpn_proofs: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// By token: the same over plain HTTP.
    http_proofs: Mutex<HashMap<String, String>>,
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("certificate", &self.certificate.load().is_some()).finish()
    }
}

impl Presented {
    /// Serves this certificate from the next handshake on.
    pub(super) fn put(&self, certificate: &Certificate) {
        self.certificate.store(Some(Arc::clone(&certificate.key)));
        self.not_after_ms.store(certificate.not_after_ms, Ordering::Relaxed);
    }

    /// When the certificate in force ends, in milliseconds since 1970-01-01T00:00:00Z.
    pub(super) fn not_after_ms(&self) -> Option<i64> {
        Some(self.not_after_ms.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Whether there is a certificate.
    pub(super) fn is_ready(&self) -> bool {
        self.certificate.load().is_some()
    }

    /// Shows an ACME server that asks for the name this certificate.
    pub(super) fn prove_by_handshake(&self, name: &str, proof: Arc<CertifiedKey>) {
        let mut proofs = self.alpn_proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.to_owned(), proof);
    }

    /// Answers an ACME server's question for a token.
    pub(super) fn prove_by_request(&self, token: &str, answer: &str) {
        let mut proofs = self.http_proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(token.to_owned(), answer.to_owned());
    }

    /// The answer to an ACME server's question for a token.
    pub(super) fn answer_for(&self, token: &str) -> Option<String> {
        self.http_proofs.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// Forgets every proof: the ACME server has looked.
    pub(super) fn forget_proofs(&self) {
        self.alpn_proofs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.http_proofs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What handshakes go by, from this version on.
    ///
    /// # Errors
    /// When no random bytes are to be had.
    pub(super) fn handshakes(
        self: &Arc<Self>,
        oldest: TlsVersion,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[_] = match oldest {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Presented>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = [H2, HTTP_1_1, ACME_TLS].map(<[u8]>::to_vec).into();
        // A client that comes back is spared the signature, and we keep nothing for it.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who offers that offers nothing else (RFC 8737 §3).
        if hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ACME_TLS)) {
            let proofs = self.alpn_proofs.lock().unwrap_or_else(PoisonError::into_inner);
            return proofs.get(&hello.server_name()?.to_ascii_lowercase()).cloned();
        }
        self.certificate.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_shown_until_it_is_forgotten() {
        let presented = Presented::default();
        presented.prove_by_request("token", "token.thumb");
        assert_eq!(presented.answer_for("token").as_deref(), Some("token.thumb"));
        assert_eq!(presented.answer_for("other"), None);
        presented.forget_proofs();
        assert_eq!(presented.answer_for("token"), None);
        assert!(!presented.is_ready());
    }
}

//! A certificate with its key, as it lies in files: read, checked, and what can be said of it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Most bytes of a file with certificates or a key.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// A certificate that can be served, and what it says.
#[derive(Clone)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// From when on it is good, in milliseconds since 1970-01-01T00:00:00Z.
    pub not_before_ms: i64,
    /// Until when, likewise.
    pub not_after_ms: i64,
    /// The names that it is for, lower case.
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads a chain of certificates and the key of its first one, both PEM.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn read(cert: &Path, key: &Path) -> Result<Certificate, String> {
        let chain = read(cert)?;
        let private = read(key)?;
        Certificate::from_pem(&chain, &private, &cert.display().to_string(), &key.display().to_string())
    }

    /// The same of texts that were read before; `cert` and `key` are what an error calls them.
    pub(super) fn from_pem(
        chain: &[u8],
        private: &[u8],
        cert: &str,
        key: &str,
    ) -> Result<Certificate, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("{cert} is no PEM with certificates"))?;
        let Some(leaf) = chain.first() else { return Err(format!("{cert} holds no certificate")) };
        let (not_before_ms, not_after_ms, names) =
            told_by(leaf).ok_or_else(|| format!("{cert} holds a certificate that cannot be read"))?;
        let private = PrivateKeyDer::from_pem_slice(private).map_err(|_| {
            format!("{key} holds no private key in PEM, or one that is locked by a passphrase")
        })?;
        let signing = ring::default_provider()
            .key_provider
            .load_private_key(private)
            .map_err(|_| format!("{key} holds a private key of a kind that is not known here"))?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .map_err(|_| format!("the key in {key} is not that of the certificate in {cert}"))?;
        Ok(Certificate { key: Arc::new(certified), not_before_ms, not_after_ms, names })
    }

    /// Whether it is for all of these names and good at this moment.
    pub(super) fn serves(&self, domains: &[String], now_ms: i64) -> bool {
        (self.not_before_ms..self.not_after_ms).contains(&now_ms)
            && domains.iter().all(|domain| self.names.contains(domain))
    }

    /// When to get the next one: with a third of its life left, as Let's Encrypt advises.
    pub(super) fn renew_at_ms(&self) -> i64 {
        self.not_after_ms - (self.not_after_ms - self.not_before_ms) / 3
    }
}

/// From when and until when a certificate is good, and for which names.
fn told_by(leaf: &CertificateDer<'_>) -> Option<(i64, i64, Vec<String>)> {
    let (_, leaf) = parse_x509_certificate(leaf).ok()?;
    let validity = leaf.validity();
    let ms = |time: x509_parser::time::ASN1Time| time.timestamp().saturating_mul(1000);
    let names = leaf.subject_alternative_name().ok().flatten().map(|extension| {
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        names.collect()
    });
    Some((ms(validity.not_before), ms(validity.not_after), names.unwrap_or_default()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A certificate for a name and its key, PEM, good between two years.
    pub(in crate::server) fn made(name: &str, years: (i32, i32)) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn load(chain: &str, private: &str) -> Result<Certificate, String> {
        Certificate::from_pem(chain.as_bytes(), private.as_bytes(), "cert.pem", "key.pem")
    }

    #[test]
    fn names_and_times_are_told_and_it_is_renewed_with_a_third_left() {
        let (chain, private) = made("SCIM.example.com", (2026, 2029));
        let certificate = load(&chain, &private).unwrap();
        assert_eq!(certificate.names, ["scim.example.com"]);
        assert_eq!(certificate.not_before_ms, 1_767_225_600_000);
        let left = certificate.not_after_ms - certificate.renew_at_ms();
        assert_eq!(left, (certificate.not_after_ms - certificate.not_before_ms) / 3);
        let domains = ["scim.example.com".to_owned()];
        let within = certificate.not_before_ms + 1;
        assert!(
            certificate.serves(&domains, within) && !certificate.serves(&domains, certificate.not_after_ms)
        );
        assert!(!certificate.serves(&["other.example.com".to_owned()], within));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        let (chain, private) = made("a.example", (2026, 2027));
        let (_, foreign) = made("b.example", (2026, 2027));
        for (chain, private, said) in [
            ("", private.as_str(), "cert.pem holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &private, "cannot be read"),
            (&chain, "", "key.pem holds no private key"),
            (&chain, &foreign, "the key in key.pem is not that of the certificate in cert.pem"),
        ] {
            let error = load(chain, private).err().unwrap();
            assert!(error.contains(said), "{error}");
        }
        let missing = Certificate::read(Path::new("/nowhere/c.pem"), Path::new("/nowhere/k.pem"));
        assert!(missing.err().unwrap().contains("/nowhere/c.pem cannot be read"));
    }
}

//! `[server.tls]`: whether the server ends TLS itself, and where its certificate comes from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::read::{Entry, Section};
use crate::config::{Error, PATH_BYTES_MAX};

const TLS_KEYS: &[&str] = &["cert", "key", "acme", "min_version", "redirect_listen"];
const ACME_KEYS: &[&str] =
    &["domains", "email", "directory_url", "cache_dir", "ca_file", "challenge", "external_account"];
const EXTERNAL_ACCOUNT_KEYS: &[&str] = &["key_id", "key_file"];

/// The directory of Let's Encrypt, which stands when none is named.
pub const LETS_ENCRYPT_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Most names in one certificate; that of Let's Encrypt.
const DOMAINS_MAX: usize = 100;
/// Longest e-mail address, RFC 5321 §4.5.3.1.3 without the brackets.
const EMAIL_BYTES_MAX: usize = 254;
/// Longest URL of a directory, in bytes.
const URL_BYTES_MAX: usize = 1024;

/// `[server.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where the certificate comes from.
    pub source: TlsSource,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
    /// Where plain HTTP is answered with the `https://` address.
    pub redirect_listen: Option<SocketAddr>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Two files that somebody else keeps up to date.
    Files {
        /// The certificate and those between it and a root, PEM. Absolute once flags are laid over the settings.
        cert: PathBuf,
        /// Its private key, PEM.
        key: PathBuf,
    },
    /// An ACME server (RFC 8555), which the program asks by itself.
    Acme(Box<AcmeSettings>),
}

/// `[server.tls.acme]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The names of the certificate, lower case; at least one.
    pub domains: Vec<String>,
    /// Where the ACME server may write to.
    pub email: Option<String>,
    /// The ACME server.
    pub directory_url: String,
    /// Where account and certificate are kept; `acme` in the data folder unless set, and always set once flags
    /// are laid over the settings.
    pub cache_dir: Option<PathBuf>,
    /// Roots, PEM, that the ACME server's own certificate may go back to, beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// How to prove that the names are ours.
    pub challenge: AcmeChallenge,
    /// An account of the ACME server's owner that ours is bound to (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// `external_account`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's name at the owner's.
    pub key_id: String,
    /// The file with the key, base64url.
    pub key_file: PathBuf,
}

/// How an ACME server finds that a name is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// A handshake on port 443 of the name (RFC 8737).
    #[default]
    TlsAlpn01,
    /// A request to port 80 of the name (RFC 8555 §8.3).
    Http01,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246, which Okta still speaks.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl AcmeChallenge {
    const WORDS: &[(&str, AcmeChallenge)] =
        &[("tls-alpn-01", AcmeChallenge::TlsAlpn01), ("http-01", AcmeChallenge::Http01)];
}

impl TlsVersion {
    const WORDS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
}

impl TlsSettings {
    /// Makes every path absolute: one that is not is meant from `folder`.
    pub fn resolve(&mut self, folder: &Path, data_dir: &Path) {
        // A path that cannot be made absolute cannot be read either, which is told there.
        let absolute = |path: &mut PathBuf| {
            let beside = folder.join(&*path);
            *path = std::path::absolute(&beside).unwrap_or(beside);
        };
        match &mut self.source {
            TlsSource::Files { cert, key } => {
                absolute(cert);
                absolute(key);
            }
            TlsSource::Acme(acme) => {
                absolute(acme.cache_dir.get_or_insert_with(|| data_dir.join("acme")));
                let key_file = acme.external_account.iter_mut().map(|account| &mut account.key_file);
                acme.ca_file.iter_mut().chain(key_file).for_each(absolute);
            }
        }
    }

    pub(super) fn read(section: &Section<'_>) -> Result<TlsSettings, Error> {
        section.only(TLS_KEYS)?;
        let source = match (section.get("acme"), section.get("cert").or_else(|| section.get("key"))) {
            (Some(acme), Some(_)) => {
                return Err(acme.error("expected either cert and key or acme, and not both"));
            }
            (Some(acme), None) => TlsSource::Acme(Box::new(AcmeSettings::read(&acme.table()?)?)),
            (None, _) => TlsSource::Files {
                cert: path(&section.require("cert", "the path of a certificate, or acme in its place")?)?,
                key: path(&section.require("key", "the path of the certificate's private key")?)?,
            },
        };
        let min_version =
            section.get("min_version").map(|entry| entry.word(TlsVersion::WORDS)).transpose()?;
        let redirect_listen = section.get("redirect_listen").map(|entry| {
            let expected = "an address and a port, such as \"[::]:80\"";
            entry.text(expected)?.parse().map_err(|_| entry.error(format!("expected {expected}")))
        });
        let redirect_listen = redirect_listen.transpose()?;
        if let (TlsSource::Acme(acme), None, Some(entry)) = (&source, redirect_listen, section.get("acme"))
            && acme.challenge == AcmeChallenge::Http01
        {
            return Err(
                entry.error("expected server.tls.redirect_listen beside it: \"http-01\" is asked there")
            );
        }
        Ok(TlsSettings { source, min_version: min_version.unwrap_or_default(), redirect_listen })
    }
}

impl AcmeSettings {
    fn read(section: &Section<'_>) -> Result<AcmeSettings, Error> {
        section.only(ACME_KEYS)?;
        let optional = |key: &str| section.get(key).map(|entry| path(&entry)).transpose();
        let challenge = section.get("challenge").map(|entry| entry.word(AcmeChallenge::WORDS)).transpose()?;
        Ok(AcmeSettings {
            domains: domains(section)?,
            email: section.get("email").map(|entry| email(&entry)).transpose()?,
            directory_url: match section.get("directory_url") {
                Some(entry) => directory_url(&entry)?,
                None => LETS_ENCRYPT_URL.to_owned(),
            },
            cache_dir: optional("cache_dir")?,
            ca_file: optional("ca_file")?,
            challenge: challenge.unwrap_or_default(),
            external_account: match section.get("external_account") {
                Some(entry) => Some(external_account(&entry.table()?)?),
                None => None,
            },
        })
    }
}

fn path(entry: &Entry<'_>) -> Result<PathBuf, Error> {
    let expected = "the path of a file or folder";
    let text = entry.text(expected)?;
    if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return Err(entry.error(format!("expected {expected}")));
    }
    Ok(PathBuf::from(text))
}

fn domains(section: &Section<'_>) -> Result<Vec<String>, Error> {
    let expected = "a list of names, such as [\"scim.example.com\"]";
    let entry = section.require("domains", expected)?;
    let mut domains = Vec::new();
    for element in entry.elements(expected)? {
        let name = element.text("a name, such as \"scim.example.com\"")?.to_ascii_lowercase();
        if name.starts_with('*') {
            return Err(
                element.error("expected a name without \"*\", for which the challenges here do not do")
            );
        }
        if !is_dns_name(&name) {
            return Err(element.error("expected a name, such as \"scim.example.com\""));
        }
        if domains.contains(&name) {
            return Err(element.error("expected each name once"));
        }
        domains.push(name);
    }
    if domains.is_empty() || domains.len() > DOMAINS_MAX {
        return Err(entry.error(format!("expected 1 to {DOMAINS_MAX} names")));
    }
    Ok(domains)
}

/// Letters, digits and inner dashes between dots (RFC 1123 §2.1), and no address.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<std::net::IpAddr>().is_err()
}

fn email(entry: &Entry<'_>) -> Result<String, Error> {
    let expected = "an e-mail address";
    let text = entry.text(expected)?;
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b'?');
    let parts = text.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
    if plain && parts && text.len() <= EMAIL_BYTES_MAX {
        Ok(text.to_owned())
    } else {
        Err(entry.error(format!("expected {expected}")))
    }
}

fn directory_url(entry: &Entry<'_>) -> Result<String, Error> {
    let expected = "the https:// address of an ACME directory";
    let text = entry.text(expected)?;
    let uri: Option<http::Uri> = text.parse().ok();
    let right = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if right && text.len() <= URL_BYTES_MAX {
        Ok(text.to_owned())
    } else {
        Err(entry.error(format!("expected {expected}")))
    }
}

fn external_account(section: &Section<'_>) -> Result<ExternalAccount, Error> {
    section.only(EXTERNAL_ACCOUNT_KEYS)?;
    let expected = "the key's name as the ACME server's owner gave it";
    let entry = section.require("key_id", expected)?;
    let key_id = entry.text(expected)?;
    if key_id.is_empty() || key_id.len() > URL_BYTES_MAX || key_id.contains(char::is_control) {
        return Err(entry.error(format!("expected {expected}")));
    }
    let key_file = path(&section.require("key_file", "the path of a file with the key in base64url")?)?;
    Ok(ExternalAccount { key_id: key_id.to_owned(), key_file })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(text: &str) -> Result<TlsSettings, String> {
        let settings = crate::config::parse(&format!("[server.tls]\n{text}"), "t");
        settings.map(|settings| settings.server.tls.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_lie_beside_the_configuration_and_are_all_that_is_needed() {
        let mut read = tls("cert = \"tls/cert.pem\"\nkey = \"/etc/key.pem\"").unwrap();
        assert_eq!((read.min_version, read.redirect_listen), (TlsVersion::V1_2, None));
        read.resolve(Path::new("/etc/ici"), Path::new("/var/lib/ici"));
        let files = TlsSource::Files { cert: "/etc/ici/tls/cert.pem".into(), key: "/etc/key.pem".into() };
        assert_eq!(read.source, files);
    }

    #[test]
    fn acme_needs_the_names_alone() {
        let mut read = tls("acme = { domains = [\"SCIM.example.com\"] }").unwrap();
        read.resolve(Path::new("/etc/ici"), Path::new("/var/lib/ici"));
        let TlsSource::Acme(acme) = read.source else { panic!("{read:?}") };
        assert_eq!(acme.domains, ["scim.example.com"]);
        assert_eq!(
            (acme.directory_url.as_str(), acme.challenge),
            (LETS_ENCRYPT_URL, AcmeChallenge::TlsAlpn01)
        );
        assert_eq!(acme.cache_dir.as_deref(), Some(Path::new("/var/lib/ici/acme")));
    }

    #[test]
    fn every_key_of_acme_is_read() {
        let text = r#"
min_version = "1.3"
redirect_listen = "[::]:80"
[server.tls.acme]
domains = ["a.example", "b.example"]
email = "ops@example.com"
directory_url = "https://ca.internal:9000/acme/acme/directory"
cache_dir = "acme"
ca_file = "ca.pem"
challenge = "http-01"
external_account = { key_id = "kid-1", key_file = "eab" }"#;
        let mut read = tls(text).unwrap();
        read.resolve(Path::new("/e"), Path::new("/d"));
        assert_eq!((read.min_version, read.redirect_listen), (TlsVersion::V1_3, "[::]:80".parse().ok()));
        let TlsSource::Acme(acme) = read.source else { panic!("{read:?}") };
        assert_eq!(acme.email.as_deref(), Some("ops@example.com"));
        assert_eq!(acme.cache_dir.as_deref(), Some(Path::new("/e/acme")));
        assert_eq!(acme.ca_file.as_deref(), Some(Path::new("/e/ca.pem")));
        assert_eq!(acme.challenge, AcmeChallenge::Http01);
        let account = acme.external_account.unwrap();
        assert_eq!((account.key_id.as_str(), account.key_file.as_path()), ("kid-1", Path::new("/e/eab")));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_key() {
        for (text, said) in [
            ("", "server.tls.cert: missing"),
            ("cert = \"c\"", "server.tls.key: missing"),
            ("cert = \"\"\nkey = \"k\"", "server.tls.cert: expected the path"),
            ("cert = \"c\"\nkey = \"k\"\nacme = { domains = [\"a\"] }", "server.tls.acme: expected either"),
            ("acme = {}", "server.tls.acme.domains: missing"),
            ("acme = { domains = [] }", "server.tls.acme.domains: expected 1 to 100"),
            ("acme = { domains = [\"*.example.com\"] }", "without \"*\""),
            ("acme = { domains = [\"10.0.0.1\"] }", "server.tls.acme.domains[0]: expected a name"),
            ("acme = { domains = [\"a\", \"A\"] }", "each name once"),
            ("acme = { domains = [\"a\"], email = \"nobody\" }", "an e-mail address"),
            ("acme = { domains = [\"a\"], directory_url = \"http://ca/\" }", "https://"),
            ("acme = { domains = [\"a\"], challenge = \"http-01\" }", "redirect_listen"),
            ("acme = { domains = [\"a\"], challenge = \"dns-01\" }", "\"tls-alpn-01\" or \"http-01\""),
            ("acme = { domains = [\"a\"], external_account = { key_id = \"k\" } }", "key_file: missing"),
            ("cert = \"c\"\nkey = \"k\"\nmin_version = \"1.1\"", "\"1.2\" or \"1.3\""),
            ("cert = \"c\"\nkey = \"k\"\nredirect_listen = \"80\"", "server.tls.redirect_listen: expected"),
        ] {
            let error = tls(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_servers_own_address_follows_public_url_certificate_and_listener() {
        let tls = "[server.tls]\nacme = { domains = [\"a.example\"] }";
        for (text, site) in [
            ("[server]\nlisten = \"[::]:80\"", "http://[::]:80"),
            ("[server]\nlisten = \"unix:/run/s\"", "http://localhost"),
            (&format!("[server]\nlisten = \"[::]:443\"\n{tls}"), "https://a.example"),
            (&format!("[server]\nlisten = \"[::]:8443\"\n{tls}"), "https://a.example:8443"),
            ("[server.tls]\ncert = \"c\"\nkey = \"k\"", "https://127.0.0.1:8080"),
            (&format!("[server]\npublic_url = \"https://b.example/\"\n{tls}"), "https://b.example"),
        ] {
            assert_eq!(crate::config::parse(text, "t").unwrap().server.site(), site, "{text}");
        }
    }

    #[test]
    fn tls_is_not_for_a_socket_file() {
        let text = "[server]\nlisten = \"unix:/run/s\"\n[server.tls]\ncert = \"c\"\nkey = \"k\"";
        let error = crate::config::parse(text, "t").unwrap_err().to_string();
        assert!(error.contains("server.tls") && error.contains("socket file"), "{error}");
    }
}

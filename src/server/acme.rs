//! Certificates from an ACME server (RFC 8555): an account, an order, the proof that the names are ours, and the
//! next certificate in time.
//!
//! What is to be kept lies in `cache_dir`, for its owner's eyes: the account, and key and certificate in one file,
//! so that a restart costs no order. Names of the files are digests of what they are for: other names or another
//! server never meet a file that is not theirs.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use crate::clock::{Clock, SystemClock};
use crate::config::{AcmeChallenge, AcmeSettings};
use crate::scim::datetime;
use crate::server::certificate::Certificate;
use crate::server::tls::Presented;

/// How long the whole way to a certificate may take.
const ORDER_TIME_MAX: Duration = Duration::from_secs(300);
/// How long the ACME server may take to look, and to sign.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(Duration::from_secs(120));
/// The first pause after a failure; each further one is twice as long, up to the longest. Let's Encrypt takes five
/// failures an hour for a name.
const PAUSE_S_MIN: u64 = 60;
const PAUSE_S_MAX: u64 = 3600;
/// How long to sleep at most before looking at the clock again: it may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The problem of an account that the server does not know (any more) (RFC 8555 §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// The certificate that was kept, if it is for these names and good now. Blocks.
pub(super) fn cached(settings: &AcmeSettings, now_ms: i64) -> Option<Certificate> {
    let file = Cache::of(settings).certificate;
    let pem = std::fs::read(&file).ok()?;
    let name = file.display().to_string();
    match Certificate::from_pem(&pem, &pem, &name, &name) {
        Ok(certificate) => certificate.serves(&settings.domains, now_ms).then_some(certificate),
        Err(reason) => {
            tracing::warn!(reason, "the kept certificate is faulty, and another one is ordered");
            None
        }
    }
}

/// Gets a certificate where there is none, and the next one when a third of the life of the last is left; for as
/// long as it is polled.
pub(super) async fn keep(presented: &Presented, settings: &AcmeSettings) {
    let kept = settings.clone();
    let cached = tokio::task::spawn_blocking(move || cached(&kept, SystemClock.now_ms())).await;
    let mut certificate = cached.ok().flatten();
    match &certificate {
        Some(certificate) => {
            presented.put(certificate);
            log("the kept certificate is in force", certificate);
        }
        None if presented.is_ready() => {
            tracing::info!("ordering a certificate; the one before it stays in force")
        }
        None => tracing::warn!(
            directory = settings.directory_url,
            "there is no certificate yet: HTTPS is refused until the ACME server has given one"
        ),
    }
    let mut failures = 0;
    loop {
        if let Some(certificate) = &certificate {
            let left_ms = certificate.renew_at_ms() - SystemClock.now_ms();
            if let Ok(left_ms @ 1..) = u64::try_from(left_ms) {
                tokio::time::sleep(Duration::from_millis(left_ms).min(SLEEP_MAX)).await;
                continue;
            }
        }
        let obtained = tokio::time::timeout(ORDER_TIME_MAX, obtain(presented, settings)).await;
        presented.forget_proofs();
        match obtained.unwrap_or_else(|_| Err("the ACME server took too long".to_owned())) {
            Ok(new) => {
                presented.put(&new);
                log("a new certificate is in force", &new);
                certificate = Some(new);
                failures = 0;
            }
            Err(reason) => {
                failures += 1;
                let retry_s = pause_s(failures);
                let served =
                    if presented.is_ready() { "the one before it stays" } else { "HTTPS is refused" };
                tracing::error!(
                    reason,
                    failures,
                    retry_s,
                    directory = settings.directory_url,
                    "no certificate from the ACME server, and {served} until it gives one"
                );
                tokio::time::sleep(Duration::from_secs(retry_s)).await;
            }
        }
    }
}

fn log(message: &str, certificate: &Certificate) {
    tracing::info!(
        names = certificate.names.join(", "),
        expires = datetime::format(certificate.not_after_ms),
        renewed_from = datetime::format(certificate.renew_at_ms()),
        "{message}"
    );
}

fn pause_s(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    (PAUSE_S_MIN << doublings).min(PAUSE_S_MAX)
}

/// From the account to the certificate.
async fn obtain(presented: &Presented, settings: &AcmeSettings) -> Result<Certificate, String> {
    let cache = Cache::of(settings);
    cache.make_folder().map_err(|error| format!("{} cannot be used: {error}", cache.folder.display()))?;
    let identifiers: Vec<Identifier> = settings.domains.iter().cloned().map(Identifier::Dns).collect();
    let wanted = NewOrder::new(&identifiers);
    let ordered = account(settings, &cache).await?.new_order(&wanted).await;
    let mut order = match ordered {
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            // The server has lost it, or is another one behind the same address.
            let _ = std::fs::remove_file(&cache.account);
            account(settings, &cache).await?.new_order(&wanted).await.map_err(told)?
        }
        ordered => ordered.map_err(told)?,
    };
    prove(&mut order, presented, settings.challenge).await?;
    match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refusal(&mut order, "the ACME server refused the order").await),
        Err(error) => return Err(refusal(&mut order, &told(error)).await),
    }
    let key = order.finalize().await.map_err(told)?;
    let chain = order.poll_certificate(&POLLING).await.map_err(told)?;
    let pem = [key.trim_end(), chain.trim_end(), ""].join("\n");
    let what = "what the ACME server gave";
    let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes(), what, what)?;
    if let Err(error) = write(&cache.certificate, pem.as_bytes()) {
        // It serves all the same; only the next start has to order again.
        let reason = format!("{}: {error}", cache.certificate.display());
        tracing::error!(reason, "the new certificate cannot be kept");
    }
    Ok(certificate)
}

/// Answers the challenge of each name that the server has not looked at lately.
async fn prove(order: &mut Order, presented: &Presented, challenge: AcmeChallenge) -> Result<(), String> {
    let (kind, called) = match challenge {
        AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(told)?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            _ => return Err(format!("the ACME server has given up on {name}")),
        }
        let mut challenge = authorization
            .challenge(kind.clone())
            .ok_or_else(|| format!("the ACME server does not offer the challenge {called} for {name}"))?;
        let key_authorization = challenge.key_authorization();
        if kind == ChallengeType::Http01 {
            presented.prove_by_request(&challenge.token, key_authorization.as_str());
        } else {
            let proof = alpn_proof(&name, key_authorization.digest().as_ref());
            presented
                .prove_by_handshake(&name, proof.map_err(|error| format!("no proof can be made: {error}"))?);
        }
        challenge.set_ready().await.map_err(told)?;
    }
    Ok(())
}

/// What the server found wrong with the names, by name.
async fn refusal(order: &mut Order, otherwise: &str) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        said.extend(problems.map(|problem| format!("{name}: {}", detail(problem))));
    }
    if said.is_empty() { otherwise.to_owned() } else { said.join("; ") }
}

fn told(error: Error) -> String {
    match error {
        Error::Api(problem) => detail(&problem),
        other => chain(&other),
    }
}

/// The problem as the server tells it (RFC 7807).
fn detail(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("a problem of no type");
    match &problem.detail {
        Some(detail) => format!("{detail} ({kind})"),
        None => kind.to_owned(),
    }
}

/// An error with its causes: "client error (Connect)" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The certificate that a server which looks over TLS wants to see (RFC 8737 §3).
fn alpn_proof(
    name: &str,
    digest: &[u8],
) -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = ring::default_provider().key_provider.load_private_key(private)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], signing)))
}

/// The account that is kept, or a new one.
async fn account(settings: &AcmeSettings, cache: &Cache) -> Result<Account, String> {
    if let Ok(kept) = std::fs::read(&cache.account) {
        let read = serde_json::from_slice(&kept);
        let credentials = read
            .map_err(|_| format!("{} is no account of this program; remove it", cache.account.display()))?;
        return builder(settings)?.from_credentials(credentials).await.map_err(told);
    }
    let contact = settings.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = settings.external_account.as_ref().map(external_key).transpose()?;
    let created = builder(settings)?.create(&wanted, settings.directory_url.clone(), external.as_ref()).await;
    let (account, credentials) = created.map_err(told)?;
    let text = serde_json::to_vec(&credentials).map_err(|error| error.to_string())?;
    write(&cache.account, &text).map_err(|error| format!("{}: {error}", cache.account.display()))?;
    tracing::info!(directory = settings.directory_url, "an account was made with the ACME server");
    Ok(account)
}

fn external_key(account: &crate::config::ExternalAccount) -> Result<ExternalAccountKey, String> {
    let file = account.key_file.display();
    let text = std::fs::read_to_string(&account.key_file)
        .map_err(|error| format!("{file} cannot be read: {error}"))?;
    let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    let key = key.map_err(|_| format!("{file} holds no key in base64url"))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}

/// A client that trusts the public roots and those of `ca_file`.
fn builder(settings: &AcmeSettings) -> Result<AccountBuilder, String> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(file) = &settings.ca_file {
        let name = file.display();
        let more: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| format!("{name} cannot be read as PEM: {error}"))?;
        if more.is_empty() {
            return Err(format!("{name} holds no certificate"));
        }
        for root in more {
            roots.add(root).map_err(|error| format!("{name} holds what is no root: {error}"))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Account::builder_with_http(Box::new(client)))
}

/// Where account and certificate are kept.
struct Cache {
    folder: PathBuf,
    account: PathBuf,
    certificate: PathBuf,
}

impl Cache {
    fn of(settings: &AcmeSettings) -> Cache {
        let folder = settings.cache_dir.clone().unwrap_or_default();
        let key_id = settings.external_account.as_ref().map_or("", |account| account.key_id.as_str());
        let mut domains = settings.domains.clone();
        domains.sort_unstable();
        let server = [settings.directory_url.as_str(), key_id];
        let names: Vec<&str> = server.iter().copied().chain(domains.iter().map(String::as_str)).collect();
        Cache {
            account: folder.join(format!("account-{}.json", digest(&server))),
            certificate: folder.join(format!("certificate-{}.pem", digest(&names))),
            folder,
        }
    }

    fn make_folder(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }
}

/// A short name for some texts, none of which holds a line's end.
fn digest(texts: &[&str]) -> String {
    blake3::hash(texts.join("\n").as_bytes()).to_hex().chars().take(16).collect()
}

/// Replaces a file as a whole; only its owner may read it.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    // Its mode is 0600 from the beginning.
    let mut new = tempfile::Builder::new().prefix(".new.").tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::certificate::tests::made;
    use std::os::unix::fs::PermissionsExt as _;

    fn settings(folder: &Path, domain: &str) -> AcmeSettings {
        AcmeSettings {
            domains: vec![domain.to_owned()],
            email: None,
            directory_url: "https://ca.test/directory".to_owned(),
            cache_dir: Some(folder.to_owned()),
            ca_file: None,
            challenge: AcmeChallenge::TlsAlpn01,
            external_account: None,
        }
    }

    #[test]
    fn a_kept_certificate_is_used_while_it_is_good_and_for_its_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ours = settings(folder.path(), "a.example");
        let (chain, key) = made("a.example", (2026, 2027));
        let file = Cache::of(&ours).certificate;
        write(&file, format!("{key}{chain}").as_bytes()).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let within = 1_767_225_600_000 + 1;
        assert!(cached(&ours, within).is_some());
        assert!(cached(&ours, within + 366 * 24 * 3_600_000).is_none(), "it has expired");
        assert!(cached(&settings(folder.path(), "b.example"), within).is_none());
        std::fs::write(&file, "no PEM").unwrap();
        assert!(cached(&ours, within).is_none());
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<u64> = (1..=8).map(pause_s).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pause_s(u32::MAX), 3600);
    }

    #[test]
    fn the_proof_holds_the_digest_where_the_server_looks_for_it() {
        let proof = alpn_proof("a.example", &[7; 32]).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&proof.cert[0]).unwrap();
        // id-pe-acmeIdentifier, critical, an octet string of 32 bytes (RFC 8737 §3).
        let extension =
            certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    }

    #[test]
    fn a_file_of_roots_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut ours = settings(folder.path(), "a.example");
        assert!(builder(&ours).is_ok());
        let file = folder.path().join("ca.pem");
        ours.ca_file = Some(file.clone());
        assert!(builder(&ours).err().unwrap().contains("ca.pem"));
        std::fs::write(&file, "").unwrap();
        assert!(builder(&ours).err().unwrap().contains("holds no certificate"));
        std::fs::write(&file, made("ca.test", (2026, 2027)).0).unwrap();
        assert!(builder(&ours).is_ok());
    }
}

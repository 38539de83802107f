//! Keeps the certificate in force up to date: looks at its files, or has an ACME server give the next one.
//!
//! Whatever goes wrong, the certificate in force stays, and the log says what was wrong.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::clock::{Clock, SystemClock};
use crate::config::{TlsSettings, TlsSource};
use crate::scim::datetime;
use crate::server::acme;
use crate::server::certificate::Certificate;
use crate::server::tls::Presented;
use crate::tenants::Tenants;

/// How often files and settings are looked at. As with the configuration, a change is taken at the second look that
/// finds it, so that files which are just being written are left alone.
const LOOK: Duration = Duration::from_millis(200);

/// A certificate that ends within this time is warned about, once a day.
const EXPIRES_SOON_DAYS: i64 = 14;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What tells a changed file without reading it: inode, size and the time of the last change of any kind.
type Stamp = Option<(u64, u64, i64, i64)>;

/// What the server ends TLS with.
pub struct Tls {
    pub(super) presented: Arc<Presented>,
    handshakes: ArcSwap<ServerConfig>,
}

/// Keeps a [`Tls`] up to date.
pub struct Keeper {
    tls: Arc<Tls>,
    settings: TlsSettings,
    seen: [Stamp; 2],
    /// What is in force, if it comes from files.
    certificate: Option<Certificate>,
    warned: Warned,
}

/// Of which certificate it was last told that it ends, by its end in milliseconds since 1970, and when.
#[derive(Default)]
struct Warned(Option<(i64, tokio::time::Instant)>);

impl Warned {
    /// Whether to tell of the certificate with this end now; it then counts as told. The same one that is written
    /// again, or a faulty one that changes nothing, is no news.
    fn is_due(&mut self, not_after_ms: i64) -> bool {
        if self.0.is_some_and(|(of, at)| of == not_after_ms && at.elapsed() < DAY) {
            return false;
        }
        self.0 = Some((not_after_ms, tokio::time::Instant::now()));
        true
    }
}

impl Tls {
    /// Reads the certificate. With ACME it may be that there is none yet; then handshakes fail until there is.
    ///
    /// # Errors
    /// What is wrong with the files, in one sentence.
    pub fn start(settings: TlsSettings) -> Result<Keeper, String> {
        let presented = Arc::new(Presented::default());
        let unusable = |error: rustls::Error| format!("TLS cannot be started: {error}");
        let handshakes = presented.handshakes(settings.min_version).map_err(unusable)?;
        let tls = Arc::new(Tls { presented, handshakes: ArcSwap::new(handshakes) });
        let mut keeper =
            Keeper { tls, settings, seen: [None; 2], certificate: None, warned: Warned::default() };
        match &keeper.settings.source {
            TlsSource::Files { cert, key } => {
                // Before they are read, so that what changes in between is seen as changed.
                keeper.seen = [stamp(cert), stamp(key)];
                let certificate = Certificate::read(cert, key)?;
                keeper.tls.presented.put(&certificate);
                keeper.certificate = Some(certificate);
            }
            TlsSource::Acme(acme) => {
                if let Some(certificate) = acme::cached(acme, SystemClock.now_ms()) {
                    keeper.tls.presented.put(&certificate);
                }
            }
        }
        Ok(keeper)
    }

    /// What the next handshake goes by.
    pub(super) fn handshakes(&self) -> Arc<ServerConfig> {
        self.handshakes.load_full()
    }
}

impl Keeper {
    /// What is kept up to date.
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Goes on for as long as it is polled.
    pub async fn keep(mut self, tenants: Arc<Tenants>) {
        if let Some(certificate) = &self.certificate {
            log("the certificate is in force", certificate);
        }
        loop {
            match &self.settings.source {
                TlsSource::Files { .. } => self.follow_files(&tenants).await,
                TlsSource::Acme(settings) => {
                    self.certificate = None;
                    tokio::select! {
                        () = acme::keep(&self.tls.presented, settings) => {}
                        () = changed(&tenants, &self.settings) => {}
                    }
                }
            }
            if let Some(settings) = tenants.snapshot().settings().server.tls.clone() {
                self.take(settings);
            }
        }
    }

    /// Goes by changed settings from here on.
    fn take(&mut self, settings: TlsSettings) {
        if settings.min_version != self.settings.min_version {
            match self.tls.presented.handshakes(settings.min_version) {
                Ok(handshakes) => self.tls.handshakes.store(handshakes),
                Err(error) => tracing::error!(reason = %error, "the changed version of TLS is not in force"),
            }
        }
        if settings.source != self.settings.source {
            // Whatever was seen was of other files.
            self.seen = [None; 2];
        }
        self.settings = settings;
    }

    /// Looks at the files until the settings change.
    async fn follow_files(&mut self, tenants: &Tenants) {
        let TlsSource::Files { cert, key } = self.settings.source.clone() else { return };
        let mut looks = tokio::time::interval(LOOK);
        let mut before = None;
        loop {
            looks.tick().await;
            if is_other(tenants, &self.settings) {
                return;
            }
            let (cert, key) = (cert.clone(), key.clone());
            let (last, seen) = (before, self.seen);
            // Looking and reading block.
            let looked = tokio::task::spawn_blocking(move || {
                let now = [stamp(&cert), stamp(&key)];
                let read = (now != seen && last == Some(now)).then(|| Certificate::read(&cert, &key));
                (now, read)
            });
            let Ok((now, read)) = looked.await else { continue };
            before = Some(now);
            if let Some(read) = read {
                self.seen = now;
                self.put(read);
            }
            self.warn_of_the_end();
        }
    }

    fn put(&mut self, read: Result<Certificate, String>) {
        match read {
            Ok(certificate) => {
                self.tls.presented.put(&certificate);
                log("the changed certificate is in force", &certificate);
                self.certificate = Some(certificate);
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "the changed certificate is faulty and the one before it stays in force"
                );
            }
        }
    }

    fn warn_of_the_end(&mut self) {
        let Some(certificate) = &self.certificate else { return };
        let Some(warning) = end_warning(certificate, SystemClock.now_ms()) else { return };
        if self.warned.is_due(certificate.not_after_ms) {
            tracing::warn!("{warning}");
        }
    }
}

/// What there is to say of a certificate whose end is near or past.
pub fn end_warning(certificate: &Certificate, now_ms: i64) -> Option<String> {
    let at = datetime::format(certificate.not_after_ms);
    if certificate.not_after_ms <= now_ms {
        return Some(format!("the certificate has expired at {at}, so no Okta takes it"));
    }
    if certificate.not_before_ms > now_ms {
        let from = datetime::format(certificate.not_before_ms);
        return Some(format!("the certificate is good from {from} on only"));
    }
    let left_ms = certificate.not_after_ms - now_ms;
    let soon = left_ms < EXPIRES_SOON_DAYS * 24 * 3_600_000;
    soon.then(|| format!("the certificate expires soon, at {at}; whatever renews it has not done so"))
}

fn log(message: &str, certificate: &Certificate) {
    tracing::info!(
        names = certificate.names.join(", "),
        expires = datetime::format(certificate.not_after_ms),
        "{message}"
    );
}

fn is_other(tenants: &Tenants, settings: &TlsSettings) -> bool {
    tenants.snapshot().settings().server.tls.as_ref().is_some_and(|now| now != settings)
}

async fn changed(tenants: &Tenants, settings: &TlsSettings) {
    let mut looks = tokio::time::interval(LOOK);
    while !is_other(tenants, settings) {
        looks.tick().await;
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::certificate::tests::made;

    #[test]
    fn the_end_of_a_certificate_is_told_before_it_comes() {
        let (chain, private) = made("a.example", (2026, 2027));
        let certificate = Certificate::from_pem(chain.as_bytes(), private.as_bytes(), "c", "k").unwrap();
        let day_ms = 24 * 3_600_000;
        let said = |now_ms| end_warning(&certificate, now_ms).unwrap_or_default();
        assert_eq!(said(certificate.not_after_ms - 15 * day_ms), "");
        assert!(
            said(certificate.not_after_ms - 13 * day_ms).contains("expires soon, at 2027-01-01T00:00:00")
        );
        assert!(said(certificate.not_after_ms).contains("has expired"));
        assert!(said(certificate.not_before_ms - 1).contains("good from 2026-01-01T00:00:00"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_certificate_is_told_once_a_day_however_often_its_files_change() {
        let mut warned = Warned::default();
        assert!(warned.is_due(1));
        assert!(!warned.is_due(1), "the same one, written again");
        assert!(warned.is_due(2), "another one");
        tokio::time::advance(DAY - Duration::from_secs(1)).await;
        assert!(!warned.is_due(2));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(warned.is_due(2), "a day later");
    }

    #[test]
    fn files_that_are_wrong_at_the_start_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let settings = || TlsSettings {
            source: TlsSource::Files { cert: cert.clone(), key: key.clone() },
            min_version: crate::config::TlsVersion::default(),
            redirect_listen: None,
        };
        assert!(Tls::start(settings()).err().unwrap().contains("cert.pem cannot be read"));
        let (chain, private) = made("a.example", (2026, 2027));
        std::fs::write(&cert, chain).unwrap();
        std::fs::write(&key, private).unwrap();
        let keeper = Tls::start(settings()).unwrap();
        assert!(keeper.tls().presented.is_ready());
    }
}

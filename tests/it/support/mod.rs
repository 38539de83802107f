//! The harness: a server, clients that check every answer, what Okta sends, a look into a tenant's file.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod file;
pub(crate) mod okta;
pub(crate) mod raw;
pub(crate) mod server;

pub(crate) use client::{Client, Reply};
pub(crate) use config::{Config, TenantConfig, Token};
pub(crate) use server::{Server, Tenant};

use std::time::Duration;

use ici_scim::clock::Stopwatch;

/// How long a condition may take to come true. Far longer than it ever does; a test that waits this long fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// In this time a changed configuration is in force. A second is what is promised, and tried by a clock of its own in
/// `tenants`; a machine that is busy with other tests may stand still for as long.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Asks again and again until `condition` holds; each asking is itself a request or a look at a file, so this
/// does not spin without work.
///
/// # Panics
/// When it does not hold within [`PATIENCE`].
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    until_within(PATIENCE, what, condition)
}

/// [`until`] with another deadline. Returns how long it took.
pub(crate) fn until_within(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let watch = Stopwatch::start();
    loop {
        let asked_at = watch.elapsed();
        if condition() {
            return watch.elapsed();
        }
        assert!(asked_at < deadline, "after {asked_at:?}, still not so: {what}");
        std::thread::yield_now();
    }
}

/// The beginning of every HTTP client of the tests. reqwest is built with rustls and without a choice of its
/// cryptography, which is therefore made here, once for the process.
pub(crate) fn http() -> reqwest::blocking::ClientBuilder {
    // Refused from the second time on.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::builder().no_proxy()
}

//! What is counted while requests are served, and the text in which it is told.
//!
//! Counting is a relaxed addition to a place that is at hand: no lock, no look-up by name, nothing formatted. What
//! something is that can be asked for at any moment (how many files are open, when a token expires) is not kept
//! here: whoever knows it writes it on the [`Page`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::TenantName;
use crate::scim::route::Route;

mod histogram;
mod page;
mod requests;
#[cfg(feature = "otlp")]
pub mod spans;

pub use histogram::{Histogram, WRITES_BOUNDS};
pub use page::{MEDIA_TYPE, PLAIN_MEDIA_TYPE, Page, plain, text};
pub use requests::{NO_ROUTE, NO_TENANT, OTHER_TENANTS, TenantCounters};

/// All that one server counts.
#[derive(Debug)]
pub struct Metrics {
    tenants: requests::ByTenant,
    /// By route, the last for none. Not by tenant as well: that would be hundreds of series for each.
    durations: Box<[Histogram]>,
    /// How long a write waited for its commit to begin.
    pub queue_wait: Histogram,
    /// How long a commit took, all of its writes and the disk included.
    pub commit: Histogram,
    /// How many writes shared a commit.
    pub commit_writes: Histogram,
    /// Argon2 checks of tokens: how long each took.
    pub token_check: Histogram,
    /// Requests that were turned away since too many tokens waited for their check.
    pub token_checks_refused: Counter,
    /// Connections that were accepted.
    pub connections: Counter,
    /// Connections that have ended.
    pub connections_ended: Counter,
    /// Connections that were closed at once, since their address had as many as it may.
    pub connections_refused: Counter,
    /// Configurations that came into force after the first.
    pub reloads: Counter,
    /// Configurations that were faulty and changed nothing.
    pub reloads_failed: Counter,
    /// Where traced requests go.
    #[cfg(feature = "otlp")]
    pub spans: spans::Spans,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            tenants: requests::ByTenant::default(),
            durations: (0..=Route::ALL.len()).map(|_| Histogram::of_times()).collect(),
            queue_wait: Histogram::of_times(),
            commit: Histogram::of_times(),
            commit_writes: Histogram::of_counts(WRITES_BOUNDS),
            token_check: Histogram::of_times(),
            token_checks_refused: Counter::default(),
            connections: Counter::default(),
            connections_ended: Counter::default(),
            connections_refused: Counter::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
            #[cfg(feature = "otlp")]
            spans: spans::Spans::default(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// The counters of a tenant, to be kept by whoever counts; when `tenants_max` have their own already, those
    /// that all others share.
    pub fn tenant(&self, tenant: &TenantName, tenants_max: usize) -> Arc<TenantCounters> {
        self.tenants.of(tenant, tenants_max)
    }

    /// Forgets the tenants that are not to be kept; their series end.
    pub fn keep_only(&self, keep: impl Fn(&TenantName) -> bool) {
        self.tenants.keep_only(keep);
    }

    /// Counts a request: of a tenant, where its token was right; with a status, where it was answered in full.
    pub fn request(
        &self,
        tenant: Option<&TenantCounters>,
        route: Option<Route>,
        status: Option<u16>,
        duration: Duration,
    ) {
        tenant.unwrap_or(self.tenants.none()).count(route, status);
        let place = route.map_or(Route::ALL.len(), |route| route as usize);
        if let Some(durations) = self.durations.get(place) {
            durations.observe(duration);
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        self.tell_requests(page)?;
        page.histogram(
            "ici_scim_write_queue_wait_seconds",
            "How long a write waited until its commit began",
            &self.queue_wait,
        )?;
        page.histogram(
            "ici_scim_commit_duration_seconds",
            "How long a commit took, disk included",
            &self.commit,
        )?;
        page.histogram("ici_scim_commit_writes", "How many writes shared a commit", &self.commit_writes)?;
        page.histogram(
            "ici_scim_token_check_duration_seconds",
            "How long an Argon2 check of a token took that was not known yet",
            &self.token_check,
        )?;
        page.counter(
            "ici_scim_token_checks_refused",
            "Requests answered 429 since too many tokens waited for their check",
            self.token_checks_refused.get(),
        )?;
        let (accepted, ended) = (self.connections.get(), self.connections_ended.get());
        page.counter("ici_scim_connections", "Connections that were accepted", accepted)?;
        page.gauge(
            "ici_scim_connections_open",
            "Connections that are open",
            whole(accepted.saturating_sub(ended)),
        )?;
        page.counter(
            "ici_scim_connections_refused",
            "Connections that were closed at once, since their address had as many as it may",
            self.connections_refused.get(),
        )?;
        let reloads = [("in_force", self.reloads.get()), ("faulty", self.reloads_failed.get())];
        page.counters(
            "ici_scim_config_reloads",
            "Changed configurations, by what came of them",
            reloads.map(|(result, count)| ([("result", result)], count)),
        )
    }

    fn tell_requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let tenants = self.tenants.all();
        let of_tenants = tenants
            .iter()
            .flat_map(|(tenant, counters)| counters.counted().map(|counted| (tenant.as_str(), counted)));
        let of_none = self.tenants.none().counted().map(|counted| (NO_TENANT, counted));
        page.counters(
            "ici_scim_requests",
            "Requests, by the tenant whose token they had",
            of_tenants.chain(of_none).map(|(tenant, (route, status, count))| {
                ([("tenant", tenant), ("route", route), ("status", status)], count)
            }),
        )?;
        page.counters(
            "ici_scim_tokens_refused",
            "Requests to a tenant with a token that is not, or no more, one of its own",
            tenants
                .iter()
                .map(|(tenant, counters)| ([("tenant", tenant.as_str())], counters.tokens_refused()))
                .filter(|(_, count)| *count > 0),
        )?;
        let routes = Route::ALL.iter().map(|route| route.label()).chain([NO_ROUTE]);
        page.histograms(
            "ici_scim_request_duration_seconds",
            "From the head of a request to the end of its answer",
            routes.zip(&self.durations).map(|(route, durations)| ([("route", route)], durations)),
        )
    }
}

/// A count as a metric's value.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers by their standard")]
pub fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_tenants_are_told_and_no_more_than_there_are_places_for() {
        let metrics = Arc::new(Metrics::default());
        for number in 0..10_000 {
            let tenant = metrics.tenant(&format!("t{number}").parse().unwrap(), 5_000);
            for route in Route::ALL.iter().take(8) {
                tenant.count(Some(*route), Some(200));
                tenant.count(Some(*route), Some(404));
            }
        }
        let text = text(move |page| metrics.tell(page)).unwrap();
        let samples = text.lines().filter(|line| line.starts_with("ici_scim_requests_total{")).count();
        assert_eq!(samples, (5_000 + 1) * 16);
        let others = "ici_scim_requests_total{tenant=\"_other\",route=\"schemas\",status=\"404\"} 5000\n";
        assert!(text.contains(others));
        assert!(text.len() < 8 * 1024 * 1024, "{} bytes", text.len());
    }

    #[test]
    fn a_request_is_told_with_its_tenant_route_and_status() {
        let metrics = Arc::new(Metrics::default());
        let acme = metrics.tenant(&"acme".parse().unwrap(), 10);
        metrics.request(Some(&acme), Some(Route::ReadUser), Some(200), Duration::from_micros(36));
        metrics.request(None, None, Some(401), Duration::from_millis(100));
        acme.count_refused_token();
        let told = Arc::clone(&metrics);
        let text = text(move |page| told.tell(page)).unwrap();
        for line in [
            "ici_scim_requests_total{tenant=\"acme\",route=\"read_user\",status=\"200\"} 1\n",
            "ici_scim_requests_total{tenant=\"_none\",route=\"_none\",status=\"401\"} 1\n",
            "ici_scim_tokens_refused_total{tenant=\"acme\"} 1\n",
            "ici_scim_request_duration_seconds_count{route=\"read_user\"} 1\n",
            "ici_scim_connections_open 0.0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        metrics.keep_only(|_| false);
        let text = super::text(move |page| metrics.tell(page)).unwrap();
        assert!(!text.contains("acme"), "{text}");
    }
}

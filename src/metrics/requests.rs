//! Requests counted by tenant, route and status.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::TenantName;
use crate::scim::route::Route;

/// The statuses that are told by themselves; there is no other in this program.
const STATUSES: [u16; 22] = [
    200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 429, 431, 500, 501, 503, 507,
    0,
];

/// The label of what was not answered in full.
const ABANDONED: &str = "abandoned";

/// The label of a status that is not in the table.
const OTHER_STATUS: &str = "other";

/// The label of requests whose tenant is not known: no token, a wrong one, or an address that is none. No tenant's
/// name has an underscore.
pub const NO_TENANT: &str = "_none";

/// The label that the tenants share for which there is no place.
pub const OTHER_TENANTS: &str = "_other";

/// The label of what was refused before it was known what was asked for.
pub const NO_ROUTE: &str = "_none";

/// A place for each route, and one for none.
const ROUTES: usize = Route::ALL.len() + 1;

/// One place for each status, and one for any other.
type ByStatus = [AtomicU64; STATUSES.len() + 1];

/// The requests of one tenant. A route takes memory with its first request.
#[derive(Debug)]
pub struct TenantCounters {
    routes: [OnceLock<Box<ByStatus>>; ROUTES],
    /// Requests with a token that is not, or no more, one of the tenant's.
    tokens_refused: AtomicU64,
}

impl Default for TenantCounters {
    fn default() -> TenantCounters {
        TenantCounters { routes: std::array::from_fn(|_| OnceLock::new()), tokens_refused: AtomicU64::new(0) }
    }
}

impl TenantCounters {
    /// Counts a request; `status` is missing when it was not answered in full.
    pub fn count(&self, route: Option<Route>, status: Option<u16>) {
        let Some(route) = self.routes.get(route.map_or(Route::ALL.len(), |route| route as usize)) else {
            return;
        };
        let statuses = route.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        let status = status.unwrap_or(0);
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        if let Some(count) = statuses.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request whose token is none of the tenant's.
    pub fn count_refused_token(&self) {
        self.tokens_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many had a token that is none of the tenant's.
    pub(super) fn tokens_refused(&self) -> u64 {
        self.tokens_refused.load(Ordering::Relaxed)
    }

    /// Route, status and count of what was counted at least once.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let routes = Route::ALL.iter().map(|route| route.label()).chain([NO_ROUTE]);
        let known = routes.zip(&self.routes).filter_map(|(label, route)| Some((label, route.get()?)));
        known.flat_map(|(route, statuses)| {
            let counts = statuses.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
            counts
                .filter(|(_, count)| *count > 0)
                .map(move |(place, count)| (route, status_label(place), count))
        })
    }
}

fn status_label(place: usize) -> &'static str {
    match STATUSES.get(place) {
        Some(200) => "200",
        Some(201) => "201",
        Some(204) => "204",
        Some(304) => "304",
        Some(400) => "400",
        Some(401) => "401",
        Some(403) => "403",
        Some(404) => "404",
        Some(405) => "405",
        Some(406) => "406",
        Some(408) => "408",
        Some(409) => "409",
        Some(412) => "412",
        Some(413) => "413",
        Some(415) => "415",
        Some(429) => "429",
        Some(431) => "431",
        Some(500) => "500",
        Some(501) => "501",
        Some(503) => "503",
        Some(507) => "507",
        Some(0) => ABANDONED,
        _ => OTHER_STATUS,
    }
}

/// The counters of the tenants that were asked.
#[derive(Debug, Default)]
pub(super) struct ByTenant {
    known: Mutex<HashMap<TenantName, Arc<TenantCounters>>>,
    /// Of the tenants for which there is no place.
    others: Arc<TenantCounters>,
    /// Of no tenant.
    none: TenantCounters,
}

impl ByTenant {
    /// The counters of a tenant; those of all others when so many have their own already. To be kept by whoever
    /// counts: this takes a lock.
    pub(super) fn of(&self, tenant: &TenantName, tenants_max: usize) -> Arc<TenantCounters> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = known.get(tenant) {
            return Arc::clone(counters);
        }
        if known.len() >= tenants_max {
            return Arc::clone(&self.others);
        }
        Arc::clone(known.entry(tenant.clone()).or_default())
    }

    /// The counters of no tenant.
    pub(super) fn none(&self) -> &TenantCounters {
        &self.none
    }

    /// Forgets the tenants that are not to be kept.
    pub(super) fn keep_only(&self, keep: impl Fn(&TenantName) -> bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| keep(name));
    }

    /// All counters with the label of their tenant, in the order of names. The lock is held only for the copying of
    /// pointers.
    pub(super) fn all(&self) -> Vec<(TenantLabel, Arc<TenantCounters>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, counters)| (TenantLabel::Name(name.clone()), Arc::clone(counters)))
            .collect();
        drop(known);
        all.push((TenantLabel::Others, Arc::clone(&self.others)));
        all.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        all
    }
}

/// The label of a tenant.
pub(super) enum TenantLabel {
    Name(TenantName),
    Others,
}

impl TenantLabel {
    pub(super) fn as_str(&self) -> &str {
        match self {
            TenantLabel::Name(name) => name.as_str(),
            TenantLabel::Others => OTHER_TENANTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let counters = TenantCounters::default();
        counters.count(Some(Route::ReadUser), Some(200));
        counters.count(Some(Route::ReadUser), Some(200));
        counters.count(Some(Route::ReadUser), Some(404));
        counters.count(Some(Route::ListUsers), None);
        counters.count(None, Some(418));
        assert_eq!(
            counters.counted().collect::<Vec<_>>(),
            [
                ("list_users", "abandoned", 1),
                ("read_user", "200", 2),
                ("read_user", "404", 1),
                ("_none", "other", 1)
            ]
        );
    }

    #[test]
    fn every_status_has_its_own_label() {
        let mut labels: Vec<&str> = (0..=STATUSES.len()).map(status_label).collect();
        for (place, status) in STATUSES.iter().enumerate().filter(|(_, status)| **status != 0) {
            assert_eq!(status_label(place), status.to_string());
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), STATUSES.len() + 1);
    }

    #[test]
    fn tenants_beyond_the_bound_share_one_label_and_a_removed_one_frees_a_place() {
        let all = ByTenant::default();
        for tenant in ["a", "b", "c", "d"] {
            all.of(&name(tenant), 2).count(Some(Route::ReadUser), Some(200));
        }
        let counts = || -> Vec<(String, u64)> {
            let all = all.all();
            let sums = all.iter().map(|(label, counters)| {
                (label.as_str().to_owned(), counters.counted().map(|(_, _, count)| count).sum())
            });
            sums.collect()
        };
        let expected = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
            rows.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
        };
        assert_eq!(counts(), expected(&[("_other", 2), ("a", 1), ("b", 1)]));
        all.keep_only(|kept| kept.as_str() != "a");
        all.of(&name("c"), 2).count(Some(Route::ReadUser), Some(200));
        assert_eq!(counts(), expected(&[("_other", 2), ("b", 1), ("c", 1)]));
    }
}

//! The life of a tenant: `paused`, `max_users`, and `rate_limit`, which `[server]` has for all of them.

use std::fmt;

use crate::config::Error;
use crate::config::read::{Entry, Section};

/// Most users that can be asked for; more than any file is known to hold well.
const USERS_MAX: i64 = 100_000_000;
/// Highest rate and longest burst; more than a machine answers.
const REQUESTS_MAX: i64 = 1_000_000;

/// What holds for a tenant as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantLife {
    /// Whether the tenant is paused, and what its clients are answered meanwhile.
    pub paused: Option<Pause>,
    /// Most users, active or not; unbounded unless set.
    pub max_users: Option<u32>,
    /// The tenant's own rate; that of `[server]` unless set.
    pub rate_limit: Option<RateLimit>,
}

/// What the clients of a paused tenant are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// 503: `paused = true`.
    #[default]
    Unavailable,
    /// 429, which Okta repeats by itself: `paused = 429`.
    TooManyRequests,
}

/// How fast one tenant's clients may ask, all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// As fast as they like.
    Off,
    /// So many requests each second in the long run.
    On {
        /// Requests each second.
        per_second: u32,
        /// Requests at once, after a rest.
        burst: u32,
    },
}

impl Default for RateLimit {
    /// Far above what Okta has been seen to send (15 requests in two seconds), far below what a machine answers.
    fn default() -> RateLimit {
        RateLimit::On { per_second: 500, burst: 1000 }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateLimit::Off => f.write_str("off"),
            RateLimit::On { per_second, burst } => write!(f, "{per_second} a second, {burst} at once"),
        }
    }
}

/// Reads the keys of a tenant.
pub(super) fn read(section: &Section<'_>) -> Result<TenantLife, Error> {
    Ok(TenantLife {
        paused: section.get("paused").map(|entry| paused(&entry)).transpose()?.flatten(),
        max_users: section.get("max_users").map(|entry| whole(&entry, USERS_MAX)).transpose()?,
        rate_limit: section.get("rate_limit").map(|entry| rate_limit(&entry)).transpose()?,
    })
}

fn paused(entry: &Entry<'_>) -> Result<Option<Pause>, Error> {
    let wrong = || entry.error("expected true, false or 429");
    if let Ok(paused) = entry.boolean() {
        return Ok(paused.then_some(Pause::Unavailable));
    }
    entry.number(429..=429).map(|_| Some(Pause::TooManyRequests)).map_err(|_| wrong())
}

/// Reads a rate, of `[server]` or of a tenant.
pub(super) fn rate_limit(entry: &Entry<'_>) -> Result<RateLimit, Error> {
    let expected = "expected \"off\" or a table such as { per_second = 500, burst = 1000 }";
    if entry.is_text() {
        return entry.word(&[("off", RateLimit::Off)]).map_err(|_| entry.error(expected));
    }
    let table = entry.table().map_err(|_| entry.error(expected))?;
    table.only(&["per_second", "burst"])?;
    let per_second = whole(&table.require("per_second", "requests each second")?, REQUESTS_MAX)?;
    let burst = table.get("burst").map(|entry| whole(&entry, REQUESTS_MAX)).transpose()?;
    // Without it, two seconds' worth.
    Ok(RateLimit::On { per_second, burst: burst.unwrap_or_else(|| per_second.saturating_mul(2)) })
}

fn whole(entry: &Entry<'_>, max: i64) -> Result<u32, Error> {
    Ok(u32::try_from(entry.number(1..=max)?).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, parse};

    fn read(text: &str) -> Result<Settings, String> {
        parse(text, "t").map_err(|error| error.to_string())
    }

    fn tenant(text: &str) -> TenantLife {
        read(&format!("[tenants.a]\n{text}")).unwrap().tenants["a"].life.clone()
    }

    #[test]
    fn a_tenant_is_in_service_without_bound_and_at_the_rate_of_all_unless_it_says_otherwise() {
        assert_eq!(tenant(""), TenantLife::default());
        assert_eq!(tenant("paused = false"), TenantLife::default());
        assert_eq!(tenant("paused = true").paused, Some(Pause::Unavailable));
        assert_eq!(tenant("paused = 429").paused, Some(Pause::TooManyRequests));
        assert_eq!(tenant("max_users = 5000").max_users, Some(5000));
        assert_eq!(tenant("rate_limit = \"off\"").rate_limit, Some(RateLimit::Off));
        let own = tenant("rate_limit = { per_second = 5, burst = 50 }").rate_limit;
        assert_eq!(own, Some(RateLimit::On { per_second: 5, burst: 50 }));
        let server = read("[server]\nrate_limit = { per_second = 7 }").unwrap().server.rate_limit;
        assert_eq!(server, RateLimit::On { per_second: 7, burst: 14 });
        assert_eq!(read("").unwrap().server.rate_limit, RateLimit::On { per_second: 500, burst: 1000 });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, problem) in [
            ("[tenants.a]\npaused = \"yes\"", "t:2: tenants.a.paused: expected true, false or 429"),
            ("[tenants.a]\npaused = 503", "t:2: tenants.a.paused: expected true, false or 429"),
            ("[tenants.a]\nmax_users = 0", "t:2: tenants.a.max_users: expected a whole number from 1 to"),
            ("[tenants.a]\nrate_limit = \"none\"", "t:2: tenants.a.rate_limit: expected \"off\" or a table"),
            ("[tenants.a]\nrate_limit = 5", "t:2: tenants.a.rate_limit: expected \"off\" or a table"),
            ("[server]\nrate_limit = { burst = 5 }", "t:2: server.rate_limit.per_second: missing"),
            (
                "[server.rate_limit]\nper_second = 0",
                "t:2: server.rate_limit.per_second: expected a whole number from 1 to 1000000",
            ),
            ("[server.rate_limit]\nper_minute = 9", "unknown key; the keys known here are per_second, burst"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(problem), "{error} should say {problem}");
        }
    }
}

//! What stands between a caller who has shown a token and the tenant: the tenant may be paused, or asked too fast.
//!
//! It comes after the token, so that strangers neither learn whether a tenant is paused nor use up its requests;
//! what bounds strangers is `auth` with its gate.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::{Pause, RateLimit};
use crate::scim;
use crate::tenants::imports::LastImport;
use crate::tenants::in_service::{Entered, Inside};

/// What the clients of a paused tenant are told to wait. Okta repeats a 429 ten times at most and doubles the wait
/// each time, so that it goes on for half a day.
const PAUSED_RETRY_AFTER_S: u32 = 60;

/// The door of one tenant, under settings in force.
pub(super) struct Door {
    paused: Option<Pause>,
    rate: RateLimit,
    /// Shared by the snapshots under which the rate is the same, so that a reload gives nobody a new burst.
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
    /// When a client last walked the list of users.
    pub(super) last_import: LastImport,
    /// The requests that were let in.
    pub(super) inside: Inside,
}

impl Door {
    /// The door under new settings; `before` is the one under the settings before.
    pub(super) fn new(paused: Option<Pause>, rate: RateLimit, before: Option<&Door>) -> Door {
        let limiter = match before.filter(|before| before.rate == rate) {
            Some(before) => before.limiter.clone(),
            None => limiter(rate),
        };
        let last_import = before.map(|before| before.last_import.clone()).unwrap_or_default();
        let inside = before.map(|before| before.inside.clone()).unwrap_or_default();
        Door { paused, rate, limiter, last_import, inside }
    }

    /// Whether the tenant is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Lets a request in, or says why not. Costs a look at the time and two atomic words.
    pub(super) fn pass(&self) -> Result<Entered<'_>, scim::Error> {
        if let Some(pause) = self.paused {
            return Err(paused(pause));
        }
        let within = self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.check());
        within.map(|()| self.inside.enter()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            scim::Error::too_fast(whole_seconds(wait))
        })
    }
}

/// What a request to a paused tenant is answered.
pub(super) fn paused(pause: Pause) -> scim::Error {
    let detail =
        "The operator of this SCIM server has paused this tenant, so nothing was changed; try again later.";
    match pause {
        Pause::Unavailable => scim::Error::unavailable(detail, PAUSED_RETRY_AFTER_S),
        Pause::TooManyRequests => {
            scim::Error { detail: detail.to_owned(), ..scim::Error::too_many_requests(PAUSED_RETRY_AFTER_S) }
        }
    }
}

fn limiter(rate: RateLimit) -> Option<Arc<DefaultDirectRateLimiter>> {
    let RateLimit::On { per_second, burst } = rate else { return None };
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
    Some(Arc::new(RateLimiter::direct(quota)))
}

/// Rounded up and never 0: Okta reads nothing but whole seconds.
fn whole_seconds(wait: Duration) -> u32 {
    let up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(up).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One in a hundred seconds would be less than one each second, so the burst is used up instead.
    const SLOW: RateLimit = RateLimit::On { per_second: 1, burst: 3 };

    fn passed(door: &Door) -> usize {
        (0..10).filter(|_| door.pass().is_ok()).count()
    }

    #[test]
    fn a_burst_passes_and_what_comes_then_is_told_to_wait_whole_seconds() {
        let door = Door::new(None, SLOW, None);
        assert_eq!(passed(&door), 3);
        let refused = door.pass().unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s), (429, Some(1)));
        assert_eq!(passed(&Door::new(None, RateLimit::Off, None)), 10);
    }

    #[test]
    fn a_reload_gives_a_new_burst_only_where_the_rate_is_another() {
        let before = Door::new(None, SLOW, None);
        assert_eq!(passed(&before), 3);
        let same = Door::new(None, SLOW, Some(&before));
        assert_eq!(passed(&same), 0);
        // Nor does a pause.
        let paused = Door::new(Some(Pause::Unavailable), SLOW, Some(&same));
        assert_eq!(passed(&Door::new(None, SLOW, Some(&paused))), 0);
        let other = Door::new(None, RateLimit::On { per_second: 1, burst: 4 }, Some(&same));
        assert_eq!(passed(&other), 4);
    }

    #[test]
    fn a_paused_tenant_answers_503_or_429_and_uses_nothing_up() {
        for (pause, status) in [(Pause::Unavailable, 503), (Pause::TooManyRequests, 429)] {
            let door = Door::new(Some(pause), SLOW, None);
            let refused = door.pass().unwrap_err();
            assert_eq!((refused.status, refused.retry_after_s), (status, Some(60)));
            assert!(refused.detail.contains("paused"));
            assert_eq!(passed(&door), 0);
            assert_eq!(passed(&Door::new(None, SLOW, Some(&door))), 3);
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up() {
        for (ms, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_500, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms}");
        }
    }
}

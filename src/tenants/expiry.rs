//! Warns in the log of tokens that expire: a month, a week, a day before, when they have, and once a day in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{Settings, TenantName};
use crate::scim::datetime;

const DAY_MS: i64 = 24 * 3_600_000;
/// A token that ends within this time, in milliseconds, is told of: in the log, by `check` and by `token list`.
pub const TOKEN_EXPIRES_SOON_MS: i64 = 30 * DAY_MS;
/// Tokens are looked at so often; their number bounds what that costs, and an hour more or less is no news.
const LOOK_EVERY_MS: i64 = 3_600_000;
/// Most lines at one look; the rest is counted in one more.
const LINES_MAX: usize = 50;

/// How near the end of a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// In 30 days at most.
    Month,
    /// In 7 days at most.
    Week,
    /// In a day at most.
    Day,
    /// It is refused.
    Expired,
}

impl Stage {
    fn of(expires_ms: i64, now_ms: i64) -> Option<Stage> {
        match expires_ms - now_ms {
            left if left <= 0 => Some(Stage::Expired),
            left if left <= DAY_MS => Some(Stage::Day),
            left if left <= 7 * DAY_MS => Some(Stage::Week),
            left if left <= TOKEN_EXPIRES_SOON_MS => Some(Stage::Month),
            _ => None,
        }
    }
}

/// What was warned of already.
#[derive(Default)]
pub(super) struct Warnings {
    looked_ms: Option<i64>,
    told: HashMap<(TenantName, Arc<str>), Told>,
}

#[derive(Clone, Copy)]
struct Told {
    expires_ms: i64,
    stage: Stage,
    at_ms: i64,
}

/// A token to be warned of.
#[derive(Debug, PartialEq, Eq)]
struct Due<'a> {
    tenant: &'a TenantName,
    token: &'a Arc<str>,
    expires_ms: i64,
    stage: Stage,
}

impl Warnings {
    /// Warns of what is due, when the last look was an hour ago.
    pub(super) fn warn(&mut self, settings: &Settings, now_ms: i64) {
        if self.looked_ms.is_some_and(|at| (0..LOOK_EVERY_MS).contains(&(now_ms - at))) {
            return;
        }
        self.looked_ms = Some(now_ms);
        let due = self.due(settings, now_ms);
        for Due { tenant, token, expires_ms, stage } in due.iter().take(LINES_MAX) {
            let expires = datetime::format(*expires_ms);
            match stage {
                Stage::Expired => {
                    tracing::warn!(%tenant, token_name = %token, expires, "an API token has expired and is refused")
                }
                _ => {
                    let days = days_left(*expires_ms, now_ms);
                    tracing::warn!(%tenant, token_name = %token, expires, days, "an API token expires soon");
                }
            }
        }
        if due.len() > LINES_MAX {
            let tokens = due.len() - LINES_MAX;
            tracing::warn!(
                tokens,
                "more API tokens expire soon or have expired; `ici-scim token list` shows them"
            );
        }
    }

    /// Tokens that a stage has come for, or of which nothing was said for a day; the most urgent first. Of one that has
    /// expired nothing is said again.
    fn due<'a>(&mut self, settings: &'a Settings, now_ms: i64) -> Vec<Due<'a>> {
        let mut due = Vec::new();
        let mut there = HashSet::new();
        for (tenant, chosen) in &settings.tenants {
            for token in &chosen.tokens {
                let Some(expires_ms) = token.expires_ms else { continue };
                let Some(stage) = Stage::of(expires_ms, now_ms) else { continue };
                let key = (tenant.clone(), Arc::clone(&token.name));
                let is_new = self.told.get(&key).is_none_or(|told| {
                    let again = stage != Stage::Expired && now_ms - told.at_ms >= DAY_MS;
                    told.expires_ms != expires_ms || stage > told.stage || again
                });
                if is_new {
                    self.told.insert(key.clone(), Told { expires_ms, stage, at_ms: now_ms });
                    due.push(Due { tenant, token: &token.name, expires_ms, stage });
                }
                there.insert(key);
            }
        }
        self.told.retain(|key, _| there.contains(key));
        due.sort_by_key(|due| due.expires_ms);
        due
    }
}

/// Days until then, rounded up: on the last day there is one left.
fn days_left(expires_ms: i64, now_ms: i64) -> i64 {
    (expires_ms - now_ms + DAY_MS - 1).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z
    const NOW_MS: i64 = 1_767_225_600_000;
    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn settings(expires: &str) -> Settings {
        let text = format!("[[tenants.acme.tokens]]\nname = \"okta\"\nhash = \"{HASH}\"\n{expires}");
        crate::config::parse(&text, "t").unwrap()
    }

    #[test]
    fn a_token_is_warned_of_at_each_stage_and_once_a_day() {
        let settings = settings("expires = 2026-02-15");
        let mut warnings = Warnings::default();
        let days = (0..60 * 24).filter_map(|hour| {
            let due = warnings.due(&settings, NOW_MS + hour * DAY_MS / 24);
            due.first().map(|due| (hour / 24, due.stage))
        });
        let days: Vec<(i64, Stage)> = days.collect();
        let first: Vec<i64> = days.iter().map(|(day, _)| *day).collect();
        assert_eq!(
            first,
            (15..=45).collect::<Vec<_>>(),
            "each day from the thirtieth on, and once at the end"
        );
        let of = |stage| days.iter().filter(|(_, told)| *told == stage).count();
        assert_eq!([Stage::Month, Stage::Week, Stage::Day, Stage::Expired].map(of), [23, 6, 1, 1]);
    }

    #[test]
    fn what_is_far_or_never_or_another_is_not_mixed_up() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.due(&settings(""), NOW_MS), []);
        assert_eq!(warnings.due(&settings("expires = 2026-02-01"), NOW_MS), []);
        assert_eq!(warnings.due(&settings("expires = 2026-01-20"), NOW_MS).len(), 1);
        assert_eq!(warnings.due(&settings("expires = 2026-01-20"), NOW_MS).len(), 0);
        assert_eq!(warnings.due(&settings("expires = 2026-01-21"), NOW_MS).len(), 1, "it has another expiry");
        assert_eq!(warnings.due(&Settings::default(), NOW_MS).len(), 0);
        assert!(warnings.told.is_empty(), "what is gone is forgotten");
        assert_eq!(days_left(NOW_MS + 1, NOW_MS), 1);
        assert_eq!(days_left(NOW_MS + DAY_MS, NOW_MS), 1);
        assert_eq!(days_left(NOW_MS + DAY_MS + 1, NOW_MS), 2);
    }
}

//! What can be asked of the tenants at any moment, for the metrics.

use std::fmt;
use std::path::Path;

use crate::metrics::{Page, whole};
use crate::tenants::Tenants;

impl Tenants {
    /// The folder of the tenants' files; absolute, for the life of the process.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Writes all that is known of the tenants. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        self.metrics.tell(page)?;
        let snapshot = self.snapshot();
        let (settings, ops) = (snapshot.settings(), snapshot.settings().server.ops);
        page.gauge("ici_scim_tenants", "Tenants that are configured", count(settings.tenants.len()))?;
        page.gauge("ici_scim_tenants_open", "Tenants whose files are open", count(self.open.len()))?;
        page.gauge(
            "ici_scim_tenants_open_max",
            "Most tenants' files that are kept open (open_tenants_max)",
            count(settings.server.limits.open_tenants_max),
        )?;
        page.gauge(
            "ici_scim_connections_max",
            "Most connections at once (connections_max)",
            count(settings.server.limits.connections_max),
        )?;
        self.tell_tokens(page, ops.metrics_tenants_max)?;
        self.tell_backups(page, ops.metrics_tenants_max)?;
        let status = self.config_status();
        page.gauge(
            "ici_scim_config_last_reload_successful",
            "1 when the configuration file as it is now is in force, 0 when it is faulty",
            f64::from(u8::from(status.fault.is_none())),
        )?;
        page.gauge(
            "ici_scim_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in seconds since 1970",
            seconds(status.read_ms),
        )
    }

    /// How old the backups are: of as many tenants as there are places for, the oldest first.
    fn tell_backups(&self, page: &mut Page<'_>, tenants_max: usize) -> fmt::Result {
        let backups = self.backups();
        let missing = backups.values().filter(|status| status.newest_ms.is_none()).count();
        page.gauge("ici_scim_backups_missing", "Tenants that have a file and no backup yet", count(missing))?;
        page.counter(
            "ici_scim_backup_failures",
            "Scheduled backups that failed",
            backups.values().map(|status| status.failures).sum(),
        )?;
        let mut newest: Vec<(i64, &str, u64)> = backups
            .iter()
            .filter_map(|(tenant, status)| Some((status.newest_ms?, tenant.as_str(), status.newest_bytes)))
            .collect();
        newest.sort_unstable();
        newest.truncate(tenants_max);
        page.gauges(
            "ici_scim_backup_last_success_timestamp_seconds",
            "When the newest good backup of a tenant was made, in seconds since 1970",
            newest.iter().map(|(made_ms, tenant, _)| ([("tenant", *tenant)], seconds(*made_ms))),
        )?;
        page.gauges(
            "ici_scim_backup_size_bytes",
            "How large it is",
            newest.iter().map(|(_, tenant, bytes)| ([("tenant", *tenant)], whole(*bytes))),
        )
    }

    /// When tokens expire: as many as there are places for, the soonest first.
    fn tell_tokens(&self, page: &mut Page<'_>, tokens_max: usize) -> fmt::Result {
        let snapshot = self.snapshot();
        let tenants = snapshot.settings().tenants.iter();
        let mut tokens: Vec<(i64, &str, &str)> = tenants
            .flat_map(|(name, tenant)| {
                let expiring =
                    tenant.tokens.iter().filter_map(|token| Some((token.expires_ms?, &*token.name)));
                expiring.map(|(expires_ms, token)| (expires_ms, name.as_str(), token))
            })
            .collect();
        tokens.sort_unstable();
        let now_ms = self.clock.now_ms();
        let expired = tokens.iter().filter(|(expires_ms, ..)| *expires_ms <= now_ms).count();
        page.gauge("ici_scim_tokens_expired", "Tokens that are configured and have expired", count(expired))?;
        // Those that are valid come first: of what has expired, the number is what matters.
        tokens.rotate_left(expired);
        page.gauges(
            "ici_scim_token_expiry_timestamp_seconds",
            "When a token expires, in seconds since 1970; only of those that do",
            tokens.into_iter().take(tokens_max).map(|(expires_ms, tenant, token)| {
                ([("tenant", tenant), ("token", token)], seconds(expires_ms))
            }),
        )
    }
}

fn count(number: usize) -> f64 {
    whole(u64::try_from(number).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a time in this age is exact to the millisecond")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

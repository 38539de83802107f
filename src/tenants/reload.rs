//! Takes a changed configuration into service. A faulty one changes nothing and is reported. When it has changed is
//! the business of `look`.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{ServerSettings, Settings, TenantName, TenantSettings, TokenSettings};
use crate::tenants::Tenants;
use crate::tenants::config_set::ConfigSet;
use crate::tenants::look::Looker;
use crate::tenants::schemas::{OwnSchemas, SchemaFault};
use crate::tenants::snapshot::Snapshot;

/// How often the files are looked at. A change is taken at the second look that finds it, so that a file which is
/// just being written is left alone: in service within half a second, or a little more.
const LOOK: Duration = Duration::from_millis(200);

/// So often files that change while they are read are read again at once.
const READS_MAX: usize = 3;

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadSummary {
    /// Tenants that are new.
    pub tenants_added: usize,
    /// Tenants that are gone.
    pub tenants_removed: usize,
    /// Tokens that are new, those of new tenants included.
    pub tokens_added: usize,
    /// Tokens that are gone, those of removed tenants included.
    pub tokens_removed: usize,
    /// Whether anything else changed.
    pub other_settings_changed: bool,
    /// Settings that were changed and come into force with a restart only.
    pub restart_needed: Vec<&'static str>,
}

/// Watches the configuration files for as long as it is held; writes down when tokens were used once it is not.
pub struct Watch {
    tenants: Arc<Tenants>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
        self.tenants.keep_last_used();
    }
}

impl Tenants {
    /// Reads the configuration files and takes them into service; requests in flight keep what they began with.
    /// Logs what came of it. Blocks.
    ///
    /// # Errors
    /// What is wrong with the files, in one sentence. Then nothing has changed.
    pub fn reload(&self) -> Result<ReloadSummary, String> {
        self.reload_now(true)
    }

    /// `asked`: somebody waits for an answer in the log, though nothing has changed.
    pub(super) fn reload_now(&self, asked: bool) -> Result<ReloadSummary, String> {
        let mut looker = self.looker();
        self.in_service.take_back();
        let reloaded =
            (0..READS_MAX).find_map(|_| self.reload_files(&mut looker, true, asked)).unwrap_or_else(|| {
                let problem =
                    format!("{} or a file that it includes is being written", self.config_file.display());
                self.refused(&problem);
                Err(problem)
            });
        self.in_service.tell(reloaded.as_ref().err().cloned());
        reloaded
    }

    /// [`Tenants::reload`], when a file is another than the one read last, and the same as at the look before.
    pub(super) fn look(&self) {
        let mut looker = self.looker();
        if looker.look() {
            self.in_service.take_back();
            // It is reported there.
            let reloaded = self.reload_files(&mut looker, false, false);
            self.in_service.tell(reloaded.and_then(Result::err));
        }
    }

    /// One reload at a time.
    fn looker(&self) -> MutexGuard<'_, Looker> {
        self.looker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: the files were changed while they were read.
    fn reload_files(
        &self,
        looker: &mut Looker,
        at_once: bool,
        asked: bool,
    ) -> Option<Result<ReloadSummary, String>> {
        let result = match looker.read(at_once) {
            Ok(None) => return None,
            Ok(Some(set)) => self.take(looker, &set),
            Err(error) => Err(error.to_string()),
        };
        match &result {
            Ok(summary) => {
                let mended = self.status.taken(self.clock.now_ms());
                // The first look reads what is in force already.
                if *summary != ReloadSummary::default() {
                    self.metrics.reloads.add_one();
                }
                log(summary, asked, mended);
            }
            Err(problem) => self.refused(problem),
        }
        Some(result)
    }

    fn refused(&self, problem: &str) {
        self.status.refused(self.clock.now_ms(), problem);
        self.metrics.reloads_failed.add_one();
        tracing::error!(problem, "the configuration is faulty and nothing was changed");
    }

    fn take(&self, looker: &mut Looker, set: &ConfigSet) -> Result<ReloadSummary, String> {
        let settings = set.settings().map_err(|error| error.to_string())?;
        if let Some(include) =
            settings.include.as_ref().filter(|_| set.has_lost_all_included(self.snapshot().settings()))
        {
            // As a rule a volume is not mounted.
            let include = include.shown();
            return Err(format!(
                "include = \"{include}\" finds no file any more; take it away if that is meant"
            ));
        }
        let settings =
            self.overrides.lay_over(settings, &self.config_file).map_err(|error| error.to_string())?;
        looker.set_schema_files(schema_files(&settings));
        self.swap(settings).map_err(|fault| format!("{}: {fault}", self.config_file.display()))
    }

    fn swap(&self, mut settings: Settings) -> Result<ReloadSummary, SchemaFault> {
        let before = self.current.load_full();
        let own = OwnSchemas::load(&settings, Some(before.own()))?;
        let restart_needed = keep_until_restart(&before.settings().server, &mut settings.server);
        let mut summary = ReloadSummary { restart_needed, ..difference(before.settings(), &settings) };
        summary.other_settings_changed |= !own.is_same(before.own());
        let after = Arc::new(Snapshot::new(settings, own, Some(&before)));
        let in_service = after.in_service();
        // First, so that no file is opened any more that is not to be.
        self.in_service.replace(in_service.clone(), before.insides());
        self.current.store(Arc::clone(&after));
        self.metrics.keep_only(|name| after.settings().tenants.contains_key(name));
        // After the swap: who opens a tenant looks at the snapshot in force.
        self.open.keep_only(|name| in_service.contains(name));
        Ok(summary)
    }

    /// Takes the files into service whenever they change, within a second, for as long as the watch is held.
    /// Must be called in a tokio runtime.
    pub fn watch(self: &Arc<Self>) -> Watch {
        Watch { tenants: Arc::clone(self), task: tokio::spawn(Arc::clone(self).follow()) }
    }

    async fn follow(self: Arc<Self>) {
        // The first looks catch what happened between the start of the program and now.
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let tenants = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || {
                tenants.look();
                tenants.in_service.look();
                tenants.tend();
            })
            .await;
        }
    }
}

/// The files of schemas that the settings name, each once.
fn schema_files(settings: &Settings) -> Vec<PathBuf> {
    let files: BTreeSet<&PathBuf> =
        settings.tenants.values().flat_map(|tenant| &tenant.schemas).map(|schema| &schema.file).collect();
    files.into_iter().cloned().collect()
}

/// `asked`: somebody waits for an answer, as by SIGHUP. `mended`: what was read before was faulty.
fn log(summary: &ReloadSummary, asked: bool, mended: bool) {
    if *summary == ReloadSummary::default() {
        match (mended, asked) {
            (true, _) => tracing::info!("the configuration is right again, and the one that is in force"),
            (false, true) => {
                tracing::info!("the configuration was read again and is the one that is in force")
            }
            (false, false) => {
                tracing::debug!("the configuration was read again and is the one that is in force")
            }
        }
        return;
    }
    tracing::info!(
        tenants_added = summary.tenants_added,
        tenants_removed = summary.tenants_removed,
        tokens_added = summary.tokens_added,
        tokens_removed = summary.tokens_removed,
        other_settings_changed = summary.other_settings_changed,
        "the changed configuration is in force"
    );
    if !summary.restart_needed.is_empty() {
        let settings = summary.restart_needed.join(", ");
        tracing::warn!(settings, "changed settings of [server] come into force with a restart only");
    }
}

/// Leaves what only a start can change as it is in force, and tells which of it was to change.
fn keep_until_restart(before: &ServerSettings, after: &mut ServerSettings) -> Vec<&'static str> {
    let mut needed = Vec::new();
    let mut keep = |name, changed: bool| {
        if changed {
            needed.push(name);
        }
    };
    keep("listen", before.listen != after.listen);
    keep("ops_listen", before.ops.listen != after.ops.listen);
    // Whether TLS is spoken at all, and where it is redirected to; files, ACME and versions are live.
    let redirect = |server: &ServerSettings| server.tls.as_ref().map(|tls| tls.redirect_listen);
    keep("tls", redirect(before) != redirect(after));
    keep("data_dir", before.data_dir != after.data_dir);
    keep("durability", before.durability != after.durability);
    keep("limits.connections_max", before.limits.connections_max != after.limits.connections_max);
    keep("limits.stop_s", before.limits.stop_s != after.limits.stop_s);
    if redirect(before) != redirect(after) {
        after.tls.clone_from(&before.tls);
    }
    after.listen.clone_from(&before.listen);
    after.ops.listen = before.ops.listen;
    after.data_dir.clone_from(&before.data_dir);
    after.durability = before.durability;
    after.limits.connections_max = before.limits.connections_max;
    after.limits.stop_s = before.limits.stop_s;
    needed
}

fn difference(before: &Settings, after: &Settings) -> ReloadSummary {
    let (old_tenants, new_tenants) = (names(before), names(after));
    let (old_tokens, new_tokens) = (tokens(before), tokens(after));
    ReloadSummary {
        tenants_added: new_tenants.difference(&old_tenants).count(),
        tenants_removed: old_tenants.difference(&new_tenants).count(),
        tokens_added: new_tokens.difference(&old_tokens).count(),
        tokens_removed: old_tokens.difference(&new_tokens).count(),
        other_settings_changed: differ_otherwise(before, after),
        restart_needed: Vec::new(),
    }
}

/// Whether anything differs of the server, or of a tenant or token that both have.
fn differ_otherwise(before: &Settings, after: &Settings) -> bool {
    let tokens_differ = |old: &TenantSettings, new: &TenantSettings| {
        let same = |old: &TokenSettings, new: &TokenSettings| old.name == new.name && old.hash == new.hash;
        new.tokens.iter().any(|new| old.tokens.iter().any(|old| same(old, new) && old != new))
    };
    let tenants_differ = |old: &TenantSettings, new: &TenantSettings| {
        old.name != new.name
            || old.profile != new.profile
            || old.on_recreate != new.on_recreate
            || old.store_passwords != new.store_passwords
            || old.life != new.life
            || old.schemas != new.schemas
            || old.catalogs != new.catalogs
            || old.check_entitlements != new.check_entitlements
            || tokens_differ(old, new)
    };
    let in_both = before.tenants.iter().filter_map(|(name, old)| Some((old, after.tenants.get(name)?)));
    before.server != after.server || in_both.into_iter().any(|(old, new)| tenants_differ(old, new))
}

fn names(settings: &Settings) -> HashSet<&TenantName> {
    settings.tenants.keys().collect()
}

/// A token is the same while its tenant, name and hash are.
fn tokens(settings: &Settings) -> HashSet<(&TenantName, &str, &str)> {
    settings
        .tenants
        .iter()
        .flat_map(|(name, tenant)| {
            tenant.tokens.iter().map(move |token| (name, &*token.name, token.hash.expose()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted() {
        let settings = |text: &str| crate::config::parse(text, "t").unwrap();
        let (old, new) =
            (settings("[tenants.a]\n[tenants.b]"), settings("[tenants.b]\n[tenants.c]\n[tenants.d]"));
        let summary = difference(&old, &new);
        assert_eq!((summary.tenants_added, summary.tenants_removed, summary.tokens_added), (2, 1, 0));
        assert_eq!(difference(&old, &old), ReloadSummary::default());
        let token = |more: &str| {
            let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
            settings(&format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{hash}\"\n{more}"))
        };
        let read_only = difference(&token(""), &token("access = \"read-only\""));
        assert_eq!((read_only.tokens_added, read_only.other_settings_changed), (0, true));
        let renamed = settings("[tenants.a]\nname = \"A\"\n[tenants.b]");
        assert_eq!(
            difference(&old, &renamed),
            ReloadSummary { other_settings_changed: true, ..ReloadSummary::default() }
        );
    }
}

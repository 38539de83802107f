//! Takes a changed configuration file into service. A faulty one changes nothing and is reported.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{ServerSettings, Settings, TenantName, TenantSettings, TokenSettings};
use crate::tenants::Tenants;
use crate::tenants::config_file::{self, Stamp};
use crate::tenants::schemas::{OwnSchemas, SchemaFault};
use crate::tenants::snapshot::Snapshot;

/// How often the file is looked at. A change is taken at the second look that finds it, so that a file which is
/// just being written is left alone: in service within half a second, or a little more.
///
/// Looking beats being told by the system: it works on every file system and through any link, costs next to
/// nothing, and is not woken by every line of a log that happens to be written into the same folder.
const LOOK: Duration = Duration::from_millis(200);

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

/// Watches the configuration file for as long as it is held.
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What reading the file gave.
pub(super) type Read = Result<String, std::io::ErrorKind>;

/// What was read last, be it in force or faulty.
#[derive(Default)]
pub(super) struct LastRead {
    seen: Option<Seen>,
    /// The files of schemas that the text names.
    schema_files: Vec<PathBuf>,
}

/// What tells whether anything has changed: the text, and a look at each file of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    text: Read,
    schema_files: Vec<Stamp>,
}

impl Tenants {
    /// Reads the configuration file and takes it into service; requests in flight keep what they began with.
    /// Logs what came of it. Blocks.
    ///
    /// # Errors
    /// What is wrong with the file, in one sentence. Then nothing has changed.
    pub fn reload(&self) -> Result<ReloadSummary, String> {
        self.reload_files(&mut self.last_read())
    }

    /// [`Tenants::reload`], when a file is another than the one read last, and the same as at the look before.
    /// Gives what it saw.
    pub(super) fn look(&self, before: Option<Seen>) -> Option<Seen> {
        let mut last = self.last_read();
        let seen = Some(Seen {
            text: config_file::read(&self.config_file).map_err(|error| error.kind()),
            schema_files: stamps(&last.schema_files),
        });
        if last.seen != seen && before == seen {
            // It is reported there.
            let _ = self.reload_files(&mut last);
        }
        seen
    }

    /// One reload at a time.
    fn last_read(&self) -> MutexGuard<'_, LastRead> {
        self.last_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload_files(&self, last: &mut LastRead) -> Result<ReloadSummary, String> {
        let read = config_file::read(&self.config_file);
        let text = read.as_ref().map(String::clone).map_err(std::io::Error::kind);
        let file = self.config_file.display().to_string();
        let result = read.map_err(|error| format!("{file} cannot be read: {error}"));
        let result = result.and_then(|text| self.checked(&text, &file));
        if let Ok(settings) = &result {
            last.schema_files = schema_files(settings);
        }
        // Looked at before they are read, so that what changes in between is seen as changed.
        last.seen = Some(Seen { text, schema_files: stamps(&last.schema_files) });
        let result =
            result.and_then(|settings| self.swap(settings).map_err(|fault| format!("{file}: {fault}")));
        match &result {
            Ok(summary) => {
                self.status.taken(self.clock.now_ms());
                log(summary);
            }
            Err(problem) => {
                self.status.refused(self.clock.now_ms(), problem);
                tracing::error!(problem, "the configuration is faulty and nothing was changed");
            }
        }
        result
    }

    fn checked(&self, text: &str, file: &str) -> Result<Settings, String> {
        if text.trim().is_empty() {
            // As a rule somebody is about to write it; that it removes every tenant is hardly meant.
            return Err(format!("{file} is empty"));
        }
        let settings = crate::config::parse(text, file).map_err(|error| error.to_string())?;
        self.overrides.lay_over(settings, &self.config_file).map_err(|error| error.to_string())
    }

    fn swap(&self, mut settings: Settings) -> Result<ReloadSummary, SchemaFault> {
        let before = self.current.load_full();
        let own = OwnSchemas::load(&settings, Some(before.own()))?;
        let restart_needed = keep_until_restart(&before.settings().server, &mut settings.server);
        let mut summary = ReloadSummary { restart_needed, ..difference(before.settings(), &settings) };
        summary.other_settings_changed |= !own.is_same(before.own());
        let after = Arc::new(Snapshot::new(settings, own, Some(&before)));
        self.current.store(Arc::clone(&after));
        // After the swap: who opens a tenant looks at the snapshot in force.
        self.open.keep_only(|name| after.settings().tenants.contains_key(name));
        Ok(summary)
    }

    /// Takes the file into service whenever it changes, within a second, for as long as the watch is held.
    /// Must be called in a tokio runtime.
    pub fn watch(self: &Arc<Self>) -> Watch {
        Watch { task: tokio::spawn(Arc::clone(self).follow()) }
    }

    async fn follow(self: Arc<Self>) {
        // The first looks catch what happened between the start of the program and now.
        let mut seen = None;
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let (tenants, before) = (Arc::clone(&self), seen);
            let looked = tokio::task::spawn_blocking(move || tenants.look(before)).await;
            seen = looked.unwrap_or_default();
        }
    }
}

/// The files of schemas that the settings name, each once.
fn schema_files(settings: &Settings) -> Vec<PathBuf> {
    let files: BTreeSet<&PathBuf> =
        settings.tenants.values().flat_map(|tenant| &tenant.schemas).map(|schema| &schema.file).collect();
    files.into_iter().cloned().collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| config_file::stamp(file)).collect()
}

fn log(summary: &ReloadSummary) {
    if *summary == ReloadSummary::default() {
        tracing::debug!("the configuration was read again and is the same");
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
    keep("data_dir", before.data_dir != after.data_dir);
    keep("durability", before.durability != after.durability);
    keep("limits.connections_max", before.limits.connections_max != after.limits.connections_max);
    keep("limits.stop_s", before.limits.stop_s != after.limits.stop_s);
    after.listen = before.listen;
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

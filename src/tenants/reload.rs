//! Takes a changed configuration file into service. A faulty one changes nothing and is reported.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::config::{ServerSettings, Settings, TenantName, TenantSettings, TokenSettings};
use crate::tenants::config_file;
use crate::tenants::snapshot::Snapshot;
use crate::tenants::{Error, Tenants};

/// How long the folder must be quiet before the file is read: who writes it may not be done yet.
const QUIET: Duration = Duration::from_millis(100);
/// Most such pauses before the file is read all the same.
const PAUSES_MAX: usize = 4;
/// How often the file is looked at without being told of a change: for folders that cannot be watched
/// (network file systems) and links into other folders.
const LOOK: Duration = Duration::from_millis(500);

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
    // Some systems have nothing to watch with; then the file is only looked at.
    _watcher: Option<notify::RecommendedWatcher>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The text that was read last, be it in force or faulty.
#[derive(Default)]
pub(super) struct LastText(Option<Result<String, std::io::ErrorKind>>);

impl Tenants {
    /// Reads the configuration file and takes it into service; requests in flight keep what they began with.
    /// Logs what came of it. Blocks.
    ///
    /// # Errors
    /// What is wrong with the file, in one sentence. Then nothing has changed.
    pub fn reload(&self) -> Result<ReloadSummary, String> {
        self.reload_text(&mut self.last_text())
    }

    /// [`Tenants::reload`], unless the text is the one that was read last.
    fn reload_if_changed(&self) {
        let mut last = self.last_text();
        let read = config_file::read(&self.config_file).map_err(|error| error.kind());
        if last.0.as_ref() != Some(&read) {
            // It is reported there.
            let _ = self.reload_text(&mut last);
        }
    }

    /// One reload at a time.
    fn last_text(&self) -> MutexGuard<'_, LastText> {
        self.last_text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload_text(&self, last: &mut LastText) -> Result<ReloadSummary, String> {
        let read = config_file::read(&self.config_file);
        last.0 = Some(read.as_ref().map(String::clone).map_err(std::io::Error::kind));
        let file = self.config_file.display().to_string();
        let result = read.map_err(|error| format!("{file} cannot be read: {error}"));
        let result = result.and_then(|text| self.checked(&text, &file)).map(|settings| self.swap(settings));
        match &result {
            Ok(summary) => log(summary),
            Err(problem) => tracing::error!(problem, "the configuration is faulty and nothing was changed"),
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

    fn swap(&self, mut settings: Settings) -> ReloadSummary {
        let before = self.current.load_full();
        let restart_needed = keep_until_restart(&before.settings().server, &mut settings.server);
        let summary = ReloadSummary { restart_needed, ..difference(before.settings(), &settings) };
        let after = Arc::new(Snapshot::new(settings, Some(&before)));
        self.current.store(Arc::clone(&after));
        // After the swap: who opens a tenant looks at the snapshot in force.
        self.open.keep_only(|name| after.settings().tenants.contains_key(name));
        summary
    }

    /// Takes the file into service whenever it changes, within a second, for as long as the watch is held.
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// None at present: where the folder cannot be watched the file is looked at twice a second.
    pub fn watch(self: &Arc<Self>) -> Result<Watch, Error> {
        let changed = Arc::new(Notify::new());
        let watcher = watch_folder(&config_file::folder_of(&self.config_file), Arc::clone(&changed));
        if let Err(error) = &watcher {
            tracing::warn!(%error, "the configuration's folder cannot be watched; the file is looked at");
        }
        let task = tokio::spawn(Arc::clone(self).follow(changed));
        Ok(Watch { _watcher: watcher.ok(), task })
    }

    async fn follow(self: Arc<Self>, changed: Arc<Notify>) {
        loop {
            // The first look catches what happened between the start of the program and now.
            let tenants = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || tenants.reload_if_changed()).await;
            if timeout(LOOK, changed.notified()).await.is_ok() {
                settle(&changed).await;
            }
        }
    }
}

/// Waits until nothing changes any more, but not for ever.
async fn settle(changed: &Notify) {
    for _ in 0..PAUSES_MAX {
        if timeout(QUIET, changed.notified()).await.is_err() {
            return;
        }
        // Many events in a row are one change.
        sleep(QUIET / 10).await;
    }
}

fn watch_folder(folder: &Path, changed: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too, and ours must not wake us.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    // The folder and not the file, which is replaced by another one.
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
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
            || old.on_recreate != new.on_recreate
            || old.store_passwords != new.store_passwords
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
            tenant.tokens.iter().map(move |token| (name, token.name.as_str(), token.hash.expose()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_watched_folder_tells_of_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tenants.toml");
        fs::write(&file, "").unwrap();
        let changed = Arc::new(Notify::new());
        let _watcher = watch_folder(folder.path(), Arc::clone(&changed)).unwrap();
        let told = || timeout(Duration::from_secs(20), changed.notified());
        fs::write(&file, "x").unwrap();
        told().await.unwrap();
        config_file::replace(&file, "y").unwrap();
        told().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_changes_is_waited_for_but_not_for_ever() {
        let changed = Arc::new(Notify::new());
        let started = tokio::time::Instant::now();
        settle(&changed).await;
        assert_eq!(started.elapsed(), QUIET);
        let endless = tokio::spawn({
            let changed = Arc::clone(&changed);
            async move {
                loop {
                    changed.notify_one();
                    sleep(QUIET / 3).await;
                }
            }
        });
        let started = tokio::time::Instant::now();
        settle(&changed).await;
        assert!(started.elapsed() < LOOK);
        endless.abort();
    }

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

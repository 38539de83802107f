//! The server's own backups: which tenants are due, one after the other, and how it went. How a backup is made is told
//! in `backup`.
//!
//! They are made on a thread of their own that yields to all others, so that requests are answered first. What was
//! made before a restart is known from the manifests, so that a restart neither skips a backup nor makes one too many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::backup;
use crate::config::{BackupSettings, Schedule, TenantName};
use crate::tenants::{Tenants, file_of, run};

/// How often it is seen what is due.
const LOOK: Duration = Duration::from_secs(1);

/// After a failure, that long until the next attempt.
const RETRY_MS: i64 = 10 * 60 * 1000;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// The lowest priority that the system has.
const NICE_MAX: i32 = 19;

/// How the backups of a tenant stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupStatus {
    /// The moment of the newest good one, in milliseconds since 1970-01-01T00:00:00Z.
    pub newest_ms: Option<i64>,
    /// Its length in bytes, packed.
    pub newest_bytes: u64,
    /// When the last attempt failed, if it came after the newest good one. In milliseconds since 1970.
    pub failed_ms: Option<i64>,
    /// Attempts of this process that failed.
    pub failures: u64,
}

/// What is known of the backups that the configuration asks for.
#[derive(Debug, Default)]
pub(super) struct Backups(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The folder that this is known of.
    to: Option<PathBuf>,
    of: BTreeMap<TenantName, BackupStatus>,
    /// Tenants that are due and had no file when the data folder was as `looked` says: nothing is to be done for them.
    absent: Arc<BTreeSet<TenantName>>,
    /// When the data folder had changed last before it was seen who is absent; `None` when that is to be seen anew.
    looked: Option<SystemTime>,
}

impl Backups {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the backups that the configuration asks for, for as long as it is held.
pub struct BackupKeeper {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for BackupKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tenants {
    /// How the backups stand of the tenants that have a file, in memory; empty where the configuration asks for none.
    pub fn backups(&self) -> BTreeMap<TenantName, BackupStatus> {
        self.backups.lock().of.clone()
    }

    /// Makes backups whenever they are due, for as long as the keeper is held. Must be called in a tokio runtime.
    pub fn keep_backups(self: &Arc<Self>) -> BackupKeeper {
        BackupKeeper { task: tokio::spawn(Arc::clone(self).make_backups()) }
    }

    async fn make_backups(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.close_replaced();
            let snapshot = self.snapshot();
            let Some(settings) = snapshot.settings().server.backup.clone() else {
                *self.backups.lock() = Known::default();
                continue;
            };
            if !self.has_work(&settings) {
                continue;
            }
            let tenants = Arc::clone(&self);
            let (done, ended) = oneshot::channel();
            let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(move || {
                tenants.make_due(&settings);
                // Who waited has gone when the server stops.
                let _ = done.send(());
            });
            match thread {
                // An error means that the thread panicked; the next look tries anew.
                Ok(_) => drop(ended.await),
                Err(error) => tracing::error!(%error, "cannot start the thread that makes backups"),
            }
        }
    }

    /// Closes tenants whose file is another one by now, as after a restore over a file that could not be read.
    fn close_replaced(&self) {
        self.open.close_where(run::Tenant::is_replaced);
    }

    /// Whether anything may be due, as far as memory tells.
    fn has_work(&self, settings: &BackupSettings) -> bool {
        let (is_new, absent) = {
            let known = self.backups.lock();
            let is_new = known.to.as_ref() != Some(&settings.to);
            // A new file changes the folder, so one look at the folder stands for all tenants without a file.
            let stays = known.looked.is_some() && known.looked == last_change(&self.data_dir);
            (is_new, if stays { Arc::clone(&known.absent) } else { Arc::default() })
        };
        is_new
            || self
                .snapshot()
                .settings()
                .tenants
                .keys()
                .any(|tenant| !absent.contains(tenant) && self.is_due(settings, tenant))
    }

    /// Makes what is due, one tenant after the other, while the settings stay the same.
    fn make_due(&self, settings: &BackupSettings) {
        self.look_into(&settings.to);
        let snapshot = self.snapshot();
        let mut yields = false;
        self.see_who_is_absent(settings);
        for tenant in snapshot.settings().tenants.keys() {
            let file = file_of(&self.data_dir, tenant);
            if !self.is_due(settings, tenant) || !file.exists() {
                continue;
            }
            // One may have been made by hand since.
            self.note_newest(&settings.to, tenant);
            if !self.is_due(settings, tenant) {
                continue;
            }
            if self.snapshot().settings().server.backup.as_ref() != Some(settings) {
                return;
            }
            if !std::mem::replace(&mut yields, true) {
                yield_to_others();
            }
            self.make_backup(settings, tenant, &file);
        }
    }

    /// Remembers who is due and has no file, until the data folder changes.
    fn see_who_is_absent(&self, settings: &BackupSettings) {
        // Before the files are looked for, so that what comes in between is seen as a change. The clock of files is
        // coarse: a folder that has just changed may change once more and keep its time.
        let looked = last_change(&self.data_dir)
            .filter(|changed| changed.elapsed().is_ok_and(|quiet_for| quiet_for >= LOOK));
        let snapshot = self.snapshot();
        let absent: BTreeSet<TenantName> = snapshot
            .settings()
            .tenants
            .keys()
            .filter(|tenant| self.is_due(settings, tenant) && !file_of(&self.data_dir, tenant).exists())
            .cloned()
            .collect();
        let mut known = self.backups.lock();
        (known.absent, known.looked) = (Arc::new(absent), looked);
    }

    fn make_backup(&self, settings: &BackupSettings, tenant: &TenantName, file: &Path) {
        let now_ms = self.clock.now_ms();
        match backup::make(file, tenant, &settings.to, now_ms) {
            Ok(made) => {
                let bytes = made.manifest.bytes;
                tracing::info!(%tenant, bytes, users = made.manifest.users, "backed up");
                let mut known = self.backups.lock();
                let status = known.of.entry(tenant.clone()).or_default();
                (status.newest_ms, status.newest_bytes) = (Some(now_ms), bytes);
                status.failed_ms = None;
            }
            Err(error) => {
                let retry_s = retry_ms(settings.schedule) / 1_000;
                tracing::error!(%tenant, %error, retry_s, "a backup failed");
                let mut known = self.backups.lock();
                let status = known.of.entry(tenant.clone()).or_default();
                status.failed_ms = Some(now_ms);
                status.failures += 1;
                return;
            }
        }
        if let Some(keep) = &settings.keep {
            match backup::prune(&settings.to, tenant, keep) {
                Ok(gone) if gone.is_empty() => {}
                Ok(gone) => tracing::info!(%tenant, deleted = gone.len(), "old backups are deleted"),
                Err(error) => tracing::error!(%tenant, %error, "old backups cannot be deleted"),
            }
        }
    }

    fn is_due(&self, settings: &BackupSettings, tenant: &TenantName) -> bool {
        let status = self.backups.lock().of.get(tenant).cloned().unwrap_or_default();
        is_due(settings.schedule, self.clock.now_ms(), &status)
    }

    /// Learns from the manifests what there is, unless it is known of this folder; forgets tenants that are gone.
    fn look_into(&self, to: &Path) {
        let snapshot = self.snapshot();
        let tenants = &snapshot.settings().tenants;
        let mut known = self.backups.lock();
        if known.to.as_deref() == Some(to) {
            known.of.retain(|tenant, _| tenants.contains_key(tenant));
            return;
        }
        *known = Known { to: Some(to.to_owned()), ..Known::default() };
        drop(known);
        for tenant in tenants.keys() {
            self.note_newest(to, tenant);
        }
    }

    fn note_newest(&self, to: &Path, tenant: &TenantName) {
        if let Ok(newest) = backup::newest(to, tenant) {
            let mut known = self.backups.lock();
            let status = known.of.entry(tenant.clone()).or_default();
            (status.newest_ms, status.newest_bytes) =
                (Some(newest.manifest.time_ms()), newest.manifest.bytes);
        }
    }
}

/// When a file of the folder was last made or taken away; `None` when that cannot be seen.
fn last_change(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder).ok()?.modified().ok()
}

/// Lets every other thread go first, for the rest of this thread's life.
fn yield_to_others() {
    // On Linux this is about a thread. Where it is refused, backups are made all the same.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE_MAX);
}

fn retry_ms(schedule: Schedule) -> i64 {
    match schedule {
        Schedule::EverySeconds(every_s) => RETRY_MS.min(in_ms(every_s)),
        Schedule::DailyMinute(_) => RETRY_MS,
    }
}

fn is_due(schedule: Schedule, now_ms: i64, status: &BackupStatus) -> bool {
    if status.failed_ms.is_some_and(|failed_ms| now_ms - failed_ms < retry_ms(schedule)) {
        return false;
    }
    // One from the future, made before the clock was put back, must not keep new ones from being made.
    let Some(newest_ms) = status.newest_ms.filter(|newest_ms| *newest_ms <= now_ms) else { return true };
    match schedule {
        Schedule::EverySeconds(every_s) => now_ms - newest_ms >= in_ms(every_s),
        Schedule::DailyMinute(minute) => {
            let today_ms = now_ms - now_ms.rem_euclid(DAY_MS) + i64::from(minute) * MINUTE_MS;
            newest_ms < if today_ms <= now_ms { today_ms } else { today_ms - DAY_MS }
        }
    }
}

fn in_ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * MINUTE_MS;

    fn made(newest_ms: i64) -> BackupStatus {
        BackupStatus { newest_ms: Some(newest_ms), ..BackupStatus::default() }
    }

    #[test]
    fn a_tenant_without_a_file_is_no_work_until_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut settings = crate::config::parse(
            "[server.backup]\nto = \"backups\"\nevery = \"1h\"\n[tenants.acme]",
            "tenants.toml",
        )
        .unwrap();
        settings.server.data_dir = data.clone();
        let mut backup = settings.server.backup.clone().unwrap();
        backup.to = folder.path().join("backups");
        settings.server.backup = Some(backup.clone());
        let file = folder.path().join("tenants.toml");
        let clock = crate::clock::ManualClock::at(DAY_MS);
        let tenants = Tenants::new(file, settings, crate::tenants::Overrides::default(), clock).unwrap();
        // Some time ago, as in a folder that is quiet.
        let dated = |second: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            std::fs::File::open(&data).unwrap().set_modified(time).unwrap();
        };
        dated(1_000);
        assert!(tenants.has_work(&backup), "the folder of backups was never looked into");
        tenants.make_due(&backup);
        assert!(!tenants.has_work(&backup), "there is no file to back up");
        std::fs::write(file_of(&data, &"acme".parse().unwrap()), "").unwrap();
        assert!(tenants.has_work(&backup), "there is one now");
    }

    #[test]
    fn what_was_never_backed_up_is_due_at_once() {
        for schedule in [Schedule::EverySeconds(3600), Schedule::DailyMinute(180)] {
            assert!(is_due(schedule, DAY_MS, &BackupStatus::default()));
            assert!(is_due(schedule, DAY_MS, &made(9 * DAY_MS)), "one from the future");
        }
    }

    #[test]
    fn an_interval_runs_from_the_newest_one() {
        let every = Schedule::EverySeconds(6 * 3600);
        assert!(!is_due(every, DAY_MS + 6 * HOUR_MS - 1, &made(DAY_MS)));
        assert!(is_due(every, DAY_MS + 6 * HOUR_MS, &made(DAY_MS)));
    }

    #[test]
    fn a_time_of_the_day_comes_once_a_day_and_is_made_up_for() {
        let at_three = Schedule::DailyMinute(180);
        let three = 5 * DAY_MS + 3 * HOUR_MS;
        assert!(!is_due(at_three, three - 1, &made(three - DAY_MS)));
        assert!(is_due(at_three, three, &made(three - 1)));
        assert!(!is_due(at_three, three + 5, &made(three + 1)));
        // The server was not running at three.
        assert!(is_due(at_three, three + 20 * HOUR_MS, &made(three - DAY_MS)));
        assert!(!is_due(at_three, three + 23 * HOUR_MS, &made(three)));
    }

    #[test]
    fn after_a_failure_there_is_a_pause() {
        let every = Schedule::EverySeconds(3600);
        let failed = BackupStatus { failed_ms: Some(DAY_MS), failures: 1, ..made(0) };
        assert!(!is_due(every, DAY_MS + RETRY_MS - 1, &failed));
        assert!(is_due(every, DAY_MS + RETRY_MS, &failed));
        assert!(is_due(Schedule::EverySeconds(60), DAY_MS + MINUTE_MS, &failed));
    }
}

//! When a client last walked each tenant's list of users, as an import of Okta does: noted in memory as requests come,
//! and written down beside them, at most once a minute, in a file of the data folder.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Stopwatch;
use crate::config::TenantName;
use crate::tenants::Tenants;

/// The name of the file in the data folder.
const FILE: &str = ".last-imports.json";
/// Most bytes of it that are read: room for a hundred thousand tenants.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// When the users of a tenant were last listed, in milliseconds since 1970-01-01T00:00:00Z; 0 for never. Shared by
/// whoever clones it.
#[derive(Clone, Default)]
pub(super) struct LastImport(Arc<AtomicI64>);

impl LastImport {
    /// They are being listed now.
    pub(super) fn note(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }
}

/// What has been written, and when.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<(Map<String, Value>, Stopwatch)>>);

impl Tenants {
    /// Takes over what an earlier server has written in the data folder.
    pub(super) fn load_imports(&self) {
        let known = read(&self.data_dir).unwrap_or_default();
        for (name, last) in self.snapshot().last_imports() {
            if let Some(ms) = known.get(name.as_str()).and_then(Value::as_i64) {
                last.note(ms);
            }
        }
    }

    /// Writes down what is new, unless that was done within this time. Blocks. It is no loss when it cannot be
    /// written: the log is told once a minute, and serving goes on.
    pub fn keep_imports(&self, every: Duration) {
        let mut kept = self.imports_kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|(_, watch)| watch.elapsed() < every) {
            return;
        }
        let snapshot = self.snapshot();
        let now: Map<String, Value> = snapshot
            .last_imports()
            .filter_map(|(name, last)| Some((name.to_string(), last.get()?.into())))
            .collect();
        if now.is_empty() || kept.as_ref().is_some_and(|(before, _)| *before == now) {
            return;
        }
        if let Err(error) = write(&self.data_dir, &Value::Object(now.clone()).to_string()) {
            tracing::warn!(%error, file = FILE, "cannot be written in the data folder");
        }
        *kept = Some((now, Stopwatch::start()));
    }
}

/// When the users of a tenant were last listed by a client, in milliseconds since 1970-01-01T00:00:00Z, as far as it
/// is written down: up to a minute may be missing.
pub fn last_import_ms(data_dir: &Path, tenant: &TenantName) -> Option<i64> {
    read(data_dir).ok()?.get(tenant.as_str())?.as_i64()
}

fn read(data_dir: &Path) -> io::Result<Map<String, Value>> {
    let mut text = String::new();
    std::fs::File::open(data_dir.join(FILE))?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Nobody reads half of it.
fn write(data_dir: &Path, text: &str) -> io::Result<()> {
    let beside = data_dir.join(format!("{FILE}.new"));
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(text.as_bytes())?;
    std::fs::rename(beside, data_dir.join(FILE))
}

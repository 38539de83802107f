//! When each token was last shown by a client: kept in memory by the server, and in a small file beside the tenants'
//! files for `token list` and for the next start.
//!
//! Not in the tenant's own file: a read would become a write there, and wake a file that is at rest. Written apart
//! from the requests, once a minute at most, and not synchronised with the disk: the loss of power may take the
//! last minutes, and nothing depends on them. The file holds names and times and no secret.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::scim::datetime;
use crate::tenants::config_file;
use crate::tenants::snapshot::Snapshot;

/// The file, in the data folder.
const FILE_NAME: &str = ".last-used.json";
/// Written so often at most.
const WRITE_EVERY_MS: i64 = 60_000;
/// Most bytes that are read: 100,000 tenants with 16 tokens of long names each.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// When tokens were last used, by tenant and name, in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastUsed(BTreeMap<String, BTreeMap<String, i64>>);

impl LastUsed {
    /// Reads what the server of this data folder has written. One that is not there or not right is as one in which nothing
    /// stands: it is a convenience.
    pub fn read(data_dir: &Path) -> LastUsed {
        let text = config_file::read_at_most(&data_dir.join(FILE_NAME), BYTES_MAX, "it is too large");
        text.ok().and_then(|text| LastUsed::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<LastUsed> {
        let document: Value = serde_json::from_str(text).ok()?;
        let mut last_used = LastUsed::default();
        for (tenant, tokens) in document.get("tenants")?.as_object()? {
            for (token, time) in tokens.as_object()? {
                if let Some(at_ms) = time.as_str().and_then(datetime::parse) {
                    last_used.0.entry(tenant.clone()).or_default().insert(token.clone(), at_ms);
                }
            }
        }
        Some(last_used)
    }

    /// What is known in memory of the tokens of a configuration, and of no others.
    fn of(snapshot: &Snapshot) -> LastUsed {
        let mut last_used = LastUsed::default();
        for (tenant, settings) in &snapshot.settings().tenants {
            let tokens = settings.tokens.iter().zip(snapshot.proofs(tenant.as_str()));
            let used: BTreeMap<String, i64> = tokens
                .filter(|(_, proof)| proof.used_ms() > 0)
                .map(|(token, proof)| (token.name.to_string(), proof.used_ms()))
                .collect();
            if !used.is_empty() {
                last_used.0.insert(tenant.to_string(), used);
            }
        }
        last_used
    }

    fn text(&self) -> String {
        let shown = |tokens: &BTreeMap<String, i64>| -> Map<String, Value> {
            tokens.iter().map(|(name, at_ms)| (name.clone(), json!(datetime::format(*at_ms)))).collect()
        };
        let tenants: Map<String, Value> =
            self.0.iter().map(|(tenant, tokens)| (tenant.clone(), Value::Object(shown(tokens)))).collect();
        json!({ "tenants": tenants }).to_string()
    }

    /// When the token was last used, in milliseconds since 1970; `None` when that is not known, or was another of the
    /// same name, made at `created_ms`.
    pub fn of_token(&self, tenant: &str, token: &str, created_ms: Option<i64>) -> Option<i64> {
        let at_ms = *self.0.get(tenant)?.get(token)?;
        (created_ms.unwrap_or(i64::MIN) <= at_ms).then_some(at_ms)
    }
}

/// Writes the file now and then.
pub(super) struct Keeper {
    file: PathBuf,
    /// A token was used since the file was written.
    news: AtomicBool,
    state: Mutex<KeeperState>,
}

#[derive(Default)]
struct KeeperState {
    written_ms: Option<i64>,
    /// Told once, not every minute.
    failed: bool,
}

impl Keeper {
    /// For a data folder.
    pub(super) fn new(data_dir: &Path) -> Keeper {
        Keeper { file: data_dir.join(FILE_NAME), news: AtomicBool::new(false), state: Mutex::default() }
    }

    /// A token was used. Costs next to nothing.
    pub(super) fn tell(&self) {
        self.news.store(true, Ordering::Relaxed);
    }

    /// Writes the file when there is news and the last time was a minute ago, or `at_once`. Blocks.
    pub(super) fn keep(&self, snapshot: &Arc<Snapshot>, now_ms: i64, at_once: bool) {
        if !self.news.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The time of day may have been set back.
        let is_due = state.written_ms.is_none_or(|at| now_ms - at >= WRITE_EVERY_MS || now_ms < at);
        if !is_due && !at_once {
            return;
        }
        self.news.store(false, Ordering::Relaxed);
        state.written_ms = Some(now_ms);
        match self.write(&LastUsed::of(snapshot).text()) {
            Ok(()) => state.failed = false,
            Err(error) if !state.failed => {
                state.failed = true;
                tracing::warn!(%error, "when tokens were last used cannot be written to the data folder");
            }
            Err(_) => {}
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let folder = config_file::folder_of(&self.file);
        let mut new = tempfile::Builder::new().prefix(".last-used.").tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
        new.persist(&self.file).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_right_is_nothing() {
        let mut last_used = LastUsed::default();
        last_used.0.entry("acme".to_owned()).or_default().insert("okta".to_owned(), 1_767_225_600_000);
        assert_eq!(last_used.text(), r#"{"tenants":{"acme":{"okta":"2026-01-01T00:00:00.000Z"}}}"#);
        assert_eq!(LastUsed::parse(&last_used.text()), Some(last_used.clone()));
        assert_eq!(last_used.of_token("acme", "okta", Some(1_767_225_600_000)), Some(1_767_225_600_000));
        assert_eq!(last_used.of_token("acme", "okta", None), Some(1_767_225_600_000));
        assert_eq!(last_used.of_token("acme", "okta", Some(1_767_225_600_001)), None, "it was another");
        assert_eq!(last_used.of_token("globex", "okta", None), None);
        for wrong in ["", "[]", "{}", "{\"tenants\":[]}", "{\"tenants\":{\"a\":1}}"] {
            assert_eq!(LastUsed::parse(wrong), None, "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LastUsed::read(folder.path()), LastUsed::default());
    }
}

//! A folder of backups: what is in it, the newest good one, and which of them go.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::backup::make::UNFINISHED;
use crate::backup::manifest::{
    MANIFEST_BYTES_MAX, Manifest, PACKED_END, checksum_of, manifest_of, time_in_name,
};
use crate::backup::{Error, retention};
use crate::config::{Keep, TenantName};

/// After that time, nobody is at work any more on a file that is not finished.
const UNFINISHED_MS_MAX: i64 = 24 * 3600 * 1000;

/// How a backup looks from outside, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has the size that its manifest tells.
    Good,
    /// It has another size.
    Damaged,
    /// Only the manifest is there.
    Missing,
}

/// A manifest in a folder of backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the backup is or should be.
    pub file: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// How it looks.
    pub state: State,
}

/// All backups in a folder and one level below it, by tenant and then by time.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_dir() {
            collect(&path, &mut found)?;
        }
    }
    sort(&mut found);
    Ok(found)
}

/// The backups of one tenant, oldest first; none where there is no folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn find(to: &Path, tenant: &TenantName) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    // Also where a person has copied some into one folder.
    for folder in [to.join(tenant.as_str()), to.to_owned()] {
        if folder.is_dir() {
            collect(&folder, &mut found)?;
        }
    }
    found.retain(|found| found.manifest.tenant == tenant.as_str());
    sort(&mut found);
    Ok(found)
}

/// The newest good backup of a tenant in a folder.
///
/// # Errors
/// When there is none, or the folder cannot be read.
pub fn newest(to: &Path, tenant: &TenantName) -> Result<Found, Error> {
    let good = find(to, tenant)?.into_iter().rfind(|found| found.state == State::Good);
    good.ok_or_else(|| Error::NoBackup { folder: to.to_owned(), tenant: tenant.clone() })
}

/// Deletes the backups of a tenant that the rule does not keep, and gives them. Of those that do not look good none
/// is deleted, and none counts.
///
/// # Errors
/// When the folder cannot be read, or a file not be deleted.
pub fn prune(to: &Path, tenant: &TenantName, keep: &Keep) -> Result<Vec<Found>, Error> {
    let mut good = Vec::new();
    let folder = to.join(tenant.as_str());
    if folder.is_dir() {
        collect(&folder, &mut good)?;
    }
    good.retain(|found| found.manifest.tenant == tenant.as_str() && found.state == State::Good);
    let times: Vec<i64> = good.iter().map(|found| found.manifest.time_ms()).collect();
    let kept = retention::kept(keep, &times);
    let gone: Vec<Found> =
        good.into_iter().zip(kept).filter(|(_, kept)| !kept).map(|(found, _)| found).collect();
    for found in &gone {
        // The manifest last: what is left by a crash in between still tells what it was.
        for path in [found.file.clone(), checksum_of(&found.file), manifest_of(&found.file)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io { path, reason: error });
                }
                _ => {}
            }
        }
    }
    Ok(gone)
}

/// Takes away what a process that was killed has left unfinished.
pub(super) fn clean_up(folder: &Path, now_ms: i64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let modified = entry.metadata().ok().and_then(|file| file.modified().ok());
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let since_ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
        if is_ours && since_ms.is_some_and(|since_ms| now_ms - since_ms > UNFINISHED_MS_MAX) {
            // Another time, perhaps.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn sort(found: &mut [Found]) {
    found.sort_by(|left, right| {
        let key =
            |found: &Found| (found.manifest.tenant.clone(), found.manifest.time_ms(), found.file.clone());
        key(left).cmp(&key(right))
    });
}

fn collect(folder: &Path, found: &mut Vec<Found>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(backup) = name.strip_suffix(".json").filter(|backup| backup.ends_with(PACKED_END))
            && let Some(manifest) = read_manifest(&path)
            && manifest.file == backup
            && time_in_name(&manifest.tenant, backup).is_some()
        {
            let file = folder.join(backup);
            let state = match fs::metadata(&file) {
                Ok(there) if there.is_file() && there.len() == manifest.bytes => State::Good,
                Ok(_) => State::Damaged,
                Err(_) => State::Missing,
            };
            found.push(Found { file, manifest, state });
        }
    }
    Ok(())
}

/// The manifest in a file; `None` when there is none.
pub(super) fn read_manifest(path: &Path) -> Option<Manifest> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).ok()?;
    Manifest::parse(&text)
}

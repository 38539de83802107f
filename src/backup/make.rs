//! Making a backup: copy, look through, pack, read back, name, tell.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::backup::manifest::{self, Manifest};
use crate::backup::{Error, folder, make_folder, pack, sync_folder};
use crate::config::TenantName;
use crate::scim::datetime;
use crate::store;

/// How the names of files begin that are not finished yet.
pub(super) const UNFINISHED: &str = ".ici-scim-backup-";

/// Backups of one tenant in one second, most of them.
const NUMBER_MAX: u32 = 1_000;

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The packed copy.
    pub file: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// Backs up the file of a tenant, which a server may be using, into the tenant's folder below `to`. The backup is
/// complete, looked through and on the disk before it gets its name; one that fails leaves nothing.
///
/// # Errors
/// When there is nothing to back up, the file is damaged, or the folder cannot be written.
pub fn make(file: &Path, tenant: &TenantName, to: &Path, now_ms: i64) -> Result<Made, Error> {
    if !file.exists() {
        return Err(Error::NoFile(tenant.clone()));
    }
    let folder = to.join(tenant.as_str());
    make_folder(&folder)?;
    folder::clean_up(&folder, now_ms);
    let plain = unfinished(&folder)?;
    store::copy::copy(file, plain.path())?;
    let contents = store::copy::inspect(plain.path())?;
    let packed = unfinished(&folder)?;
    let sums = pack::pack(plain.path(), packed.as_file()).map_err(Error::io(packed.path()))?;
    drop(plain);
    // What the disk gives back is what counts.
    let read_back = pack::unpack(packed.path(), io::sink(), sums.plain.bytes);
    if read_back.map_err(Error::io(packed.path()))? != sums {
        return Err(Error::bad(packed.path(), "it reads otherwise than it was written"));
    }
    let named = name(packed, &folder, tenant, now_ms)?;
    let manifest = Manifest {
        format: Manifest::format(),
        tenant: tenant.to_string(),
        time: datetime::format(now_ms),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: contents.schema_version,
        users: contents.users,
        groups: contents.groups,
        memberships: contents.memberships,
        events: contents.events,
        file: named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: sums.packed.bytes,
        sha256: sums.packed.sha256,
        plain_bytes: sums.plain.bytes,
        plain_sha256: sums.plain.sha256,
    };
    put(&manifest::checksum_of(&named), &format!("{}  {}\n", manifest.sha256, manifest.file))?;
    let json =
        serde_json::to_string_pretty(&manifest).map_err(|error| Error::bad(&named, error.to_string()))?;
    put(&manifest::manifest_of(&named), &(json + "\n"))?;
    sync_folder(&folder)?;
    Ok(Made { file: named, manifest })
}

pub(super) fn unfinished(folder: &Path) -> Result<NamedTempFile, Error> {
    tempfile::Builder::new().prefix(UNFINISHED).suffix(".tmp").tempfile_in(folder).map_err(Error::io(folder))
}

fn name(
    mut packed: NamedTempFile,
    folder: &Path,
    tenant: &TenantName,
    now_ms: i64,
) -> Result<PathBuf, Error> {
    for number in 1..=NUMBER_MAX {
        let path = folder.join(manifest::file_name(tenant, now_ms, number));
        match packed.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => packed = taken.file,
            Err(failed) => return Err(Error::Io { path, reason: failed.error }),
        }
    }
    Err(Error::bad(folder, "it has too many backups of this second"))
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = unfinished(path.parent().unwrap_or_else(|| Path::new(".")))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
    written.map_err(Error::io(path))?;
    file.persist(path)
        .map(|_: File| ())
        .map_err(|failed| Error::Io { path: path.to_owned(), reason: failed.error })
}

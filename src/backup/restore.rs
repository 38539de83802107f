//! Putting a backup back: checked as a whole before anything of the tenant is touched, then put in the place of the
//! present content in one transaction, with a server at work or without.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::backup::folder::read_manifest;
use crate::backup::make::unfinished;
use crate::backup::manifest::{Manifest, manifest_of, stamp, with_end};
use crate::backup::{Error, make_folder, pack, sync_folder};
use crate::config::TenantName;
use crate::store;
use crate::store::copy::Contents;

/// Where the content goes that a restore replaces, below the data folder.
const ASIDE_FOLDER: &str = "replaced";

/// What a restore forgives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// The backup is of another tenant.
    pub other_tenant: bool,
    /// There is no manifest beside it, as with a copy that another program has made.
    pub no_manifest: bool,
}

/// A backup that is as it was made, unpacked.
#[derive(Debug)]
pub struct Checked {
    staged: TempPath,
    /// What is in it.
    pub contents: Contents,
    /// Its manifest, where there is one.
    pub manifest: Option<Manifest>,
}

/// What a restore has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the content is that was there before; `None` when there was none.
    pub aside: Option<PathBuf>,
    /// Whether the file was damaged so badly that another one was put in its place.
    pub file_replaced: bool,
}

/// Unpacks a backup into a temporary file in `folder` and looks through all of it.
///
/// # Errors
/// When it is not as its manifest tells, is damaged, or has no manifest.
pub fn verify(file: &Path, folder: &Path, no_manifest: bool) -> Result<Checked, Error> {
    let manifest = read_manifest(&manifest_of(file));
    if manifest.is_none() && !no_manifest {
        // A file that is not there has no manifest either; that is the better answer.
        fs::metadata(file).map_err(Error::io(file))?;
        return Err(Error::NoManifest(file.to_owned()));
    }
    let staged = unfinished(folder)?;
    if pack::is_packed(file).map_err(Error::io(file))? {
        unpack(file, &staged, manifest.as_ref())?;
    } else if manifest.is_none() {
        // With what may still stand in a log beside it.
        store::copy::copy(file, staged.path())?;
    } else {
        return Err(Error::bad(file, "it is not packed by zstd"));
    }
    let contents = match store::copy::inspect(staged.path()) {
        Ok(contents) => contents,
        Err(store::Error::Corrupt(reason)) => return Err(Error::bad(file, reason)),
        Err(store::Error::Foreign { application_id, .. }) => {
            let file = file.display().to_string();
            return Err(store::Error::Foreign { file, application_id }.into());
        }
        Err(store::Error::Newer { found, known, .. }) => {
            return Err(store::Error::Newer { file: file.display().to_string(), found, known }.into());
        }
        Err(other) => return Err(other.into()),
    };
    if let Some(manifest) = &manifest {
        let told = (manifest.schema_version, manifest.users, manifest.groups, manifest.memberships);
        if told != (contents.schema_version, contents.users, contents.groups, contents.memberships) {
            return Err(Error::bad(
                file,
                "it holds another number of users, groups or members than its manifest says",
            ));
        }
    }
    Ok(Checked { staged: staged.into_temp_path(), contents, manifest })
}

fn unpack(file: &Path, staged: &NamedTempFile, manifest: Option<&Manifest>) -> Result<(), Error> {
    let bytes_max = manifest.map_or(u64::MAX, |manifest| manifest.plain_bytes);
    let unpacked = pack::unpack(file, staged.as_file(), bytes_max);
    let sums = unpacked.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Error::Io { path: staged.path().to_owned(), reason: error },
        _ => Error::bad(file, format!("it cannot be unpacked: {error}")),
    })?;
    let as_told = manifest.is_none_or(|manifest| {
        (sums.packed.bytes, &sums.packed.sha256) == (manifest.bytes, &manifest.sha256)
            && (sums.plain.bytes, &sums.plain.sha256) == (manifest.plain_bytes, &manifest.plain_sha256)
    });
    if as_told { Ok(()) } else { Err(Error::bad(file, "its checksum is not the one of its manifest")) }
}

/// As [`verify`], for a restore of `tenant` into `data_dir`; the schema is then brought up to date.
///
/// # Errors
/// As [`verify`], and when it is of another tenant.
pub fn check(file: &Path, tenant: &TenantName, data_dir: &Path, allow: Allow) -> Result<Checked, Error> {
    make_folder(data_dir)?;
    if let Some(manifest) = read_manifest(&manifest_of(file))
        && manifest.tenant != tenant.as_str()
        && !allow.other_tenant
    {
        let found = manifest.tenant;
        return Err(Error::OtherTenant { file: file.to_owned(), found, wanted: tenant.clone() });
    }
    let checked = verify(file, data_dir, allow.no_manifest)?;
    store::copy::bring_up_to_date(&checked.staged)?;
    Ok(checked)
}

/// Puts a checked backup in the place of what `file`, the tenant's, holds. What was there is kept aside in the data
/// folder. Whoever has the file open goes on with the new content; writes wait meanwhile, reads do not.
///
/// Where the file is damaged so badly that SQLite cannot even take it for a file of its own, another one is put in
/// its place; a server that has the old one open notices within a second.
///
/// # Errors
/// When a file cannot be read or written; the tenant then is as it was.
pub fn put_back(checked: Checked, file: &Path, tenant: &TenantName, now_ms: i64) -> Result<Restored, Error> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let staged = checked.staged;
    let staged = if file.exists() {
        staged
    } else {
        own_like(&staged, folder)?;
        match staged.persist_noclobber(file) {
            Ok(()) => {
                sync_folder(folder)?;
                return Ok(Restored { aside: None, file_replaced: false });
            }
            // A server has made it in this moment.
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => taken.path,
            Err(failed) => return Err(Error::Io { path: file.to_owned(), reason: failed.error }),
        }
    };
    let aside = aside(folder, tenant, now_ms)?;
    match store::copy::replace(file, &staged, &aside) {
        Ok(()) => Ok(Restored { aside: Some(aside), file_replaced: false }),
        Err(store::Error::Corrupt(_)) => {
            swap(file, staged, &aside)?;
            Ok(Restored { aside: Some(aside), file_replaced: true })
        }
        Err(error) => {
            // Nothing was replaced, so that nothing needs to be kept.
            let _ = fs::remove_file(&aside);
            Err(error.into())
        }
    }
}

/// Puts `staged` in the place of a file that SQLite cannot read. At every moment there is a file at the path: where
/// none was, a request would begin an empty directory.
fn swap(file: &Path, staged: TempPath, aside: &Path) -> Result<(), Error> {
    own_like(&staged, file)?;
    fs::remove_file(aside).map_err(Error::io(aside))?;
    fs::hard_link(file, aside).map_err(Error::io(aside))?;
    // They belong to the old file, and would be taken for the new one's.
    for end in ["-wal", "-shm"] {
        match fs::rename(with_end(file, end), with_end(aside, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(file)(error)),
            _ => {}
        }
    }
    staged.persist(file).map_err(|failed| Error::Io { path: file.to_owned(), reason: failed.error })?;
    sync_folder(file.parent().unwrap_or_else(|| Path::new(".")))
}

/// An empty file for what is replaced, readable by its owner alone.
fn aside(data_dir: &Path, tenant: &TenantName, now_ms: i64) -> Result<PathBuf, Error> {
    let folder = data_dir.join(ASIDE_FOLDER);
    make_folder(&folder)?;
    let mut number = 1;
    loop {
        let path = folder.join(format!("{tenant}.{}.sqlite", stamp(now_ms, number)));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => number += 1,
            Err(error) => return Err(Error::Io { path, reason: error }),
        }
    }
}

/// Gives a file to the owner of another: what an administrator restores must stay the server's.
fn own_like(path: &Path, like: &Path) -> Result<(), Error> {
    let (made, wanted) =
        (fs::metadata(path).map_err(Error::io(path))?, fs::metadata(like).map_err(Error::io(like))?);
    if (made.uid(), made.gid()) != (wanted.uid(), wanted.gid()) {
        chown(path, Some(wanted.uid()), Some(wanted.gid())).map_err(Error::io(path))?;
    }
    if wanted.is_file() {
        fs::set_permissions(path, wanted.permissions()).map_err(Error::io(path))?;
    }
    Ok(())
}

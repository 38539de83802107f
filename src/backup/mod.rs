//! Backups of tenants' files: made beside a running server, packed, checked, kept by a rule, and put back.
//!
//! A backup is three files in a folder of the tenant's own: the packed copy, a manifest that tells what is in it, and
//! its checksum in the form of `sha256sum`. What has no manifest, or another size than its manifest says, is never
//! deleted and never taken for a backup. When a backup is due, and of which tenants, is not known here.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::config::TenantName;
use crate::store;

mod folder;
mod make;
mod manifest;
mod pack;
mod restore;
pub mod retention;

pub use folder::{Found, State, find, list, newest, prune};
pub use make::{Made, make};
pub use manifest::Manifest;
pub use restore::{Allow, Checked, Restored, check, put_back, verify};

/// Mode of a folder that is made here: what lies in it is personal data.
const FOLDER_MODE: u32 = 0o700;

/// Why a backup cannot be made or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tenant has nothing to back up.
    #[error("tenant {0} has no file yet, since nobody has asked for it so far")]
    NoFile(TenantName),
    /// The system could not read or write something.
    #[error("{}: {reason}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A backup is not as it was made, or was none.
    #[error("{} is no good backup: {reason}", file.display())]
    Bad {
        /// The backup.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no manifest beside the file.
    #[error("{} has no manifest beside it, so that nothing tells of which tenant it is", .0.display())]
    NoManifest(PathBuf),
    /// The backup is of another tenant.
    #[error("{} is a backup of tenant {found}, not of {wanted}", file.display())]
    OtherTenant {
        /// The backup.
        file: PathBuf,
        /// The tenant in the manifest.
        found: String,
        /// The tenant that was asked for.
        wanted: TenantName,
    },
    /// The folder has no good backup of the tenant.
    #[error("{} has no good backup of tenant {tenant}", folder.display())]
    NoBackup {
        /// The folder.
        folder: PathBuf,
        /// The tenant.
        tenant: TenantName,
    },
    /// The tenant's file, or a copy of it, cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    fn io(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
        move |reason| Error::Io { path: path.to_owned(), reason }
    }

    fn bad(file: &Path, reason: impl Into<String>) -> Error {
        Error::Bad { file: file.to_owned(), reason: reason.into() }
    }
}

/// Copies the file of a tenant, which a server may be using, as it is at one moment.
///
/// # Errors
/// When it is none of this program, cannot be read, or the copy cannot be written.
pub fn copy(file: &Path, to: &Path) -> Result<(), Error> {
    Ok(store::copy::copy(file, to)?)
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(Error::io(folder))
}

/// A rename is durable only when its folder is written through.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(Error::io(folder))
}

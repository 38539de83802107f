//! The configuration file as a file: read it whole, replace it whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Most bytes that are read; thousands of tenants need less.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most bytes of a file that the configuration names: one of tenants, or of a schema.
const NAMED_BYTES_MAX: u64 = 1024 * 1024;
/// Mode of a new file: it holds hashes, which are nobody else's business.
const NEW_MODE: u32 = 0o600;

/// Reads the text of the file.
///
/// # Errors
/// When it cannot be read, is larger than 16 MiB or is not UTF-8. The error does not name the file.
pub fn read(path: &Path) -> io::Result<String> {
    read_at_most(path, BYTES_MAX, "it is larger than 16 MiB")
}

/// Reads the text of a file that the configuration names.
///
/// # Errors
/// As [`read`], with a bound of 1 MiB.
pub(super) fn read_named(path: &Path) -> io::Result<String> {
    read_at_most(path, NAMED_BYTES_MAX, "it is larger than 1 MiB")
}

/// Reads the text of a file of at most so many bytes.
pub(super) fn read_at_most(path: &Path, bytes_max: u64, too_large: &'static str) -> io::Result<String> {
    let file = File::open(path)?;
    // Room for all of it at once: grown step by step, the text of thousands of tenants takes twice as much.
    let room = file.metadata().map_or(0, |file| file.len().min(bytes_max) + 1);
    let mut text = String::with_capacity(usize::try_from(room).unwrap_or(0));
    let read = file.take(bytes_max + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > bytes_max) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large));
    }
    Ok(text)
}

/// What tells a changed file without reading it; `None` when it cannot be looked at.
pub(super) type Stamp = Option<FileStamp>;

/// Where a file is, how large, and when it was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    place: (u64, u64),
    bytes: u64,
    /// Set by whoever copies a file.
    modified: (i64, i64),
    /// Set by the system and by nobody else.
    changed: (i64, i64),
}

impl FileStamp {
    /// Whether both are of the same file or folder, whatever is in it.
    pub(super) fn is_same_place(&self, other: &FileStamp) -> bool {
        self.place == other.place
    }
}

/// Looks at a file or folder.
pub(super) fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some(FileStamp {
        place: (file.dev(), file.ino()),
        bytes: file.len(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

/// Replaces the text of the file, or makes the file: at any moment, and after a crash at any moment, the file
/// is there with the old text or the new one. Mode and owner are kept. Where the path is a symbolic link,
/// what it points to is replaced.
///
/// # Errors
/// When the new file cannot be written beside the old one, or cannot be given its owner. The old one is then
/// as it was.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    replace_like(path, text, path)
}

/// [`replace`]; a file that is made gets the owner and mode of `like`, when that is there.
///
/// # Errors
/// As [`replace`].
pub(super) fn replace_like(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let folder = folder_of(&target);
    let mut new = tempfile::Builder::new().prefix(".tenants.toml.").tempfile_in(&folder)?;
    new.write_all(text.as_bytes())?;
    let mode = match fs::metadata(&target).or_else(|_| fs::metadata(like)) {
        Ok(old) => {
            let made = new.as_file().metadata()?;
            if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                // An administrator's edit must not take the file away from the server's user.
                fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            old.permissions().mode() & 0o7777
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => NEW_MODE,
        Err(error) => return Err(error),
    };
    // The mode after the owner: a change of owner takes bits away.
    new.as_file().set_permissions(Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(&target).map_err(|error| error.error)?;
    // The rename itself is durable only when the folder is.
    File::open(&folder)?.sync_all()
}

/// Waits until nobody else edits the file or what it includes, and keeps others from it for as long as the lock is
/// held.
///
/// # Errors
/// When the folder cannot be opened.
pub(super) fn lock_beside(path: &Path) -> io::Result<File> {
    // The folder is locked and not the file, which is another one after an edit.
    let folder = File::open(folder_of(path))?;
    folder.lock()?;
    Ok(folder)
}

/// The folder that the file is in, also for a bare file name.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        replace(&path, "# new\n").unwrap();
        assert_eq!((read(&path).unwrap().as_str(), mode(&path)), ("# new\n", 0o600));
        assert_eq!(names(folder.path()), ["tenants.toml"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!((read(&path).unwrap().as_str(), mode(&path)), ("new", 0o640));
        assert_eq!(names(folder.path()), ["tenants.toml"]);
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("tenants.toml"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&real).unwrap(), "new");
    }

    #[test]
    fn a_file_that_is_made_may_get_the_mode_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let (main, made) = (folder.path().join("tenants.toml"), folder.path().join("acme.toml"));
        fs::write(&main, "").unwrap();
        fs::set_permissions(&main, Permissions::from_mode(0o640)).unwrap();
        replace_like(&made, "new", &main).unwrap();
        assert_eq!((read(&made).unwrap().as_str(), mode(&made)), ("new", 0o640));
    }

    #[test]
    fn what_is_missing_or_no_text_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(lock_beside(&folder.path().join("no/tenants.toml")).is_err());
    }
}

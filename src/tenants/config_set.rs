//! The configuration as files: the main one and those that it includes, read as one and edited each for itself.
//!
//! What stands in them is the business of `config`; when they are read again is that of `reload`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Include, MainFile, Settings, TenantName, TenantsFile};
use crate::tenants::config_file::{self, Stamp};

/// Most files that are included.
const FILES_MAX: usize = 100_000;
/// Most bytes of the included files together.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The files of a configuration, read and each right by itself.
pub struct ConfigSet {
    main_file: PathBuf,
    main: MainFile,
    included: Vec<(PathBuf, Arc<TenantsFile>)>,
}

/// Why a configuration cannot be had. One sentence for the operator, without a full stop.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or folder cannot be read.
    #[error("{file} cannot be read: {error}")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// A file has nothing in it. As a rule somebody is about to write it; that it removes tenants is hardly meant.
    #[error("{0} is empty")]
    Empty(String),
    /// There is more than is read.
    #[error("{0} takes in more than {FILES_MAX} files or 64 MiB")]
    TooMuch(String),
    /// A text is wrong, or two do not fit together.
    #[error(transparent)]
    Wrong(#[from] config::Error),
    /// The tenant has no place among the included files.
    #[error("include = \"{include}\" takes no file for a new tenant {tenant}; write one by hand")]
    NoPlace {
        /// The pattern.
        include: String,
        /// The tenant.
        tenant: TenantName,
    },
}

/// A file by its name in the included folder, and how it looked.
pub(super) type Listed = (String, Stamp);

/// Included files that were read before, by name: ten thousand are not read again because one has changed.
#[derive(Default)]
pub(super) struct KnownFiles(HashMap<String, Known>);

struct Known {
    stamp: Stamp,
    bytes: u64,
    tenants: Arc<TenantsFile>,
}

impl ConfigSet {
    /// Reads the main file and those that it includes. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] for the first file that cannot be read or is wrong. Whether the files fit together is seen by
    /// [`ConfigSet::settings`].
    pub fn read(main_file: &Path) -> Result<ConfigSet, ReadError> {
        let main = read_main(main_file, true)?;
        let Some(include) = main.include() else { return Ok(ConfigSet::of(main_file, main, Vec::new())) };
        let folder = folder_beside(main_file, include);
        let names = list(&folder, include)?;
        let listed: Vec<Listed> = names.into_iter().map(|name| (name, None)).collect();
        let included = KnownFiles::default().read(&folder, include, &listed)?;
        Ok(ConfigSet::of(main_file, main, included))
    }

    /// What was read already.
    pub(super) fn of(
        main_file: &Path,
        main: MainFile,
        included: Vec<(PathBuf, Arc<TenantsFile>)>,
    ) -> ConfigSet {
        ConfigSet { main_file: main_file.to_owned(), main, included }
    }

    /// What the files say together.
    ///
    /// # Errors
    /// When two of them have the same tenant or hash of a token.
    pub fn settings(&self) -> Result<Settings, config::Error> {
        self.main.with(self.included.iter().map(|(_, tenants)| &**tenants))
    }

    /// Whether no file is included any more, and the tenants of those that were have gone with them. `before`: what
    /// is in force.
    pub(super) fn has_lost_all_included(&self, before: &Settings) -> bool {
        let was_included = |name: &TenantName| !self.main.has(name);
        self.included.is_empty() && before.include.is_some() && before.tenants.keys().any(was_included)
    }

    /// The file in which a tenant stands; for one that is not there, the main file.
    pub fn file_of(&self, tenant: &TenantName) -> &Path {
        let included = self.included.iter().find(|(_, tenants)| tenants.has(tenant));
        included.map_or(&self.main_file, |(path, _)| path)
    }

    /// The file in which a new tenant is to stand: one of its own where files are included, else the main file.
    ///
    /// # Errors
    /// [`ReadError::NoPlace`]
    pub fn file_for_new(&self, tenant: &TenantName) -> Result<PathBuf, ReadError> {
        let Some(include) = self.main.include() else { return Ok(self.main_file.clone()) };
        match include.file_name_for(tenant.as_str()) {
            Some(name) => Ok(folder_beside(&self.main_file, include).join(name)),
            None => Err(ReadError::NoPlace { include: include.shown(), tenant: tenant.clone() }),
        }
    }
}

/// Reads the main file; `blank`: also one that has nothing in it. Blocks.
pub(super) fn read_main(main_file: &Path, blank: bool) -> Result<MainFile, ReadError> {
    let file = main_file.display().to_string();
    let text =
        config_file::read(main_file).map_err(|error| ReadError::Unreadable { file: file.clone(), error })?;
    if text.trim().is_empty() && !blank {
        return Err(ReadError::Empty(file));
    }
    Ok(MainFile::parse(&text, &file)?)
}

/// The folder of included files, from where the program runs.
pub(super) fn folder_beside(main_file: &Path, include: &Include) -> PathBuf {
    main_file.parent().map_or_else(|| include.folder().to_owned(), |beside| beside.join(include.folder()))
}

/// The names of the included files, sorted. That the folder is not there is an error: a volume that is not mounted
/// must not remove every tenant.
pub(super) fn list(folder: &Path, include: &Include) -> Result<Vec<String>, ReadError> {
    let unreadable = |error| ReadError::Unreadable { file: folder.display().to_string(), error };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Ok(name) = entry.file_name().into_string()
            && include.takes(&name)
            && !is_folder
        {
            names.push(name);
        }
        if names.len() > FILES_MAX {
            return Err(ReadError::TooMuch(include.shown()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl KnownFiles {
    /// Reads the files that are not known to be as they look, and forgets those that are gone. Blocks.
    pub(super) fn read(
        &mut self,
        folder: &Path,
        include: &Include,
        listed: &[Listed],
    ) -> Result<Vec<(PathBuf, Arc<TenantsFile>)>, ReadError> {
        let mut before = std::mem::take(&mut self.0);
        let mut included = Vec::with_capacity(listed.len());
        let mut bytes = 0;
        let mut result = Ok(());
        for (name, stamp) in listed {
            let path = folder.join(name);
            let same = before.remove(name).filter(|known| stamp.is_some() && known.stamp == *stamp);
            let known = match same.map_or_else(|| read_included(&path, include.folder(), *stamp), Ok) {
                Ok(known) => known,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            bytes += known.bytes;
            included.push((path, Arc::clone(&known.tenants)));
            self.0.insert(name.clone(), known);
            if bytes > BYTES_MAX {
                result = Err(ReadError::TooMuch(include.shown()));
                break;
            }
        }
        if result.is_err() {
            // What was known stays so: the next try reads only what is new.
            self.0.extend(before);
        }
        result.map(|()| included)
    }

    /// Forgets everything, so that all is read again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn read_included(path: &Path, folder: &Path, stamp: Stamp) -> Result<Known, ReadError> {
    let file = path.display().to_string();
    let text =
        config_file::read_named(path).map_err(|error| ReadError::Unreadable { file: file.clone(), error })?;
    if text.trim().is_empty() {
        return Err(ReadError::Empty(file));
    }
    let tenants = Arc::new(TenantsFile::parse(&text, &file, folder)?);
    Ok(Known { stamp, bytes: u64::try_from(text.len()).unwrap_or(u64::MAX), tenants })
}

/// Chooses the file of the set and replaces its text by what `change` makes of it; a file that is not there is
/// made, with the main file's owner and mode. Two edits at once, of two processes too, happen one after the other.
/// Gives the file.
///
/// # Errors
/// When the set cannot be read or the file not replaced, or what `change` gives; all is then as it was.
pub fn edit<E: From<io::Error> + From<ReadError>>(
    main_file: &Path,
    choose: impl FnOnce(&ConfigSet) -> Result<PathBuf, ReadError>,
    change: impl FnOnce(&Settings, &str) -> Result<String, E>,
) -> Result<PathBuf, E> {
    let _lock = config_file::lock_beside(main_file)?;
    let set = ConfigSet::read(main_file)?;
    let settings = set.settings().map_err(ReadError::Wrong)?;
    let file = choose(&set)?;
    let text = match config_file::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && file != main_file => String::new(),
        read => read?,
    };
    let changed = change(&settings, &text)?;
    config_file::replace_like(&file, &changed, main_file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error(transparent)]
        Io(#[from] io::Error),
        #[error(transparent)]
        Read(#[from] ReadError),
    }

    /// A main file that includes `d/*.toml`, and these files in there.
    fn files(included: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("tenants.toml");
        fs::write(&main, "include = \"d/*.toml\"\n[tenants.main]\n").unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        for (name, text) in included {
            fs::write(folder.path().join("d").join(name), text).unwrap();
        }
        (folder, main)
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    #[test]
    fn files_of_the_folder_are_read_and_each_tenant_has_its_file() {
        let (folder, main) = files(&[
            ("a.toml", "[tenants.a]\n"),
            ("b.toml", "[tenants.b]\n"),
            (".c.toml", "["),
            ("d.txt", "["),
        ]);
        fs::create_dir(folder.path().join("d/folder.toml")).unwrap();
        let set = ConfigSet::read(&main).unwrap();
        let names: Vec<String> = set.settings().unwrap().tenants.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b", "main"]);
        assert_eq!(set.file_of(&name("b")), folder.path().join("d/b.toml"));
        assert_eq!(set.file_of(&name("main")), main);
        assert_eq!(set.file_for_new(&name("new")).unwrap(), folder.path().join("d/new.toml"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let problem = |main: &Path| ConfigSet::read(main).err().unwrap().to_string();
        let (folder, main) = files(&[("a.toml", "\n[tenants.a]\nhuh = 1\n")]);
        assert!(problem(&main).ends_with(
            "d/a.toml:3: tenants.a.huh: unknown key; the keys known here are name, profile, on_recreate, \
             store_passwords, paused, max_users, rate_limit, schemas, entitlement_types, role_types, \
             check_entitlements, node, tokens"
        ));
        fs::write(folder.path().join("d/a.toml"), " \n").unwrap();
        assert!(problem(&main).ends_with("d/a.toml is empty"));
        fs::remove_file(folder.path().join("d/a.toml")).unwrap();
        std::os::unix::fs::symlink("gone", folder.path().join("d/a.toml")).unwrap();
        assert!(problem(&main).contains("d/a.toml cannot be read: "));
        fs::remove_dir_all(folder.path().join("d")).unwrap();
        assert!(problem(&main).contains("/d cannot be read: "));
    }

    #[test]
    fn known_files_are_read_again_when_they_look_different() {
        let (folder, main) = files(&[("a.toml", "[tenants.a]\n")]);
        let read = read_main(&main, true).unwrap();
        let include = read.include().unwrap();
        let (path, mut known) = (folder.path().join("d"), KnownFiles::default());
        let mut tenants =
            |stamp| Arc::clone(&known.read(&path, include, &[("a.toml".to_owned(), stamp)]).unwrap()[0].1);
        let before = config_file::stamp(&path.join("a.toml"));
        let first = tenants(before);
        assert!(Arc::ptr_eq(&first, &tenants(before)));
        fs::write(path.join("a.toml"), "[tenants.b]\n[tenants.c]\n").unwrap();
        let after = config_file::stamp(&path.join("a.toml"));
        assert_ne!(before, after);
        assert!(tenants(after).has(&name("c")));
    }

    #[test]
    fn a_failed_edit_leaves_the_file_as_it_was() {
        let (folder, main) = files(&[]);
        let failed = edit(
            &main,
            |set| Ok(set.file_of(&name("main")).to_owned()),
            |_, _| Err::<String, Failed>(io::Error::other("no").into()),
        );
        assert!(failed.is_err());
        assert!(fs::read_to_string(&main).unwrap().contains("[tenants.main]"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn edits_at_the_same_time_are_all_kept_and_a_new_tenant_gets_a_file() {
        let (folder, main) = files(&[]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    edit::<Failed>(
                        &main,
                        |set| set.file_for_new(&name("a")),
                        |_, text| Ok(format!("{text}#\n[tenants.a]\n").replace("[tenants.a]\n#", "##")),
                    )
                    .unwrap()
                });
            }
        });
        let text = fs::read_to_string(folder.path().join("d/a.toml")).unwrap();
        assert_eq!(text.matches('#').count(), 15, "{text}");
    }
}

//! Notices that the files of the configuration have changed, and that they have come to rest.
//!
//! Looking beats being told by the system: it works on every file system and through any link, and is not woken by
//! every line of a log that happens to be written into the same folder. Only where many files are included is
//! the system asked to tell too, so that not each of them is looked at five times a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Include, MainFile, TenantsFile};
use crate::tenants::config_file::{self, Stamp};
use crate::tenants::config_set::{self, ConfigSet, KnownFiles, Listed, ReadError};

/// So many included files are looked at each time, whatever the system tells: half a millisecond.
const ALL_MAX: usize = 500;
/// In so many looks all included files are looked at when there are more, should the system not tell of a change:
/// that a file which is elsewhere and only linked was written in place.
const ROUND_LOOKS: usize = 25;

/// So often at one look what the system tells is read.
#[cfg(target_os = "linux")]
const EVENTS_READS_MAX: usize = 256;

/// Knows how the files looked last.
pub(super) struct Looker {
    main_file: PathBuf,
    include: Option<Include>,
    view: View,
    known: KnownFiles,
    /// Files of schemas that the settings name.
    schema_files: Vec<PathBuf>,
    ears: Option<Ears>,
    /// Something has changed and was not read since.
    pending: bool,
    /// Where the next part of a round begins.
    next: usize,
}

/// How the files looked.
#[derive(Default)]
struct View {
    main: Stamp,
    folder: Stamp,
    files: Vec<Listed>,
    schema_files: Vec<Stamp>,
}

impl Looker {
    /// Has seen nothing yet: the first look finds everything changed.
    pub(super) fn new(main_file: PathBuf) -> Looker {
        Looker {
            main_file,
            include: None,
            view: View::default(),
            known: KnownFiles::default(),
            schema_files: Vec::new(),
            ears: None,
            pending: true,
            next: 0,
        }
    }

    /// Whether there is something to read: the files have changed since they were read, and are as they were at the
    /// look before. Blocks.
    pub(super) fn look(&mut self) -> bool {
        if self.refresh(self.pending) {
            self.pending = true;
            return false;
        }
        self.pending
    }

    /// Reads all files; gives none when they were changed meanwhile. `at_once`: they have not been seen at rest, so
    /// that they are read again when they have. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] for the first file that cannot be read or is wrong.
    pub(super) fn read(&mut self, at_once: bool) -> Result<Option<ConfigSet>, ReadError> {
        if at_once {
            // Two changes within one tick of the file system's clock look the same.
            self.known.forget();
        }
        self.refresh(true);
        let read = self.read_files();
        let moved = self.refresh(true);
        self.pending = at_once || moved;
        if moved { Ok(None) } else { read.map(Some) }
    }

    fn read_files(&mut self) -> Result<ConfigSet, ReadError> {
        let main = config_set::read_main(&self.main_file, false)?;
        if main.include() != self.include.as_ref() {
            self.include = main.include().cloned();
            self.ears = None;
            self.view.folder = None;
            self.view.files.clear();
            self.refresh(true);
        }
        let included = self.read_included(&main)?;
        Ok(ConfigSet::of(&self.main_file, main, included))
    }

    fn read_included(&mut self, main: &MainFile) -> Result<Vec<(PathBuf, Arc<TenantsFile>)>, ReadError> {
        let Some(include) = main.include() else {
            self.known.forget();
            return Ok(Vec::new());
        };
        let folder = config_set::folder_beside(&self.main_file, include);
        // A folder that cannot be listed is told of here: the look has found it empty.
        if self.view.files.is_empty() {
            config_set::list(&folder, include)?;
        }
        self.known.read(&folder, include, &self.view.files)
    }

    /// The files of schemas that are to be looked at too.
    pub(super) fn set_schema_files(&mut self, files: Vec<PathBuf>) {
        if files != self.schema_files {
            self.view.schema_files = stamps(&files);
            self.schema_files = files;
        }
    }

    /// Looks at the files, `all` of them or those whose turn it is; whether any looks different.
    fn refresh(&mut self, all: bool) -> bool {
        let mut changed = replace_if_new(&mut self.view.main, config_file::stamp(&self.main_file));
        changed |= replace_if_new(&mut self.view.schema_files, stamps(&self.schema_files));
        if let Some(include) = self.include.clone() {
            changed |= self.refresh_included(&include, all);
        }
        changed
    }

    fn refresh_included(&mut self, include: &Include, all: bool) -> bool {
        let folder = config_set::folder_beside(&self.main_file, include);
        let heard = match &self.ears {
            Some(ears) => ears.heard(),
            None => true,
        };
        let before = self.view.folder;
        let mut changed = replace_if_new(&mut self.view.folder, config_file::stamp(&folder));
        if changed {
            let is_same = before.zip(self.view.folder).is_some_and(|(old, new)| old.is_same_place(&new));
            if !is_same || self.ears.is_none() {
                self.ears = Ears::at(&folder);
            }
        }
        if changed || heard {
            changed |= self.list(&folder, include);
        }
        let count = self.view.files.len();
        if all || changed || heard || count <= ALL_MAX {
            return self.refresh_range(&folder, 0, count) || changed;
        }
        let start = if self.next < count { self.next } else { 0 };
        let end = (start + count.div_ceil(ROUND_LOOKS)).min(count);
        self.next = end;
        changed |= self.refresh_range(&folder, start, end);
        changed
    }

    /// Takes over the names of the files; those that stay keep how they looked. Whether they are others.
    fn list(&mut self, folder: &Path, include: &Include) -> bool {
        // What cannot be listed has none; the read tells why.
        let names = config_set::list(folder, include).unwrap_or_default();
        let before = std::mem::take(&mut self.view.files);
        self.view.files = names
            .into_iter()
            .map(|name| {
                let known = before.binary_search_by(|(known, _)| known.cmp(&name));
                let stamp = known.ok().and_then(|at| before[at].1);
                (name, stamp)
            })
            .collect();
        !before.iter().map(|(name, _)| name).eq(self.view.files.iter().map(|(name, _)| name))
    }

    fn refresh_range(&mut self, folder: &Path, start: usize, end: usize) -> bool {
        let mut changed = false;
        for (name, stamp) in &mut self.view.files[start..end] {
            changed |= replace_if_new(stamp, config_file::stamp(&folder.join(name)));
        }
        changed
    }
}

fn replace_if_new<T: PartialEq>(old: &mut T, new: T) -> bool {
    let is_new = *old != new;
    *old = new;
    is_new
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| config_file::stamp(file)).collect()
}

/// Is told by the system when something in a folder changes.
#[cfg(target_os = "linux")]
struct Ears(rustix::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Ears {
    /// `None` when the system does not tell: then all is looked at.
    fn at(folder: &Path) -> Option<Ears> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        let changes = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        add_watch(&inotify, folder, changes | WatchFlags::ONLYDIR).ok()?;
        Some(Ears(inotify))
    }

    /// Whether anything has changed since the last time that this was asked.
    fn heard(&self) -> bool {
        let mut heard = false;
        let mut events = [0_u8; 4096];
        // Whoever changes files without end is not listened to without end.
        for _ in 0..EVENTS_READS_MAX {
            match rustix::io::read(&self.0, &mut events) {
                Ok(read) if read > 0 => heard = true,
                Err(rustix::io::Errno::WOULDBLOCK) => return heard,
                Err(rustix::io::Errno::INTR) => {}
                // It tells nothing any more: better to look.
                _ => return true,
            }
        }
        heard
    }
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
struct Ears;

#[cfg(not(target_os = "linux"))]
impl Ears {
    fn at(_: &Path) -> Option<Ears> {
        None
    }

    fn heard(&self) -> bool {
        true
    }
}

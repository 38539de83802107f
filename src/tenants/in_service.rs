//! Which tenants are in service, and whose files the server has open: what `tenant pause`, `tenant remove` and whoever
//! copies a file must know, told in a file of the data folder.
//!
//! A tenant is in service when the configuration in force has it and does not pause it. One that goes out of service is
//! leaving for as long as requests of it are being answered, and its file is closed after its last use. Only when that
//! is done is the tenant missing in the file: from then on its file is not opened any more and nothing of it can be
//! written, whatever the server still holds.
//!
//! The file is taken away before the configuration is read and written after it is in force. So a command that has
//! changed the configuration and then finds the file as it wants it knows that the server has read the change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::config::TenantName;

/// The name of the file in the data folder.
const FILE: &str = ".in-service.json";
/// Most bytes of it that are read: room for a hundred thousand tenants.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The tenants in service, and the open files.
pub(super) struct InService {
    state: Mutex<State>,
}

struct State {
    tenants: BTreeSet<TenantName>,
    /// Those that are in service no more, and of which requests were being answered at the last look.
    leaving: BTreeMap<TenantName, Inside>,
    /// How many hold each tenant's file open.
    open: BTreeMap<TenantName, usize>,
    /// Where it is told; nowhere unless a server serves the folder.
    file: Option<PathBuf>,
    /// Whether the file is there, and so must be kept up to date.
    told: bool,
    /// Why the configuration on the disk is not in force.
    problem: Option<String>,
}

/// How many requests of a tenant have been let in and are not answered yet. Shared by whoever clones it.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside(Arc<AtomicUsize>);

/// A request that has been let in to its tenant, until it is dropped.
#[derive(Debug)]
pub struct Entered<'a>(&'a Inside);

impl Inside {
    /// Lets a request in.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Entered(self)
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The right to have a tenant's file open. Must be dropped after the file is closed.
pub(super) struct Held {
    all: Arc<InService>,
    name: TenantName,
}

impl InService {
    /// These tenants are in service, and no file is open.
    pub(super) fn new(tenants: BTreeSet<TenantName>) -> Arc<InService> {
        let (leaving, open) = (BTreeMap::new(), BTreeMap::new());
        let state = State { tenants, leaving, open, file: None, told: false, problem: None };
        Arc::new(InService { state: Mutex::new(state) })
    }

    /// From now on it is told in this folder; what an earlier server told there is taken away.
    ///
    /// # Errors
    /// When an old file cannot be taken away.
    pub(super) fn tell_in(&self, data_dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file = Some(data_dir.join(FILE));
        state.take_back()
    }

    /// Takes the file away: the configuration is about to be read.
    pub(super) fn take_back(&self) {
        if let Err(error) = self.lock().take_back() {
            tracing::error!(%error, file = FILE, "cannot be removed from the data folder");
        }
    }

    /// From now on these are in service. Those of `before` that are not leave: no file is opened for them any more
    /// once the requests inside are answered.
    pub(super) fn replace<'a>(
        &self,
        tenants: BTreeSet<TenantName>,
        before: impl Iterator<Item = (&'a TenantName, &'a Inside)>,
    ) {
        let mut state = self.lock();
        for (name, inside) in before {
            if state.tenants.contains(name) && !tenants.contains(name) {
                state.leaving.insert(name.clone(), inside.clone());
            }
        }
        state.tenants = tenants;
        state.look();
    }

    /// Whether a tenant is in service. One that is leaving is not.
    pub(super) fn has(&self, name: &TenantName) -> bool {
        self.lock().tenants.contains(name)
    }

    /// Looks whether tenants that were leaving have left, and then tells so. To be called now and then.
    pub(super) fn look(&self) {
        let mut state = self.lock();
        if state.look() {
            state.write();
        }
    }

    /// Tells what is so; `problem` is why the configuration on the disk is not in force.
    pub(super) fn tell(&self, problem: Option<String>) {
        let mut state = self.lock();
        state.told = true;
        state.problem = problem;
        state.write();
    }

    /// The right to open a tenant's file; `None` when the tenant is neither in service nor leaving.
    pub(super) fn hold(self: &Arc<Self>, name: &TenantName) -> Option<Held> {
        let mut state = self.lock();
        if !state.tenants.contains(name) && !state.leaving.contains_key(name) {
            return None;
        }
        *state.open.entry(name.clone()).or_insert(0) += 1;
        Some(Held { all: Arc::clone(self), name: name.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets those that have left or are back; whether there were such.
    fn look(&mut self) -> bool {
        let before = self.leaving.len();
        let State { tenants, leaving, .. } = self;
        leaving.retain(|name, inside| !inside.is_empty() && !tenants.contains(name));
        leaving.len() < before
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.told = false;
        match self.file.as_deref().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Without it no command is told anything, which the command then says; serving goes on.
    fn write(&self) {
        let Some(file) = self.file.as_deref().filter(|_| self.told) else { return };
        let names: BTreeSet<&str> = self
            .tenants
            .iter()
            .chain(self.leaving.keys())
            .chain(self.open.keys())
            .map(TenantName::as_str)
            .collect();
        let text = json!({ "inService": names, "problem": self.problem }).to_string();
        if let Err(error) = write_whole(file, &text) {
            tracing::error!(%error, file = FILE, "cannot be written in the data folder");
        }
    }
}

/// Written beside it and moved to its place, so that nobody reads half of it. Needs to survive nothing: the next
/// server writes it anew.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(text.as_bytes())?;
    std::fs::rename(&beside, file)
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        let left = state.open.get_mut(&self.name).map_or(0, |held| {
            *held = held.saturating_sub(1);
            *held
        });
        if left == 0 {
            state.open.remove(&self.name);
            if !state.tenants.contains(&self.name) {
                state.write();
            }
        }
    }
}

/// What the server that serves a data folder has told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// No server serves the folder.
    NoServer,
    /// A server does, and it has not told yet.
    Nothing,
    /// This is so.
    Known {
        /// The names of the tenants that are in service, or whose files are still open.
        in_service: BTreeSet<String>,
        /// Why the configuration on the disk is not in force, if it is not.
        problem: Option<String>,
    },
}

impl Told {
    /// Whether a tenant is in service, or its file still open; `None` when that is not known.
    pub fn has(&self, tenant: &TenantName) -> Option<bool> {
        match self {
            Told::NoServer => Some(false),
            Told::Nothing => None,
            Told::Known { in_service, .. } => Some(in_service.contains(tenant.as_str())),
        }
    }
}

/// What is told in a data folder. A server tells nothing while it reads its configuration, which it does within its
/// first second even if nothing has changed, and for a second with ten thousand tenants: who wants an answer asks again.
///
/// # Errors
/// When the folder cannot be looked into by this user.
pub fn told(data_dir: &Path) -> io::Result<Told> {
    if !crate::tenants::data_dir_is_taken(data_dir)? {
        return Ok(Told::NoServer);
    }
    let mut text = String::new();
    match std::fs::File::open(data_dir.join(FILE)) {
        Ok(file) => file.take(BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Told::Nothing),
        Err(error) => return Err(error),
    };
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return Ok(Told::Nothing) };
    let Some(names) = value["inService"].as_array() else { return Ok(Told::Nothing) };
    Ok(Told::Known {
        in_service: names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        problem: value["problem"].as_str().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> BTreeSet<TenantName> {
        texts.iter().map(|text| name(text)).collect()
    }

    /// What is told of one tenant.
    fn told_of(folder: &Path, tenant: &str) -> Option<bool> {
        told(folder).unwrap().has(&name(tenant))
    }

    #[test]
    fn a_tenant_is_out_of_service_when_its_file_is_closed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let all = InService::new(names(&["acme", "globex"]));
        assert_eq!(told(folder.path()).unwrap(), Told::NoServer);
        let _lock = crate::tenants::take_data_dir(folder.path()).unwrap();
        all.tell_in(folder.path()).unwrap();
        assert_eq!(told(folder.path()).unwrap(), Told::Nothing);
        all.tell(None);
        assert_eq!(told_of(folder.path(), "acme"), Some(true));
        assert_eq!(told_of(folder.path(), "initech"), Some(false));

        let (first, second) = (all.hold(&name("acme")).unwrap(), all.hold(&name("acme")).unwrap());
        all.take_back();
        assert_eq!(told(folder.path()).unwrap(), Told::Nothing);
        all.replace(names(&["globex"]), std::iter::empty());
        all.tell(None);
        assert!(all.hold(&name("acme")).is_none(), "nobody opens it any more");
        assert_eq!(told_of(folder.path(), "acme"), Some(true));
        drop(first);
        assert_eq!(told_of(folder.path(), "acme"), Some(true));
        drop(second);
        assert_eq!(told_of(folder.path(), "acme"), Some(false));
        assert_eq!(told_of(folder.path(), "globex"), Some(true));
    }

    #[test]
    fn a_tenant_leaves_when_the_requests_inside_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (acme, inside) = (name("acme"), Inside::default());
        let all = InService::new(names(&["acme"]));
        let _lock = crate::tenants::take_data_dir(folder.path()).unwrap();
        all.tell_in(folder.path()).unwrap();
        let (first, second) = (inside.enter(), inside.enter());
        all.replace(names(&[]), std::iter::once((&acme, &inside)));
        all.tell(None);
        drop(first);
        all.look();
        assert_eq!(told_of(folder.path(), "acme"), Some(true));
        assert!(!all.has(&acme));
        let held = all.hold(&acme).expect("who is inside may open the file");
        drop(second);
        all.look();
        assert_eq!(told_of(folder.path(), "acme"), Some(true));
        assert!(all.hold(&acme).is_none());
        drop(held);
        assert_eq!(told_of(folder.path(), "acme"), Some(false));

        // One that is back before it has left.
        let _third = inside.enter();
        all.replace(names(&["acme"]), std::iter::empty());
        all.replace(names(&[]), std::iter::once((&acme, &inside)));
        all.replace(names(&["acme"]), std::iter::empty());
        assert!(all.has(&acme) && all.hold(&acme).is_some());
    }

    #[test]
    fn what_is_closed_while_the_configuration_is_read_tells_nothing_before_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let all = InService::new(names(&["acme"]));
        let _lock = crate::tenants::take_data_dir(folder.path()).unwrap();
        all.tell_in(folder.path()).unwrap();
        let held = all.hold(&name("acme")).unwrap();
        all.replace(names(&[]), std::iter::empty());
        drop(held);
        assert_eq!(told(folder.path()).unwrap(), Told::Nothing);
        all.tell(Some("t:1: faulty".to_owned()));
        let problem = Some("t:1: faulty".to_owned());
        assert_eq!(told(folder.path()).unwrap(), Told::Known { in_service: BTreeSet::new(), problem });
    }
}

//! Which tenants' directories are open: opened on first use, once, off the I/O threads; bounded in number.
//!
//! Generic over what is open, so that its rules are tested without files.

use std::collections::HashMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::SetOnce;

use crate::config::TenantName;
use crate::directory;

/// The open things, by tenant.
pub(super) struct OpenTenants<T: Send + Sync + 'static> {
    state: Mutex<State<T>>,
}

struct State<T: Send + Sync + 'static> {
    slots: HashMap<TenantName, Entry<T>>,
    /// Grows with every use.
    uses: u64,
}

struct Entry<T: Send + Sync + 'static> {
    slot: Arc<Slot<T>>,
    last_use: u64,
}

/// A thing that is open, or is being opened. Who holds one keeps it open; the last one closes it.
struct Slot<T: Send + Sync + 'static> {
    opened: SetOnce<Result<Arc<T>, directory::Error>>,
}

/// A thing that is open for as long as this is held.
pub(super) struct Lease<T: Send + Sync + 'static> {
    // Dropped in this order, so that the last holder of the slot holds the last of what is open.
    opened: Arc<T>,
    slot: Arc<Slot<T>>,
}

impl<T: Send + Sync + 'static> OpenTenants<T> {
    /// None is open.
    pub(super) fn new() -> OpenTenants<T> {
        OpenTenants { state: Mutex::new(State { slots: HashMap::new(), uses: 0 }) }
    }

    /// The open thing of a tenant; opened by `open`, on a thread that may block, if it is not open yet. Those who
    /// ask meanwhile wait for the same opening, which goes on when its first caller gives up. A failure is told to
    /// all who waited for it and then forgotten.
    ///
    /// Afterwards at most `open_max` are open, save those in use. `may_stay` is asked under the lock whether the
    /// tenant still exists; what does not is closed after its last use.
    ///
    /// # Errors
    /// What `open` gives.
    pub(super) async fn get(
        self: &Arc<Self>,
        name: &TenantName,
        open_max: usize,
        may_stay: impl FnOnce() -> bool,
        open: impl FnOnce() -> Result<T, directory::Error> + Send + 'static,
    ) -> Result<Lease<T>, directory::Error> {
        let (slot, closed) = self.slot(name, open_max, may_stay, open);
        drop(closed);
        let opened = slot.opened.wait().await.clone()?;
        Ok(Lease { opened, slot })
    }

    fn slot(
        self: &Arc<Self>,
        name: &TenantName,
        open_max: usize,
        may_stay: impl FnOnce() -> bool,
        open: impl FnOnce() -> Result<T, directory::Error> + Send + 'static,
    ) -> (Arc<Slot<T>>, Vec<Arc<Slot<T>>>) {
        let mut state = self.lock();
        state.uses += 1;
        let last_use = state.uses;
        if let Some(entry) = state.slots.get_mut(name) {
            entry.last_use = last_use;
            return (Arc::clone(&entry.slot), Vec::new());
        }
        let slot = Arc::new(Slot { opened: SetOnce::new() });
        if may_stay() {
            state.slots.insert(name.clone(), Entry { slot: Arc::clone(&slot), last_use });
        }
        let closed = state.take_least_used(open_max);
        drop(state);
        let opening = Opening { all: Arc::clone(self), name: name.clone(), slot: Arc::clone(&slot) };
        tokio::task::spawn_blocking(move || opening.run(open));
        (slot, closed)
    }

    /// Closes what is open of the tenants that are not to be kept; what is in use after its last use.
    pub(super) fn keep_only(&self, keep: impl Fn(&TenantName) -> bool) {
        let mut state = self.lock();
        let closed: Vec<_> =
            state.slots.extract_if(|name, _| !keep(name)).map(|(_, entry)| entry.slot).collect();
        drop(state);
        drop(closed);
    }

    /// Forgets a slot, unless its tenant has another one by now.
    fn forget(&self, name: &TenantName, slot: &Arc<Slot<T>>) {
        let mut state = self.lock();
        if state.slots.get(name).is_some_and(|entry| Arc::ptr_eq(&entry.slot, slot)) {
            state.slots.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync + 'static> State<T> {
    /// Takes out the least recently used until at most `open_max` are left, but none that is in use: new users come
    /// only through the lock that is held, so who is alone with the map stays alone.
    fn take_least_used(&mut self, open_max: usize) -> Vec<Arc<Slot<T>>> {
        let mut taken = Vec::new();
        while self.slots.len() > open_max {
            let idle = self.slots.iter().filter(|(_, entry)| Arc::strong_count(&entry.slot) == 1);
            let Some(name) = idle.min_by_key(|(_, entry)| entry.last_use).map(|(name, _)| name.clone())
            else {
                break;
            };
            taken.extend(self.slots.remove(&name).map(|entry| entry.slot));
        }
        taken
    }
}

impl<T: Send + Sync + 'static> Drop for Slot<T> {
    /// Closing may take a while (SQLite writes its log back), so it is not done on an I/O thread.
    fn drop(&mut self) {
        let opened = std::mem::take(&mut self.opened);
        if let (Some(Ok(opened)), Ok(runtime)) = (opened.into_inner(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(opened));
        }
    }
}

/// The duty to open what a slot stands for. Dropped without having run, it tells that nothing was opened.
struct Opening<T: Send + Sync + 'static> {
    all: Arc<OpenTenants<T>>,
    name: TenantName,
    slot: Arc<Slot<T>>,
}

impl<T: Send + Sync + 'static> Opening<T> {
    fn run(self, open: impl FnOnce() -> Result<T, directory::Error>) {
        let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            Err(directory::Error::Internal { reason: "opening the tenant's file panicked".to_owned() })
        });
        self.finish(opened);
    }

    fn finish(&self, opened: Result<T, directory::Error>) {
        if opened.is_err() {
            // First, so that whoever asks after being told of the failure makes a new attempt.
            self.all.forget(&self.name, &self.slot);
        }
        // Fails when the slot has been filled, as it has when a finished duty is dropped.
        drop(self.slot.opened.set(opened.map(Arc::new)));
    }
}

impl<T: Send + Sync + 'static> Drop for Opening<T> {
    fn drop(&mut self) {
        if !self.slot.opened.initialized() {
            let reason = "the server is stopping".to_owned();
            self.finish(Err(directory::Error::Unavailable { reason }));
        }
    }
}

impl<T: Send + Sync + 'static> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.opened
    }
}

impl<T: Send + Sync + 'static> Clone for Lease<T> {
    fn clone(&self) -> Lease<T> {
        Lease { opened: Arc::clone(&self.opened), slot: Arc::clone(&self.slot) }
    }
}

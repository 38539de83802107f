//! Which tenants' directories are open: opened on first use, once, off the I/O threads; bounded in number.
//!
//! Generic over what is open, so that its rules are tested without files.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SetOnce};

use crate::config::TenantName;
use crate::directory;
use crate::tenants::ByName;

/// Most things that are being opened at once.
const OPENINGS_MAX: usize = 4;

/// The open things, by tenant.
pub(super) struct OpenTenants<T: Send + Sync + 'static> {
    state: Mutex<State<T>>,
    /// Places to open in. Each takes a thread, and a thread that has opened something keeps memory for more.
    openings: Arc<Semaphore>,
}

struct State<T: Send + Sync + 'static> {
    slots: ByName<Entry<T>>,
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
    /// How many [`Use`]s there are. The first is made under the lock of the map.
    uses: AtomicUsize,
}

/// Keeps a slot from being taken out of the map.
struct Use<T: Send + Sync + 'static> {
    slot: Arc<Slot<T>>,
}

/// A thing that is open for as long as this is held.
pub(super) struct Lease<T: Send + Sync + 'static> {
    // Dropped in this order, so that the last holder of the slot holds the last of what is open.
    opened: Arc<T>,
    in_use: Use<T>,
}

impl<T: Send + Sync + 'static> OpenTenants<T> {
    /// None is open.
    pub(super) fn new() -> OpenTenants<T> {
        OpenTenants {
            state: Mutex::new(State { slots: ByName::default(), uses: 0 }),
            openings: Arc::new(Semaphore::new(OPENINGS_MAX)),
        }
    }

    /// The open thing of a tenant, if it is open already: the way of nearly every request.
    pub(super) fn find(&self, name: &TenantName) -> Option<Lease<T>> {
        let mut state = self.lock();
        let (in_use, opened) = state.find(name)?;
        Some(Lease { opened: opened?, in_use })
    }

    /// The open thing of a tenant; opened by `open`, on a thread that may block, if it is not open yet. Those
    /// who ask meanwhile wait for the same opening, which goes on when its first caller gives up. A failure
    /// is told to all who waited for it and then forgotten.
    ///
    /// Afterwards at most `open_max` are open, save those in use. `may_stay` is asked under the lock whether
    /// the tenant still exists; what does not is closed after its last use.
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
        let (in_use, closed) = self.slot(name, open_max, may_stay, open);
        drop(closed);
        let opened = in_use.slot.opened.wait().await.clone()?;
        Ok(Lease { opened, in_use })
    }

    fn slot(
        self: &Arc<Self>,
        name: &TenantName,
        open_max: usize,
        may_stay: impl FnOnce() -> bool,
        open: impl FnOnce() -> Result<T, directory::Error> + Send + 'static,
    ) -> (Use<T>, Vec<Arc<Slot<T>>>) {
        let mut state = self.lock();
        if let Some((in_use, _)) = state.find(name) {
            return (in_use, Vec::new());
        }
        let last_use = state.uses;
        let slot = Arc::new(Slot { opened: SetOnce::new(), uses: AtomicUsize::new(0) });
        let in_use = Use::of(&slot);
        if may_stay() {
            state.slots.insert(name.clone(), Entry { slot: Arc::clone(&slot), last_use });
        }
        let closed = state.take_least_used(open_max);
        drop(state);
        let opening = Opening { all: Arc::clone(self), name: name.clone(), slot };
        let places = Arc::clone(&self.openings);
        tokio::spawn(async move {
            // The semaphore is never closed; without a place the opening is dropped, and tells so.
            let Ok(place) = places.acquire_owned().await else { return };
            tokio::task::spawn_blocking(move || {
                let _place = place;
                opening.run(open);
            });
        });
        (in_use, closed)
    }

    /// Closes what is open of the tenants that are not to be kept; what is in use after its last use.
    pub(super) fn keep_only(&self, keep: impl Fn(&TenantName) -> bool) {
        let mut state = self.lock();
        let closed: Vec<_> =
            state.slots.extract_if(|name, _| !keep(name)).map(|(_, entry)| entry.slot).collect();
        drop(state);
        drop(closed);
    }

    /// Closes what is open and of which this is so; what is in use after its last use.
    pub(super) fn close_where(&self, is_so: impl Fn(&T) -> bool) {
        // It may look at files, which is not for holding the lock.
        let open: Vec<_> =
            self.lock().slots.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.slot))).collect();
        for (name, slot) in open {
            if slot.opened.get().and_then(|opened| opened.as_ref().ok()).is_some_and(|opened| is_so(opened)) {
                self.forget(&name, &slot);
            }
        }
    }

    /// Forgets a slot, unless its tenant has another one by now.
    fn forget(&self, name: &TenantName, slot: &Arc<Slot<T>>) {
        let mut state = self.lock();
        if state.slots.get(name).is_some_and(|entry| Arc::ptr_eq(&entry.slot, slot)) {
            state.slots.remove(name);
        }
    }

    /// How many are open or being opened.
    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync + 'static> State<T> {
    /// Notes a use of a tenant's slot, and gives what is open in it by now.
    fn find(&mut self, name: &TenantName) -> Option<(Use<T>, Option<Arc<T>>)> {
        self.uses += 1;
        let entry = self.slots.get_mut(name)?;
        entry.last_use = self.uses;
        let opened = entry.slot.opened.get().and_then(|opened| opened.as_ref().ok()).map(Arc::clone);
        Some((Use::of(&entry.slot), opened))
    }

    /// Takes out the least recently used until at most `open_max` are left, but none that is in use: whoever
    /// is the first to use it needs the lock that is held.
    fn take_least_used(&mut self, open_max: usize) -> Vec<Arc<Slot<T>>> {
        let mut taken = Vec::new();
        while self.slots.len() > open_max {
            let idle = self.slots.iter().filter(|(_, entry)| !entry.slot.is_in_use());
            let Some(name) = idle.min_by_key(|(_, entry)| entry.last_use).map(|(name, _)| name.clone())
            else {
                break;
            };
            taken.extend(self.slots.remove(&name).map(|entry| entry.slot));
        }
        taken
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    fn is_in_use(&self) -> bool {
        !self.opened.initialized() || self.uses.load(Ordering::Acquire) > 0
    }
}

impl<T: Send + Sync + 'static> Use<T> {
    fn of(slot: &Arc<Slot<T>>) -> Use<T> {
        slot.uses.fetch_add(1, Ordering::Relaxed);
        Use { slot: Arc::clone(slot) }
    }
}

impl<T: Send + Sync + 'static> Drop for Use<T> {
    fn drop(&mut self) {
        self.slot.uses.fetch_sub(1, Ordering::Release);
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
        Lease { opened: Arc::clone(&self.opened), in_use: Use::of(&self.in_use.slot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells when it is closed.
    struct Thing(&'static str, Arc<Mutex<Vec<&'static str>>>);

    impl Drop for Thing {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[derive(Default)]
    struct Bench {
        opened: Arc<AtomicUsize>,
        closed: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Bench {
        fn opens(
            &self,
            name: &'static str,
        ) -> impl FnOnce() -> Result<Thing, directory::Error> + Send + 'static {
            let (opened, closed) = (Arc::clone(&self.opened), Arc::clone(&self.closed));
            move || {
                opened.fetch_add(1, Ordering::SeqCst);
                Ok(Thing(name, closed))
            }
        }

        async fn get(&self, all: &Arc<OpenTenants<Thing>>, name: &'static str, max: usize) -> Lease<Thing> {
            all.get(&name.parse().unwrap(), max, || true, self.opens(name)).await.ok().unwrap()
        }

        /// What is closed, once `count` are.
        async fn closed(&self, count: usize) -> Vec<&'static str> {
            while self.closed.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
            self.closed.lock().unwrap().clone()
        }

        fn opened(&self) -> usize {
            self.opened.load(Ordering::SeqCst)
        }
    }

    fn open_now(all: &OpenTenants<Thing>) -> Vec<String> {
        let mut names: Vec<String> = all.lock().slots.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    fn failure() -> directory::Error {
        directory::Error::Unavailable { reason: "on purpose".to_owned() }
    }

    #[tokio::test]
    async fn many_who_ask_at_once_open_once() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let leases = futures_util::future::join_all((0..50).map(|_| bench.get(&all, "a", 9))).await;
        assert_eq!((bench.opened(), leases.len()), (1, 50));
        assert!(leases.iter().all(|lease| lease.0 == "a"));
    }

    #[tokio::test]
    async fn the_least_recently_used_is_closed() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        for name in ["a", "b", "a", "c"] {
            drop(bench.get(&all, name, 2).await);
        }
        assert_eq!(bench.closed(1).await, ["b"]);
        assert_eq!(open_now(&all), ["a", "c"]);
        drop(bench.get(&all, "b", 2).await);
        assert_eq!(bench.closed(2).await, ["b", "a"]);
        assert_eq!(bench.opened(), 4);
    }

    #[tokio::test]
    async fn what_is_in_use_is_never_closed() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let first = bench.get(&all, "a", 1).await;
        let second = bench.get(&all, "b", 1).await;
        drop(bench.get(&all, "c", 1).await);
        assert_eq!(open_now(&all), ["a", "b", "c"]);
        drop((first, second));
        drop(bench.get(&all, "d", 1).await);
        assert_eq!(open_now(&all), ["d"]);
        let mut closed = bench.closed(3).await;
        closed.sort_unstable();
        assert_eq!(closed, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_removed_tenant_is_closed_after_its_last_use() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let lease = bench.get(&all, "a", 9).await;
        let other = lease.clone();
        drop(bench.get(&all, "b", 9).await);
        all.keep_only(|name| name.as_str() == "b");
        assert_eq!(open_now(&all), ["b"]);
        drop(lease);
        assert!(bench.closed.lock().unwrap().is_empty());
        drop(other);
        assert_eq!(bench.closed(1).await, ["a"]);
    }

    #[tokio::test]
    async fn what_is_to_be_closed_is_closed_after_its_last_use_and_opened_anew() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let lease = bench.get(&all, "a", 9).await;
        drop(bench.get(&all, "b", 9).await);
        all.close_where(|thing| thing.0 == "a");
        assert_eq!(open_now(&all), ["b"]);
        drop(bench.get(&all, "a", 9).await);
        assert_eq!((bench.opened(), lease.0), (3, "a"));
        drop(lease);
        assert_eq!(bench.closed(1).await, ["a"]);
    }

    #[tokio::test]
    async fn what_may_not_stay_is_closed_after_its_use() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let lease = all.get(&"a".parse().unwrap(), 9, || false, bench.opens("a")).await.ok().unwrap();
        assert!(open_now(&all).is_empty());
        drop(lease);
        assert_eq!(bench.closed(1).await, ["a"]);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::<Thing>::new()));
        let name: TenantName = "a".parse().unwrap();
        let attempts = AtomicUsize::new(0);
        let (go_on, wait) = std::sync::mpsc::channel();
        let mut wait = Some(wait);
        let asks = futures_util::future::join_all((0..10).map(|_| {
            // The first one opens, as soon as all have asked.
            let wait = wait.take();
            let open = move || {
                wait.map(|wait| wait.recv());
                Err(failure())
            };
            let count = || attempts.fetch_add(1, Ordering::SeqCst) == 0;
            all.get(&name, 9, count, open)
        }));
        let (results, sent) = futures_util::future::join(asks, async { go_on.send(()) }).await;
        sent.unwrap();
        assert!(results.iter().all(|result| result.as_ref().err() == Some(&failure())));
        assert_eq!(attempts.into_inner(), 1);
        assert_eq!(bench.get(&all, "a", 9).await.0, "a");
    }

    #[tokio::test]
    async fn an_opening_that_panics_is_a_failure() {
        let all = Arc::new(OpenTenants::<Thing>::new());
        let result = all.get(&"a".parse().unwrap(), 9, || true, || panic!("on purpose")).await;
        assert!(matches!(result.err(), Some(directory::Error::Internal { .. })));
        assert!(open_now(&all).is_empty());
    }

    #[tokio::test]
    async fn an_opening_goes_on_when_its_first_caller_gives_up() {
        let (bench, all) = (Bench::default(), Arc::new(OpenTenants::new()));
        let (go_on, wait) = std::sync::mpsc::channel();
        let (name, open) = ("a".parse::<TenantName>().unwrap(), bench.opens("a"));
        let slow = move || {
            wait.recv().unwrap();
            open()
        };
        let first = all.get(&name, 9, || true, slow);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, first).await.is_err());
        let second = tokio::spawn({
            let (all, open) = (Arc::clone(&all), bench.opens("again"));
            async move { all.get(&"a".parse().unwrap(), 9, || true, open).await.ok().unwrap().0 }
        });
        go_on.send(()).unwrap();
        assert_eq!(second.await.unwrap(), "a");
        assert_eq!(bench.opened(), 1);
    }
}

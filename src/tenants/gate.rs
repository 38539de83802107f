//! Bounds how many Argon2 checks run, and wait to run, for callers who have proved nothing yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most callers that wait; with 20 ms a check the last of them waits for a second or two.
pub(super) const WAITING_MAX: usize = 64;

/// The gate.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Gate {
    /// A gate that lets `checks_max` in at once.
    pub(super) fn new(checks_max: usize) -> Gate {
        Gate { places: Arc::new(Semaphore::new(checks_max)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a place, first come, first served. The place is free again when what is given is dropped.
    /// `None` when too many wait already.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _waiting = Waiting::begin(&self.waiting)?;
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

/// Counts one who waits, for as long as it does; also when its request is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn begin(count: &AtomicUsize) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < WAITING_MAX).then_some(waiting + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Waiting(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_enter_so_many_wait_and_the_rest_is_turned_away() {
        let gate = Arc::new(Gate::new(2));
        let inside = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.enter().await.is_some() })
            })
            .collect();
        while gate.waiting.load(Ordering::Relaxed) < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter().await.is_none());
        drop(inside);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
        assert!(gate.enter().await.is_some());
    }

    #[tokio::test]
    async fn who_gives_up_waits_no_more() {
        let gate = Arc::new(Gate::new(1));
        let _inside = gate.enter().await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_some() }
        });
        while gate.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }
}

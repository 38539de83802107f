//! The threads that serve connections: an event loop each, and a connection stays with the loop that it was given.
//!
//! One scheduler for all of them would move a ready connection to whichever thread is free. With requests of a
//! few microseconds, waking that thread costs more than the request does.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most threads of all loops that may block at once; each is there for as long as it is used.
const BLOCKING_THREADS_MAX: usize = 512;

/// Event loops, each on a thread of its own. They end when this is stopped or dropped.
pub struct Loops {
    loops: Vec<Loop>,
    stop: watch::Sender<Option<Duration>>,
}

struct Loop {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Loops {
    /// Starts a loop for each processor that the program may use.
    ///
    /// # Errors
    /// When the system gives no thread or no poll.
    pub fn start() -> io::Result<Loops> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (stop, _) = watch::channel(None);
        let mut loops = Loops { loops: Vec::with_capacity(count), stop };
        for number in 0..count {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS_MAX.div_ceil(count))
                .thread_name("blocking")
                .build()?;
            let (handle, stopped) = (runtime.handle().clone(), loops.stop.subscribe());
            let thread = std::thread::Builder::new()
                .name(format!("http-{number}"))
                .spawn(move || turn(runtime, stopped))?;
            loops.loops.push(Loop { handle, connections: Arc::default(), thread: Some(thread) });
        }
        Ok(loops)
    }

    /// A handle of each loop.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.loops.iter().map(|one| one.handle.clone()).collect()
    }

    /// Has a connection served by the loop that has the fewest.
    pub(super) fn spawn(
        &self,
        connections: &mut JoinSet<()>,
        serve: impl Future<Output = ()> + Send + 'static,
    ) {
        let Some(least) = self.loops.iter().min_by_key(|one| one.connections.load(Ordering::Relaxed)) else {
            return;
        };
        let place = Place::take(&least.connections);
        let served = async move {
            let _place = place;
            serve.await;
        };
        connections.spawn_on(served, &least.handle);
    }

    /// Ends the loops. What still runs on a thread that may block is waited for until `within` is over.
    pub fn stop(mut self, within: Duration) {
        self.end(within);
    }

    fn end(&mut self, within: Duration) {
        self.stop.send_replace(Some(within));
        for one in &mut self.loops {
            if let Some(thread) = one.thread.take() {
                // One that has panicked has ended as well.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Runs a loop until it is stopped.
fn turn(runtime: Runtime, mut stopped: watch::Receiver<Option<Duration>>) {
    let within = runtime.block_on(async {
        let told = stopped.wait_for(Option::is_some).await;
        told.ok().and_then(|within| *within).unwrap_or_default()
    });
    runtime.shutdown_timeout(within);
}

/// A connection's place in its loop's count.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Place {
        count.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn connections_go_to_the_loop_with_the_fewest_and_end_with_it() {
        let loops = Loops::start().unwrap();
        let mut connections = JoinSet::new();
        let mut ends = Vec::new();
        for _ in 0..2 * loops.loops.len() {
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            loops.spawn(&mut connections, async move {
                let _ = ended.await;
            });
        }
        let counts = || -> Vec<usize> {
            loops.loops.iter().map(|one| one.connections.load(Ordering::Relaxed)).collect()
        };
        assert!(counts().iter().all(|count| *count == 2), "{:?}", counts());
        ends.clear();
        while connections.join_next().await.is_some() {}
        assert!(counts().iter().all(|count| *count == 0));
        // A connection that never ends does not hold up the end of the loops.
        loops.spawn(&mut connections, std::future::pending());
        loops.stop(Duration::ZERO);
        assert!(connections.join_next().await.unwrap().is_err());
    }
}

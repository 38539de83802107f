//! The connections to one file: those that are open and free, and how they are closed again when nobody needs them.
//!
//! r2d2 would close them by a job for each pool that never ends, not even with the pool; tenants are opened and closed
//! all day. So it is told of no time-out, and we look ourselves: the job ends with the pool, and gives back the room of
//! connections that are not read much any more. What a connection is, see `connection`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use r2d2::{Pool, PooledConnection};

use crate::store::Error;
use crate::store::connection::Manager;
use crate::store::open::{Mode, Pools};

/// How often it is looked which connections have not been used. One that was found so twice in a row is closed, which is
/// after a minute or somewhat more.
const LOOK: Duration = Duration::from_secs(30);

/// How long a caller waits for a connection before it is told that the tenant is busy.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// A pool of connections to one file.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Manager>,
    /// Callers that wait for a connection.
    waiting: AtomicUsize,
    /// Whether it is closed; held while it is looked.
    is_closed: Mutex<bool>,
}

impl Connections {
    /// A pool of at most `connections_max` connections. None is open yet.
    pub(super) fn new(file: &Path, pools: &Pools, connections_max: u32, mode: Mode) -> Arc<Connections> {
        let pool = Pool::builder()
            .max_size(connections_max)
            // A connection takes some 200 KiB, and one that is wanted idle is opened whenever the only one is in use.
            .min_idle(Some(0))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            .connection_timeout(CONNECTION_WAIT)
            .thread_pool(pools.threads())
            .build_unchecked(Manager::new(file, mode, pools.room()));
        let connections =
            Arc::new(Connections { pool, waiting: AtomicUsize::default(), is_closed: Mutex::default() });
        let looked_at = Arc::downgrade(&connections);
        pools.every(LOOK, move || look_at(&looked_at).is_some());
        connections
    }

    /// A connection, as soon as there is one.
    ///
    /// # Errors
    /// What r2d2 tells when there was none within [`CONNECTION_WAIT`].
    pub(super) fn get(&self) -> Result<PooledConnection<Manager>, r2d2::Error> {
        if let Some(connection) = self.pool.try_get() {
            return Ok(connection);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let connection = self.pool.get();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        connection
    }

    /// As [`Connections::get`], for a request.
    ///
    /// # Errors
    /// [`Error::Busy`] when there was none in time.
    pub(super) fn get_or_busy(&self) -> Result<PooledConnection<Manager>, Error> {
        self.get().map_err(|_| Error::Busy)
    }

    /// A connection, if one is free at once.
    pub(super) fn try_get(&self) -> Option<PooledConnection<Manager>> {
        self.pool.try_get()
    }

    /// Closes the connections that have not been used for a while.
    pub(super) fn look(&self) {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_closed {
            self.put_back_all(|connection| connection.look());
        }
    }

    /// Closes all connections that are free, and looks no more. When it returns, the file is closed, unless somebody has a
    /// connection still.
    pub(super) fn close(&self) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.put_back_all(|connection| connection.end());
    }

    /// Takes all that are free, does something to each, and puts them back, the last one to be taken first as before.
    fn put_back_all(&self, done_to: impl Fn(&mut PooledConnection<Manager>)) {
        let mut free = Vec::new();
        while let Some(mut connection) = self.pool.try_get() {
            done_to(&mut connection);
            free.push(connection);
        }
        while let Some(connection) = free.pop() {
            drop(connection);
        }
        // Who came meanwhile waits for one that is put back. One that is closed instead tells nobody, so that another one
        // is asked for.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.pool.get_timeout(Duration::ZERO));
        }
    }

    /// How many are open.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> u32 {
        self.pool.state().connections
    }
}

/// Looks, as long as the connections are there.
fn look_at(connections: &Weak<Connections>) -> Option<()> {
    connections.upgrade().map(|connections| connections.look())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::store::open::prepare_file;

    fn connections(folder: &tempfile::TempDir, connections_max: u32) -> Arc<Connections> {
        let file = folder.path().join("t.sqlite");
        prepare_file(&file).unwrap();
        Connections::new(&file, &Pools::start(), connections_max, Mode::ReadWrite(Durability::Full))
    }

    #[test]
    fn a_connection_without_use_is_closed_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder, 2);
        let both = (connections.get().unwrap(), connections.get().unwrap());
        drop(both);
        for _ in 0..5 {
            drop(connections.get().unwrap());
            connections.look();
        }
        assert_eq!(connections.open_count(), 1, "the one that was used");
        let used = connections.get().unwrap();
        for _ in 0..5 {
            connections.look();
        }
        assert_eq!(connections.open_count(), 1);
        drop(used);
        for looks in 1..=3 {
            connections.look();
            assert_eq!(connections.open_count(), u32::from(looks < 3), "look {looks}");
        }
        assert!(connections.get().is_ok());
    }

    #[test]
    fn looking_ends_with_the_connections() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder, 1);
        let looked_at = Arc::downgrade(&connections);
        assert!(look_at(&looked_at).is_some());
        drop(connections);
        assert!(look_at(&looked_at).is_none());
    }

    #[test]
    fn closing_leaves_no_connection_open() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder, 3);
        let all: Vec<_> = (0..3).map(|_| connections.get().unwrap()).collect();
        drop(all);
        connections.close();
        assert_eq!(connections.open_count(), 0);
        assert!(!folder.path().join("t.sqlite-wal").exists());
    }

    #[test]
    fn who_waits_while_the_only_connection_is_closed_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder, 1);
        std::thread::scope(|scope| {
            let only = connections.get().unwrap();
            let waits = scope.spawn(|| connections.get().is_ok());
            while connections.waiting.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let mut only = only;
            only.end();
            drop(only);
            connections.put_back_all(|_| ());
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn a_transaction_that_was_left_open_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder, 1);
        connections.get().unwrap().execute_batch("BEGIN").unwrap();
        assert!(connections.get().unwrap().is_autocommit());
        assert_eq!(connections.open_count(), 1);
    }
}

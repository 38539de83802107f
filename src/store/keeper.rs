//! Holds the latest state of a file that is read much, so that its readers share one lock.
//!
//! A read takes a lock of the log's index and gives it back: two calls of the system, which cost as much as finding
//! the resource. Within one process SQLite counts: while one connection has the lock, the others need not ask the
//! system. So one connection begins a read and lets it stand. Nobody reads through it, and what the others see does not
//! depend on it: each looks into the index for itself, and whoever finds a newer state there locks that one, as it
//! would without.
//!
//! While a state is held, the log cannot begin anew behind it. Therefore it is let go before each of our own
//! commits, and at once after [`HOLD`], for those of other processes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;

use crate::store::open::PoolThreads;

/// So many short reads without a write between them tell a file that is read much.
const READS: u32 = 64;

/// How long a state is held.
const HOLD: Duration = Duration::from_millis(250);

type Connection = PooledConnection<SqliteConnectionManager>;

/// Holds a state, or none.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// Short reads since a state was let go, up to [`READS`]. Not counted exactly: some are lost where two threads
    /// count at once.
    reads: AtomicU32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by: Option<Connection>,
    /// Writes that are being done.
    writes: usize,
}

impl Keeper {
    /// Notes a short read, and holds the present state when there have been enough of them.
    pub(super) fn note_read(
        self: &Arc<Self>,
        readers: &Pool<SqliteConnectionManager>,
        threads: &PoolThreads,
    ) {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads < READS {
            self.reads.store(reads + 1, Ordering::Relaxed);
            if reads + 1 == READS {
                self.hold(readers, threads);
            }
        }
    }

    fn hold(self: &Arc<Self>, readers: &Pool<SqliteConnectionManager>, threads: &PoolThreads) {
        let mut held = self.lock();
        if held.by.is_some() {
            return;
        }
        // It is only to save time: where a write is being done, or no connection is free or well, it is left.
        held.by = Some(readers).filter(|_| held.writes == 0).and_then(Pool::try_get).filter(begin);
        if held.by.is_none() {
            self.reads.store(0, Ordering::Relaxed);
            return;
        }
        let keeper = Arc::downgrade(self);
        threads.after(HOLD, move || {
            if let Some(keeper) = keeper.upgrade() {
                keeper.let_go(&mut keeper.lock());
            }
        });
    }

    /// Lets the state go and holds none for as long as what is given is held.
    pub(super) fn stand_aside(&self) -> Aside<'_> {
        let mut held = self.lock();
        held.writes += 1;
        self.let_go(&mut held);
        Aside(self)
    }

    fn let_go(&self, held: &mut Held) {
        if let Some(connection) = held.by.take() {
            // One that cannot end its transaction has none any more; it is one of a read, so nothing is lost.
            let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
            drop(
                ended.or_else(|_| connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]))),
            );
        }
        self.reads.store(0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For as long as it is there, no state is held.
pub(super) struct Aside<'k>(&'k Keeper);

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.lock().writes -= 1;
    }
}

/// Begins a read that stands: the state is taken with the first row that is read.
fn begin(connection: &Connection) -> bool {
    let begun = connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
    let read = begun.and_then(|_| {
        let mut statement = connection.prepare_cached("SELECT count(*) FROM keys")?;
        statement.query_row([], |row| row.get::<_, i64>(0))
    });
    if read.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    read.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::scim::Kind;
    use crate::store::{Error, Key, NewResource, Store};
    use serde_json::json;

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("t.sqlite"), &PoolThreads::start(), Durability::Full).unwrap()
    }

    fn add(store: &Store, id: &str) {
        let text = json!({ "schemas": [], "userName": id }).to_string();
        let doc = serde_json::from_str(&text).unwrap();
        let new = NewResource { kind: Kind::User, id, now_ms: 1, version: 1, doc: &doc, text: &text };
        let job = |(), tx: &crate::store::WriteTx<'_>| tx.insert(&new).map(drop);
        let written: Vec<Result<(), Error>> = store.write(vec![()], |()| Duration::from_secs(60), job);
        assert_eq!(written, [Ok(())]);
    }

    fn has(store: &Store, id: &str) -> bool {
        let seen = store.read_short(|tx| tx.with_one(Kind::User, Key::Id(id), |_| Ok::<_, Error>(())));
        seen.unwrap().unwrap().is_some()
    }

    fn holds(store: &Store) -> bool {
        store.keeper.lock().by.is_some()
    }

    /// Reads until a state is held. There are two connections then: one of them holds it.
    fn read_much(store: &Store) {
        let both = (store.readers.get().unwrap(), store.readers.get().unwrap());
        drop(both);
        for _ in 0..READS {
            has(store, "1");
        }
        assert!(holds(store));
    }

    #[test]
    fn what_is_written_is_seen_at_once_and_no_state_is_held_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        assert!(!holds(&store));
        read_much(&store);
        add(&store, "2");
        assert!(!holds(&store) && has(&store, "2"));
        let aside = store.keeper.stand_aside();
        for _ in 0..2 * READS {
            has(&store, "1");
        }
        assert!(!holds(&store));
        drop(aside);
        read_much(&store);
    }

    #[test]
    fn what_another_process_writes_is_seen_at_once_though_a_state_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let (store, other) = (open(&folder), open(&folder));
        add(&store, "1");
        read_much(&store);
        add(&other, "2");
        assert!(holds(&store) && has(&store, "2"));
    }

    #[test]
    fn a_state_is_let_go_by_itself_and_the_log_can_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        read_much(&store);
        let connection = store.writer.get().unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let begins_anew = || {
            let busy =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            !busy.unwrap()
        };
        assert!(!begins_anew());
        let watch = crate::clock::Stopwatch::start();
        while !begins_anew() {
            assert!(watch.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        assert!(!holds(&store) && has(&store, "1"));
    }

    #[test]
    fn a_file_is_read_on_while_the_only_connection_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        let only = store.readers.try_get().unwrap();
        assert!(store.readers.try_get().is_none());
        store.keeper.hold(&store.readers, &store.threads);
        assert!(!holds(&store));
        drop(only);
        assert!(has(&store, "1"));
    }
}

//! Holds the latest state of a file that is read much, so that its readers share one lock, and keeps a connection for
//! each thread that reads it.
//!
//! A read takes a lock of the log's index and gives it back: two calls of the system, which cost as much as finding
//! the resource. Within one process SQLite counts: while one connection has the lock, the others need not ask the
//! system. So one connection begins a read and lets it stand. Nobody reads through it, and what the others see does not
//! depend on it: each looks into the index for itself, and whoever finds a newer state there locks that one, as it
//! would without.
//!
//! What a connection knows, such as the pages of the indexes, is written to with every read. Taken from the pool, it
//! would come from the other processor every second time, and each place of it would have to be fetched from there. So
//! while a state is held, a thread reads by the connection that it has read by before, and that one has room for more
//! pages.
//!
//! A log without a frame does not tell how long the file is, and SQLite asks the system with each read. That is so from
//! the moment a file is opened, also after its connections had all been closed, to the next change; a file that is read
//! much gets a frame before.
//!
//! While a state is held, the log cannot begin anew behind it. Therefore it is let go before each of our own
//! commits, and at once after [`HOLD`], for those of other processes.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use r2d2::PooledConnection;
use rusqlite::{Transaction, TransactionBehavior};

use crate::config::Durability;
use crate::store::connection::Manager;
use crate::store::open::{self, Mode, Pools};
use crate::store::pool::Connections;

/// So many short reads without a write between them tell a file that is read much.
const READS: u32 = 64;

/// How long a state is held.
const HOLD: Duration = Duration::from_millis(250);

/// Most connections that are kept for threads; the others of a pool are for whoever comes.
const LANES: usize = 4;

pub(super) type Connection = PooledConnection<Manager>;

/// Holds a state, or none.
#[derive(Debug)]
pub(super) struct Keeper {
    file: PathBuf,
    /// Short reads since a state was let go, up to [`READS`]. Not counted exactly: some are lost where two threads
    /// count at once.
    reads: AtomicU32,
    held: Mutex<Held>,
    /// Whether the file is closed; held while something is done to it by a connection that is no pool's.
    is_closed: Mutex<bool>,
    /// Whether a frame is to be given soon.
    is_giving: AtomicBool,
    /// By thread. Empty unless a state is held, but for a moment. Boxed, since it is moved with each read.
    lanes: [Mutex<Option<Box<Connection>>>; LANES],
}

#[derive(Debug, Default)]
struct Held {
    by: Option<Connection>,
    /// Writes that are being done.
    writes: usize,
}

impl Keeper {
    /// Holds nothing of a file yet.
    pub(super) fn new(file: &Path) -> Keeper {
        Keeper {
            file: file.to_owned(),
            reads: AtomicU32::default(),
            held: Mutex::default(),
            is_closed: Mutex::default(),
            is_giving: AtomicBool::default(),
            lanes: Default::default(),
        }
    }

    /// Notes a short read, and holds the present state when there have been enough of them.
    pub(super) fn note_read(self: &Arc<Self>, readers: &Connections, pools: &Pools) {
        let reads = self.reads.load(Ordering::Relaxed);
        if reads < READS {
            self.reads.store(reads + 1, Ordering::Relaxed);
            if reads + 1 == READS {
                self.hold(readers, pools);
                if self.log_is_empty() {
                    self.give_frame_soon(pools);
                }
            }
        }
    }

    /// Not at once, so that it is seldom tried where it cannot be done.
    fn give_frame_soon(self: &Arc<Self>, pools: &Pools) {
        if self.is_giving.swap(true, Ordering::Relaxed) {
            return;
        }
        let keeper = Arc::downgrade(self);
        pools.after(HOLD, move || {
            if let Some(keeper) = keeper.upgrade() {
                // Where it cannot be done, reads go on as they are.
                let _ = keeper.give_frame();
                keeper.is_giving.store(false, Ordering::Relaxed);
            }
        });
    }

    /// The connection that this thread has read by before.
    pub(super) fn kept(&self) -> Option<Box<Connection>> {
        if self.reads.load(Ordering::Relaxed) < READS {
            return None;
        }
        self.lanes[lane()].try_lock().ok()?.take()
    }

    /// Keeps a connection for the next short read of this thread, while a state is held; else it goes back to its pool.
    pub(super) fn keep(&self, mut connection: Box<Connection>) {
        // One that a read has left with a transaction is mended on its way to the pool.
        if self.reads.load(Ordering::Relaxed) < READS || !connection.is_autocommit() {
            return;
        }
        connection.make_roomy();
        let lane = &self.lanes[lane()];
        let before = lane.try_lock().ok().and_then(|mut lane| lane.replace(connection));
        drop(before);
        // The state may have been let go meanwhile, and the lanes emptied before this one was filled.
        fence(Ordering::SeqCst);
        if self.reads.load(Ordering::Relaxed) < READS {
            self.empty(lane);
        }
    }

    fn empty(&self, lane: &Mutex<Option<Box<Connection>>>) {
        let kept = lane.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(kept);
    }

    fn log_is_empty(&self) -> bool {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(log).is_ok_and(|log| log.len() == 0)
    }

    /// Puts a frame into a log that is empty, by a commit that changes nothing and need not be written through to the
    /// disk. Not by the pool's connection: who waits for one here waits for this very thread to open it. And without
    /// waiting for anybody who writes, since then there will be a frame without us.
    fn give_frame(&self) -> rusqlite::Result<()> {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_closed || !self.log_is_empty() {
            return Ok(());
        }
        let connection = open::connect(&self.file, Mode::ReadWrite(Durability::Normal))?;
        connection.busy_timeout(Duration::ZERO)?;
        let aside = self.stand_aside();
        if self.lock().writes > 1 {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        // Somebody may have written before the lock was had.
        if self.log_is_empty() {
            let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
        drop(aside);
        Ok(())
    }

    /// Lets go whatever is held, and holds and does nothing any more.
    pub(super) fn close(&self) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        std::mem::forget(self.stand_aside());
    }

    fn hold(self: &Arc<Self>, readers: &Connections, pools: &Pools) {
        let mut held = self.lock();
        if held.by.is_some() {
            return;
        }
        // It is only to save time: where a write is being done, or no connection is free or well, it is left.
        let free = || readers.try_get().filter(begin);
        held.by = if held.writes == 0 { free() } else { None };
        if held.by.is_none() {
            self.let_go(&mut held);
            return;
        }
        let keeper = Arc::downgrade(self);
        pools.after(HOLD, move || {
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
        // Whatever the count was: it is not exact, and a connection may have been kept though it is low now.
        self.reads.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.lanes.iter().for_each(|lane| self.empty(lane));
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane of this thread. Threads have numbers in the order of their start, so that those that serve connections,
/// which are started together, have different lanes, as far as there are any.
fn lane() -> usize {
    struct Number(u64);

    impl Hasher for Number {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
        }

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }

    let mut number = Number(0);
    thread::current().id().hash(&mut number);
    usize::try_from(number.finish() % LANES as u64).unwrap_or(0)
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
    use crate::scim::Kind;
    use crate::store::{Error, Key, NewResource, Store};
    use serde_json::json;

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("t.sqlite"), &Pools::start(), Durability::Full).unwrap()
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
        // As a rule after so many; the end of what was held before may fall between them.
        let watch = crate::clock::Stopwatch::start();
        while !holds(store) {
            assert!(watch.elapsed() < Duration::from_secs(60));
            has(store, "1");
        }
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
        // On a slow disk the state may be let go before the other has written.
        for number in 2..100 {
            read_much(&store);
            let id = number.to_string();
            add(&other, &id);
            let is_held = holds(&store);
            assert!(has(&store, &id));
            if is_held {
                return;
            }
        }
        panic!("a state was never held while another process wrote");
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
        assert!(!begins_anew() || !holds(&store), "as long as it is held");
        let watch = crate::clock::Stopwatch::start();
        while !begins_anew() {
            assert!(watch.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        assert!(!holds(&store) && has(&store, "1"));
    }

    #[test]
    fn the_log_of_a_file_that_is_read_much_gets_a_frame_and_the_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.sqlite");
        let store = open(&folder);
        add(&store, "1");
        drop(store);
        let log_bytes = || std::fs::metadata(folder.path().join("t.sqlite-wal")).map_or(0, |log| log.len());
        let before = std::fs::read(&file).unwrap();
        let store = open(&folder);
        assert!(has(&store, "1"));
        assert_eq!(log_bytes(), 0);
        for _ in 1..READS {
            assert!(has(&store, "1"));
        }
        let watch = crate::clock::Stopwatch::start();
        while log_bytes() == 0 {
            assert!(watch.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        assert!(has(&store, "1"));
        drop(store);
        // Counters of the file's changes lie in the first page; else it is the same.
        let after = std::fs::read(&file).unwrap();
        assert!(after[100..] == before[100..] && after.len() == before.len());
    }

    #[test]
    fn a_file_is_read_on_while_the_only_connection_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        let only = store.readers.try_get().unwrap();
        assert!(store.readers.try_get().is_none());
        store.keeper.hold(&store.readers, &store.pools);
        assert!(!holds(&store));
        drop(only);
        assert!(has(&store, "1"));
    }

    #[test]
    fn a_frame_is_given_again_after_the_connections_had_all_been_closed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        let log_bytes = || std::fs::metadata(folder.path().join("t.sqlite-wal")).map_or(0, |log| log.len());
        for _ in 0..2 {
            drop(store.keeper.stand_aside());
            let watch = crate::clock::Stopwatch::start();
            // The one that has given a frame may be about to be closed.
            while store.readers.open_count() + store.writer.open_count() > 0 || log_bytes() > 0 {
                assert!(watch.elapsed() < Duration::from_secs(60));
                store.readers.look();
                store.writer.look();
            }
            read_much(&store);
            let watch = crate::clock::Stopwatch::start();
            // Read on, as in service: the first try may fall into the end of the last one.
            while log_bytes() == 0 {
                assert!(watch.elapsed() < Duration::from_secs(60) && has(&store, "1"));
            }
            assert!(has(&store, "1"));
        }
    }

    #[test]
    fn a_frame_waits_for_nobody_who_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        drop(store);
        let store = open(&folder);
        let other = rusqlite::Connection::open(folder.path().join("t.sqlite")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(store.keeper.log_is_empty());
        let watch = crate::clock::Stopwatch::start();
        assert!(store.keeper.give_frame().is_err());
        assert!(watch.elapsed() < Duration::from_secs(4), "the time that a writer waits is 5 s");
        other.execute_batch("COMMIT").unwrap();
        let aside = store.keeper.stand_aside();
        assert_eq!(store.keeper.give_frame(), Ok(()));
        assert!(store.keeper.log_is_empty(), "our own writer will give one");
        drop(aside);
        assert_eq!(store.keeper.give_frame(), Ok(()));
        assert!(!store.keeper.log_is_empty());
    }

    #[test]
    fn a_file_that_is_closed_has_no_log_and_gets_none_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        read_much(&store);
        let keeper = Arc::clone(&store.keeper);
        drop(store);
        assert!(!folder.path().join("t.sqlite-wal").exists());
        assert_eq!(keeper.give_frame(), Ok(()));
        assert!(!folder.path().join("t.sqlite-wal").exists());
    }

    #[test]
    fn a_connection_that_was_kept_by_a_wrong_count_goes_back_to_its_pool() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        // A write is going on when the count is reached, and another thread has kept its connection meanwhile.
        let aside = store.keeper.stand_aside();
        store.keeper.reads.store(READS, Ordering::Relaxed);
        store.keeper.keep(Box::new(store.readers.get().unwrap()));
        assert_eq!(lanes(&store), 1);
        store.keeper.hold(&store.readers, &store.pools);
        assert_eq!((holds(&store), lanes(&store)), (false, 0));
        drop(aside);
        // A thread that counts late sets the count back.
        store.keeper.reads.store(READS, Ordering::Relaxed);
        store.keeper.keep(Box::new(store.readers.get().unwrap()));
        store.keeper.reads.store(10, Ordering::Relaxed);
        drop(store.keeper.stand_aside());
        assert_eq!(lanes(&store), 0);
    }

    fn lanes(store: &Store) -> usize {
        store.keeper.lanes.iter().filter(|lane| lane.lock().unwrap().is_some()).count()
    }

    #[test]
    fn a_thread_reads_by_the_same_connection_while_a_state_is_held_and_gives_it_back_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        assert!(has(&store, "1") && lanes(&store) == 0);
        read_much(&store);
        // The mark is the connection's own.
        let mark = |number: i64| {
            store.read_short(|tx| {
                let before: i64 = tx.connection.query_row("PRAGMA cache_size", [], |row| row.get(0))?;
                tx.connection.pragma_update(None, "cache_size", number)?;
                Ok::<_, Error>(before)
            })
        };
        mark(-111).unwrap().unwrap();
        assert_eq!((mark(-111).unwrap().unwrap(), lanes(&store)), (-111, 1));
        add(&store, "2");
        assert!(!holds(&store) && lanes(&store) == 0 && has(&store, "2"));
    }

    #[test]
    fn threads_have_lanes_of_their_own_and_no_connection_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        add(&store, "1");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..200 {
                        // None is free for a moment, now and then, as in service.
                        let _ = store
                            .read_short(|tx| tx.with_one(Kind::User, Key::Id("1"), |_| Ok::<_, Error>(())));
                        if round % 50 == 0 {
                            drop(store.keeper.stand_aside());
                        }
                    }
                });
            }
        });
        drop(store.keeper.stand_aside());
        let all: Vec<_> = (0..crate::store::READERS_MAX).map(|_| store.readers.get().unwrap()).collect();
        assert_eq!((all.len(), lanes(&store)), (12, 0));
    }
}

//! A connection to a tenant's file as the pools hold it: with the bound on what is read by it.
//!
//! SQLite asks after every so many steps whether a read shall go on. Whom it asks is made once, with the connection, and
//! told of each read in a word, since a look-up is over before it is asked at all. How a connection is set up does not
//! belong here, see `open`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::Connection;

use crate::clock::Stopwatch;
use crate::store::open::{self, Mode};

/// After so many steps of SQLite's machine it is looked whether a read has gone on for too long. A look-up by an index
/// takes a hundred or two, a user's row with a dozen groups a few hundred; so many take about a millisecond, and where
/// each step looks into JSON, some ten.
const STEPS_BETWEEN_LOOKS: i32 = 20_000;

/// Most memory of the page cache of a connection with room, in KiB. The inner pages of the trees by which one of a million
/// users is found, or half of the rows of 50,000, stay in memory with it; what there is in it is void with the next commit.
const ROOM_KIB: i32 = 32 * 1024;

/// Most connections with room, of all tenants together.
const ROOMS_MAX: usize = 4;

/// The look at which a connection is closed that has not been used since the first of them. That one may come right after
/// a use, and tells nothing.
const LAST_LOOK: u8 = 3;

/// Room for the pages of files that are read much: there is some for a few connections of all tenants.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<AtomicUsize>);

/// One connection's part of it, given back when it is dropped.
#[derive(Debug)]
struct Taken(Room);

impl Room {
    fn take(&self) -> Option<Taken> {
        let one_more = |taken| (taken < ROOMS_MAX).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Taken(self.clone()))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections to one file, each as the other.
#[derive(Debug)]
pub(super) struct Manager {
    file: PathBuf,
    mode: Mode,
    room: Room,
}

impl Manager {
    pub(super) fn new(file: &Path, mode: Mode, room: Room) -> Manager {
        Manager { file: file.to_owned(), mode, room }
    }
}

impl ManageConnection for Manager {
    type Connection = Bounded;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Bounded> {
        let connection = open::connect(&self.file, self.mode)?;
        let bound = Arc::new(Bound::default());
        let asked = Arc::clone(&bound);
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || asked.is_reached()))?;
        Ok(Bounded {
            connection,
            bound,
            room: self.room.clone(),
            taken: None,
            is_read_much: false,
            needs_room: None,
            looks: 0,
            is_looked_at: false,
        })
    }

    /// Not asked for by our pools: a statement tells as well, and a file does not go away.
    fn is_valid(&self, _: &mut Bounded) -> rusqlite::Result<()> {
        Ok(())
    }

    /// Asked for each connection that comes back.
    fn has_broken(&self, connection: &mut Bounded) -> bool {
        connection.comes_back()
    }
}

/// A connection whose reads can be bounded.
#[derive(Debug)]
pub(super) struct Bounded {
    connection: Connection,
    bound: Arc<Bound>,
    room: Room,
    /// What it has of the room.
    taken: Option<Taken>,
    /// Whether it was asked to have room since the last look.
    is_read_much: bool,
    /// Whether its file is larger than what it has room for anyway, where that was asked since the last look.
    needs_room: Option<bool>,
    /// Looks since it was used.
    looks: u8,
    /// Whether it comes back from a look and not from a use.
    is_looked_at: bool,
}

impl Deref for Bounded {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Bounded {
    /// Gives the connection room for the pages of a file that is read much, where the file is large and there is some left;
    /// to be asked for with each such read.
    pub(super) fn make_roomy(&mut self) {
        self.is_read_much = true;
        if self.taken.is_some() {
            return;
        }
        let connection = &self.connection;
        if *self.needs_room.get_or_insert_with(|| is_larger_than_cache(connection).unwrap_or(false))
            && let Some(taken) = self.room.take()
        {
            // Where that fails, it goes on as before.
            let _ = connection.pragma_update(None, "cache_size", -ROOM_KIB);
            self.taken = Some(taken);
        }
    }

    /// A look at a connection that is free: what was not read much since the last one has no room any more.
    pub(super) fn look(&mut self) {
        self.looks += 1;
        self.is_looked_at = true;
        self.needs_room = None;
        if !std::mem::take(&mut self.is_read_much) && self.taken.take().is_some() {
            let _ = self.connection.pragma_update(None, "cache_size", -open::PAGE_CACHE_KIB_MAX);
        }
    }

    /// Has the connection closed as soon as it comes back.
    pub(super) fn end(&mut self) {
        self.looks = LAST_LOOK;
        self.is_looked_at = true;
    }

    /// Whether the connection is to be closed, now that it comes back to its pool.
    fn comes_back(&mut self) -> bool {
        if !self.connection.is_autocommit() {
            // A BEGIN that was interrupted may have begun all the same. Who reads by the connection next would be shown
            // what there was then.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if !std::mem::take(&mut self.is_looked_at) {
            self.looks = 0;
        }
        self.looks >= LAST_LOOK || !self.connection.is_autocommit()
    }

    /// Runs `read`, whose statements end with an error once `until` is reached; `None` when that was so, whatever came
    /// of it.
    pub(super) fn within<T>(&self, until: Until, read: impl FnOnce(&Connection) -> T) -> Option<T> {
        // Also after a read that panicked: it has left its bound behind.
        *self.bound.state() = State { until, is_reached: false };
        let done = read(&self.connection);
        let state = std::mem::take(&mut *self.bound.state());
        (!state.is_reached).then_some(done)
    }
}

/// Whether a file has more pages than the page cache of every connection takes.
fn is_larger_than_cache(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    Ok(number("PRAGMA page_count")? * number("PRAGMA page_size")? / 1024
        > i64::from(open::PAGE_CACHE_KIB_MAX))
}

/// When a read is to be ended.
#[derive(Debug, Default)]
pub(super) enum Until {
    /// Not at all.
    #[default]
    Never,
    /// At the second look from now on. Not at the first: SQLite counts the steps of a statement on from its earlier
    /// runs, so that one may come at any moment.
    SecondLook,
    /// At the next look.
    NextLook,
    /// When so much time has gone by.
    Elapsed(Stopwatch, Duration),
}

#[derive(Debug, Default)]
struct Bound(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: Until,
    is_reached: bool,
}

impl Bound {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look: whether the statement that is running is to end.
    fn is_reached(&self) -> bool {
        let mut state = self.state();
        let is_reached = match &state.until {
            Until::Never => false,
            Until::SecondLook => {
                state.until = Until::NextLook;
                false
            }
            Until::NextLook => true,
            Until::Elapsed(watch, time_max) => watch.elapsed() > *time_max,
        };
        state.is_reached |= is_reached;
        is_reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::store::open::prepare_file;

    fn manager(folder: &tempfile::TempDir) -> Manager {
        let file = folder.path().join("t.sqlite");
        prepare_file(&file).unwrap();
        Manager::new(&file, Mode::ReadOnly, Room::default())
    }

    fn count_to(connection: &Connection, number: i64) -> rusqlite::Result<i64> {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT max(i) FROM n";
        connection.prepare_cached(sql)?.query_row([number], |row| row.get(0))
    }

    #[test]
    fn a_read_ends_at_its_bound_and_the_next_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let connection = manager(&folder).connect().unwrap();
        let long = |until| connection.within(until, |connection| count_to(connection, 1_000_000));
        assert!(long(Until::SecondLook).is_none());
        assert!(long(Until::Elapsed(Stopwatch::start(), Duration::ZERO)).is_none());
        assert_eq!(long(Until::Elapsed(Stopwatch::start(), Duration::MAX)), Some(Ok(1_000_000)));
        assert_eq!(long(Until::Never), Some(Ok(1_000_000)));
        // Outside of what is bounded, too.
        assert!(long(Until::SecondLook).is_none());
        assert_eq!(count_to(&connection, 1_000_000), Ok(1_000_000));
        for _ in 0..5_000 {
            let short = connection.within(Until::SecondLook, |connection| count_to(connection, 10));
            assert_eq!(short, Some(Ok(10)));
        }
    }

    #[test]
    fn a_few_connections_have_room_for_as_long_as_they_are_read_much_and_none_to_a_small_file() {
        let folder = tempfile::tempdir().unwrap();
        let manager = manager(&folder);
        let mut to_small = manager.connect().unwrap();
        to_small.make_roomy();
        assert!(to_small.taken.is_none());
        let bytes = 1024 * open::PAGE_CACHE_KIB_MAX;
        let grown = format!("CREATE TABLE large AS SELECT zeroblob({bytes}) AS it");
        open::connect(&manager.file, Mode::ReadWrite(Durability::Normal))
            .unwrap()
            .execute_batch(&grown)
            .unwrap();
        to_small.make_roomy();
        assert!(to_small.taken.is_none(), "it was small at the last look");
        to_small.look();
        to_small.make_roomy();
        assert!(to_small.taken.is_some());
        drop(to_small);
        let cache = |connection: &Bounded| -> i32 {
            connection.query_row("PRAGMA cache_size", [], |row| row.get(0)).unwrap()
        };
        let made_roomy = |connection: &mut Bounded| {
            connection.make_roomy();
            cache(connection)
        };
        let mut connections: Vec<Bounded> = (0..ROOMS_MAX).map(|_| manager.connect().unwrap()).collect();
        assert!(connections.iter_mut().all(|connection| made_roomy(connection) == -ROOM_KIB));
        let mut one_more = manager.connect().unwrap();
        assert!(made_roomy(&mut one_more) > -ROOM_KIB);
        // Asked again, who has some takes no more of it.
        assert!(connections.iter_mut().all(|connection| made_roomy(connection) == -ROOM_KIB));
        drop(connections.pop());
        assert_eq!(made_roomy(&mut one_more), -ROOM_KIB);
        // So does one that is not read much any more.
        one_more.look();
        assert_eq!(cache(&one_more), -ROOM_KIB, "it was, until now");
        one_more.look();
        assert_eq!(cache(&one_more), -open::PAGE_CACHE_KIB_MAX);
        let mut another = manager.connect().unwrap();
        assert_eq!(made_roomy(&mut another), -ROOM_KIB);
    }

    #[test]
    fn a_read_that_panics_leaves_no_bound_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let connection = manager(&folder).connect().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            connection.within(Until::NextLook, |_| panic!("in the middle of a read"))
        }));
        assert!(panicked.is_err());
        let read = connection.within(Until::Never, |connection| count_to(connection, 1_000_000));
        assert_eq!(read, Some(Ok(1_000_000)));
    }
}

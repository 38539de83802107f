//! One tenant's SQLite file: the only module that names `rusqlite` and `r2d2`.
//!
//! Rows in, rows out, synchronous. Readers run in a snapshot of their own; there is one writer, and it begins
//! IMMEDIATE: a deferred transaction that reads and then writes fails at once with `SQLITE_BUSY_SNAPSHOT`,
//! whatever the busy time-out. What a change means, who may make it and what is answered is told in `directory`.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior};

use crate::clock::Stopwatch;
use crate::config::Durability;
use crate::store::connection::Until;
use crate::store::keeper::Keeper;
use crate::store::pool::Connections;

mod open;
mod connection;
pub mod copy;
mod error;
mod pool;
mod keeper;
mod resources;
mod ids;
mod members;
mod list;
mod lookup;
mod sorted;
mod uniques;
mod entries;
mod events;
mod statements;
mod stats;
mod filter_sql;

pub use entries::PutEntry;
pub use error::Error;
pub use events::{Action, Event, NewEvent};
pub use list::{Page, PageAt, Selection};
pub use members::{BadMember, MemberChanges};
pub use open::{Pools, sqlite_version};
pub use resources::{Key, NewResource, Record, Seen};
pub use statements::Statements;
pub use stats::Stats;

/// The most connections that read one tenant's file at once.
const READERS_MAX: u32 = 12;

/// A read was not short after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotShort;

/// One tenant's file, open.
#[derive(Debug)]
pub struct Store {
    readers: Arc<Connections>,
    writer: Arc<Connections>,
    keeper: Arc<Keeper>,
    pools: Pools,
}

impl Store {
    /// Opens the file, makes it where it is not there yet, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is no file of this program, or was written by a newer version of it.
    pub fn open(file: &Path, pools: &Pools, durability: Durability) -> Result<Store, Error> {
        open::prepare_file(file)?;
        let writer = Connections::new(file, pools, 1, open::Mode::ReadWrite(durability));
        let readers = Connections::new(file, pools, READERS_MAX, open::Mode::ReadOnly);
        // One is opened at once, so that whoever opens a file is told of what is wrong with it.
        drop(readers.get().map_err(|error| Error::CannotOpen {
            file: file.display().to_string(),
            reason: error.to_string(),
        })?);
        Ok(Store { readers, writer, keeper: Arc::new(Keeper::new(file)), pools: pools.clone() })
    }

    /// What is wrong with the file, as SQLite's quick check tells it; nothing when it is well.
    ///
    /// # Errors
    /// When the check itself cannot be made.
    pub fn quick_check(&self) -> Result<Vec<String>, Error> {
        let connection = self.readers.get_or_busy()?;
        let mut statement = connection.prepare("PRAGMA quick_check(10)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Reads in one snapshot, for at most `time_max`.
    ///
    /// # Errors
    /// What `read` gives, that no connection was to be had, or [`Error::TooLong`].
    pub fn read<T, E: From<Error>>(
        &self,
        time_max: Duration,
        read: impl FnOnce(&ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = self.readers.get_or_busy()?;
        let until = Until::Elapsed(Stopwatch::start(), time_max);
        let read = connection.within(until, |connection| read(&ReadTx::new(connection, Snapshot::None)));
        read.unwrap_or_else(|| Err(E::from(Error::TooLong)))
    }

    /// Reads in one snapshot, without waiting and within a bound: for the threads that serve connections.
    ///
    /// # Errors
    /// [`NotShort`] when no connection is free at once, or the read took more steps than a look-up by an index
    /// does; the caller then reads again where it may take its time. Inside, what `read` gives.
    pub fn read_short<T, E: From<Error>>(
        &self,
        read: impl FnOnce(&ReadTx<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>, NotShort> {
        let free = || self.readers.try_get().map(Box::new);
        let connection = self.keeper.kept().or_else(free).ok_or(NotShort)?;
        self.keeper.note_read(&self.readers, &self.pools);
        let read = |connection: &Connection| read(&ReadTx::new(connection, Snapshot::None));
        let read = connection.within(Until::SecondLook, read);
        self.keeper.keep(connection);
        read.ok_or(NotShort)
    }

    /// Runs jobs in one IMMEDIATE transaction, each in a savepoint of its own: one that fails undoes what it did
    /// itself and nothing else. The answers hold once this returns; the transaction is then committed. No job may
    /// hold the transaction for longer than `time_max`: see [`WriteTx::check_time`].
    pub fn write<J, T, E: From<Error>>(
        &self,
        jobs: Vec<J>,
        time_max: impl Fn(&J) -> Duration,
        run: impl Fn(J, &WriteTx<'_>) -> Result<T, E>,
    ) -> Vec<Result<T, E>> {
        let count = jobs.len();
        match self.write_all(jobs, time_max, run) {
            Ok(answers) => answers,
            Err(error) => (0..count).map(|_| Err(E::from(error.clone()))).collect(),
        }
    }

    fn write_all<J, T, E: From<Error>>(
        &self,
        jobs: Vec<J>,
        time_max: impl Fn(&J) -> Duration,
        run: impl Fn(J, &WriteTx<'_>) -> Result<T, E>,
    ) -> Result<Vec<Result<T, E>>, Error> {
        let connection = self.writer.get_or_busy()?;
        let _aside = self.keeper.stand_aside();
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let savepoint = Savepoint::begin(&transaction)?;
            let tx = WriteTx {
                read: ReadTx::new(&transaction, Snapshot::Writing),
                watch: Stopwatch::start(),
                time_max: time_max(&job),
            };
            let answer = run(job, &tx);
            if transaction.is_autocommit() {
                return Err(Error::GivenUp);
            }
            match &answer {
                Ok(_) => savepoint.release()?,
                Err(_) => savepoint.undo()?,
            }
            answers.push(answer);
        }
        transaction.commit()?;
        Ok(answers)
    }
}

impl Drop for Store {
    /// Closes the file: who is told that a tenant is closed may move its file away at once.
    fn drop(&mut self) {
        self.keeper.close();
        self.readers.close();
        self.writer.close();
    }
}

/// What holds a read to one state of the file.
enum Snapshot<'c> {
    /// Nothing yet.
    None,
    /// A statement that is not yet at its end: SQLite keeps the state that it began with for all others.
    Statement,
    /// A transaction.
    Transaction(#[expect(dead_code, reason = "it is ended when this is dropped")] Reading<'c>),
    /// The write transaction.
    Writing,
}

/// A read transaction, ended on drop. Its statements come from the connection's cache: reading them anew would
/// cost as much as a look-up does.
struct Reading<'c>(&'c Connection);

impl<'c> Reading<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Reading<'c>> {
        // First, since one that is interrupted may have begun all the same.
        let reading = Reading(connection);
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(reading)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if ended.is_err() {
            // An interrupted statement can have ended it already; then there is nothing left to end.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// A job's part of the transaction.
struct Savepoint<'c>(&'c Connection);

impl<'c> Savepoint<'c> {
    fn begin(connection: &'c Connection) -> Result<Savepoint<'c>, Error> {
        connection.prepare_cached("SAVEPOINT job")?.execute([])?;
        Ok(Savepoint(connection))
    }

    fn release(self) -> Result<(), Error> {
        self.0.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }

    fn undo(self) -> Result<(), Error> {
        self.0.prepare_cached("ROLLBACK TO job")?.execute([])?;
        self.release()
    }
}

/// A snapshot to read from. It is taken by the first statement, and held by a transaction only where there are
/// several: BEGIN and COMMIT would cost as much as finding a resource does.
pub struct ReadTx<'c> {
    connection: &'c Connection,
    snapshot: RefCell<Snapshot<'c>>,
    /// Where the statements are kept that it runs.
    statements: RefCell<Option<Statements>>,
}

impl<'c> ReadTx<'c> {
    fn new(connection: &'c Connection, snapshot: Snapshot<'c>) -> ReadTx<'c> {
        ReadTx { connection, snapshot: RefCell::new(snapshot), statements: RefCell::new(None) }
    }

    /// From now on the texts of the statements that it runs are kept there.
    pub fn keep_statements(&self, statements: &Statements) {
        self.statements.replace(Some(statements.clone()));
    }

    /// A statement of this snapshot, from the connection's cache.
    fn prepare(&self, sql: &str) -> Result<CachedStatement<'c>, Error> {
        let mut snapshot = self.snapshot.borrow_mut();
        if matches!(*snapshot, Snapshot::None) {
            *snapshot = Snapshot::Transaction(Reading::begin(self.connection)?);
        }
        if let Some(statements) = &*self.statements.borrow() {
            statements.note(sql);
        }
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Runs `see` while a statement is open; the snapshot is that statement's, unless there is one already.
    fn held_by_statement<T>(&self, see: impl FnOnce() -> T) -> T {
        let holds = matches!(*self.snapshot.borrow(), Snapshot::None);
        if holds {
            self.snapshot.replace(Snapshot::Statement);
        }
        let seen = see();
        if holds {
            self.snapshot.replace(Snapshot::None);
        }
        seen
    }
}

/// A place in the one write transaction; it can be had nowhere else than in [`Store::write`].
pub struct WriteTx<'c> {
    read: ReadTx<'c>,
    /// Runs since the job began.
    watch: Stopwatch,
    time_max: Duration,
}

impl WriteTx<'_> {
    /// To be called between the steps of a job that may have many: nobody else can write meanwhile. SQLite itself
    /// is not interrupted, since that would undo the whole transaction and with it everybody's jobs.
    ///
    /// # Errors
    /// [`Error::WriteTooLong`] when the job's time is over; it then ends, and nothing of it is kept.
    pub fn check_time(&self) -> Result<(), Error> {
        if self.watch.elapsed() <= self.time_max { Ok(()) } else { Err(Error::WriteTooLong) }
    }

    /// Runs a part of a job so that its failure undoes that part alone: an operation of a bulk request.
    ///
    /// # Errors
    /// As the outer error, that SQLite fails; as the inner one, what `part` gives.
    pub fn part<T, E>(&self, part: impl FnOnce() -> Result<T, E>) -> Result<Result<T, E>, Error> {
        let savepoint = Savepoint::begin(self.read.connection)?;
        let answer = part();
        if self.read.connection.is_autocommit() {
            return Err(Error::GivenUp);
        }
        match &answer {
            Ok(_) => savepoint.release()?,
            Err(_) => savepoint.undo()?,
        }
        Ok(answer)
    }
}

impl<'c> std::ops::Deref for WriteTx<'c> {
    type Target = ReadTx<'c>;

    fn deref(&self) -> &ReadTx<'c> {
        &self.read
    }
}

#[cfg(test)]
mod tests;

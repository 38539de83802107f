//! How a tenant's file is opened: whose it is, which schema it has, which settings its connections get.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use scheduled_thread_pool::ScheduledThreadPool;

use crate::clock::Stopwatch;
use crate::config::Durability;
use crate::scim::{datetime, fold};
use crate::store::Error;
use crate::store::connection::Room;

/// "ICI1": tells our files from those of other programs (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x4943_4931;

/// The migrations, oldest first; `PRAGMA user_version` counts those a file has had.
pub(super) const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../schema/tenant/0001_init.sql")),
    M::up(include_str!("../../schema/tenant/0002_entries.sql")),
    M::up(include_str!("../../schema/tenant/0003_nestings.sql")),
    M::up(include_str!("../../schema/tenant/0004_uniques.sql")),
    M::up(include_str!("../../schema/tenant/0005_lists.sql")),
    M::up(include_str!("../../schema/tenant/0006_spans.sql")),
];

/// The version of SQLite that is built in, such as `3.50.2`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// The length of a key in the table `keys`.
pub(super) const KEY_BYTES: usize = 32;

/// How long a connection waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Most memory of a connection's page cache, in KiB; it is taken as pages are read.
pub(super) const PAGE_CACHE_KIB_MAX: i32 = 4 * 1024;

/// What is kept of the file of the log when the log begins anew, in bytes: it is copied back at some 4 MiB, but one large
/// write, such as that of a group of 100,000, takes more, and the file would keep that size until the server stops.
const LOG_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// How many prepared statements a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// What the pools of all tenants share.
#[derive(Clone)]
pub struct Pools {
    /// Open and close connections; a pool left to itself starts three threads of its own.
    threads: Arc<ScheduledThreadPool>,
    room: Room,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pools(..)")
    }
}

impl Pools {
    /// Starts the threads.
    pub fn start() -> Pools {
        let threads =
            ScheduledThreadPool::builder().num_threads(2).thread_name_pattern("sqlite-pool-{}").build();
        Pools { threads: Arc::new(threads), room: Room::default() }
    }

    pub(super) fn threads(&self) -> Arc<ScheduledThreadPool> {
        Arc::clone(&self.threads)
    }

    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    /// Does something quick again and again, until it says that it is over.
    pub(super) fn every(&self, time: Duration, mut goes_on: impl FnMut() -> bool + Send + 'static) {
        let next = move || goes_on().then_some(time);
        drop(self.threads.execute_with_dynamic_delay(time, next));
    }

    /// Does something quick after a while.
    pub(super) fn after(&self, time: Duration, then: impl FnOnce() + Send + 'static) {
        // Dropping the handle leaves it to be done.
        drop(self.threads.execute_after(time, then));
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    ReadWrite(Durability),
    ReadOnly,
}

/// Checks whose file it is and brings its schema up to date, before any pool opens it.
pub(super) fn prepare_file(file: &Path) -> Result<(), Error> {
    let cannot_open = |error: &rusqlite::Error| Error::CannotOpen {
        file: file.display().to_string(),
        reason: error.to_string(),
    };
    make_private(file)
        .map_err(|error| Error::CannotOpen { file: file.display().to_string(), reason: error.to_string() })?;
    let mut connection = Connection::open(file).map_err(|error| cannot_open(&error))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // In one snapshot, which only reads: another process may be making the file at this moment.
    let snapshot = connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(|error| cannot_open(&error))?;
    let application_id: i64 = snapshot
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| cannot_open(&error))?;
    let tables: i64 = snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let mut version = version_of(&snapshot)?;
    snapshot.commit()?;
    let new = application_id == 0 && version == 0 && tables == 0;
    if application_id != APPLICATION_ID && !new {
        return Err(Error::Foreign { file: file.display().to_string(), application_id });
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(Error::Newer { file: file.display().to_string(), found: version, known });
    }
    // A server and a command may open a new file in the same moment. Who comes second finds it locked, or tables that were
    // not there when it looked, and goes on from where the other one is.
    let watch = Stopwatch::start();
    loop {
        let Err(error) = bring_up_to_date(&mut connection, version < known) else { return Ok(()) };
        let now = version_of(&connection)?;
        if now > known {
            return Err(Error::Newer { file: file.display().to_string(), found: now, known });
        }
        if now <= version && error != Error::Busy || watch.elapsed() > BUSY_TIMEOUT {
            return Err(error);
        }
        version = now;
        // Waits for the other one's transaction; whether that helped, the next round tells.
        let _ = connection.execute_batch("BEGIN IMMEDIATE; COMMIT");
        std::thread::yield_now();
    }
}

fn version_of(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn bring_up_to_date(connection: &mut Connection, is_behind: bool) -> Result<(), Error> {
    // WAL first: it stays with the file. Readers then never wait for the writer, nor the writer for them.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    if is_behind {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrate(connection)?;
    }
    Ok(())
}

/// A new file is for the server's user alone, whatever the mask says: it holds personal data. SQLite gives the
/// files beside it the same mode and owner. One that is there keeps the mode its operator gave it.
fn make_private(file: &Path) -> std::io::Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let made = match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    };
    give_to_owner_of_folder(&made, file)
}

/// Root's commands must not make files that the server's user cannot open.
fn give_to_owner_of_folder(made: &std::fs::File, file: &Path) -> std::io::Result<()> {
    let own = made.metadata()?;
    let Some(folder) = file.parent() else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = std::fs::metadata(folder)?;
    if own.uid() == 0 && folder.uid() != 0 {
        std::os::unix::fs::fchown(made, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    // The system's random bits, made a key within the migration: there is no file that has it without its key.
    connection.create_scalar_function("random_key", 0, FunctionFlags::SQLITE_UTF8, |_| {
        let mut key = vec![0; KEY_BYTES];
        let drawn = getrandom::fill(&mut key);
        drawn.map_err(|error| rusqlite::Error::UserFunctionError(error.into()))?;
        Ok(key)
    })?;
    Migrations::from_slice(MIGRATIONS).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::from(err),
        other => Error::Other(other.to_string()),
    })
}

/// A connection to the file, set up.
pub(super) fn connect(file: &Path, mode: Mode) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = Connection::open_with_flags(file, flags)?;
    set_up(&mut connection, mode)?;
    Ok(connection)
}

/// Settings that live with a connection and not with the file.
fn set_up(connection: &mut Connection, mode: Mode) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // A file is not to be trusted to name functions of ours in its own schema.
    connection.pragma_update(None, "trusted_schema", false)?;
    // A statement is planned once, whatever is bound to it: planned anew for each page, it took longer than the page.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    add_functions(connection)?;
    match mode {
        Mode::ReadOnly => connection.pragma_update(None, "query_only", true)?,
        Mode::ReadWrite(durability) => {
            // In WAL mode FULL writes each commit through to the disk before it returns, so that one which was
            // answered survives the loss of power; NORMAL does so at checkpoints only.
            let synchronous = match durability {
                Durability::Full => "FULL",
                Durability::Normal => "NORMAL",
            };
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.query_row(&format!("PRAGMA journal_size_limit = {LOG_BYTES_KEPT}"), [], |_| Ok(()))?;
            connection.execute_batch("CREATE TEMP TABLE wanted (member INTEGER PRIMARY KEY, display TEXT, named INTEGER NOT NULL) STRICT;")?;
        }
    }
    Ok(())
}

/// `fold(text)` and `instant(text)`: the readings of text that filters in SQL share with those in memory.
pub(super) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("fold", 1, flags, |context| {
        Ok(context.get::<Option<String>>(0)?.map(|text| fold::fold(&text)))
    })?;
    connection.create_scalar_function("instant", 1, flags, |context| {
        Ok(context.get::<Option<String>>(0)?.and_then(|text| datetime::parse(&text)))
    })
}

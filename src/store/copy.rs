//! Whole files of tenants: a copy of one that is in use, a look into one at rest, and the content of one put in the
//! place of another's. How copies are named, packed and kept is told in `backup`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use crate::store::Error;
use crate::store::open::{self, APPLICATION_ID, MIGRATIONS};

/// How long a restore waits for its turn among the writers, and then for the file system. Each waiting is of this
/// length at most; a writer of the server waits for five seconds.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// What a file at rest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many migrations it has had.
    pub schema_version: i64,
    /// Users, inactive ones too.
    pub users: u64,
    /// Groups.
    pub groups: u64,
    /// Members of groups, counted once for each group.
    pub memberships: u64,
    /// Events, and with them changes, that the file tells of.
    pub events: u64,
}

/// The schema version that this program gives to files: the number of its migrations.
pub fn schema_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Copies a tenant's file as it is at one moment to `to`, which is not there yet or empty. Writers go on meanwhile;
/// until it is done the log of the file grows instead of being used anew.
///
/// By VACUUM INTO and not by the backup API, page by page: what was deleted is not in the copy, and the copy is
/// built anew, so that it is as small as can be.
///
/// # Errors
/// When the file is none of this program, cannot be read, or the copy cannot be written.
pub fn copy(file: &Path, to: &Path) -> Result<(), Error> {
    let connection = open_existing(file)?;
    check_owner(&connection, file)?;
    copy_from(&connection, to)
}

fn copy_from(connection: &Connection, to: &Path) -> Result<(), Error> {
    let Some(to) = to.to_str() else {
        return Err(Error::Other("the path of the copy is not UTF-8".to_owned()));
    };
    connection.execute("VACUUM INTO ?1", [to])?;
    Ok(())
}

/// Looks through a file at rest, page by page and row by row.
///
/// # Errors
/// When it is damaged, no file of this program, or of a newer version of it.
pub fn inspect(file: &Path) -> Result<Contents, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(TURN_WAIT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    check_owner(&connection, file)?;
    let mut statement = connection.prepare("PRAGMA integrity_check(5)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    if lines != ["ok"] {
        return Err(Error::Corrupt(lines.join("; ")));
    }
    let count = |sql: &str| -> Result<u64, Error> {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    if count("SELECT count(*) FROM pragma_foreign_key_check")? > 0 {
        return Err(Error::Corrupt("rows point to rows that are not there".to_owned()));
    }
    Ok(Contents {
        schema_version: connection.query_row("PRAGMA user_version", [], |row| row.get(0))?,
        users: count("SELECT count(*) FROM resources WHERE kind = 1")?,
        groups: count("SELECT count(*) FROM resources WHERE kind = 2")?,
        memberships: count("SELECT count(*) FROM members")?,
        events: count("SELECT count(*) FROM events")?,
    })
}

/// Brings the schema of a file at rest up to date.
///
/// # Errors
/// When a migration fails.
pub fn bring_up_to_date(file: &Path) -> Result<(), Error> {
    open::migrate(&mut open_existing(file)?)
}

/// Puts the content of `staged`, a file at rest with this program's schema version, in the place of that of `file`,
/// in one transaction: whoever has `file` open, in whichever process, reads the old content up to the moment when it
/// reads the new, and a failure or a crash at any moment leaves the old one. Writers wait from before the old content
/// is copied to `aside` until the new one is there, so that `aside` holds all that was ever acknowledged.
///
/// The numbers of events and resources go on from where both files had come, so that no version, and no place in a
/// list, means two things.
///
/// # Errors
/// [`Error::Busy`] when writers gave it no turn for a minute; otherwise when a file cannot be read or written.
pub fn replace(file: &Path, staged: &Path, aside: &Path) -> Result<(), Error> {
    let source = open_existing(staged)?;
    let mut live = open_existing(file)?;
    // A newer version is no hindrance: that may be what is to be undone.
    check_application(&live, file)?;
    // A file that a restore has made is in no WAL mode until a server opens it, and there the lock of the first step
    // keeps the reader out that the copy needs.
    live.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    fit_page_size(&source, &live)?;
    // Written through to the disk, whatever the server is told to do with its own commits.
    live.pragma_update(None, "synchronous", "FULL")?;
    let reader = open_existing(file)?;
    let backup = Backup::new(&source, &mut live)?;
    // A step of no pages takes the destination's write lock and does nothing else.
    step(&backup, 0)?;
    match copy_from(&reader, aside).and_then(|()| go_on_counting(&source, &reader)) {
        // A damaged file is kept as it is, for whoever can save something from it.
        Err(Error::Corrupt(_)) => copy_bytes(file, aside)?,
        kept => kept?,
    }
    // SQLite does not write such a copy through to the disk, and what it is a copy of is about to go.
    written_through(aside).map_err(|error| Error::Io(error.to_string()))?;
    while step(&backup, -1)? == StepResult::More {}
    drop(backup);
    // The log now holds the whole file. Where a reader is in the way it is written back later.
    let _ = live.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(())
}

fn step(backup: &Backup<'_, '_>, pages: i32) -> Result<StepResult, Error> {
    match backup.step(pages)? {
        // Only after the busy handler has given up.
        StepResult::Busy | StepResult::Locked => Err(Error::Busy),
        went_on => Ok(went_on),
    }
}

/// Copies a file and its log as they lie on the disk.
fn copy_bytes(file: &Path, aside: &Path) -> Result<(), Error> {
    for end in ["", "-wal"] {
        let with_end = |path: &Path| {
            let mut path = path.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        match std::fs::copy(with_end(file), with_end(aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io(error.to_string()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn written_through(file: &Path) -> std::io::Result<()> {
    File::open(file)?.sync_all()?;
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// SQLite refuses to change the page size of a file in WAL mode.
fn fit_page_size(source: &Connection, live: &Connection) -> Result<(), Error> {
    let page_size = |connection: &Connection| -> Result<i64, Error> {
        Ok(connection.query_row("PRAGMA page_size", [], |row| row.get(0))?)
    };
    let wanted = page_size(live)?;
    if page_size(source)? != wanted {
        source.pragma_update(None, "page_size", wanted)?;
        source.execute_batch("VACUUM")?;
    }
    Ok(())
}

fn go_on_counting(source: &Connection, live: &Connection) -> Result<(), Error> {
    let mut statement = live.prepare("SELECT name, seq FROM sqlite_sequence")?;
    let counters = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    for counter in counters {
        let (name, seq) = counter?;
        let raised = source
            .execute("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1", params![name, seq])?;
        if raised == 0 {
            source.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", params![name, seq])?;
        }
    }
    Ok(())
}

/// Opens a file that is there; it is never made.
fn open_existing(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)
        .map_err(|error| Error::CannotOpen { file: file.display().to_string(), reason: error.to_string() })?;
    connection.busy_timeout(TURN_WAIT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Refuses a file that is none of ours, or newer than this program.
fn check_owner(connection: &Connection, file: &Path) -> Result<(), Error> {
    check_application(connection, file)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = schema_version();
    if found > known {
        return Err(Error::Newer { file: file.display().to_string(), found, known });
    }
    Ok(())
}

fn check_application(connection: &Connection, file: &Path) -> Result<(), Error> {
    let application_id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application_id == APPLICATION_ID {
        return Ok(());
    }
    Err(Error::Foreign { file: file.display().to_string(), application_id })
}

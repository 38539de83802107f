//! A look into a tenant's file from outside, beside the running server: as a rule read-only, by the documented tables.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// Opens a tenant's file for reading.
pub(crate) fn open(file: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).unwrap()
}

/// Opens a tenant's file for writing, to make in a moment what would take requests by the thousand.
pub(crate) fn open_to_write(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
}

/// The one number that a query gives.
pub(crate) fn number(file: &Path, sql: &str) -> i64 {
    open(file).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// How many events the tenant's file tells of.
pub(crate) fn events(file: &Path) -> i64 {
    number(file, "SELECT count(*) FROM events")
}

/// The actions of the events, in order.
pub(crate) fn actions(file: &Path) -> Vec<String> {
    let connection = open(file);
    let mut statement = connection.prepare("SELECT action FROM events ORDER BY seq").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Every byte that a tenant has on disk: the file, its write-ahead log, whatever lies beside it.
pub(crate) fn bytes(file: &Path) -> Vec<u8> {
    let stem = file.file_name().unwrap().to_str().unwrap();
    let mut all = Vec::new();
    for entry in std::fs::read_dir(file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(stem) {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

/// Whether the bytes hold the text.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The texts that a query gives.
pub(crate) fn texts(file: &Path, sql: &str) -> Vec<String> {
    let connection = open(file);
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// How many commits the write-ahead log of a tenant's file holds. A frame is a header of 24 bytes and a page; that of
/// a commit's last page says how large the file is then (sqlite.org/fileformat2.html, 4.1).
pub(crate) fn commits_in_log(file: &Path) -> usize {
    let log = std::fs::read(file.with_extension("sqlite-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame_bytes = 24 + number(8) as usize;
    (32..log.len()).step_by(frame_bytes).filter(|frame| number(frame + 4) > 0).count()
}

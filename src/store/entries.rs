//! Rows of `entries`: what the tenant's catalogs of entitlements and roles hold.

use rusqlite::{OptionalExtension, Row, params};

use crate::scim::catalog::Entry;
use crate::store::{Error, ReadTx, WriteTx};

/// An entry to be put into a catalog.
#[derive(Clone, Copy, Debug)]
pub struct PutEntry<'a> {
    /// The catalog's name.
    pub catalog: &'a str,
    /// Unique in the tenant.
    pub id: &'a str,
    /// For people.
    pub display_name: &'a str,
    /// For people.
    pub description: Option<&'a str>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

const COLUMNS: &str = "id, display_name, description, created_ms, modified_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        display_name: row.get(1)?,
        description: row.get(2)?,
        created_ms: row.get(3)?,
        modified_ms: row.get(4)?,
    })
}

impl ReadTx<'_> {
    /// The entries of a catalog with their numbers, in the order in which they were added.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn entries(&self, catalog: &str) -> Result<Vec<(i64, Entry)>, Error> {
        let mut statement =
            self.prepare(&format!("SELECT {COLUMNS}, seq FROM entries WHERE catalog = ? ORDER BY seq"))?;
        let rows = statement.query_map([catalog], |row| Ok((row.get(5)?, read(row)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The entry of that id, with the name of its catalog.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn entry(&self, id: &str) -> Result<Option<(String, Entry)>, Error> {
        let mut statement = self.prepare(&format!("SELECT {COLUMNS}, catalog FROM entries WHERE id = ?"))?;
        Ok(statement.query_row([id], |row| Ok((row.get(5)?, read(row)?))).optional()?)
    }

    /// How many entries there are in all catalogs.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn count_entries(&self) -> Result<u64, Error> {
        let count: i64 = self.prepare("SELECT count(*) FROM entries")?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl WriteTx<'_> {
    /// Adds an entry, or changes the one of that id.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn put_entry(&self, entry: &PutEntry<'_>) -> Result<(), Error> {
        let mut statement = self.prepare(
            "INSERT INTO entries (catalog, id, display_name, description, created_ms, modified_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT (id) DO UPDATE SET display_name = ?3, description = ?4, modified_ms = ?5",
        )?;
        statement.execute(params![
            entry.catalog,
            entry.id,
            entry.display_name,
            entry.description,
            entry.now_ms
        ])?;
        Ok(())
    }

    /// Takes the entry of that id away.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remove_entry(&self, id: &str) -> Result<(), Error> {
        self.prepare("DELETE FROM entries WHERE id = ?")?.execute([id])?;
        Ok(())
    }
}

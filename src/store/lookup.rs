//! Resources found by what people and other directories call them.

use rusqlite::{OptionalExtension, params};

use crate::scim::{Kind, fold};
use crate::store::resources::kind_code;
use crate::store::{Error, ReadTx};

impl ReadTx<'_> {
    /// The ids of the resources of a kind with that externalId, two at most: a client may give one twice.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ids_by_external_id(&self, kind: Kind, external_id: &str) -> Result<Vec<String>, Error> {
        let mut statement =
            self.prepare("SELECT id FROM resources WHERE kind = ?1 AND external_id = ?2 LIMIT 2")?;
        let rows = statement.query_map(params![kind_code(kind), external_id], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether there is a resource, of whichever kind, with that id.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has_id(&self, id: &str) -> Result<bool, Error> {
        let mut statement = self.prepare("SELECT 1 FROM resources WHERE id = ?1")?;
        Ok(statement.exists([id])?)
    }

    /// The id of the resource of a kind with that userName or displayName, whatever its case.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn id_by_name(&self, kind: Kind, name: &str) -> Result<Option<String>, Error> {
        let mut statement = self.prepare("SELECT id FROM resources WHERE kind = ?1 AND name_key = ?2")?;
        Ok(statement.query_row(params![kind_code(kind), fold::fold(name)], |row| row.get(0)).optional()?)
    }
}

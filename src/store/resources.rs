//! Rows of `resources`: one kind of row for users and groups.

use rusqlite::{OptionalExtension, Row, ToSql, params};
use serde_json::{Map, Value};

use crate::scim::{Kind, fold};
use crate::store::open::KEY_BYTES;
use crate::store::{Error, ReadTx, WriteTx, ids};

/// A resource as it is stored.
#[derive(Clone, Debug)]
pub struct Record {
    /// Creation order.
    pub seq: i64,
    /// User or group.
    pub kind: Kind,
    /// The id.
    pub id: String,
    /// userName or displayName, as sent.
    pub name: String,
    /// Whether a user may log in: the document says `active: true`. True for groups.
    pub active: bool,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// The number of the event that made it what it is.
    pub version: i64,
    /// The document, as JSON text.
    pub doc: String,
    /// Whether it may be in a group; false spares the search for them.
    pub in_groups: bool,
}

/// What names one resource of a kind.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// Its id.
    Id(&'a str),
    /// Its userName or displayName, folded (`scim::fold`).
    FoldedName(&'a str),
}

/// A resource as a row shows it, before anything is copied.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Creation order.
    pub seq: i64,
    /// User or group.
    pub kind: Kind,
    /// The id.
    pub id: &'a str,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// The number of the event that made it what it is.
    pub version: i64,
    /// The document, as JSON text: it is handed on as it lies, so nobody looks whether it is UTF-8 once more.
    pub doc: &'a [u8],
    /// Whether it may be in a group; false spares the search for them.
    pub in_groups: bool,
}

impl Record {
    /// The same, to be shown.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            seq: self.seq,
            kind: self.kind,
            id: &self.id,
            created_ms: self.created_ms,
            modified_ms: self.modified_ms,
            version: self.version,
            doc: self.doc.as_bytes(),
            in_groups: self.in_groups,
        }
    }
}

/// A resource to be stored.
#[derive(Clone, Debug)]
pub struct NewResource<'a> {
    /// User or group.
    pub kind: Kind,
    /// The id.
    pub id: &'a str,
    /// Milliseconds since 1970, for created and modified.
    pub now_ms: i64,
    /// The event that makes it.
    pub version: i64,
    /// The document.
    pub doc: &'a Map<String, Value>,
    /// The same as JSON text: it is what is stored.
    pub text: &'a str,
}

/// A kind as it stands in the column `kind`.
pub(super) fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::User => 1,
        Kind::Group => 2,
    }
}

pub(super) fn kind_from(code: i64) -> Kind {
    if code == 2 { Kind::Group } else { Kind::User }
}

/// The columns of [`Record`], in the order that [`record`] reads.
macro_rules! record_columns {
    () => {
        "seq, kind, id, name, active, created_ms, modified_ms, version, doc"
    };
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: row.get(0)?,
        kind: kind_from(row.get(1)?),
        id: row.get(2)?,
        name: row.get(3)?,
        active: row.get(4)?,
        created_ms: row.get(5)?,
        modified_ms: row.get(6)?,
        version: row.get(7)?,
        doc: row.get(8)?,
        in_groups: true,
    })
}

fn seen<'r>(kind: Kind, row: &'r Row<'_>) -> rusqlite::Result<Seen<'r>> {
    Ok(Seen {
        seq: row.get(0)?,
        kind,
        id: row.get_ref(1)?.as_str()?,
        created_ms: row.get(2)?,
        modified_ms: row.get(3)?,
        version: row.get(4)?,
        doc: row.get_ref(5)?.as_bytes()?,
        in_groups: row.get(6)?,
    })
}

/// The searched columns of a document.
struct Keys<'a> {
    name: &'a str,
    name_key: String,
    display_key: Option<String>,
    external_id: Option<&'a str>,
    active: bool,
}

impl<'a> Keys<'a> {
    fn of(kind: Kind, doc: &'a Map<String, Value>) -> Keys<'a> {
        let text = |name: &str| doc.get(name).and_then(Value::as_str);
        let name = text(kind.name_attribute()).unwrap_or_default();
        Keys {
            name,
            name_key: fold::fold(name),
            display_key: (kind == Kind::User).then(|| text("displayName").map(fold::fold)).flatten(),
            external_id: text("externalId"),
            active: kind == Kind::Group || doc.get("active") == Some(&Value::Bool(true)),
        }
    }
}

/// What [`ReadTx::with_one`] asks for; the last column is whether it is in a group.
macro_rules! seen_where {
    ($condition:literal) => {
        concat!(
            "SELECT seq, id, created_ms, modified_ms, version, doc, ",
            "EXISTS (SELECT 1 FROM members WHERE member = seq) FROM resources WHERE ",
            $condition
        )
    };
}

impl ReadTx<'_> {
    /// Shows one resource to `see` where it lies; `None` when there is none. What else `see` reads is of the same
    /// snapshot.
    ///
    /// # Errors
    /// When SQLite fails; what `see` gives.
    pub fn with_one<T, E: From<Error>>(
        &self,
        kind: Kind,
        key: Key<'_>,
        see: impl FnOnce(&Seen<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let sqlite = |error: rusqlite::Error| E::from(Error::from(error));
        let mut see = Some(see);
        let mut show = |sql: &str, key: &[&dyn ToSql]| {
            let mut statement = self.prepare(sql)?;
            let mut rows = statement.query(key).map_err(sqlite)?;
            let Some(row) = rows.next().map_err(sqlite)? else { return Ok(None) };
            let Some(see) = see.take() else { return Ok(None) };
            see(&seen(kind, row).map_err(sqlite)?).map(Some)
        };
        self.held_by_statement(|| {
            let kind = kind_code(kind);
            match key {
                Key::Id(id) => {
                    if let Some(seq) = ids::seq_in(id)
                        && let Some(shown) =
                            show(seen_where!("seq = ?3 AND +id = ?1 AND kind = ?2"), params![id, kind, seq])?
                    {
                        return Ok(Some(shown));
                    }
                    show(seen_where!("id = ?1 AND kind = ?2"), params![id, kind])
                }
                Key::FoldedName(name) => {
                    show(seen_where!("kind = ?2 AND name_key = ?1"), params![name, kind])
                }
            }
        })
    }

    /// Shows each resource with an external id to `see` where it lies, in the order of creation; `see` tells whether to
    /// go on. What else it reads is of the same snapshot. External ids are the client's own, and need not be unique.
    ///
    /// # Errors
    /// When SQLite fails; what `see` gives.
    pub fn each_with_external_id<E: From<Error>>(
        &self,
        kind: Kind,
        external_id: &str,
        mut see: impl FnMut(&Seen<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.held_by_statement(|| {
            let sqlite = |error: rusqlite::Error| E::from(Error::from(error));
            // By the index, whose rows of one external id lie in the order of creation.
            let mut statement = self.prepare(seen_where!("kind = ?2 AND external_id = ?1 ORDER BY seq"))?;
            let mut rows = statement.query(params![external_id, kind_code(kind)]).map_err(sqlite)?;
            while let Some(row) = rows.next().map_err(sqlite)? {
                if !see(&seen(kind, row).map_err(sqlite)?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The resource of that kind and id.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn find(&self, kind: Kind, id: &str) -> Result<Option<Record>, Error> {
        let found = self.row_of_id(
            id,
            concat!("SELECT ", record_columns!(), " FROM resources WHERE seq = ?2 AND +id = ?1"),
            concat!("SELECT ", record_columns!(), " FROM resources WHERE id = ?1"),
            record,
        )?;
        Ok(found.filter(|found| found.kind == kind))
    }

    /// The row with an id, read by `there` where the id says it lies, else by `by_index`. In both, the id is `?1`; in
    /// `there` the number of the row is `?2`.
    pub(super) fn row_of_id<T>(
        &self,
        id: &str,
        there: &str,
        by_index: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        if let Some(seq) = ids::seq_in(id)
            && let Some(found) = self.prepare(there)?.query_row(params![id, seq], &read).optional()?
        {
            return Ok(Some(found));
        }
        Ok(self.prepare(by_index)?.query_row([id], read).optional()?)
    }

    /// The resource of that kind and userName or displayName, whatever its case.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn find_by_name(&self, kind: Kind, name: &str) -> Result<Option<Record>, Error> {
        let mut statement = self.prepare(concat!(
            "SELECT ",
            record_columns!(),
            " FROM resources WHERE kind = ?1 AND name_key = ?2"
        ))?;
        Ok(statement.query_row(params![kind_code(kind), fold::fold(name)], record).optional()?)
    }

    /// The random bytes that cursors of this file are sealed with.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn cursor_key(&self) -> Result<[u8; KEY_BYTES], Error> {
        let mut statement = self.prepare("SELECT bytes FROM keys WHERE name = 'cursor'")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// The resources of these numbers that are there, in the order of the numbers.
    pub(super) fn by_seqs(&self, seqs: impl ExactSizeIterator<Item = i64>) -> Result<Vec<Record>, Error> {
        let mut records = Vec::with_capacity(seqs.len());
        let mut statement = self.prepare(concat!(
            "SELECT ",
            record_columns!(),
            ", EXISTS (SELECT 1 FROM members WHERE member = seq) FROM resources WHERE seq = ?1"
        ))?;
        for seq in seqs {
            let found =
                statement.query_row([seq], |row| Ok(Record { in_groups: row.get(9)?, ..record(row)? }));
            records.extend(found.optional()?);
        }
        Ok(records)
    }
}

impl WriteTx<'_> {
    /// Stores a new resource and gives its place in the order of creation.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name or the id is taken; else when SQLite fails.
    pub fn insert(&self, new: &NewResource<'_>) -> Result<i64, Error> {
        let keys = Keys::of(new.kind, new.doc);
        self.prepare(
            "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active,
                                        created_ms, modified_ms, version, doc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10)",
        )?
        .execute(params![
            kind_code(new.kind),
            new.id,
            keys.name,
            keys.name_key,
            keys.display_key,
            keys.external_id,
            keys.active,
            new.now_ms,
            new.version,
            new.text
        ])?;
        let seq = self.connection.last_insert_rowid();
        self.put_emails(seq, new.doc)?;
        Ok(seq)
    }

    /// Puts a new document in the place of the present one, `before`; `text` is the new one as JSON text.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is another's; else when SQLite fails.
    pub fn update(
        &self,
        record: &Record,
        before: &Map<String, Value>,
        doc: &Map<String, Value>,
        text: &str,
        now_ms: i64,
        version: i64,
    ) -> Result<(), Error> {
        let keys = Keys::of(record.kind, doc);
        // Columns that stay the same are named as well: SQLite leaves an index alone whose columns do not change.
        self.prepare(
            "UPDATE resources SET name = ?2, name_key = ?3, display_key = ?4, external_id = ?5, active = ?6,
                                      modified_ms = ?7, version = ?8, doc = ?9
                  WHERE seq = ?1",
        )?
        .execute(params![
            record.seq,
            keys.name,
            keys.name_key,
            keys.display_key,
            keys.external_id,
            keys.active,
            now_ms,
            version,
            text
        ])?;
        // Most changes leave the addresses alone, which lie in three trees.
        if record.kind == Kind::User && before.get("emails") != doc.get("emails") {
            self.prepare("DELETE FROM emails WHERE resource = ?1")?.execute([record.seq])?;
            self.put_emails(record.seq, doc)?;
        }
        Ok(())
    }

    /// Marks a resource as changed whose document is not: a group whose members changed.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn touch(&self, seq: i64, now_ms: i64, version: i64) -> Result<(), Error> {
        self.prepare("UPDATE resources SET modified_ms = ?2, version = ?3 WHERE seq = ?1")?
            .execute(params![seq, now_ms, version])?;
        Ok(())
    }

    /// Deletes a resource with its memberships, and remembers that it was. Groups that lose a member change.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn delete(&self, record: &Record, now_ms: i64, version: i64) -> Result<(), Error> {
        self.prepare(
            "UPDATE resources SET modified_ms = ?2, version = ?3
                  WHERE seq IN (SELECT grp FROM members WHERE member = ?1)",
        )?
        .execute(params![record.seq, now_ms, version])?;
        self.prepare("INSERT INTO tombstones (id, kind, name, deleted_ms) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![record.id, kind_code(record.kind), record.name, now_ms])?;
        self.prepare("DELETE FROM resources WHERE seq = ?1")?.execute([record.seq])?;
        Ok(())
    }

    /// Keeps the hash of a password, or takes it away.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_password_hash(&self, seq: i64, hash: Option<&str>) -> Result<(), Error> {
        match hash {
            Some(hash) => self
                .prepare("INSERT OR REPLACE INTO passwords (resource, hash) VALUES (?1, ?2)")?
                .execute(params![seq, hash])?,
            None => self.prepare("DELETE FROM passwords WHERE resource = ?1")?.execute([seq])?,
        };
        Ok(())
    }

    fn put_emails(&self, seq: i64, doc: &Map<String, Value>) -> Result<(), Error> {
        let Some(emails) = doc.get("emails").and_then(Value::as_array) else { return Ok(()) };
        let mut statement =
            self.prepare("INSERT INTO emails (resource, value_key, type_key) VALUES (?1, ?2, ?3)")?;
        for email in emails {
            let text = |name: &str| email.get(name).and_then(Value::as_str).map(fold::fold);
            if let Some(value) = text("value") {
                statement.execute(params![seq, value, text("type")])?;
            }
        }
        Ok(())
    }
}

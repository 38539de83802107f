//! A floor: the statements that a request leads to, run by one thread on one connection, without HTTP, JSON or token
//! check. Writes are one row a commit with `synchronous=FULL`.
//!
//! The file is one of this program's own, so that tables, indexes and triggers are the same.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

use crate::people::{self, Filler};

/// The columns that an answer is made of.
const BY_ID: &str = "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc
                       FROM resources WHERE id = ?1 AND kind = ?2";
/// The same for an id of ours, which says where its row lies.
const BY_SEQ: &str = "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc
                        FROM resources WHERE seq = ?3 AND +id = ?1 AND kind = ?2";
const BY_NAME: &str = "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc
                         FROM resources WHERE kind = ?1 AND name_key = ?2";
const BY_EXTERNAL_ID: &str = "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc
                                FROM resources INDEXED BY resources_by_external_id
                               WHERE external_id = ?2 AND kind = ?1";
const PAGE: &str = "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc
                      FROM resources INDEXED BY resources_by_kind
                     WHERE kind = ?1 AND seq >= ?2 ORDER BY seq LIMIT 100";
const GROUPS_OF: &str = "SELECT g.id, g.name FROM members AS m JOIN resources AS g ON g.seq = m.grp
                          WHERE m.member = ?1 ORDER BY m.grp";
const MEMBERS_OF: &str = "SELECT r.kind, r.id, coalesce(m.display, r.name)
                            FROM members AS m JOIN resources AS r ON r.seq = m.member
                           WHERE m.grp = ?1 ORDER BY m.member";
const EVENT: &str = "INSERT INTO events (at_ms, actor, action, kind, resource_id, changed)
                     VALUES (?1, 'token:okta', ?2, ?3, ?4, ?5)";
const INSERT: &str = "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active,
                                             created_ms, modified_ms, version, doc)
                      VALUES (1, ?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, ?7, ?8)";
const UPDATE: &str =
    "UPDATE resources SET active = ?2, modified_ms = ?3, version = ?4, doc = ?5 WHERE seq = ?1";
const EMAIL: &str = "INSERT INTO emails (resource, value_key, type_key) VALUES (?1, ?2, 'work')";
const CHANGED: &str = r#"{"attributes":["userName","externalId","name","displayName","emails","active"]}"#;

/// The kinds as they stand in `resources`.
const USER: i64 = 1;
const GROUP: i64 = 2;

/// A file under the plain statements.
pub(crate) struct Plain {
    connection: Connection,
    /// Makes each new row another one.
    next: Cell<u64>,
}

impl Plain {
    /// Opens a tenant's file that no server has; makes it where it is not there.
    pub(crate) fn open(file: &Path, first_new: u64) -> Result<Plain> {
        drop(Filler::open(file)?);
        let connection = Connection::open(file)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Plain { connection, next: Cell::new(first_new) })
    }

    fn next(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// What `GET /Users/{id}` reads.
    pub(crate) fn get(&self, id: &str) -> Result<()> {
        // The first 48 bits.
        let digits: String = id.chars().filter(|digit| *digit != '-').take(12).collect();
        let seq = i64::from_str_radix(&digits, 16).context("an id")?;
        self.read(BY_SEQ, params![id, USER, seq]).map(drop)
    }

    /// What the look-up by userName reads.
    pub(crate) fn by_name(&self, number: u64) -> Result<()> {
        self.read(BY_NAME, params![USER, people::user_name(number)]).map(drop)
    }

    /// What the look-up by externalId reads.
    pub(crate) fn by_external_id(&self, number: u64) -> Result<()> {
        self.read(BY_EXTERNAL_ID, params![USER, people::external_id(number)]).map(drop)
    }

    /// What a page of 100 reads, from a place in the order of creation on.
    pub(crate) fn page(&self, seq: u64) -> Result<()> {
        self.read(PAGE, params![USER, i64::try_from(seq)?]).map(drop)
    }

    /// The members of a group; gives how many.
    pub(crate) fn members(&self, group: i64) -> Result<usize> {
        let mut statement = self.connection.prepare_cached(MEMBERS_OF)?;
        let mut rows = statement.query([group])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(1)?.as_str()?.len() + row.get_ref(2)?.as_str()?.len();
            count += usize::from(row.get_ref(0)?.as_i64()? > 0 && bytes > 0);
        }
        Ok(count)
    }

    /// The place of a group, or user, in the order of creation.
    pub(crate) fn seq(&self, id: &str) -> Result<i64> {
        Ok(self.connection.query_row("SELECT seq FROM resources WHERE id = ?1", [id], |row| row.get(0))?)
    }

    /// What `POST /Users` does.
    pub(crate) fn create(&self) -> Result<()> {
        let number = self.next();
        let (name, display) = (people::user_name(number), format!("given{number:08} family{number:08}"));
        let id =
            format!("{number:08}-0000-4000-8000-{:012x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16);
        let doc = people::user(number, 0);
        let now_ms = i64::try_from(number)?;
        self.commit(|| {
            self.read(BY_NAME, params![USER, name])?;
            let version = self.event("create", USER, &id)?;
            self.connection.prepare_cached(INSERT)?.execute(params![
                id,
                name,
                name,
                display,
                people::external_id(number),
                now_ms,
                version,
                doc
            ])?;
            let seq = self.connection.last_insert_rowid();
            self.connection.prepare_cached(EMAIL)?.execute(params![seq, name])?;
            self.read(BY_ID, params![id, USER]).map(drop)
        })
    }

    /// What PUT, or PATCH of `active`, of a user does.
    pub(crate) fn update(&self, id: &str, number: u64) -> Result<()> {
        let revision = self.next();
        let (name, doc) = (people::user_name(number), people::user(number, revision));
        self.commit(|| {
            let seq = self.read(BY_ID, params![id, USER])?.context("the user is gone")?;
            self.read(BY_NAME, params![USER, name])?;
            let version = self.event("update", USER, id)?;
            let now_ms = i64::try_from(revision)?;
            let active = revision.is_multiple_of(2);
            self.connection.prepare_cached(UPDATE)?.execute(params![seq, active, now_ms, version, doc])?;
            self.connection.prepare_cached("DELETE FROM emails WHERE resource = ?1")?.execute([seq])?;
            self.connection.prepare_cached(EMAIL)?.execute(params![seq, name])?;
            self.read(BY_ID, params![id, USER]).map(drop)
        })
    }

    /// What adding a member to a group does, or taking one out.
    pub(crate) fn change_member(&self, group: &str, member: &str, add: bool) -> Result<()> {
        self.commit(|| {
            let group_seq = self.read_row(BY_ID, params![group, GROUP])?.context("the group is gone")?;
            let member_seq = self.seq(member)?;
            let sql = if add {
                "INSERT INTO members (grp, member) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
            } else {
                "DELETE FROM members WHERE grp = ?1 AND member = ?2"
            };
            self.connection.prepare_cached(sql)?.execute([group_seq, member_seq])?;
            let version = self.event("update", GROUP, group)?;
            let touch = "UPDATE resources SET modified_ms = ?2, version = ?2 WHERE seq = ?1";
            self.connection.prepare_cached(touch)?.execute([group_seq, version])?;
            self.read_row(BY_ID, params![group, GROUP]).map(drop)
        })
    }

    fn event(&self, action: &str, kind: i64, id: &str) -> Result<i64> {
        let at_ms = i64::try_from(self.next.get())?;
        self.connection.prepare_cached(EVENT)?.execute(params![at_ms, action, kind, id, CHANGED])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn commit(&self, what: impl Fn() -> Result<()>) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        what()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Reads users with their groups; gives the place of the last one.
    fn read(&self, sql: &str, values: impl rusqlite::Params) -> Result<Option<i64>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut groups = self.connection.prepare_cached(GROUPS_OF)?;
        let mut rows = statement.query(values)?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            std::hint::black_box(row.get::<_, String>(8)?);
            let mut of_user = groups.query([seq])?;
            while let Some(group) = of_user.next()? {
                std::hint::black_box(group.get::<_, String>(0)?);
            }
            last = Some(seq);
        }
        Ok(last)
    }

    /// Reads one row without its groups; gives its place.
    fn read_row(&self, sql: &str, values: impl rusqlite::Params) -> Result<Option<i64>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        std::hint::black_box(row.get::<_, String>(8)?);
        Ok(Some(row.get(0)?))
    }
}

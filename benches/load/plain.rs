//! A floor: the statements that a request leads to, run by one thread, without HTTP, JSON or token check. Writes are
//! one row a commit with `synchronous=FULL`.
//!
//! The file is one of this program's own, so that tables, indexes and triggers are the same, and so are the settings of
//! a connection (`src/store/open.rs`). Look-ups have a connection with the room for pages that the server's loops give
//! theirs; all else goes by another with what every connection has. As in the server, an id says where its row lies, a
//! user's groups are looked for only where there are any, and addresses are written when they change: here never. What
//! is bound is ready before the clock runs.
//!
//! Left out are the savepoint around each write, the bound on a read, the snapshot that the server holds while a file
//! is read much, and how the place of a page is found: it is given, and one statement reads the page.

use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use ici_scim::clock::{Clock, SystemClock};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Params, Row, params};
use serde_json::json;

use crate::people::{self, Filler, Ids};

/// What an answer to a read is made of; the last column is whether there are groups to look for.
macro_rules! seen_where {
    ($condition:literal) => {
        concat!(
            "SELECT seq, id, created_ms, modified_ms, version, doc, ",
            "EXISTS (SELECT 1 FROM members WHERE member = seq) FROM resources ",
            $condition
        )
    };
}
const GET: &str = seen_where!("WHERE seq = ?3 AND +id = ?1 AND kind = ?2");
const BY_NAME: &str = seen_where!("WHERE kind = ?2 AND name_key = ?1");
const BY_EXTERNAL_ID: &str = seen_where!("WHERE kind = ?2 AND external_id = ?1 ORDER BY seq");
const PAGE: &str =
    seen_where!("INDEXED BY resources_by_kind WHERE kind = ?1 AND seq >= ?2 ORDER BY seq LIMIT 100");

/// What a write reads of a resource, before and after it.
macro_rules! record_where {
    ($condition:literal) => {
        concat!(
            "SELECT seq, kind, id, name, active, created_ms, modified_ms, version, doc FROM resources WHERE ",
            $condition
        )
    };
}
const FIND: &str = record_where!("seq = ?2 AND +id = ?1");
const FIND_BY_NAME: &str = record_where!("kind = ?1 AND name_key = ?2");

const GROUPS_OF: &str = "SELECT g.id, g.name, EXISTS (SELECT 1 FROM nestings AS n WHERE n.member = m.grp)
                           FROM members AS m JOIN resources AS g ON g.seq = m.grp
                          WHERE m.member = ?1 ORDER BY m.grp";
const MEMBERS_OF: &str = "SELECT r.kind, r.id, coalesce(m.display, r.name)
                            FROM members AS m JOIN resources AS r ON r.seq = m.member
                           WHERE m.grp = ?1 ORDER BY m.member";
const LAST_SEQ: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'resources'";
const EVENT: &str = "INSERT INTO events (at_ms, actor, action, kind, resource_id, changed)
                     VALUES (?1, 'token:okta', ?2, ?3, ?4, ?5)";
const INSERT: &str = "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active,
                                             created_ms, modified_ms, version, doc)
                      VALUES (1, ?1, ?2, ?2, ?3, ?4, 1, ?5, ?5, ?6, ?7)";
const EMAIL: &str = "INSERT INTO emails (resource, value_key, type_key) VALUES (?1, ?2, 'work')";
const UPDATE: &str =
    "UPDATE resources SET name = ?2, name_key = ?2, display_key = ?3, external_id = ?4, active = ?5,
                                           modified_ms = ?6, version = ?7, doc = ?8
                       WHERE seq = ?1";
const UNIQUE: &str = "SELECT attribute FROM unique_attributes WHERE kind = ?1";
const ADD_MEMBER: &str =
    "INSERT INTO members (grp, member, display) VALUES (?1, ?2, NULL) ON CONFLICT DO NOTHING";
const REMOVE_MEMBER: &str = "DELETE FROM members WHERE grp = ?1 AND member = ?2 RETURNING display";
const FIND_MEMBER: &str = "SELECT seq, name FROM resources WHERE seq = ?2 AND +id = ?1";
const TOUCH: &str = "UPDATE resources SET modified_ms = ?2, version = ?3 WHERE seq = ?1";
const MORE_MEMBERS: &str = "SELECT 1 FROM members WHERE grp = ?1 LIMIT 1 OFFSET 1000";

/// What events say of a new user, and of changed ones.
const CREATED: &str = r#"{"attributes":["userName","externalId","name","displayName","emails","phoneNumbers","title","locale","timezone","active","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]}"#;
const PUT: &str = r#"{"attributes":["title"]}"#;
const TURNED: &str = r#"{"attributes":["active"]}"#;

/// The kinds as they stand in `resources`.
const USER: i64 = 1;
const GROUP: i64 = 2;

/// Memory for pages of a connection, and of one that a loop of the server has, in KiB.
const CACHE_KIB: i32 = 4 * 1024;
const ROOM_KIB: i32 = 32 * 1024;

/// A file under the plain statements.
pub(crate) struct Plain {
    connection: Connection,
    /// For look-ups.
    roomy: Connection,
    /// Makes each new row another one.
    next: Cell<u64>,
}

/// An id, and the number of the row that it says.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    id: &'a str,
    pub(crate) seq: i64,
}

impl<'a> Place<'a> {
    /// Of an id that the server has made.
    pub(crate) fn of(id: &'a str) -> Place<'a> {
        // The first 48 bits.
        let digits: String = id.chars().filter(|digit| *digit != '-').take(12).collect();
        Place { id, seq: i64::from_str_radix(&digits, 16).unwrap_or_default() }
    }
}

/// What is stored of a user, ready to be bound.
pub(crate) struct User {
    name: String,
    display_key: String,
    external_id: String,
    doc: String,
    now_ms: i64,
}

impl User {
    fn new(number: u64, doc: String) -> User {
        User {
            name: people::user_name(number),
            display_key: format!("given{number:08} family{number:08}"),
            external_id: people::external_id(number),
            doc,
            now_ms: SystemClock.now_ms(),
        }
    }
}

/// A change of a user, ready to be bound.
pub(crate) struct Change<'a> {
    place: Place<'a>,
    user: User,
    active: bool,
    action: &'static str,
    changed: &'static str,
}

impl<'a> Change<'a> {
    /// `active` is turned off, or on again.
    pub(crate) fn turned(ids: &'a Ids, index: usize, active: bool) -> Change<'a> {
        let doc = people::user(index as u64, 0);
        let doc = doc.replace(r#""active":true"#, &format!(r#""active":{active}"#));
        Change {
            place: Place::of(ids.get(index)),
            user: User::new(index as u64, doc),
            active,
            action: if active { "activate" } else { "deactivate" },
            changed: TURNED,
        }
    }
}

/// A member that is added to a group or taken out, ready to be bound.
pub(crate) struct MemberChange<'a> {
    group: Place<'a>,
    member: Place<'a>,
    add: bool,
    changed: String,
    now_ms: i64,
}

impl<'a> MemberChange<'a> {
    pub(crate) fn new(group: &'a str, member: &'a str, add: bool) -> MemberChange<'a> {
        let (added, removed) = if add { (vec![member], vec![]) } else { (vec![], vec![member]) };
        let changed = json!({
            "attributes": [],
            "members": {
                "added": added.len(), "removed": removed.len(), "renamed": 0,
                "addedIds": added, "removedIds": removed,
            },
        });
        MemberChange {
            group: Place::of(group),
            member: Place::of(member),
            add,
            changed: changed.to_string(),
            now_ms: SystemClock.now_ms(),
        }
    }
}

impl Plain {
    /// Opens a tenant's file that no server has; makes it where it is not there.
    pub(crate) fn open(file: &Path, first_new: u64) -> Result<Plain> {
        drop(Filler::open(file)?);
        let (connection, roomy) = (connect(file, CACHE_KIB)?, connect(file, ROOM_KIB)?);
        Ok(Plain { connection, roomy, next: Cell::new(first_new) })
    }

    fn next(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// A user that is not there yet.
    pub(crate) fn new_user(&self) -> User {
        let number = self.next();
        User::new(number, people::user(number, 0))
    }

    /// A user with another title.
    pub(crate) fn replaced<'a>(&self, ids: &'a Ids, index: usize) -> Change<'a> {
        let doc = people::user(index as u64, self.next());
        let user = User::new(index as u64, doc);
        Change { place: Place::of(ids.get(index)), user, active: true, action: "update", changed: PUT }
    }

    /// What `GET /Users/{id}` reads.
    pub(crate) fn get(&self, place: Place<'_>) -> Result<()> {
        see(&self.roomy, GET, params![place.id, USER, place.seq])
    }

    /// What the look-up by userName reads.
    pub(crate) fn by_name(&self, name: &str) -> Result<()> {
        see(&self.roomy, BY_NAME, params![name, USER])
    }

    /// What the look-up by externalId reads.
    pub(crate) fn by_external_id(&self, external_id: &str) -> Result<()> {
        see(&self.roomy, BY_EXTERNAL_ID, params![external_id, USER])
    }

    /// What a page of 100 reads, from a place in the order of creation on.
    pub(crate) fn page(&self, seq: i64) -> Result<()> {
        see(&self.connection, PAGE, params![USER, seq])
    }

    /// Reads the members of a group.
    pub(crate) fn members(&self, group: i64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(MEMBERS_OF)?;
        let mut rows = statement.query([group])?;
        while let Some(row) = rows.next()? {
            black_box(row.get_ref(0)?.as_i64()?);
            black_box((row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?));
        }
        Ok(())
    }

    /// What `POST /Users` does.
    pub(crate) fn create(&self, user: &User) -> Result<()> {
        self.commit(|| {
            self.find(FIND_BY_NAME, params![USER, user.name], |_| Ok(()))?;
            let last = self.find(LAST_SEQ, [], |row| Ok(row.get(0)?))?;
            let seq = last.unwrap_or(0_i64) + 1;
            let id = id_of(seq);
            let version = self.event(user.now_ms, "create", USER, &id, CREATED)?;
            self.run(
                INSERT,
                params![id, user.name, user.display_key, user.external_id, user.now_ms, version, user.doc],
            )?;
            self.run(EMAIL, params![seq, user.name])?;
            self.find(UNIQUE, [USER], |_| Ok(()))?;
            self.show(Place { id: &id, seq })
        })
    }

    /// What PUT, or PATCH of `active`, of a user does.
    pub(crate) fn update(&self, change: &Change<'_>) -> Result<()> {
        let Change { place, user, active, action, changed } = change;
        self.commit(|| {
            self.find(FIND, params![place.id, place.seq], doc)?.context("the user is gone")?;
            self.find(FIND_BY_NAME, params![USER, user.name], doc)?;
            let version = self.event(user.now_ms, action, USER, place.id, changed)?;
            self.run(
                UPDATE,
                params![
                    place.seq,
                    user.name,
                    user.display_key,
                    user.external_id,
                    active,
                    user.now_ms,
                    version,
                    user.doc
                ],
            )?;
            self.find(UNIQUE, [USER], |_| Ok(()))?;
            self.show(*place)
        })
    }

    /// What adding a member to a group does, or taking one out.
    pub(crate) fn change_member(&self, change: &MemberChange<'_>) -> Result<()> {
        let MemberChange { group, member, add, changed, now_ms } = change;
        self.commit(|| {
            let name = |row: &Row<'_>| {
                doc(row)?;
                Ok(row.get::<_, String>(3)?)
            };
            let name = self.find(FIND, params![group.id, group.seq], name)?.context("the group is gone")?;
            self.find(FIND_MEMBER, params![member.id, member.seq], |_| Ok(()))?.context("nobody")?;
            let sql = if *add { ADD_MEMBER } else { REMOVE_MEMBER };
            self.find(sql, [group.seq, member.seq], |_| Ok(()))?;
            self.find(FIND_BY_NAME, params![GROUP, name.to_ascii_lowercase()], doc)?;
            let version = self.event(*now_ms, "update", GROUP, group.id, changed)?;
            self.run(TOUCH, params![group.seq, now_ms, version])?;
            let is_large = self.find(MORE_MEMBERS, [group.seq], |_| Ok(()))?.is_some();
            self.find(FIND, params![group.id, group.seq], doc)?;
            if is_large { Ok(()) } else { self.members(group.seq) }
        })
    }

    fn event(&self, at_ms: i64, action: &str, kind: i64, id: &str, changed: &str) -> Result<i64> {
        self.run(EVENT, params![at_ms, action, kind, id, changed])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn commit(&self, what: impl Fn() -> Result<()>) -> Result<()> {
        self.run("BEGIN IMMEDIATE", [])?;
        what()?;
        self.run("COMMIT", [])
    }

    fn run(&self, sql: &str, values: impl Params) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Reads one row, if there is one.
    fn find<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        rows.next()?.map(read).transpose()
    }

    /// What the answer to a write of a user reads.
    fn show(&self, place: Place<'_>) -> Result<()> {
        self.find(FIND, params![place.id, place.seq], doc)?.context("the user is gone")?;
        see_groups(&self.connection, place.seq)
    }
}

/// Takes a document out of a row, as the server does for a write.
fn doc(row: &Row<'_>) -> Result<()> {
    black_box(row.get::<_, String>(8)?);
    Ok(())
}

/// Reads users where they lie, with their groups; there must be one.
fn see(connection: &Connection, sql: &str, values: impl Params) -> Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = false;
    while let Some(row) = rows.next()? {
        black_box(row.get_ref(5)?.as_bytes()?);
        if row.get(6)? {
            see_groups(connection, row.get(0)?)?;
        }
        found = true;
    }
    found.then_some(()).context("nobody is found")
}

fn see_groups(connection: &Connection, seq: i64) -> Result<()> {
    let mut groups = connection.prepare_cached(GROUPS_OF)?;
    let mut rows = groups.query([seq])?;
    while let Some(group) = rows.next()? {
        black_box((group.get_ref(0)?.as_str()?, group.get_ref(1)?.as_str()?));
    }
    Ok(())
}

/// An id like the server's for the row of this number. What is random in those is here made of the number.
fn id_of(seq: i64) -> String {
    let random = seq.wrapping_mul(0x1e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-8{:03x}-a{:03x}-{:012x}",
        seq >> 16,
        seq & 0xffff,
        random & 0xfff,
        (random >> 12) & 0xfff,
        (random >> 24) & 0xff_ffff_ffff
    )
}

/// A connection with the settings of the server's.
fn connect(file: &Path, cache_kib: i32) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.query_row("PRAGMA journal_size_limit = 16777216", [], |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

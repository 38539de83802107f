//! Rows of `members`: who is in which group. A change costs what changes, not the size of the group.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};

use crate::scim::Kind;
use crate::scim::predicate::Predicate;
use crate::scim::resource::MemberRef;
use crate::store::resources::kind_from;
use crate::store::{Error, ReadTx, WriteTx, filter_sql};

/// After so many rows a write looks at the time.
const ROWS_BETWEEN_LOOKS: usize = 256;

/// So many members are added by a statement each, more by one for all: with each statement of a write, SQLite looks
/// through what it has noted of the pages that the statements before it have changed.
const ADDED_ONE_BY_ONE_MAX: usize = 32;

/// The most ids that an event names; beyond that it counts.
const IDS_NAMED_MAX: usize = 1_000;

/// What changes of members came to, all in all: who is taken out and put in again has not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberChanges {
    /// The ids of those who became members.
    added: BTreeSet<String>,
    /// The ids of those who are members no longer, with the name that each had here.
    removed: BTreeMap<String, Option<String>>,
    /// How many got another display name.
    renamed: usize,
}

impl MemberChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.renamed == 0
    }

    /// What an event says of it: how many there are of each, and the first of their ids.
    pub fn to_json(&self) -> serde_json::Value {
        let first = |ids: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            ids.take(IDS_NAMED_MAX).cloned().collect()
        };
        serde_json::json!({
            "added": self.added.len(), "removed": self.removed.len(), "renamed": self.renamed,
            "addedIds": first(&mut self.added.iter()), "removedIds": first(&mut self.removed.keys()),
        })
    }

    /// Notes a new member. Public for the event of a new group, which is written before its members.
    pub fn note_added(&mut self, id: &str, display: Option<&str>) {
        match self.removed.remove(id) {
            Some(before) if before.as_deref() == display => {}
            Some(_) => self.renamed += 1,
            None => {
                self.added.insert(id.to_owned());
            }
        }
    }

    fn note_removed(&mut self, id: String, display: Option<String>) {
        if !self.added.remove(&id) {
            self.removed.insert(id, display);
        }
    }
}

/// Why nobody was made a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMember {
    /// There is no resource with this id, as sent.
    Unknown(String),
    /// It is the group itself.
    Itself,
}

/// A resource that is to become a member.
struct Found {
    seq: i64,
    name: String,
}

impl ReadTx<'_> {
    /// Visits the groups that a user belongs to, each once: whether directly, its id and its name. First those that the
    /// user is a member of, then those that have one of these as a member, directly or not; the oldest first of each.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn each_group_of(&self, seq: i64, mut visit: impl FnMut(bool, &str, &str)) -> Result<(), Error> {
        let mut statement = self.prepare(
            "SELECT g.id, g.name, EXISTS (SELECT 1 FROM nestings AS n WHERE n.member = m.grp)
               FROM members AS m JOIN resources AS g ON g.seq = m.grp
              WHERE m.member = ?1 ORDER BY m.grp",
        )?;
        let mut rows = statement.query([seq])?;
        let mut nested = false;
        while let Some(row) = rows.next()? {
            nested |= row.get::<_, bool>(2)?;
            visit(true, text(row, 0)?, text(row, 1)?);
        }
        if nested { self.each_indirect_group_of(seq, visit) } else { Ok(()) }
    }

    fn each_indirect_group_of(&self, seq: i64, mut visit: impl FnMut(bool, &str, &str)) -> Result<(), Error> {
        // UNION drops what is there already, so that groups which contain each other come to an end.
        let mut statement = self.prepare(
            "WITH RECURSIVE up (grp) AS (
                 SELECT n.grp FROM members AS m CROSS JOIN nestings AS n ON n.member = m.grp WHERE m.member = ?1
                  UNION
                 SELECT n.grp FROM up CROSS JOIN nestings AS n ON n.member = up.grp)
             SELECT g.id, g.name FROM up CROSS JOIN resources AS g ON g.seq = up.grp
              WHERE NOT EXISTS (SELECT 1 FROM members AS m WHERE m.grp = up.grp AND m.member = ?1)
              ORDER BY up.grp",
        )?;
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            visit(false, text(row, 0)?, text(row, 1)?);
        }
        Ok(())
    }

    /// Visits the members of a group, oldest first: what each is, its id and the name it goes by here.
    ///
    /// # Errors
    /// When SQLite fails; what `visit` gives, which ends it.
    pub fn each_member_of<E: From<Error>>(
        &self,
        seq: i64,
        mut visit: impl FnMut(Kind, &str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = |error: rusqlite::Error| E::from(Error::from(error));
        let mut statement = self.prepare(
            "SELECT r.kind, r.id, coalesce(m.display, r.name)
               FROM members AS m JOIN resources AS r ON r.seq = m.member
              WHERE m.grp = ?1 ORDER BY m.member",
        )?;
        let mut rows = statement.query([seq]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            visit(kind_from(row.get(0).map_err(sqlite)?), text(row, 1)?, text(row, 2)?)?;
        }
        Ok(())
    }

    /// Whether a group has more members than `count`; reads no further than it must.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has_more_members_than(&self, seq: i64, count: u32) -> Result<bool, Error> {
        let mut statement = self.prepare("SELECT 1 FROM members WHERE grp = ?1 LIMIT 1 OFFSET ?2")?;
        Ok(statement.exists(params![seq, count])?)
    }

    fn find_member(&self, group: i64, id: &str) -> Result<Result<Found, BadMember>, Error> {
        let found = self.row_of_id(
            id,
            "SELECT seq, name FROM resources WHERE seq = ?2 AND +id = ?1",
            "SELECT seq, name FROM resources WHERE id = ?1",
            |row| Ok(Found { seq: row.get(0)?, name: row.get(1)? }),
        )?;
        Ok(match found {
            None => Err(BadMember::Unknown(id.to_owned())),
            Some(found) if found.seq == group => Err(BadMember::Itself),
            Some(found) => Ok(found),
        })
    }

    fn seq_of(&self, id: &str) -> Result<Option<i64>, Error> {
        self.row_of_id(
            id,
            "SELECT seq FROM resources WHERE seq = ?2 AND +id = ?1",
            "SELECT seq FROM resources WHERE id = ?1",
            |row| row.get(0),
        )
    }

    /// The members of a group that fulfil a predicate on the sub-attributes of `members`.
    fn members_where(
        &self,
        group: i64,
        predicate: &Predicate,
        base_url: &str,
    ) -> Result<Vec<(i64, String, String)>, Error> {
        let condition = filter_sql::compile_member(predicate, base_url);
        let mut statement = self.connection.prepare(&format!(
            "SELECT u.seq, u.id, u.name FROM members AS m JOIN resources AS u ON u.seq = m.member
              WHERE m.grp = ? AND ({})",
            condition.text
        ))?;
        let mut values = vec![rusqlite::types::Value::Integer(group)];
        values.extend(condition.params);
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A column's text, where it lies.
fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r str, Error> {
    row.get_ref(column)?.as_str().map_err(|error| Error::Other(error.to_string()))
}

/// What a member is called where the client says so and it is not its own name anyway: Okta sends the userName,
/// and what is not stored cannot go stale.
fn own_display<'a>(member: &'a MemberRef, found: &Found) -> Option<&'a str> {
    member.display.as_deref().filter(|display| *display != found.name)
}

impl WriteTx<'_> {
    /// Makes resources members of a group. Who is one already stays one.
    ///
    /// # Errors
    /// The first member that cannot be one, as the inner error; else when SQLite fails.
    pub fn add_members(
        &self,
        group: i64,
        members: &[MemberRef],
        changes: &mut MemberChanges,
    ) -> Result<Result<(), BadMember>, Error> {
        if members.len() > ADDED_ONE_BY_ONE_MAX {
            if let Err(bad) = self.want(group, members)? {
                return Ok(Err(bad));
            }
            return self.let_wanted_in(group, changes).map(Ok);
        }
        let mut insert = self.prepare(
            "INSERT INTO members (grp, member, display) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        let mut rename = self.prepare(
            "UPDATE members SET display = ?3 WHERE grp = ?1 AND member = ?2 AND display IS NOT ?3",
        )?;
        for (index, member) in members.iter().enumerate() {
            self.look_at_time(index)?;
            let found = match self.find_member(group, &member.id)? {
                Ok(found) => found,
                Err(bad) => return Ok(Err(bad)),
            };
            let display = own_display(member, &found);
            if insert.execute(params![group, found.seq, display])? == 1 {
                changes.note_added(&member.id, display);
            } else if member.display.is_some() {
                changes.renamed += rename.execute(params![group, found.seq, display])?;
            }
        }
        Ok(Ok(()))
    }

    /// Takes members out of a group. Who is none is passed over.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remove_members(
        &self,
        group: i64,
        ids: &[String],
        changes: &mut MemberChanges,
    ) -> Result<(), Error> {
        let mut delete =
            self.prepare("DELETE FROM members WHERE grp = ?1 AND member = ?2 RETURNING display")?;
        for (index, id) in ids.iter().enumerate() {
            self.look_at_time(index)?;
            let Some(member) = self.seq_of(id)? else { continue };
            let gone = delete.query_row([group, member], |row| row.get(0)).optional()?;
            if let Some(display) = gone {
                changes.note_removed(id.clone(), display);
            }
        }
        Ok(())
    }

    /// Takes the members out of a group that fulfil a predicate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remove_members_where(
        &self,
        group: i64,
        predicate: &Predicate,
        base_url: &str,
        changes: &mut MemberChanges,
    ) -> Result<(), Error> {
        let ids: Vec<String> =
            self.members_where(group, predicate, base_url)?.into_iter().map(|(_, id, _)| id).collect();
        self.remove_members(group, &ids, changes)
    }

    /// Gives the members that fulfil a predicate another display name, or again their own; tells how many
    /// fulfil it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn rename_members_where(
        &self,
        group: i64,
        predicate: &Predicate,
        base_url: &str,
        display: Option<&str>,
        changes: &mut MemberChanges,
    ) -> Result<usize, Error> {
        let mut rename = self.prepare(
            "UPDATE members SET display = ?3 WHERE grp = ?1 AND member = ?2 AND display IS NOT ?3",
        )?;
        let chosen = self.members_where(group, predicate, base_url)?;
        for (index, (seq, _, name)) in chosen.iter().enumerate() {
            self.look_at_time(index)?;
            let display = display.filter(|display| display != name);
            changes.renamed += rename.execute(params![group, seq, display])?;
        }
        Ok(chosen.len())
    }

    /// Makes these, and no others, the members of a group. The difference is found in SQL; rows that stay are
    /// not written.
    ///
    /// # Errors
    /// The first member that cannot be one, as the inner error; else when SQLite fails.
    pub fn replace_members(
        &self,
        group: i64,
        members: &[MemberRef],
        changes: &mut MemberChanges,
    ) -> Result<Result<(), BadMember>, Error> {
        if let Err(bad) = self.want(group, members)? {
            return Ok(Err(bad));
        }
        self.note_ids(
            "SELECT r.id, m.display FROM members AS m JOIN resources AS r ON r.seq = m.member
              WHERE m.grp = ?1 AND m.member NOT IN (SELECT member FROM temp.wanted)",
            group,
            |id, display| changes.note_removed(id, display),
        )?;
        self.prepare(
            "DELETE FROM members WHERE grp = ?1 AND member NOT IN (SELECT member FROM temp.wanted)",
        )?
        .execute([group])?;
        self.let_wanted_in(group, changes).map(Ok)
    }

    /// Fills `temp.wanted` with those who are to be members of a group.
    fn want(&self, group: i64, members: &[MemberRef]) -> Result<Result<(), BadMember>, Error> {
        self.prepare("DELETE FROM temp.wanted")?.execute([])?;
        let mut want =
            self.prepare("INSERT OR IGNORE INTO temp.wanted (member, display, named) VALUES (?1, ?2, ?3)")?;
        for (index, member) in members.iter().enumerate() {
            self.look_at_time(index)?;
            let found = match self.find_member(group, &member.id)? {
                Ok(found) => found,
                Err(bad) => return Ok(Err(bad)),
            };
            want.execute(params![found.seq, own_display(member, &found), member.display.is_some()])?;
        }
        Ok(Ok(()))
    }

    /// Makes those in `temp.wanted` members of a group, gives those their name who are some already, and empties it.
    fn let_wanted_in(&self, group: i64, changes: &mut MemberChanges) -> Result<(), Error> {
        self.note_ids(
            "SELECT r.id, w.display FROM temp.wanted AS w JOIN resources AS r ON r.seq = w.member
              WHERE NOT EXISTS (SELECT 1 FROM members AS m WHERE m.grp = ?1 AND m.member = w.member)",
            group,
            |id, display| changes.note_added(&id, display.as_deref()),
        )?;
        changes.renamed += self
            .prepare(
                "UPDATE members SET display = w.display FROM temp.wanted AS w
                  WHERE members.grp = ?1 AND members.member = w.member AND w.named = 1
                    AND members.display IS NOT w.display",
            )?
            .execute([group])?;
        self.prepare(
                "INSERT INTO members (grp, member, display) SELECT ?1, member, display FROM temp.wanted WHERE true
                     ON CONFLICT DO NOTHING",
            )?
            .execute([group])?;
        self.prepare("DELETE FROM temp.wanted")?.execute([])?;
        Ok(())
    }

    fn look_at_time(&self, index: usize) -> Result<(), Error> {
        if index.is_multiple_of(ROWS_BETWEEN_LOOKS) { self.check_time() } else { Ok(()) }
    }

    fn note_ids(
        &self,
        sql: &str,
        group: i64,
        mut note: impl FnMut(String, Option<String>),
    ) -> Result<(), Error> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query([group])?;
        while let Some(row) = rows.next()? {
            note(row.get(0)?, row.get(1)?);
        }
        Ok(())
    }
}

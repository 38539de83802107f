//! Rows of `events`: what happened, in order, written in the transaction of the change and never altered.

use rusqlite::params;
use serde_json::Value;

use crate::scim::Kind;
use crate::store::resources::{kind_code, kind_from};
use crate::store::{Error, ReadTx, WriteTx};

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was made.
    Create,
    /// Attributes or members changed.
    Update,
    /// A user may log in again.
    Activate,
    /// A user may log in no longer.
    Deactivate,
    /// An inactive user came back by POST, with the same id.
    Restore,
    /// It was deleted.
    Delete,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Activate => "activate",
            Action::Deactivate => "deactivate",
            Action::Restore => "restore",
            Action::Delete => "delete",
        }
    }
}

/// An event to be written.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `token:NAME` or `operator`.
    pub actor: &'a str,
    /// What happened.
    pub action: Action,
    /// To what kind of resource.
    pub kind: Kind,
    /// To which.
    pub resource_id: &'a str,
    /// Names of attributes and ids of members.
    pub changed: &'a Value,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The place in the order of events.
    pub seq: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `token:NAME` or `operator`.
    pub actor: String,
    /// `create`, `update`, `activate`, `deactivate`, `restore` or `delete`.
    pub action: String,
    /// The kind of resource.
    pub kind: Kind,
    /// Its id.
    pub resource_id: String,
    /// Names of attributes and ids of members, as JSON.
    pub changed: String,
}

impl ReadTx<'_> {
    /// The events after the one given, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn events_after(&self, seq: i64, count_max: u32) -> Result<Vec<Event>, Error> {
        let mut statement = self.prepare(
            "SELECT seq, at_ms, actor, action, kind, resource_id, changed FROM events
              WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![seq, count_max], |row| {
            Ok(Event {
                seq: row.get(0)?,
                at_ms: row.get(1)?,
                actor: row.get(2)?,
                action: row.get(3)?,
                kind: kind_from(row.get(4)?),
                resource_id: row.get(5)?,
                changed: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Writes an event and gives its number, which is the version of the resource from now on.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn event(&self, event: &NewEvent<'_>) -> Result<i64, Error> {
        self.prepare(
            "INSERT INTO events (at_ms, actor, action, kind, resource_id, changed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            event.at_ms,
            event.actor,
            event.action.as_str(),
            kind_code(event.kind),
            event.resource_id,
            event.changed.to_string()
        ])?;
        Ok(self.connection.last_insert_rowid())
    }
}

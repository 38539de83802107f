//! How much a tenant's file holds, and when it was last changed from outside.

use rusqlite::OptionalExtension;

use crate::scim::Kind;
use crate::store::resources::kind_code;
use crate::store::{Error, ReadTx};

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Users, active or not.
    pub users: u64,
    /// Users that are active.
    pub active_users: u64,
    /// Groups.
    pub groups: u64,
    /// Members of groups, counted in each group that they are in.
    pub memberships: u64,
    /// When a client last changed anything, in milliseconds since 1970-01-01T00:00:00Z.
    pub last_push_ms: Option<i64>,
}

impl ReadTx<'_> {
    /// What the file holds. Users and groups are counted by the spans that hold them; memberships by the pages of
    /// their table, which with a few million of them takes some ten milliseconds.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn stats(&self) -> Result<Stats, Error> {
        let (users, active_users) = self.counts(Kind::User)?;
        let (groups, _) = self.counts(Kind::Group)?;
        let memberships: i64 =
            self.prepare("SELECT count(*) FROM members")?.query_row([], |row| row.get(0))?;
        // Walked from the end: as a rule the last event is a client's.
        let last_push_ms = self
            .prepare(
                "SELECT at_ms FROM events WHERE actor >= 'token:' AND actor < 'token;' ORDER BY seq DESC LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(Stats { users, active_users, groups, memberships: whole(memberships), last_push_ms })
    }

    /// How many users are active, in a few microseconds.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn active_users(&self) -> Result<u64, Error> {
        self.counts(Kind::User).map(|(_, active)| active)
    }

    /// All of a kind, and the active ones.
    fn counts(&self, kind: Kind) -> Result<(u64, u64), Error> {
        let mut statement = self
            .prepare("SELECT coalesce(sum(n), 0), coalesce(sum(n * active), 0) FROM spans WHERE kind = ?1")?;
        let (all, active) = statement.query_row([kind_code(kind)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((whole(all), whole(active)))
    }
}

/// A count is never negative.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

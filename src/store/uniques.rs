//! Rows of `unique_values`: values that one resource of a kind may have, for attributes that a tenant's own schemas
//! declare so. (The names of users and groups have an index of their own.)

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use crate::scim::Kind;
use crate::scim::rules::{Unique, UniqueValue};
use crate::store::resources::kind_code;
use crate::store::{Error, WriteTx};

impl WriteTx<'_> {
    /// Brings the table up to date with what the schemas declare: values of an attribute that is unique now are
    /// gathered once, from all resources of the kind; where two have the same, the older one keeps it. Values of one
    /// that is not unique any more are dropped.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keep_unique_attributes(&self, kind: Kind, declared: &[Unique]) -> Result<(), Error> {
        let kind = kind_code(kind);
        let known: BTreeSet<String> = self
            .prepare("SELECT attribute FROM unique_attributes WHERE kind = ?")?
            .query_map([kind], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for unique in declared.iter().filter(|unique| !known.contains(&unique.attribute)) {
            // Of the two keys the document has the value under one; neither has a quote in it.
            let path = format!("$.\"{}\".\"{}\"", unique.urn, unique.name);
            let key = if unique.case_exact { "CAST(v AS TEXT)" } else { "fold(CAST(v AS TEXT))" };
            self.prepare(&format!(
                "INSERT OR IGNORE INTO unique_values (kind, attribute, value_key, resource)
                 SELECT ?1, ?2, {key}, seq
                   FROM (SELECT seq, doc ->> ?3 AS v FROM resources WHERE kind = ?1)
                  WHERE v IS NOT NULL ORDER BY seq"
            ))?
            .execute(params![kind, unique.attribute, path])?;
            self.prepare("INSERT INTO unique_attributes (kind, attribute) VALUES (?, ?)")?
                .execute(params![kind, unique.attribute])?;
        }
        let is_declared = |attribute: &String| declared.iter().any(|unique| unique.attribute == *attribute);
        for attribute in known.iter().filter(|attribute| !is_declared(attribute)) {
            self.prepare("DELETE FROM unique_values WHERE kind = ? AND attribute = ?")?
                .execute(params![kind, attribute])?;
            self.prepare("DELETE FROM unique_attributes WHERE kind = ? AND attribute = ?")?
                .execute(params![kind, attribute])?;
        }
        Ok(())
    }

    /// Puts a resource's value of a unique attribute in the place of the one it had. Gives false when another
    /// resource has it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_unique_value(&self, kind: Kind, seq: i64, value: &UniqueValue<'_>) -> Result<bool, Error> {
        let (kind, attribute) = (kind_code(kind), value.attribute);
        if let Some(before) = &value.before {
            self.prepare(
                "DELETE FROM unique_values WHERE kind = ? AND attribute = ? AND value_key = ? AND resource = ?",
            )?
            .execute(params![kind, attribute, before, seq])?;
        }
        let Some(now) = &value.now else { return Ok(true) };
        let held: Option<i64> = self
            .prepare("SELECT resource FROM unique_values WHERE kind = ? AND attribute = ? AND value_key = ?")?
            .query_row(params![kind, attribute, now], |row| row.get(0))
            .optional()?;
        if held.is_some() {
            return Ok(held == Some(seq));
        }
        self.prepare("INSERT INTO unique_values (kind, attribute, value_key, resource) VALUES (?, ?, ?, ?)")?
            .execute(params![kind, attribute, now, seq])?;
        Ok(true)
    }
}

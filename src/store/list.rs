//! Pages of resources in creation order, with a total that is true in the same snapshot.
//!
//! Without a filter, or with `active eq true` alone, the table `positions` tells where a page begins and how many
//! there are. With any other filter the matching rows are walked once: those on the page are kept, all are
//! counted.

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use crate::scim::Kind;
use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::store::resources::kind_code;
use crate::store::{Error, ReadTx, Record, filter_sql};

/// Resources of one block of `positions`: the divisor in `schema/tenant/0001_init.sql`.
const BLOCK_RESOURCES: i64 = 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Users or groups.
    pub kind: Kind,
    /// Which of them; `None` for all.
    pub filter: Option<&'a Predicate>,
    /// The 1-based place of the first one.
    pub start_index: u64,
    /// The most resources.
    pub count: u32,
    /// The tenant's base URL, which filters on addresses compare with.
    pub base_url: &'a str,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Page {
    /// How many fulfil the filter, on this page or not.
    pub total: u64,
    /// Those on the page.
    pub records: Vec<Record>,
}

impl ReadTx<'_> {
    /// One page.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn page(&self, selection: &Selection<'_>) -> Result<Page, Error> {
        let (total, seqs) = match selection.filter {
            None => self.by_position(selection, None)?,
            Some(filter) if is_active_only(filter) => self.by_position(selection, Some(true))?,
            Some(filter) => self.by_filter(selection, filter)?,
        };
        let mut records = Vec::with_capacity(seqs.len());
        for seq in seqs {
            records.extend(self.by_seq(seq)?);
        }
        Ok(Page { total, records })
    }

    fn by_position(&self, selection: &Selection<'_>, active: Option<bool>) -> Result<(u64, Vec<i64>), Error> {
        let mut statement = self.prepare(
            "SELECT block, sum(n) FROM positions WHERE kind = ?1 AND (?2 IS NULL OR active = ?2)
              GROUP BY block ORDER BY block",
        )?;
        let mut rows = statement.query(rusqlite::params![kind_code(selection.kind), active])?;
        let skip = selection.start_index.saturating_sub(1);
        let (mut total, mut place) = (0_u64, None);
        while let Some(row) = rows.next()? {
            let block: i64 = row.get(0)?;
            let n = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            if place.is_none() && total + n > skip {
                place = Some((block, skip - total));
            }
            total += n;
        }
        let Some((block, offset)) = place.filter(|_| selection.count > 0) else {
            return Ok((total, Vec::new()));
        };
        let mut statement = self.prepare(match active {
            None => {
                "SELECT seq FROM resources INDEXED BY resources_by_kind WHERE kind = ?1 AND seq >= ?2
                  ORDER BY seq LIMIT ?3 OFFSET ?4"
            }
            Some(_) => {
                "SELECT seq FROM resources INDEXED BY resources_by_active
                  WHERE kind = ?1 AND active = ?5 AND seq >= ?2 ORDER BY seq LIMIT ?3 OFFSET ?4"
            }
        })?;
        let first = block * BLOCK_RESOURCES;
        let code = kind_code(selection.kind);
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let read = |row: &rusqlite::Row<'_>| row.get(0);
        let seqs = match active {
            None => statement
                .query_map(rusqlite::params![code, first, selection.count, offset], read)?
                .collect::<Result<Vec<i64>, _>>(),
            Some(active) => statement
                .query_map(rusqlite::params![code, first, selection.count, offset, active], read)?
                .collect::<Result<Vec<i64>, _>>(),
        };
        Ok((total, seqs?))
    }

    fn by_filter(&self, selection: &Selection<'_>, filter: &Predicate) -> Result<(u64, Vec<i64>), Error> {
        let condition = filter_sql::compile(selection.kind, filter, selection.base_url);
        let mut values = vec![Value::Integer(kind_code(selection.kind))];
        values.extend(condition.params);
        // The plus keeps the planner from walking the whole kind where the filter's own index finds fewer rows.
        let kind = if condition.indexed { "+r.kind" } else { "r.kind" };
        let mut statement = self.prepare(&format!(
            "SELECT r.seq FROM resources AS r WHERE {kind} = ? AND ({}) ORDER BY r.seq",
            condition.text
        ))?;
        let mut rows = statement.query(params_from_iter(values))?;
        let first = selection.start_index.saturating_sub(1);
        let (mut total, mut seqs) = (0_u64, Vec::new());
        while let Some(row) = rows.next()? {
            if total >= first && seqs.len() < selection.count as usize {
                seqs.push(row.get(0)?);
            }
            total += 1;
        }
        Ok((total, seqs))
    }
}

/// Whether a filter is `active eq true` and nothing else. (`active eq false` is more than the column: it leaves
/// out who has no `active` at all.)
fn is_active_only(filter: &Predicate) -> bool {
    match filter {
        Predicate::Test {
            target: Target { urn: None, attribute, sub: None, .. },
            test: Test::Compare(CompareOp::Eq, Operand::Bool(true)),
        } => attribute == "active",
        _ => false,
    }
}

//! Pages of resources in creation order, with a total that is true in the same snapshot; sorted ones are in `sorted`.
//!
//! Without a filter, or with `active eq true` alone, the tables `spans` and `positions` tell where a page begins and
//! how many there are. With any other filter the matching rows are walked once: those on the page are kept, all are
//! counted.

use std::collections::VecDeque;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use crate::scim::Kind;
use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::scim::query::Part;
use crate::scim::sort::{Direction, Key};
use crate::store::filter_sql::{self, Sql};
use crate::store::resources::kind_code;
use crate::store::{Error, ReadTx, Record};

/// Numbers of one block of `positions`: the divisor in `schema/tenant/0001_init.sql`.
const BLOCK_RESOURCES: i64 = 1024;
/// Blocks of one span of `spans`: the divisor in `schema/tenant/0006_spans.sql`.
const SPAN_BLOCKS: i64 = 32;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// What is asked of each kind; one kind, or all.
    pub parts: &'a [Part],
    /// Which way it is sorted; `None` for the order of creation.
    pub direction: Option<Direction>,
    /// Where the page is.
    pub at: PageAt,
    /// The most resources.
    pub count: u32,
    /// The tenant's base URL, which filters on addresses compare with.
    pub base_url: &'a str,
}

/// Where a page is.
#[derive(Clone, Debug)]
pub enum PageAt {
    /// It begins with the resource at this place, counted from 1.
    Index(u64),
    /// It is the one after, or before, the resource of this key and creation number, whether that is still there or
    /// not; without one it is the first, or the last.
    Place {
        /// Whether it is the page before.
        backward: bool,
        /// The sort key, absent where nothing is sorted, and the creation number.
        place: Option<(Key, i64)>,
    },
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Page {
    /// How many fulfil the filter, on this page or not.
    pub total: u64,
    /// Those on the page.
    pub records: Vec<Record>,
    /// Sort key and creation number of the first and the last of them.
    pub ends: Option<[(Key, i64); 2]>,
    /// Whether there are more in the direction in which the page was looked for; only told of [`PageAt::Place`].
    pub more: bool,
}

/// The rows of a page, in list order.
pub(super) struct Rows {
    pub(super) keys: Vec<(Key, i64)>,
    pub(super) more: bool,
}

impl Rows {
    fn by_creation(seqs: impl IntoIterator<Item = i64>) -> Vec<(Key, i64)> {
        seqs.into_iter().map(|seq| (Key::Absent, seq)).collect()
    }

    /// Rows as they were met on the way, of which one more was looked for than the page holds.
    pub(super) fn met(mut keys: Vec<(Key, i64)>, count: u32, backward: bool) -> Rows {
        let more = keys.len() > count as usize;
        keys.truncate(count as usize);
        if backward {
            keys.reverse();
        }
        Rows { keys, more }
    }
}

impl ReadTx<'_> {
    /// One page.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn page(&self, selection: &Selection<'_>) -> Result<Page, Error> {
        let (total, rows) = match selection.direction {
            Some(direction) => (self.total(selection)?, self.sorted(selection, direction)?),
            None => self.by_creation(selection)?,
        };
        let records = self.by_seqs(rows.keys.iter().map(|(_, seq)| *seq))?;
        let ends = match (rows.keys.first(), rows.keys.last()) {
            (Some(first), Some(last)) => Some([first.clone(), last.clone()]),
            _ => None,
        };
        Ok(Page { total, records, ends, more: rows.more })
    }

    fn by_creation(&self, selection: &Selection<'_>) -> Result<(u64, Rows), Error> {
        let Some(of) = counted(selection.parts) else { return self.by_filter(selection) };
        match &selection.at {
            PageAt::Index(start_index) => {
                let (total, place) = self.position(of, Some(start_index.saturating_sub(1)))?;
                let seqs = match place.filter(|_| selection.count > 0) {
                    Some((first, offset)) => self.seqs_in_block(of, first, selection.count, offset)?,
                    None => Vec::new(),
                };
                Ok((total, Rows { keys: Rows::by_creation(seqs), more: false }))
            }
            PageAt::Place { backward, place } => {
                let (total, _) = self.position(of, None)?;
                let seqs = self.seqs_beside(of, *backward, place.as_ref(), selection.count)?;
                Ok((total, Rows::met(Rows::by_creation(seqs), selection.count, *backward)))
            }
        }
    }

    /// How many resources there are, by the tables `spans` and `positions`; and for that many before it, the first
    /// number of the block in which the next one lies and how many to pass over in it.
    fn position(&self, of: Counted, skip: Option<u64>) -> Result<(u64, Option<(i64, i64)>), Error> {
        let mut spans = self.prepare(match of.kind {
            Some(_) => "SELECT span, active, n FROM spans WHERE kind = ?1 ORDER BY span",
            None => "SELECT span, active, n FROM spans WHERE ?1 IS NULL ORDER BY span",
        })?;
        let kind = of.kind.map(kind_code);
        let (total, found) = counted_up_to(of, &mut spans.query([kind])?, skip)?;
        let Some((span, passed)) = found else { return Ok((total, None)) };
        let mut blocks = self.prepare(match of.kind {
            Some(_) => {
                "SELECT block, active, n FROM positions
                  WHERE kind = ?1 AND block >= ?2 AND block < ?2 + ?3 ORDER BY block"
            }
            None => {
                "SELECT block, active, n FROM positions
                  WHERE ?1 IS NULL AND kind IN (1, 2) AND block >= ?2 AND block < ?2 + ?3 ORDER BY block"
            }
        })?;
        let skip = skip.map(|skip| skip - passed);
        let values = rusqlite::params![kind, span * SPAN_BLOCKS, SPAN_BLOCKS];
        let (_, place) = counted_up_to(of, &mut blocks.query(values)?, skip)?;
        let offset = |passed| i64::try_from(skip.unwrap_or(0) - passed).unwrap_or(i64::MAX);
        Ok((total, place.map(|(block, passed)| (block * BLOCK_RESOURCES, offset(passed)))))
    }

    fn seqs_in_block(&self, of: Counted, first: i64, count: u32, offset: i64) -> Result<Vec<i64>, Error> {
        let mut statement = self.prepare(match of {
            Counted { kind: None, .. } => {
                "SELECT seq FROM resources WHERE seq >= ?1 AND ?4 IS NULL ORDER BY seq LIMIT ?2 OFFSET ?3"
            }
            Counted { active: false, .. } => {
                "SELECT seq FROM resources INDEXED BY resources_by_kind WHERE kind = ?4 AND seq >= ?1
                  ORDER BY seq LIMIT ?2 OFFSET ?3"
            }
            Counted { active: true, .. } => {
                "SELECT seq FROM resources INDEXED BY resources_by_active
                  WHERE kind = ?4 AND active = 1 AND seq >= ?1 ORDER BY seq LIMIT ?2 OFFSET ?3"
            }
        })?;
        let values = rusqlite::params![first, count, offset, of.kind.map(kind_code)];
        Ok(statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// The numbers after or before a place, one more than `count`, as they are met.
    fn seqs_beside(
        &self,
        of: Counted,
        backward: bool,
        place: Option<&(Key, i64)>,
        count: u32,
    ) -> Result<Vec<i64>, Error> {
        let rows = match of {
            Counted { kind: None, .. } => "resources WHERE ?1 IS NULL",
            Counted { active: false, .. } => "resources INDEXED BY resources_by_kind WHERE kind = ?1",
            Counted { active: true, .. } => {
                "resources INDEXED BY resources_by_active WHERE kind = ?1 AND active = 1"
            }
        };
        let side = if backward { "seq < ?2 ORDER BY seq DESC" } else { "seq > ?2 ORDER BY seq" };
        let mut statement = self.prepare(&format!("SELECT seq FROM {rows} AND {side} LIMIT ?3"))?;
        let from = place.map_or(if backward { i64::MAX } else { i64::MIN }, |(_, seq)| *seq);
        let values = rusqlite::params![of.kind.map(kind_code), from, looked_for(count)];
        Ok(statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    fn by_filter(&self, selection: &Selection<'_>) -> Result<(u64, Rows), Error> {
        let mut values = Vec::new();
        let sources = selection.parts.iter().map(|part| {
            let (text, params) = source("r.seq", part, compiled(part, selection.base_url));
            values.extend(params);
            text
        });
        let sources = sources.collect::<Vec<_>>().join(" UNION ALL ");
        let mut statement = self.prepare(&format!("{sources} ORDER BY 1"))?;
        let mut rows = statement.query(params_from_iter(values))?;
        let count = selection.count as usize;
        let (mut total, mut seqs) = (0_u64, VecDeque::new());
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            match &selection.at {
                PageAt::Index(start_index) => {
                    if total >= start_index.saturating_sub(1) && seqs.len() < count {
                        seqs.push_back(seq);
                    }
                }
                PageAt::Place { backward: false, place } => {
                    if place.as_ref().is_none_or(|(_, from)| seq > *from) && seqs.len() <= count {
                        seqs.push_back(seq);
                    }
                }
                PageAt::Place { backward: true, place } => {
                    if place.as_ref().is_none_or(|(_, from)| seq < *from) {
                        seqs.push_back(seq);
                        if seqs.len() > count + 1 {
                            seqs.pop_front();
                        }
                    }
                }
            }
            total += 1;
        }
        Ok((
            total,
            match selection.at {
                PageAt::Index(_) => Rows { keys: Rows::by_creation(seqs), more: false },
                PageAt::Place { backward: false, .. } => {
                    Rows::met(Rows::by_creation(seqs), selection.count, false)
                }
                PageAt::Place { backward: true, .. } => {
                    Rows::met(Rows::by_creation(seqs.into_iter().rev()), selection.count, true)
                }
            },
        ))
    }

    /// How many resources fulfil the filter.
    fn total(&self, selection: &Selection<'_>) -> Result<u64, Error> {
        if let Some(of) = counted(selection.parts) {
            return Ok(self.position(of, None)?.0);
        }
        let mut total = 0;
        for part in selection.parts {
            let (text, params) = source("count(*)", part, compiled(part, selection.base_url));
            let found: i64 = self.prepare(&text)?.query_row(params_from_iter(params), |row| row.get(0))?;
            total += u64::try_from(found).unwrap_or(0);
        }
        Ok(total)
    }
}

/// How many rows are looked for so that a page of `count` is filled and it is known whether there are more.
pub(super) fn looked_for(count: u32) -> i64 {
    i64::from(count) + 1
}

fn compiled(part: &Part, base_url: &str) -> Sql {
    match &part.filter {
        Some(filter) => filter_sql::compile(part.kind, filter, base_url),
        None => Sql { text: "1".to_owned(), params: Vec::new(), indexed: false },
    }
}

/// The rows of a kind that fulfil a condition.
pub(super) fn source(shown: &str, part: &Part, condition: Sql) -> (String, Vec<Value>) {
    let mut values = vec![Value::Integer(kind_code(part.kind))];
    values.extend(condition.params);
    // The plus keeps the planner from walking the whole kind where the filter's own index finds fewer rows.
    let kind = if condition.indexed { "+r.kind" } else { "r.kind" };
    (format!("SELECT {shown} FROM resources AS r WHERE {kind} = ? AND ({})", condition.text), values)
}

/// What the table `positions` counts.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// `None` for all.
    kind: Option<Kind>,
    /// Whether only the active ones.
    active: bool,
}

/// All that the rows (place, active, count) hold together; and for that many to pass over the place that is reached
/// with them, with how many lie before it.
fn counted_up_to(
    of: Counted,
    rows: &mut rusqlite::Rows<'_>,
    skip: Option<u64>,
) -> Result<(u64, Option<(i64, u64)>), Error> {
    // A place has two rows, and with several kinds more: those of one place are taken together.
    let (mut total, mut found, mut current) = (0_u64, None, None);
    while let Some(row) = rows.next()? {
        let (place, active, n): (i64, bool, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let before = match current {
            Some((at, before)) if at == place => before,
            _ => total,
        };
        current = Some((place, before));
        if active || !of.active {
            total += u64::try_from(n).unwrap_or(0);
        }
        if found.is_none() && skip.is_some_and(|skip| total > skip) {
            found = Some((place, before));
        }
    }
    Ok((total, found))
}

/// What is asked for, if `positions` counts it: a kind, all there are, or a kind's active ones.
fn counted(parts: &[Part]) -> Option<Counted> {
    match parts {
        [Part { kind, filter: None, .. }] => Some(Counted { kind: Some(*kind), active: false }),
        [Part { kind, filter: Some(filter), .. }] => {
            is_active_only(filter).then_some(Counted { kind: Some(*kind), active: true })
        }
        parts => {
            parts.iter().all(|part| part.filter.is_none()).then_some(Counted { kind: None, active: false })
        }
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

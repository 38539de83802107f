//! Pages of a sorted list, in SQL alone: a page from some place on is found by the keys, not by counting.
//!
//! Where an index has the order ([`filter_sql::order`]), and the filter has no better one, that index is walked from
//! the place on. Otherwise every row that fulfils the filter gives its key, once, and SQLite keeps no more of them than
//! the page needs: memory grows with the page, not with the list.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params_from_iter};

use crate::scim::query::Part;
use crate::scim::sort::{Direction, Key};
use crate::store::filter_sql::{self, Order, Sql};
use crate::store::list::{PageAt, Rows, Selection, looked_for, source};
use crate::store::resources::kind_code;
use crate::store::{Error, ReadTx};

impl ReadTx<'_> {
    /// The rows of a page.
    pub(super) fn sorted(&self, selection: &Selection<'_>, direction: Direction) -> Result<Rows, Error> {
        let list = List::of(selection);
        match &selection.at {
            PageAt::Index(start_index) => {
                let skip = i64::try_from(start_index.saturating_sub(1)).unwrap_or(i64::MAX);
                let order = list.whole_order(direction, false);
                let keys = self.walk(&list, "1", Vec::new(), &order, selection.count.into(), skip)?;
                Ok(Rows { keys, more: false })
            }
            PageAt::Place { backward, place: None } => {
                let order = list.whole_order(direction, *backward);
                let count = looked_for(selection.count);
                let keys = self.walk(&list, "1", Vec::new(), &order, count, 0)?;
                Ok(Rows::met(keys, selection.count, *backward))
            }
            PageAt::Place { backward, place: Some((key, seq)) } => {
                let mut met = Vec::new();
                for run in list.runs(direction, *backward, key, *seq) {
                    let left = looked_for(selection.count) - i64::try_from(met.len()).unwrap_or(i64::MAX);
                    if left > 0 {
                        met.extend(self.walk(&list, &run.condition, run.params, &run.order, left, 0)?);
                    }
                }
                Ok(Rows::met(met, selection.count, *backward))
            }
        }
    }

    /// What a resource is sorted by at present; absent when it is gone.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn sort_key(&self, selection: &Selection<'_>, seq: i64) -> Result<Key, Error> {
        for part in selection.parts {
            let Some(target) = &part.sort else { continue };
            let Order { key, params: mut values, .. } =
                filter_sql::order(part.kind, target, selection.base_url);
            values.extend([Value::Integer(kind_code(part.kind)), Value::Integer(seq)]);
            let mut statement =
                self.prepare(&format!("SELECT {key} FROM resources AS r WHERE +r.kind = ? AND r.seq = ?"))?;
            let mut rows = statement.query(params_from_iter(values))?;
            if let Some(row) = rows.next()? {
                return Ok(key_in(row, 0)?);
            }
        }
        Ok(Key::Absent)
    }

    fn walk(
        &self,
        list: &List,
        condition: &str,
        params: Vec<Value>,
        order: &str,
        count: i64,
        skip: i64,
    ) -> Result<Vec<(Key, i64)>, Error> {
        let mut values = list.params.clone();
        values.extend(params);
        values.extend([Value::Integer(count), Value::Integer(skip)]);
        let mut statement = self.prepare(&list.statement(condition, order))?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut met = Vec::new();
        while let Some(row) = rows.next()? {
            met.push((key_in(row, 0)?, row.get(1)?));
        }
        Ok(met)
    }
}

fn key_in(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null | ValueRef::Blob(_) => Key::Absent,
        ValueRef::Integer(whole) => Key::Whole(whole),
        ValueRef::Real(real) => Key::Real(real),
        ValueRef::Text(_) => Key::Text(row.get(column)?),
    })
}

/// The rows of a list with their keys, as part of a statement.
pub(super) struct List {
    /// What stands between FROM and the condition that is still to come.
    from: String,
    params: Vec<Value>,
    key: String,
    seq: &'static str,
    nullable: bool,
}

/// A part of a list in which all have a key, or none has; with the order in which it is walked.
pub(super) struct Run {
    pub(super) condition: String,
    params: Vec<Value>,
    pub(super) order: String,
}

impl List {
    pub(super) fn of(selection: &Selection<'_>) -> List {
        if let [part] = selection.parts
            && let Some(list) = List::by_index(part, selection.base_url)
        {
            return list;
        }
        let (mut sources, mut params) = (Vec::new(), Vec::new());
        for part in selection.parts {
            let key = match &part.sort {
                Some(target) => {
                    let order = filter_sql::order(part.kind, target, selection.base_url);
                    params.extend(order.params);
                    order.key
                }
                None => "NULL".to_owned(),
            };
            let condition = part
                .filter
                .as_ref()
                .map_or_else(everybody, |filter| filter_sql::compile(part.kind, filter, selection.base_url));
            let (text, values) = source(&format!("{key} AS key, r.seq AS seq"), part, condition);
            sources.push(text);
            params.extend(values);
        }
        // The limit, which is none, has each key worked out once; SQLite would else put the expression wherever the
        // key is named.
        let from = format!("({} LIMIT -1) AS s WHERE ", sources.join(" UNION ALL "));
        List { from, params, key: "s.key".to_owned(), seq: "s.seq", nullable: true }
    }

    /// The list as an index has it; `None` where none does, or the filter finds its rows by a better one.
    fn by_index(part: &Part, base_url: &str) -> Option<List> {
        let Order { key, index, nullable, .. } = filter_sql::order(part.kind, part.sort.as_ref()?, base_url);
        let index = index?;
        let condition = part
            .filter
            .as_ref()
            .map_or_else(everybody, |filter| filter_sql::compile_in_order(part.kind, filter, base_url));
        if condition.indexed {
            return None;
        }
        let from =
            format!("resources AS r INDEXED BY {index} WHERE r.kind = ? AND ({}) AND ", condition.text);
        let mut params = vec![Value::Integer(kind_code(part.kind))];
        params.extend(condition.params);
        Some(List { from, params, key, seq: "r.seq", nullable })
    }

    pub(super) fn statement(&self, condition: &str, order: &str) -> String {
        let List { from, key, seq, .. } = self;
        format!("SELECT {key}, {seq} FROM {from} {condition} ORDER BY {order} LIMIT ? OFFSET ?")
    }

    /// The order of the whole list, or the same from its end.
    pub(super) fn whole_order(&self, direction: Direction, backward: bool) -> String {
        let (way, seq_way) = ways(direction, backward);
        // Whoever has no key is last when ascending; the same way round, SQLite has NULL first.
        let nulls = match (self.nullable, way) {
            (false, _) => "",
            (true, "ASC") => " NULLS LAST",
            (true, _) => " NULLS FIRST",
        };
        format!("{} {way}{nulls}, {} {seq_way}", self.key, self.seq)
    }

    /// What comes after a place, or before it, in the order in which it is met.
    pub(super) fn runs(&self, direction: Direction, backward: bool, key: &Key, seq: i64) -> Vec<Run> {
        let List { key: by, seq: number, .. } = self;
        let (way, seq_way) = ways(direction, backward);
        let past = if backward { "<" } else { ">" };
        let with_key = format!("{by} {way}, {number} {seq_way}");
        let without = format!("{number} {seq_way}");
        let run = |condition: String, params: Vec<Value>, order: &str| Run {
            condition,
            params,
            order: order.to_owned(),
        };
        let present = run(format!("{by} IS NOT NULL"), Vec::new(), &with_key);
        let absent = run(format!("{by} IS NULL"), Vec::new(), &without);
        let keys_come_first = way == "ASC";
        let value = match key {
            Key::Absent => {
                let rest =
                    run(format!("{by} IS NULL AND {number} {past} ?"), vec![Value::Integer(seq)], &without);
                return if keys_come_first { vec![rest] } else { vec![rest, present] };
            }
            Key::Whole(whole) => Value::Integer(*whole),
            Key::Real(real) => Value::Real(*real),
            Key::Text(text) => Value::Text(text.clone()),
        };
        let sign = if way == "ASC" { ">" } else { "<" };
        // One bound that an index can begin at; the rest of the condition passes over those of the same key.
        let rest = run(
            format!("{by} {sign}= ? AND ({by} {sign} ? OR {number} {past} ?)"),
            vec![value.clone(), value, Value::Integer(seq)],
            &with_key,
        );
        if keys_come_first && self.nullable { vec![rest, absent] } else { vec![rest] }
    }
}

/// Which way keys and, among equal ones, creation numbers are walked.
fn ways(direction: Direction, backward: bool) -> (&'static str, &'static str) {
    let way = if (direction == Direction::Ascending) == backward { "DESC" } else { "ASC" };
    (way, if backward { "DESC" } else { "ASC" })
}

fn everybody() -> Sql {
    Sql { text: "1".to_owned(), params: Vec::new(), indexed: false }
}

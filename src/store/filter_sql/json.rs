//! Tests on what lies in a JSON document, in SQL.
//!
//! An `object` here is an expression, without parameters, that gives the text of a JSON object: the document
//! itself, or an element of one of its arrays. Every `EXISTS` has a unary plus before it: as a plain part of a
//! conjunction SQLite would turn it into a join, and then decide itself where to begin.

use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Target, Test};
use crate::store::filter_sql::fragment::{Fragment, sign, text_passes};

/// Gives every row of `json_each` a name of its own.
#[derive(Debug, Default)]
pub(super) struct Names(usize);

impl Names {
    pub(super) fn fresh(&mut self) -> String {
        self.0 += 1;
        format!("j{}", self.0)
    }
}

/// A test on what lies in a JSON object; `object` is an expression that gives its text.
pub(super) fn test(names: &mut Names, target: &Target, test: &Test, object: &str) -> Fragment {
    if target.data_type.is_none() {
        return unknown_test(names, target, test, object);
    }
    let urn = target.urn.as_deref();
    if !target.multi_valued {
        return path_test(object, json_path(urn, &target.attribute, target.sub.as_deref()), target, test);
    }
    let Some(sub) = &target.sub else {
        if *test == Test::Present {
            return path_test(object, json_path(urn, &target.attribute, None), target, test);
        }
        let row = names.fresh();
        return elements(object, &row, json_path(urn, &target.attribute, None))
            .sql(" AND ")
            .then(row_test(&row, target, test))
            .sql(")");
    };
    let row = names.fresh();
    elements(object, &row, json_path(urn, &target.attribute, None))
        .sql(" AND ")
        .then(path_test(&object_of(&row), json_path(None, sub, None), target, test))
        .sql(")")
}

fn unknown_test(names: &mut Names, target: &Target, test: &Test, object: &str) -> Fragment {
    let (rows, row, _) = unknown_rows(names, target, object);
    rows.then(row_test(&row, target, test)).sql(")")
}

/// `EXISTS` over the elements of an attribute that no schema knows, to be closed after a condition on one;
/// and the element as an object.
pub(super) fn unknown_elements(names: &mut Names, target: &Target, object: &str) -> (Fragment, String) {
    let (rows, row, array) = unknown_rows(names, target, object);
    let rows = rows.sql(&format!("{row}.type <> 'null' AND "));
    let object = format!(
        "(CASE {row}.type WHEN 'object' THEN {row}.value WHEN 'array' THEN '{{}}' \
         ELSE '{{\"value\":' || ({array} -> ('$[' || {row}.key || ']')) || '}}' END)"
    );
    (rows, object)
}

/// `EXISTS` over every value of a target that no schema knows, to be closed after a condition on one; with
/// the name of the value's row, and the array of which it is a row.
fn unknown_rows(names: &mut Names, target: &Target, object: &str) -> (Fragment, String, String) {
    let (from, row, array) = unknown_from(names, target, object);
    (Fragment::of("+EXISTS (SELECT 1").then(from), row, array)
}

/// The values of a target that no schema knows, as a `FROM` and the beginning of a `WHERE`; and the name of a value's
/// row.
pub(super) fn unknown_values(names: &mut Names, target: &Target, object: &str) -> (Fragment, String) {
    let (from, row, _) = unknown_from(names, target, object);
    (from, row)
}

fn unknown_from(names: &mut Names, target: &Target, object: &str) -> (Fragment, String, String) {
    let mut from = Vec::new();
    let mut keys = Vec::new();
    let (mut object, mut row, mut array) = (object.to_owned(), String::new(), String::new());
    if let Some(urn) = &target.urn {
        row = names.fresh();
        from.push(format!("json_each({object}) AS {row}"));
        keys.push((row.clone(), urn));
        object = object_of(&row);
    }
    let steps = [Some(&target.attribute), target.sub.as_ref()];
    for name in steps.into_iter().flatten().filter(|name| !name.is_empty()) {
        let member = names.fresh();
        row = names.fresh();
        array = array_of(&member, &object);
        from.push(format!("json_each({object}) AS {member}"));
        from.push(format!("json_each({array}) AS {row}"));
        keys.push((member, name));
        object = object_of(&row);
    }
    let mut rows = Fragment::of(format!(" FROM {} WHERE ", from.join(", ")));
    for (row, name) in keys {
        rows = rows.sql(&format!("{row}.key = ")).bind(name.clone()).sql(" COLLATE NOCASE AND ");
    }
    (rows, row, array)
}

/// A test on what lies at a path in a JSON object.
fn path_test(object: &str, path: String, target: &Target, test: &Test) -> Fragment {
    let read = |function: &str| Fragment::of(format!("{function}({object}, ")).bind(path.clone()).sql(")");
    match test {
        Test::Present => {
            Fragment::of("+EXISTS (SELECT 1 FROM ").then(read("json_tree")).sql(" AS a WHERE a.atom <> '')")
        }
        Test::Compare(op, operand) => {
            json_compare(read("json_type"), read("json_extract"), target, *op, operand)
        }
    }
}

/// A test on a row of `json_each`.
pub(super) fn row_test(row: &str, target: &Target, test: &Test) -> Fragment {
    let read = |column: &str| Fragment::of(format!("{row}.{column}"));
    match test {
        Test::Present => Fragment::of(format!(
            "(CASE WHEN {row}.type IN ('object', 'array') \
             THEN EXISTS (SELECT 1 FROM json_tree({row}.value) AS a WHERE a.atom <> '') ELSE {row}.atom <> '' END)"
        )),
        Test::Compare(op, operand) => json_compare(read("type"), read("value"), target, *op, operand),
    }
}

/// Compares a JSON value of the operand's type; one of another type gives NULL. Only `CASE` keeps SQLite from
/// reading a value of the wrong type first.
fn json_compare(
    json_type: Fragment,
    value: Fragment,
    target: &Target,
    op: CompareOp,
    operand: &Operand,
) -> Fragment {
    let case = Fragment::of("(CASE ").then(json_type);
    match operand {
        Operand::Text(text) => {
            let sql = case.sql(" WHEN 'text' THEN ").then(value).sql(" END)");
            text_passes(sql, false, target, &Test::Compare(op, Operand::Text(text.clone())))
        }
        Operand::Bool(wanted) => {
            case.sql(" WHEN 'true' THEN 1 WHEN 'false' THEN 0 END) = ").bind(i64::from(*wanted))
        }
        // As in memory, a whole number is compared as the float next to it.
        Operand::Number(number) => {
            let sql =
                case.sql(" WHEN 'integer' THEN CAST(").then(value.clone()).sql(" AS REAL) WHEN 'real' THEN ");
            sql.then(value).sql(&format!(" END) {} ", sign(op))).bind(*number)
        }
        Operand::Instant(ms) => {
            let sql = case.sql(" WHEN 'text' THEN instant(").then(value);
            sql.sql(&format!(") END) {} ", sign(op))).bind(*ms)
        }
    }
}

/// `EXISTS` over the elements of an array in a JSON object, to be closed after a condition on one.
pub(super) fn elements(object: &str, row: &str, path: String) -> Fragment {
    Fragment::of(format!("+EXISTS (SELECT 1 FROM json_each({object}, "))
        .bind(path)
        .sql(&format!(") AS {row} WHERE typeof({row}.key) = 'integer'"))
}

/// A row of `json_each` as the text of a JSON object; an empty one when it is something else.
pub(super) fn object_of(row: &str) -> String {
    format!("(CASE {row}.type WHEN 'object' THEN {row}.value ELSE '{{}}' END)")
}

/// A member of a JSON object as the text of an array: itself, or the array of it alone. Its own text is taken
/// from the object, because a number does not survive the way through a column. The key is one that a filter
/// has named, so it can stand in quotes.
fn array_of(member: &str, object: &str) -> String {
    format!(
        "(CASE {member}.type WHEN 'array' THEN {member}.value \
         ELSE '[' || ({object} -> ('$.\"' || {member}.key || '\"')) || ']' END)"
    )
}

/// A path of SQLite's JSON functions. The names are those of a schema: none has a quote in it.
pub(super) fn json_path(urn: Option<&str>, attribute: &str, sub: Option<&str>) -> String {
    let names = [urn, Some(attribute), sub].into_iter().flatten().filter(|name| !name.is_empty());
    names.fold("$".to_owned(), |path, name| format!("{path}.\"{name}\""))
}

//! What a resource is sorted by, in SQL: an expression that gives the key of [`crate::scim::sort::key_of`], NULL where
//! that is absent.

use rusqlite::types::Value;

use crate::scim::Kind;
use crate::scim::predicate::Target;
use crate::scim::schema::Type;
use crate::store::filter_sql::fragment::Fragment;
use crate::store::filter_sql::json::{self, Names};
use crate::store::filter_sql::{Column, Compiler};

/// What `resources AS r` is sorted by.
pub(in crate::store) struct Order {
    /// The key, with a `?` for each of `params`.
    pub(in crate::store) key: String,
    /// The values, in the order of their place in `key`.
    pub(in crate::store) params: Vec<Value>,
    /// The index that has the resources of the kind in this order; the key is then a plain column.
    pub(in crate::store) index: Option<&'static str>,
    /// Whether a resource may have none.
    pub(in crate::store) nullable: bool,
}

/// The order of the resources of a kind by an attribute.
pub(in crate::store) fn order(kind: Kind, target: &Target, base_url: &str) -> Order {
    let mut compiler = Compiler { kind, base_url, names: Names::default() };
    let made = |key: Fragment| Order { key: key.text, params: key.params, index: None, nullable: true };
    match compiler.column(target) {
        Some(Column::Key { name, .. }) => by_column(name),
        Some(Column::Instant(name)) => by_column(name),
        Some(Column::Made(sql)) => made(folded(sql, target)),
        // `active` by itself does not tell who has none.
        Some(Column::Active | Column::Always) | None if compiler.is_link(target) => {
            made(compiler.link_key(target))
        }
        Some(Column::Active | Column::Always) | None => made(json_key(&mut compiler.names, target)),
    }
}

/// A column with an index on it, after the kind; `id` has one of its own.
fn by_column(name: &'static str) -> Order {
    let (index, nullable) = match name {
        "id" => (Some("sqlite_autoindex_resources_1"), false),
        "name_key" => (Some("resources_by_name"), false),
        "created_ms" => (Some("resources_by_created"), false),
        "modified_ms" => (Some("resources_by_modified"), false),
        "display_key" => (Some("resources_by_display"), true),
        "external_id" => (Some("resources_by_external_id"), true),
        _ => (None, true),
    };
    Order { key: format!("r.{name}"), params: Vec::new(), index, nullable }
}

fn folded(text: Fragment, target: &Target) -> Fragment {
    if target.case_exact { text } else { Fragment::of("fold(").then(text).sql(")") }
}

impl Compiler<'_> {
    /// The key by `members` or `groups`: of the first one as they are shown. A user's direct groups come first, and
    /// nobody has indirect ones alone.
    fn link_key(&self, target: &Target) -> Fragment {
        let (own, other) = match self.kind {
            Kind::User => ("member", "grp"),
            Kind::Group => ("grp", "member"),
        };
        let value = match (self.kind, target.sub.as_deref().unwrap_or("value")) {
            (Kind::User, "type") => Fragment::of("'direct'"),
            (_, sub) => self.link_expression(sub),
        };
        Fragment::of("(SELECT ").then(folded(value, target)).sql(&format!(
            " FROM members AS m JOIN resources AS u ON u.seq = m.{other} WHERE m.{own} = r.seq
               ORDER BY m.{other} LIMIT 1)"
        ))
    }
}

/// The key by what lies in the document.
fn json_key(names: &mut Names, target: &Target) -> Fragment {
    if target.data_type.is_none() {
        let (from, row) = json::unknown_values(names, target, "r.doc");
        let value = |column: &str| Fragment::of(format!("{row}.{column}"));
        let key = typed(value("type"), &value("value"), target);
        return Fragment::of("(SELECT ").then(key).then(from).sql(&format!("{row}.type <> 'null' LIMIT 1)"));
    }
    let urn = target.urn.as_deref();
    let read = |object: &str, path: &str| {
        let call =
            |function: &str| Fragment::of(format!("{function}({object}, ")).bind(path.to_owned()).sql(")");
        typed(call("json_type"), &call("json_extract"), target)
    };
    if !target.multi_valued {
        return read("r.doc", &json::json_path(urn, &target.attribute, target.sub.as_deref()));
    }
    let row = names.fresh();
    let object = json::object_of(&row);
    let key = match &target.sub {
        Some(sub) => read(&object, &json::json_path(None, sub, None)),
        None => {
            let value = |column: &str| Fragment::of(format!("{row}.{column}"));
            typed(value("type"), &value("value"), target)
        }
    };
    Fragment::of("(SELECT ")
        .then(key)
        .sql(" FROM json_each(r.doc, ")
        .bind(json::json_path(urn, &target.attribute, None))
        .sql(&format!(
            ") AS {row} WHERE typeof({row}.key) = 'integer' AND {row}.type <> 'null'
               ORDER BY json_type({object}, '$.primary') IS 'true' DESC, {row}.key LIMIT 1)"
        ))
}

/// A value as the key; NULL when it is not of the target's type. Only `CASE` keeps SQLite from reading a value of the
/// wrong type first.
fn typed(json_type: Fragment, value: &Fragment, target: &Target) -> Fragment {
    let case = Fragment::of("(CASE ").then(json_type);
    let text = |case: Fragment| case.sql(" WHEN 'text' THEN ").then(folded(value.clone(), target));
    let truth = |case: Fragment| case.sql(" WHEN 'true' THEN 1 WHEN 'false' THEN 0");
    // As in memory, a whole number is the float next to it.
    let number = |case: Fragment| {
        let whole = case.sql(" WHEN 'integer' THEN CAST(").then(value.clone()).sql(" AS REAL)");
        whole.sql(" WHEN 'real' THEN ").then(value.clone())
    };
    let case = match target.data_type {
        Some(Type::Boolean) => truth(case),
        Some(Type::Decimal | Type::Integer) => number(case),
        Some(Type::DateTime) => case.sql(" WHEN 'text' THEN instant(").then(value.clone()).sql(")"),
        Some(Type::String | Type::Reference | Type::Binary | Type::Complex) => text(case),
        None => text(number(truth(case))),
    };
    case.sql(" END)")
}

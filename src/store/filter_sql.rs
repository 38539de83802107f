//! A bound filter as a condition in SQL: the only SQL that is put together at run time.
//!
//! The text depends on the shape of the filter alone; every value of a client, and every path into a document,
//! is a bound parameter. What a filter means is told by [`crate::scim::predicate`], and the condition selects
//! exactly the rows whose resources match in [`crate::scim::matching`]; a property test below holds the two
//! together. A condition may be NULL, which selects nothing; so a negation asks whether the inside is true.
//!
//! Statistics are never gathered (`ANALYZE`), so SQLite's planner guesses. It is left no choice: of all parts
//! joined by `and`, the most selective one may use its index, and a unary plus keeps the others from theirs.

use rusqlite::types::Value;

use crate::scim::Kind;
use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::scim::schema::Type;
use crate::store::resources::kind_code;

/// The cost of walking one end of an index; what costs less is expected to find few rows.
const RANGE_COST: u8 = 3;

/// A condition over `resources AS r`, without the condition on its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sql {
    /// The condition, with a `?` for each of `params`.
    pub text: String,
    /// The values, in the order of their place in `text`.
    pub params: Vec<Value>,
    /// Whether an index finds the rows, one that has the kind in it where that helps. The caller then writes
    /// `+r.kind = ?`, else `r.kind = ?`: without the plus the planner may walk the whole kind instead.
    pub indexed: bool,
}

/// The condition that selects the resources of this kind that fulfil the predicate.
///
/// `base_url` is the tenant's base URL without a trailing slash; addresses in the resources begin with it.
pub(super) fn compile(kind: Kind, predicate: &Predicate, base_url: &str) -> Sql {
    let mut compiler = Compiler { kind, base_url, rows: 0 };
    let indexed = compiler.cost(predicate).is_some();
    let Fragment { text, params } = compiler.condition(predicate, &Scope::Resource, indexed);
    Sql { text, params, indexed }
}

/// The condition that selects the members that fulfil the predicate, which speaks of the sub-attributes of
/// `members`: over `members AS m` joined with `resources AS u`, the member.
pub(super) fn compile_member(predicate: &Predicate, base_url: &str) -> Sql {
    let mut compiler = Compiler { kind: Kind::Group, base_url, rows: 0 };
    let Fragment { text, params } = compiler.condition(predicate, &Scope::Link, false);
    Sql { text, params, indexed: false }
}

/// A piece of SQL and the values for its `?`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fragment {
    text: String,
    params: Vec<Value>,
}

impl Fragment {
    fn of(text: impl Into<String>) -> Fragment {
        Fragment { text: text.into(), params: Vec::new() }
    }

    fn bound(value: impl Into<Value>) -> Fragment {
        Fragment { text: "?".to_owned(), params: vec![value.into()] }
    }

    fn sql(mut self, text: &str) -> Fragment {
        self.text.push_str(text);
        self
    }

    fn then(mut self, next: Fragment) -> Fragment {
        self.text.push_str(&next.text);
        self.params.extend(next.params);
        self
    }

    fn bind(self, value: impl Into<Value>) -> Fragment {
        self.then(Fragment::bound(value))
    }
}

/// What the names of a predicate are read from.
enum Scope {
    /// A row of `resources AS r`.
    Resource,
    /// A JSON object: an expression, without parameters, that gives its text.
    Object(String),
    /// A row of `json_each` whose element has no parts and is its own `value`.
    Simple(String),
    /// A row of `members AS m`, joined with the resource at its other end as `u`.
    Link,
}

/// A column of `resources` that holds an attribute.
enum Column {
    /// Never compared with more than presence, and always there.
    Always,
    Text {
        sql: Fragment,
        folded: bool,
        index: Index,
    },
    Instant(&'static str),
    Active,
}

/// How a column is found by an index, if at all.
#[derive(Clone, Copy, PartialEq)]
enum Index {
    None,
    /// An index that begins with the column.
    Plain {
        unique: bool,
    },
    /// An index that begins with the kind.
    AfterKind,
}

struct Compiler<'a> {
    kind: Kind,
    base_url: &'a str,
    /// How many row names were given.
    rows: usize,
}

impl Compiler<'_> {
    /// The condition for a predicate. With `probe` its index is to be used; only [`Scope::Resource`] has any.
    fn condition(&mut self, predicate: &Predicate, scope: &Scope, probe: bool) -> Fragment {
        match predicate {
            Predicate::And(parts) => {
                let cheapest = (0..parts.len())
                    .filter(|_| probe)
                    .filter_map(|at| Some((self.cost(&parts[at])?, at)))
                    .min();
                let parts = parts.iter().enumerate().map(|(at, part)| {
                    self.condition(part, scope, cheapest.is_some_and(|(_, best)| best == at))
                });
                join(parts.collect(), " AND ", "1")
            }
            Predicate::Or(parts) => {
                let parts = parts.iter().map(|part| self.condition(part, scope, probe));
                join(parts.collect(), " OR ", "0")
            }
            Predicate::Not(inner) => {
                Fragment::of("NOT ((").then(self.condition(inner, scope, false)).sql(") IS TRUE)")
            }
            Predicate::Test { target, test } => self.test(target, test, scope, probe),
            Predicate::Element { target, inner } => self.element(target, inner, scope, probe),
        }
    }

    /// What it costs to find the rows by an index, in order of preference; `None` when no index finds them all.
    fn cost(&self, predicate: &Predicate) -> Option<u8> {
        match predicate {
            Predicate::And(parts) => parts.iter().filter_map(|part| self.cost(part)).min(),
            // Several unbounded ranges are worth no index: the planner would rather walk the kind once.
            Predicate::Or(parts) => {
                let costs = parts.iter().map(|part| self.cost(part).filter(|cost| *cost < RANGE_COST));
                costs.reduce(|most, cost| Some(most?.max(cost?))).flatten()
            }
            Predicate::Not(_) => None,
            Predicate::Element { target, inner } => {
                self.key_of_element(target, inner).map(|(op, _)| cost_of(op, false))
            }
            Predicate::Test { target, test } => {
                let Test::Compare(op, operand) = test else { return None };
                if self.by_rows(target, test).is_some() {
                    return Some(cost_of(*op, false));
                }
                match (self.column(target)?, operand) {
                    (Column::Text { index: Index::None, .. } | Column::Always, _) => None,
                    (Column::Text { index, .. }, Operand::Text(text)) => {
                        let unique = index != Index::Plain { unique: false };
                        is_range(*op, text).then(|| cost_of(*op, unique))
                    }
                    (Column::Instant(_), _) => Some(RANGE_COST + 1),
                    (Column::Active, _) => Some(RANGE_COST + 2),
                    (Column::Text { .. }, _) => None,
                }
            }
        }
    }

    fn test(&mut self, target: &Target, test: &Test, scope: &Scope, probe: bool) -> Fragment {
        match scope {
            Scope::Resource => {
                if let Some((op, key)) = self.by_rows(target, test) {
                    return self.found_by_rows(target, op, key, probe);
                }
                if let Some(column) = self.column(target) {
                    return self.column_test(column, target, test, probe);
                }
                if self.is_link(target) {
                    return self.link_test(target, test);
                }
                self.json_test(target, test, "r.doc")
            }
            Scope::Object(object) => self.json_test(target, test, object),
            Scope::Simple(row) => row_test(row, target, test),
            Scope::Link => text_passes(self.link_expression(&target.attribute), false, target, test),
        }
    }

    /// Some element, and the same one throughout, fulfils `inner`.
    fn element(&mut self, target: &Target, inner: &Predicate, scope: &Scope, probe: bool) -> Fragment {
        let key = self.key_of_element(target, inner).filter(|_| probe);
        // What a key finds may still be another element than the one that fulfils the rest.
        let found = key.map(|(op, key)| self.found_by_rows(target, op, key, true).sql(" AND "));
        let exists = if self.is_link(target) {
            self.link_rows().then(self.condition(inner, &Scope::Link, false)).sql(")")
        } else if target.data_type.is_none() {
            let (rows, object) = self.unknown_elements(target, scope);
            rows.then(self.condition(inner, &Scope::Object(object), false)).sql(")")
        } else {
            let row = self.row();
            let inside = if target.data_type == Some(Type::Complex) {
                Scope::Object(object_of(&row))
            } else {
                Scope::Simple(row.clone())
            };
            elements(scope.document(), &row, json_path(target.urn.as_deref(), &target.attribute, None))
                .sql(&format!(" AND {row}.type <> 'null' AND "))
                .then(self.condition(inner, &inside, false))
                .sql(")")
        };
        match found {
            Some(found) => Fragment::of("(").then(found).then(exists).sql(")"),
            None => exists,
        }
    }

    /// The column that holds the target, with how it is found.
    fn column(&self, target: &Target) -> Option<Column> {
        if target.urn.is_some() {
            return None;
        }
        let text = |sql: &str, folded: bool, index: Index| {
            // A folded key cannot tell what a case-exact attribute is.
            let index = if folded == target.case_exact { Index::None } else { index };
            (!folded || !target.case_exact).then(|| Column::Text { sql: Fragment::of(sql), folded, index })
        };
        let plain = Index::Plain { unique: false };
        match (target.attribute.as_str(), target.sub.as_deref()) {
            ("id", None) => text("r.id", false, Index::Plain { unique: true }),
            ("externalId", None) => text("r.external_id", false, plain),
            ("active", None) if self.kind == Kind::User => Some(Column::Active),
            ("displayName", None) if self.kind == Kind::User => text("r.display_key", true, plain),
            (name, None) if name == self.kind.name_attribute() => text("r.name_key", true, Index::AfterKind),
            ("meta", None) => Some(Column::Always),
            ("meta", Some("created")) => Some(Column::Instant("r.created_ms")),
            ("meta", Some("lastModified")) => Some(Column::Instant("r.modified_ms")),
            ("meta", Some(sub)) => {
                let sql = match sub {
                    "resourceType" => Fragment::bound(self.kind.name().to_owned()),
                    "location" => Fragment::of("(")
                        .bind(format!("{}/{}/", self.base_url, self.kind.endpoint()))
                        .sql(" || r.id)"),
                    "version" => Fragment::of("('W/\"' || r.version || '\"')"),
                    _ => return None,
                };
                Some(Column::Text { sql, folded: false, index: Index::None })
            }
            _ => None,
        }
    }

    fn column_test(&self, column: Column, target: &Target, test: &Test, probe: bool) -> Fragment {
        let plus = if probe { "" } else { "+" };
        let of_kind = |condition: Fragment| {
            Fragment::of(format!("(r.kind = {} AND ", kind_code(self.kind))).then(condition).sql(")")
        };
        match (column, test) {
            (Column::Always | Column::Instant(_) | Column::Active, Test::Present) => Fragment::of("1"),
            (Column::Text { sql, .. }, Test::Present) => sql.sql(" <> ''"),
            (Column::Text { sql, folded, index }, Test::Compare(op, Operand::Text(text))) => {
                if !probe || index == Index::None {
                    return text_passes(Fragment::of(plus).then(sql), folded, target, test);
                }
                let range = text_range(&sql, *op, text);
                if index == Index::AfterKind { of_kind(range) } else { range }
            }
            (Column::Instant(sql), Test::Compare(op, Operand::Instant(ms))) => {
                let range = Fragment::of(format!("{plus}{sql} {} ", sign(*op))).bind(*ms);
                if probe { of_kind(unlikely(range)) } else { range }
            }
            (Column::Active, Test::Compare(_, Operand::Bool(active))) => {
                let is = Fragment::of(format!("{plus}r.active = ")).bind(i64::from(*active));
                if probe { of_kind(is) } else { is }
            }
            // Binding gives no other operand for these types.
            _ => Fragment::of("0"),
        }
    }

    /// Whether the target lies in the table `members`: a group's members or a user's groups.
    fn is_link(&self, target: &Target) -> bool {
        let name = if self.kind == Kind::User { "groups" } else { "members" };
        target.urn.is_none() && target.attribute == name
    }

    fn is_email(&self, target: &Target) -> bool {
        self.kind == Kind::User && target.urn.is_none() && target.attribute == "emails"
    }

    /// `EXISTS` over the rows that link a resource, to be closed after a condition on one of them.
    fn link_rows(&self) -> Fragment {
        let (own, other) = self.link_columns();
        Fragment::of(format!(
            "+EXISTS (SELECT 1 FROM members AS m JOIN resources AS u ON u.seq = m.{other} WHERE m.{own} = r.seq AND "
        ))
    }

    /// The columns of `members` that hold the resource itself and the other end.
    fn link_columns(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::User => ("member", "grp"),
            Kind::Group => ("grp", "member"),
        }
    }

    fn link_test(&self, target: &Target, test: &Test) -> Fragment {
        match &target.sub {
            // Whoever is linked has an id, so the link is present.
            None => self.link_rows().sql("1)"),
            Some(sub) => {
                self.link_rows().then(text_passes(self.link_expression(sub), false, target, test)).sql(")")
            }
        }
    }

    /// A sub-attribute of `members` or `groups` as text. NULL when it is none of them.
    fn link_expression(&self, sub: &str) -> Fragment {
        match (sub, self.kind) {
            ("value", _) => Fragment::of("u.id"),
            ("display", Kind::Group) => Fragment::of("coalesce(m.display, u.name)"),
            ("display", Kind::User) => Fragment::of("u.name"),
            ("type", Kind::Group) => Fragment::of("(CASE u.kind WHEN 1 THEN 'User' ELSE 'Group' END)"),
            ("type", Kind::User) => Fragment::of("'direct'"),
            ("$ref", _) => Fragment::of("(")
                .bind(self.base_url.to_owned())
                .sql(" || (CASE u.kind WHEN 1 THEN '/Users/' ELSE '/Groups/' END) || u.id)"),
            _ => Fragment::of("NULL"),
        }
    }

    /// The operator and key when a table beside `resources` finds the rows: `emails.value`, `members.value` and
    /// `groups.value`.
    fn by_rows<'t>(&self, target: &Target, test: &'t Test) -> Option<(CompareOp, &'t str)> {
        let Test::Compare(op, Operand::Text(text)) = test else { return None };
        (target.sub.as_deref() == Some("value") && self.is_key(target, *op, text)).then_some((*op, text))
    }

    fn is_key(&self, target: &Target, op: CompareOp, text: &str) -> bool {
        match op {
            // No row is kept of an address that is empty.
            CompareOp::Eq => self.is_link(target) || (self.is_email(target) && !text.is_empty()),
            CompareOp::Sw => self.is_email(target) && !text.is_empty(),
            _ => false,
        }
    }

    /// The operator and key when every element that fulfils `inner` has such a `value`.
    fn key_of_element<'t>(&self, target: &Target, inner: &'t Predicate) -> Option<(CompareOp, &'t str)> {
        match inner {
            Predicate::And(parts) => parts
                .iter()
                .filter_map(|part| self.key_of_element(target, part))
                .min_by_key(|(op, _)| cost_of(*op, false)),
            Predicate::Test { target: part, test: Test::Compare(op, Operand::Text(text)) } => {
                let is_value = part.urn.is_none() && part.attribute == "value" && part.sub.is_none();
                (is_value && self.is_key(target, *op, text)).then_some((*op, text.as_str()))
            }
            _ => None,
        }
    }

    /// The rows that another table finds by the key.
    fn found_by_rows(&self, target: &Target, op: CompareOp, key: &str, probe: bool) -> Fragment {
        let plus = if probe { "" } else { "+" };
        if self.is_email(target) {
            return Fragment::of(format!("{plus}r.seq IN (SELECT e.resource FROM emails AS e WHERE "))
                .then(text_range(&Fragment::of("e.value_key"), op, key))
                .sql(")");
        }
        let (own, other) = self.link_columns();
        // CROSS JOIN: from the one resource with this id to its links, never the other way round.
        Fragment::of(format!(
            "{plus}r.seq IN (SELECT m.{own} FROM resources AS u CROSS JOIN members AS m ON m.{other} = u.seq WHERE u.id = "
        ))
        .bind(key.to_owned())
        .sql(")")
    }

    /// A test on what lies in a JSON object; `object` is an expression that gives its text.
    fn json_test(&mut self, target: &Target, test: &Test, object: &str) -> Fragment {
        if target.data_type.is_none() {
            return self.unknown_test(target, test, object);
        }
        let urn = target.urn.as_deref();
        if !target.multi_valued {
            return path_test(object, json_path(urn, &target.attribute, target.sub.as_deref()), target, test);
        }
        let Some(sub) = &target.sub else {
            if *test == Test::Present {
                return path_test(object, json_path(urn, &target.attribute, None), target, test);
            }
            let row = self.row();
            return elements(object, &row, json_path(urn, &target.attribute, None))
                .sql(" AND ")
                .then(row_test(&row, target, test))
                .sql(")");
        };
        let row = self.row();
        elements(object, &row, json_path(urn, &target.attribute, None))
            .sql(" AND ")
            .then(path_test(&object_of(&row), json_path(None, sub, None), target, test))
            .sql(")")
    }

    fn unknown_test(&mut self, target: &Target, test: &Test, object: &str) -> Fragment {
        let (rows, row, _) = self.unknown_rows(target, object);
        rows.then(row_test(&row, target, test)).sql(")")
    }

    /// `EXISTS` over the elements of an attribute that no schema knows, to be closed after a condition on one;
    /// and the element as an object.
    fn unknown_elements(&mut self, target: &Target, scope: &Scope) -> (Fragment, String) {
        let (rows, row, array) = self.unknown_rows(target, scope.document());
        let rows = rows.sql(&format!("{row}.type <> 'null' AND "));
        let object = format!(
            "(CASE {row}.type WHEN 'object' THEN {row}.value WHEN 'array' THEN '{{}}' \
             ELSE '{{\"value\":' || ({array} -> ('$[' || {row}.key || ']')) || '}}' END)"
        );
        (rows, object)
    }

    /// `EXISTS` over every value of a target that no schema knows, to be closed after a condition on one; with
    /// the name of the value's row, and the array of which it is a row.
    fn unknown_rows(&mut self, target: &Target, object: &str) -> (Fragment, String, String) {
        let mut from = Vec::new();
        let mut names = Vec::new();
        let (mut object, mut row, mut array) = (object.to_owned(), String::new(), String::new());
        if let Some(urn) = &target.urn {
            row = self.row();
            from.push(format!("json_each({object}) AS {row}"));
            names.push((row.clone(), urn));
            object = object_of(&row);
        }
        let steps = [Some(&target.attribute), target.sub.as_ref()];
        for name in steps.into_iter().flatten().filter(|name| !name.is_empty()) {
            let member = self.row();
            row = self.row();
            array = array_of(&member, &object);
            from.push(format!("json_each({object}) AS {member}"));
            from.push(format!("json_each({array}) AS {row}"));
            names.push((member, name));
            object = object_of(&row);
        }
        let mut rows = Fragment::of(format!("+EXISTS (SELECT 1 FROM {} WHERE ", from.join(", ")));
        for (row, name) in names {
            rows = rows.sql(&format!("{row}.key = ")).bind(name.clone()).sql(" COLLATE NOCASE AND ");
        }
        (rows, row, array)
    }

    fn row(&mut self) -> String {
        self.rows += 1;
        format!("j{}", self.rows)
    }
}

impl Scope {
    fn document(&self) -> &str {
        match self {
            Scope::Object(object) => object,
            // The others have no elements; binding asks for none.
            Scope::Resource | Scope::Simple(_) | Scope::Link => "r.doc",
        }
    }
}

/// Joins in a tree of halves: SQLite bounds the depth of an expression, and a chain is as deep as it is long.
fn join(mut parts: Vec<Fragment>, joint: &str, none: &str) -> Fragment {
    match parts.len() {
        0 => Fragment::of(none),
        1 => parts.remove(0),
        count => {
            let right = parts.split_off(count / 2);
            let left = Fragment::of("(").then(join(parts, joint, none));
            left.sql(joint).then(join(right, joint, none)).sql(")")
        }
    }
}

/// The cost of finding a text: least where it is the whole key.
fn cost_of(op: CompareOp, unique: bool) -> u8 {
    match op {
        CompareOp::Eq if unique => 0,
        CompareOp::Eq => 1,
        CompareOp::Sw => 2,
        _ => RANGE_COST,
    }
}

fn is_range(op: CompareOp, text: &str) -> bool {
    match op {
        CompareOp::Eq | CompareOp::Gt | CompareOp::Ge | CompareOp::Lt | CompareOp::Le => true,
        CompareOp::Sw => !text.is_empty(),
        CompareOp::Ne | CompareOp::Co | CompareOp::Ew => false,
    }
}

/// A comparison in the form that an index serves; `sql` is compared as it stands.
fn text_range(sql: &Fragment, op: CompareOp, text: &str) -> Fragment {
    let compare = |sign: &str, text: String| sql.clone().sql(sign).bind(text);
    match (op, after_prefix(text)) {
        (CompareOp::Eq, _) => compare(" = ", text.to_owned()),
        (CompareOp::Sw, Some(end)) => {
            let from = Fragment::of("(").then(unlikely(compare(" >= ", text.to_owned())));
            from.sql(" AND ").then(unlikely(compare(" < ", end))).sql(")")
        }
        (CompareOp::Sw, None) => unlikely(compare(" >= ", text.to_owned())),
        _ => unlikely(compare(&format!(" {} ", sign(op)), text.to_owned())),
    }
}

/// Tells the planner that a range is small: else it likes rows better that come in order by themselves.
fn unlikely(condition: Fragment) -> Fragment {
    Fragment::of("unlikely(").then(condition).sql(")")
}

/// The first text, by code point, after all that begin with `prefix`; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// A test on a text expression that is NULL where there is no text; `folded` when it is so already.
fn text_passes(sql: Fragment, folded: bool, target: &Target, test: &Test) -> Fragment {
    let (op, text) = match test {
        Test::Present => return sql.sql(" <> ''"),
        Test::Compare(op, Operand::Text(text)) => (*op, text),
        // Binding gives a text to compare a text with.
        Test::Compare(..) => return Fragment::of("0"),
    };
    let sql = if folded || target.case_exact { sql } else { Fragment::of("fold(").then(sql).sql(")") };
    match op {
        CompareOp::Co => Fragment::of("instr(").then(sql).sql(", ").bind(text.clone()).sql(") > 0"),
        CompareOp::Sw => Fragment::of("instr(").then(sql).sql(", ").bind(text.clone()).sql(") = 1"),
        CompareOp::Ew if text.is_empty() => sql.sql(" IS NOT NULL"),
        // Counted in bytes: in a text, substr would have to count characters from the beginning.
        CompareOp::Ew => {
            let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
            let end = Fragment::of("substr(CAST(").then(sql).sql(" AS BLOB), ").bind(-bytes);
            end.sql(") = ").bind(text.as_bytes().to_vec())
        }
        _ => sql.sql(&format!(" {} ", sign(op))).bind(text.clone()),
    }
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
fn row_test(row: &str, target: &Target, test: &Test) -> Fragment {
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
fn elements(object: &str, row: &str, path: String) -> Fragment {
    Fragment::of(format!("+EXISTS (SELECT 1 FROM json_each({object}, "))
        .bind(path)
        .sql(&format!(") AS {row} WHERE typeof({row}.key) = 'integer'"))
}

/// A row of `json_each` as the text of a JSON object; an empty one when it is something else.
fn object_of(row: &str) -> String {
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
fn json_path(urn: Option<&str>, attribute: &str, sub: Option<&str>) -> String {
    let names = [urn, Some(attribute), sub].into_iter().flatten().filter(|name| !name.is_empty());
    names.fold("$".to_owned(), |path, name| format!("{path}.\"{name}\""))
}

fn sign(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Gt => ">",
        CompareOp::Ge => ">=",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        // The rest are not written with a sign and never come here.
        CompareOp::Eq | CompareOp::Ne | CompareOp::Co | CompareOp::Sw | CompareOp::Ew => "=",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::filter::{Bounds, Filter};
    use crate::scim::fold::fold;
    use crate::scim::schema::{ENTERPRISE_USER, Schemas};
    use crate::scim::{datetime, matching, predicate};
    use crate::store::open::add_functions;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rusqlite::{Connection, params, params_from_iter};
    use serde_json::{Map, Value as Json, json};

    const BASE_URL: &str = "https://ici.example/scim/v2/acme";
    const CUSTOM: &str = "urn:acme:1.0:User";

    fn migrated() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../schema/tenant/0001_init.sql")).unwrap();
        add_functions(&connection).unwrap();
        connection
    }

    fn bound(kind: Kind, text: &str) -> Predicate {
        let filter = Filter::parse(text, Bounds { bytes_max: 4096, depth_max: 32 }).unwrap();
        predicate::bind(&filter, Schemas::builtin().unwrap().of(kind)).unwrap()
    }

    fn query(sql: &Sql) -> String {
        let plus = if sql.indexed { "+" } else { "" };
        format!("SELECT r.seq FROM resources AS r WHERE {plus}r.kind = ? AND ({}) ORDER BY r.seq", sql.text)
    }

    fn values(kind: Kind, sql: &Sql) -> Vec<Value> {
        std::iter::once(Value::Integer(kind_code(kind))).chain(sql.params.iter().cloned()).collect()
    }

    fn plan(connection: &Connection, kind: Kind, sql: &Sql) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", query(sql))).unwrap();
        let rows =
            statement.query_map(params_from_iter(values(kind, sql)), |row| row.get::<_, String>(3)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }

    #[test]
    fn every_value_is_bound_and_none_is_in_the_text() {
        let hostile = "x' OR 1=1 --";
        let names = ["userName", "title", "familyName", "type", "display", "urn:", "xyz"];
        for path in [
            "userName",
            "title",
            "name.familyName",
            "emails",
            "emails.type",
            "groups.display",
            "urn:a:b:xyz.xyz",
        ] {
            for op in CompareOp::ALL {
                let sql =
                    compile(Kind::User, &bound(Kind::User, &format!("{path} {op} \"{hostile}\"")), BASE_URL);
                assert!(!sql.text.contains("OR 1") && !sql.text.contains("or 1"), "{}", sql.text);
                assert_eq!(sql.text.matches('?').count(), sql.params.len());
                assert!(names.iter().all(|name| !sql.text.contains(&format!("\"{name}"))), "{}", sql.text);
            }
        }
    }

    #[test]
    fn the_filters_of_okta_are_served_from_an_index() {
        let connection = migrated();
        let name = "r USING INDEX resources_by_name (kind=? AND name_key";
        let by_name = "r USING COVERING INDEX resources_by_name (kind=? AND name_key";
        for (kind, filter, found_by) in [
            (Kind::User, r#"userName eq "x""#, by_name),
            (Kind::User, r#"userName sw "x""#, by_name),
            (Kind::User, r#"userName gt "x""#, by_name),
            (Kind::User, r#"userName le "x""#, by_name),
            (Kind::Group, r#"displayName eq "x""#, by_name),
            (Kind::Group, r#"displayName sw "x""#, by_name),
            (Kind::User, r#"userName eq "x" and active eq true"#, name),
            (Kind::User, r#"active eq true and userName eq "x""#, name),
            (Kind::User, r#"userName eq "x" and title eq "y" and not (nickName pr)"#, name),
            (Kind::User, r#"displayName eq "x""#, "resources_by_display (display_key=?)"),
            (Kind::User, r#"displayName sw "x""#, "resources_by_display (display_key>? AND display_key<?)"),
            (Kind::User, r#"externalId eq "x""#, "resources_by_external_id (external_id=?)"),
            (Kind::Group, r#"externalId eq "x""#, "resources_by_external_id (external_id=?)"),
            (
                Kind::User,
                r#"externalId eq "x" and active eq true"#,
                "resources_by_external_id (external_id=?)",
            ),
            (Kind::User, r#"id eq "x""#, "sqlite_autoindex_resources_1 (id=?)"),
            (Kind::User, "active eq false", "resources_by_active (kind=? AND active=?)"),
            (Kind::User, r#"active eq true and title eq "x""#, "resources_by_active (kind=? AND active=?)"),
            (
                Kind::User,
                r#"meta.created gt "2026-01-01T00:00:00Z""#,
                "resources_by_created (kind=? AND created_ms>?)",
            ),
            (
                Kind::Group,
                r#"meta.lastModified ge "2026-01-01T00:00:00Z""#,
                "resources_by_modified (kind=? AND modified_ms>?)",
            ),
            (Kind::User, r#"emails.value eq "x""#, "emails_by_value (value_key=?)"),
            (Kind::User, r#"emails eq "x""#, "emails_by_value (value_key=?)"),
            (Kind::User, r#"emails.value sw "x""#, "emails_by_value (value_key>? AND value_key<?)"),
            (Kind::User, r#"emails[type eq "work"].value eq "x""#, "emails_by_value (value_key=?)"),
            (
                Kind::User,
                r#"emails[type eq "work" and value sw "x"]"#,
                "emails_by_value (value_key>? AND value_key<?)",
            ),
            (Kind::User, r#"emails.value eq "x" and active eq true"#, "emails_by_value (value_key=?)"),
            (Kind::Group, r#"members.value eq "x""#, "m USING COVERING INDEX members_by_member (member=?)"),
            (Kind::Group, r#"members eq "x""#, "m USING COVERING INDEX members_by_member (member=?)"),
            (Kind::Group, r#"members[value eq "x"]"#, "m USING COVERING INDEX members_by_member (member=?)"),
            (Kind::User, r#"groups.value eq "x""#, "m USING PRIMARY KEY (grp=?)"),
            (Kind::User, r#"groups eq "x" and active eq true"#, "m USING PRIMARY KEY (grp=?)"),
        ] {
            let sql = compile(kind, &bound(kind, filter), BASE_URL);
            let plan = plan(&connection, kind, &sql);
            assert!(sql.indexed, "{filter}");
            assert!(plan.contains(found_by), "{filter}\n{}\n{plan}", sql.text);
            assert!(!plan.contains("SCAN r"), "{filter}\n{plan}");
        }
    }

    #[test]
    fn alternatives_are_served_from_an_index_each() {
        let connection = migrated();
        let filter =
            r#"userName eq "x" or externalId eq "x" or (emails eq "x" and active eq true) or id eq "x""#;
        let sql = compile(Kind::User, &bound(Kind::User, filter), BASE_URL);
        let plan = plan(&connection, Kind::User, &sql);
        assert!(plan.contains("MULTI-INDEX OR") && !plan.contains("SCAN"), "{plan}");
        for index in ["by_name", "by_external_id", "emails_by_value", "autoindex_resources_1"] {
            assert!(plan.contains(index), "{plan}");
        }
    }

    #[test]
    fn what_no_index_serves_walks_one_kind_in_order() {
        let connection = migrated();
        for filter in [
            r#"title eq "x""#,
            r#"userName co "x""#,
            r#"userName ne "x""#,
            r#"userName eq "x" or title eq "x""#,
            r#"not (id eq "x")"#,
            "emails pr",
        ] {
            let sql = compile(Kind::User, &bound(Kind::User, filter), BASE_URL);
            assert!(!sql.indexed, "{filter}");
            let plan = plan(&connection, Kind::User, &sql);
            assert!(plan.starts_with("SEARCH r USING INDEX resources_by_kind (kind=?)"), "{filter}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{filter}\n{plan}");
        }
    }

    #[test]
    fn the_longest_and_the_deepest_filters_are_prepared() {
        let connection = migrated();
        for part in ["title pr", "userName eq \"x\"", "emails[a eq 1]", "urn:a:b:c.d eq 1"] {
            let part = part.replace("emails[a eq 1]", "emails[primary eq true]");
            for joint in [" or ", " and "] {
                let count = 4096 / (part.len() + joint.len());
                let text = vec![part.as_str(); count].join(joint);
                let sql = compile(Kind::User, &bound(Kind::User, &text), BASE_URL);
                connection.prepare(&query(&sql)).unwrap();
            }
            let deep = format!("{}{part}{}", "not (".repeat(31), ")".repeat(31));
            let sql = compile(Kind::User, &bound(Kind::User, &deep), BASE_URL);
            connection.prepare(&query(&sql)).unwrap();
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
    }

    /// A directory in a database, and the same as clients see it.
    struct Directory {
        connection: Connection,
        users: Vec<Json>,
        groups: Vec<Json>,
    }

    /// A document, when it was made and changed, and its version.
    type Made = (Map<String, Json>, i64, i64, i64);

    impl Directory {
        /// `links` are places of groups and members; a member past the users is a group.
        fn new(users: &[Made], groups: &[Made], links: &[(usize, usize, Option<String>)]) -> Directory {
            let connection = migrated();
            let put = |kind: Kind, all: &[Made]| -> Vec<(i64, Json)> {
                all.iter().enumerate().map(|(at, made)| put(&connection, kind, at, made)).collect()
            };
            let (mut users, mut groups) = (put(Kind::User, users), put(Kind::Group, groups));
            for (group, member, display) in links {
                let group = group % groups.len();
                let member = member % (users.len() + groups.len());
                let (member_seq, seen) = users.iter().chain(&groups).nth(member).unwrap().clone();
                let (group_seq, owner) = groups[group].clone();
                let new = connection
                    .execute(
                        "INSERT OR IGNORE INTO members VALUES (?, ?, ?)",
                        params![group_seq, member_seq, display],
                    )
                    .unwrap();
                if new == 0 {
                    continue;
                }
                let (kind, name) = if member < users.len() {
                    (Kind::User, "userName")
                } else {
                    (Kind::Group, "displayName")
                };
                groups[group].1["members"].as_array_mut().unwrap().push(json!({
                    "value": seen["id"], "$ref": seen["meta"]["location"], "type": kind.name(),
                    "display": display.clone().map_or(seen[name].clone(), Json::from),
                }));
                if kind == Kind::User {
                    users[member].1["groups"].as_array_mut().unwrap().push(json!({
                        "value": owner["id"], "$ref": owner["meta"]["location"], "type": "direct",
                        "display": owner["displayName"],
                    }));
                }
            }
            let shown = |all: Vec<(i64, Json)>| all.into_iter().map(|(_, resource)| resource).collect();
            Directory { connection, users: shown(users), groups: shown(groups) }
        }

        fn selected(&self, kind: Kind, sql: &Sql) -> Vec<String> {
            let query = format!("SELECT id FROM resources WHERE seq IN ({})", query(sql));
            let mut statement = self.connection.prepare(&query).unwrap();
            let rows = statement.query_map(params_from_iter(values(kind, sql)), |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        }

        fn matching(&self, kind: Kind, predicate: &Predicate) -> Vec<String> {
            let all = if kind == Kind::User { &self.users } else { &self.groups };
            let matching = all.iter().filter(|resource| matching::matches(predicate, resource));
            matching.map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
        }
    }

    fn put(
        connection: &Connection,
        kind: Kind,
        at: usize,
        (doc, created, modified, version): &Made,
    ) -> (i64, Json) {
        let mut doc = doc.clone();
        let id = format!("{}{at}", kind.noun());
        let name = format!("{}{at}", doc[kind.name_attribute()].as_str().unwrap());
        doc.insert(kind.name_attribute().to_owned(), json!(name));
        let text = |name: &str| doc.get(name).and_then(Json::as_str);
        let display = (kind == Kind::User).then(|| text("displayName").map(fold));
        connection
            .execute(
                "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active, created_ms,
                 modified_ms, version, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    kind_code(kind),
                    id,
                    name,
                    fold(&name),
                    display.flatten(),
                    text("externalId"),
                    doc.get("active").is_none_or(|active| active == &json!(true)),
                    created,
                    modified,
                    version,
                    Json::from(doc.clone()).to_string(),
                ],
            )
            .unwrap();
        let seq = connection.last_insert_rowid();
        for email in doc.get("emails").and_then(Json::as_array).into_iter().flatten() {
            let text = |name: &str| email.get(name).and_then(Json::as_str).map(fold);
            if let Some(value) = text("value") {
                connection
                    .execute("INSERT INTO emails VALUES (?, ?, ?)", params![seq, value, text("type")])
                    .unwrap();
            }
        }
        let mut shown = Json::from(doc);
        shown["id"] = json!(id);
        shown["meta"] = json!({
            "resourceType": kind.name(), "created": datetime::format(*created), "lastModified": datetime::format(*modified),
            "location": format!("{BASE_URL}/{}/{id}", kind.endpoint()), "version": format!("W/\"{version}\""),
        });
        shown[if kind == Kind::User { "groups" } else { "members" }] = json!([]);
        (seq, shown)
    }

    const WORDS: &[&str] = &[
        "Ann",
        "ann",
        "ANNE",
        "n",
        "work",
        "Work",
        "Ä",
        "ä",
        "A\u{308}",
        "straße",
        "STRASSE",
        "ss",
        "12",
        "1",
        "true",
        "x y",
        "\"q\"",
        "%",
        "\\",
        "'",
        "\u{10ffff}",
        "😀",
        "urn:x",
        "",
    ];

    fn word() -> impl Strategy<Value = String> {
        select(WORDS).prop_map(str::to_owned)
    }

    fn full_word() -> impl Strategy<Value = String> {
        select(&WORDS[..WORDS.len() - 1]).prop_map(str::to_owned)
    }

    const NUMBERS: &[&str] = &[
        "0",
        "-0.0",
        "1",
        "12",
        "1.0",
        "2.5",
        "-3",
        "0.1",
        "1e2",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "9223372036854775807",
        "1.7976931348623157e308",
        "0.30000000000000004",
        "5e-324",
        "123456789.12345679",
    ];

    fn number() -> impl Strategy<Value = String> {
        select(NUMBERS).prop_map(str::to_owned)
    }

    fn anything() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            4 => word().prop_map(Json::from),
            2 => number().prop_map(|text| serde_json::from_str(&text).unwrap()),
            1 => any::<bool>().prop_map(Json::from),
            1 => Just(Json::Null),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let key =
                select(vec!["id", "ID", "value", "$ref", "o\"dd", "a.b", "", "k"]).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                prop::collection::vec((key, inner), 0..3)
                    .prop_map(|all| Json::from(all.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    /// An object with each of these keys or without it.
    fn object(keys: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
        let members: Vec<_> = keys
            .into_iter()
            .map(|(key, value)| {
                prop::option::of(value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
            })
            .collect();
        members.prop_map(|all| Json::from(all.into_iter().flatten().collect::<Map<_, _>>())).boxed()
    }

    fn text() -> BoxedStrategy<Json> {
        word().prop_map(Json::from).boxed()
    }

    fn list(element: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
        prop::collection::vec(element, 0..3).prop_map(Json::from).boxed()
    }

    fn doc(kind: Kind) -> BoxedStrategy<Map<String, Json>> {
        let flag = || any::<bool>().prop_map(Json::from).boxed();
        let entry = || {
            let value = full_word().prop_map(Json::from).boxed();
            list(object(vec![("value", value), ("type", text()), ("display", text()), ("primary", flag())]))
        };
        let manager = object(vec![("value", text()), ("displayName", text())]);
        let custom = || {
            let keys = ["size", "SIZE", "tags", "desk", "o\"dd", "a.b", ""];
            let keys: Vec<_> = keys.into_iter().map(|key| (key, anything().boxed())).collect();
            prop_oneof![4 => object(keys), 1 => anything().boxed()].boxed()
        };
        let (required, keys) = match kind {
            Kind::User => (
                "userName",
                vec![
                    ("displayName", text()),
                    ("title", text()),
                    ("name", object(vec![("familyName", text()), ("givenName", text())])),
                    ("emails", entry()),
                    ("roles", entry()),
                    ("addresses", list(object(vec![("region", text())]))),
                    (ENTERPRISE_USER, object(vec![("department", text()), ("manager", manager)])),
                ],
            ),
            Kind::Group => ("displayName", Vec::new()),
        };
        let common = vec![
            ("externalId", full_word().prop_map(Json::from).boxed()),
            ("schemas", list(select(vec![CUSTOM, ENTERPRISE_USER, "urn:x"]).prop_map(Json::from).boxed())),
            (CUSTOM, custom()),
            ("URN:acme:1.0:user", custom()),
        ];
        let made = (full_word(), any::<bool>(), object(keys.into_iter().chain(common).collect()));
        made.prop_map(move |(name, active, rest)| {
            let mut doc: Map<String, Json> = rest.as_object().unwrap().clone();
            doc.insert(required.to_owned(), json!(name));
            if kind == Kind::User {
                doc.insert("active".to_owned(), json!(active));
            }
            doc
        })
        .boxed()
    }

    fn made(kind: Kind) -> impl Strategy<Value = Made> {
        (doc(kind), 0..3_i64, 0..3_i64, 1..4_i64)
    }

    fn texts(kind: Kind) -> Vec<String> {
        let common = "externalId id meta.resourceType meta.location meta.version schemas";
        let own = match kind {
            Kind::User => {
                "userName displayName title name.familyName name.givenName emails emails.value emails.type \
                 emails.display roles roles.type addresses.region groups groups.value groups.$ref groups.display groups.type"
            }
            Kind::Group => "displayName members members.value members.$ref members.display members.type",
        };
        let mut paths: Vec<String> =
            common.split_whitespace().chain(own.split_whitespace()).map(str::to_owned).collect();
        if kind == Kind::User {
            paths.extend(
                ["department", "manager", "manager.displayName"]
                    .map(|name| format!("{ENTERPRISE_USER}:{name}")),
            );
        }
        paths
    }

    fn quoted() -> impl Strategy<Value = String> {
        let place = (select(vec!["Users/user", "Groups/group"]), 0..3_u8)
            .prop_map(|(kind, at)| format!("{BASE_URL}/{kind}{at}"));
        prop_oneof![
            8 => word(),
            2 => (full_word(), 0..3_u8).prop_map(|(word, at)| format!("{word}{at}")),
            2 => (select(vec!["user", "group", "User", "Group"]), 0..3_u8).prop_map(|(kind, at)| format!("{kind}{at}")),
            1 => place,
            1 => select(vec!["direct", "Group", "W/\"1\"", CUSTOM, BASE_URL]).prop_map(str::to_owned),
        ]
        .prop_map(|text| Json::from(text).to_string())
    }

    fn op() -> impl Strategy<Value = String> {
        select(CompareOp::ALL.to_vec()).prop_map(|op| op.to_string())
    }

    fn order() -> impl Strategy<Value = &'static str> {
        select(vec!["eq", "ne", "gt", "ge", "lt", "le"])
    }

    fn custom_path() -> impl Strategy<Value = String> {
        let names = vec![
            "size",
            "Size",
            "tags",
            "desk",
            "desk.id",
            "size.ID",
            "tags.value",
            "tags.$ref",
            "tags.k",
            "nothing",
        ];
        (select(vec![CUSTOM, "urn:ACME:1.0:User"]), select(names))
            .prop_map(|(urn, name)| format!("{urn}:{name}"))
    }

    fn unknown_test(path: BoxedStrategy<String>) -> BoxedStrategy<String> {
        prop_oneof![
            4 => (path.clone(), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}")),
            3 => (path.clone(), order(), number()).prop_map(|(path, op, number)| format!("{path} {op} {number}")),
            1 => (path.clone(), select(vec!["eq", "ne"]), any::<bool>()).prop_map(|(path, op, flag)| format!("{path} {op} {flag}")),
            1 => path.prop_map(|path| format!("{path} pr")),
        ]
        .boxed()
    }

    fn in_element(path: &'static str, subs: &[&'static str]) -> BoxedStrategy<String> {
        let sub = select(subs.to_vec());
        let test = prop_oneof![
            4 => (sub.clone(), op(), quoted()).prop_map(|(sub, op, text)| format!("{sub} {op} {text}")),
            1 => sub.prop_map(|sub| format!("{sub} pr")),
        ];
        let test = if subs.contains(&"primary") {
            prop_oneof![4 => test, 1 => select(vec!["primary eq true", "primary ne true"]).prop_map(str::to_owned)].boxed()
        } else {
            test.boxed()
        };
        joined(test, 2).prop_map(move |inner| format!("{path}[{inner}]")).boxed()
    }

    fn joined(leaf: BoxedStrategy<String>, depth: u32) -> BoxedStrategy<String> {
        leaf.prop_recursive(depth, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
                inner.prop_map(|inner| format!("not ({inner})")),
            ]
        })
        .boxed()
    }

    fn filter(kind: Kind) -> BoxedStrategy<String> {
        let text =
            (select(texts(kind)), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}"));
        let present = select(texts(kind)).prop_map(|path| format!("{path} pr"));
        let other = vec![
            "meta pr",
            "meta.created pr",
            "urn:acme:1.0:user pr",
            "urn:acme:1.0 pr",
            "meta.version eq null",
            r#"schemas[value ew "User" and not (value eq "urn:x")]"#,
            r#"meta[resourceType eq "User"]"#,
        ];
        let of_kind = match kind {
            Kind::User => vec![
                "active eq true",
                "active ne true",
                "active pr",
                "emails pr",
                "emails.primary eq true",
                "emails.primary ne false",
                "roles pr",
                "name pr",
                "groups pr",
                "addresses pr",
                "schemas pr",
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user pr",
                r#"name[familyName sw "a" and not (givenName pr)]"#,
            ],
            Kind::Group => vec!["members pr", "members eq null"],
        };
        let entry = ["value", "type", "display", "primary"];
        let elements = match kind {
            Kind::User => prop_oneof![
                3 => in_element("emails", &entry),
                1 => in_element("roles", &entry),
                1 => in_element("groups", &["value", "display", "type", "$ref"]),
            ]
            .boxed(),
            Kind::Group => in_element("members", &["value", "display", "type", "$ref"]),
        };
        let sub = select(vec!["id", "Value", "$ref", "k", "id.id"]).prop_map(str::to_owned).boxed();
        let custom_elements = (select(vec!["size", "tags", "desk"]), joined(unknown_test(sub), 2));
        let custom_elements = custom_elements.prop_map(|(name, inner)| format!("{CUSTOM}:{name}[{inner}]"));
        let date = (select(vec!["meta.created", "meta.lastModified"]), order(), 0..3_i64);
        let date = date.prop_map(|(path, op, ms)| format!("{path} {op} \"{}\"", datetime::format(ms)));
        let leaf = prop_oneof![
            8 => text,
            2 => present,
            3 => select([other, of_kind].concat()).prop_map(str::to_owned),
            4 => elements,
            5 => unknown_test(custom_path().boxed()),
            3 => custom_elements,
            2 => date,
        ];
        joined(leaf.boxed(), 3)
    }

    fn read(kind: Kind, text: &str) -> Option<Predicate> {
        let filter = Filter::parse(text, Bounds { bytes_max: 1 << 20, depth_max: 64 }).unwrap();
        predicate::bind(&filter, Schemas::builtin().unwrap().of(kind)).ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sql_selects_what_matches_in_memory(
            users in prop::collection::vec(made(Kind::User), 1..5),
            groups in prop::collection::vec(made(Kind::Group), 1..4),
            links in prop::collection::vec((0..9_usize, 0..9_usize, prop::option::of(full_word())), 0..9),
            user_filters in prop::collection::vec(filter(Kind::User), 12),
            group_filters in prop::collection::vec(filter(Kind::Group), 8),
        ) {
            let directory = Directory::new(&users, &groups, &links);
            let all = user_filters.into_iter().map(|text| (Kind::User, text));
            for (kind, text) in all.chain(group_filters.into_iter().map(|text| (Kind::Group, text))) {
                let Some(predicate) = read(kind, &text) else { continue };
                let sql = compile(kind, &predicate, BASE_URL);
                let (selected, matching) = (directory.selected(kind, &sql), directory.matching(kind, &predicate));
                prop_assert_eq!(selected, matching, "{}\n{:?}", text, sql);
                if sql.indexed {
                    let plan = plan(&directory.connection, kind, &sql);
                    prop_assert!(!plan.contains("SCAN r") && !plan.contains("resources_by_kind"), "{}\n{}\n{}", text, sql.text, plan);
                }
            }
        }

        #[test]
        fn sql_chooses_the_members_that_match_in_memory(
            users in prop::collection::vec(made(Kind::User), 1..5),
            groups in prop::collection::vec(made(Kind::Group), 1..3),
            links in prop::collection::vec((0..9_usize, 0..9_usize, prop::option::of(full_word())), 0..9),
            filter in in_element("members", &["value", "display", "type", "$ref"]),
        ) {
            let directory = Directory::new(&users, &groups, &links);
            let inner = filter.strip_prefix("members[").unwrap().strip_suffix(']').unwrap();
            let inner = Filter::parse(inner, Bounds { bytes_max: 1 << 20, depth_max: 64 }).unwrap();
            let schemas = Schemas::builtin().unwrap();
            let members = schemas.of(Kind::Group).attribute("members").unwrap();
            let predicate = predicate::bind_element(&inner, members).unwrap();
            let sql = compile_member(&predicate, BASE_URL);
            for group in &directory.groups {
                let query = format!(
                    "SELECT u.id FROM members AS m JOIN resources AS u ON u.seq = m.member
                      WHERE m.grp = (SELECT seq FROM resources WHERE id = ?) AND ({})",
                    sql.text
                );
                let id = Value::Text(group["id"].as_str().unwrap().to_owned());
                let values = std::iter::once(id).chain(sql.params.iter().cloned());
                let mut statement = directory.connection.prepare(&query).unwrap();
                let rows = statement.query_map(params_from_iter(values), |row| row.get(0)).unwrap();
                let mut selected: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
                let all = group["members"].as_array().unwrap().iter();
                let matching = all.filter(|member| matching::matches(&predicate, member));
                let mut matching: Vec<_> = matching.map(|member| member["value"].as_str().unwrap().to_owned()).collect();
                selected.sort();
                matching.sort();
                prop_assert_eq!(selected, matching, "{}", filter);
            }
        }
    }
}

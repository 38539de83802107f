//! A bound filter as a condition in SQL: the only SQL that is put together at run time.
//!
//! The text depends on the shape of the filter alone; every value of a client, and every path into a document,
//! is a bound parameter. What a filter means is told by [`crate::scim::predicate`], and the condition selects
//! exactly the rows whose resources match in [`crate::scim::matching`]; a property test holds the two
//! together. A condition may be NULL, which selects nothing; so a negation asks whether the inside is true.
//!
//! Statistics are never gathered (`ANALYZE`), so SQLite's planner guesses. It is left no choice: of all parts
//! joined by `and`, the most selective one gives the rows as a list of its own, and a unary plus keeps the others
//! from offering an index.

use rusqlite::types::Value;

use crate::scim::Kind;
use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Predicate, Target, Test};
use crate::scim::schema::Type;
use crate::store::filter_sql::fragment::{Fragment, is_range, join, sign, text_passes, text_range};
use crate::store::filter_sql::json::Names;
use crate::store::resources::kind_code;

mod fragment;
mod json;
mod order;
#[cfg(test)]
mod tests;

pub(super) use order::{Order, order};

/// Whether a user has the attribute `active`: only a PATCH that removes it takes it away.
const ACTIVE_PRESENT: &str = "+r.doc ->> '$.active' IS NOT NULL";

/// A condition over `resources AS r`, without the condition on its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sql {
    /// The condition, with a `?` for each of `params`.
    pub text: String,
    /// The values, in the order of their place in `text`.
    pub params: Vec<Value>,
    /// Whether an index finds the rows. The caller then writes `+r.kind = ?`, else `r.kind = ?`: without the
    /// plus the planner may walk the whole kind all the same.
    pub indexed: bool,
}

/// The condition that selects the resources of this kind that fulfil the predicate.
///
/// `base_url` is the tenant's base URL without a trailing slash; addresses in the resources begin with it.
pub(super) fn compile(kind: Kind, predicate: &Predicate, base_url: &str) -> Sql {
    compile_below(kind, predicate, base_url, u8::MAX)
}

/// [`compile`] for a list that an index gives in its order: the filter's own index is used only where it finds fewer
/// rows than there are active ones, for those it finds must then be sorted.
pub(super) fn compile_in_order(kind: Kind, predicate: &Predicate, base_url: &str) -> Sql {
    compile_below(kind, predicate, base_url, ACTIVE_COST)
}

fn compile_below(kind: Kind, predicate: &Predicate, base_url: &str, cost_max: u8) -> Sql {
    let mut compiler = Compiler { kind, base_url, names: Names::default() };
    let indexed = compiler.cost(predicate).is_some_and(|cost| cost < cost_max);
    let Fragment { text, params } = compiler.condition(predicate, &Scope::Resource, indexed);
    Sql { text, params, indexed }
}

/// The condition that selects the members that fulfil the predicate, which speaks of the sub-attributes of
/// `members`: over `members AS m` joined with `resources AS u`, the member.
pub(super) fn compile_member(predicate: &Predicate, base_url: &str) -> Sql {
    let mut compiler = Compiler { kind: Kind::Group, base_url, names: Names::default() };
    let Fragment { text, params } = compiler.condition(predicate, &Scope::Link, false);
    Sql { text, params, indexed: false }
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
    /// Never asked for more than presence, and always there.
    Always,
    /// Text with an index.
    Key {
        name: &'static str,
        folded: bool,
        unique: bool,
        after_kind: bool,
    },
    /// Text put together from columns.
    Made(Fragment),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Instant(&'static str),
    Active,
}

/// The groups that a user `r` belongs to, each once, as `grp` and `type`. UNION drops what is there already, so that
/// groups which contain each other come to an end.
const GROUPS_OF_USER: &str = "\
    SELECT d.grp AS grp, 'direct' AS type FROM members AS d WHERE d.member = r.seq \
    UNION ALL \
    SELECT up.grp, 'indirect' FROM (WITH RECURSIVE up (grp) AS (\
        SELECT n.grp FROM members AS d CROSS JOIN nestings AS n ON n.member = d.grp WHERE d.member = r.seq \
        UNION \
        SELECT n.grp FROM up CROSS JOIN nestings AS n ON n.member = up.grp) SELECT grp FROM up) AS up \
    WHERE NOT EXISTS (SELECT 1 FROM members AS e WHERE e.grp = up.grp AND e.member = r.seq)";

/// The cost of finding all texts with one beginning, or all users of a group; less is the cost of one text.
const PREFIX_COST: u8 = 2;
/// The cost of walking an index from some place to its end.
const RANGE_COST: u8 = 3;
/// The cost of walking all users that are active, or all that are not.
const ACTIVE_COST: u8 = 4;

struct Compiler<'a> {
    kind: Kind,
    base_url: &'a str,
    names: Names,
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
            // Active users are too many to be looked up one by one.
            Predicate::Or(parts) => {
                let costs = parts.iter().map(|part| self.cost(part).filter(|cost| *cost < ACTIVE_COST));
                costs.reduce(|most, cost| Some(most?.max(cost?))).flatten()
            }
            Predicate::Not(_) => None,
            Predicate::Element { target, inner } => {
                self.key_of_element(target, inner).map(|(op, _)| self.cost_of_rows(target, op))
            }
            Predicate::Test { target, test } => {
                let Test::Compare(op, operand) = test else { return None };
                if self.key_in_rows(target, test).is_some() {
                    return Some(self.cost_of_rows(target, *op));
                }
                match (self.column(target)?, operand) {
                    (Column::Key { unique, .. }, Operand::Text(text)) => {
                        is_range(*op, text).then(|| cost_of(*op, unique))
                    }
                    (Column::Instant(_), _) => Some(RANGE_COST),
                    (Column::Active, _) => Some(ACTIVE_COST),
                    (Column::Always | Column::Key { .. } | Column::Made(_), _) => None,
                }
            }
        }
    }

    fn test(&mut self, target: &Target, test: &Test, scope: &Scope, probe: bool) -> Fragment {
        match scope {
            Scope::Resource => {
                if let Some((op, key)) = self.key_in_rows(target, test).filter(|_| probe) {
                    return self.found_by_rows(target, op, key);
                }
                if let Some(column) = self.column(target) {
                    return self.column_test(column, target, test, probe);
                }
                if self.is_link(target) {
                    return self.link_test(target, test);
                }
                json::test(&mut self.names, target, test, "r.doc")
            }
            Scope::Object(object) => json::test(&mut self.names, target, test, object),
            Scope::Simple(row) => json::row_test(row, target, test),
            Scope::Link => text_passes(self.link_expression(&target.attribute), false, target, test),
        }
    }

    /// Some element, and the same one throughout, fulfils `inner`.
    fn element(&mut self, target: &Target, inner: &Predicate, scope: &Scope, probe: bool) -> Fragment {
        let key = self.key_of_element(target, inner).filter(|_| probe);
        // What a key finds may still be another element than the one that fulfils the rest.
        let found = key.map(|(op, key)| self.found_by_rows(target, op, key).sql(" AND "));
        let exists = if self.is_link(target) {
            self.link_rows().then(self.condition(inner, &Scope::Link, false)).sql(")")
        } else if target.data_type.is_none() {
            let (rows, object) = json::unknown_elements(&mut self.names, target, scope.document());
            rows.then(self.condition(inner, &Scope::Object(object), false)).sql(")")
        } else {
            let row = self.names.fresh();
            let inside = if target.data_type == Some(Type::Complex) {
                Scope::Object(json::object_of(&row))
            } else {
                Scope::Simple(row.clone())
            };
            json::elements(
                scope.document(),
                &row,
                json::json_path(target.urn.as_deref(), &target.attribute, None),
            )
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
        let key = |name: &'static str, unique: bool, after_kind: bool| Column::Key {
            name,
            folded: false,
            unique,
            after_kind,
        };
        let column = match (target.attribute.as_str(), target.sub.as_deref()) {
            ("id", None) => key("id", true, false),
            ("externalId", None) => key("external_id", false, true),
            ("active", None) if self.kind == Kind::User => Column::Active,
            ("displayName", None) if self.kind == Kind::User => {
                Column::Key { name: "display_key", folded: true, unique: false, after_kind: true }
            }
            (name, None) if name == self.kind.name_attribute() => {
                Column::Key { name: "name_key", folded: true, unique: true, after_kind: true }
            }
            ("meta", None) => Column::Always,
            ("meta", Some("created")) => Column::Instant("created_ms"),
            ("meta", Some("lastModified")) => Column::Instant("modified_ms"),
            ("meta", Some("resourceType")) => Column::Made(Fragment::bound(self.kind.name().to_owned())),
            ("meta", Some("version")) => Column::Made(Fragment::of("('W/\"' || r.version || '\"')")),
            ("meta", Some("location")) => {
                let parent = format!("{}/{}/", self.base_url, self.kind.endpoint());
                Column::Made(Fragment::of("(").bind(parent).sql(" || r.id)"))
            }
            _ => return None,
        };
        match column {
            // A folded key cannot tell what a case-exact attribute is; the document can.
            Column::Key { folded: true, .. } if target.case_exact => None,
            Column::Key { folded: false, name, .. } if !target.case_exact => {
                Some(Column::Made(Fragment::of(format!("r.{name}"))))
            }
            column => Some(column),
        }
    }

    fn column_test(&self, column: Column, target: &Target, test: &Test, probe: bool) -> Fragment {
        match (column, test) {
            (Column::Always | Column::Instant(_), Test::Present) => Fragment::of("1"),
            (Column::Active, Test::Present) => Fragment::of(ACTIVE_PRESENT),
            (Column::Made(sql), test) => text_passes(sql, false, target, test),
            (Column::Key { name, after_kind, .. }, Test::Compare(op, Operand::Text(text))) if probe => {
                self.found_by_column(text_range(&format!("n.{name}"), *op, text), after_kind)
            }
            (Column::Key { name, folded, .. }, test) => {
                text_passes(Fragment::of(format!("+r.{name}")), folded, target, test)
            }
            (Column::Instant(name), Test::Compare(op, Operand::Instant(ms))) if probe => {
                self.found_by_column(Fragment::of(format!("n.{name} {} ", sign(*op))).bind(*ms), true)
            }
            (Column::Instant(name), Test::Compare(op, Operand::Instant(ms))) => {
                Fragment::of(format!("+r.{name} {} ", sign(*op))).bind(*ms)
            }
            (Column::Active, Test::Compare(_, Operand::Bool(active))) if probe => {
                Fragment::of(format!("(r.kind = {} AND r.active = ", kind_code(self.kind)))
                    .bind(i64::from(*active))
                    .sql(said(*active))
                    .sql(")")
            }
            (Column::Active, Test::Compare(_, Operand::Bool(active))) => {
                Fragment::of("(+r.active = ").bind(i64::from(*active)).sql(said(*active)).sql(")")
            }
            // Binding gives no other operand for these types.
            _ => Fragment::of("0"),
        }
    }

    /// The rows that an index of `resources` finds. In a query of its own, so that the planner has no way round
    /// the index: rows in order, or a kind that all alternatives have in common, look better to it.
    fn found_by_column(&self, condition: Fragment, after_kind: bool) -> Fragment {
        let found = Fragment::of("r.seq IN (SELECT n.seq FROM resources AS n WHERE ");
        let kind = if after_kind { format!("n.kind = {} AND ", kind_code(self.kind)) } else { String::new() };
        found.sql(&kind).then(condition).sql(")")
    }

    /// Whether the target lies in the table `members`: a group's members or a user's groups.
    fn is_link(&self, target: &Target) -> bool {
        let name = if self.kind == Kind::User { "groups" } else { "members" };
        target.urn.is_none() && target.attribute == name
    }

    fn is_email(&self, target: &Target) -> bool {
        self.kind == Kind::User && target.urn.is_none() && target.attribute == "emails"
    }

    /// `EXISTS` over the links of a resource, to be closed after a condition on one of them: the members of a group, or
    /// the groups that a user belongs to.
    fn link_rows(&self) -> Fragment {
        Fragment::of(match self.kind {
            Kind::Group => {
                "+EXISTS (SELECT 1 FROM members AS m JOIN resources AS u ON u.seq = m.member WHERE m.grp = r.seq AND "
                    .to_owned()
            }
            Kind::User => format!(
                "+EXISTS (SELECT 1 FROM ({GROUPS_OF_USER}) AS m CROSS JOIN resources AS u ON u.seq = m.grp WHERE "
            ),
        })
    }

    fn link_test(&self, target: &Target, test: &Test) -> Fragment {
        match &target.sub {
            // Whoever is linked has an id, so the link is present; and nobody has indirect groups alone.
            None => Fragment::of(match self.kind {
                Kind::User => "+EXISTS (SELECT 1 FROM members AS m WHERE m.member = r.seq)",
                Kind::Group => "+EXISTS (SELECT 1 FROM members AS m WHERE m.grp = r.seq)",
            }),
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
            ("type", Kind::User) => Fragment::of("m.type"),
            ("$ref", _) => Fragment::of("(")
                .bind(self.base_url.to_owned())
                .sql(" || (CASE u.kind WHEN 1 THEN '/Users/' ELSE '/Groups/' END) || u.id)"),
            _ => Fragment::of("NULL"),
        }
    }

    /// The operator and key when a table beside `resources` finds the rows: `emails.value`, `members.value` and
    /// `groups.value`.
    fn key_in_rows<'t>(&self, target: &Target, test: &'t Test) -> Option<(CompareOp, &'t str)> {
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

    fn cost_of_rows(&self, target: &Target, op: CompareOp) -> u8 {
        // A user is in few groups, but a group may have every user.
        if self.kind == Kind::User && self.is_link(target) { PREFIX_COST } else { cost_of(op, false) }
    }

    /// The rows that another table finds by the key.
    fn found_by_rows(&self, target: &Target, op: CompareOp, key: &str) -> Fragment {
        if self.is_email(target) {
            return Fragment::of("r.seq IN (SELECT e.resource FROM emails AS e WHERE ")
                .then(text_range("e.value_key", op, key))
                .sql(")");
        }
        // CROSS JOIN: from the one resource with this id to its links, never the other way round.
        match self.kind {
            Kind::Group => Fragment::of(
                "r.seq IN (SELECT m.grp FROM resources AS u CROSS JOIN members AS m ON m.member = u.seq WHERE u.id = ",
            )
            .bind(key.to_owned())
            .sql(")"),
            // Who belongs to a group is in it, or in one that is in it, and so on.
            Kind::User => Fragment::of(
                "r.seq IN (WITH RECURSIVE down (grp) AS (SELECT u.seq FROM resources AS u WHERE u.id = ",
            )
            .bind(key.to_owned())
            .sql(
                " UNION SELECT n.member FROM down CROSS JOIN nestings AS n ON n.grp = down.grp) \
                 SELECT m.member FROM down CROSS JOIN members AS m ON m.grp = down.grp)",
            ),
        }
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

/// The cost of finding a text: least where it is the whole key.
fn cost_of(op: CompareOp, unique: bool) -> u8 {
    match op {
        CompareOp::Eq if unique => 0,
        CompareOp::Eq => 1,
        CompareOp::Sw => PREFIX_COST,
        _ => RANGE_COST,
    }
}

/// Who has no `active` may not log in, as the column has it, but is not `active eq false` either.
fn said(active: bool) -> &'static str {
    if active { "" } else { " AND +r.doc ->> '$.active' IS NOT NULL" }
}

//! Pieces of SQL that carry their values, and how texts are compared in them.

use rusqlite::types::Value;

use crate::scim::filter::CompareOp;
use crate::scim::predicate::{Operand, Target, Test};

/// A piece of SQL and the values for its `?`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fragment {
    pub(super) text: String,
    pub(super) params: Vec<Value>,
}

impl Fragment {
    pub(super) fn of(text: impl Into<String>) -> Fragment {
        Fragment { text: text.into(), params: Vec::new() }
    }

    pub(super) fn bound(value: impl Into<Value>) -> Fragment {
        Fragment { text: "?".to_owned(), params: vec![value.into()] }
    }

    pub(super) fn sql(mut self, text: &str) -> Fragment {
        self.text.push_str(text);
        self
    }

    pub(super) fn then(mut self, next: Fragment) -> Fragment {
        self.text.push_str(&next.text);
        self.params.extend(next.params);
        self
    }

    pub(super) fn bind(self, value: impl Into<Value>) -> Fragment {
        self.then(Fragment::bound(value))
    }
}

/// Joins in a tree of halves: SQLite bounds the depth of an expression, and a chain is as deep as it is long.
pub(super) fn join(mut parts: Vec<Fragment>, joint: &str, none: &str) -> Fragment {
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

pub(super) fn is_range(op: CompareOp, text: &str) -> bool {
    match op {
        CompareOp::Eq | CompareOp::Gt | CompareOp::Ge | CompareOp::Lt | CompareOp::Le => true,
        CompareOp::Sw => !text.is_empty(),
        CompareOp::Ne | CompareOp::Co | CompareOp::Ew => false,
    }
}

/// A comparison of a column in the form that an index serves.
pub(super) fn text_range(column: &str, op: CompareOp, text: &str) -> Fragment {
    let compare = |sign: &str, text: String| Fragment::of(format!("{column} {sign} ")).bind(text);
    match (op, after_prefix(text)) {
        (CompareOp::Sw, Some(end)) => compare(">=", text.to_owned()).sql(" AND ").then(compare("<", end)),
        (CompareOp::Sw, None) => compare(">=", text.to_owned()),
        _ => compare(sign(op), text.to_owned()),
    }
}

/// The first text, by code point, after all that begin with `prefix`; `None` when there is none.
pub(super) fn after_prefix(prefix: &str) -> Option<String> {
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
pub(super) fn text_passes(sql: Fragment, folded: bool, target: &Target, test: &Test) -> Fragment {
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

pub(super) fn sign(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Gt => ">",
        CompareOp::Ge => ">=",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        // The rest are not written with a sign and never come here.
        CompareOp::Eq | CompareOp::Ne | CompareOp::Co | CompareOp::Sw | CompareOp::Ew => "=",
    }
}

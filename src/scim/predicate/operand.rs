//! The literal of a comparison as the attribute's type compares: which operators a type takes, and what a literal of
//! another type is taken for. Where the attribute is found is told in the module above.

use crate::scim::Error;
use crate::scim::datetime;
use crate::scim::filter::{AttrPath, CompareOp, Literal};
use crate::scim::fold::fold;
use crate::scim::predicate::{Operand, Target, refuse};
use crate::scim::schema::Type;

/// Converts the literal to what the target's type compares with.
pub(super) fn operand(
    path: &AttrPath,
    target: &Target,
    op: CompareOp,
    literal: &Literal,
) -> Result<Operand, Error> {
    let fold_unless_exact =
        |text: &str| Operand::Text(if target.case_exact { text.to_owned() } else { fold(text) });
    let no = |what: &str| Err(refuse(path, what));
    match target.data_type {
        Some(Type::Boolean) => match (op, as_bool(literal)) {
            (CompareOp::Eq, Some(value)) => Ok(Operand::Bool(value)),
            (CompareOp::Eq, None) => no("with something else than true or false, which are its only values"),
            _ => no(&format!("by {op}; true and false take only eq, ne and pr")),
        },
        Some(Type::Decimal | Type::Integer) => match as_number(literal) {
            _ if is_part(op) => no(&format!("by {op}; a number takes only eq, ne, gt, ge, lt, le and pr")),
            Some(value) => Ok(Operand::Number(value)),
            None => no("with something else than a number"),
        },
        Some(Type::DateTime) => match as_instant(literal) {
            _ if is_part(op) => no(&format!("by {op}; a date takes only eq, ne, gt, ge, lt, le and pr")),
            Some(value) => Ok(Operand::Instant(value)),
            None => no("with something else than a date such as \"2026-01-01T00:00:00Z\""),
        },
        Some(Type::Binary) if is_order(op) => no(&format!("by {op}; binary data has no order")),
        Some(Type::String | Type::Reference | Type::Binary | Type::Complex) => match literal {
            Literal::Text(text) => Ok(fold_unless_exact(text)),
            Literal::Number(number) => Ok(fold_unless_exact(&number.to_string())),
            Literal::Bool(_) | Literal::Null => no("with something else than a text in double quotes"),
        },
        None => match literal {
            Literal::Text(text) => Ok(fold_unless_exact(text)),
            Literal::Number(number) if is_part(op) => Ok(fold_unless_exact(&number.to_string())),
            Literal::Number(_) => {
                as_number(literal).map_or_else(|| no("with no number"), |n| Ok(Operand::Number(n)))
            }
            Literal::Bool(value) if op == CompareOp::Eq => Ok(Operand::Bool(*value)),
            Literal::Bool(_) => no(&format!("by {op}; true and false take only eq, ne and pr")),
            Literal::Null => no("with null"),
        },
    }
}

fn is_part(op: CompareOp) -> bool {
    matches!(op, CompareOp::Co | CompareOp::Sw | CompareOp::Ew)
}

fn is_order(op: CompareOp) -> bool {
    matches!(op, CompareOp::Gt | CompareOp::Ge | CompareOp::Lt | CompareOp::Le)
}

fn as_bool(literal: &Literal) -> Option<bool> {
    match literal {
        Literal::Bool(value) => Some(*value),
        Literal::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Literal::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Literal::Text(_) | Literal::Number(_) | Literal::Null => None,
    }
}

fn as_number(literal: &Literal) -> Option<f64> {
    match literal {
        Literal::Number(number) => number.as_f64(),
        Literal::Text(text) => serde_json::from_str::<serde_json::Number>(text).ok()?.as_f64(),
        Literal::Bool(_) | Literal::Null => None,
    }
}

fn as_instant(literal: &Literal) -> Option<i64> {
    match literal {
        Literal::Text(text) => datetime::parse(text),
        Literal::Number(_) | Literal::Bool(_) | Literal::Null => None,
    }
}

//! What clients send off the standard and is taken all the same: each with the client, the source and the test.
//!
//! A leniency that is not named here is a defect. The rest of `scim` calls these functions where the RFC would
//! have refused.

use serde_json::{Map, Value};

use crate::scim::filter::{CompareOp, Filter, Literal};

/// Entra ID sends booleans as text, `"True"` and `"False"` (SCIM-SDK #416, SCIMMY #51; Microsoft's
/// `aadOptscim062020` notes). Test: `booleans_and_numbers_sent_as_text_are_taken`.
pub fn boolean_from_text(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Entra ID sends `manager` as a plain string, and some clients a list of plain addresses as `emails`
/// (scim2-models #62). Test: `a_plain_string_stands_for_the_value_of_a_complex_attribute`.
pub fn plain_value(text: String) -> Map<String, Value> {
    let mut element = Map::new();
    element.insert("value".to_owned(), Value::String(text));
    element
}

/// Okta's path-less replace carries the group's own `id` before every membership change (Okta SCIM 2.0
/// reference, "Update a specific group name"; Metatavu/keycloak-scim-server #113), and its PUT echoes `meta`
/// and `groups`. In a value that names several attributes the read-only ones are passed over; named by `path`
/// they are refused. Test: `read_only_attributes_in_a_value_are_passed_over_and_by_path_refused`.
pub fn passes_over_read_only_in_values() -> bool {
    true
}

/// Entra ID replaces `emails[type eq "work"].value` where no such element is yet and expects it to be made
/// (Microsoft, "Known issues and resolutions with SCIM 2.0 protocol compliance"). Gives the element that the
/// filter describes, when it is made of nothing but equalities; RFC 7644 §3.5.2.3 would answer `noTarget`.
/// Test: `a_missing_element_is_made_from_the_equalities_of_its_filter`.
pub fn element_described_by(filter: &Filter) -> Option<Map<String, Value>> {
    let mut element = Map::new();
    describe(filter, &mut element).then_some(element)
}

fn describe(filter: &Filter, element: &mut Map<String, Value>) -> bool {
    match filter {
        Filter::Compare { path, op: CompareOp::Eq, literal } if path.urn.is_none() && path.sub.is_none() => {
            let value = match literal {
                Literal::Text(text) => Value::String(text.clone()),
                Literal::Bool(flag) => Value::Bool(*flag),
                Literal::Number(number) => Value::Number(number.clone()),
                Literal::Null => return false,
            };
            element.insert(path.name.clone(), value);
            true
        }
        Filter::And(parts) => parts.iter().all(|part| describe(part, element)),
        Filter::Compare { .. }
        | Filter::Present(_)
        | Filter::Or(_)
        | Filter::Not(_)
        | Filter::ValuePath { .. } => false,
    }
}

/// Entra ID removes members with `path: "members"` and the ids in `value`; RFC 7644 §3.5.2.2 knows no value with
/// `remove` and would empty the group (langwatch #7136). Test: `remove_with_a_value_removes_only_that`.
pub fn removes_only_the_values_sent() -> bool {
    true
}

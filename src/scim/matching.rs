//! Whether a resource, or an element of a multi-valued attribute, fulfils a predicate: the plain reading, in
//! memory.
//!
//! PATCH chooses elements with it, and it is the measure for the store's SQL, which must select exactly the
//! resources that match here. What a filter means is decided in [`crate::scim::predicate`].

use serde_json::Value;

use crate::scim::datetime;
use crate::scim::filter::CompareOp;
use crate::scim::fold::fold;
use crate::scim::predicate::{Operand, Predicate, Target, Test};

/// Whether `value` fulfils the predicate.
///
/// `value` is a whole resource as a client sees it (with `id`, `meta`, and `groups` or `members`) for a
/// predicate made by [`crate::scim::predicate::bind`], else an element.
pub fn matches(predicate: &Predicate, value: &Value) -> bool {
    match predicate {
        Predicate::And(parts) => parts.iter().all(|part| matches(part, value)),
        Predicate::Or(parts) => parts.iter().any(|part| matches(part, value)),
        Predicate::Not(inner) => !matches(inner, value),
        Predicate::Test { target, test } => {
            values(target, value).into_iter().any(|found| passes(test, target, found))
        }
        Predicate::Element { target, inner } => {
            values(target, value).into_iter().any(|element| !element.is_null() && matches(inner, element))
        }
    }
}

/// Whether the value is more than null, an empty text, or a structure of nothing but these (RFC 7644
/// §3.4.2.2, `pr`).
pub fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => elements.iter().any(is_present),
        Value::Object(members) => members.values().any(is_present),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Whether two texts stand in this relation; `ne` included.
pub fn compare_texts(left: &str, op: CompareOp, right: &str) -> bool {
    match op {
        CompareOp::Eq => left == right,
        CompareOp::Ne => left != right,
        CompareOp::Co => left.contains(right),
        CompareOp::Sw => left.starts_with(right),
        CompareOp::Ew => left.ends_with(right),
        // Order by bytes of UTF-8 is order by code point.
        CompareOp::Gt => left > right,
        CompareOp::Ge => left >= right,
        CompareOp::Lt => left < right,
        CompareOp::Le => left <= right,
    }
}

/// Every value that the target finds; a predicate is fulfilled when any of them passes.
pub(super) fn values<'a>(target: &Target, value: &'a Value) -> Vec<&'a Value> {
    if target.data_type.is_none() {
        return unknown_values(target, value);
    }
    let base = match &target.urn {
        Some(urn) => value.get(urn),
        None => Some(value),
    };
    let attribute = base.and_then(|base| match target.attribute.as_str() {
        "" => Some(base),
        "value" if is_simple(base) => Some(base),
        name => base.get(name),
    });
    let found: Vec<&Value> = match attribute {
        None => Vec::new(),
        Some(attribute) if target.multi_valued => {
            attribute.as_array().map_or_else(Vec::new, |all| all.iter().collect())
        }
        Some(attribute) => vec![attribute],
    };
    match &target.sub {
        Some(sub) => found.into_iter().filter_map(|element| element.get(sub)).collect(),
        None => found,
    }
}

fn unknown_values<'a>(target: &Target, value: &'a Value) -> Vec<&'a Value> {
    let bases = match &target.urn {
        Some(urn) => members_named(value, urn),
        None => vec![value],
    };
    if target.attribute.is_empty() {
        return bases;
    }
    let itself = |base: &&Value| {
        target.urn.is_none() && is_simple(base) && target.attribute.eq_ignore_ascii_case("value")
    };
    let found = bases
        .into_iter()
        .flat_map(|base| if itself(&base) { vec![base] } else { members_named(base, &target.attribute) });
    let found = found.flat_map(elements);
    match &target.sub {
        Some(sub) => found.flat_map(|element| members_named(element, sub)).flat_map(elements).collect(),
        None => found.collect(),
    }
}

/// The members of an object that have this name in any case; nothing keeps a client from sending two.
fn members_named<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let members = value.as_object().into_iter().flatten();
    members.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, member)| member).collect()
}

/// The elements of an array; anything else is its own only element.
fn elements(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())
}

/// A text, number or boolean: something that can be its own `value`.
fn is_simple(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

fn passes(test: &Test, target: &Target, value: &Value) -> bool {
    let Test::Compare(op, operand) = test else { return is_present(value) };
    match operand {
        Operand::Text(right) => value.as_str().is_some_and(|left| {
            if target.case_exact {
                compare_texts(left, *op, right)
            } else {
                compare_texts(&fold(left), *op, right)
            }
        }),
        Operand::Bool(right) => value.as_bool().is_some_and(|left| left == *right),
        Operand::Number(right) => value.as_f64().is_some_and(|left| compare_sizes(&left, *op, right)),
        Operand::Instant(right) => {
            value.as_str().and_then(datetime::parse).is_some_and(|left| compare_sizes(&left, *op, right))
        }
    }
}

fn compare_sizes<T: PartialOrd>(left: &T, op: CompareOp, right: &T) -> bool {
    match op {
        CompareOp::Eq => left == right,
        CompareOp::Ne => left != right,
        CompareOp::Gt => left > right,
        CompareOp::Ge => left >= right,
        CompareOp::Lt => left < right,
        CompareOp::Le => left <= right,
        // Binding refuses these for numbers and instants.
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Kind;
    use crate::scim::filter::{Bounds, Filter};
    use crate::scim::predicate::{bind, bind_element, bind_unknown_element};
    use crate::scim::schema::Schemas;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

    fn person() -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": "2819c223", "externalId": "00uJensen", "userName": "BJensen@Example.com",
            "name": { "familyName": "Jensén", "givenName": "Barbara", "middleName": "" },
            "title": "", "nickName": null, "active": true,
            "emails": [
                { "value": "bjensen@example.com", "type": "work", "primary": true },
                { "value": "babs@jensen.org", "type": "home" }
            ],
            "roles": [], "addresses": [{ "region": "" }],
            "meta": { "resourceType": "User", "created": "2026-01-01T00:00:00.000Z" },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
                { "department": "Tour Operations", "manager": { "value": "26118915" } },
            "urn:acme:1.0:User": {
                "size": "XL", "Floors": [1, 2.5, "three"], "vip": true, "when": "2026-01-01T00:00:00Z",
                "desk": { "no": 12 }, "keys": [{ "id": "a" }, { "id": ["b", "c"] }], "tags": ["x", "Y"], "none": null
            }
        })
    }

    fn selects(text: &str) -> bool {
        let filter = Filter::parse(text, BOUNDS).unwrap();
        matches(&bind(&filter, Schemas::builtin().unwrap().of(Kind::User)).unwrap(), &person())
    }

    #[test]
    fn these_filters_match() {
        for text in [
            r#"userName eq "bjensen@EXAMPLE.com""#,
            r#"userName co "jensen@" and userName sw "BJ" and userName ew ".COM""#,
            r#"userName co "" and userName sw "" and userName ew """#,
            r#"externalId eq "00uJensen""#,
            r#"id eq "2819c223" and id gt "2819""#,
            r#"name.familyName eq "JENSE\u0301N""#,
            r#"name.familyName gt "jensen" and name.familyName le "JENSÉN""#,
            r#"active eq true and active ne false"#,
            r#"emails eq "BABS@jensen.org" and emails.type eq "work""#,
            r#"emails[type eq "work" and value sw "bjensen"]"#,
            r#"emails[not (primary eq true)]"#,
            r#"meta.created ge "2026-01-01T01:00:00+01:00" and meta.created lt "2026-01-02T00:00:00Z""#,
            r#"schemas eq "urn:ietf:params:scim:schemas:core:2.0:User""#,
            r#"schemas[value ew "User"]"#,
            r#"name pr and emails pr and meta pr"#,
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department co "tour""#,
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "26118915""#,
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr"#,
            r#"title eq "" and title ne "x" and nickName ne "x""#,
        ] {
            assert!(selects(text), "{text}");
        }
    }

    #[test]
    fn these_filters_do_not_match() {
        for text in [
            r#"userName eq "bjensen""#,
            r#"externalId eq "00ujensen""#,
            r#"emails[type eq "home" and value sw "bjensen"]"#,
            r#"emails ne "babs@jensen.org""#,
            r#"title pr or nickName pr or roles pr or addresses pr or name.middleName pr or displayName pr"#,
            r#"nickName eq "" or displayName co """#,
            r#"active eq false"#,
            r#"meta.created gt "2026-01-01T00:00:00Z""#,
            r#"not (userName pr)"#,
            r#"roles[not (value eq "x")]"#,
        ] {
            assert!(!selects(text), "{text}");
        }
    }

    #[test]
    fn unknown_attributes_are_compared_by_what_they_are() {
        for text in [
            r#"size eq "xl""#,
            r#"SIZE sw "x""#,
            r#"floors eq 1"#,
            r#"floors gt 2"#,
            r#"floors eq "THREE""#,
            r#"vip eq true"#,
            r#"desk.no ge 12"#,
            r#"DESK.NO eq 12.0"#,
            r#"keys.id eq "A""#,
            r#"keys.id eq "c""#,
            r#"desk pr"#,
            r#"when lt "2027""#,
            r#"desk ne "x""#,
            r#"keys[id eq "b"]"#,
            r#"tags[value eq "y"]"#,
            r#"floors[value gt 2]"#,
            r#"none eq null"#,
        ] {
            let text = format!("urn:acme:1.0:user:{text}");
            assert!(selects(&text), "{text}");
        }
        for text in [
            r#"size eq "x""#,
            r#"floors eq 3"#,
            r#"vip eq "true""#,
            r#"size gt 5"#,
            r#"desk eq "12""#,
            r#"keys co "a""#,
            r#"keys[id eq "a" and id eq "b"]"#,
            r#"none pr"#,
            r#"none[not (a eq 1)]"#,
            r#"nothing pr"#,
        ] {
            let text = format!("urn:acme:1.0:user:{text}");
            assert!(!selects(&text), "{text}");
        }
        assert!(selects("urn:ACME:1.0:User pr"));
        assert!(!selects("urn:acme:2.0 pr"));
    }

    #[test]
    fn elements_are_chosen_for_patch() {
        let schemas = Schemas::builtin().unwrap();
        let emails = schemas.of(Kind::User).attribute("emails").unwrap();
        let filter = Filter::parse(r#"type eq "WORK""#, BOUNDS).unwrap();
        let work = bind_element(&filter, emails).unwrap();
        assert!(matches(&work, &json!({ "type": "work" })));
        assert!(!matches(&work, &json!({ "type": "home" })));
        let filter = Filter::parse(r#"value eq "a" or Id eq 5"#, BOUNDS).unwrap();
        let unknown = bind_unknown_element(&filter).unwrap();
        assert!(matches(&unknown, &json!("A")));
        assert!(matches(&unknown, &json!({ "ID": 5 })));
        assert!(!matches(&unknown, &json!({ "ID": "5" })));
    }
}

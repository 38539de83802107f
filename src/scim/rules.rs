//! What the schema asks of a resource as a whole, and of a change from what was stored: `required` and `immutable`
//! (RFC 7643 §2.2). What one value must look like is told in `resource`.
//!
//! A schema may be younger than what is stored. What a stored resource lacks it may go on lacking, so that nobody is
//! kept from being deactivated by a rule that is younger than they are.

use serde_json::{Map, Value};

use crate::scim::resource::in_order;
use crate::scim::schema::{Attribute, Extension, Mutability, ResourceSchema, Returned, Type, Uniqueness};
use crate::scim::{Error, fold};

/// Refuses a resource that lacks what is required: an extension, an attribute of an extension that it has, or a
/// sub-attribute. `held` is the resource as it was stored, where it was. (The core attributes are looked at in
/// [`crate::scim::resource::finish`].)
///
/// # Errors
/// 400 `invalidValue` that names what is missing.
pub fn check_required(
    doc: &Map<String, Value>,
    held: Option<&Map<String, Value>>,
    schema: &ResourceSchema,
) -> Result<(), Error> {
    for attribute in &schema.core.attributes {
        check_parts(attribute, doc, held, &attribute.name)?;
    }
    for extension in &schema.extensions {
        let before = held.and_then(|held| held.get(&extension.id)).and_then(Value::as_object);
        match doc.get(&extension.id).and_then(Value::as_object) {
            Some(inside) => check_inside(extension, inside, before)?,
            None if extension.required && (held.is_none() || before.is_some()) => {
                return Err(Error::invalid_value(format!(
                    "A {} must have the extension {}.",
                    schema.kind.noun(),
                    extension.id
                )));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_inside(
    extension: &Extension,
    inside: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<(), Error> {
    for attribute in &extension.attributes {
        let name = &attribute.name;
        if attribute.required && is_blank(inside.get(name)) && before.is_none_or(|it| it.contains_key(name)) {
            return Err(Error::invalid_value(format!("{name} of {} must have a value.", extension.id)));
        }
        check_parts(attribute, inside, before, name)?;
    }
    Ok(())
}

/// Looks for required sub-attributes in every value that was not so before.
fn check_parts(
    attribute: &Attribute,
    doc: &Map<String, Value>,
    held: Option<&Map<String, Value>>,
    place: &str,
) -> Result<(), Error> {
    if !attribute.sub_attributes.iter().any(|sub| sub.required) {
        return Ok(());
    }
    let before = held.and_then(|held| held.get(&attribute.name)).map(elements).unwrap_or_default();
    let new = doc.get(&attribute.name).map(elements).unwrap_or_default();
    for element in new.iter().filter(|element| !before.contains(element)) {
        for sub in attribute.sub_attributes.iter().filter(|sub| sub.required) {
            if is_blank(element.get(&sub.name)) {
                return Err(Error::invalid_value(format!("{place}.{} must have a value.", sub.name)));
            }
        }
    }
    Ok(())
}

fn is_blank(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.as_str().is_some_and(|text| text.trim().is_empty()))
}

/// The elements of a multi-valued attribute; a single value is its only one.
fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// What becomes of an immutable attribute that is set and that the new document does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It stays as it was: PUT, whose body need not repeat what cannot be changed (RFC 7644 §3.5.1).
    Stays,
    /// It was taken away, which cannot be: PATCH (RFC 7644 §3.5.2.2).
    Refused,
}

/// Refuses a change of what is immutable and set, also inside complex values. Gives whether something was put back
/// into the document, which is then to be finished anew.
///
/// # Errors
/// 400 `mutability` that names the attribute.
pub fn keep_immutable(
    held: &Map<String, Value>,
    doc: &mut Map<String, Value>,
    schema: &ResourceSchema,
    missing: Missing,
) -> Result<bool, Error> {
    if !schema.has_immutable {
        return Ok(false);
    }
    let mut stayed = keep_in(&schema.core.attributes, held, doc, missing, "")?;
    for extension in schema.extensions.iter().filter(|it| it.attributes.iter().any(Attribute::has_immutable))
    {
        let Some(before) = held.get(&extension.id).and_then(Value::as_object) else { continue };
        let mut inside = match doc.get_mut(&extension.id).map(Value::take) {
            Some(Value::Object(inside)) => inside,
            _ => Map::new(),
        };
        stayed |= keep_in(&extension.attributes, before, &mut inside, missing, &extension.id)?;
        if !inside.is_empty() {
            doc.insert(extension.id.clone(), Value::Object(in_order(inside, &extension.attributes)));
        }
    }
    Ok(stayed)
}

fn keep_in(
    attributes: &[Attribute],
    held: &Map<String, Value>,
    doc: &mut Map<String, Value>,
    missing: Missing,
    within: &str,
) -> Result<bool, Error> {
    let mut stayed = false;
    for attribute in attributes.iter().filter(|attribute| attribute.has_immutable()) {
        let name = &attribute.name;
        let Some(before) = held.get(name) else { continue };
        if attribute.mutability != Mutability::Immutable {
            if let Some(now) = doc.get_mut(name) {
                stayed |= keep_parts(attribute, before, now, missing)?;
            }
            continue;
        }
        match doc.get(name) {
            Some(now) if now == before => {}
            None if missing == Missing::Stays => {
                doc.insert(name.clone(), before.clone());
                stayed = true;
            }
            Some(_) | None => return Err(refusal(name, within)),
        }
    }
    Ok(stayed)
}

/// Inside a complex value: of a multi-valued one, elements with the same `value` are the same.
fn keep_parts(
    attribute: &Attribute,
    before: &Value,
    now: &mut Value,
    missing: Missing,
) -> Result<bool, Error> {
    if attribute.data_type != Type::Complex {
        return Ok(false);
    }
    let keep = |before: &Value, now: &mut Value| match (before.as_object(), now.as_object_mut()) {
        (Some(before), Some(now)) => {
            keep_in(&attribute.sub_attributes, before, now, missing, &attribute.name)
        }
        _ => Ok(false),
    };
    let Value::Array(elements_now) = now else { return keep(before, now) };
    let mut stayed = false;
    for now in elements_now {
        let value = now.get("value").cloned();
        let same = |before: &&Value| value.is_some() && before.get("value") == value.as_ref();
        if let Some(before) = elements(before).iter().find(same) {
            stayed |= keep(before, now)?;
        }
    }
    Ok(stayed)
}

fn refusal(name: &str, within: &str) -> Error {
    let of = if within.is_empty() { String::new() } else { format!(" of {within}") };
    Error::mutability(format!("{name}{of} is immutable: once set, it can be neither changed nor removed."))
}

/// An attribute of a tenant's own whose value one resource of the kind may have (`uniqueness: server`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The extension's URN, a colon, the attribute's name.
    pub attribute: String,
    /// The extension's URN.
    pub urn: String,
    /// The attribute's name.
    pub name: String,
    /// Whether texts that differ in case are different.
    pub case_exact: bool,
}

/// A change of the value of a unique attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueValue<'a> {
    /// As [`Unique::attribute`].
    pub attribute: &'a str,
    /// The attribute's name.
    pub name: &'a str,
    /// What was stored, as it is compared.
    pub before: Option<String>,
    /// What is to be stored, as it is compared.
    pub now: Option<String>,
}

/// The attributes of extensions that are unique. (Those of the core schemas have indexes of their own.)
pub fn unique_attributes(extensions: &[Extension]) -> Vec<Unique> {
    let mut found = Vec::new();
    for extension in extensions {
        let unique = |attribute: &&Attribute| attribute.uniqueness == Uniqueness::Server;
        found.extend(extension.attributes.iter().filter(unique).map(|attribute| Unique {
            attribute: format!("{}:{}", extension.id, attribute.name),
            urn: extension.id.clone(),
            name: attribute.name.clone(),
            case_exact: attribute.case_exact,
        }));
    }
    found
}

/// The changes of unique values between two documents. What stays is none, so that a resource which shared its value
/// with another before the attribute was declared unique can still be changed.
pub fn unique_changes<'a>(
    held: Option<&Map<String, Value>>,
    doc: &Map<String, Value>,
    unique: &'a [Unique],
) -> Vec<UniqueValue<'a>> {
    let value = |map: &Map<String, Value>, unique: &Unique| {
        let text = match map.get(&unique.urn)?.get(&unique.name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(if unique.case_exact { text } else { fold::fold(&text) })
    };
    let changes = unique.iter().map(|unique| UniqueValue {
        attribute: &unique.attribute,
        name: &unique.name,
        before: held.and_then(|held| value(held, unique)),
        now: value(doc, unique),
    });
    changes.filter(|change| change.before != change.now).collect()
}

/// Whether a change touches something that is returned on request only: the answer then shows it (RFC 7643 §2.2).
pub fn changes_what_is_on_request(
    held: &Map<String, Value>,
    doc: &Map<String, Value>,
    schema: &ResourceSchema,
) -> bool {
    let differs =
        |attributes: &[Attribute], held: Option<&Map<String, Value>>, doc: Option<&Map<String, Value>>| {
            let on_request = |attribute: &&Attribute| {
                attribute.returned == Returned::Request
                    || attribute.sub_attributes.iter().any(|sub| sub.returned == Returned::Request)
            };
            attributes.iter().filter(on_request).any(|attribute| {
                let value =
                    |map: Option<&Map<String, Value>>| map.and_then(|map| map.get(&attribute.name)).cloned();
                value(held) != value(doc)
            })
        };
    let inside = |map: &'_ Map<String, Value>, id: &str| map.get(id).and_then(Value::as_object).cloned();
    differs(&schema.core.attributes, Some(held), Some(doc))
        || schema.extensions.iter().any(|extension| {
            differs(
                &extension.attributes,
                inside(held, &extension.id).as_ref(),
                inside(doc, &extension.id).as_ref(),
            )
        })
}

/// Whether a text is base64 (RFC 4648). Blanks and line ends, a missing padding and the alphabet for URLs are taken
/// unless `exact`: certificates come in all of these forms.
pub fn is_base64(text: &str, exact: bool) -> bool {
    let bytes: Vec<u8> =
        text.bytes().filter(|byte| exact || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).collect();
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let data = &bytes[..bytes.len() - padding];
    let known = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') || (!exact && matches!(byte, b'-' | b'_'))
    };
    let has = |some: &[u8]| data.iter().any(|byte| some.contains(byte));
    let mixed = has(b"+/") && has(b"-_");
    let whole = bytes.len().is_multiple_of(4) && padding <= 2;
    let right_length = if padding > 0 || exact { whole } else { data.len() % 4 != 1 };
    !data.is_empty() && data.iter().all(known) && !mixed && right_length
}

/// Whether a text can be the value of a reference with these types (RFC 7643 §2.3.7): a URI, absolute unless it
/// points to a resource, and then, to one of the types named.
pub fn is_reference(text: &str, types: &[String]) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let escapes_are_right = text
        .split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    if text.is_empty() || !text.bytes().all(plain) || !escapes_are_right {
        return false;
    }
    let is_absolute = text.split_once(':').is_some_and(|(scheme, rest)| {
        let letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let right = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        letter && scheme.bytes().all(right) && !rest.is_empty()
    });
    let to_resource = |kind: &String| {
        let mut segments = text.split('/').rev();
        let id = segments.next().is_some_and(|id| !id.is_empty());
        id && segments.next().is_some_and(|plural| {
            plural.len() == kind.len() + 1 && plural.starts_with(kind.as_str()) && plural.ends_with('s')
        })
    };
    types.iter().any(|kind| match kind.as_str() {
        "external" | "uri" => is_absolute,
        _ => to_resource(kind),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scim::Kind;
    use crate::scim::schema::{Extension, Schemas, own};
    use serde_json::json;

    const ACME: &str = "urn:acme:1.0:User";

    fn schema(required: bool) -> ResourceSchema {
        let text = json!({ "id": ACME, "name": "Acme", "attributes": [
            { "name": "code", "type": "string", "required": true },
            { "name": "badge", "type": "string", "mutability": "immutable" },
            { "name": "notes", "type": "string", "returned": "request" },
            { "name": "desks", "type": "complex", "multiValued": true, "subAttributes": [
                { "name": "value", "type": "string", "required": true },
                { "name": "floor", "type": "integer", "mutability": "immutable" },
                { "name": "kind", "type": "string", "required": true } ] },
        ] });
        let extension = Extension { schema: Arc::new(own::from_json(&text.to_string()).unwrap()), required };
        let builtin = Schemas::builtin().unwrap();
        builtin.with_own(vec![(Kind::User, extension)], Vec::new()).unwrap().of(Kind::User).clone()
    }

    fn doc(inside: Value) -> Map<String, Value> {
        let doc = if inside.is_null() {
            json!({ "userName": "a" })
        } else {
            json!({ "userName": "a", ACME: inside })
        };
        doc.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_required_is_there_unless_the_stored_one_lacked_it() {
        let schema = schema(false);
        let check = |now: Value, held: Option<Value>| {
            check_required(&doc(now), held.map(doc).as_ref(), &schema).map_err(|error| error.detail)
        };
        assert!(check(Value::Null, None).is_ok());
        assert!(
            check(json!({ "badge": "b" }), None).unwrap_err().starts_with("code of urn:acme:1.0:User must")
        );
        assert!(check(json!({ "code": "c" }), None).is_ok());
        assert!(check(json!({ "badge": "b" }), Some(Value::Null)).is_err());
        assert!(check(json!({ "badge": "b" }), Some(json!({ "badge": "a" }))).is_ok());
        assert!(check(json!({ "badge": "b" }), Some(json!({ "code": "c" }))).is_err());
        let desk = json!({ "code": "c", "desks": [{ "value": "1" }] });
        assert_eq!(check(desk.clone(), None).unwrap_err(), "desks.kind must have a value.");
        assert!(check(desk.clone(), Some(desk)).is_ok());
    }

    #[test]
    fn a_required_extension_is_there_unless_the_stored_one_lacked_it() {
        let schema = schema(true);
        let check =
            |now: Value, held: Option<Value>| check_required(&doc(now), held.map(doc).as_ref(), &schema);
        assert!(check(Value::Null, None).unwrap_err().detail.contains(ACME));
        assert!(check(Value::Null, Some(Value::Null)).is_ok());
        assert!(check(Value::Null, Some(json!({ "code": "c" }))).is_err());
    }

    #[test]
    fn what_is_immutable_is_set_once_also_inside() {
        let schema = schema(false);
        let kept = |held: Value, now: Value, missing| {
            let mut now = doc(now);
            keep_immutable(&doc(held), &mut now, &schema, missing).map(|_| now.remove(ACME))
        };
        let (set, other) = (json!({ "badge": "1" }), json!({ "badge": "2" }));
        assert!(kept(json!({ "code": "c" }), set.clone(), Missing::Refused).is_ok());
        for missing in [Missing::Stays, Missing::Refused] {
            let refused = kept(set.clone(), other.clone(), missing).unwrap_err();
            assert!(refused.detail.contains("badge of urn:acme:1.0:User is immutable"), "{refused}");
        }
        let stays = kept(set.clone(), json!({ "code": "c" }), Missing::Stays).unwrap();
        assert_eq!(stays, Some(json!({ "code": "c", "badge": "1" })));
        assert_eq!(kept(set.clone(), Value::Null, Missing::Stays).unwrap(), Some(set.clone()));
        assert!(kept(set, Value::Null, Missing::Refused).is_err());
        let desk = |value: &str, floor: i64| json!({ "desks": [{ "value": value, "floor": floor }] });
        assert!(kept(desk("1", 2), desk("1", 3), Missing::Stays).is_err());
        assert!(kept(desk("1", 2), desk("9", 3), Missing::Stays).is_ok());
    }

    #[test]
    fn a_unique_value_that_stays_is_no_change() {
        let unique = [Unique {
            attribute: format!("{ACME}:badge"),
            urn: ACME.to_owned(),
            name: "badge".to_owned(),
            case_exact: false,
        }];
        let changes = |held: Option<Value>, now: Value| {
            let changes = unique_changes(held.map(doc).as_ref(), &doc(now), &unique);
            changes.into_iter().map(|change| (change.before, change.now)).collect::<Vec<_>>()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(changes(None, json!({ "badge": "B1" })), [(None, text("b1"))]);
        assert_eq!(changes(Some(json!({ "badge": "b1" })), json!({ "badge": "B1" })), []);
        assert_eq!(changes(Some(json!({ "badge": "b1" })), Value::Null), [(text("b1"), None)]);
        assert_eq!(changes(Some(Value::Null), json!({ "badge": 7 })), [(None, text("7"))]);
    }

    #[test]
    fn a_change_of_what_is_on_request_is_noticed() {
        let schema = schema(false);
        let changes = |held: Value, now: Value| changes_what_is_on_request(&doc(held), &doc(now), &schema);
        assert!(changes(Value::Null, json!({ "notes": "n" })));
        assert!(!changes(json!({ "notes": "n", "code": "a" }), json!({ "notes": "n", "code": "b" })));
    }

    #[test]
    fn base64_is_told_from_other_texts() {
        for (text, forgiving, exact) in [
            ("AAEC", true, true),
            ("AAE=", true, true),
            ("AA==", true, true),
            ("AAE", true, false),
            ("AA\nEC", true, false),
            ("A-_C", true, false),
            ("A", false, false),
            ("A===", false, false),
            ("AAE==", false, false),
            ("====", false, false),
            ("A=EC", false, false),
            ("-----BEGIN CERTIFICATE-----\nMII+/aAA==", false, false),
            ("ä", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_base64(text, false), is_base64(text, true)), (forgiving, exact), "{text}");
        }
    }

    #[test]
    fn a_reference_points_where_its_types_say() {
        let is = |text: &str, types: &[&str]| {
            is_reference(text, &types.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>())
        };
        assert!(is("https://example.com/a%20b?x#y", &["external"]) && is("urn:example:1", &["uri"]));
        assert!(is("../Users/26118915", &["User"]) && is("https://h/scim/v2/a/Groups/1", &["User", "Group"]));
        for (text, types) in [
            ("www.example.com", &["external"][..]),
            ("https://a b", &["external"]),
            ("https://a/%zz", &["external"]),
            ("https:", &["external"]),
            ("1:a", &["uri"]),
            ("Groups/1", &["User"]),
            ("Users/", &["User"]),
            ("26118915", &["User"]),
        ] {
            assert!(!is(text, types), "{text}");
        }
    }
}

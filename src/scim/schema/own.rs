//! Schemas of a tenant's own: an extension in the form of RFC 7643 §7, read strictly. A slip in such a file would
//! otherwise show months later, as a value that was kept when it should have been refused.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::scim::resource::check_urn;
use crate::scim::schema::{Attribute, ENTERPRISE_USER, Mutability, Returned, Schema, Type, Uniqueness};

/// The most attributes of one schema, sub-attributes counted.
pub const ATTRIBUTES_MAX: usize = 500;

/// The most characters of an attribute's name.
const NAME_CHARS_MAX: usize = 100;

const SCHEMA_KEYS: &[&str] = &["schemas", "id", "name", "description", "attributes", "meta"];

const ATTRIBUTE_KEYS: &[&str] = &[
    "name",
    "type",
    "multiValued",
    "description",
    "required",
    "caseExact",
    "mutability",
    "returned",
    "uniqueness",
    "canonicalValues",
    "referenceTypes",
    "subAttributes",
];

/// What a characteristic is when the file does not say (RFC 7643 §2.2).
const DEFAULTS: &[(&str, &str)] =
    &[("mutability", "readWrite"), ("returned", "default"), ("uniqueness", "none")];

/// Beginnings of URNs that are no tenant's to define.
const RESERVED: &[&str] =
    &["urn:ietf:params:scim:api:", "urn:ietf:params:scim:schemas:core:", "urn:okta:scim:schemas:core:"];

/// Reads an extension from the text of a file.
///
/// # Errors
/// What is wrong with it, and with which attribute, as a sentence without a full stop.
pub fn from_json(text: &str) -> Result<Schema, String> {
    let mut json: Value = serde_json::from_str(text).map_err(|error| {
        format!("not JSON: it breaks at line {}, column {}", error.line(), error.column())
    })?;
    let Some(object) = json.as_object_mut() else {
        return Err("expected one schema as a JSON object".to_owned());
    };
    only(object, SCHEMA_KEYS, "the schema")?;
    check_id(object.get("id"))?;
    if object.get("name").and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        return Err("name is missing; expected a short name for people".to_owned());
    }
    let Some(Value::Array(attributes)) = object.get_mut("attributes") else {
        return Err("attributes is missing; expected a list".to_owned());
    };
    let mut left = ATTRIBUTES_MAX;
    complete_all(attributes, "", &mut left)?;
    object.insert("schemas".to_owned(), serde_json::json!(["urn:ietf:params:scim:schemas:core:2.0:Schema"]));
    object.shift_remove("meta");
    // The form is known to be right by now; this is the net below.
    let mut schema: Schema = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
    for attribute in &schema.attributes {
        check_meaning(attribute, "", true)?;
    }
    schema.json = json;
    Ok(schema)
}

/// Refuses the first key that is not in `known`: a mistyped one would be passed over without a word.
fn only(object: &Map<String, Value>, known: &[&str], what: &str) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!("{what} has the unknown key {key:?}; known are {}", known.join(", "))),
    }
}

fn check_id(id: Option<&Value>) -> Result<(), String> {
    let Some(id) = id.and_then(Value::as_str) else {
        return Err("id is missing; expected the schema's URN".to_owned());
    };
    let lower = id.to_ascii_lowercase();
    if !lower.starts_with("urn:") || lower.split(':').count() < 3 || lower.ends_with(':') {
        return Err(format!("id {id:?} is no URN; expected one such as urn:acme:scim:schemas:1.0:User"));
    }
    if check_urn(id).is_err() {
        return Err(format!(
            "id {id:?} has a character that no URN of a schema has; expected letters, digits and : . _ - ~ / + %"
        ));
    }
    let builtin = lower == ENTERPRISE_USER.to_ascii_lowercase();
    if builtin || RESERVED.iter().any(|start| lower.starts_with(start)) {
        return Err(format!("id {id} is reserved; expected a URN of your own"));
    }
    Ok(())
}

/// Checks the form of attributes and writes down what they leave out.
fn complete_all(attributes: &mut [Value], parent: &str, left: &mut usize) -> Result<(), String> {
    if attributes.is_empty() {
        return Err(if parent.is_empty() {
            "attributes is empty; expected at least one".to_owned()
        } else {
            format!("attribute {parent}: subAttributes is empty")
        });
    }
    let mut names = HashSet::new();
    for (index, attribute) in attributes.iter_mut().enumerate() {
        *left = left.checked_sub(1).ok_or_else(|| format!("more than {ATTRIBUTES_MAX} attributes"))?;
        let Some(object) = attribute.as_object_mut() else {
            return Err(format!("element {} of the attributes is no JSON object", index + 1));
        };
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return Err(format!("attribute {} {}has no name", index + 1, of(parent)));
        };
        let place = place_of(parent, name);
        check_name(name, &place, parent)?;
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(format!("attribute {place} is there twice; the case of a name makes no difference"));
        }
        complete(object, &place, left)?;
    }
    Ok(())
}

fn of(parent: &str) -> String {
    if parent.is_empty() { String::new() } else { format!("of {parent} ") }
}

fn place_of(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// RFC 7643 §2.1: `ATTRNAME = ALPHA *(nameChar)`, `nameChar = "$" / "-" / "_" / DIGIT / ALPHA`; `$ref` is the one
/// name beside it.
fn check_name(name: &str, place: &str, parent: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$-_".contains(&byte);
    let is_ref = name == "$ref" && !parent.is_empty();
    let right = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && name.bytes().all(plain)
        && name.len() <= NAME_CHARS_MAX;
    if !right && !is_ref {
        return Err(format!(
            "attribute {place:?}: a name is a letter, then letters, digits, \"$\", \"-\" and \"_\", at most {NAME_CHARS_MAX} in all"
        ));
    }
    if name.eq_ignore_ascii_case("password") {
        return Err(format!(
            "attribute {place}: a password is kept by the core attribute of that name alone"
        ));
    }
    Ok(())
}

/// Checks the form of one attribute, and writes down the defaults so that clients need not know them.
fn complete(object: &mut Map<String, Value>, place: &str, left: &mut usize) -> Result<(), String> {
    only(object, ATTRIBUTE_KEYS, &format!("attribute {place}"))?;
    word(object, "type", &TYPES, place)?;
    for key in ["multiValued", "required", "caseExact"] {
        if !object.entry(key).or_insert(Value::Bool(false)).is_boolean() {
            return Err(format!("attribute {place}: {key} must be true or false"));
        }
    }
    for (key, default) in DEFAULTS {
        object.entry(*key).or_insert_with(|| Value::String((*default).to_owned()));
    }
    word(object, "mutability", &["readOnly", "readWrite", "immutable", "writeOnly"], place)?;
    word(object, "returned", &["always", "never", "default", "request"], place)?;
    word(object, "uniqueness", &["none", "server", "global"], place)?;
    for key in ["canonicalValues", "referenceTypes"] {
        let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        if object.get(key).is_some_and(|value| !texts(value)) {
            return Err(format!("attribute {place}: {key} must be a list of texts"));
        }
    }
    if object.get("description").is_some_and(|text| !text.is_string()) {
        return Err(format!("attribute {place}: description must be a text"));
    }
    match object.get_mut("subAttributes") {
        None => Ok(()),
        // A third level is refused with the meaning of the second: complex in complex.
        Some(Value::Array(subs)) => complete_all(subs, place, left),
        Some(_) => Err(format!("attribute {place}: subAttributes must be a list")),
    }
}

const TYPES: [&str; 8] =
    ["string", "boolean", "decimal", "integer", "dateTime", "binary", "reference", "complex"];

fn word(object: &Map<String, Value>, key: &str, words: &[&str], place: &str) -> Result<(), String> {
    match object.get(key).and_then(Value::as_str) {
        Some(found) if words.contains(&found) => Ok(()),
        _ => Err(format!("attribute {place}: {key} must be one of {}", words.join(", "))),
    }
}

/// Checks that what an attribute says of itself can be kept.
fn check_meaning(attribute: &Attribute, parent: &str, top: bool) -> Result<(), String> {
    let place = place_of(parent, &attribute.name);
    let wrong = |what: &str| Err(format!("attribute {place}: {what}"));
    let complex = attribute.data_type == Type::Complex;
    if complex && !top {
        return wrong("a sub-attribute cannot be complex (RFC 7643, section 2.3.8)");
    }
    if complex == attribute.sub_attributes.is_empty() {
        return wrong("complex attributes, and no others, have subAttributes");
    }
    if (attribute.data_type == Type::Reference) == attribute.reference_types.is_empty() {
        return wrong("reference attributes, and no others, have referenceTypes");
    }
    if attribute.data_type != Type::String && !attribute.canonical_values.is_empty() {
        return wrong("canonicalValues belong to a string");
    }
    if attribute.mutability == Mutability::ReadOnly && attribute.required {
        return wrong("it is required, but readOnly, so that nobody could give it");
    }
    if attribute.mutability == Mutability::WriteOnly && attribute.returned != Returned::Never {
        return wrong("what is writeOnly has returned \"never\"");
    }
    if attribute.mutability == Mutability::ReadOnly && attribute.returned == Returned::Never {
        return wrong("nobody can write it and nobody is shown it");
    }
    if let Some(problem) = check_uniqueness(attribute, top) {
        return wrong(problem);
    }
    let is_primary = attribute.name.eq_ignore_ascii_case("primary") && !top;
    if is_primary && attribute.data_type != Type::Boolean {
        return wrong("primary is a boolean (RFC 7643, section 2.4)");
    }
    attribute.sub_attributes.iter().try_for_each(|sub| check_meaning(sub, &place, false))
}

/// What cannot be unique, and why.
fn check_uniqueness(attribute: &Attribute, top: bool) -> Option<&'static str> {
    let has_one_key = matches!(attribute.data_type, Type::String | Type::Integer | Type::Reference);
    match attribute.uniqueness {
        Uniqueness::None => None,
        Uniqueness::Global => {
            Some("uniqueness \"global\" cannot be kept, since tenants are apart; \"server\" can")
        }
        Uniqueness::Server if !top || attribute.multi_valued || !has_one_key => {
            Some("only a single string, integer or reference, and no sub-attribute, can be unique")
        }
        Uniqueness::Server => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(attributes: &Value) -> Result<Schema, String> {
        from_json(
            &json!({ "id": "urn:acme:scim:1.0:User", "name": "Acme", "attributes": attributes }).to_string(),
        )
    }

    #[test]
    fn a_short_file_is_completed_with_the_defaults_of_the_rfc() {
        let made = schema(&json!([{ "name": "costCode", "type": "string" }])).unwrap();
        assert_eq!(made.attribute("COSTCODE").unwrap().mutability, Mutability::ReadWrite);
        assert_eq!(
            made.json["attributes"][0],
            json!({ "name": "costCode", "type": "string", "multiValued": false, "required": false,
                    "caseExact": false, "mutability": "readWrite", "returned": "default", "uniqueness": "none" })
        );
        assert_eq!(made.json["schemas"], json!(["urn:ietf:params:scim:schemas:core:2.0:Schema"]));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_attribute() {
        let string = |more: Value| {
            let mut attribute = json!({ "name": "a", "type": "string" });
            attribute.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([attribute])
        };
        for (attributes, problem) in [
            (json!([]), "attributes is empty"),
            (json!([1]), "no JSON object"),
            (json!([{ "type": "string" }]), "attribute 1 has no name"),
            (json!([{ "name": "a b", "type": "string" }]), "a name is a letter"),
            (json!([{ "name": "$ref", "type": "string" }]), "a name is a letter"),
            (json!([{ "name": "1a", "type": "string" }]), "a name is a letter"),
            (json!([{ "name": "Password", "type": "string" }]), "core attribute"),
            (
                json!([{ "name": "a", "type": "string" }, { "name": "A", "type": "string" }]),
                "attribute A is there twice",
            ),
            (json!([{ "name": "a" }]), "attribute a: type must be one of string"),
            (json!([{ "name": "a", "type": "text" }]), "attribute a: type must be one of string"),
            (string(json!({ "requird": true })), "unknown key \"requird\""),
            (string(json!({ "required": "yes" })), "required must be true or false"),
            (string(json!({ "mutability": "readonly" })), "mutability must be one of"),
            (string(json!({ "returned": "sometimes" })), "returned must be one of"),
            (string(json!({ "uniqueness": "global" })), "tenants are apart"),
            (string(json!({ "uniqueness": "server", "multiValued": true })), "can be unique"),
            (string(json!({ "canonicalValues": [1] })), "canonicalValues must be a list of texts"),
            (string(json!({ "mutability": "readOnly", "required": true })), "nobody could give it"),
            (string(json!({ "mutability": "writeOnly" })), "returned \"never\""),
            (string(json!({ "referenceTypes": ["User"] })), "referenceTypes"),
            (string(json!({ "subAttributes": [{ "name": "b", "type": "string" }] })), "have subAttributes"),
            (json!([{ "name": "a", "type": "complex" }]), "have subAttributes"),
            (json!([{ "name": "a", "type": "reference" }]), "have referenceTypes"),
            (json!([{ "name": "a", "type": "integer", "canonicalValues": ["1"] }]), "belong to a string"),
            (
                json!([{ "name": "a", "type": "complex", "subAttributes": [{ "name": "b", "type": "complex",
                         "subAttributes": [{ "name": "c", "type": "string" }] }] }]),
                "attribute a.b: a sub-attribute cannot be complex",
            ),
            (
                json!([{ "name": "a", "type": "complex", "multiValued": true,
                         "subAttributes": [{ "name": "primary", "type": "string" }] }]),
                "attribute a.primary: primary is a boolean",
            ),
        ] {
            let error = schema(&attributes).unwrap_err();
            assert!(error.contains(problem), "{error} should say {problem}");
        }
        let many: Vec<Value> =
            (0..=ATTRIBUTES_MAX).map(|n| json!({ "name": format!("a{n}"), "type": "string" })).collect();
        assert!(schema(&Value::Array(many)).unwrap_err().contains("more than 500"));
    }

    #[test]
    fn a_urn_is_one_of_the_tenants_own() {
        for (id, problem) in [
            (json!("acme"), "no URN"),
            (json!("urn:acme"), "no URN"),
            (json!(7), "id is missing"),
            (json!("urn:acme:1.0:User]"), "character"),
            (json!("urn:ietf:params:scim:schemas:core:2.0:User"), "reserved"),
            (json!("URN:IETF:params:scim:schemas:extension:enterprise:2.0:User"), "reserved"),
            (json!("urn:ietf:params:scim:api:messages:2.0:Error"), "reserved"),
            (json!("urn:okta:scim:schemas:core:1.0:Role"), "reserved"),
        ] {
            let text = json!({ "id": id, "name": "x", "attributes": [{ "name": "a", "type": "string" }] });
            let error = from_json(&text.to_string()).unwrap_err();
            assert!(error.contains(problem), "{error} should say {problem}");
        }
        assert!(from_json("{").unwrap_err().contains("line 1"));
        assert!(from_json("[]").unwrap_err().contains("JSON object"));
        assert!(from_json(r#"{"id":"urn:a:b:c","attributes":[]}"#).unwrap_err().contains("name is missing"));
        assert!(
            from_json(r#"{"id":"urn:a:b:c","name":"x","attribute":[]}"#).unwrap_err().contains("unknown key")
        );
    }
}

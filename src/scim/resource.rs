//! From what a client sends to what is stored: names in canonical case, types checked, unassigned values gone
//! (RFC 7643 §2). What a schema does not know is kept as it came.
//!
//! A stored document holds everything but `id`, `meta`, `groups`, `members` and `password`, which have places of
//! their own. What an attribute's type makes of a value stands in `resource::values`; how the document is shown again is
//! told in `projection`.

use serde_json::{Map, Value};

use crate::scim::schema::{Attribute, Mutability, ResourceSchema, Schema, Type};
use crate::scim::{Error, Kind, Profile, message, quirks};

mod bounds;
mod members;
mod values;

pub use bounds::{check_attributes, check_count, check_key, check_urn};
pub use members::{MemberRef, members_from};
pub use values::{attribute_value, check_primary, single_value};

use bounds::check_text;
use members::MemberList;

/// The most characters of a userName, a group's displayName and an externalId: they are keys of an index.
pub const NAME_CHARS_MAX: usize = 1024;

/// The most characters of an attribute's name or an extension's URN.
pub const KEY_CHARS_MAX: usize = 256;

/// The most values of one multi-valued attribute other than `members`: they are compared with each other.
pub const VALUES_MAX: usize = 1_000;

/// The most attributes of one resource and of one object in it; names are compared with each other.
pub const ATTRIBUTES_MAX: usize = 1_000;

/// A resource that a client sent, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The document without members and password.
    pub doc: Map<String, Value>,
    /// A group's members; `None` when the client did not speak of them.
    pub members: Option<Vec<MemberRef>>,
    /// The password in clear; never stored so.
    pub password: Option<String>,
}

impl Draft {
    /// Reads the body of a POST or PUT.
    ///
    /// # Errors
    /// 400 `invalidSyntax` when the body is no object, names an attribute twice or is of another schema; 400
    /// `invalidValue` when a value does not fit its type or a required one is missing.
    pub fn from_json(body: Value, schema: &ResourceSchema, profile: Profile) -> Result<Draft, Error> {
        Draft::build(body, MemberList::new(profile), schema)
    }

    /// The same from the text of a body, of which members become no tree: a group may have a hundred thousand.
    ///
    /// # Errors
    /// As [`message::parse_json`], then as [`Draft::from_json`].
    pub fn from_body(
        body: &[u8],
        depth_max: usize,
        schema: &ResourceSchema,
        profile: Profile,
    ) -> Result<Draft, Error> {
        let mut members = MemberList::new(profile);
        let body = match schema.kind {
            Kind::Group => {
                message::parse_json_taking(body, depth_max, "members", &mut |one| members.take(one))?
            }
            Kind::User => message::parse_json(body, depth_max)?,
        };
        Draft::build(body, members, schema)
    }

    /// `listed` holds the elements of `members` that were taken out of the body.
    fn build(body: Value, listed: MemberList, schema: &ResourceSchema) -> Result<Draft, Error> {
        let profile = listed.profile;
        let mut listed = Some(listed);
        let Value::Object(body) = body else {
            return Err(Error::invalid_syntax(format!(
                "The request body must be a JSON object that describes a {}.",
                schema.kind.noun()
            )));
        };
        let mut doc = Map::new();
        let mut members = None;
        let mut password = None;
        let mut named = false;
        for (key, value) in lift(body, schema, profile)? {
            if key.eq_ignore_ascii_case("schemas") {
                named = check_schemas(&value, schema)?;
            } else if schema.kind == Kind::Group && key.eq_ignore_ascii_case("members") {
                let mut list = listed.take().unwrap_or_else(|| MemberList::new(profile));
                list.take_all(value);
                members = Some(list.finish()?);
            } else if key.eq_ignore_ascii_case("password") {
                password = password_from(value)?;
            } else if let Some((name, value)) = entry(&key, value, schema, profile)? {
                insert_once(&mut doc, name, value, &key)?;
            }
        }
        if !named {
            quirks::takes_missing_schemas(&schema.core.id, profile)?;
        }
        finish(&mut doc, schema)?;
        Ok(Draft { doc, members, password })
    }
}

/// Brings attributes to their place that are named as PATCH and filters name them: with the core schema's URN,
/// with an extension's, or with a dot.
fn lift(
    body: Map<String, Value>,
    schema: &ResourceSchema,
    profile: Profile,
) -> Result<Map<String, Value>, Error> {
    check_attributes(body.len())?;
    if !quirks::takes_names_of_paths(profile) {
        return Ok(body);
    }
    let mut lifted = Map::new();
    for (key, value) in body {
        if schema.is_core(&key) {
            match value {
                Value::Object(inside) => {
                    check_attributes(inside.len())?;
                    for (name, value) in inside {
                        put(&mut lifted, name, value)?;
                    }
                }
                Value::Null => {}
                _ => return Err(Error::invalid_syntax(format!("{} must be a JSON object.", schema.core.id))),
            }
        } else if let Some(name) = below(&key, &schema.core.id) {
            put(&mut lifted, name.to_owned(), value)?;
        } else if let Some((id, name)) =
            schema.extensions.iter().find_map(|extension| Some((&extension.id, below(&key, &extension.id)?)))
        {
            put(&mut lifted, id.clone(), Value::Object(Map::from_iter([(name.to_owned(), value)])))?;
        } else if let Some((head, sub)) = key.split_once('.')
            && let Some(attribute) = schema.attribute(head)
        {
            if attribute.multi_valued || attribute.data_type != Type::Complex {
                return Err(Error::invalid_syntax(format!(
                    "{} cannot be sent by a name with a dot.",
                    attribute.name
                )));
            }
            let inside = Value::Object(Map::from_iter([(sub.to_owned(), value)]));
            put(&mut lifted, attribute.name.clone(), inside)?;
        } else {
            put(&mut lifted, key, value)?;
        }
    }
    Ok(lifted)
}

/// What follows a schema's URN and a colon.
pub fn below<'a>(key: &'a str, urn: &str) -> Option<&'a str> {
    let start = key.get(..urn.len())?;
    let rest = key.get(urn.len()..)?.strip_prefix(':')?;
    (start.eq_ignore_ascii_case(urn) && !rest.is_empty()).then_some(rest)
}

/// Puts a value under a key; objects that meet there become one.
fn put(map: &mut Map<String, Value>, key: String, value: Value) -> Result<(), Error> {
    let held = map.keys().find(|held| held.eq_ignore_ascii_case(&key)).cloned();
    match (held.and_then(|held| map.get_mut(&held)), value) {
        (Some(Value::Object(held)), Value::Object(value)) => {
            for (name, value) in value {
                insert_once(held, name, value, &key)?;
            }
            Ok(())
        }
        (Some(_), _) => Err(twice(&key)),
        (None, value) => {
            map.insert(key, value);
            Ok(())
        }
    }
}

/// Whether a key is one that no document may hold, wherever it stands: a password is kept as a hash, elsewhere,
/// or not at all.
pub fn is_password(key: &str) -> bool {
    key.eq_ignore_ascii_case("password")
}

/// One key of a resource, made canonical; `None` when it is read-only or unassigned.
fn entry(
    key: &str,
    value: Value,
    schema: &ResourceSchema,
    profile: Profile,
) -> Result<Option<(String, Value)>, Error> {
    if let Some(attribute) = schema.attribute(key) {
        if attribute.mutability == Mutability::ReadOnly {
            return Ok(None);
        }
        let made = attribute_value(attribute, value, &attribute.name, profile)?;
        return Ok(made.map(|made| (attribute.name.clone(), made)));
    }
    if is_urn(key) {
        if schema.is_core(key) {
            return Err(Error::invalid_syntax(
                "The core schema's attributes stand at the top of the resource.",
            ));
        }
        let name = schema.extension(key).map_or_else(|| key.to_owned(), |known| known.id.clone());
        let made = extension_value(&name, value, schema.extension(key), profile)?;
        return Ok(made.map(|made| (name, made)));
    }
    check_key(key)?;
    quirks::takes_unknown_attributes(key, profile)?;
    Ok(clean(value)?.map(|value| (key.to_owned(), value)))
}

/// An extension's object, made canonical.
///
/// # Errors
/// 400 `invalidSyntax` when the URN is none or the value no object, 400 `invalidValue` as for every attribute.
pub fn extension_value(
    urn: &str,
    value: Value,
    known: Option<&Schema>,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    check_urn(urn)?;
    let Some(known) = known else {
        quirks::takes_unknown_attributes(urn, profile)?;
        return clean(value);
    };
    let object = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Object(object) => object,
        _ => return Err(Error::invalid_syntax(format!("{urn} must be a JSON object."))),
    };
    let mut made = Map::new();
    for (key, value) in object {
        match known.attribute(&key) {
            Some(attribute) if attribute.mutability == Mutability::ReadOnly => {}
            None if is_password(&key) || quirks::repeats_the_extension(&key) => {}
            Some(attribute) => {
                if let Some(value) = attribute_value(attribute, value, &attribute.name, profile)? {
                    insert_once(&mut made, attribute.name.clone(), value, &key)?;
                }
            }
            None => {
                check_key(&key)?;
                quirks::takes_unknown_attributes(&key, profile)?;
                if let Some(value) = clean(value)? {
                    insert_once(&mut made, key.clone(), value, &key)?;
                }
            }
        }
    }
    Ok((!made.is_empty()).then(|| Value::Object(in_order(made, &known.attributes))))
}

/// A value that no schema knows: kept, without what stands for "unassigned".
///
/// # Errors
/// 400 `invalidValue` when a text in it holds the character NUL, which SQLite's text functions stop at.
pub fn clean(value: Value) -> Result<Option<Value>, Error> {
    Ok(match value {
        Value::Null => None,
        Value::String(text) => {
            check_text(&text, "A text")?;
            (!text.is_empty()).then_some(Value::String(text))
        }
        Value::Array(elements) => {
            let mut made = Vec::with_capacity(elements.len());
            for element in elements {
                made.extend(clean(element)?);
            }
            (!made.is_empty()).then_some(Value::Array(made))
        }
        Value::Object(object) => {
            let mut made = Map::new();
            for (key, value) in object {
                check_key(&key)?;
                if let Some(value) = clean(value)?.filter(|_| !is_password(&key)) {
                    made.insert(key, value);
                }
            }
            (!made.is_empty()).then_some(Value::Object(made))
        }
        other => Some(other),
    })
}

/// Reads a password: a string, or nothing.
///
/// # Errors
/// 400 `invalidValue` when it is something else.
pub fn password_from(value: Value) -> Result<Option<String>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok((!text.is_empty()).then_some(text)),
        _ => Err(Error::invalid_value("password must be a string.")),
    }
}

/// Completes a document after POST, PUT or PATCH: what is required is there, keys stand in their order, and
/// `schemas` names what the document holds (RFC 7643 §3).
///
/// # Errors
/// 400 `invalidValue` when a required attribute is missing or a key of an index is too long.
pub fn finish(doc: &mut Map<String, Value>, schema: &ResourceSchema) -> Result<(), Error> {
    check_attributes(doc.len())?;
    for attribute in schema.core.attributes.iter().filter(|attribute| attribute.required) {
        let blank = match doc.get(&attribute.name) {
            None => true,
            Some(value) => value.as_str().is_some_and(|text| text.trim().is_empty()),
        };
        if blank {
            return Err(Error::invalid_value(format!(
                "A {} must have a {}.",
                schema.kind.noun(),
                attribute.name
            )));
        }
    }
    for key in [schema.kind.name_attribute(), "externalId", "displayName"] {
        let chars = doc.get(key).and_then(Value::as_str).map_or(0, |text| text.chars().count());
        if chars > NAME_CHARS_MAX {
            return Err(Error::invalid_value(format!("{key} may have at most {NAME_CHARS_MAX} characters.")));
        }
    }
    doc.remove("schemas");
    let mut schemas = vec![Value::String(schema.core.id.clone())];
    schemas.extend(doc.keys().filter(|key| is_urn(key)).map(|key| Value::String(key.clone())));
    let known = std::mem::take(doc);
    doc.insert("schemas".to_owned(), Value::Array(schemas));
    let rest = in_order(known, &schema.common);
    doc.extend(in_order(rest, &schema.core.attributes));
    // `externalId` is the one common attribute a document holds; it leads.
    if let Some(external_id) = doc.shift_remove("externalId") {
        doc.shift_insert(1, "externalId".to_owned(), external_id);
    }
    Ok(())
}

/// Whether a key names an extension rather than an attribute.
pub fn is_urn(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"))
}

/// Whether the schema is named; that it is of another kind is an error.
fn check_schemas(value: &Value, schema: &ResourceSchema) -> Result<bool, Error> {
    let listed = match value {
        Value::Null => return Ok(false),
        Value::Array(listed) if listed.iter().all(Value::is_string) => listed,
        _ => return Err(Error::invalid_syntax("schemas must be a list of URNs.")),
    };
    let foreign = Kind::ALL.into_iter().filter(|kind| *kind != schema.kind).map(Kind::schema_id);
    let mut named = listed.iter().filter_map(Value::as_str);
    let own = listed.iter().filter_map(Value::as_str).any(|urn| schema.is_core(urn));
    if !own && foreign.into_iter().any(|other| named.any(|urn| urn.eq_ignore_ascii_case(other))) {
        return Err(Error::invalid_syntax(format!(
            "schemas names another kind of resource; a {} has {}.",
            schema.kind.noun(),
            schema.core.id
        )));
    }
    Ok(own)
}

fn insert_once(map: &mut Map<String, Value>, name: String, value: Value, key: &str) -> Result<(), Error> {
    if map.insert(name, value).is_some() {
        return Err(twice(key));
    }
    Ok(())
}

/// The refusal of an attribute that is named twice, be it in different case.
pub fn twice(key: &str) -> Error {
    let shown: String = key.chars().take(64).collect();
    Error::invalid_syntax(format!("The attribute {shown} is there twice."))
}

/// The map with the known attributes first, in the schema's order, and the others as they came.
pub(super) fn in_order(mut map: Map<String, Value>, attributes: &[Attribute]) -> Map<String, Value> {
    let mut ordered = Map::with_capacity(map.len());
    for attribute in attributes {
        if let Some((name, value)) = map.shift_remove_entry(&attribute.name) {
            ordered.insert(name, value);
        }
    }
    ordered.extend(map);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::Schemas;
    use serde_json::json;

    fn user(body: Value) -> Result<Draft, Error> {
        Draft::from_json(body, Schemas::builtin().unwrap().of(Kind::User), Profile::Okta)
    }

    fn doc(body: Value) -> Value {
        Value::Object(user(body).unwrap().doc)
    }

    #[test]
    fn names_become_canonical_and_stand_in_the_schemas_order() {
        let made =
            doc(json!({ "ACTIVE": true, "Name": { "GIVENNAME": "A" }, "username": "a", "externalID": "x" }));
        assert_eq!(
            made.to_string(),
            format!(
                "{{\"schemas\":[\"{}\"],\"externalId\":\"x\",\"userName\":\"a\",\"name\":{{\"givenName\":\"A\"}},\"active\":true}}",
                crate::scim::schema::USER
            )
        );
    }

    #[test]
    fn null_empty_text_and_empty_lists_are_unassigned() {
        let made = doc(json!({
            "userName": "a", "nickName": "", "title": null, "emails": [], "phoneNumbers": [{ "type": "work" }],
            "name": { "givenName": "", "familyName": null }, "urn:x:1.0:Y": { "a": "" }, "odd": [null, ""] }));
        assert_eq!(made, json!({ "schemas": [crate::scim::schema::USER], "userName": "a" }));
    }

    #[test]
    fn booleans_and_numbers_sent_as_text_are_taken() {
        let made = doc(
            json!({ "userName": 12, "active": "True", "emails": [{ "value": "x", "primary": "FALSE" }] }),
        );
        assert_eq!(made["userName"], "12");
        assert_eq!(made["active"], true);
        assert_eq!(made["emails"][0]["primary"], false);
    }

    #[test]
    fn a_plain_string_stands_for_the_value_of_a_complex_attribute() {
        let made = doc(json!({ "userName": "a", "emails": ["x@example.com"],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user": { "manager": "7" } }));
        assert_eq!(made["emails"], json!([{ "value": "x@example.com" }]));
        assert_eq!(made[crate::scim::schema::ENTERPRISE_USER]["manager"], json!({ "value": "7" }));
        assert_eq!(made["schemas"], json!([crate::scim::schema::USER, crate::scim::schema::ENTERPRISE_USER]));
    }

    #[test]
    fn what_no_schema_knows_is_kept_and_its_urn_listed() {
        let made = doc(
            json!({ "userName": "a", "shoeSize": 42, "urn:okta:x:1.0:user:custom": { "b": [1, { "c": true }] } }),
        );
        assert_eq!(made["shoeSize"], 42);
        assert_eq!(made["urn:okta:x:1.0:user:custom"], json!({ "b": [1, { "c": true }] }));
        assert_eq!(made["schemas"][1], "urn:okta:x:1.0:user:custom");
    }

    #[test]
    fn read_only_attributes_are_passed_over_and_the_password_is_set_apart() {
        let draft =
            user(json!({ "userName": "a", "id": "mine", "meta": 1, "groups": [], "password": "s3cret" }))
                .unwrap();
        assert_eq!(
            Value::Object(draft.doc),
            json!({ "schemas": [crate::scim::schema::USER], "userName": "a" })
        );
        assert_eq!(draft.password.as_deref(), Some("s3cret"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_by_name() {
        for (body, detail) in [
            (json!({ "userName": "a", "active": "maybe" }), "active must be true or false."),
            (json!({ "userName": "a", "name": "x" }), "name must be a JSON object."),
            (json!({ "userName": ["a"] }), "userName must be a string."),
            (json!({ "userName": "a", "emails": [{ "value": true }] }), "emails.value must be a string."),
            (json!({ "active": true }), "A user must have a userName."),
            (json!({ "userName": "  " }), "A user must have a userName."),
            (json!({ "userName": "a\u{0}b" }), "userName may not hold the character NUL."),
            (
                json!({ "userName": "a", "emails": [{ "value": "x", "primary": true }, { "value": "y", "primary": true }] }),
                "Only one of emails may be primary.",
            ),
        ] {
            let error = user(body).unwrap_err();
            assert_eq!((error.status, error.detail.as_str()), (400, detail));
        }
    }

    #[test]
    fn an_attribute_named_twice_in_different_case_is_refused() {
        assert_eq!(
            user(json!({ "userName": "a", "USERNAME": "b" })).unwrap_err().scim_type,
            Some(crate::scim::ScimType::InvalidSyntax)
        );
    }

    #[test]
    fn a_body_of_another_kind_is_refused_and_missing_schemas_are_not() {
        assert!(user(json!({ "schemas": [crate::scim::schema::GROUP], "userName": "a" })).is_err());
        assert!(user(json!({ "schemas": [], "userName": "a" })).is_ok());
        assert!(user(json!({ "schemas": "x", "userName": "a" })).is_err());
    }

    #[test]
    fn members_are_read_in_every_form_and_count_once() {
        let members = members_from(json!([{ "value": "1", "display": "a", "type": "User" }, "2", { "VALUE": "1" }, { "$ref": "https://h/Users/3" }, { "value": null, "display": "x" }, null]), Profile::Okta).unwrap();
        assert_eq!(
            members,
            [
                MemberRef { id: "1".into(), display: Some("a".into()) },
                MemberRef { id: "2".into(), display: None },
                MemberRef { id: "3".into(), display: None }
            ]
        );
        assert!(members_from(json!([]), Profile::Okta).unwrap().is_empty());
        assert!(members_from(json!([7]), Profile::Okta).is_err());
        assert!(members_from(json!([{ "display": "x" }]), Profile::Okta).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_group_is_read_the_same_whether_its_members_become_a_tree_or_not(
            keys in proptest::collection::vec(
                proptest::sample::select(vec![
                    "members", "MEMBERS", "schemas", "displayName", "externalId", "password",
                    "urn:ietf:params:scim:schemas:core:2.0:Group:members",
                    "urn:ietf:params:scim:schemas:core:2.0:Group",
                ]),
                0..4,
            ),
            values in proptest::collection::vec(
                proptest::sample::select(vec![
                    "null", "\"\"", "\"a\"", "7", "[]", "[null]", "[\"a\",\"b\",\"a\"]", "[7]", "[[]]",
                    "{\"value\":\"a\"}", "[{\"value\":\"a\",\"display\":\"A\"},{\"VALUE\":\"a\"},{\"$ref\":\"x/c\"}]",
                    "[{\"value\":7},{\"display\":\"x\"}]", "[{\"display\":\"x\"},7]", "[{\"value\":\"a\",\"Value\":\"b\"}]",
                    "[{\"value\":{\"members\":[1]}}]", "{\"members\":[{\"value\":\"a\"},{\"value\":\"a\"}]}",
                    "[\"urn:ietf:params:scim:schemas:core:2.0:Group\"]", "[{\"value\":\"a\"}", "[{\"value\":\"a\"},]",
                ]),
                4,
            ),
            strict: bool,
        ) {
            let fields: Vec<_> =
                keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let body = format!("{{{}}}", fields.join(","));
            let profile = if strict { Profile::Strict } else { Profile::Okta };
            let schemas = Schemas::builtin().unwrap();
            let schema = schemas.of(Kind::Group);
            let by_tree = message::parse_json(body.as_bytes(), 6)
                .and_then(|tree| Draft::from_json(tree, schema, profile));
            proptest::prop_assert_eq!(Draft::from_body(body.as_bytes(), 6, schema, profile), by_tree, "{}", body);
        }
    }
}

//! `sortBy` and `sortOrder` (RFC 7644 §3.4.2.3): which attribute a list is sorted by, and what a resource's key is.
//!
//! Of a multi-valued attribute the primary element gives the key, else the first one; of a complex one its `value`.
//! Texts are ordered by code point, folded unless the schema says that case matters: the order that filters compare
//! by. A resource without a value stands last when ascending and first when descending; whoever has the same key
//! stands in order of creation either way. The plain reading here is the measure for the store's SQL.

use std::cmp::Ordering;

use serde_json::Value;

use crate::scim::datetime;
use crate::scim::filter::{AttrPath, Bounds, parse_path};
use crate::scim::fold::fold;
use crate::scim::matching;
use crate::scim::predicate::{SHOWN_BYTES_MAX, Target};
use crate::scim::schema::{Attribute, ResourceSchema, Returned, Type};
use crate::scim::{Error, Kind};

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key; resources without one last.
    Ascending,
    /// From the greatest key; resources without one first.
    Descending,
}

impl Direction {
    /// Reads `sortOrder`; ascending when there is none.
    ///
    /// # Errors
    /// 400 `invalidValue` for anything but the RFC's two words.
    pub fn parse(text: Option<&str>) -> Result<Direction, Error> {
        match text.map(str::trim) {
            None | Some("") => Ok(Direction::Ascending),
            Some(word) if word.eq_ignore_ascii_case("ascending") => Ok(Direction::Ascending),
            Some(word) if word.eq_ignore_ascii_case("descending") => Ok(Direction::Descending),
            Some(_) => Err(Error::invalid_value("sortOrder must be ascending or descending.")),
        }
    }
}

/// What a resource is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// It has no value.
    Absent,
    /// `false` as 0 and `true` as 1; an instant as milliseconds since 1970-01-01T00:00:00Z.
    Whole(i64),
    /// A number.
    Real(f64),
    /// A text, folded already unless case matters.
    Text(String),
}

impl Key {
    /// The ascending order: numbers, texts by code point, and what is absent.
    pub fn compare(&self, other: &Key) -> Ordering {
        let number = |key: &Key| match key {
            // Instants and booleans are exact as floats: the year 287396 is the first that is not.
            #[expect(clippy::cast_precision_loss, reason = "only compared with an attribute's like")]
            Key::Whole(whole) => Some(*whole as f64),
            Key::Real(real) => Some(*real),
            Key::Absent | Key::Text(_) => None,
        };
        match (self, other) {
            (Key::Absent, Key::Absent) => Ordering::Equal,
            (Key::Absent, _) => Ordering::Greater,
            (_, Key::Absent) => Ordering::Less,
            (Key::Text(left), Key::Text(right)) => left.cmp(right),
            (Key::Text(_), _) => Ordering::Greater,
            (_, Key::Text(_)) => Ordering::Less,
            (Key::Whole(left), Key::Whole(right)) => left.cmp(right),
            (left, right) => number(left).partial_cmp(&number(right)).unwrap_or(Ordering::Equal),
        }
    }
}

/// Finds the attribute that `sortBy` names: for each of the kinds that are searched its target, or `None` where the
/// kind has no such attribute and so no value.
///
/// # Errors
/// 400 `invalidValue` when it is no name of an attribute, none of the kinds has it, it is made of parts, or it is
/// never shown.
pub fn bind(text: &str, schemas: &[&ResourceSchema], bounds: Bounds) -> Result<Vec<Option<Target>>, Error> {
    let path = match parse_path(text.trim(), bounds) {
        Ok((path, None)) => path,
        _ => {
            return Err(Error::invalid_value(
                "sortBy must be the name of one attribute, such as userName or name.familyName.",
            ));
        }
    };
    let targets = schemas.iter().map(|schema| target(&path, schema)).collect::<Result<Vec<_>, _>>()?;
    if targets.iter().all(Option::is_none) {
        let names: Vec<&str> = schemas.iter().map(|schema| schema.core.name.as_str()).collect();
        return Err(missing(&path, &names.join(" or ")));
    }
    Ok(targets)
}

fn target(path: &AttrPath, schema: &ResourceSchema) -> Result<Option<Target>, Error> {
    let Some(urn) = &path.urn else {
        return schema.attribute(&path.name).map(|attribute| known(path, None, attribute)).transpose();
    };
    // `urn:...:2.0:User` alone reads like the attribute `User` of `urn:...:2.0`.
    let whole = path.to_string();
    if path.name.is_empty() || is_core(&whole) || schema.extension(&whole).is_some() {
        let shown = shown(path);
        return Err(Error::invalid_value(format!(
            "sortBy names {shown}, which is a whole schema; name one of its attributes."
        )));
    }
    if schema.is_core(urn) {
        return schema.attribute(&path.name).map(|attribute| known(path, None, attribute)).transpose();
    }
    if let Some(extension) = schema.extension(urn) {
        let attribute = extension.attribute(&path.name);
        return attribute.map(|attribute| known(path, Some(&extension.id), attribute)).transpose();
    }
    // Every URN has a colon of its own; `name:familyName` must not reach into `name`.
    if is_core(urn) || !urn.contains(':') {
        return Ok(None);
    }
    Ok(Some(Target {
        urn: Some(urn.clone()),
        attribute: path.name.clone(),
        sub: path.sub.clone(),
        multi_valued: false,
        data_type: None,
        case_exact: false,
    }))
}

/// Whether it is the core schema of some kind.
fn is_core(urn: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.schema_id().eq_ignore_ascii_case(urn))
}

fn known(path: &AttrPath, urn: Option<&str>, attribute: &Attribute) -> Result<Target, Error> {
    let is_simple_value = |sub: &str| {
        attribute.multi_valued && attribute.sub_attributes.is_empty() && sub.eq_ignore_ascii_case("value")
    };
    let sub = match &path.sub {
        None if attribute.data_type == Type::Complex => Some(attribute.sub("value").ok_or_else(|| {
            let example = attribute.sub_attributes.first().map_or("", |sub| sub.name.as_str());
            let name = &attribute.name;
            Error::invalid_value(format!(
                "sortBy names {name}, which is made of parts; name one, such as {name}.{example}."
            ))
        })?),
        None => None,
        Some(sub) if is_simple_value(sub) => None,
        Some(sub) => Some(attribute.sub(sub).ok_or_else(|| missing(path, &attribute.name))?),
    };
    let sorted = sub.unwrap_or(attribute);
    if attribute.returned == Returned::Never || sorted.returned == Returned::Never {
        let shown = shown(path);
        return Err(Error::invalid_value(format!(
            "sortBy names {shown}, which is never shown and cannot be sorted by."
        )));
    }
    Ok(Target {
        urn: urn.map(str::to_owned),
        attribute: attribute.name.clone(),
        sub: sub.map(|sub| sub.name.clone()),
        multi_valued: attribute.multi_valued,
        data_type: Some(sorted.data_type),
        case_exact: sorted.case_exact,
    })
}

fn missing(path: &AttrPath, owner: &str) -> Error {
    Error::invalid_value(format!("sortBy names {}, which is not an attribute of {owner}.", shown(path)))
}

fn shown(path: &AttrPath) -> String {
    let text = path.to_string();
    if text.len() <= SHOWN_BYTES_MAX { text } else { "an attribute with a very long name".to_owned() }
}

/// The key of a resource as a client sees it, with `id`, `meta`, and `groups` or `members`.
pub fn key_of(target: &Target, resource: &Value) -> Key {
    let value = if target.multi_valued {
        let base = target.urn.as_ref().map_or(Some(resource), |urn| resource.get(urn));
        let all = base.and_then(|base| base.get(&target.attribute)).and_then(Value::as_array);
        let elements = || all.into_iter().flatten().filter(|element| !element.is_null());
        let is_primary = |element: &&Value| element.get("primary") == Some(&Value::Bool(true));
        let chosen = elements().find(is_primary).or_else(|| elements().next());
        match &target.sub {
            Some(sub) => chosen.and_then(|element| element.get(sub)),
            None => chosen,
        }
    } else {
        matching::values(target, resource).into_iter().find(|value| !value.is_null())
    };
    value.and_then(|value| key(target, value)).unwrap_or(Key::Absent)
}

/// A value of another type than the attribute's is none.
fn key(target: &Target, value: &Value) -> Option<Key> {
    let text = |text: &str| Key::Text(if target.case_exact { text.to_owned() } else { fold(text) });
    let truth = |value: bool| Key::Whole(i64::from(value));
    match target.data_type {
        Some(Type::Boolean) => value.as_bool().map(truth),
        Some(Type::Decimal | Type::Integer) => value.as_f64().map(Key::Real),
        Some(Type::DateTime) => value.as_str().and_then(datetime::parse).map(Key::Whole),
        Some(Type::String | Type::Reference | Type::Binary | Type::Complex) => value.as_str().map(text),
        None => match value {
            Value::Bool(value) => Some(truth(*value)),
            Value::Number(number) => number.as_f64().map(Key::Real),
            Value::String(value) => Some(text(value)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::{ENTERPRISE_USER, Schemas};
    use serde_json::json;

    const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

    fn bound(text: &str) -> Result<Target, Error> {
        let schemas = Schemas::builtin().unwrap();
        Ok(bind(text, &[schemas.of(Kind::User)], BOUNDS)?.pop().flatten().unwrap())
    }

    fn key(text: &str, resource: &Value) -> Key {
        key_of(&bound(text).unwrap(), resource)
    }

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    #[test]
    fn an_attribute_is_found_by_every_way_of_naming_it() {
        for (names, attribute, sub) in [
            (
                ["userName", "USERNAME", "urn:ietf:params:scim:schemas:core:2.0:User:userName"],
                "userName",
                None,
            ),
            (["name.familyName", "NAME.familyname", " name.familyName "], "name", Some("familyName")),
            (["emails", "emails.value", "Emails.Value"], "emails", Some("value")),
            (["schemas", "schemas.value", "SCHEMAS"], "schemas", None),
        ] {
            for name in names {
                let target = bound(name).unwrap();
                assert_eq!((target.attribute.as_str(), target.sub.as_deref()), (attribute, sub), "{name}");
            }
        }
        let manager = bound(&format!("{ENTERPRISE_USER}:manager")).unwrap();
        assert_eq!((manager.urn.as_deref(), manager.sub.as_deref()), (Some(ENTERPRISE_USER), Some("value")));
        assert_eq!(bound("urn:acme:1.0:User:size").unwrap().data_type, None);
    }

    #[test]
    fn what_cannot_be_sorted_by_is_refused_by_name() {
        for (name, detail) in [
            ("nope", "sortBy names nope, which is not an attribute of User."),
            ("name.nope", "sortBy names name.nope, which is not an attribute of name."),
            ("name", "sortBy names name, which is made of parts; name one, such as name.formatted."),
            ("members", "sortBy names members, which is not an attribute of User."),
            ("password", "sortBy names password, which is never shown and cannot be sorted by."),
            (
                "emails[type eq \"work\"].value",
                "sortBy must be the name of one attribute, such as userName or name.familyName.",
            ),
            (
                "userName,title",
                "sortBy must be the name of one attribute, such as userName or name.familyName.",
            ),
            (
                "urn:ietf:params:scim:schemas:core:2.0:User",
                "sortBy names urn:ietf:params:scim:schemas:core:2.0:User, which is a whole schema; name one of its attributes.",
            ),
            ("name:familyName", "sortBy names name:familyName, which is not an attribute of User."),
        ] {
            assert_eq!(bound(name).unwrap_err(), Error::invalid_value(detail), "{name}");
        }
        assert!(bound(ENTERPRISE_USER).unwrap_err().detail.contains("whole schema"));
        assert!(Direction::parse(Some("up")).is_err());
        assert_eq!(Direction::parse(Some("Descending")), Ok(Direction::Descending));
        assert_eq!(Direction::parse(None), Ok(Direction::Ascending));
    }

    #[test]
    fn at_the_root_one_kind_with_the_attribute_is_enough() {
        let schemas = Schemas::builtin().unwrap();
        let all = Kind::ALL.map(|kind| schemas.of(kind));
        let found =
            |name: &str| bind(name, &all, BOUNDS).map(|found| [found[0].is_some(), found[1].is_some()]);
        assert_eq!(found("displayName"), Ok([true, true]));
        assert_eq!(found("userName"), Ok([true, false]));
        assert_eq!(found("urn:ietf:params:scim:schemas:core:2.0:Group:members"), Ok([false, true]));
        assert!(found("nope").unwrap_err().detail.ends_with("not an attribute of User or Group."));
    }

    #[test]
    fn the_primary_element_gives_the_key_else_the_first() {
        let of = |emails: Value| key("emails", &json!({ "emails": emails }));
        assert_eq!(of(json!([{ "value": "B" }, { "value": "a" }])), text("b"));
        assert_eq!(of(json!([{ "value": "B" }, { "value": "A", "primary": true }])), text("a"));
        assert_eq!(of(json!([null, { "type": "work" }, { "value": "a" }])), Key::Absent);
        assert_eq!(of(json!([])), Key::Absent);
        assert_eq!(key("emails", &json!({})), Key::Absent);
        assert_eq!(key("schemas", &json!({ "schemas": ["urn:B", "urn:a"] })), text("urn:B"));
    }

    #[test]
    fn the_key_is_of_the_attributes_type() {
        let user = json!({
            "userName": "ÄNN", "externalId": "X", "active": true, "title": 5,
            "meta": { "created": "1970-01-01T00:00:01Z" },
            "urn:acme:1.0:User": { "size": [null, 5, "x"], "vip": false, "desk": {} }
        });
        assert_eq!(key("userName", &user), text("änn"));
        assert_eq!(key("externalId", &user), text("X"));
        assert_eq!(key("active", &user), Key::Whole(1));
        assert_eq!(key("meta.created", &user), Key::Whole(1000));
        assert_eq!(key("title", &user), Key::Absent);
        assert_eq!(key("urn:acme:1.0:User:SIZE", &user), Key::Real(5.0));
        assert_eq!(key("urn:acme:1.0:User:vip", &user), Key::Whole(0));
        assert_eq!(key("urn:acme:1.0:User:desk", &user), Key::Absent);
    }

    #[test]
    fn what_is_absent_comes_last() {
        let mut keys = [Key::Absent, text("b"), text("a"), Key::Real(2.5), Key::Whole(3), Key::Whole(1)];
        keys.sort_by(Key::compare);
        assert_eq!(keys, [Key::Whole(1), Key::Real(2.5), Key::Whole(3), text("a"), text("b"), Key::Absent]);
    }
}

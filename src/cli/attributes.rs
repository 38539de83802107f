//! Attributes on the command line: `ATTR=VALUE` as PATCH operations, and a resource as lines written the same way.
//!
//! What a value must look like is not decided here; the directory refuses what does not fit.

use serde_json::{Map, Value, json};

use crate::cli::output::Failure;
use crate::scim::Profile;
use crate::scim::filter::{AttrPath, Bounds};
use crate::scim::patch::{self, Effort};
use crate::scim::path::PatchPath;
use crate::scim::schema::{Attribute, ResourceSchema, Type};

const EXAMPLES: &str =
    "for example title=Engineer, name.givenName=Ada, 'emails[type eq \"work\"].value=ada@example.com'";

/// One `ATTR=VALUE`, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The operation of a PATCH that carries it out (RFC 7644 §3.5.2).
    pub operation: Value,
    /// ATTR, when it is of a schema that we have and that schema does not know it: as a rule a slip.
    pub unknown: Option<String>,
}

/// Reads `ATTR=VALUE`.
///
/// ATTR is a PATCH path; an attribute that only an extension has may stand without the extension's URN. `ATTR=`
/// unassigns. A VALUE that is a JSON array or object is taken as such, except where the attribute is one plain
/// value.
///
/// # Errors
/// When there is no `=`, or ATTR is no path: wrong usage.
pub fn parse(text: &str, schema: &ResourceSchema, bounds: Bounds) -> anyhow::Result<Assignment> {
    let Some((path, value)) = split(text) else {
        return Err(Failure::usage(format!("`{text}` is not of the form ATTR=VALUE")).hint(EXAMPLES).into());
    };
    let target = Target::parse(path, schema, bounds)?;
    let unknown = (!target.known).then(|| target.path.clone());
    Ok(Assignment { operation: target.operation(value), unknown })
}

/// An ATTR, read: for one that is used for many values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The path of a PATCH, in the schema's case.
    pub path: String,
    /// Whether the schema it belongs to knows it, or is none of ours.
    pub known: bool,
    /// Whether it is one plain value, so that a text that looks like JSON is a text.
    plain: bool,
}

impl Target {
    /// Reads ATTR, as [`parse`] does.
    ///
    /// # Errors
    /// When it is no path: wrong usage.
    pub fn parse(text: &str, schema: &ResourceSchema, bounds: Bounds) -> anyhow::Result<Target> {
        let mut path = PatchPath::parse(text, bounds)
            .map_err(|error| Failure::usage(format!("`{text}`: {error}")).hint(EXAMPLES))?;
        qualify(&mut path.attr, schema);
        let known = attribute(&path.attr, schema);
        let plain = known.is_some_and(|known| !known.multi_valued && known.data_type != Type::Complex);
        let is_ours =
            path.attr.urn.as_deref().is_none_or(|urn| schema.is_core(urn) || schema.extension(urn).is_some());
        if let (None, Some(whole)) = (&path.attr.urn, schema.attribute(&path.attr.name)) {
            path.attr.name.clone_from(&whole.name);
        }
        Ok(Target { known: known.is_some() || !is_ours, path: path.to_string(), plain })
    }

    /// The operation that gives it this value; the empty one takes it away.
    pub fn operation(&self, value: &str) -> Value {
        match value {
            "" => json!({ "op": "remove", "path": self.path }),
            value => json!({ "op": "replace", "path": self.path, "value": self.value_of(value) }),
        }
    }

    fn value_of(&self, text: &str) -> Value {
        if !self.plain
            && text.trim_start().starts_with(['[', '{'])
            && let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(text)
        {
            return value;
        }
        Value::String(text.to_owned())
    }
}

/// What the operations make of a resource that is yet to be created.
///
/// # Errors
/// When an operation cannot be carried out: wrong usage.
pub fn apply(
    operations: Vec<Value>,
    draft: Map<String, Value>,
    schema: &ResourceSchema,
    bounds: Bounds,
) -> anyhow::Result<Value> {
    if operations.is_empty() {
        return Ok(Value::Object(draft));
    }
    let usage = |error: crate::scim::Error| Failure::usage(error.detail).hint(EXAMPLES);
    // The bound on operations is for requests from outside.
    let parsed = patch::parse(json!({ "Operations": operations }), usize::MAX, bounds, Profile::Okta)
        .map_err(usage)?;
    let password = patch::password_of(&parsed).map_err(usage)?;
    let mut resource = patch::apply(parsed, draft, schema, bounds, Profile::Okta, &mut Effort::default())
        .map_err(usage)?
        .doc;
    if let Some(Some(password)) = password {
        resource.insert("password".to_owned(), Value::String(password));
    }
    Ok(Value::Object(resource))
}

/// A resource as lines of attribute and value, the attribute written as `user set` takes it. Members are left
/// out: they are a table of their own.
pub fn lines(resource: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (name, value) in resource.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("schemas" | "members", _) => {}
            ("meta", meta) => {
                for stamp in ["created", "lastModified"] {
                    lines.push((format!("meta.{stamp}"), plain(&meta[stamp])));
                }
            }
            ("groups", Value::Array(groups)) => {
                for group in groups {
                    let group = format!("{} ({})", plain(&group["display"]), plain(&group["value"]));
                    lines.push((name.clone(), group));
                }
            }
            (urn, Value::Object(parts)) if urn.contains(':') => {
                for (part, value) in parts {
                    flatten(&format!("{urn}:{part}"), value, &mut lines);
                }
            }
            _ => flatten(name, value, &mut lines),
        }
    }
    lines
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(parts) => {
            lines.extend(parts.iter().map(|(part, value)| (format!("{path}.{part}"), plain(value))));
        }
        Value::Array(elements) => {
            for element in elements {
                match (element.as_object(), only_type(element, elements)) {
                    (Some(parts), Some(kind)) => {
                        for (part, value) in parts.iter().filter(|(part, _)| *part != "type") {
                            lines.push((format!("{path}[type eq {}].{part}", json!(kind)), plain(value)));
                        }
                    }
                    _ => lines.push((path.to_owned(), plain(element))),
                }
            }
        }
        single => lines.push((path.to_owned(), plain(single))),
    }
}

/// The element's type, when no other element has it.
pub fn only_type<'a>(element: &'a Value, elements: &[Value]) -> Option<&'a str> {
    let kind = element["type"].as_str()?;
    let is_same =
        |other: &&Value| other["type"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(kind));
    (elements.iter().filter(is_same).count() == 1).then_some(kind)
}

/// A value as a person reads it: strings without quotes, what is missing as nothing.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Cuts at the first `=` that stands neither in brackets nor in quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if depth > 0 => quoted = !quoted,
            _ if quoted => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '=' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// `department` is found in one extension only, so nobody need type that extension's URN.
fn qualify(attr: &mut AttrPath, schema: &ResourceSchema) {
    if attr.urn.is_some() || schema.attribute(&attr.name).is_some() {
        return;
    }
    let mut having = schema.extensions.iter().filter(|extension| extension.attribute(&attr.name).is_some());
    if let (Some(only), None) = (having.next(), having.next()) {
        attr.urn = Some(only.id.clone());
    }
}

fn attribute<'a>(attr: &AttrPath, schema: &'a ResourceSchema) -> Option<&'a Attribute> {
    let whole = match &attr.urn {
        Some(urn) if !schema.is_core(urn) => schema.extension(urn)?.attribute(&attr.name),
        _ => schema.attribute(&attr.name),
    }?;
    match &attr.sub {
        Some(sub) => whole.sub(sub),
        None => Some(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Kind;
    use crate::scim::schema::Schemas;

    const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

    fn operation_of(text: &str) -> anyhow::Result<Value> {
        Ok(parse(text, Schemas::builtin().unwrap().of(Kind::User), BOUNDS)?.operation)
    }

    #[test]
    fn an_assignment_replaces_and_an_empty_one_removes() {
        assert_eq!(
            operation_of("title=a=b").unwrap(),
            json!({ "op": "replace", "path": "title", "value": "a=b" })
        );
        assert_eq!(
            operation_of("name.givenName=").unwrap(),
            json!({ "op": "remove", "path": "name.givenName" })
        );
    }

    #[test]
    fn the_equals_sign_in_a_value_filter_does_not_part_name_and_value() {
        assert_eq!(
            operation_of(r#"emails[type eq "a=\"]="].value=ada@example.com"#).unwrap(),
            json!({ "op": "replace", "path": r#"emails[type eq "a=\"]="].value"#, "value": "ada@example.com" })
        );
    }

    #[test]
    fn an_attribute_of_an_extension_needs_no_urn() {
        let path = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
        let expected = json!({ "op": "replace", "path": path, "value": "Sales" });
        assert_eq!(operation_of("department=Sales").unwrap(), expected);
        assert_eq!(operation_of(&format!("{path}=Sales")).unwrap(), expected);
    }

    #[test]
    fn json_is_taken_as_json_only_where_one_plain_value_does_not_do() {
        assert_eq!(
            operation_of(r#"emails=[{"value":"a@b"}]"#).unwrap()["value"],
            json!([{ "value": "a@b" }])
        );
        assert_eq!(operation_of(r#"title=["x"]"#).unwrap()["value"], json!(r#"["x"]"#));
        assert_eq!(operation_of("urn:x:1.0:level=3").unwrap()["value"], json!("3"));
    }

    #[test]
    fn what_is_no_assignment_is_wrong_usage() {
        for text in ["", "title", "=x", "emails[type=x", "emails[type eq].value=x"] {
            assert!(operation_of(text).unwrap_err().is::<Failure>(), "{text}");
        }
    }

    #[test]
    fn a_name_that_our_schemas_do_not_know_is_told_apart_from_a_clients_own() {
        let schemas = Schemas::builtin().unwrap();
        let unknown = |text| parse(text, schemas.of(Kind::User), BOUNDS).unwrap().unknown;
        assert_eq!(unknown("titel=x").as_deref(), Some("titel"));
        assert_eq!(unknown("name.given=x").as_deref(), Some("name.given"));
        assert_eq!(unknown("title=x"), None);
        assert_eq!(unknown("department=x"), None);
        assert_eq!(unknown("urn:okta:custom:1.0:user:level=3"), None);
    }

    #[test]
    fn assignments_make_a_draft() {
        let schemas = Schemas::builtin().unwrap();
        let schema = schemas.of(Kind::User);
        let operations = ["emails[type eq \"work\"].value=ada@example.com", "department=Sales", "password=x"]
            .map(|text| parse(text, schema, BOUNDS).unwrap().operation);
        let draft = Map::from_iter([("userName".to_owned(), json!("ada"))]);
        let made = apply(operations.to_vec(), draft, schema, BOUNDS).unwrap();
        assert_eq!(made["userName"], "ada");
        assert_eq!(made["emails"], json!([{ "value": "ada@example.com", "type": "work" }]));
        assert_eq!(made["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"], "Sales");
        assert_eq!(made["password"], "x");
    }

    #[test]
    fn a_resource_is_shown_by_the_names_that_are_set() {
        let resource = json!({
            "schemas": ["urn:x"], "id": "1", "userName": "ada", "name": { "givenName": "Ada" },
            "emails": [{ "value": "a@b", "type": "work", "primary": true }, { "value": "c@d" }],
            "urn:y:1.0:User": { "department": "Sales", "manager": { "value": "2" } },
            "groups": [{ "value": "7", "display": "Engineering" }],
            "meta": { "created": "then", "lastModified": "now", "version": "W/\"1\"" }
        });
        let shown: Vec<String> =
            lines(&resource).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "id=1",
                "userName=ada",
                "name.givenName=Ada",
                "emails[type eq \"work\"].value=a@b",
                "emails[type eq \"work\"].primary=true",
                "emails={\"value\":\"c@d\"}",
                "urn:y:1.0:User:department=Sales",
                "urn:y:1.0:User:manager.value=2",
                "groups=Engineering (7)",
                "meta.created=then",
                "meta.lastModified=now",
            ]
        );
    }
}

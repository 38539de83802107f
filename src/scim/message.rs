//! Messages around resources: request bodies to JSON, ListResponse, ServiceProviderConfig, ResourceTypes,
//! Schemas (RFC 7644 §3.4.2, RFC 7643 §5 to §7).

use std::collections::HashSet;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::scim::schema::Schemas;
use crate::scim::{Error, Kind, resource};

/// The URN of the ListResponse message, RFC 7644 §3.4.2.
pub const LIST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// Reads a request body.
///
/// # Errors
/// 400 `invalidSyntax` when it is not JSON (the sentence says where), is empty, is nested deeper than allowed, or
/// names something twice in one object.
pub fn parse_json(body: &[u8], depth_max: usize) -> Result<Value, Error> {
    read_json(body, depth_max, Build(Take::Nothing))
}

/// As [`parse_json`], but where the body is an object with an array of this name, in whatever case, its elements are
/// handed to `take` one by one, and the array stays empty: a hundred thousand of them as a tree are ten times the text.
///
/// # Errors
/// As [`parse_json`]; `take` may then have been given some.
pub fn parse_json_taking(
    body: &[u8],
    depth_max: usize,
    name: &str,
    take: &mut dyn FnMut(Value),
) -> Result<Value, Error> {
    read_json(body, depth_max, Build(Take::From { name, take }))
}

/// Builds a part of a body that [`check_json`] has seen.
///
/// # Errors
/// 400 `invalidSyntax` when a text or number in it cannot be read, or it names something twice in one object.
pub fn build_json(part: &[u8]) -> Result<Value, Error> {
    read_whole(part, Build(Take::Nothing)).map_err(|error| refusal(&error))
}

/// Checks a request body without building it. What is left to find when a part of it is read: escapes that make no
/// text and numbers that are too large.
///
/// # Errors
/// As [`parse_json`].
pub fn check_json(body: &[u8], depth_max: usize) -> Result<(), Error> {
    if std::str::from_utf8(body).is_err() {
        return Err(Error::invalid_syntax("The request body is not valid JSON: it is not UTF-8."));
    }
    read_json(body, depth_max, PhantomData::<IgnoredAny>).map(drop)
}

fn read_json<'b, S: DeserializeSeed<'b>>(
    body: &'b [u8],
    depth_max: usize,
    seed: S,
) -> Result<S::Value, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid_syntax("The request has no body; it needs a JSON object."));
    }
    check_depth(body, depth_max)?;
    read_whole(body, seed).map_err(|error| refusal(&error))
}

fn read_whole<'b, S: DeserializeSeed<'b>>(text: &'b [u8], seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

fn refusal(error: &serde_json::Error) -> Error {
    if let Some((name, _)) = error.to_string().strip_prefix(TWICE).and_then(|rest| rest.split_once('\n')) {
        return resource::twice(name);
    }
    // serde_json's own text may quote what was sent; line and column do not.
    Error::invalid_syntax(format!(
        "The request body is not valid JSON: it breaks at line {}, column {}.",
        error.line(),
        error.column()
    ))
}

/// Leads the error of an object that names something twice; its name follows, and a line's end.
const TWICE: &str = "twice:";

/// Objects of up to so many members are looked through by comparing; larger ones with a set.
const FEW_MEMBERS: usize = 16;

/// Builds a JSON value in whose objects no name is there twice. Names of attributes are the same in any case (RFC 7643
/// §2.1), and whoever reads two of them as one of its choice is told something else than the next reader.
struct Build<'t>(Take<'t>);

/// What does not become a part of the value.
enum Take<'t> {
    /// All of it does.
    Nothing,
    /// The elements of an array with this name, when the value is an object.
    From { name: &'t str, take: &'t mut dyn FnMut(Value) },
    /// The elements, when the value is an array.
    Elements(&'t mut dyn FnMut(Value)),
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut made = Vec::new();
        let mut keep = |element| made.push(element);
        let take: &mut dyn FnMut(Value) = match self.0 {
            Take::Elements(take) => take,
            Take::Nothing | Take::From { .. } => &mut keep,
        };
        while let Some(element) = elements.next_element_seed(Build(Take::Nothing))? {
            take(element);
        }
        Ok(Value::Array(made))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut made = Map::new();
        let mut many = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let is_there = if made.len() < FEW_MEMBERS {
                made.keys().any(|held: &String| held.eq_ignore_ascii_case(&name))
            } else {
                if many.is_empty() {
                    many.extend(made.keys().map(|held| held.to_ascii_lowercase()));
                }
                !many.insert(name.to_ascii_lowercase())
            };
            if is_there {
                return Err(serde::de::Error::custom(format_args!("{TWICE}{}\n", name.escape_debug())));
            }
            let inside = match &mut self.0 {
                Take::From { name: wanted, take } if wanted.eq_ignore_ascii_case(&name) => {
                    Take::Elements(take)
                }
                _ => Take::Nothing,
            };
            let value = members.next_value_seed(Build(inside))?;
            made.insert(name, value);
        }
        Ok(Value::Object(made))
    }
}

/// Counts brackets outside of strings, before anything is built.
fn check_depth(body: &[u8], depth_max: usize) -> Result<(), Error> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > depth_max {
                    return Err(Error::invalid_syntax(format!(
                        "The request body is nested deeper than the {depth_max} levels allowed."
                    )));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Begins a ListResponse; the resources follow, parted by commas, then [`end_list`].
pub fn begin_list(out: &mut Vec<u8>, total_results: u64, start_index: u64, items_per_page: usize) {
    // By hand, since every look-up begins so, and `format!` takes a good part of it.
    let mut digits = itoa::Buffer::new();
    for part in ["{\"schemas\":[\"", LIST_URN, "\"],\"totalResults\":"] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(digits.format(total_results).as_bytes());
    out.extend_from_slice(b",\"startIndex\":");
    out.extend_from_slice(digits.format(start_index).as_bytes());
    out.extend_from_slice(b",\"itemsPerPage\":");
    out.extend_from_slice(digits.format(items_per_page).as_bytes());
    out.extend_from_slice(b",\"Resources\":[");
}

/// [`begin_list`] of a page that was asked for by a cursor (RFC 9865 §2), with those that lead on from it. Such a page
/// has no place that could be told in `startIndex`.
pub fn begin_list_by_cursor(
    out: &mut Vec<u8>,
    total_results: u64,
    items_per_page: usize,
    previous: Option<&str>,
    next: Option<&str>,
) {
    let head = format!(
        "{{\"schemas\":[\"{LIST_URN}\"],\"totalResults\":{total_results},\"itemsPerPage\":{items_per_page},"
    );
    out.extend_from_slice(head.as_bytes());
    for (name, cursor) in [("previousCursor", previous), ("nextCursor", next)] {
        if let Some(cursor) = cursor {
            // A cursor holds nothing that would have to be escaped.
            out.extend_from_slice(format!("\"{name}\":\"{cursor}\",").as_bytes());
        }
    }
    out.extend_from_slice(b"\"Resources\":[");
}

/// Ends a ListResponse.
pub fn end_list(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

/// A ListResponse of a few resources at hand.
fn list_of(resources: Vec<Value>) -> Value {
    json!({
        "schemas": [LIST_URN],
        "totalResults": resources.len(),
        "startIndex": 1,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

/// What ServiceProviderConfig says beyond what is the same for everybody.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The most resources of one answer.
    pub page_resources_max: usize,
    /// How many there are when the client does not say.
    pub page_resources_default: usize,
    /// The most operations of a bulk request.
    pub bulk_operations_max: usize,
    /// The most bytes of a request body, a bulk request's included.
    pub body_bytes_max: usize,
    /// Whether passwords are kept, so that changing one has an effect.
    pub change_password: bool,
}

/// `/ServiceProviderConfig` (RFC 7643 §5), from what is in force.
pub fn service_provider_config(capabilities: Capabilities, base_url: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": {
            "supported": true,
            "maxOperations": capabilities.bulk_operations_max,
            "maxPayloadSize": capabilities.body_bytes_max,
        },
        "filter": { "supported": true, "maxResults": capabilities.page_resources_max },
        "changePassword": { "supported": capabilities.change_password },
        "sort": { "supported": true },
        "etag": { "supported": true },
        // RFC 9865 §4. Cursors do not run out, so there is no cursorTimeout.
        "pagination": {
            "cursor": true,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": capabilities.page_resources_default.min(capabilities.page_resources_max),
            "maxPageSize": capabilities.page_resources_max,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "API token",
                "description": "The tenant's API token in the Authorization header, with or without the word Bearer before it.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": true,
            },
            {
                "type": "httpbasic",
                "name": "HTTP Basic",
                "description": "The tenant's API token as the password, with any user name.",
                "specUri": "https://www.rfc-editor.org/info/rfc7617",
            },
        ],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base_url}/ServiceProviderConfig"),
        },
    })
}

/// `/ResourceTypes` (RFC 7643 §6).
pub fn resource_types(schemas: &Schemas, base_url: &str) -> Value {
    let kinds = Kind::ALL.into_iter().map(|kind| type_of(schemas, kind, base_url));
    let catalogs = schemas.catalogs().iter().map(|catalog| catalog.resource_type(schemas, base_url));
    list_of(kinds.chain(catalogs).collect())
}

/// `/ResourceTypes/{name}`.
///
/// # Errors
/// 404 when there is none of that name.
pub fn resource_type(schemas: &Schemas, name: &str, base_url: &str) -> Result<Value, Error> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    let catalog = || schemas.catalogs().iter().find(|catalog| catalog.name == name);
    kind.map(|kind| type_of(schemas, kind, base_url))
        .or_else(|| catalog().map(|catalog| catalog.resource_type(schemas, base_url)))
        .ok_or_else(|| {
            Error::not_found("There is no such resource type; GET /ResourceTypes lists those there are.")
        })
}

fn type_of(schemas: &Schemas, kind: Kind, base_url: &str) -> Value {
    let schema = schemas.of(kind);
    let extensions: Vec<Value> = schema
        .extensions
        .iter()
        .map(|extension| json!({ "schema": extension.id, "required": extension.required }))
        .collect();
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": kind.name(),
        "name": kind.name(),
        "description": schema.core.json["description"],
        "endpoint": format!("/{}", kind.endpoint()),
        "schema": schema.core.id,
        "schemaExtensions": extensions,
        "meta": { "resourceType": "ResourceType", "location": format!("{base_url}/ResourceTypes/{}", kind.name()) },
    })
}

/// `/Schemas` (RFC 7643 §7).
pub fn schemas(schemas: &Schemas, base_url: &str) -> Value {
    list_of(schemas.all().into_iter().map(|schema| with_meta(&schema.json, &schema.id, base_url)).collect())
}

/// `/Schemas/{urn}`.
///
/// # Errors
/// 404 when there is none of that URN.
pub fn schema(schemas: &Schemas, urn: &str, base_url: &str) -> Result<Value, Error> {
    let found = schemas.all().into_iter().find(|schema| schema.id.eq_ignore_ascii_case(urn));
    found
        .map(|schema| with_meta(&schema.json, &schema.id, base_url))
        .ok_or_else(|| Error::not_found("There is no such schema; GET /Schemas lists those there are."))
}

fn with_meta(schema: &Value, id: &str, base_url: &str) -> Value {
    let mut schema = schema.clone();
    schema["meta"] = json!({ "resourceType": "Schema", "location": format!("{base_url}/Schemas/{id}") });
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_json_is_refused_with_the_place_and_without_its_text() {
        assert_eq!(
            parse_json(b"{\n \"userName\": secret }", 32).unwrap_err().detail,
            "The request body is not valid JSON: it breaks at line 2, column 14."
        );
        assert!(parse_json(b"  ", 32).unwrap_err().detail.contains("no body"));
        assert_eq!(parse_json(b"\xef\xbb\xbf{\"a\":1}", 32).unwrap(), json!({ "a": 1 }));
    }

    #[test]
    fn a_name_is_there_once_in_each_object_whatever_its_case() {
        for twice in [
            r#"{"a":1,"a":2}"#,
            r#"{"userName":"a","USERNAME":"b"}"#,
            r#"[{"x":{"displayName":"a","displayname":"b"}}]"#,
        ] {
            let refused = parse_json(twice.as_bytes(), 32).unwrap_err();
            assert!(refused.detail.ends_with(" is there twice."), "{refused}");
            assert_eq!(refused.scim_type, Some(crate::scim::ScimType::InvalidSyntax));
        }
        assert!(parse_json(br#"{"a":{"b":1},"c":{"b":1}}"#, 32).is_ok());
        let many = |last: &str| {
            let members: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{},\"{last}\":0}}", members.join(","))
        };
        assert!(parse_json(many("k100").as_bytes(), 32).is_ok());
        assert_eq!(
            parse_json(many("K7").as_bytes(), 32).unwrap_err().detail,
            "The attribute K7 is there twice."
        );
    }

    #[test]
    fn values_are_those_of_the_json() {
        let text = r#"{"z":[null,true,-1,18446744073709551615,1.5,1e300,"\u00e4\n"],"a":{"b":{}}}"#;
        assert_eq!(
            parse_json(text.as_bytes(), 32).unwrap().to_string(),
            serde_json::from_str::<Value>(text).unwrap().to_string()
        );
        assert!(parse_json(b"1e999", 32).is_err());
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_text_do_not_count() {
        assert!(parse_json(b"[[[1]]]", 3).is_ok());
        assert!(parse_json(b"[[[[1]]]]", 3).unwrap_err().detail.contains("3 levels"));
        assert!(parse_json(br#"["[[[[\"{{{{"]"#, 3).is_ok());
        assert!(parse_json(&b"[".repeat(4_000_000), 32).is_err());
    }

    #[test]
    fn a_list_is_valid_json_with_numbers() {
        let mut out = Vec::new();
        begin_list(&mut out, 3, 1, 0);
        end_list(&mut out);
        let list: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            list,
            json!({ "schemas": [LIST_URN], "totalResults": 3, "startIndex": 1, "itemsPerPage": 0, "Resources": [] })
        );
    }

    #[test]
    fn a_list_by_cursor_has_cursors_and_no_index() {
        let mut out = Vec::new();
        begin_list_by_cursor(&mut out, 3, 0, Some("p-_"), None);
        end_list(&mut out);
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap(),
            json!({ "schemas": [LIST_URN], "totalResults": 3, "itemsPerPage": 0, "previousCursor": "p-_", "Resources": [] })
        );
    }

    #[test]
    fn discovery_names_what_there_is() {
        let all = Schemas::builtin().unwrap();
        assert_eq!(schemas(&all, "b")["totalResults"], 6);
        assert_eq!(
            resource_types(&all, "b")["Resources"][0]["schemaExtensions"][0]["schema"],
            crate::scim::schema::ENTERPRISE_USER
        );
        assert_eq!(schema(&all, "urn:none", "b").unwrap_err().status, 404);
        assert_eq!(resource_type(&all, "Widget", "b").unwrap_err().status, 404);
        let capabilities = Capabilities {
            page_resources_max: 7,
            page_resources_default: 9,
            bulk_operations_max: 5,
            body_bytes_max: 3,
            change_password: false,
        };
        let config = service_provider_config(capabilities, "b");
        assert_eq!(config["filter"]["maxResults"], 7);
        assert_eq!(
            (&config["pagination"]["maxPageSize"], &config["pagination"]["defaultPageSize"]),
            (&json!(7), &json!(7))
        );
    }

    #[test]
    fn elements_are_taken_from_the_array_of_that_name_and_from_no_other() {
        let taken = |text: &str| {
            let mut taken = Vec::new();
            let rest =
                parse_json_taking(text.as_bytes(), 32, "members", &mut |one| taken.push(one.to_string()));
            (taken.join(" "), rest.unwrap().to_string())
        };
        for (text, elements, rest) in [
            (
                r#"{"a":[1],"Members":[{"members":[2]},3],"b":[4]}"#,
                r#"{"members":[2]} 3"#,
                r#"{"a":[1],"Members":[],"b":[4]}"#,
            ),
            (r#"{"x":{"members":[1]}}"#, "", r#"{"x":{"members":[1]}}"#),
            (r#"{"members":{"a":[1]}}"#, "", r#"{"members":{"a":[1]}}"#),
            (r#"[{"members":[1]}]"#, "", r#"[{"members":[1]}]"#),
            ("7", "", "7"),
        ] {
            assert_eq!(taken(text), (elements.to_owned(), rest.to_owned()));
        }
        let mut nobody = |_| ();
        let twice = parse_json_taking(br#"{"members":[1],"MEMBERS":[2]}"#, 32, "members", &mut nobody);
        assert!(twice.unwrap_err().detail.contains("MEMBERS"));
        assert!(parse_json_taking(br#"{"members":[1]} x"#, 32, "members", &mut nobody).is_err());
    }
}

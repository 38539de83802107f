//! Which attributes an answer shows (RFC 7644 §3.9), and how a stored document becomes a resource again.
//!
//! Most answers show everything: then the stored text is copied as it is, with `id`, `groups` or `members`, and
//! `meta` spliced in, and no JSON tree is built.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::scim::plain::is_plain;
use crate::scim::schema::{Attribute, ResourceSchema, Returned};
use crate::scim::{Kind, datetime};

/// The parts of a resource that are kept apart from its document.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// User or group.
    pub kind: Kind,
    /// What such a resource is made of: when each attribute is returned.
    pub schema: &'a ResourceSchema,
    /// The id.
    pub id: &'a str,
    /// The stored document: the text of a JSON object whose first key is `schemas`.
    pub doc: &'a [u8],
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// The version.
    pub version: i64,
    /// The tenant's base URL without a trailing slash.
    pub base_url: &'a str,
}

/// What one resource is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A resource of this kind is a member of the group.
    Member(Kind),
    /// A group that has the user as a member (RFC 7643 §4.1.2).
    Direct,
    /// A group that has one as a member which the user belongs to.
    Indirect,
}

impl Relation {
    /// What kind of resource the other is, and what it is called in `type`.
    fn describe(self) -> (Kind, &'static str) {
        match self {
            Relation::Member(kind) => (kind, kind.name()),
            Relation::Direct => (Kind::Group, "direct"),
            Relation::Indirect => (Kind::Group, "indirect"),
        }
    }
}

/// Writes the groups of a user or the members of a group into an answer, one by one: there may be a hundred
/// thousand of them, so they are never gathered.
pub struct RelatedWriter<'a> {
    out: &'a mut Vec<u8>,
    base_url: &'a str,
    first: bool,
    /// Whether what is written goes out as it is.
    goes_out: bool,
}

impl RelatedWriter<'_> {
    /// All that is written of the answer so far, to be sent ahead and emptied. `None` when it will still be changed
    /// as a whole.
    pub fn written(&mut self) -> Option<&mut Vec<u8>> {
        self.goes_out.then_some(&mut *self.out)
    }

    /// Writes one: what it is, its id and its name.
    pub fn push(&mut self, relation: Relation, id: &str, display: &str) {
        let (kind, called) = relation.describe();
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"value\":");
        write_text(self.out, id);
        self.out.extend_from_slice(b",\"$ref\":");
        write_location(self.out, self.base_url, kind, id);
        self.out.extend_from_slice(b",\"display\":");
        write_text(self.out, display);
        self.out.extend_from_slice(b",\"type\":");
        write_text(self.out, called);
        self.out.push(b'}');
    }
}

/// The choice of attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    only: Option<HashSet<String>>,
    without: HashSet<String>,
    /// Whether what is `returned` on request counts as asked for: in the answer to a write that gave it.
    request_shown: bool,
}

/// What a schema says of an attribute: when it is returned, and what it is made of.
#[derive(Clone, Copy)]
struct Known<'a> {
    returned: Returned,
    parts: &'a [Attribute],
}

impl Known<'_> {
    /// What no schema knows.
    const NOT: Known<'static> = Known { returned: Returned::Default, parts: &[] };

    fn of<'a>(attributes: &'a [Attribute], name: &str) -> Known<'a> {
        let known = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name));
        known.map_or(Known::NOT, Known::from)
    }

    fn at_top<'a>(schema: &'a ResourceSchema, name: &str) -> Known<'a> {
        match (schema.attribute(name), schema.extension(name)) {
            (Some(attribute), _) => Known::from(attribute),
            (None, Some(extension)) => Known { parts: &extension.attributes, ..Known::NOT },
            (None, None) => Known::NOT,
        }
    }

    /// Whether something in it is returned in another way than by default.
    fn has_exceptions(self) -> bool {
        self.parts.iter().any(|part| part.returned != Returned::Default || Known::from(part).has_exceptions())
    }
}

impl<'a> From<&'a Attribute> for Known<'a> {
    fn from(attribute: &'a Attribute) -> Known<'a> {
        Known { returned: attribute.returned, parts: &attribute.sub_attributes }
    }
}

impl Projection {
    /// Reads `attributes` and `excludedAttributes`: names parted by commas, in any case, with or without the
    /// core schema's URN. That URN alone stands for every attribute that has none of an extension.
    pub fn new(attributes: Option<&str>, excluded: Option<&str>) -> Projection {
        let names = |text: &str| -> HashSet<String> {
            text.split(',').map(|name| plain(name.trim())).filter(|name| !name.is_empty()).collect()
        };
        let only = attributes.map(names).filter(|names| !names.is_empty());
        Projection { only, without: excluded.map(names).unwrap_or_default(), request_shown: false }
    }

    /// The same for the answer to a write that gave attributes which are returned on request: they are shown
    /// (RFC 7643 §2.2), unless the client chose what it wants to see.
    #[must_use]
    pub fn after_write(mut self) -> Projection {
        self.request_shown = true;
        self
    }

    /// Whether everything is shown that is not asked away.
    pub fn is_everything(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether the client named the attributes it wants.
    pub fn is_explicit(&self) -> bool {
        self.only.is_some() || !self.without.is_empty()
    }

    /// Whether any part of a top-level attribute may be shown; spares the store the work where not.
    pub fn shows(&self, attribute: &str) -> bool {
        let name = attribute.to_ascii_lowercase();
        if self.without.contains(&name) {
            return false;
        }
        let sub = format!("{name}.");
        let core = |wanted: &str| Kind::ALL.iter().any(|kind| wanted.eq_ignore_ascii_case(kind.schema_id()));
        self.only.as_ref().is_none_or(|only| {
            only.contains(&name) || only.iter().any(|wanted| wanted.starts_with(&sub) || core(wanted))
        })
    }

    /// Appends the resource as JSON. `related` is called once, where the groups or members belong, unless they
    /// are not shown.
    ///
    /// # Errors
    /// What `related` gives.
    pub fn write<E>(
        &self,
        out: &mut Vec<u8>,
        view: &View<'_>,
        related: impl FnOnce(&mut RelatedWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_everything()
            && view.schema.shown_as_stored
            && let Some(parts) = Parts::of(view.doc)
        {
            return splice(out, view, &parts, related);
        }
        let mut listed = vec![b'['];
        if self.shows(related_name(view.kind)) {
            related(&mut RelatedWriter {
                out: &mut listed,
                base_url: view.base_url,
                first: true,
                goes_out: false,
            })?;
        }
        listed.push(b']');
        let resource = self.apply(tree(view, &listed), view.schema);
        out.extend_from_slice(Value::Object(resource).to_string().as_bytes());
        Ok(())
    }

    /// What is shown of a whole resource.
    pub fn apply(&self, resource: Map<String, Value>, schema: &ResourceSchema) -> Map<String, Value> {
        let core = schema.core.id.to_ascii_lowercase();
        let whole = self.only.as_ref().is_some_and(|only| only.contains(&core));
        let mut shown = Map::new();
        for (key, value) in resource {
            let of_extension = key.contains(':');
            let part = if of_extension { ':' } else { '.' };
            let known = Known::at_top(schema, &key);
            if !of_extension && self.without.contains(&core) && known.returned != Returned::Always {
                continue;
            }
            let name = key.to_ascii_lowercase();
            if let Some(value) = self.shown(&name, part, value, known, whole && !of_extension) {
                shown.insert(key, value);
            }
        }
        shown
    }

    /// What is shown of an attribute by its full name, in lower case. Names below a URN are parted by a colon,
    /// others by a dot. `whole` tells that the client wants what it is a part of.
    fn shown(&self, name: &str, part: char, value: Value, known: Known<'_>, whole: bool) -> Option<Value> {
        let start = format!("{name}{part}");
        let below = |names: &HashSet<String>| names.iter().any(|named| named.starts_with(&start));
        let named = self.only.as_ref().is_some_and(|only| only.contains(name) || below(only));
        let is_always = match known.returned {
            Returned::Never => return None,
            Returned::Always => true,
            Returned::Request if named || (self.request_shown && self.only.is_none()) => false,
            Returned::Request => return None,
            Returned::Default => false,
        };
        // What is always returned is so whether or not its extension is asked for.
        let keeps = part == ':' && known.parts.iter().any(|part| part.returned == Returned::Always);
        let excluded = self.without.contains(name) && !is_always;
        if excluded {
            return if keeps { self.always_in(value, known) } else { None };
        }
        let wanted = is_always || whole || self.only.as_ref().is_none_or(|only| only.contains(name));
        if !wanted && !named && !keeps {
            return None;
        }
        let as_it_is = wanted && !below(&self.without) && !known.has_exceptions();
        if as_it_is { Some(value) } else { self.parts(&start, wanted, value, known) }
    }

    fn parts(&self, start: &str, whole: bool, value: Value, known: Known<'_>) -> Option<Value> {
        match value {
            Value::Object(object) => {
                let mut shown = Map::new();
                for (key, value) in object {
                    let name = format!("{start}{}", key.to_ascii_lowercase());
                    let known = Known::of(known.parts, &key);
                    if let Some(value) = self.shown_below(&name, value, known, whole) {
                        shown.insert(key, value);
                    }
                }
                (!shown.is_empty()).then_some(Value::Object(shown))
            }
            Value::Array(elements) => {
                let shown: Vec<Value> = elements
                    .into_iter()
                    .filter_map(|element| self.parts(start, whole, element, known))
                    .collect();
                (!shown.is_empty()).then_some(Value::Array(shown))
            }
            other => whole.then_some(other),
        }
    }

    /// What is always returned of an extension that is asked away.
    fn always_in(&self, value: Value, known: Known<'_>) -> Option<Value> {
        let Value::Object(mut object) = value else { return None };
        object.retain(|key, _| Known::of(known.parts, key).returned == Returned::Always);
        (!object.is_empty()).then_some(Value::Object(object))
    }

    /// As [`Projection::shown`], for a part of something: it is wanted with the whole or by its own name.
    fn shown_below(&self, name: &str, value: Value, known: Known<'_>, whole: bool) -> Option<Value> {
        let named = self.only.as_ref().is_some_and(|only| only.contains(name));
        let below = format!("{name}.");
        let deeper = self.only.as_ref().is_some_and(|only| only.iter().any(|n| n.starts_with(&below)));
        let is_always = known.returned == Returned::Always;
        if !whole && !named && !deeper && !is_always {
            return None;
        }
        self.shown(name, '.', value, known, whole)
    }
}

/// A name without the core schema's URN, in lower case; an extension's URN stays.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    for kind in Kind::ALL {
        let core = kind.schema_id().to_ascii_lowercase();
        if let Some(rest) = name.strip_prefix(&core).and_then(|rest| rest.strip_prefix(':')) {
            return rest.to_owned();
        }
    }
    name
}

/// A stored text, cut where the id and the rest go in.
struct Parts<'a> {
    schemas: &'a [u8],
    rest: &'a [u8],
}

impl Parts<'_> {
    /// `None` when the text is not as this server writes it.
    fn of(doc: &[u8]) -> Option<Parts<'_>> {
        let inner = doc.strip_prefix(b"{\"schemas\":[")?.strip_suffix(b"}")?;
        // URNs hold no bracket: `resource` refuses them.
        let (schemas, rest) = inner.split_at(inner.iter().position(|byte| *byte == b']')? + 1);
        Some(Parts { schemas, rest })
    }
}

/// Copies the stored text and puts the rest in.
fn splice<E>(
    out: &mut Vec<u8>,
    view: &View<'_>,
    parts: &Parts<'_>,
    related: impl FnOnce(&mut RelatedWriter<'_>) -> Result<(), E>,
) -> Result<(), E> {
    out.reserve(view.doc.len() + 512);
    out.extend_from_slice(b"{\"schemas\":[");
    out.extend_from_slice(parts.schemas);
    out.extend_from_slice(b",\"id\":");
    write_text(out, view.id);
    out.extend_from_slice(parts.rest);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(related_name(view.kind).as_bytes());
    out.extend_from_slice(b"\":[");
    related(&mut RelatedWriter { out, base_url: view.base_url, first: true, goes_out: true })?;
    out.extend_from_slice(b"],\"meta\":");
    write_meta(out, view);
    out.push(b'}');
    Ok(())
}

/// The attribute that is computed from memberships.
fn related_name(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "groups",
        Kind::Group => "members",
    }
}

fn write_meta(out: &mut Vec<u8>, view: &View<'_>) {
    out.extend_from_slice(b"{\"resourceType\":\"");
    out.extend_from_slice(view.kind.name().as_bytes());
    out.extend_from_slice(b"\",\"created\":\"");
    datetime::write(out, view.created_ms);
    out.extend_from_slice(b"\",\"lastModified\":\"");
    datetime::write(out, view.modified_ms);
    out.extend_from_slice(b"\",\"location\":");
    write_location(out, view.base_url, view.kind, view.id);
    // An ETag has two quotation marks, which are to be escaped.
    out.extend_from_slice(b",\"version\":\"W/\\\"");
    out.extend_from_slice(itoa::Buffer::new().format(view.version).as_bytes());
    out.extend_from_slice(b"\\\"\"}");
}

/// A text as a JSON string.
fn write_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

/// The address of a resource as a JSON string.
fn write_location(out: &mut Vec<u8>, base_url: &str, kind: Kind, id: &str) {
    if is_plain(base_url) && is_plain(id) {
        out.push(b'"');
        for part in [base_url, "/", kind.endpoint(), "/", id] {
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b'"');
    } else {
        write_text(out, &location(base_url, kind, id));
    }
}

/// The address of a resource.
pub fn location(base_url: &str, kind: Kind, id: &str) -> String {
    let mut location = String::with_capacity(base_url.len() + id.len() + 16);
    for part in [base_url, "/", kind.endpoint(), "/", id] {
        location.push_str(part);
    }
    location
}

/// An id that a client made up, so that it can stand in an address.
pub fn encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, NOT_PLAIN).to_string()
}

/// All but what RFC 3986 calls unreserved.
const NOT_PLAIN: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The resource as a JSON tree, with everything in it; `related` is a JSON array.
fn tree(view: &View<'_>, related: &[u8]) -> Map<String, Value> {
    let mut resource = Map::new();
    let doc = match serde_json::from_slice(view.doc) {
        Ok(Value::Object(doc)) => doc,
        _ => Map::new(),
    };
    for (key, value) in doc {
        let leads = key == "schemas";
        resource.insert(key, value);
        if leads {
            resource.insert("id".to_owned(), Value::String(view.id.to_owned()));
        }
    }
    let mut meta = Vec::new();
    write_meta(&mut meta, view);
    let listed = serde_json::from_slice(related).unwrap_or_default();
    resource.insert(related_name(view.kind).to_owned(), listed);
    resource.insert("meta".to_owned(), serde_json::from_slice(&meta).unwrap_or_default());
    resource
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DOC: &str = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"externalId":"x","userName":"Ann","name":{"givenName":"A","familyName":"N"},"emails":[{"value":"a@x","type":"work"},{"value":"b@x"}],"urn:x:1.0:Y":{"a":1,"b":{"c":2,"d":3}}}"#;

    fn shown(attributes: Option<&str>, excluded: Option<&str>) -> Value {
        let schemas = crate::scim::schema::Schemas::builtin().unwrap();
        let view = View {
            kind: Kind::User,
            schema: schemas.of(Kind::User),
            id: "u1",
            doc: DOC.as_bytes(),
            created_ms: 0,
            modified_ms: 1_500,
            version: 4,
            base_url: "https://h/scim/v2/acme",
        };
        let write = |view: &View<'_>| {
            let mut out = Vec::new();
            let related = |writer: &mut RelatedWriter<'_>| {
                writer.push(Relation::Direct, "g1", "Eng \"1\"");
                Ok::<(), ()>(())
            };
            Projection::new(attributes, excluded).write(&mut out, view, related).unwrap();
            String::from_utf8(out).unwrap()
        };
        let spliced = write(&view);
        let other_form = DOC.replacen('{', "{ ", 1);
        assert_eq!(
            spliced,
            write(&View { doc: other_form.as_bytes(), ..view }),
            "the spliced text and the tree say the same"
        );
        serde_json::from_str(&spliced).unwrap()
    }

    #[test]
    fn a_whole_resource_has_everything() {
        let all = shown(None, None);
        assert_eq!(all["id"], "u1");
        assert_eq!(
            all["groups"],
            json!([{ "value": "g1", "$ref": "https://h/scim/v2/acme/Groups/g1", "display": "Eng \"1\"", "type": "direct" }])
        );
        assert_eq!(
            all["meta"],
            json!({ "resourceType": "User", "created": "1970-01-01T00:00:00.000Z",
            "lastModified": "1970-01-01T00:00:01.500Z", "location": "https://h/scim/v2/acme/Users/u1", "version": "W/\"4\"" })
        );
    }

    #[test]
    fn only_what_is_asked_for_is_shown_and_id_and_schemas_always() {
        assert_eq!(
            shown(Some("USERNAME, name.givenName,emails.type"), None),
            json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "u1", "userName": "Ann",
                    "name": { "givenName": "A" }, "emails": [{ "type": "work" }] })
        );
        let core = format!("{}:userName", crate::scim::schema::USER);
        assert_eq!(shown(Some(&core), None)["userName"], "Ann");
    }

    #[test]
    fn extensions_are_shown_whole_or_in_part() {
        assert_eq!(
            shown(Some("urn:x:1.0:Y"), None)["urn:x:1.0:Y"],
            json!({ "a": 1, "b": { "c": 2, "d": 3 } })
        );
        assert_eq!(shown(Some("urn:x:1.0:Y:b.c"), None)["urn:x:1.0:Y"], json!({ "b": { "c": 2 } }));
        assert_eq!(shown(None, Some("urn:x:1.0:Y:b.c"))["urn:x:1.0:Y"], json!({ "a": 1, "b": { "d": 3 } }));
    }

    #[test]
    fn what_is_excluded_is_not_shown_but_id_and_schemas_are() {
        let shown = shown(None, Some("emails.value,groups,id,schemas,urn:x:1.0:Y,meta"));
        assert_eq!(
            shown,
            json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "u1", "externalId": "x", "userName": "Ann",
                    "name": { "givenName": "A", "familyName": "N" }, "emails": [{ "type": "work" }] })
        );
    }

    #[test]
    fn the_urn_of_the_core_schema_stands_for_all_that_is_in_no_extension() {
        let everything = shown(None, None);
        let mut core = everything.clone();
        core.as_object_mut().unwrap().remove("urn:x:1.0:Y");
        let user = crate::scim::schema::USER;
        assert_eq!(shown(Some(user), None), core);
        assert_eq!(shown(Some(&user.to_uppercase()), Some("emails"))["userName"], "Ann");
        assert_eq!(shown(Some(user), Some("emails")).get("emails"), None);
        assert_eq!(shown(Some(&format!("{user},urn:x:1.0:Y")), None), everything);
        let extension = shown(None, Some(user));
        assert_eq!(
            extension.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["schemas", "id", "urn:x:1.0:Y"]
        );
        let of_groups = shown(Some(crate::scim::schema::GROUP), None);
        assert_eq!(of_groups.as_object().unwrap().keys().collect::<Vec<_>>(), ["schemas", "id"]);
        let named = format!("{user}:NAME.givenName,{user}:emails.type");
        assert_eq!(shown(Some(&named), None)["name"], json!({ "givenName": "A" }));
        assert_eq!(shown(Some(&named), None)["emails"], json!([{ "type": "work" }]));
        assert!(Projection::new(Some(user), None).shows("groups"));
    }

    #[test]
    fn what_cannot_be_shown_is_known_beforehand() {
        assert!(!Projection::new(None, Some("members")).shows("members"));
        assert!(!Projection::new(Some("displayName"), None).shows("members"));
        assert!(Projection::new(Some("members.value"), None).shows("members"));
        assert!(Projection::default().shows("members"));
    }
}

//! Bulk requests (RFC 7644 §3.7): many operations in one message, which may refer to each other's new resources
//! by `bulkId` before these have an id.
//!
//! Reading the message and putting ids in the place of references is done here; what each operation does is the
//! directory's. The message is never built as a whole: it is checked, and of each operation's `data` the place in
//! the text is kept until its turn comes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::scim::bulk::scan::Scan;
use crate::scim::endpoint::Operation;
use crate::scim::schema::ResourceSchema;
use crate::scim::{Error, Kind, message, resource};

mod scan;

/// The URN of the BulkRequest message.
pub const REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The URN of the BulkResponse message.
pub const RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

const REFERENCE: &str = "bulkId:";
/// A reference inside the filter of a path.
const QUOTED_REFERENCE: &str = "\"bulkId:";

const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// A bulk request, read as far as its operations.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkRequest {
    /// After how many failed operations the rest is left undone; `None` for never.
    pub fail_on_errors: Option<usize>,
    /// The operations in order.
    pub operations: Vec<BulkOperation>,
}

/// One operation, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkOperation {
    /// In capitals, for the answer.
    pub method: &'static str,
    /// The client's name for a new resource.
    pub bulk_id: Option<String>,
    /// The version the resource must have, as in If-Match.
    pub version: Option<String>,
    /// What it does; the id may still be a reference.
    pub operation: Result<Operation, Error>,
    /// Where in the message its `data` stands; an empty range where there is none.
    pub data: Range<usize>,
}

impl BulkOperation {
    /// The `bulkId` of the resource that the operation makes, if it makes one.
    pub fn makes(&self) -> Option<&str> {
        self.bulk_id.as_deref().filter(|_| self.method == "POST")
    }

    /// The kind that the operation is about, and the id of its resource or a reference to it; a create has none.
    pub fn target(&self) -> Option<(Kind, &str)> {
        match &self.operation {
            Ok(Operation::Replace(kind, id) | Operation::Patch(kind, id) | Operation::Delete(kind, id)) => {
                Some((*kind, id))
            }
            _ => None,
        }
    }

    /// Its `data`, built; null where there is none.
    ///
    /// # Errors
    /// 400 `invalidSyntax` when a text or number in it cannot be read, or it names something twice.
    pub fn data(&self, body: &[u8]) -> Result<Value, Error> {
        let text = body.get(self.data.clone()).unwrap_or_default();
        if text.is_empty() {
            return Ok(Value::Null);
        }
        message::build_json(text)
    }

    /// Every `bulkId` that its path or `data` refers to.
    pub fn references(&self, body: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let text = body.get(self.data.clone()).unwrap_or_default();
        // Nearly no operation refers to another, and those need not be built to know. The word may be written with
        // escapes.
        if (contains(text, REFERENCE.as_bytes()) || contains(text, b"\\u"))
            && let Ok(data) = serde_json::from_slice(text)
        {
            references(&data, &mut found);
        }
        found.extend(self.target().and_then(|(_, id)| reference(id)).map(str::to_owned));
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads a BulkRequest message.
///
/// # Errors
/// 400 `invalidSyntax` when it is none, 413 when it has more operations than allowed.
pub fn parse(body: &[u8], depth_max: usize, operations_max: usize) -> Result<BulkRequest, Error> {
    message::check_json(body, depth_max)?;
    let none = || Error::invalid_syntax("The request body must be a BulkRequest message with Operations.");
    let scan = Scan::new(body);
    let mut named = true;
    let mut fail_on_errors = None;
    let mut operations = None;
    let is_object = scan.each_entry(scan.whole(), |key, value| {
        if key.eq_ignore_ascii_case("schemas") {
            named = names_bulk_request(&built(body, value)?);
        } else if key.eq_ignore_ascii_case("failOnErrors") {
            fail_on_errors = errors_allowed(&built(body, value)?)?;
        } else if key.eq_ignore_ascii_case("Operations") {
            operations = operations_in(scan, value, operations_max)?;
        }
        Ok(())
    })?;
    if !is_object {
        return Err(none());
    }
    if !named {
        return Err(Error::invalid_syntax(format!("The schemas of a bulk request must name {REQUEST_URN}.")));
    }
    let operations =
        operations.ok_or_else(|| Error::invalid_syntax("The bulk request has no list Operations."))?;
    check_bulk_ids(&operations)?;
    Ok(BulkRequest { fail_on_errors, operations })
}

fn built(body: &[u8], range: Range<usize>) -> Result<Value, Error> {
    serde_json::from_slice(body.get(range).unwrap_or_default())
        .map_err(|_| Error::invalid_syntax("The request body is not valid JSON."))
}

fn names_bulk_request(schemas: &Value) -> bool {
    let listed = schemas.as_array().map_or(&[][..], Vec::as_slice);
    schemas.is_null()
        || listed.iter().filter_map(Value::as_str).any(|urn| urn.eq_ignore_ascii_case(REQUEST_URN))
}

fn errors_allowed(value: &Value) -> Result<Option<usize>, Error> {
    if value.is_null() {
        return Ok(None);
    }
    match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
        Some(count) if count > 0 => Ok(Some(count)),
        _ => Err(Error::invalid_value("failOnErrors must be a whole number above 0.")),
    }
}

/// The operations; `None` when the value is no list.
fn operations_in(
    scan: Scan<'_>,
    list: Range<usize>,
    operations_max: usize,
) -> Result<Option<Vec<BulkOperation>>, Error> {
    let mut operations = Vec::new();
    let is_list = scan.each_element(list, |element| {
        if operations.len() >= operations_max {
            return Err(Error::too_many_operations("A bulk request", operations_max));
        }
        operations.push(operation(scan, element)?);
        Ok(())
    })?;
    Ok(is_list.then_some(operations))
}

fn operation(scan: Scan<'_>, object: Range<usize>) -> Result<BulkOperation, Error> {
    let (mut bulk_id, mut version, mut path, mut method) = (None, None, None, None);
    let mut data = 0..0;
    let is_object = scan.each_entry(object, |key, value| {
        let place = match key.to_ascii_lowercase().as_str() {
            "bulkid" => &mut bulk_id,
            "version" => &mut version,
            "path" => &mut path,
            "method" => &mut method,
            "data" => {
                data = value;
                return Ok(());
            }
            _ => return Ok(()),
        };
        *place = match built(scan.text(), value)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => {
                return Err(Error::invalid_syntax(
                    "method, bulkId, version and path of a bulk operation must be strings.",
                ));
            }
        };
        Ok(())
    })?;
    if !is_object {
        return Err(Error::invalid_syntax("Each of Operations must be a JSON object."));
    }
    let path = path.ok_or_else(|| Error::invalid_syntax("A bulk operation needs a path."))?;
    let method = method
        .and_then(|method| METHODS.into_iter().find(|known| method.eq_ignore_ascii_case(known)))
        .ok_or_else(|| {
            Error::invalid_syntax("The method of a bulk operation must be POST, PUT, PATCH or DELETE.")
        })?;
    let bulk_id = bulk_id.filter(|bulk_id: &String| !bulk_id.is_empty());
    let operation = Operation::resolve(method, &path).and_then(|operation| match operation {
        Operation::Create(_) if bulk_id.is_none() => {
            Err(Error::invalid_value("A bulk operation with the method POST needs a bulkId."))
        }
        Operation::Create(_) | Operation::Replace(..) | Operation::Patch(..) | Operation::Delete(..) => {
            Ok(operation)
        }
        _ => Err(Error::invalid_value("The path of a bulk operation must name Users or Groups.")),
    });
    Ok(BulkOperation { method, bulk_id, version, operation, data })
}

fn check_bulk_ids(operations: &[BulkOperation]) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(operations.len());
    if operations.iter().filter_map(BulkOperation::makes).all(|bulk_id| seen.insert(bulk_id)) {
        return Ok(());
    }
    Err(Error::invalid_value("Two operations of the bulk request have the same bulkId."))
}

/// The `bulkId` that a text refers to.
pub fn reference(text: &str) -> Option<&str> {
    text.strip_prefix(REFERENCE)
}

/// The references in the filter of a path, such as `members[value eq "bulkId:a"]`: the part before each, and the
/// `bulkId`; at last what follows.
fn quoted_references(path: &str) -> (Vec<(&str, &str)>, &str) {
    let (mut found, mut rest) = (Vec::new(), path);
    while let Some((before, after)) = rest.split_once(QUOTED_REFERENCE)
        && let Some(end) = after.find('"')
    {
        found.push((before, &after[..end]));
        rest = &after[end..];
    }
    (found, rest)
}

/// Every `bulkId` that a value refers to.
pub fn references_in(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    references(value, &mut found);
    found
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(reference(text).map(str::to_owned)),
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        Value::Object(object) => {
            for (key, value) in object {
                references(value, found);
                if let Some(path) = value.as_str().filter(|_| key.eq_ignore_ascii_case("path")) {
                    found.extend(quoted_references(path).0.iter().map(|(_, bulk_id)| (*bulk_id).to_owned()));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What the references of a request come to.
#[derive(Debug, Default)]
pub struct Ids<'a> {
    /// The `bulkId`s of all resources that the request makes.
    pub made_here: HashSet<&'a str>,
    /// The ids of those that are made by now.
    pub known: HashMap<&'a str, String>,
}

impl Ids<'_> {
    /// The id of a resource that is referred to.
    ///
    /// # Errors
    /// 409 when its operation failed, 400 `invalidValue` when the request has none.
    pub fn of(&self, bulk_id: &str) -> Result<&str, Error> {
        if let Some(id) = self.known.get(bulk_id) {
            return Ok(id);
        }
        if self.made_here.contains(bulk_id) {
            return Err(Error::conflict(
                "The operation refers by bulkId to a resource that could not be made.",
            ));
        }
        Err(Error::invalid_value("The operation refers to a bulkId that no POST of the request has."))
    }

    /// Puts ids in the place of references, wherever they stand. A text that looks like a reference to nothing in
    /// the request is one where an id belongs, under `value` and `$ref`, and else just a text.
    ///
    /// # Errors
    /// As [`Ids::of`].
    pub fn resolve(&self, value: &mut Value) -> Result<(), Error> {
        self.resolve_at("value", value)
    }

    fn resolve_at(&self, key: &str, value: &mut Value) -> Result<(), Error> {
        match value {
            Value::String(text) => {
                if let Some(bulk_id) = reference(text) {
                    let is_id = ["value", "$ref"].iter().any(|name| key.eq_ignore_ascii_case(name));
                    if is_id || self.made_here.contains(bulk_id) {
                        *text = self.of(bulk_id)?.to_owned();
                    }
                } else if key.eq_ignore_ascii_case("path") && text.contains(QUOTED_REFERENCE) {
                    *text = self.resolve_path(text)?;
                }
                Ok(())
            }
            Value::Array(elements) => {
                elements.iter_mut().try_for_each(|element| self.resolve_at(key, element))
            }
            Value::Object(object) => {
                object.iter_mut().try_for_each(|(key, value)| self.resolve_at(key, value))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn resolve_path(&self, path: &str) -> Result<String, Error> {
        let (found, rest) = quoted_references(path);
        let mut resolved = String::with_capacity(path.len());
        for (before, bulk_id) in found {
            resolved.push_str(before);
            resolved.push('"');
            resolved.push_str(self.of(bulk_id)?);
        }
        resolved.push_str(rest);
        Ok(resolved)
    }
}

/// Takes out of a new resource's body what refers to resources that are still to be made, as attributes to be added
/// later: so two groups come to contain each other (RFC 7644 §3.7.1). `None` when what is required refers to
/// them, so that the resource cannot be made first.
pub fn cut(
    data: &mut Value,
    schema: &ResourceSchema,
    is_open: impl Fn(&str) -> bool,
) -> Option<Vec<(String, Value)>> {
    let refers = |value: &Value| references_in(value).iter().any(|bulk_id| is_open(bulk_id));
    let mut taken = Vec::new();
    let object = data.as_object_mut()?;
    for (key, value) in std::mem::take(object) {
        let required = schema.attribute(&key).is_some_and(|attribute| attribute.required);
        if !refers(&value) {
            object.insert(key, value);
        } else if required {
            return None;
        } else {
            take(object, key, value, &refers, &mut taken);
        }
    }
    Some(taken)
}

/// Takes the referring part of one attribute: elements of a list, attributes of an extension, or the whole.
fn take(
    object: &mut Map<String, Value>,
    key: String,
    value: Value,
    refers: &impl Fn(&Value) -> bool,
    taken: &mut Vec<(String, Value)>,
) {
    match value {
        Value::Array(elements) => {
            let (open, rest): (Vec<Value>, Vec<Value>) = elements.into_iter().partition(refers);
            object.insert(key.clone(), Value::Array(rest));
            taken.push((key, Value::Array(open)));
        }
        Value::Object(inside) if resource::is_urn(&key) => {
            let (open, rest): (Map<String, Value>, Map<String, Value>) =
                inside.into_iter().partition(|(_, value)| refers(value));
            taken.extend(open.into_iter().map(|(name, value)| (format!("{key}:{name}"), value)));
            object.insert(key, Value::Object(rest));
        }
        value => taken.push((key, value)),
    }
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// HTTP status.
    pub status: u16,
    /// The resource's address; only a failed POST has none (RFC 7644 §3.7).
    pub location: Option<String>,
    /// The resource's version.
    pub version: Option<String>,
    /// The refusal.
    pub error: Option<Error>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOutcome<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Value>,
}

#[derive(Serialize)]
struct Response<'a> {
    schemas: [&'a str; 1],
    #[serde(rename = "Operations")]
    operations: Vec<ShownOutcome<'a>>,
}

/// The text of a BulkResponse message about the operations that were tried.
pub fn response<'a>(outcomes: impl Iterator<Item = (&'a BulkOperation, &'a Outcome)>) -> Vec<u8> {
    let shown = outcomes.map(|(operation, outcome)| ShownOutcome {
        method: operation.method,
        bulk_id: operation.bulk_id.as_deref(),
        version: outcome.version.as_deref(),
        location: outcome.location.as_deref(),
        status: outcome.status.to_string(),
        response: outcome.error.as_ref().map(Error::to_json),
    });
    let response = Response { schemas: [RESPONSE_URN], operations: shown.collect() };
    // Strings and numbers always have a JSON text.
    serde_json::to_vec(&response).unwrap_or_default()
}

/// The kind that an operation is about.
pub fn kind_of(operation: &Operation) -> Option<Kind> {
    match operation {
        Operation::Create(kind)
        | Operation::Replace(kind, _)
        | Operation::Patch(kind, _)
        | Operation::Delete(kind, _) => Some(*kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

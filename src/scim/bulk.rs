//! Bulk requests (RFC 7644 §3.7): many operations in one message, which may refer to each other's new resources
//! by `bulkId` before these have an id.
//!
//! Reading the message and putting ids in the place of references is done here; what each operation does is the
//! directory's.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::scim::endpoint::Operation;
use crate::scim::{Error, Kind};

/// The URN of the BulkRequest message.
pub const REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The URN of the BulkResponse message.
pub const RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

const REFERENCE: &str = "bulkId:";

/// A bulk request, read.
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
    /// As sent, for the answer.
    pub method: String,
    /// The client's name for a new resource.
    pub bulk_id: Option<String>,
    /// The version the resource must have, as in If-Match.
    pub version: Option<String>,
    /// What it does; the id may still be a reference.
    pub operation: Result<Operation, Error>,
    /// The body.
    pub data: Value,
}

/// Reads a BulkRequest message.
///
/// # Errors
/// 400 `invalidSyntax` when it is none, 413 when it has more operations than allowed.
pub fn parse(body: Value, operations_max: usize) -> Result<BulkRequest, Error> {
    let Value::Object(mut body) = body else {
        return Err(Error::invalid_syntax("The request body must be a BulkRequest message with Operations."));
    };
    let named = take(&mut body, "schemas").is_none_or(|schemas| {
        schemas.as_array().is_some_and(|listed| listed.iter().any(|urn| urn.as_str() == Some(REQUEST_URN)))
    });
    if !named {
        return Err(Error::invalid_syntax(format!("The schemas of a bulk request must name {REQUEST_URN}.")));
    }
    let fail_on_errors = match take(&mut body, "failOnErrors") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if count > 0 => Some(count),
            _ => return Err(Error::invalid_value("failOnErrors must be a whole number above 0.")),
        },
    };
    let Some(Value::Array(operations)) = take(&mut body, "Operations") else {
        return Err(Error::invalid_syntax("The bulk request has no list Operations."));
    };
    if operations.len() > operations_max {
        let mut error = Error::payload_too_large(0);
        error.detail =
            format!("A bulk request may have at most {operations_max} operations; send the rest in another.");
        return Err(error);
    }
    let operations = operations.into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    check_bulk_ids(&operations)?;
    Ok(BulkRequest { fail_on_errors, operations })
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    object.shift_remove(&key)
}

fn operation(value: Value) -> Result<BulkOperation, Error> {
    let Value::Object(mut object) = value else {
        return Err(Error::invalid_syntax("Each of Operations must be a JSON object."));
    };
    let mut text = |name: &str| match take(&mut object, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid_syntax(format!("The {name} of a bulk operation must be a string."))),
    };
    let (bulk_id, version) = (text("bulkId")?, text("version")?);
    let path = text("path")?.ok_or_else(|| Error::invalid_syntax("A bulk operation needs a path."))?;
    let method = text("method")?.map(|method| method.to_ascii_uppercase());
    let method = method.filter(|method| ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()));
    let method = method.ok_or_else(|| {
        Error::invalid_syntax("The method of a bulk operation must be POST, PUT, PATCH or DELETE.")
    })?;
    let operation = Operation::resolve(&method, &path).and_then(|operation| match operation {
        Operation::Create(_) if bulk_id.is_none() => {
            Err(Error::invalid_value("A bulk operation with the method POST needs a bulkId."))
        }
        Operation::Create(_) | Operation::Replace(..) | Operation::Patch(..) | Operation::Delete(..) => {
            Ok(operation)
        }
        _ => Err(Error::invalid_value("The path of a bulk operation must name Users or Groups.")),
    });
    let data = take(&mut object, "data").unwrap_or(Value::Null);
    Ok(BulkOperation { method, bulk_id, version, operation, data })
}

fn check_bulk_ids(operations: &[BulkOperation]) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    let creates =
        operations.iter().filter(|operation| matches!(operation.operation, Ok(Operation::Create(_))));
    for bulk_id in creates.filter_map(|operation| operation.bulk_id.as_deref()) {
        if !seen.insert(bulk_id) {
            return Err(Error::invalid_value("Two operations of the bulk request have the same bulkId."));
        }
    }
    Ok(())
}

/// The ids that new resources got, by `bulkId`.
pub type Ids = HashMap<String, String>;

/// The `bulkId` that a text refers to.
pub fn reference(text: &str) -> Option<&str> {
    text.strip_prefix(REFERENCE)
}

/// Every `bulkId` that a body refers to.
pub fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.extend(reference(text)),
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        Value::Object(object) => object.values().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts ids in the place of the references that have one.
pub fn resolve(value: &mut Value, ids: &Ids) {
    match value {
        Value::String(text) => {
            if let Some(id) = reference(text).and_then(|bulk_id| ids.get(bulk_id)) {
                id.clone_into(text);
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| resolve(element, ids)),
        Value::Object(object) => object.values_mut().for_each(|value| resolve(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes the members out of a new group's body that refer to resources without an id as yet: they are added
/// when these have one, which is how two groups come to contain each other (RFC 7644 §3.7.1).
pub fn take_unresolved_members(data: &mut Value) -> Vec<Value> {
    let Some(object) = data.as_object_mut() else { return Vec::new() };
    let Some(key) = object.keys().find(|key| key.eq_ignore_ascii_case("members")).cloned() else {
        return Vec::new();
    };
    let Some(Value::Array(members)) = object.get_mut(&key) else { return Vec::new() };
    let refers = |member: &Value| {
        let mut found = Vec::new();
        references(member, &mut found);
        !found.is_empty()
    };
    let (unresolved, rest) = std::mem::take(members).into_iter().partition(|member| refers(member));
    *members = rest;
    unresolved
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// HTTP status.
    pub status: u16,
    /// The resource's address.
    pub location: Option<String>,
    /// The resource's version.
    pub version: Option<String>,
    /// The refusal.
    pub error: Option<Error>,
}

/// A BulkResponse message of the operations that were tried.
pub fn response(outcomes: &[(&BulkOperation, Outcome)]) -> Value {
    let operations: Vec<Value> = outcomes
        .iter()
        .map(|(operation, outcome)| {
            let mut shown = json!({ "method": operation.method });
            let optional = [
                ("bulkId", operation.bulk_id.as_ref()),
                ("location", outcome.location.as_ref()),
                ("version", outcome.version.as_ref()),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    shown[name] = json!(value);
                }
            }
            shown["status"] = json!(outcome.status.to_string());
            if let Some(error) = &outcome.error {
                shown["response"] = error.to_json();
            }
            shown
        })
        .collect();
    json!({ "schemas": [RESPONSE_URN], "Operations": operations })
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
mod tests {
    use super::*;

    fn parsed(operations: Value) -> Result<BulkRequest, Error> {
        parse(json!({ "schemas": [REQUEST_URN], "failOnErrors": 1, "Operations": operations }), 3)
    }

    #[test]
    fn the_rfcs_example_is_read() {
        let request = parsed(json!([
            { "method": "post", "path": "/Users", "bulkId": "q", "data": { "userName": "a" } },
            { "method": "DELETE", "path": "/Users/1", "version": "W/\"1\"" }]))
        .unwrap();
        assert_eq!(request.fail_on_errors, Some(1));
        assert_eq!(request.operations[0].operation, Ok(Operation::Create(Kind::User)));
        assert_eq!(request.operations[1].version.as_deref(), Some("W/\"1\""));
    }

    #[test]
    fn what_is_no_bulk_request_is_refused() {
        for operations in [
            json!({}),
            json!([7]),
            json!([{ "method": "GET", "path": "/Users" }]),
            json!([{ "method": "POST" }]),
            json!([{ "method": "POST", "path": "/Users", "bulkId": "q" }, { "method": "POST", "path": "/Groups", "bulkId": "q" }]),
        ] {
            assert_eq!(parsed(operations.clone()).unwrap_err().status, 400, "{operations}");
        }
        let delete = json!({ "method": "DELETE", "path": "/Users/1" });
        assert_eq!(parsed(json!([delete, delete, delete, delete])).unwrap_err().status, 413);
        assert!(parse(json!({ "schemas": ["urn:x"], "Operations": [] }), 3).is_err());
    }

    #[test]
    fn an_operation_with_a_wrong_path_is_refused_by_itself() {
        let request = parsed(json!([{ "method": "POST", "path": "/Users" }, { "method": "PATCH", "path": "/Schemas" }, { "method": "PUT", "path": "/Bulk" }])).unwrap();
        assert!(request.operations.iter().all(|operation| operation.operation.is_err()));
    }

    #[test]
    fn references_are_found_and_resolved_wherever_they_stand() {
        let mut data = json!({ "members": [{ "value": "bulkId:a" }, { "value": "bulkId:b" }, { "value": "1" }], "x": "bulkId:a" });
        let mut found = Vec::new();
        references(&data, &mut found);
        assert_eq!(found, ["a", "b", "a"]);
        resolve(&mut data, &Ids::from([("a".to_owned(), "id-a".to_owned())]));
        assert_eq!((&data["members"][0]["value"], &data["x"]), (&json!("id-a"), &json!("id-a")));
        assert_eq!(take_unresolved_members(&mut data), [json!({ "value": "bulkId:b" })]);
        assert_eq!(data["members"].as_array().unwrap().len(), 2);
    }
}

//! The PatchOp message (RFC 7644 §3.5.2): from JSON to operations. What they do to a document is told in `patch`.

use serde_json::Value;

use crate::scim::filter::Bounds;
use crate::scim::path::PatchPath;
use crate::scim::{Error, Profile, quirks};

/// The URN of the PatchOp message, RFC 7644 §3.5.2.
pub const PATCH_URN: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// RFC 7644 §3.5.2.1.
    Add,
    /// RFC 7644 §3.5.2.2.
    Remove,
    /// RFC 7644 §3.5.2.3.
    Replace,
}

/// One operation as sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchOperation {
    /// What it does.
    pub verb: Verb,
    /// Where; `None` for the whole resource.
    pub path: Option<PatchPath>,
    /// With what.
    pub value: Option<Value>,
}

/// Reads a PatchOp message.
///
/// # Errors
/// 400 `invalidSyntax` when it is none, `invalidPath` when a path is not of the grammar, 413 when there are more
/// operations than allowed.
pub fn parse(
    body: Value,
    operations_max: usize,
    bounds: Bounds,
    profile: Profile,
) -> Result<Vec<PatchOperation>, Error> {
    let Value::Object(body) = body else {
        return Err(Error::invalid_syntax("The request body must be a PatchOp message with Operations."));
    };
    let mut operations = None;
    let mut named = false;
    for (key, value) in body {
        if key.eq_ignore_ascii_case("schemas") {
            named = check_schemas(&value)?;
        } else if key.eq_ignore_ascii_case("Operations") {
            operations = Some(value);
        }
    }
    if !named {
        quirks::takes_missing_schemas(PATCH_URN, profile)?;
    }
    let Some(Value::Array(operations)) = operations else {
        return Err(Error::invalid_syntax("The PatchOp message has no list Operations."));
    };
    if operations.is_empty() {
        return Err(Error::invalid_syntax(
            "The list Operations is empty; there must be at least one operation.",
        ));
    }
    if operations.len() > operations_max {
        let mut error = Error::payload_too_large(0);
        error.detail =
            format!("A PATCH may have at most {operations_max} operations; send the rest in another.");
        return Err(error);
    }
    operations.into_iter().map(|operation| parse_operation(operation, bounds, profile)).collect()
}

/// Whether the message is named; that it is another one is an error.
fn check_schemas(value: &Value) -> Result<bool, Error> {
    match value {
        Value::Null => Ok(false),
        Value::Array(listed) if listed.is_empty() => Ok(false),
        Value::Array(listed)
            if listed.iter().filter_map(Value::as_str).any(|urn| urn.eq_ignore_ascii_case(PATCH_URN)) =>
        {
            Ok(true)
        }
        _ => Err(Error::invalid_syntax(format!("The schemas of a PATCH must name {PATCH_URN}."))),
    }
}

fn parse_operation(operation: Value, bounds: Bounds, profile: Profile) -> Result<PatchOperation, Error> {
    let Value::Object(operation) = operation else {
        return Err(Error::invalid_syntax("Each of Operations must be a JSON object."));
    };
    let (mut verb, mut path, mut value) = (None, None, None);
    for (key, held) in operation {
        match key.to_ascii_lowercase().as_str() {
            "op" => verb = held.as_str().and_then(|text| verb_from(text, profile)),
            "path" => path = Some(held),
            "value" => value = Some(held),
            _ => {}
        }
    }
    let verb =
        verb.ok_or_else(|| Error::invalid_syntax("The op of an operation must be add, remove or replace."))?;
    let path = match path {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() && quirks::takes_empty_paths(profile) => None,
        Some(Value::String(text)) => Some(PatchPath::parse(&text, bounds)?),
        Some(_) => return Err(Error::invalid_path("The path of an operation must be a string.")),
    };
    Ok(PatchOperation { verb, path, value })
}

fn verb_from(text: &str, profile: Profile) -> Option<Verb> {
    match &*quirks::operation_name(text, profile) {
        "add" => Some(Verb::Add),
        "remove" => Some(Verb::Remove),
        "replace" => Some(Verb::Replace),
        _ => None,
    }
}

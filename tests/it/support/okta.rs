//! The bodies of Okta's requests, as captured (okta.md §3 to §5).

use serde_json::{Value, json};

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
pub(crate) const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// POST of a person who was assigned to the app (OBOT1:11).
pub(crate) fn user(user_name: &str) -> Value {
    json!({
        "schemas": [USER],
        "userName": user_name,
        "name": { "givenName": "Test", "familyName": "User" },
        "emails": [{ "primary": true, "value": user_name, "type": "work" }],
        "displayName": "Test User",
        "locale": "en-US",
        "externalId": external_id(user_name),
        "groups": [],
        "password": "1mz050nq",
        "active": true,
    })
}

/// An Okta user id: 20 characters that begin with `00u`.
pub(crate) fn external_id(user_name: &str) -> String {
    let letters: String = user_name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("00u{:x<17.17}", letters)
}

/// A member as Okta names it: no type, no `$ref`.
pub(crate) fn member(id: &str, user_name: &str) -> Value {
    json!({ "value": id, "display": user_name })
}

/// POST of a pushed group (OBOT1:23).
pub(crate) fn group(display_name: &str, members: &[Value]) -> Value {
    json!({ "schemas": [GROUP], "displayName": display_name, "members": members })
}

/// A PATCH message.
pub(crate) fn patch(operations: Value) -> Value {
    json!({ "schemas": [PATCH], "Operations": operations })
}

/// The path-less operation by which the template app deactivates and reactivates.
pub(crate) fn set_active(active: bool) -> Value {
    patch(json!([{ "op": "replace", "value": { "active": active } }]))
}

/// The path-less operation that goes before every change of members (OBOT1:27).
pub(crate) fn rename(id: &str, display_name: &str) -> Value {
    patch(json!([{ "op": "replace", "value": { "id": id, "displayName": display_name } }]))
}

/// The operation that adds members.
pub(crate) fn add_members(members: &[Value]) -> Value {
    json!({ "op": "add", "path": "members", "value": members })
}

/// The operation that removes a member.
pub(crate) fn remove_member(id: &str) -> Value {
    json!({ "op": "remove", "path": format!("members[value eq \"{id}\"]") })
}

/// The full push: these and no others.
pub(crate) fn replace_members(members: &[Value]) -> Value {
    json!({ "op": "replace", "path": "members", "value": members })
}

//! What the fuzz targets share.

use std::sync::{Arc, LazyLock};

use ici_scim::scim::Kind;
use ici_scim::scim::filter::Bounds;
use ici_scim::scim::schema::{ResourceSchema, Schemas};
use serde_json::{Map, Value, json};

/// The bounds of filters and paths that hold by default.
pub const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

static SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(|| Schemas::builtin().expect("built in"));

/// The schema of a kind.
pub fn schema_of(kind: Kind) -> &'static ResourceSchema {
    SCHEMAS.of(kind)
}

/// A stored user with a value of every shape.
pub fn user() -> Map<String, Value> {
    let user = json!({
        "schemas": [Kind::User.schema_id()], "userName": "ann@example.com", "externalId": "00u1",
        "name": { "givenName": "Ann", "familyName": "Lee" }, "displayName": "Ann Lee", "active": true,
        "emails": [
            { "value": "ann@example.com", "type": "work", "primary": true },
            { "value": "ann@example.org", "type": "home" },
        ],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "department": "Engineering", "manager": { "value": "26118915-6090-4610-87e4-49d8ca9f808d" },
        },
        "urn:example:params:scim:schemas:extension:x:1.0:User": { "list": [1, "two", { "three": 3.5 }] },
    });
    match user {
        Value::Object(user) => user,
        _ => Map::new(),
    }
}

//! What a person may be given, for Okta's Identity Governance to choose from: resource types of entitlements and
//! roles, and their entries (Okta, "Build a SCIM 2.0 server with entitlements").
//!
//! They are read only over SCIM: what there is to give is the application's to say. Users carry what they were
//! given in `entitlements` and `roles` (RFC 7643 §4.1.2).

use serde_json::{Map, Value, json};

use crate::scim::schema::Schemas;
use crate::scim::{Error, Kind, datetime};

/// The schema that Okta looks for to find entitlements.
pub const ENTITLEMENT: &str = "urn:okta:scim:schemas:core:1.0:Entitlement";
/// The schema that Okta looks for to find roles.
pub const ROLE: &str = "urn:okta:scim:schemas:core:1.0:Role";

/// The most characters of a description that Okta takes.
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// The most characters of an entry's id and of its name.
pub const NAME_CHARS_MAX: usize = 256;

/// The most entries of all of a tenant's catalogs: a list with a filter looks at each.
pub const ENTRIES_MAX: u64 = 10_000;

/// The most catalogs of one tenant.
pub const CATALOGS_MAX: usize = 50;

/// Segments below the Base URL that are taken.
const TAKEN: &[&str] =
    &["Users", "Groups", "Me", "Bulk", "Schemas", "ResourceTypes", "ServiceProviderConfig"];

/// Which of a user's attributes names entries of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `entitlements`
    Entitlement,
    /// `roles`
    Role,
}

impl Class {
    /// Both.
    pub const ALL: [Class; 2] = [Class::Entitlement, Class::Role];

    /// The user's attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            Class::Entitlement => "entitlements",
            Class::Role => "roles",
        }
    }

    /// The schema of its entries.
    pub fn schema_id(self) -> &'static str {
        match self {
            Class::Entitlement => ENTITLEMENT,
            Class::Role => ROLE,
        }
    }

    /// As a lower-case noun for sentences that people read.
    pub fn noun(self) -> &'static str {
        match self {
            Class::Entitlement => "entitlement",
            Class::Role => "role",
        }
    }
}

/// A resource type of entitlements or roles, such as License at `/Licenses`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Catalog {
    /// Whether its entries are entitlements or roles.
    pub class: Class,
    /// The resource type's name, which is also the `type` of its entitlements.
    pub name: String,
    /// The segment below the Base URL.
    pub endpoint: String,
    /// For people.
    pub description: Option<String>,
}

/// One thing that can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What stands as `value` in a user's `entitlements` or `roles`.
    pub id: String,
    /// The name that people choose it by.
    pub display_name: String,
    /// What it gives.
    pub description: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
}

impl Catalog {
    /// A catalog at the plural of its name.
    ///
    /// # Errors
    /// As [`Catalog::at`].
    pub fn named(class: Class, name: &str) -> Result<Catalog, String> {
        Catalog::at(class, name, &format!("{name}s"))
    }

    /// A catalog at an endpoint, which may begin with a slash.
    ///
    /// # Errors
    /// What is wrong with the name or the endpoint, as the end of a sentence.
    pub fn at(class: Class, name: &str, endpoint: &str) -> Result<Catalog, String> {
        let endpoint = endpoint.strip_prefix('/').unwrap_or(endpoint);
        let plain = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        };
        if !plain(name) || !plain(endpoint) {
            return Err("expected a name, and an endpoint, of 1 to 64 letters and digits, such as \"License\" at \"/Licenses\"".to_owned());
        }
        // The second would read as a version of the protocol (RFC 7644 §3.13).
        let is_version = endpoint.get(1..).is_some_and(|rest| {
            endpoint.starts_with(['v', 'V']) && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())
        });
        let taken = |text: &str| TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(text));
        if taken(endpoint)
            || is_version
            || Kind::ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(name))
        {
            return Err(format!(
                "expected another name or endpoint than {name} at /{endpoint}, which is taken"
            ));
        }
        Ok(Catalog { class, name: name.to_owned(), endpoint: endpoint.to_owned(), description: None })
    }

    /// The catalog as `/ResourceTypes` shows it; the id is the name.
    pub fn resource_type(&self, schemas: &Schemas, base_url: &str) -> Value {
        let described = schemas.of_class(self.class).json["description"].clone();
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name,
            "name": self.name,
            "description": self.description.as_ref().map_or(described, |text| json!(text)),
            "endpoint": format!("/{}", self.endpoint),
            "schema": self.class.schema_id(),
            "schemaExtensions": [],
            "meta": {
                "resourceType": "ResourceType",
                "location": format!("{base_url}/ResourceTypes/{}", self.name),
            },
        })
    }

    /// An entry as a resource.
    pub fn resource(&self, entry: &Entry, base_url: &str) -> Map<String, Value> {
        let mut resource = Map::new();
        let mut put = |key: &str, value: Value| {
            resource.insert(key.to_owned(), value);
        };
        put("schemas", json!([self.class.schema_id()]));
        put("id", json!(entry.id));
        put("displayName", json!(entry.display_name));
        if self.class == Class::Entitlement {
            put("type", json!(self.name));
        }
        if let Some(description) = &entry.description {
            put("description", json!(description));
        }
        put(
            "meta",
            json!({
                "resourceType": self.name,
                "created": datetime::format(entry.created_ms),
                "lastModified": datetime::format(entry.modified_ms),
                "location": self.location(&entry.id, base_url),
            }),
        );
        resource
    }

    fn location(&self, id: &str, base_url: &str) -> String {
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        // `-`, `.`, `_` and `~` need no encoding, and ids are full of them.
        let id =
            id.to_string().replace("%2D", "-").replace("%2E", ".").replace("%5F", "_").replace("%7E", "~");
        format!("{base_url}/{}/{id}", self.endpoint)
    }
}

/// Refuses what cannot be an entry.
///
/// # Errors
/// 400 `invalidValue` that says what was expected.
pub fn check_entry(id: &str, display_name: &str, description: Option<&str>) -> Result<(), Error> {
    let fits = |text: &str| {
        let chars = text.chars().count();
        (1..=NAME_CHARS_MAX).contains(&chars) && text.trim() == text && !text.contains(char::is_control)
    };
    if !fits(id) || !fits(display_name) {
        return Err(Error::invalid_value(format!(
            "An id and a name have 1 to {NAME_CHARS_MAX} characters, no control characters and no blanks at their ends."
        )));
    }
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX || text.contains('\0')) {
        return Err(Error::invalid_value(format!(
            "A description has at most {DESCRIPTION_CHARS_MAX} characters, as many as Okta takes."
        )));
    }
    Ok(())
}

/// The values of a user's `entitlements` and `roles` that were not there before: class, value and type, each once.
/// What a user has already is not looked at again, so that a thing which is no longer given out stays with those
/// who have it, and a profile push goes through.
pub fn named_anew(before: Option<&Map<String, Value>>, after: &Map<String, Value>) -> Vec<(Class, Named)> {
    let elements = |doc: &Map<String, Value>, class: Class| -> Vec<Named> {
        let list = doc.get(class.attribute()).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Named::of).collect()
    };
    let mut new = Vec::new();
    for class in Class::ALL {
        let held = before.map(|doc| elements(doc, class)).unwrap_or_default();
        for named in elements(after, class) {
            if !held.iter().any(|held| held.value == named.value) {
                new.push((class, named));
            }
        }
    }
    new
}

/// An element of `entitlements` or `roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The id of an entry.
    pub value: String,
    /// The name of its catalog, when the client gave it.
    pub catalog: Option<String>,
}

impl Named {
    fn of(element: &Value) -> Option<Named> {
        let text = |key: &str| element.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Named { value: text("value")?, catalog: text("type") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_stands_at_the_plural_of_its_name_or_where_it_is_told_to() {
        let license = Catalog::named(Class::Entitlement, "License").unwrap();
        assert_eq!((license.name.as_str(), license.endpoint.as_str()), ("License", "Licenses"));
        assert_eq!(Catalog::at(Class::Role, "Policy", "/Policies").unwrap().endpoint, "Policies");
    }

    #[test]
    fn names_and_endpoints_that_are_taken_or_no_names_are_refused() {
        for (name, endpoint) in [
            ("User", "People"),
            ("Person", "users"),
            ("Schema", "schemas"),
            ("Version", "v2"),
            ("", "X"),
            ("A", ""),
            ("A", "/b/c"),
            ("A b", "Ab"),
            ("Ä", "A"),
            ("1", "One"),
        ] {
            assert!(Catalog::at(Class::Role, name, endpoint).is_err(), "{name} at {endpoint}");
        }
    }

    #[test]
    fn an_entry_is_a_resource_as_okta_reads_it() {
        let license = Catalog::named(Class::Entitlement, "License").unwrap();
        let entry = Entry {
            id: "pro seat-1".to_owned(),
            display_name: "Pro".to_owned(),
            description: None,
            created_ms: 0,
            modified_ms: 0,
        };
        let resource = Value::Object(license.resource(&entry, "https://h/scim/v2/acme"));
        assert_eq!(resource["schemas"], json!([ENTITLEMENT]));
        assert_eq!((&resource["id"], &resource["type"]), (&json!("pro seat-1"), &json!("License")));
        assert_eq!(resource["meta"]["location"], "https://h/scim/v2/acme/Licenses/pro%20seat-1");
        let role = Catalog::named(Class::Role, "Role").unwrap().resource(&entry, "b");
        assert!(!role.contains_key("type"));
    }

    #[test]
    fn only_what_a_user_did_not_have_is_named_anew() {
        let doc = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let before = doc(r#"{"entitlements":[{"value":"a"}],"roles":[{"value":"r"}]}"#);
        let after = doc(
            r#"{"entitlements":[{"value":"a","type":"X"},{"value":"b","type":"X"}],"roles":[{"value":"r"}]}"#,
        );
        let named = named_anew(Some(&before), &after);
        assert_eq!(named, [(Class::Entitlement, Named { value: "b".into(), catalog: Some("X".into()) })]);
        assert_eq!(named_anew(None, &after).len(), 3);
    }
}

//! Entra ID as the client: replays of what its provisioning service and its SCIM Validator send, after Microsoft's
//! "Tutorial: Develop and plan provisioning for a SCIM endpoint", "Known issues and resolutions with SCIM 2.0 protocol
//! compliance" and "Tutorial: Validate a SCIM endpoint". With and without the flag `aadOptscim062020`, by tenants of
//! both lenient profiles.

mod groups;
mod users;
mod validator;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Client, Reply, Tenant, okta};

/// A GUID that is nobody's, as "Test Connection" makes one.
const NOBODY: &str = "b1f4c1a3-285e-48ae-8202-5accb43efb0e";

/// Tenants that Entra ID may be told to provision: its own profile, and the default one.
fn tenants() -> [Tenant; 2] {
    [Tenant::entra(), Tenant::fresh()]
}

/// A client with Entra ID's headers: `Bearer`, no Accept-Encoding, no Accept-Charset.
struct Entra {
    client: Client,
    /// What the Tenant URL has behind the question mark.
    flag: &'static str,
}

impl Entra {
    fn of(tenant: &Tenant) -> Entra {
        let client = tenant.client().authorized(&format!("Bearer {}", tenant.token.text()));
        Entra { client, flag: "" }
    }

    /// With the flag in the Tenant URL.
    fn with_flag(tenant: &Tenant) -> Entra {
        Entra { flag: "aadOptscim062020", ..Entra::of(tenant) }
    }

    fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let path = match (self.flag, path.contains('?')) {
            ("", _) => path.to_owned(),
            (flag, true) => format!("{path}&{flag}"),
            (flag, false) => format!("{path}?{flag}"),
        };
        let headers = [
            ("accept", "application/scim+json"),
            ("accept-encoding", ""),
            ("accept-charset", ""),
            ("user-agent", ""),
            ("content-type", if body.is_some() { "application/scim+json; charset=utf-8" } else { "" }),
        ];
        self.client.send_with(method, &path, body.map(|body| body.to_string().into_bytes()), &headers)
    }

    fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None)
    }

    fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body))
    }

    fn patch(&self, path: &str, operations: Value) -> Reply {
        self.send(Method::PATCH, path, Some(okta::patch(operations)))
    }

    fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None)
    }

    /// The ids that a filter finds; an existence check must be answered by a list, never by a 404.
    fn find(&self, path: &str, filter: &str) -> Vec<String> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let found = self.get(&format!("{path}{mark}filter={}", encode(filter))).expect(200);
        found.resources().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// POST of a user, as the tutorial has it.
fn user(name: &str) -> Value {
    json!({
        "schemas": [okta::USER, okta::ENTERPRISE],
        "externalId": format!("ext-{name}"),
        "userName": format!("{name}@contoso.test"),
        "active": true,
        "addresses": null,
        "displayName": "Joy Young",
        "emails": [{ "primary": true, "type": "work", "value": format!("{name}@contoso.test") }],
        "meta": { "resourceType": "User" },
        "name": { "formatted": "Joy Young", "familyName": "Young", "givenName": "Joy" },
        "phoneNumbers": null,
        "preferredLanguage": null,
        "title": null,
        "department": null,
        "manager": null,
        "roles": [],
    })
}

/// POST of a group, as the tutorial has it: without members, with a schema of Microsoft's.
fn group(name: &str) -> Value {
    json!({
        "schemas": [okta::GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "externalId": format!("ext-{name}"),
        "displayName": name,
        "meta": { "resourceType": "Group" },
    })
}

//! Okta as the client: replays of its two kinds of app, its published suites, its imports, and one test for each
//! of the thirty rules that its documents and captures come down to.

mod template_app;
mod wizard_app;
mod rules;
mod import;
mod spec_suite;

use serde_json::Value;

use crate::support::client::{encode, encode_with_plus};
use crate::support::{Client, Reply, okta};

/// The request behind "Test API Credentials", and behind each Save of the integration.
fn probe(client: &Client) -> Reply {
    client.get("/Users?startIndex=1&count=2").expect(200)
}

/// The existence check before a create.
fn look_up(client: &Client, user_name: &str) -> Reply {
    let filter = encode(&format!("userName eq \"{user_name}\""));
    client.get(&format!("/Users?filter={filter}&startIndex=1&count=100")).expect(200)
}

/// The same in the other spelling that was captured: `+` for a blank, and another order.
fn look_up_with_plus(client: &Client, user_name: &str) -> Reply {
    let filter = encode_with_plus(&format!("userName eq \"{user_name}\""));
    client.get(&format!("/Users?count=100&filter={filter}&startIndex=1")).expect(200)
}

/// The look-up of a group by its name.
fn look_up_group(client: &Client, display_name: &str) -> Reply {
    let filter = encode(&format!("displayName eq \"{display_name}\""));
    client.get(&format!("/Groups?filter={filter}&startIndex=1&count=100")).expect(200)
}

/// Makes users as Okta does and returns their ids.
fn users<const N: usize>(client: &Client, names: [&str; N]) -> [String; N] {
    names.map(|name| client.create("/Users", okta::user(name)).id())
}

/// Okta's profile push: reads the user, lays its own attributes over what it got, and puts all of it back.
fn push_profile(client: &Client, id: &str, change: impl FnOnce(&mut Value)) -> Reply {
    let path = format!("/Users/{id}");
    let mut echo = client.get(&path).expect(200).json;
    change(&mut echo);
    client.put(&path, echo).expect(200)
}

/// Reads, as Okta does before a change of a group.
fn group(client: &Client, id: &str) -> Reply {
    client.get(&format!("/Groups/{id}")).expect(200)
}

/// A change of a group as the template app makes it: GET, the path-less rename, then the operations.
fn push_group(client: &Client, id: &str, display_name: &str, operations: Value) -> Reply {
    let path = format!("/Groups/{id}");
    group(client, id);
    client.patch(&path, okta::rename(id, display_name)).expect(200);
    client.patch(&path, okta::patch(operations)).expect(200)
}

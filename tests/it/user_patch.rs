//! PATCH of users (RFC 7644 §3.5.2) over HTTP: that each kind of operation arrives, and that a request is carried
//! out whole or not at all. Every case of the semantics is tested beside the code, in `scim::patch`.

use serde_json::{Value, json};

use crate::support::{Client, Reply, Tenant, file, okta};

const CUSTOM: &str = "urn:okta:x:1.0:user:custom";

/// A user with a value of every shape, and the client that made it.
struct Patient {
    tenant: Tenant,
    client: Client,
    path: String,
}

impl Patient {
    fn new() -> Patient {
        let tenant = Tenant::fresh();
        let client = tenant.client();
        let made = client.create("/Users", json!({
            "userName": "ann", "name": { "givenName": "Ann", "familyName": "Noble" }, "title": "T",
            "emails": [{ "value": "work@x", "type": "work", "primary": true }, { "value": "home@x", "type": "home" }],
            okta::ENTERPRISE: { "department": "Eng", "manager": { "value": "7", "displayName": "Boss" } },
            CUSTOM: { "shoe": 42 },
        }));
        Patient { path: format!("/Users/{}", made.id()), tenant, client }
    }

    fn send(&self, operations: Value) -> Reply {
        self.client.patch(&self.path, okta::patch(operations))
    }

    fn patched(&self, operations: Value) -> Reply {
        let reply = self.send(operations).expect(200);
        assert_eq!(self.client.get(&self.path).json, reply.json, "what is answered is what is stored");
        reply
    }

    /// The refusal, after seeing that nothing at all has changed.
    fn refused(&self, operations: Value, scim_type: &str) -> Reply {
        let before = self.client.get(&self.path).json;
        let events = file::events(&self.tenant.file());
        let refused = self.send(operations).expect_error(400, scim_type);
        assert_eq!(self.client.get(&self.path).json, before, "{refused}");
        assert_eq!(file::events(&self.tenant.file()), events);
        refused
    }
}

#[test]
fn add_sets_appends_and_merges() {
    let ann = Patient::new();
    let after = ann.patched(json!([
        { "op": "add", "path": "nickName", "value": "Annie" },
        { "op": "add", "path": "name.middleName", "value": "B" },
        { "op": "add", "path": "emails", "value": [{ "value": "third@x", "type": "other" }] },
        { "op": "add", "path": "name", "value": { "honorificPrefix": "Dr" } },
    ]));
    assert_eq!(after["nickName"], "Annie");
    assert_eq!(
        after["name"],
        json!({ "familyName": "Noble", "givenName": "Ann", "middleName": "B", "honorificPrefix": "Dr" })
    );
    assert_eq!(after["emails"].as_array().unwrap().len(), 3);
}

#[test]
fn replace_puts_values_lists_and_sub_attributes_in_place() {
    let ann = Patient::new();
    let after = ann.patched(json!([
        { "op": "replace", "path": "userName", "value": "Ann2" },
        { "op": "replace", "path": "name.familyName", "value": "New" },
        { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@x" },
        { "op": "replace", "path": "active", "value": false },
    ]));
    assert_eq!((&after["userName"], &after["active"]), (&json!("Ann2"), &json!(false)));
    assert_eq!(after["name"], json!({ "familyName": "New", "givenName": "Ann" }));
    assert_eq!(after["emails"][0], json!({ "value": "new@x", "type": "work", "primary": true }));
    let replaced =
        ann.patched(json!([{ "op": "replace", "path": "emails", "value": [{ "value": "only@x" }] }]));
    assert_eq!(replaced["emails"], json!([{ "value": "only@x" }]));
}

#[test]
fn remove_takes_attributes_sub_attributes_and_chosen_values_away() {
    let ann = Patient::new();
    let after = ann.patched(json!([
        { "op": "remove", "path": "title" },
        { "op": "remove", "path": "name.givenName" },
        { "op": "remove", "path": "emails[type eq \"home\" and value co \"@\"]" },
        { "op": "remove", "path": "emails[value sw \"work\"].type" },
    ]));
    assert_eq!(after.json.get("title"), None);
    assert_eq!(after["name"], json!({ "familyName": "Noble" }));
    assert_eq!(after["emails"], json!([{ "value": "work@x", "primary": true }]));
    let all = ann.patched(json!([{ "op": "remove", "path": "emails" }]));
    assert_eq!(all.json.get("emails"), None);
    // What is not there need not be removed.
    ann.patched(json!([{ "op": "remove", "path": "nickName" }]));
}

#[test]
fn a_value_without_a_path_may_name_sub_attributes_by_dots_and_extensions_by_urn() {
    let ann = Patient::new();
    let after = ann.patched(json!([{ "op": "replace", "value": {
        "name.givenName": "Anna",
        "nickName": "Annie",
        format!("{}:department", okta::ENTERPRISE): "Ops",
        okta::ENTERPRISE: { "division": "D" },
        CUSTOM: { "hat": "M" },
    } }]));
    assert_eq!(after["name"], json!({ "familyName": "Noble", "givenName": "Anna" }));
    assert_eq!(after[okta::ENTERPRISE]["department"], "Ops");
    assert_eq!(after[okta::ENTERPRISE]["division"], "D");
    assert_eq!(after[okta::ENTERPRISE]["manager"], json!({ "value": "7", "displayName": "Boss" }));
    assert_eq!(after[CUSTOM], json!({ "shoe": 42, "hat": "M" }));
}

#[test]
fn extensions_are_reached_by_path() {
    let ann = Patient::new();
    let after = ann.patched(json!([
        { "op": "replace", "path": format!("{}:department", okta::ENTERPRISE), "value": "Ops" },
        { "op": "replace", "path": format!("{}:manager.value", okta::ENTERPRISE), "value": "8" },
        { "op": "add", "path": format!("{CUSTOM}:hat"), "value": "L" },
        { "op": "replace", "path": format!("{}:title", okta::USER), "value": "Core by URN" },
    ]));
    assert_eq!(
        after[okta::ENTERPRISE],
        json!({ "department": "Ops", "manager": { "value": "8", "displayName": "Boss" } })
    );
    assert_eq!(
        (&after[CUSTOM], &after["title"]),
        (&json!({ "shoe": 42, "hat": "L" }), &json!("Core by URN"))
    );
    let gone = ann.patched(json!([
        { "op": "remove", "path": okta::ENTERPRISE },
        { "op": "remove", "path": format!("{CUSTOM}:shoe") },
    ]));
    assert_eq!(gone.json.get(okta::ENTERPRISE), None);
    assert_eq!(gone[CUSTOM], json!({ "hat": "L" }));
    assert_eq!(gone["schemas"], json!([okta::USER, CUSTOM]));
}

#[test]
fn op_is_taken_in_any_case() {
    let ann = Patient::new();
    let after = ann.patched(json!([
        { "op": "Add", "path": "nickName", "value": "N" },
        { "op": "REPLACE", "path": "title", "value": "U" },
        { "OP": "Remove", "Path": "name.givenName" },
    ]));
    assert_eq!((&after["nickName"], &after["title"]), (&json!("N"), &json!("U")));
    assert_eq!(after["name"].get("givenName"), None);
}

#[test]
fn a_new_primary_value_takes_the_place_of_the_old() {
    let ann = Patient::new();
    let primary = |reply: &Reply| -> Vec<String> {
        let emails = reply["emails"].as_array().unwrap();
        emails
            .iter()
            .filter(|email| email["primary"] == true)
            .map(|email| email["value"].as_str().unwrap().to_owned())
            .collect()
    };
    let added = ann.patched(
        json!([{ "op": "add", "path": "emails", "value": [{ "value": "new@x", "primary": true }] }]),
    );
    assert_eq!(primary(&added), ["new@x"]);
    let moved = ann
        .patched(json!([{ "op": "replace", "path": "emails[type eq \"home\"].primary", "value": "True" }]));
    assert_eq!(primary(&moved), ["home@x"]);
    ann.refused(
        json!([{ "op": "replace", "path": "emails", "value": [
        { "value": "a", "primary": true }, { "value": "b", "primary": true }] }]),
        "invalidValue",
    );
}

#[test]
fn an_element_without_a_value_does_not_outlive_the_request() {
    let mut wrong = Vec::new();
    for operation in [
        json!({ "op": "add", "path": "roles[type eq \"X\"]", "value": {} }),
        json!({ "op": "add", "path": "roles[type eq \"X\"].display", "value": "d" }),
        json!({ "op": "remove", "path": "emails[type eq \"home\"].value" }),
        json!({ "op": "replace", "path": "emails[type eq \"home\"].value", "value": "" }),
        json!({ "op": "replace", "path": "emails[type eq \"home\"]", "value": { "display": "d" } }),
    ] {
        let ann = Patient::new();
        let after = ann.send(json!([operation]));
        assert!(matches!(after.status, 200 | 400), "{after}");
        let read = ann.client.get(&ann.path);
        for name in ["emails", "roles"] {
            for element in read[name].as_array().unwrap_or(&Vec::new()) {
                if element.get("value").is_none() {
                    wrong.push(format!("{operation}: {element}"));
                }
            }
        }
        if ann.client.put(&ann.path, read.json.clone()).json != read.json {
            wrong.push(format!("{operation}: an echo is a change"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_element_may_come_bit_by_bit_within_a_request() {
    // As Entra ID sends a role: the value is not the first.
    let ann = Patient::new();
    let bits = json!([
        { "op": "Add", "path": "roles[primary eq \"True\"].display", "value": "Admin" },
        { "op": "Add", "path": "roles[primary eq \"True\"].value", "value": "admin" },
    ]);
    assert_eq!(
        ann.patched(bits)["roles"],
        json!([{ "value": "admin", "display": "Admin", "primary": true }])
    );
}

#[test]
fn each_refusal_has_its_keyword_and_changes_nothing() {
    let ann = Patient::new();
    for (operation, scim_type) in [
        (json!({ "op": "replace", "path": "id", "value": "x" }), "mutability"),
        (json!({ "op": "replace", "path": "meta.created", "value": "2020-01-01T00:00:00Z" }), "mutability"),
        (json!({ "op": "add", "path": "groups", "value": [{ "value": "x" }] }), "mutability"),
        (json!({ "op": "remove", "path": "userName" }), "mutability"),
        (json!({ "op": "remove" }), "noTarget"),
        (json!({ "op": "remove", "path": "emails[type eq \"fax\"]" }), "noTarget"),
        (json!({ "op": "replace", "path": "emails[type co \"fax\"].value", "value": "x" }), "noTarget"),
        (json!({ "op": "replace", "path": "emails[type eq", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "..", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "userName.first", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "emails[nonsense eq 1].value", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "active", "value": "perhaps" }), "invalidValue"),
        (json!({ "op": "replace", "path": "userName", "value": "" }), "invalidValue"),
        (json!({ "op": "replace", "path": "userName", "value": null }), "invalidValue"),
        (json!({ "op": "add", "path": "title" }), "invalidValue"),
        (json!({ "op": "add", "value": "title" }), "invalidValue"),
        (json!({ "op": "copy", "path": "title", "value": "x" }), "invalidSyntax"),
        (json!({ "path": "title", "value": "x" }), "invalidSyntax"),
        (json!("add"), "invalidSyntax"),
    ] {
        // The first operation is well and must not be left behind.
        let first = json!({ "op": "replace", "path": "title", "value": "left behind" });
        ann.refused(json!([first, operation]), scim_type);
    }
}

#[test]
fn a_message_that_is_no_patch_is_refused() {
    let ann = Patient::new();
    for body in [
        json!({}),
        json!([]),
        json!({ "schemas": [okta::PATCH] }),
        json!({ "schemas": [okta::PATCH], "Operations": [] }),
        json!({ "schemas": [okta::PATCH], "Operations": {} }),
        json!({ "schemas": [okta::USER], "Operations": [{ "op": "add", "value": { "title": "x" } }] }),
    ] {
        ann.client.patch(&ann.path, body).expect_error(400, "invalidSyntax");
    }
}

#[test]
fn a_name_that_is_taken_is_refused_and_nothing_else_of_the_request_is_kept() {
    let ann = Patient::new();
    ann.client.create("/Users", json!({ "userName": "Taken" }));
    let before = ann.client.get(&ann.path).json;
    ann.send(json!([{ "op": "replace", "value": { "title": "New", "userName": "TAKEN" } }]))
        .expect_error(409, "uniqueness");
    assert_eq!(ann.client.get(&ann.path).json, before);
}

#[test]
fn entras_habits_are_taken() {
    let ann = Patient::new();
    // A missing element is made from the equalities of its filter.
    let made = ann.patched(
        json!([{ "op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+49 1" }]),
    );
    assert_eq!(made["phoneNumbers"], json!([{ "value": "+49 1", "type": "mobile" }]));
    // A plain string stands for the value of a complex attribute.
    let managed = ann
        .patched(json!([{ "op": "Replace", "path": format!("{}:manager", okta::ENTERPRISE), "value": "9" }]));
    assert_eq!(managed[okta::ENTERPRISE]["manager"]["value"], "9");
    assert_eq!(
        ann.patched(json!([{ "op": "Replace", "path": "active", "value": "False" }]))["active"],
        false
    );
}

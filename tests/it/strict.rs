//! What clients are forgiven (`scim::quirks`), and that a tenant with `profile = "strict"` forgives none of it.

use serde_json::{Value, json};

use crate::support::{Client, Reply, Tenant, okta};

/// A user and a group that has it, made as the RFC has it.
struct Made {
    client: Client,
    user: String,
    group: String,
}

impl Made {
    fn of(tenant: &Tenant) -> Made {
        let client = tenant.client();
        let user = client.create("/Users", user("ann@x.test")).id();
        let members = [json!({ "value": user, "type": "User" })];
        let group = client.create("/Groups", okta::group("Crew", &members)).id();
        Made { client, user, group }
    }

    fn patch_user(&self, operations: Value) -> Reply {
        self.client.patch(&format!("/Users/{}", self.user), okta::patch(operations))
    }

    fn patch_group(&self, operations: Value) -> Reply {
        self.client.patch(&format!("/Groups/{}", self.group), okta::patch(operations))
    }
}

fn user(name: &str) -> Value {
    json!({ "schemas": [okta::USER], "userName": name })
}

/// A user with further attributes.
fn user_with(name: &str, more: Value) -> Value {
    let mut user = user(name);
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    user
}

/// What is forgiven: what it is called, the request, and what the strict profile answers instead.
type Leniency = (&'static str, fn(&Made) -> Reply, &'static str);

const FORGIVEN: &[Leniency] = &[
    (
        "a truth value as text",
        |it| it.patch_user(json!([{ "op": "replace", "path": "active", "value": "True" }])),
        "invalidValue",
    ),
    (
        "a truth value as text in an element",
        |it| {
            it.client
                .post("/Users", user_with("b1", json!({ "emails": [{ "value": "b@x", "primary": "true" }] })))
        },
        "invalidValue",
    ),
    (
        "a number for a text",
        |it| it.patch_user(json!([{ "op": "add", "path": "title", "value": 7 }])),
        "invalidValue",
    ),
    (
        "a plain text for a complex value",
        |it| {
            let manager = json!({ okta::ENTERPRISE: { "manager": "7" } });
            it.client.post("/Users", user_with("b2", manager))
        },
        "invalidValue",
    ),
    (
        "a list of one for the one",
        |it| {
            let path = format!("{}:manager", okta::ENTERPRISE);
            it.patch_user(json!([{ "op": "replace", "path": path, "value": [{ "value": "7" }] }]))
        },
        "invalidValue",
    ),
    (
        "the manager by its bare name",
        |it| it.patch_user(json!([{ "op": "replace", "path": "manager", "value": { "value": "7" } }])),
        "invalidPath",
    ),
    (
        "a list of plain texts for one of complex values",
        |it| it.client.post("/Users", user_with("b3", json!({ "emails": ["b@x.test"] }))),
        "invalidValue",
    ),
    (
        "one value for a list of them",
        |it| {
            let one = json!({ "emails": { "value": "b@x.test", "type": "work" } });
            it.client.post("/Users", user_with("c1", one))
        },
        "invalidValue",
    ),
    (
        "a value beside the canonical ones",
        |it| {
            let alias = json!({ "emails": [{ "value": "b@x.test", "type": "alias" }] });
            it.client.post("/Users", user_with("c2", alias))
        },
        "invalidValue",
    ),
    (
        "a PATCH to a value beside the canonical ones",
        |it| {
            let value = json!([{ "value": "b@x.test", "type": "alias" }]);
            it.patch_user(json!([{ "op": "add", "path": "emails", "value": value }]))
        },
        "invalidValue",
    ),
    (
        "a reference that is no URI",
        |it| it.client.post("/Users", user_with("c3", json!({ "profileUrl": "www.example.com/~b" }))),
        "invalidValue",
    ),
    (
        "a reference to something else than its types",
        |it| {
            let manager = json!({ okta::ENTERPRISE: { "manager": { "value": "7", "$ref": "../Groups/7" } } });
            it.client.post("/Users", user_with("c4", manager))
        },
        "invalidValue",
    ),
    (
        "base64 without padding",
        |it| it.client.post("/Users", user_with("c5", json!({ "x509Certificates": [{ "value": "AAE" }] }))),
        "invalidValue",
    ),
    (
        "a member as a plain id",
        |it| it.patch_group(json!([{ "op": "add", "path": "members", "value": [it.user] }])),
        "invalidValue",
    ),
    (
        "an attribute that no schema has",
        |it| it.client.post("/Users", user_with("b4", json!({ "shoeSize": 42 }))),
        "invalidSyntax",
    ),
    (
        "a sub-attribute that no schema has",
        |it| it.client.post("/Users", user_with("b5", json!({ "name": { "nick": "x" } }))),
        "invalidSyntax",
    ),
    (
        "an extension that no schema has",
        |it| it.client.post("/Users", user_with("b6", json!({ "urn:x:1.0:User": { "a": 1 } }))),
        "invalidSyntax",
    ),
    (
        "an attribute of a known extension that it has not",
        |it| it.client.post("/Users", user_with("b7", json!({ okta::ENTERPRISE: { "a": 1 } }))),
        "invalidSyntax",
    ),
    (
        "a PATCH of an attribute that no schema has",
        |it| it.patch_user(json!([{ "op": "add", "path": "shoeSize", "value": 42 }])),
        "invalidPath",
    ),
    (
        "a PATCH without path of an attribute that no schema has",
        |it| it.patch_user(json!([{ "op": "add", "value": { "shoeSize": 42 } }])),
        "invalidSyntax",
    ),
    (
        "a name with a dot in a body",
        |it| it.client.post("/Users", user_with("b8", json!({ "name.givenName": "Ann" }))),
        "invalidSyntax",
    ),
    (
        "a name with a dot in a value",
        |it| it.patch_user(json!([{ "op": "replace", "value": { "name.givenName": "Ann" } }])),
        "invalidSyntax",
    ),
    (
        "a name with a URN in a value",
        |it| {
            let name = format!("{}:department", okta::ENTERPRISE);
            it.patch_user(json!([{ "op": "replace", "value": { name: "Tools" } }]))
        },
        "invalidSyntax",
    ),
    ("a body without schemas", |it| it.client.post("/Users", json!({ "userName": "b9" })), "invalidSyntax"),
    (
        "a PATCH without schemas",
        |it| {
            let operation = json!({ "op": "add", "path": "title", "value": "T" });
            it.client.patch(&format!("/Users/{}", it.user), json!({ "Operations": [operation] }))
        },
        "invalidSyntax",
    ),
    (
        "an op in capitals",
        |it| it.patch_user(json!([{ "op": "Add", "path": "title", "value": "T" }])),
        "invalidSyntax",
    ),
    (
        "an empty path",
        |it| it.patch_user(json!([{ "op": "add", "path": "", "value": { "title": "T" } }])),
        "invalidPath",
    ),
    (
        "a read-only attribute among others in a value",
        |it| it.patch_group(json!([{ "op": "replace", "value": { "id": it.group, "displayName": "Crew" } }])),
        "mutability",
    ),
    (
        "a value for an element that is not there",
        |it| {
            it.patch_user(json!([
                { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "a@x.test" }
            ]))
        },
        "noTarget",
    ),
    (
        "a member removed by value",
        |it| it.patch_group(json!([{ "op": "remove", "path": "members", "value": [{ "value": it.user }] }])),
        "invalidSyntax",
    ),
    (
        "a value removed by value",
        |it| {
            it.patch_user(json!([
                { "op": "add", "path": "emails", "value": [{ "value": "a@x.test" }] },
                { "op": "remove", "path": "emails", "value": [{ "value": "a@x.test" }] },
            ]))
        },
        "invalidSyntax",
    ),
];

#[test]
fn what_is_forgiven_by_default_is_refused_by_the_strict_profile() {
    let (lenient, strict) = (Made::of(&Tenant::fresh()), Made::of(&Tenant::strict()));
    for (what, ask, scim_type) in FORGIVEN {
        let taken = ask(&lenient);
        assert!([200, 201].contains(&taken.status), "{what}: {taken}");
        let refused = ask(&strict);
        assert_eq!(
            (refused.status, refused["scimType"].as_str()),
            (400, Some(*scim_type)),
            "{what}: {refused}"
        );
    }
    let after = strict.client.get(&format!("/Groups/{}", strict.group)).expect(200);
    assert_eq!(after.member_ids(), [strict.user.as_str()], "nothing was changed");
}

#[test]
fn what_the_rfc_allows_is_taken_by_the_strict_profile() {
    let it = Made::of(&Tenant::strict());
    // Names in any case, null and the empty list for "unassigned" (RFC 7643 §2.1, §2.5).
    let body = json!({ "SCHEMAS": [okta::USER], "username": "b", "title": null, "emails": [] });
    it.client.post("/Users", body).expect(201);
    // Read-only attributes in the body of POST and PUT are passed over (RFC 7644 §3.3, §3.5.1).
    it.client.post("/Users", user_with("c", json!({ "id": "mine", "groups": [], "meta": {} }))).expect(201);
    let echo = it.client.get(&format!("/Users/{}", it.user)).expect(200).json;
    it.client.put(&format!("/Users/{}", it.user), echo).expect(200);
    // A value of whole attributes without a path, and an extension's URN as the key of its object.
    let whole = json!([{ "op": "add", "value": {
        "name": { "givenName": "Ann" }, okta::ENTERPRISE: { "department": "Tools", "manager": { "value": "7" } } } }]);
    let after = it.patch_user(whole).expect(200);
    assert_eq!(after[okta::ENTERPRISE]["department"], "Tools");
    let by_path = json!([
        { "op": "replace", "path": format!("{}:department", okta::ENTERPRISE), "value": "Sales" },
        { "op": "add", "path": "emails", "value": [{ "type": "work", "value": "a@x.test", "primary": true }] },
        { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "b@x.test" },
        { "op": "add", "path": "emails", "value": { "type": "HOME", "value": "c@x.test" } },
        { "op": "add", "path": "photos", "value": [{ "value": "https://example.com/a.png", "type": "photo" }] },
        { "op": "add", "path": "x509Certificates", "value": [{ "value": "AAE=" }] },
    ]);
    it.patch_user(by_path).expect(200);
    it.patch_group(json!([{ "op": "remove", "path": format!("members[value eq \"{}\"]", it.user) }]))
        .expect(200);
}

#[test]
fn an_empty_filter_is_none_by_default_and_refused_by_the_strict_profile() {
    let (lenient, strict) = (Made::of(&Tenant::fresh()), Made::of(&Tenant::strict()));
    for path in ["/Users?filter=", "/Groups?filter=+&count=1", "/?filter="] {
        lenient.client.get(path).expect(200);
        strict.client.get(path).expect_error(400, "invalidFilter");
    }
    let search = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": "" });
    lenient.client.post("/Users/.search", search.clone()).expect(200);
    strict.client.post("/Users/.search", search).expect_error(400, "invalidFilter");
}

#[test]
fn a_create_of_an_inactive_user_is_a_conflict_in_the_strict_profile() {
    let it = Made::of(&Tenant::strict());
    it.patch_user(json!([{ "op": "replace", "path": "active", "value": false }])).expect(200);
    it.client.post("/Users", user("ann@x.test")).expect_error(409, "uniqueness");
}

#[test]
fn every_leniency_names_a_test_that_there_is() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src/scim"), root.join("tests/it")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let quirks = std::fs::read_to_string(root.join("src/scim/quirks.rs")).unwrap();
    let comments: Vec<&str> = quirks.lines().filter_map(|line| line.strip_prefix("///")).collect();
    let comments = comments.concat();
    let named: Vec<&str> = comments
        .split("Test: `")
        .skip(1)
        .map(|rest| rest.split('`').next().unwrap().rsplit("::").next().unwrap())
        .collect();
    assert!(named.len() >= 15, "{named:?}");
    for test in named {
        assert!(sources.contains(&format!("fn {test}()")), "there is no test {test}");
    }
}

//! `/Users`: create, read, replace, delete; what comes back of what was sent; names that are taken.

use std::thread;

use serde_json::{Value, json};

use crate::support::{Client, Tenant, file, okta};

fn user(client: &Client, id: &str) -> Value {
    client.get(&format!("/Users/{id}")).expect(200).json
}

#[test]
fn a_create_answers_201_with_location_etag_and_the_whole_user() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", json!({ "schemas": [okta::USER], "userName": "a" }));
    let location = format!("{}/Users/{}", client.base(), made.id());
    assert_eq!(made.header("location"), Some(location.as_str()));
    assert_eq!(made["meta"]["location"], location);
    assert_eq!(made["active"], true, "who is created may log in unless the client says otherwise");
    assert_eq!(user(&client, &made.id()), made.json);
    assert!(made["meta"]["version"].as_str().unwrap().starts_with("W/\""));
}

#[test]
fn a_user_may_be_created_inactive() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", json!({ "userName": "a", "active": false }));
    assert_eq!(made["active"], false);
}

#[test]
fn every_attribute_of_the_schemas_comes_back_as_it_was_sent() {
    let client = Tenant::fresh().client();
    let sent = json!({
        "schemas": [okta::USER, okta::ENTERPRISE],
        "externalId": "Ext-1",
        "userName": "bjensen@example.com",
        "name": { "formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara",
                  "middleName": "Jane", "honorificPrefix": "Ms.", "honorificSuffix": "III" },
        "displayName": "Babs Jensen",
        "nickName": "Babs",
        "profileUrl": "https://login.example.com/bjensen",
        "title": "Tour Guide",
        "userType": "Employee",
        "preferredLanguage": "en-US",
        "locale": "en-US",
        "timezone": "America/Los_Angeles",
        "active": true,
        "emails": [{ "value": "bjensen@example.com", "type": "work", "primary": true },
                   { "value": "babs@jensen.org", "type": "home" }],
        "phoneNumbers": [{ "value": "555-555-5555", "type": "work" }, { "value": "555-555-4444", "type": "mobile" }],
        "ims": [{ "value": "someaimhandle", "type": "aim" }],
        "photos": [{ "value": "https://photos.example.com/F", "type": "photo" }],
        "addresses": [{ "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA",
                        "streetAddress": "100 Universal City Plaza", "locality": "Hollywood", "region": "CA",
                        "postalCode": "91608", "country": "USA", "type": "work", "primary": true }],
        "entitlements": [{ "value": "e1", "display": "One", "type": "x" }],
        "roles": [{ "value": "admin", "type": "X", "primary": true }],
        "x509Certificates": [{ "value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVMx" }],
        okta::ENTERPRISE: {
            "employeeNumber": "701984", "costCenter": "4130", "organization": "Universal Studios",
            "division": "Theme Park", "department": "Tour Operations",
            "manager": { "value": "26118915-6090-4610-87e4-49d8ca9f808d", "$ref": "../Users/26118915", "displayName": "John Smith" },
        },
    });
    let made = client.create("/Users", sent.clone());
    for (key, value) in sent.as_object().unwrap() {
        assert_eq!(&made[key], value, "{key}");
    }
    assert_eq!(user(&client, &made.id()), made.json);
}

#[test]
fn attribute_names_are_taken_in_any_case_and_come_back_in_the_schemas() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", json!({
        "USERNAME": "Ann", "NAME": { "GIVENNAME": "A", "familyname": "N" }, "Emails": [{ "VALUE": "a@x", "Type": "work" }],
        okta::ENTERPRISE.to_lowercase(): { "DEPARTMENT": "Eng" },
    }));
    assert_eq!(made["userName"], "Ann");
    assert_eq!(made["name"], json!({ "familyName": "N", "givenName": "A" }));
    assert_eq!(made["emails"], json!([{ "value": "a@x", "type": "work" }]));
    assert_eq!(made[okta::ENTERPRISE], json!({ "department": "Eng" }));
}

#[test]
fn booleans_and_numbers_sent_as_text_are_taken_where_the_schema_says_so() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", json!({
        "userName": "a", "active": "False", "emails": [{ "value": "a@x", "primary": "true" }], "custom": "true",
    }));
    assert_eq!((&made["active"], &made["emails"][0]["primary"]), (&json!(false), &json!(true)));
    assert_eq!(made["custom"], "true", "what no schema knows stays a text");
}

#[test]
fn text_of_every_kind_survives() {
    let client = Tenant::fresh().client();
    for (number, text) in [
        "Zoë 王 😀 \u{200f}שלום",
        "a\"b\\c/d\n\t\r",
        "'; DROP TABLE resources;--",
        "%_*?[]{}",
        "\u{feff}\u{2028}",
        " a  b ",
    ]
    .into_iter()
    .enumerate()
    {
        let made = client.create("/Users", json!({ "userName": format!("u{number}"), "displayName": text }));
        assert_eq!(user(&client, &made.id())["displayName"], text);
    }
}

#[test]
fn numbers_that_no_schema_knows_come_back_the_same() {
    let client = Tenant::fresh().client();
    let numbers =
        json!([0.1, -1.5e300, 1.5197054781182901e-148, i64::MIN, u64::MAX, 9_007_199_254_740_993_i64]);
    let made = client.create("/Users", json!({ "userName": "a", "urn:x:1.0:user": { "n": numbers } }));
    assert_eq!(made["urn:x:1.0:user"]["n"], numbers);
    let put = client.put(&format!("/Users/{}", made.id()), made.json.clone()).expect(200);
    assert_eq!(put.json, made.json, "an echo is no change");
}

#[test]
fn user_names_are_unique_ignoring_case_in_every_script() {
    let client = Tenant::fresh().client();
    for (taken, same) in
        [("ann", "ANN"), ("ÄRGER", "ärger"), ("straße", "STRASSE"), ("Ἀθηνᾶ", "ἀθηνᾶ"), ("e\u{301}", "É")]
    {
        client.create("/Users", json!({ "userName": taken }));
        client.post("/Users", json!({ "userName": same })).expect_error(409, "uniqueness");
    }
    client.create("/Users", json!({ "userName": "ann2" }));
}

#[test]
fn two_creates_of_one_name_at_once_make_one_user() {
    let client = Tenant::fresh().client();
    for round in 0..5 {
        let mut statuses: Vec<u16> = thread::scope(|scope| {
            let posts: Vec<_> = ["racer", "RACER", "Racer"]
                .map(|name| {
                    let client = &client;
                    scope.spawn(move || {
                        client.post("/Users", json!({ "userName": format!("{name}{round}") })).status
                    })
                })
                .into_iter()
                .collect();
            posts.into_iter().map(|post| post.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409]);
    }
}

#[test]
fn a_create_that_lacks_a_user_name_or_has_a_wrong_type_says_which() {
    let client = Tenant::fresh().client();
    for (body, named) in [
        (json!({ "displayName": "x" }), "userName"),
        (json!({ "userName": "" }), "userName"),
        (json!({ "userName": null }), "userName"),
        (json!({ "userName": "   " }), "userName"),
        (json!({ "userName": {} }), "userName"),
        (json!({ "userName": "a", "active": "perhaps" }), "active"),
        (json!({ "userName": "a", "active": 1 }), "active"),
        (json!({ "userName": "a", "name": "Ann" }), "name"),
        (json!({ "userName": "a", "emails": [7] }), "emails"),
        (
            json!({ "userName": "a", "emails": [{ "value": "x", "primary": true }, { "value": "y", "primary": true }] }),
            "primary",
        ),
        (json!({ "userName": "x".repeat(5000) }), "userName"),
    ] {
        let refused = client.post("/Users", body.clone()).expect_error(400, "invalidValue");
        assert!(refused.detail().contains(named), "{body}: {refused}");
    }
    for body in [
        json!([]),
        json!("x"),
        json!(7),
        json!({ "userName": "a", "USERNAME": "b" }),
        json!({ "schemas": [okta::GROUP], "userName": "a" }),
    ] {
        client.post("/Users", body).expect_error(400, "invalidSyntax");
    }
    assert_eq!(client.get("/Users")["totalResults"], 0);
}

#[test]
fn put_replaces_everything_that_is_the_clients() {
    let client = Tenant::fresh().client();
    let made = client.create(
        "/Users",
        json!({
            "userName": "a", "title": "T", "emails": [{ "value": "a@x" }], "custom": 1,
            "urn:x:1.0:user": { "a": 1 }, "active": false,
        }),
    );
    let put = client
        .put(&format!("/Users/{}", made.id()), json!({ "userName": "b", "nickName": "N", "active": true }))
        .expect(200);
    assert_eq!(put.id(), made.id());
    assert_eq!(
        (&put["userName"], &put["nickName"], &put["active"]),
        (&json!("b"), &json!("N"), &json!(true))
    );
    for gone in ["title", "emails", "custom", "urn:x:1.0:user"] {
        assert_eq!(put.json.get(gone), None, "{gone}");
    }
    assert_eq!(put["schemas"], json!([okta::USER]));
    assert_eq!(put["meta"]["created"], made["meta"]["created"]);
    assert_ne!(put["meta"]["version"], made["meta"]["version"]);
}

#[test]
fn put_without_active_leaves_it_as_it_is() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", json!({ "userName": "a", "active": false }));
    let put =
        client.put(&format!("/Users/{}", made.id()), json!({ "userName": "a", "title": "T" })).expect(200);
    assert_eq!(put["active"], false, "a profile push must not let anybody in");
}

#[test]
fn a_write_that_changes_nothing_leaves_version_time_and_events_alone() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let made = client.create("/Users", okta::user("a@x.test"));
    let path = format!("/Users/{}", made.id());
    let events = file::events(&tenant.file());
    let writes = [
        client.put(&path, made.json.clone()),
        client.put(&path, okta::user("a@x.test")),
        client.patch(&path, okta::set_active(true)),
        client.patch(
            &path,
            okta::patch(json!([{ "op": "replace", "path": "name.givenName", "value": "Test" }])),
        ),
        client.patch(&path, okta::patch(json!([{ "op": "add", "path": "emails", "value": made["emails"] }]))),
        client.patch(
            &path,
            okta::patch(
                json!([{ "op": "add", "value": { "title": "T" } }, { "op": "remove", "path": "title" }]),
            ),
        ),
    ];
    for reply in writes {
        assert_eq!(reply.expect(200).json, made.json);
    }
    assert_eq!(file::events(&tenant.file()), events);

    client.patch(&path, okta::set_active(false)).expect(200);
    assert_eq!(file::events(&tenant.file()), events + 1);
    assert_eq!(file::actions(&tenant.file()), ["create", "deactivate"]);
}

#[test]
fn a_deleted_user_is_gone_from_everywhere_and_the_name_is_free() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [a, b] = ["a@x.test", "b@x.test"].map(|name| client.create("/Users", okta::user(name)).id());
    let members = [okta::member(&a, "a@x.test"), okta::member(&b, "b@x.test")];
    let groups = ["g1", "g2"].map(|name| client.create("/Groups", okta::group(name, &members)).id());
    let gone = client.delete(&format!("/Users/{a}")).expect(204);
    assert!(gone.body.is_empty());
    client.get(&format!("/Users/{a}")).expect_error(404, "");
    client.delete(&format!("/Users/{a}")).expect_error(404, "");
    for group in groups {
        assert_eq!(client.get(&format!("/Groups/{group}")).member_ids(), [b.as_str()]);
    }
    assert_eq!(file::number(&tenant.file(), "SELECT count(*) FROM members"), 2);
    assert_ne!(client.create("/Users", okta::user("a@x.test")).id(), a, "an id is never given twice");
}

#[test]
fn an_inactive_name_comes_back_with_id_groups_and_what_was_not_sent() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let first = client.create("/Users", json!({ "userName": "Back", "title": "Old", "externalId": "e1" }));
    let group = client.create("/Groups", okta::group("g", &[okta::member(&first.id(), "Back")])).id();
    client.patch(&format!("/Users/{}", first.id()), okta::set_active(false)).expect(200);
    let back = client
        .create("/Users", json!({ "userName": "BACK", "nickName": "N", "externalId": "e2", "active": true }));
    assert_eq!(back.id(), first.id());
    assert_eq!(
        (&back["userName"], &back["nickName"], &back["externalId"], &back["active"]),
        (&json!("BACK"), &json!("N"), &json!("e2"), &json!(true))
    );
    assert_eq!(back["groups"][0]["value"], group);
    assert_eq!(back["meta"]["created"], first["meta"]["created"]);
    assert_eq!(file::actions(&tenant.file()).last().map(String::as_str), Some("restore"));
    // Active again, so the next create is a conflict.
    client.post("/Users", json!({ "userName": "back" })).expect_error(409, "uniqueness");
    assert_eq!(client.get("/Users")["totalResults"], 1);
}

#[test]
fn a_tenant_may_ask_for_a_conflict_in_place_of_the_return() {
    let client = Tenant::conflicting().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let path = format!("/Users/{id}");
    client.patch(&path, okta::set_active(false)).expect(200);
    let before = user(&client, &id);
    client.post("/Users", okta::user("A@x.test")).expect_error(409, "uniqueness");
    assert_eq!(user(&client, &id), before);
}

#[test]
fn a_change_answers_with_the_version_that_get_then_gives() {
    let client = Tenant::fresh().client();
    let made = client.create("/Users", okta::user("a@x.test"));
    let path = format!("/Users/{}", made.id());
    let mut seen = vec![made["meta"]["version"].clone()];
    for title in ["A", "B", "A"] {
        let put = client
            .patch(&path, okta::patch(json!([{ "op": "replace", "path": "title", "value": title }])))
            .expect(200);
        assert_eq!(client.get(&path).json, put.json);
        assert!(!seen.contains(&put["meta"]["version"]), "a version is not used again");
        seen.push(put["meta"]["version"].clone());
        assert!(put["meta"]["lastModified"].as_str() >= made["meta"]["lastModified"].as_str());
    }
}

#[test]
fn if_match_and_if_none_match_are_obeyed() {
    use reqwest::Method;
    let client = Tenant::fresh().client();
    let made = client.create("/Users", okta::user("a@x.test"));
    let path = format!("/Users/{}", made.id());
    let old = made["meta"]["version"].as_str().unwrap();
    let unchanged = client.send_with(Method::GET, &path, None, &[("if-none-match", old)]).expect(304);
    assert_eq!((unchanged.header("etag"), unchanged.body.len()), (Some(old), 0));
    let patch = |title: &str| {
        okta::patch(json!([{ "op": "replace", "path": "title", "value": title }])).to_string().into_bytes()
    };
    client.send_with(Method::PATCH, &path, Some(patch("A")), &[("if-match", old)]).expect(200);
    for method in [Method::PATCH, Method::DELETE] {
        let body = (method == Method::PATCH).then(|| patch("B"));
        client.send_with(method, &path, body, &[("if-match", old)]).expect_error(412, "");
    }
    assert_eq!(client.get(&path)["title"], "A");
    client.send_with(Method::GET, &path, None, &[("if-none-match", old)]).expect(200);
    client.send_with(Method::DELETE, &path, None, &[("if-match", "*")]).expect(204);
}

#[test]
fn attributes_and_excluded_attributes_choose_what_is_shown() {
    let client = Tenant::fresh().client();
    let mut sent = okta::user("a@x.test");
    sent[okta::ENTERPRISE] = json!({ "department": "Eng", "division": "D" });
    let made = client.create("/Users", sent);
    let path = format!("/Users/{}", made.id());
    let keys = |query: &str| -> Vec<String> {
        let shown = client.get(&format!("{path}?{query}")).expect(200);
        shown.json.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys("attributes=userName"), ["schemas", "id", "userName"]);
    assert_eq!(keys("attributes=USERNAME,name.givenName"), ["schemas", "id", "userName", "name"]);
    assert_eq!(
        client.get(&format!("{path}?attributes=name.givenName"))["name"],
        json!({ "givenName": "Test" })
    );
    assert_eq!(
        client.get(&format!("{path}?attributes=emails.value"))["emails"],
        json!([{ "value": "a@x.test" }])
    );
    let department = format!("{path}?attributes={}:department", okta::ENTERPRISE);
    assert_eq!(client.get(&department)[okta::ENTERPRISE], json!({ "department": "Eng" }));
    assert_eq!(
        keys("attributes=password"),
        ["schemas", "id"],
        "what is never returned is not returned when asked for"
    );
    let without = keys("excludedAttributes=emails,groups,id,meta");
    assert!(!without.contains(&"emails".to_owned()) && !without.contains(&"groups".to_owned()));
    assert!(without.contains(&"id".to_owned()), "id is always returned");
    // The same for lists, creates and changes.
    let listed = client.get("/Users?attributes=userName").expect(200);
    assert_eq!(
        listed.resources()[0],
        json!({ "schemas": made["schemas"], "id": made["id"], "userName": "a@x.test" })
    );
    let other = client.post("/Users?attributes=userName", okta::user("b@x.test")).expect(201);
    assert_eq!(other.json.as_object().unwrap().len(), 3);
    assert!(other.header("location").is_some());
}

#[test]
fn a_password_is_dropped_unless_the_tenant_keeps_hashes_and_is_never_on_disk() {
    for (tenant, kept) in [(Tenant::fresh(), 0), (Tenant::keeping_passwords(), 1)] {
        let client = tenant.client();
        let mut sent = okta::user("p@x.test");
        sent["password"] = json!("first-secret-4711");
        let id = client.create("/Users", sent).id();
        let path = format!("/Users/{id}");
        client
            .patch(
                &path,
                okta::patch(json!([{ "op": "replace", "value": { "password": "second-secret-4711" } }])),
            )
            .expect(200);
        client
            .patch(
                &path,
                okta::patch(json!([{ "op": "replace", "path": "password", "value": "third-secret-4711" }])),
            )
            .expect(200);
        let mut put = user(&client, &id);
        put["password"] = json!("fourth-secret-4711");
        client.put(&path, put).expect(200);

        assert_eq!(file::number(&tenant.file(), "SELECT count(*) FROM passwords"), kept);
        let argon2id = "SELECT count(*) FROM passwords WHERE hash LIKE '$argon2id$%'";
        assert_eq!(file::number(&tenant.file(), argon2id), kept);
        let bytes = file::bytes(&tenant.file());
        assert!(file::holds(&bytes, "p@x.test"), "the file was read at all");
        assert!(!file::holds(&bytes, "-secret-4711"), "a password is on disk");
        client.get("/Users?filter=password%20eq%20%22x%22").expect_error(400, "sensitive");
    }
}

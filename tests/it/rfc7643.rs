//! What RFC 7643 asks of a service provider and no other test shows. `docs/conformance.md` names them.

use serde_json::{Value, json};

use crate::support::{Client, Tenant, okta};

fn user_with(client: &Client, name: &str, more: Value) -> crate::support::Reply {
    let mut user = okta::user(name);
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/Users", user)
}

/// Every attribute of the served schemas and below, with its name in full.
fn attributes(client: &Client) -> Vec<(String, Value)> {
    fn walk(attributes: &Value, above: &str, found: &mut Vec<(String, Value)>) {
        for attribute in attributes.as_array().unwrap() {
            let name = format!("{above}{}", attribute["name"].as_str().unwrap());
            if let Some(inside) = attribute.get("subAttributes") {
                walk(inside, &format!("{name}."), found);
            }
            found.push((name, attribute.clone()));
        }
    }
    let mut found = Vec::new();
    for schema in client.get("/Schemas").expect(200).resources() {
        // Those of discovery itself describe no resource that a client makes.
        if schema["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|attribute| attribute["mutability"] == "readOnly")
        {
            continue;
        }
        walk(&schema["attributes"], &format!("{}:", schema["id"].as_str().unwrap()), &mut found);
    }
    found
}

#[test]
fn served_names_follow_the_grammar() {
    let client = Tenant::fresh().client();
    for (full, attribute) in attributes(&client) {
        let name = attribute["name"].as_str().unwrap();
        // `$ref` begins with a sign that the grammar has only for what follows the first letter.
        let rest = name.strip_prefix('$').unwrap_or(name);
        assert!(rest.starts_with(|c: char| c.is_ascii_alphabetic()), "{full}");
        assert!(rest.chars().all(|c| c.is_ascii_alphanumeric() || "$-_".contains(c)), "{full}");
    }
}

#[test]
fn common_attributes_have_the_rfcs_characteristics() {
    let client = Tenant::fresh().client();
    for (full, _) in attributes(&client) {
        let name = full.rsplit(':').next().unwrap();
        assert!(!["id", "externalId", "meta", "schemas"].contains(&name), "{full} is common to all");
    }
    // id: caseExact, readOnly, always returned.
    let made = user_with(&client, "a@x.test", json!({ "id": "mine", "externalId": "Ab" })).expect(201);
    let id = made.id();
    assert!(client.find("/Users", &format!("id eq \"{}\"", id.to_uppercase())).is_empty());
    assert_eq!(client.find("/Users", &format!("id eq \"{id}\"")).len(), 1);
    let path = format!("/Users/{id}?excludedAttributes=id,externalId,meta");
    let shown = client.get(&path).expect(200);
    assert_eq!(
        (&shown["id"], &shown["externalId"], &shown["meta"]),
        (&json!(id), &Value::Null, &Value::Null)
    );
}

#[test]
fn the_order_of_attributes_does_not_matter() {
    let client = Tenant::fresh().client();
    let one = r#"{"userName":"a@x.test","name":{"givenName":"A","familyName":"B"},"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"title":"t"}"#;
    let other = r#"{"title":"t","schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"name":{"familyName":"B","givenName":"A"},"userName":"a@x.test"}"#;
    let made = client.send_with(reqwest::Method::POST, "/Users", Some(one.into()), &[]).expect(201);
    let path = format!("/Users/{}", made.id());
    let put = client.send_with(reqwest::Method::PUT, &path, Some(other.into()), &[]).expect(200);
    assert_eq!(put.body, client.get(&path).body);
    assert_eq!(put["meta"], made["meta"], "nothing has changed");
    let patch = r#"{"Operations":[{"value":"u","path":"title","op":"replace"}],"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"]}"#;
    let patched = client.send_with(reqwest::Method::PATCH, &path, Some(patch.into()), &[]).expect(200);
    assert_eq!(patched["title"], "u");
}

#[test]
fn schemas_names_what_is_used_each_once() {
    let client = Tenant::fresh().client();
    let plain =
        user_with(&client, "a@x.test", json!({ "schemas": [okta::USER, okta::ENTERPRISE, okta::USER] }));
    assert_eq!(plain.expect(201)["schemas"], json!([okta::USER]), "the extension is named and not used");
    let sent = json!({ "schemas": [okta::ENTERPRISE, okta::USER], okta::ENTERPRISE: { "department": "D" } });
    let extended = user_with(&client, "b@x.test", sent).expect(201);
    assert_eq!(extended["schemas"], json!([okta::USER, okta::ENTERPRISE]));
    for (path, urn) in [("/Users", okta::USER), ("/Groups", okta::GROUP)] {
        client.post("/Groups", okta::group("g", &[]));
        for one in client.get(path).expect(200).resources() {
            assert_eq!(one["schemas"][0], urn);
        }
    }
}

#[test]
fn the_enterprise_extension_stands_under_its_urn() {
    let client = Tenant::fresh().client();
    let made = user_with(&client, "a@x.test", json!({ okta::ENTERPRISE: { "department": "D" } })).expect(201);
    assert_eq!(made[okta::ENTERPRISE], json!({ "department": "D" }));
    assert_eq!(made["department"], Value::Null);
    let path = format!("/Users/{}", made.id());
    let by_name = json!([{ "op": "add", "path": format!("{}:costCenter", okta::ENTERPRISE), "value": "7" }]);
    let patched = client.patch(&path, okta::patch(by_name)).expect(200);
    assert_eq!(patched[okta::ENTERPRISE], json!({ "costCenter": "7", "department": "D" }));
}

#[test]
fn an_id_is_given_by_the_server_and_never_again() {
    let client = Tenant::fresh().client();
    let mut seen = std::collections::HashSet::new();
    for round in 0..3 {
        let user = user_with(&client, "a@x.test", json!({ "id": "chosen" })).expect(201);
        let group = client.create("/Groups", json!({ "displayName": "g", "id": "chosen" }));
        for (kind, made) in [("Users", user), ("Groups", group)] {
            let id = made.id();
            assert!(id != "chosen" && !id.contains("bulkId"), "{id}");
            assert!(seen.insert(id.clone()), "{id} was given before, in round {round}");
            client.delete(&format!("/{kind}/{id}")).expect(204);
        }
    }
}

#[test]
fn an_external_id_is_the_clients_alone_and_its_case_counts() {
    let client = Tenant::fresh().client();
    assert_eq!(client.create("/Users", json!({ "userName": "without" }))["externalId"], Value::Null);
    // The server does not hold it to be unique (§3.1).
    for (name, id) in [("a", "Ab"), ("b", "aB"), ("c", "Ab")] {
        let made = client.create("/Users", json!({ "userName": name, "externalId": id }));
        assert_eq!(made["externalId"], id);
    }
    assert_eq!(client.find("/Users", "externalId eq \"Ab\"").len(), 2);
    assert_eq!(client.find("/Users", "externalId eq \"ab\"").len(), 0);
}

#[test]
fn meta_is_the_servers_and_agrees_with_the_headers() {
    let client = Tenant::fresh().client();
    let meta = json!({ "resourceType": "Robot", "created": "2001-01-01T00:00:00Z", "location": "x", "version": "y" });
    for (kind, body) in [
        ("User", json!({ "userName": "a@x.test", "meta": meta })),
        ("Group", json!({ "displayName": "g", "meta": meta })),
    ] {
        let made = client.create(&format!("/{kind}s"), body.clone());
        let path = format!("/{kind}s/{}", made.id());
        assert_eq!(made["meta"]["resourceType"], kind);
        assert_eq!(made["meta"]["created"], made["meta"]["lastModified"], "never changed");
        let name = if kind == "User" { "title" } else { "externalId" };
        let change = okta::patch(json!([{ "op": "add", "path": name, "value": "new" }]));
        for answer in [made, client.get(&path), client.put(&path, body), client.patch(&path, change)] {
            let meta = &answer["meta"];
            assert!(meta["created"].as_str() <= meta["lastModified"].as_str(), "{answer}");
            assert_ne!(meta["created"], "2001-01-01T00:00:00Z");
            assert_eq!(meta["location"], format!("{}{path}", client.base()));
            assert_eq!(answer.header("location"), meta["location"].as_str());
            assert_eq!(answer.header("etag"), meta["version"].as_str());
            assert!(meta["version"].as_str().unwrap().starts_with("W/\""), "{answer}");
        }
    }
}

#[test]
fn unassigned_null_and_empty_are_the_same() {
    let client = Tenant::fresh().client();
    let full = json!({ "title": "t", "emails": [{ "value": "a@x.test" }], "name": { "givenName": "A" } });
    for empty in [
        json!({ "title": null, "emails": null, "name": null }),
        json!({ "emails": [], "name": {} }),
        json!({}),
    ] {
        let made = user_with(&client, "a@x.test", full.clone()).expect(201);
        let path = format!("/Users/{}", made.id());
        let mut body = json!({ "schemas": [okta::USER], "userName": "a@x.test" });
        body.as_object_mut().unwrap().extend(empty.as_object().unwrap().clone());
        let put = client.put(&path, body).expect(200);
        for name in ["title", "emails", "name"] {
            assert_eq!(put.json.get(name), None, "{empty}");
            assert!(client.find("/Users", &format!("{name} pr")).is_empty());
            assert_eq!(client.find("/Users", &format!("not ({name} pr)")).len(), 1);
        }
        client.delete(&path).expect(204);
    }
}

#[test]
fn primary_is_true_at_most_once() {
    let client = Tenant::fresh().client();
    let two = json!([{ "value": "a", "primary": true }, { "value": "b", "primary": true }]);
    user_with(&client, "a@x.test", json!({ "emails": two })).expect_error(400, "invalidValue");
    let none = json!([{ "value": "a" }, { "value": "b", "primary": false }]);
    let made = user_with(&client, "a@x.test", json!({ "emails": none })).expect(201);
    assert!(client.find("/Users", "emails.primary eq true").is_empty());
    let path = format!("/Users/{}", made.id());
    let replace = json!([{ "op": "replace", "path": "emails", "value": two }]);
    client.patch(&path, okta::patch(replace)).expect_error(400, "invalidValue");
    let primary = |value: &str| json!([{ "op": "add", "path": "emails", "value": [{ "value": value, "primary": true }] }]);
    client.patch(&path, okta::patch(primary("c"))).expect(200);
    let second = client.patch(&path, okta::patch(primary("d"))).expect(200);
    let emails = second["emails"].as_array().unwrap();
    let primaries: Vec<&Value> = emails.iter().filter(|email| email["primary"] == true).collect();
    assert_eq!(primaries.len(), 1, "{second}");
    assert_eq!(primaries[0]["value"], "d");
}

#[test]
fn the_same_element_is_shown_once() {
    let client = Tenant::fresh().client();
    let twice = json!([{ "value": "a", "type": "work" }, { "value": "a", "type": "work" }, { "value": "a", "type": "home" }]);
    let made = user_with(&client, "a@x.test", json!({ "emails": twice })).expect(201);
    assert_eq!(made["emails"].as_array().unwrap().len(), 2);
    let again = json!([{ "op": "add", "path": "emails", "value": [{ "value": "a", "type": "work" }] }]);
    let patched = client.patch(&format!("/Users/{}", made.id()), okta::patch(again)).expect(200);
    assert_eq!(patched["emails"], made["emails"]);
}

#[test]
fn values_have_the_form_of_their_type() {
    let client = Tenant::fresh().client();
    for (wrong, right) in [
        (json!({ "active": "perhaps" }), json!({ "active": false })),
        (json!({ "active": 1 }), json!({ "active": true })),
        (json!({ "title": true }), json!({ "title": "t" })),
        (json!({ "title": {} , "name": "A" }), json!({ "name": { "givenName": "A" } })),
        (json!({ "emails": [7] }), json!({ "emails": [{ "value": "a" }] })),
        (
            json!({ "emails": [{ "value": "a", "primary": "often" }] }),
            json!({ "emails": [{ "value": "a", "primary": false }] }),
        ),
    ] {
        user_with(&client, "a@x.test", wrong).expect_error(400, "invalidValue");
        let made = user_with(&client, "a@x.test", right.clone()).expect(201);
        for (name, value) in right.as_object().unwrap() {
            assert_eq!(made[name.as_str()], *value);
        }
        client.delete(&format!("/Users/{}", made.id())).expect(204);
    }
}

#[test]
fn groups_of_a_user_are_read_only_and_lead_to_the_groups() {
    let client = Tenant::fresh().client();
    let id = client.create("/Users", okta::user("a@x.test")).id();
    let group = client.create("/Groups", okta::group("g", &[json!({ "value": id })]));
    let path = format!("/Users/{id}");
    let user = client.get(&path);
    let listed = user["groups"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["value"]), (1, &group["id"]));
    let address = listed[0]["$ref"].as_str().unwrap().strip_prefix(client.base()).unwrap().to_owned();
    assert_eq!(client.get(&address).expect(200)["displayName"], "g");

    // In a body it is passed over, by name it is refused.
    let mut body = user.json.clone();
    body["groups"] = json!([]);
    assert_eq!(client.put(&path, body).expect(200)["groups"], user["groups"]);
    for operation in [
        json!({ "op": "remove", "path": "groups" }),
        json!({ "op": "replace", "path": "groups", "value": [] }),
    ] {
        client.patch(&path, okta::patch(json!([operation]))).expect_error(400, "mutability");
    }
    // By way of the group it changes.
    let none = json!([{ "op": "remove", "path": format!("members[value eq \"{id}\"]") }]);
    client.patch(&format!("/Groups/{}", group.id()), okta::patch(none)).expect(200);
    assert_eq!(client.get(&path)["groups"], json!([]));
}

#[test]
fn members_lead_to_what_they_are_and_do_not_change_inside() {
    let client = Tenant::fresh().client();
    let user = client.create("/Users", okta::user("a@x.test")).id();
    let inner = client.create("/Groups", okta::group("inner", &[])).id();
    // A reference of another host and version is the same resource (§2.4).
    let members = [
        json!({ "$ref": format!("https://old.example.com/v1/Users/{user}") }),
        json!({ "$ref": format!("../Groups/{inner}") }),
    ];
    let group = client.create("/Groups", okta::group("outer", &members));
    for (member, kind) in group["members"].as_array().unwrap().iter().zip(["User", "Group"]) {
        assert_eq!(member["type"], kind);
        let address = member["$ref"].as_str().unwrap().strip_prefix(client.base()).unwrap();
        assert_eq!(client.get(address).expect(200)["id"], member["value"]);
    }
    for name in ["value", "$ref", "type"] {
        let path = format!("members[value eq \"{user}\"].{name}");
        let operation = json!([{ "op": "replace", "path": path, "value": "other" }]);
        let refused = client.patch(&format!("/Groups/{}", group.id()), okta::patch(operation));
        refused.expect_error(400, "mutability");
    }
}

#[test]
fn canonical_values_are_suggestions() {
    let client = Tenant::fresh().client();
    let suggested = attributes(&client);
    let ims = suggested.iter().find(|(full, _)| full.ends_with(":ims.type")).unwrap();
    assert!(ims.1["canonicalValues"].as_array().unwrap().contains(&json!("xmpp")));
    let made =
        user_with(&client, "a@x.test", json!({ "ims": [{ "value": "a", "type": "matrix" }] })).expect(201);
    assert_eq!(made["ims"][0]["type"], "matrix");
}

#[test]
fn every_urn_that_an_answer_names_is_a_served_schema() {
    let client = Tenant::fresh().client();
    let named = |answer: &Value| -> Vec<String> {
        answer["schemas"].as_array().unwrap().iter().map(|urn| urn.as_str().unwrap().to_owned()).collect()
    };
    let user = user_with(&client, "a@x.test", json!({ okta::ENTERPRISE: { "department": "D" } })).expect(201);
    let group = client.create("/Groups", okta::group("g", &[]));
    let mut urns = [named(&user.json), named(&group.json)].concat();
    urns.extend(named(&client.get("/ServiceProviderConfig").json));
    urns.extend(named(&client.get("/ResourceTypes").resources()[0]));
    urns.extend(named(&client.get("/Schemas").resources()[0]));
    assert_eq!(urns.len(), 6);
    for urn in urns {
        assert_eq!(client.get(&format!("/Schemas/{urn}")).expect(200)["id"], urn);
    }
}

/// Everything that an answer has, the schema that it names describes (RFC 7643 §5 to §7).
#[test]
fn what_discovery_answers_is_as_its_schemas_say() {
    fn fits(value: &Value, attributes: &Value, place: &str) {
        for (name, value) in value.as_object().unwrap() {
            if ["schemas", "meta"].contains(&name.as_str()) {
                continue;
            }
            let found = attributes.as_array().unwrap().iter().find(|attribute| attribute["name"] == *name);
            let described = match found {
                Some(described) => described,
                // Parts of parts: only the schema of schemas has them, and to describe them there is no end.
                None if name == "subAttributes" => continue,
                None => panic!("{place}.{name} is not described"),
            };
            assert_eq!(value.is_array(), described["multiValued"] == true, "{place}.{name}");
            for one in value.as_array().unwrap_or(&vec![value.clone()]) {
                match described["type"].as_str().unwrap() {
                    "complex" => fits(one, &described["subAttributes"], &format!("{place}.{name}")),
                    "boolean" => assert!(one.is_boolean(), "{place}.{name}"),
                    "integer" => assert!(one.is_u64(), "{place}.{name}"),
                    _ => assert!(one.is_string(), "{place}.{name}"),
                }
            }
        }
        for attribute in
            attributes.as_array().unwrap().iter().filter(|attribute| attribute["required"] == true)
        {
            assert!(
                value.get(attribute["name"].as_str().unwrap()).is_some(),
                "{place}: {}",
                attribute["name"]
            );
        }
    }
    let client = Tenant::fresh().client();
    let attributes = |answer: &Value| {
        let urn = answer["schemas"][0].as_str().unwrap();
        client.get(&format!("/Schemas/{urn}")).expect(200)["attributes"].clone()
    };
    let config = client.get("/ServiceProviderConfig").json;
    fits(&config, &attributes(&config), "config");
    for path in ["/ResourceTypes", "/Schemas"] {
        for one in client.get(path).expect(200).resources() {
            fits(one, &attributes(one), path);
        }
    }
}

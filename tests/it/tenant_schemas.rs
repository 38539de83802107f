//! Schemas of a tenant's own: what they declare holds as the built-in ones do.

use serde_json::{Value, json};

use crate::advertised;
use crate::support::client::encode;
use crate::support::{Client, Config, Server, TenantConfig, Token, okta, until};

const ACME: &str = "urn:acme:scim:schemas:extension:1.0:User";
const TEAM: &str = "urn:acme:scim:schemas:extension:1.0:Team";

/// A schema for users, with every type and every way of being returned.
fn acme_schema() -> Value {
    json!({
        "id": ACME,
        "name": "Acme",
        "description": "What Acme keeps of its people.",
        "attributes": [
            { "name": "costCode", "type": "string", "caseExact": true, "description": "The cost code." },
            { "name": "desk", "type": "integer" },
            { "name": "rate", "type": "decimal" },
            { "name": "remote", "type": "boolean" },
            { "name": "joined", "type": "dateTime" },
            { "name": "badge", "type": "string", "mutability": "immutable" },
            { "name": "serial", "type": "string", "mutability": "readOnly" },
            { "name": "pin", "type": "string", "mutability": "writeOnly", "returned": "never" },
            { "name": "notes", "type": "string", "returned": "request" },
            { "name": "tag", "type": "string", "returned": "always" },
            { "name": "locker", "type": "string", "uniqueness": "server" },
            {
                "name": "phones", "type": "complex", "multiValued": true,
                "subAttributes": [
                    { "name": "value", "type": "string", "required": true },
                    { "name": "type", "type": "string" },
                    { "name": "primary", "type": "boolean" },
                    { "name": "checked", "type": "boolean", "mutability": "readOnly" },
                ],
            },
        ],
    })
}

fn team() -> Value {
    json!({
        "id": TEAM,
        "name": "Team",
        "attributes": [{ "name": "budget", "type": "integer", "required": true }],
    })
}

struct Acme {
    server: Server,
    token: Token,
    client: Client,
}

/// A tenant `acme` with both schemas, and one `globex` with none, on a server that took them in while it ran.
impl Acme {
    fn new() -> Acme {
        Acme::with_option("profile", "\"okta\"")
    }

    fn with_option(key: &str, value: &str) -> Acme {
        let token = Token::new("okta");
        let server = Server::start(&Config::acme(&token));
        std::fs::create_dir(server.folder().join("schemas")).unwrap();
        let acme = Acme { client: server.client("acme", &token), server, token };
        acme.write("acme.json", &acme_schema().to_string());
        acme.write("team.json", &team().to_string());
        let tenant = TenantConfig::new("acme").option(key, value).token(&acme.token).option(
            "schemas",
            "[\"schemas/acme.json\", { file = \"schemas/team.json\", resource = \"Group\", required = true }]",
        );
        acme.server.write_config(&Config::new().tenant(tenant).text());
        until("the schemas are in force", || acme.client.get(&format!("/Schemas/{ACME}")).status == 200);
        acme
    }

    fn write(&self, name: &str, text: &str) {
        let folder = self.server.folder().join("schemas");
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }

    fn create(&self, name: &str, extension: Value) -> crate::support::Reply {
        self.client.post("/Users", user(name, extension))
    }
}

fn user(name: &str, extension: Value) -> Value {
    json!({ "schemas": [okta::USER, ACME], "userName": name, ACME: extension })
}

fn found(client: &Client, filter: &str) -> Vec<String> {
    let list = client.get(&format!("/Users?filter={}", encode(filter))).expect(200);
    list.resources().iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn discovery_shows_them_in_full() {
    let acme = Acme::new();
    let list = acme.client.get("/Schemas").expect(200);
    assert_eq!(list["totalResults"], 8);
    let shown =
        acme.client.get(&format!("/Schemas/{}", ACME.to_uppercase().replace("URN", "urn"))).expect(200);
    assert_eq!(shown["schemas"], json!(["urn:ietf:params:scim:schemas:core:2.0:Schema"]));
    let attribute = &shown["attributes"][0];
    assert_eq!(
        attribute,
        &json!({ "name": "costCode", "type": "string", "caseExact": true, "description": "The cost code.",
                 "multiValued": false, "required": false, "mutability": "readWrite", "returned": "default",
                 "uniqueness": "none" })
    );
    let users = acme.client.get("/ResourceTypes/User").expect(200);
    assert_eq!(
        users["schemaExtensions"],
        json!([{ "schema": okta::ENTERPRISE, "required": false }, { "schema": ACME, "required": false }])
    );
    let groups = acme.client.get("/ResourceTypes/Group").expect(200);
    assert_eq!(groups["schemaExtensions"], json!([{ "schema": TEAM, "required": true }]));
}

#[test]
fn values_are_held_to_their_types() {
    let acme = Acme::new();
    let made = acme.create("a", json!({ "COSTCODE": "X1", "desk": "7", "remote": "True" })).expect(201);
    assert_eq!(made[ACME], json!({ "costCode": "X1", "desk": 7, "remote": true }));
    for (extension, named) in [
        (json!({ "desk": "seven" }), "desk"),
        (json!({ "desk": 1.5 }), "desk"),
        (json!({ "rate": true }), "rate"),
        (json!({ "joined": "yesterday" }), "joined"),
        (
            json!({ "phones": [{ "value": "1", "primary": true }, { "value": "2", "primary": true }] }),
            "phones",
        ),
    ] {
        let refused = acme.create("b", extension).expect_error(400, "invalidValue");
        assert!(refused.detail().contains(named), "{refused}");
    }
    acme.create("b", json!("text")).expect_error(400, "invalidSyntax");
    // What no schema declares is still kept, beside and inside.
    let kept = acme.create("c", json!({ "desk": 1, "unknown": { "x": 1 } })).expect(201);
    assert_eq!(kept[ACME]["unknown"], json!({ "x": 1 }));
    let mut other = user("d", json!({ "desk": 2 }));
    other["urn:other:1.0:User"] = json!({ "y": 2 });
    assert_eq!(acme.client.create("/Users", other)["urn:other:1.0:User"], json!({ "y": 2 }));
}

#[test]
fn filters_and_patch_know_them() {
    let acme = Acme::new();
    let phones = json!([{ "value": "1", "type": "work", "primary": true }]);
    let id = acme.create("a", json!({ "costCode": "X1", "desk": 7, "phones": phones })).expect(201).id();
    acme.create("b", json!({ "costCode": "x1", "desk": 70 })).expect(201);
    for (filter, names) in [
        (format!("{ACME}:costCode eq \"X1\""), vec!["a"]),
        (format!("{ACME}:COSTCODE sw \"x\""), vec!["b"]),
        (format!("{ACME}:desk gt 7"), vec!["b"]),
        (format!("{ACME}:desk ge 7 and not ({ACME}:phones pr)"), vec!["b"]),
        (format!("{ACME}:phones[type eq \"WORK\" and primary eq true]"), vec!["a"]),
        (format!("{ACME}:phones.value eq \"1\""), vec!["a"]),
        (format!("{ACME} pr"), vec!["a", "b"]),
    ] {
        assert_eq!(found(&acme.client, &filter), names, "{filter}");
    }
    let sorted = |query: &str| {
        let list = acme.client.get(&format!("/Users?sortBy={ACME}:{query}")).expect(200);
        list.resources().iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sorted("desk&sortOrder=descending"), ["b", "a"]);
    assert_eq!(sorted("costCode"), ["a", "b"], "case counts: X before x");
    assert_eq!(sorted("phones"), ["a", "b"], "who has none comes last");
    for filter in [format!("{ACME}:nothing pr"), format!("{ACME}:desk co 7")] {
        let path = format!("/Users?filter={}", encode(&filter));
        acme.client.get(&path).expect_error(400, "invalidFilter");
    }
    let patch =
        |operation: Value| acme.client.patch(&format!("/Users/{id}"), okta::patch(json!([operation])));
    let added = json!({ "op": "add", "path": format!("{ACME}:phones"), "value": [{ "value": "2", "primary": true }] });
    let phones = patch(added).expect(200)[ACME]["phones"].clone();
    assert_eq!(phones[0]["primary"], false, "a new primary takes the place of the other");
    assert_eq!(phones[1], json!({ "value": "2", "primary": true }));
    let path = format!("{ACME}:phones[value eq \"1\"].primary");
    let phones =
        patch(json!({ "op": "replace", "path": path, "value": true })).expect(200)[ACME]["phones"].clone();
    assert_eq!((&phones[0]["primary"], &phones[1]["primary"]), (&json!(true), &json!(false)));
    let path = format!("{ACME}:phones[value eq \"1\"].checked");
    patch(json!({ "op": "add", "path": path, "value": true })).expect_error(400, "mutability");
    let value = json!([{ "value": "3", "checked": true }]);
    let phones = patch(json!({ "op": "add", "path": format!("{ACME}:phones"), "value": value })).expect(200);
    assert_eq!(phones[ACME]["phones"][2], json!({ "value": "3" }), "what is read-only is passed over");
    patch(json!({ "op": "replace", "path": format!("{ACME}:desk"), "value": "x" }))
        .expect_error(400, "invalidValue");
    patch(json!({ "op": "replace", "path": format!("{ACME}:serial"), "value": "x" }))
        .expect_error(400, "mutability");
}

#[test]
fn each_attribute_is_returned_as_its_schema_says() {
    let acme = Acme::new();
    let given = json!({ "desk": 1, "pin": "1234", "notes": "n", "tag": "t" });
    let made = acme.create("a", given).expect(201);
    // The answer to a write shows what is returned on request, since the write gave it.
    assert_eq!(made[ACME], json!({ "desk": 1, "notes": "n", "tag": "t" }));
    let get = |query: &str| acme.client.get(&format!("/Users/{}{query}", made.id())).expect(200).json;
    assert_eq!(get("")[ACME], json!({ "desk": 1, "tag": "t" }));
    assert_eq!(acme.client.get("/Users").expect(200).resources()[0][ACME], json!({ "desk": 1, "tag": "t" }));
    assert_eq!(get(&format!("?attributes={ACME}:notes"))[ACME], json!({ "notes": "n", "tag": "t" }));
    assert_eq!(get("?attributes=userName")[ACME], json!({ "tag": "t" }));
    assert_eq!(get(&format!("?excludedAttributes={ACME}"))[ACME], json!({ "tag": "t" }));
    assert_eq!(get(&format!("?attributes={ACME}:pin"))[ACME], json!({ "tag": "t" }));
    let filter = encode(&format!("{ACME}:pin eq \"1234\""));
    acme.client.get(&format!("/Users?filter={filter}")).expect_error(400, "sensitive");
}

#[test]
fn a_required_extension_and_a_required_attribute_must_be_there() {
    let acme = Acme::new();
    let group = |extension: Option<Value>| {
        let mut group = okta::group("Crew", &[]);
        if let Some(extension) = extension {
            group[TEAM] = extension;
        }
        acme.client.post("/Groups", group)
    };
    assert!(group(None).expect_error(400, "invalidValue").detail().contains(TEAM));
    group(Some(json!({ "other": 1 }))).expect_error(400, "invalidValue");
    let id = group(Some(json!({ "budget": 7 }))).expect(201).id();
    let remove = json!([{ "op": "remove", "path": format!("{TEAM}:budget") }]);
    acme.client.patch(&format!("/Groups/{id}"), okta::patch(remove)).expect_error(400, "mutability");
    acme.client.patch(&format!("/Groups/{id}"), okta::rename(&id, "Crew 2")).expect(200);
    acme.create("a", json!({ "phones": [{ "type": "work" }] })).expect(201);
}

#[test]
fn what_is_immutable_is_set_once() {
    let acme = Acme::new();
    let id = acme.create("a", json!({ "desk": 1 })).expect(201).id();
    let path = format!("/Users/{id}");
    let patch = |operation: Value| acme.client.patch(&path, okta::patch(json!([operation])));
    let badge = format!("{ACME}:badge");
    patch(json!({ "op": "add", "path": badge, "value": "B1" })).expect(200);
    patch(json!({ "op": "replace", "path": badge, "value": "B1" })).expect(200);
    patch(json!({ "op": "replace", "path": badge, "value": "B2" })).expect_error(400, "mutability");
    patch(json!({ "op": "remove", "path": badge })).expect_error(400, "mutability");
    acme.client.put(&path, user("a", json!({ "badge": "B2" }))).expect_error(400, "mutability");
    // A body that does not name it leaves it.
    let put = acme.client.put(&path, user("a", json!({ "desk": 2 }))).expect(200);
    assert_eq!(put[ACME], json!({ "desk": 2, "badge": "B1" }));
}

#[test]
fn what_is_unique_one_resource_has_from_when_it_is_declared_to_when_it_is_not() {
    let acme = Acme::new();
    let declare = |uniqueness: &str| {
        let mut schema = acme_schema();
        schema["attributes"][10]["uniqueness"] = json!(uniqueness);
        assert_eq!(schema["attributes"][10]["name"], "locker");
        acme.write("acme.json", &schema.to_string());
        let is_in_force =
            || acme.client.get(&format!("/Schemas/{ACME}"))["attributes"][10]["uniqueness"] == uniqueness;
        until("the changed schema is in force", is_in_force);
    };
    let locker = |value: &str| json!({ "locker": value });
    let a = acme.create("a", locker("L1")).expect(201).id();
    let refused = acme.create("b", locker("l1")).expect_error(409, "uniqueness");
    assert_eq!(refused.detail(), "A user with this locker already exists.");
    let b = acme.create("b", locker("L2")).expect(201).id();
    let change = |id: &str, value: &str| {
        let operation = json!({ "op": "replace", "path": format!("{ACME}:locker"), "value": value });
        acme.client.patch(&format!("/Users/{id}"), okta::patch(json!([operation])))
    };
    change(&b, "L1").expect_error(409, "uniqueness");
    change(&a, "L3").expect(200);
    change(&b, "L1").expect(200);
    acme.client.delete(&format!("/Users/{b}")).expect(204);
    change(&a, "L1").expect(200);

    declare("none");
    let c = acme.create("c", locker("L1")).expect(201).id();
    acme.create("d", locker("L4")).expect(201);
    // What is stored already is gathered; those who share a value stay as they are.
    declare("server");
    acme.create("e", locker("L4")).expect_error(409, "uniqueness");
    acme.client.patch(&format!("/Users/{c}"), okta::set_active(false)).expect(200);
    change(&c, "L5").expect(200);
    acme.create("e", locker("L1")).expect_error(409, "uniqueness");
}

#[test]
fn a_changed_file_is_noticed_a_faulty_one_changes_nothing_and_old_documents_stay_readable() {
    let acme = Acme::new();
    let id = acme.create("a", json!({ "desk": 7, "costCode": "X" })).expect(201).id();
    acme.write("acme.json", "{");
    let fault = acme.server.log().wait_for_message("the configuration is faulty and nothing was changed");
    assert!(fault["problem"].as_str().unwrap().contains("acme.json: not JSON"), "{fault}");
    acme.client.get(&format!("/Schemas/{ACME}")).expect(200);
    let check = acme.server.run(["check"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stderr).contains("tenants.acme.schemas"));

    // The same attribute of another type, and one that is required now.
    let mut changed = acme_schema();
    changed["attributes"][1] = json!({ "name": "desk", "type": "boolean" });
    changed["attributes"][2]["required"] = json!(true);
    acme.write("acme.json", &changed.to_string());
    let shows_it = || acme.client.get(&format!("/Schemas/{ACME}"))["attributes"][1]["type"] == "boolean";
    until("the changed schema is in force", shows_it);
    let read = acme.client.get(&format!("/Users/{id}")).expect(200);
    assert_eq!(read[ACME], json!({ "costCode": "X", "desk": 7 }));
    acme.client.get("/Users").expect(200);
    // Nobody is kept from being deactivated by a rule that is younger than they are.
    acme.client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
    acme.create("b", json!({ "desk": true })).expect_error(400, "invalidValue");
    acme.create("b", json!({ "desk": true, "rate": 1.5 })).expect(201);
}

#[test]
fn a_tenant_without_schemas_of_its_own_knows_nothing_of_those_of_another() {
    let (token, other) = (Token::new("okta"), Token::new("okta"));
    let acme = Acme::new();
    let with_schemas = TenantConfig::new("acme").token(&token).option("schemas", "[\"schemas/acme.json\"]");
    let config = Config::new().tenant(with_schemas).tenant(TenantConfig::new("globex").token(&other));
    acme.server.write_config(&config.text());
    let globex = acme.server.client("globex", &other);
    until("the second tenant is there", || globex.get("/Schemas").status == 200);
    assert_eq!(globex.get("/Schemas")["totalResults"], 6);
    assert_eq!(acme.server.client("acme", &token).get("/Schemas")["totalResults"], 7);
    // Unknown there, so kept as it comes.
    assert_eq!(globex.create("/Users", user("a", json!({ "desk": "x" })))[ACME]["desk"], "x");
}

#[test]
fn the_command_line_knows_them() {
    let acme = Acme::new();
    acme.server.run_well(["user", "add", "acme", "a@x.test", "desk=7"]);
    assert_eq!(found(&acme.client, &format!("{ACME}:desk eq 7")), ["a@x.test"]);
    let refused = acme.server.run(["user", "set", "acme", "a@x.test", "desk=x"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("whole number"));
}

#[test]
fn each_attribute_of_a_tenants_own_schemas_is_what_they_say() {
    advertised::each_attribute_holds(Acme::new().client.clone());
}

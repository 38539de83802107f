//! Catalogs of entitlements and roles, as Okta's Identity Governance reads them (Okta, "Build a SCIM 2.0 server with
//! entitlements").

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::{Client, Config, Server, TenantConfig, Token, okta};

const ENTITLEMENT: &str = "urn:okta:scim:schemas:core:1.0:Entitlement";
const ROLE: &str = "urn:okta:scim:schemas:core:1.0:Role";

struct Site {
    server: Server,
    client: Client,
}

impl Site {
    fn new(check: &str) -> Site {
        let token = Token::new("okta");
        let tenant = TenantConfig::new("acme")
            .option(
                "entitlement_types",
                "[\"License\", { name = \"Policy\", endpoint = \"/Policies\", description = \"What one may do.\" }]",
            )
            .option("role_types", "[\"Role\"]")
            .option("check_entitlements", check)
            .token(&token);
        let server = Server::start(&Config::new().tenant(tenant));
        let client = server.client("acme", &token);
        for (id, name) in [("pro", "Pro seat"), ("basic", "Basic seat")] {
            server.run_well(["entitlement", "add", "acme", id, "--name", name, "--type", "License"]);
        }
        server.run_well([
            "entitlement",
            "add",
            "acme",
            "export",
            "--type",
            "policy",
            "--description",
            "May export",
        ]);
        server.run_well(["role", "add", "acme", "admin", "--name", "Administrator"]);
        Site { server, client }
    }
}

fn user_with(name: &str, more: Value) -> Value {
    let mut user = okta::user(name);
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    user
}

#[test]
fn okta_discovers_them_in_its_order_of_calls() {
    let site = Site::new("false");
    let types = site.client.get("/ResourceTypes").expect(200);
    let rows: Vec<(&str, &str, &str)> = types
        .resources()
        .iter()
        .map(|kind| {
            let text = |key: &str| kind[key].as_str().unwrap();
            assert_eq!(kind["id"], kind["name"]);
            (text("name"), text("endpoint"), text("schema"))
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("User", "/Users", okta::USER),
            ("Group", "/Groups", okta::GROUP),
            ("License", "/Licenses", ENTITLEMENT),
            ("Policy", "/Policies", ENTITLEMENT),
            ("Role", "/Roles", ROLE),
        ]
    );
    assert_eq!(site.client.get("/ResourceTypes/Policy").expect(200)["description"], "What one may do.");
    let schemas = site.client.get("/Schemas").expect(200);
    let ids: Vec<&str> = schemas.resources().iter().map(|schema| schema["id"].as_str().unwrap()).collect();
    assert_eq!(ids[..5], [okta::USER, okta::GROUP, ENTITLEMENT, ROLE, okta::ENTERPRISE]);
    for (_, endpoint, _) in &rows[2..] {
        // The probe of Okta's own suite.
        let page = site.client.get(&format!("{endpoint}?count=1&startIndex=1")).expect(200);
        assert_eq!(page["itemsPerPage"], 1, "{endpoint}");
    }
}

#[test]
fn entries_are_resources_that_can_be_listed_found_and_read() {
    let site = Site::new("false");
    let list = site.client.get("/Licenses").expect(200);
    assert_eq!((&list["totalResults"], &list["startIndex"]), (&json!(2), &json!(1)));
    let pro = &list.resources()[0];
    assert_eq!(pro["schemas"], json!([ENTITLEMENT]));
    assert_eq!(
        (&pro["id"], &pro["displayName"], &pro["type"]),
        (&json!("pro"), &json!("Pro seat"), &json!("License"))
    );
    assert_eq!(pro["meta"]["location"], format!("{}/Licenses/pro", site.client.base()));
    assert_eq!(site.client.get("/Licenses/pro").expect(200).json, *pro);
    assert_eq!(site.client.get("/Policies/export").expect(200)["description"], "May export");
    let role = site.client.get("/Roles/admin").expect(200);
    assert_eq!((&role["displayName"], role.json.get("type")), (&json!("Administrator"), None));

    let second = site.client.get("/Licenses?startIndex=2&count=5").expect(200);
    assert_eq!((&second["totalResults"], &second["itemsPerPage"]), (&json!(2), &json!(1)));
    assert_eq!(second.resources()[0]["id"], "basic");
    assert_eq!(site.client.get("/Licenses?count=0").expect(200)["totalResults"], 2);
    assert_eq!(site.client.get("/Licenses?startIndex=9").expect(200)["itemsPerPage"], 0);
    let found = site.client.find("/Licenses", "displayName eq \"PRO seat\" and type eq \"License\"");
    assert_eq!(found.len(), 1);
    let filter = encode("userName eq \"x\"");
    site.client.get(&format!("/Licenses?filter={filter}")).expect_error(400, "invalidFilter");
    let narrow = site.client.get("/Licenses/pro?attributes=displayName").expect(200);
    assert_eq!(narrow.json, json!({ "schemas": [ENTITLEMENT], "id": "pro", "displayName": "Pro seat" }));
}

#[test]
fn they_are_read_only_and_each_has_one_address() {
    let site = Site::new("false");
    for (path, methods) in [
        ("/Licenses", ["POST", "PUT", "PATCH", "DELETE"]),
        ("/Licenses/pro", ["POST", "PUT", "PATCH", "DELETE"]),
    ] {
        for method in methods {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let refused = site.client.send_with(method, path, None, &[]).expect_error(405, "");
            assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    for path in
        ["/Licenses/none", "/Policies/pro", "/Roles/pro", "/licenses", "/Licenses/pro/x", "/Entitlements"]
    {
        site.client.get(path).expect_error(404, "");
    }
}

#[test]
fn users_are_given_what_is_there_and_nothing_else_where_the_tenant_asks_for_that() {
    let site = Site::new("true");
    let given = json!({
        "entitlements": [{ "value": "pro", "display": "Pro seat", "type": "License" }, { "value": "export" }],
        "roles": [{ "value": "admin", "display": "Administrator" }],
    });
    let made = site.client.create("/Users", user_with("a@x.test", given));
    assert_eq!(made["entitlements"][0], json!({ "value": "pro", "display": "Pro seat", "type": "License" }));
    for more in [
        json!({ "entitlements": [{ "value": "gold" }] }),
        json!({ "entitlements": [{ "value": "pro", "type": "Policy" }] }),
        json!({ "entitlements": [{ "value": "admin" }] }),
        json!({ "roles": [{ "value": "pro" }] }),
    ] {
        let refused =
            site.client.post("/Users", user_with("b@x.test", more)).expect_error(400, "invalidValue");
        assert!(refused.detail().contains("There is no "), "{refused}");
    }
    let path = format!("/Users/{}", made.id());
    let add = |id: &str| {
        let value = json!([{ "value": id, "type": "License" }]);
        site.client
            .patch(&path, okta::patch(json!([{ "op": "add", "path": "entitlements", "value": value }])))
    };
    add("gold").expect_error(400, "invalidValue");
    add("basic").expect(200);
    // What is no longer given out stays with who has it, and the next push of the profile goes through.
    site.server.run_well(["entitlement", "remove", "acme", "pro"]);
    let echo = site.client.get(&path).expect(200).json;
    assert_eq!(site.client.put(&path, echo).expect(200)["entitlements"][0]["value"], "pro");
    site.client
        .post("/Users", user_with("c@x.test", json!({ "entitlements": [{ "value": "pro" }] })))
        .expect_error(400, "invalidValue");
}

#[test]
fn users_are_given_anything_where_the_tenant_does_not_ask() {
    let site = Site::new("false");
    let free = json!({ "entitlements": [{ "value": "anything" }], "roles": [{ "value": "whatever" }] });
    site.client.create("/Users", user_with("a@x.test", free));
}

#[test]
fn the_command_line_fills_them() {
    let site = Site::new("false");
    let listed: Value =
        serde_json::from_str(&site.server.run_well(["entitlement", "list", "acme", "--json"])).unwrap();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["pro", "basic", "export"]);
    let table = site.server.run_well(["entitlement", "list", "acme", "--type", "license"]);
    assert!(table.contains("Pro seat") && !table.contains("export"), "{table}");
    site.server.run_well(["entitlement", "add", "acme", "pro", "--type", "License", "--name", "Gold seat"]);
    assert_eq!(site.client.get("/Licenses/pro").expect(200)["displayName"], "Gold seat");

    let refused = |arguments: &[&str], code: i32, said: &str| {
        let output = site.server.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{stderr}");
    };
    refused(&["entitlement", "add", "acme", "x"], 2, "there are several: License, Policy");
    refused(&["entitlement", "add", "acme", "x", "--type", "Seat"], 2, "there are License, Policy");
    refused(&["entitlement", "add", "acme", "pro", "--type", "Policy"], 1, "is that of a License already");
    refused(&["entitlement", "remove", "acme", "admin"], 1, "none with the id admin");
    let long = "x".repeat(1_001);
    let add = ["entitlement", "add", "acme", "x", "--type", "Policy", "--description", &long];
    refused(&add, 1, "1000 characters");
}

#[test]
fn a_tenant_that_names_no_types_has_none() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token));
    server.client("acme", &token).get("/Entitlements").expect_error(404, "");
    let refused = server.run(["entitlement", "add", "acme", "x"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("entitlement_types = [\"License\"]"));
}

#[test]
fn catalogs_are_sorted_searched_and_walked_by_cursor() {
    let site = Site::new("false");
    for (id, name) in [("c", "Zed"), ("a", "basic seat"), ("b", "Alpha")] {
        site.server.run_well(["entitlement", "add", "acme", id, "--name", name, "--type", "License"]);
    }
    let ids = |list: &Value| -> Vec<String> {
        let listed = list["Resources"].as_array().unwrap();
        listed.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("a=a", ["pro", "basic", "c", "a", "b"]),
        ("sortBy=displayName", ["b", "basic", "a", "pro", "c"]),
        ("sortBy=displayName&sortOrder=descending", ["c", "pro", "basic", "a", "b"]),
        ("sortBy=id", ["a", "b", "basic", "c", "pro"]),
    ] {
        assert_eq!(
            ids(&site.client.get(&format!("/Licenses?{query}")).expect(200).json),
            expected,
            "{query}"
        );
        let at =
            |cursor: &str| site.client.get(&format!("/Licenses?{query}&count=2&cursor={cursor}")).expect(200);
        let (mut pages, mut cursor) = (vec![at("")], None);
        while let Some(next) = pages.last().unwrap()["nextCursor"].as_str().map(str::to_owned) {
            pages.push(at(&next));
            cursor = Some(next);
        }
        let met: Vec<String> = pages.iter().flat_map(|page| ids(&page.json)).collect();
        assert_eq!(met, expected, "{query}");
        let back = at(pages.last().unwrap()["previousCursor"].as_str().unwrap());
        assert_eq!(ids(&back.json), expected[2..4]);
        // A cursor is of one catalog, though another one has the same schema.
        let path = format!("/Policies?{query}&count=2&cursor={}", cursor.unwrap());
        site.client.get(&path).expect_error(400, "invalidCursor");
    }
    let search = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
    let message = json!({ "schemas": [search], "filter": "displayName sw \"B\"", "sortBy": "id" });
    assert_eq!(ids(&site.client.post("/Licenses/.search", message).expect(200).json), ["a", "basic"]);
    site.client.get("/Licenses/.search").expect_error(405, "");
    site.client.get("/Licenses?sortBy=userName").expect_error(400, "invalidValue");
}

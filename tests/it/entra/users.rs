//! Users, from the test of the connection to the deletion.

use serde_json::{Value, json};

use crate::entra::{Entra, NOBODY, tenants, user};
use crate::support::{Reply, okta};

fn department() -> String {
    format!("{}:department", okta::ENTERPRISE)
}

fn manager() -> String {
    format!("{}:manager", okta::ENTERPRISE)
}

/// A user made as Entra ID makes one.
struct Joy {
    entra: Entra,
    path: String,
    id: String,
}

impl Joy {
    fn of(entra: Entra) -> Joy {
        let id = entra.post("/Users", user("joy")).expect(201).id();
        Joy { path: format!("/Users/{id}"), id, entra }
    }

    fn patched(&self, operations: Value) -> Reply {
        let patched = self.entra.patch(&self.path, operations).expect(200);
        assert_eq!(self.entra.get(&self.path).expect(200).json, patched.json);
        patched
    }
}

#[test]
fn entra_tests_the_connection_by_looking_for_nobody() {
    for tenant in tenants() {
        for entra in [Entra::of(&tenant), Entra::with_flag(&tenant)] {
            for attribute in ["userName", "externalId", "emails[type eq \"work\"].value", "id"] {
                assert!(entra.find("/Users", &format!("{attribute} eq \"{NOBODY}\"")).is_empty());
            }
            for path in ["/Users", "/Groups"] {
                entra.get(&format!("{path}/{NOBODY}")).expect_error(404, "");
            }
            entra.get("/Schemas").expect(200);
        }
    }
}

#[test]
fn a_user_is_looked_for_created_read_and_found_again_by_every_matching_attribute() {
    for tenant in tenants() {
        let entra = Entra::of(&tenant);
        assert!(entra.find("/Users", "userName eq \"joy@contoso.test\"").is_empty());
        let made = entra.post("/Users", user("joy")).expect(201);
        assert_eq!(made["name"]["familyName"], "Young");
        for absent in ["department", "manager", "addresses", "roles", okta::ENTERPRISE] {
            assert_eq!(made.json.get(absent), None, "{absent}: null and the empty list are no value");
        }
        assert_eq!(entra.get(&format!("/Users/{}", made.id())).expect(200).json, made.json);
        for filter in [
            "userName eq \"joy@contoso.test\"",
            "userName eq \"JOY@CONTOSO.TEST\"",
            "externalId eq \"ext-joy\"",
            "emails[type eq \"work\"].value eq \"joy@contoso.test\"",
            "emails[type eq \"work\" and value eq \"joy@contoso.test\"]",
            &format!("id eq \"{}\"", made.id()),
        ] {
            assert_eq!(entra.find("/Users", filter), [made.id()], "{filter}");
        }
        entra.post("/Users", user("joy")).expect_error(409, "uniqueness");
    }
}

#[test]
fn each_attribute_is_replaced_by_an_operation_of_its_own_without_the_flag() {
    for tenant in tenants() {
        let joy = Joy::of(Entra::of(&tenant));
        let after = joy.patched(json!([
            { "op": "Replace", "path": "displayName", "value": "Pvlo" },
            { "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "new@contoso.test" },
            { "op": "Replace", "path": "name.givenName", "value": "Gtfd" },
            { "op": "Replace", "path": "name.familyName", "value": "Pkqf" },
            { "op": "Replace", "path": "externalId", "value": "Eqpj" },
            { "op": "Add", "path": "nickName", "value": "Babs" },
            { "op": "Replace", "path": format!("{}:employeeNumber", okta::ENTERPRISE), "value": "701984" },
            { "op": "Replace", "path": "userName", "value": "5b50642d@contoso.test" },
        ]));
        assert_eq!(
            after["emails"],
            json!([{ "value": "new@contoso.test", "type": "work", "primary": true }])
        );
        assert_eq!((&after["displayName"], &after["nickName"]), (&json!("Pvlo"), &json!("Babs")));
        assert_eq!(after["name"]["formatted"], "Joy Young");
        assert_eq!(after["externalId"], "Eqpj");
        assert_eq!(after[okta::ENTERPRISE]["employeeNumber"], "701984");
        assert_eq!(joy.entra.find("/Users", "userName eq \"5b50642d@contoso.test\""), [joy.id.as_str()]);
    }
}

#[test]
fn entra_names_attributes_by_paths_in_a_value() {
    // What the flag changes: one operation without a path, its keys dotted and with URNs.
    for tenant in tenants() {
        let joy = Joy::of(Entra::with_flag(&tenant));
        let after = joy.patched(json!([
            { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@contoso.test" },
            { "op": "replace", "value": {
                "displayName": "Bjfe",
                "name.givenName": "Kkom",
                "name.familyName": "Unua",
                department(): "Tools",
                format!("{}:employeeNumber", okta::ENTERPRISE): "Aklq",
                "addresses[type eq \"work\"].postalCode": "98052",
            } },
        ]));
        assert_eq!(after["name"]["givenName"], "Kkom");
        assert_eq!(after["name"]["formatted"], "Joy Young");
        assert_eq!(after[okta::ENTERPRISE], json!({ "employeeNumber": "Aklq", "department": "Tools" }));
        assert_eq!(after["addresses"], json!([{ "postalCode": "98052", "type": "work" }]));
        for key in ["name.givenName", "name.familyName"] {
            assert_eq!(after.json.get(key), None, "{key} is a path and no name");
        }
    }
}

#[test]
fn an_element_that_is_not_there_is_made_bit_by_bit() {
    for tenant in tenants() {
        let joy = Joy::of(Entra::of(&tenant));
        let after = joy.patched(json!([
            { "op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "55555555555" },
            { "op": "Replace", "path": "phoneNumbers[type eq \"fax\"].value", "value": "123" },
            { "op": "Add", "path": "addresses[type eq \"work\"].streetAddress", "value": "1 Way" },
            { "op": "Add", "path": "addresses[type eq \"work\"].postalCode", "value": "98052" },
            { "op": "Add", "path": "addresses[type eq \"other\"].Formatted", "value": "Room 7" },
            { "op": "Replace", "path": "emails[type eq \"other\"].Value", "value": "other@contoso.test" },
            { "op": "Add", "path": "roles[primary eq \"True\"].display", "value": "Admin" },
            { "op": "Add", "path": "roles[primary eq \"True\"].value", "value": "admin" },
        ]));
        let expected =
            json!([{ "value": "55555555555", "type": "mobile" }, { "value": "123", "type": "fax" }]);
        assert_eq!(after["phoneNumbers"], expected);
        assert_eq!(
            after["addresses"],
            json!([
                { "streetAddress": "1 Way", "postalCode": "98052", "type": "work" },
                { "formatted": "Room 7", "type": "other" },
            ])
        );
        assert_eq!(after["emails"].as_array().unwrap().len(), 2);
        assert_eq!(after["roles"], json!([{ "value": "admin", "display": "Admin", "primary": true }]));
        // A second look changes what is there and makes nothing new.
        let again = joy.patched(json!([
            { "op": "Replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "7" },
            { "op": "Replace", "path": "roles[primary eq \"True\"].value", "value": "owner" },
        ]));
        assert_eq!(again["phoneNumbers"][0], json!({ "value": "7", "type": "mobile" }));
        assert_eq!(again["roles"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn entra_calls_the_manager_by_its_bare_name() {
    for tenant in tenants() {
        let joy = Joy::of(Entra::of(&tenant));
        let boss = joy.entra.post("/Users", user("boss")).expect(201).id();
        let other = joy.entra.post("/Users", user("other")).expect(201).id();
        let has = |who: &str| {
            let ask = |name: &str| {
                joy.entra.find("/Users", &format!("id eq \"{}\" and {name} eq \"{who}\"", joy.id))
            };
            assert_eq!(ask("manager"), ask(&manager()), "both names find the same");
            assert_eq!(ask("Manager"), ask("manager.value"));
            !ask("manager").is_empty()
        };
        assert!(!has(&boss));
        let reference = json!([{ "$ref": format!("http://x.test/scim/Users/{boss}"), "value": boss }]);
        for (operation, holds) in [
            (json!({ "op": "Add", "path": "manager", "value": reference }), Some(&boss)),
            (json!({ "op": "Replace", "path": manager(), "value": other }), Some(&other)),
            (json!({ "op": "Add", "path": manager(), "value": { "value": boss } }), Some(&boss)),
            (json!({ "op": "Replace", "path": "manager", "value": other }), Some(&other)),
            (json!({ "op": "Remove", "path": "manager" }), None),
            (json!({ "op": "Add", "path": manager(), "value": boss }), Some(&boss)),
            (json!({ "op": "Remove", "path": manager() }), None),
        ] {
            let after = joy.patched(json!([operation]));
            assert_eq!(after[okta::ENTERPRISE]["manager"]["value"].as_str(), holds.map(String::as_str));
            assert_eq!(after.json.get("manager"), None, "it lies in the extension");
            assert_eq!(
                (has(&boss), has(&other)),
                (holds == Some(&boss), holds == Some(&other)),
                "{operation}"
            );
        }
    }
}

#[test]
fn a_user_is_disabled_found_and_restored_with_the_same_id_and_groups() {
    for tenant in tenants() {
        for (entra, off, on) in [
            (Entra::of(&tenant), json!("False"), json!("True")),
            (Entra::with_flag(&tenant), json!(false), json!(true)),
        ] {
            let joy = Joy::of(entra);
            let crew = joy.entra.post("/Groups", crate::entra::group("Crew")).expect(201).id();
            let members = json!([{ "op": "Add", "path": "members", "value": [{ "value": joy.id }] }]);
            joy.entra.patch(&format!("/Groups/{crew}"), members).expect(200);
            let set =
                |value: &Value| joy.patched(json!([{ "op": "Replace", "path": "active", "value": value }]));
            assert_eq!(set(&off)["active"], json!(false));
            // Only who is hard deleted may be missing.
            assert_eq!(joy.entra.find("/Users", "userName eq \"joy@contoso.test\""), [joy.id.as_str()]);
            let back = set(&on);
            assert_eq!((&back["active"], back["groups"][0]["value"].as_str()), (&json!(true), Some(&*crew)));

            joy.entra.delete(&joy.path).expect(204);
            joy.entra.get(&joy.path).expect_error(404, "");
            joy.entra.delete(&joy.path).expect_error(404, "");
            assert!(joy.entra.find("/Users", "userName eq \"joy@contoso.test\"").is_empty());
            let anew = joy.entra.post("/Users", user("joy")).expect(201).id();
            assert_ne!(anew, joy.id, "an id is given once");
            joy.entra.delete(&format!("/Users/{anew}")).expect(204);
            joy.entra.delete(&format!("/Groups/{crew}")).expect(204);
        }
    }
}

#[test]
fn attributes_of_an_extension_that_entra_defines_are_kept_and_searched() {
    let tag = "urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User";
    for tenant in tenants() {
        let joy = Joy::of(Entra::of(&tenant));
        let after = joy.patched(json!([{ "op": "Add", "path": format!("{tag}:tag"), "value": "701984" }]));
        assert_eq!(after[tag], json!({ "tag": "701984" }));
        assert!(after["schemas"].as_array().unwrap().contains(&json!(tag)));
        assert_eq!(joy.entra.find("/Users", &format!("{tag}:tag eq \"701984\"")), [joy.id.as_str()]);
        let mut sent = user("second");
        sent[tag] = json!({ "tag": "9" });
        assert_eq!(joy.entra.post("/Users", sent).expect(201)[tag], json!({ "tag": "9" }));
    }
}

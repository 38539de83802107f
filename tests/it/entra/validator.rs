//! The SCIM Validator's round: create, a duplicate, filters in any case, PATCH of every attribute and its removal,
//! with values that it makes up.

use serde_json::{Value, json};

use crate::entra::{Entra, NOBODY, tenants};
use crate::support::okta;

/// A user with every attribute of the validator's default list.
fn everything(name: &str) -> Value {
    json!({
        "schemas": [okta::USER, okta::ENTERPRISE],
        "userName": format!("{name}@validator.test"),
        "active": true,
        "displayName": "OXJVXQ",
        "title": "QWERTY",
        "preferredLanguage": "ko-KR",
        "name": { "givenName": "G", "familyName": "F", "formatted": "FF" },
        "emails": [{ "type": "work", "value": format!("{name}@work.test"), "primary": true }],
        "addresses": [{
            "type": "work", "formatted": "A", "streetAddress": "S", "locality": "L", "region": "R",
            "postalCode": "98052", "country": "Chad", "primary": true,
        }],
        "phoneNumbers": [
            { "type": "work", "value": "82-777-8771", "primary": true },
            { "type": "mobile", "value": "82-777-8772" },
            { "type": "fax", "value": "82-777-8773" },
        ],
        "externalId": format!("ext-{name}"),
        "nickName": "N", "userType": "T", "locale": "MUZZ", "timezone": "Africa/Nowhere",
        "profileUrl": "UBOYWK",
        okta::ENTERPRISE: {
            "employeeNumber": "E", "department": "D", "costCenter": "C", "organization": "O", "division": "V",
            "manager": "",
        },
        "roles": [{ "primary": true, "display": "R", "value": "r", "type": "t" }],
    })
}

#[test]
fn a_user_with_everything_comes_back_as_it_was_sent() {
    for tenant in tenants() {
        let entra = Entra::of(&tenant);
        let sent = everything("all");
        let made = entra.post("/Users", sent.clone()).expect(201);
        for (key, value) in sent.as_object().unwrap() {
            if key == okta::ENTERPRISE {
                assert_eq!((&made[key]["department"], made[key].get("manager")), (&json!("D"), None));
            } else {
                assert_eq!(&made[key], value, "{key} is stored as it was sent");
            }
        }
        entra.post("/Users", everything("all")).expect_error(409, "uniqueness");
        assert_eq!(entra.find("/Users", "userName eq \"ALL@VALIDATOR.TEST\""), [made.id()]);
        assert!(entra.find("/Users", &format!("userName eq \"{NOBODY}\"")).is_empty());
    }
}

#[test]
fn every_attribute_is_replaced_and_taken_away_by_its_path() {
    let in_extension = |name: &str| format!("{}:{name}", okta::ENTERPRISE);
    let mut paths: Vec<String> = [
        "displayName",
        "title",
        "preferredLanguage",
        "name.givenName",
        "name.familyName",
        "name.formatted",
        "emails[type eq \"work\"].value",
        "addresses[type eq \"work\"].formatted",
        "addresses[type eq \"work\"].streetAddress",
        "addresses[type eq \"work\"].country",
        "phoneNumbers[type eq \"work\"].value",
        "phoneNumbers[type eq \"mobile\"].value",
        "phoneNumbers[type eq \"fax\"].value",
        "externalId",
        "nickName",
        "userType",
        "locale",
        "timezone",
        "profileUrl",
        "roles[primary eq \"True\"].display",
        "roles[primary eq \"True\"].value",
    ]
    .map(str::to_owned)
    .to_vec();
    paths
        .extend(["employeeNumber", "department", "costCenter", "organization", "division"].map(in_extension));
    for tenant in tenants() {
        let entra = Entra::of(&tenant);
        let path = format!("/Users/{}", entra.post("/Users", everything("one")).expect(201).id());
        for (number, attribute) in paths.iter().enumerate() {
            let value = format!("new-{number}");
            let replaced =
                entra.patch(&path, json!([{ "op": "replace", "path": attribute, "value": value }]));
            assert!(replaced.expect(200).json.to_string().contains(&value), "{attribute}");
        }
        for attribute in &paths {
            entra.patch(&path, json!([{ "op": "remove", "path": attribute }])).expect(200);
        }
        let bare = entra.get(&path).expect(200);
        for gone in ["displayName", "title", "name", "emails", "phoneNumbers", "externalId", okta::ENTERPRISE]
        {
            assert_eq!(bare.json.get(gone), None, "{gone}");
        }
        // What is required stays; the validator says itself that this is to be expected.
        entra.patch(&path, json!([{ "op": "remove", "path": "userName" }])).expect_error(400, "mutability");
    }
}

//! Import (okta.md §6): full walks by 100, of users and of groups with their members, and profile sourcing, where
//! ICI is the one that says who is active.

use std::collections::HashSet;
use std::thread;

use serde_json::{Value, json};

use crate::support::client::member_ids;
use crate::support::{Client, Tenant, okta};

/// Walks a list as Okta's import does: pages of 100 until `totalResults` is covered.
fn walk(client: &Client, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut start = 1;
    loop {
        let page = client.get(&format!("{path}?startIndex={start}&count=100")).expect(200);
        assert_eq!(page["startIndex"], start);
        all.extend_from_slice(page.resources());
        start += 100;
        if start > page["totalResults"].as_u64().unwrap() {
            assert_eq!(page["totalResults"], all.len());
            return all;
        }
    }
}

fn ids(resources: &[Value]) -> Vec<&str> {
    resources.iter().map(|resource| resource["id"].as_str().unwrap()).collect()
}

/// 260 users, made by several clients at once.
fn fill(client: &Client) {
    thread::scope(|scope| {
        for maker in 0..4 {
            scope.spawn(move || {
                for n in 0..65 {
                    client.create("/Users", okta::user(&format!("u{maker}-{n}@x.test")));
                }
            });
        }
    });
}

#[test]
fn a_walk_over_many_pages_finds_everybody_once_and_in_the_same_order() {
    let client = Tenant::fresh().client();
    fill(&client);
    let first = walk(&client, "/Users");
    assert_eq!(first.len(), 260);
    assert_eq!(ids(&first).into_iter().collect::<HashSet<_>>().len(), 260);
    // Changes between two walks, and in the middle of one, move nobody.
    for user in first.iter().step_by(7) {
        let path = format!("/Users/{}", user["id"].as_str().unwrap());
        let operations = json!([{ "op": "replace", "value": { "userName": format!("0{}", user["userName"].as_str().unwrap()), "active": false } }]);
        client.patch(&path, okta::patch(operations)).expect(200);
    }
    let second = walk(&client, "/Users");
    assert_eq!(ids(&second), ids(&first));
    // Creation order: `created` never goes back.
    let created: Vec<&str> = first.iter().map(|user| user["meta"]["created"].as_str().unwrap()).collect();
    assert!(created.is_sorted());

    for start in [261, 301, 1_000_000, i64::MAX] {
        let past = client.get(&format!("/Users?startIndex={start}&count=100")).expect(200);
        assert_eq!((&past["totalResults"], &past["itemsPerPage"]), (&json!(260), &json!(0)), "{start}");
    }
}

#[test]
fn the_inactive_stay_in_the_list_and_the_deleted_do_not() {
    let client = Tenant::fresh().client();
    let made: Vec<String> =
        (0..9).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    client.patch(&format!("/Users/{}", made[0]), okta::set_active(false)).expect(200);
    client.delete(&format!("/Users/{}", made[1])).expect(204);
    let listed = walk(&client, "/Users");
    assert_eq!(ids(&listed)[0], made[0]);
    assert_eq!(ids(&listed).len(), 8);
    let active: Vec<bool> = listed.iter().map(|user| user["active"].as_bool().unwrap()).collect();
    assert_eq!(active, [false, true, true, true, true, true, true, true]);
}

#[test]
fn groups_are_imported_with_their_members_over_several_pages() {
    let client = Tenant::fresh().client();
    let people: Vec<String> =
        (0..5).map(|n| client.create("/Users", okta::user(&format!("u{n}@x.test"))).id()).collect();
    for n in 0..120 {
        let members: Vec<Value> = people[..n % 6].iter().map(|id| okta::member(id, "")).collect();
        client.create("/Groups", okta::group(&format!("group {n}"), &members));
    }
    let listed = walk(&client, "/Groups");
    assert_eq!(listed.len(), 120);
    for (n, group) in listed.iter().enumerate() {
        assert_eq!(group["displayName"], format!("group {n}"));
        let mut expected = people[..n % 6].to_vec();
        expected.sort();
        assert_eq!(member_ids(group), expected);
        for member in group["members"].as_array().unwrap() {
            assert!(
                ["value", "$ref", "type", "display"].iter().all(|key| member[key].is_string()),
                "{group}"
            );
        }
    }
}

#[test]
fn who_is_made_in_ici_is_imported_with_groups_and_linked_by_okta() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let (name, mail) = ("ada@example.com", "ada.l@example.com");
    let arguments =
        ["user", "add", &tenant.name, name, "--given", "Ada", "--family", "Lovelace", "--email", mail];
    tenant.server.run_well(arguments);
    tenant.server.run_well(["group", "add", &tenant.name, "Engineering", "--member", name]);

    let users = walk(&client, "/Users");
    let ada = &users[0];
    assert_eq!((users.len(), &ada["userName"], &ada["active"]), (1, &json!(name), &json!(true)));
    assert_eq!((&ada["name"]["givenName"], &ada["name"]["familyName"]), (&json!("Ada"), &json!("Lovelace")));
    assert_eq!((&ada["emails"][0]["value"], &ada["emails"][0]["primary"]), (&json!(mail), &json!(true)));
    let groups = walk(&client, "/Groups");
    assert_eq!((groups.len(), member_ids(&groups[0])), (1, vec![ada["id"].as_str().unwrap().to_owned()]));

    // Confirmed in Okta, the person is linked: GET, PUT with Okta's id.
    let path = format!("/Users/{}", ada["id"].as_str().unwrap());
    let mut echo = client.get(&path).expect(200).json;
    echo["externalId"] = json!("00ujl29u0le5T6Aj10h7");
    assert_eq!(client.put(&path, echo).expect(200)["externalId"], "00ujl29u0le5T6Aj10h7");
    let shown: Value =
        serde_json::from_str(&tenant.server.run_well(["user", "show", &tenant.name, name, "--json"]))
            .unwrap();
    assert_eq!(shown["externalId"], "00ujl29u0le5T6Aj10h7");
}

#[test]
fn profile_sourcing_sees_what_ici_does_to_a_person_while_the_server_runs() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let [stays, leaves] =
        ["stays@x.test", "leaves@x.test"].map(|name| client.create("/Users", okta::user(name)).id());
    let team = client.create("/Groups", okta::group("team", &[okta::member(&leaves, "leaves@x.test")])).id();
    let active = |id: &str| -> Option<bool> {
        walk(&client, "/Users").iter().find(|user| user["id"] == id)?["active"].as_bool()
    };
    assert_eq!((active(&stays), active(&leaves)), (Some(true), Some(true)));

    tenant.server.run_well(["user", "deactivate", &tenant.name, "Leaves@x.test"]);
    assert_eq!((active(&stays), active(&leaves)), (Some(true), Some(false)));
    // Okta answers by deactivating its own user, which unassigns the app: a repetition of what is so already.
    client.patch(&format!("/Users/{leaves}"), okta::set_active(false)).expect(200);
    assert_eq!(member_ids(&client.get(&format!("/Groups/{team}")).json), [leaves.as_str()]);

    tenant.server.run_well(["user", "activate", &tenant.name, "leaves@x.test"]);
    assert_eq!(active(&leaves), Some(true));
    tenant.server.run_well(["user", "delete", "--yes", &tenant.name, "leaves@x.test"]);
    assert_eq!((active(&stays), active(&leaves)), (Some(true), None));
    assert_eq!(client.get(&format!("/Groups/{team}"))["members"], json!([]));
}

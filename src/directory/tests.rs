use super::*;
use crate::clock::ManualClock;
use crate::config::{Limits, OnRecreate};
use crate::scim::Profile;
use serde_json::{Value, json};

struct Fixture {
    directory: Directory,
    options: Options,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(1_700_000_000_000);
        let shared = Shared::new(clock.clone(), Durability::Full).unwrap();
        let directory = Directory::open(&folder.path().join("acme.sqlite"), &shared).unwrap();
        let options = Options {
            limits: Limits::default(),
            profile: Profile::Okta,
            on_recreate: OnRecreate::Reactivate,
            store_passwords: false,
            schemas: None,
            check_entitlements: false,
            max_users: None,
        };
        Fixture { directory, options, clock, _folder: folder }
    }

    fn ask(&self, method: &str, address: &str, body: Value) -> Result<Answer, Error> {
        self.ask_if(method, address, body, None)
    }

    fn ask_if(
        &self,
        method: &str,
        address: &str,
        body: Value,
        if_match: Option<&str>,
    ) -> Result<Answer, Error> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let ask = Ask {
            operation: Operation::resolve(method, path).unwrap(),
            query: query.to_owned(),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
            if_match: if_match.map(str::to_owned),
            if_none_match: None,
            base_url: "https://h/scim/v2/acme".to_owned(),
        };
        self.directory.run(&self.options, &Actor::Token("okta".into()), ask)
    }

    fn json(&self, method: &str, address: &str, body: Value) -> Value {
        let answer = self.ask(method, address, body).unwrap();
        serde_json::from_slice(&answer.body.unwrap()).unwrap()
    }

    fn user(&self, name: &str) -> String {
        self.json("POST", "/Users", json!({ "userName": name }))["id"].as_str().unwrap().to_owned()
    }

    fn events(&self) -> Vec<store::Event> {
        self.directory.store.read(Duration::from_secs(60), |tx| tx.events_after(0, 1000)).unwrap()
    }
}

fn refusal(answer: Result<Answer, Error>) -> scim::Error {
    match answer {
        Err(Error::Client(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_user_is_made_shown_changed_and_deleted_and_each_change_has_its_event() {
    let it = Fixture::new();
    let made = it
        .ask(
            "POST",
            "/Users",
            json!({ "userName": "Ann", "externalId": "00u1", "groups": [], "password": "x" }),
        )
        .unwrap();
    let user: Value = serde_json::from_slice(made.body.as_ref().unwrap()).unwrap();
    let id = user["id"].as_str().unwrap();
    assert_eq!((made.status, made.location.as_deref()), (201, user["meta"]["location"].as_str()));
    assert_eq!(made.etag.as_deref(), user["meta"]["version"].as_str());
    assert_eq!((&user["active"], &user["groups"], user.get("password")), (&json!(true), &json!([]), None));
    it.clock.advance_ms(1000);
    let address = format!("/Users/{id}");
    let patch = json!({ "Operations": [{ "op": "replace", "value": { "active": false } }] });
    let gone = it.json("PATCH", &address, patch.clone());
    assert_eq!(gone["meta"]["lastModified"], "2023-11-14T22:13:21.000Z");
    let again = it.json("PATCH", &address, patch);
    assert_eq!(again, gone, "a change that changes nothing leaves version and lastModified alone");
    assert_eq!(it.ask("DELETE", &address, Value::Null).unwrap().status, 204);
    assert_eq!(refusal(it.ask("GET", &address, Value::Null)).status, 404);
    let actions: Vec<String> = it.events().into_iter().map(|event| event.action).collect();
    assert_eq!(actions, ["create", "deactivate", "delete"]);
    assert_eq!(it.events()[0].actor, "token:okta");
    assert_eq!(it.events()[1].changed, r#"{"attributes":["active"]}"#);
}

#[test]
fn a_taken_name_is_a_conflict_and_an_inactive_user_comes_back_with_id_and_groups() {
    let mut it = Fixture::new();
    let id = it.user("ann");
    assert_eq!(refusal(it.ask("POST", "/Users", json!({ "userName": "ANN" }))).status, 409);
    it.json("POST", "/Groups", json!({ "displayName": "G", "members": [{ "value": id }] }));
    it.json("PUT", &format!("/Users/{id}"), json!({ "userName": "ann", "active": false, "title": "Old" }));
    let back = it.ask("POST", "/Users", json!({ "userName": "Ann", "nickName": "A" })).unwrap();
    assert_eq!(back.status, 201);
    let back: Value = serde_json::from_slice(&back.body.unwrap()).unwrap();
    assert_eq!(
        (back["id"].as_str(), &back["active"], &back["nickName"]),
        (Some(id.as_str()), &json!(true), &json!("A"))
    );
    assert_eq!(back["groups"][0]["display"], "G");
    assert_eq!(it.events().last().unwrap().action, "restore");
    it.options.on_recreate = OnRecreate::Conflict;
    it.json("PUT", &format!("/Users/{id}"), json!({ "userName": "ann", "active": false }));
    assert_eq!(refusal(it.ask("POST", "/Users", json!({ "userName": "ann" }))).status, 409);
}

#[test]
fn a_look_up_by_external_id_shows_what_the_general_way_shows_be_there_few_or_many() {
    let it = Fixture::new();
    for (external_id, users) in [("one", 1), ("few", 3), ("many", 12)] {
        for number in 0..users {
            let user = json!({ "userName": format!("{external_id}{number}"), "externalId": external_id });
            it.json("POST", "/Users", user);
        }
    }
    it.json("POST", "/Groups", json!({ "displayName": "G", "externalId": "one" }));
    for external_id in ["none", "ONE", "one", "few", "many"] {
        for window in ["", "&count=2", "&startIndex=2", "&startIndex=3&count=1", "&startIndex=99", "&count=0"]
        {
            let list = |filter: &str| it.json("GET", &format!("/Users?filter={filter}{window}"), Value::Null);
            let by_index = list(&format!("externalId+eq+%22{external_id}%22"));
            let in_general =
                list(&format!("externalId+eq+%22{external_id}%22+and+not+(userName+eq+%22x%22)"));
            assert_eq!(by_index, in_general, "{external_id}{window}");
        }
    }
    let groups = it.json("GET", "/Groups?filter=externalId+eq+%22one%22", Value::Null);
    assert_eq!((&groups["totalResults"], &groups["Resources"][0]["displayName"]), (&json!(1), &json!("G")));
}

#[test]
fn who_has_no_active_may_not_log_in_and_is_found_by_neither_value() {
    let it = Fixture::new();
    let id = it.user("ann");
    let patch = json!({ "Operations": [{ "op": "remove", "path": "active" }] });
    assert_eq!(it.json("PATCH", &format!("/Users/{id}"), patch).get("active"), None);
    assert_eq!(it.events().last().unwrap().action, "deactivate");
    let total = |filter: &str| {
        it.json("GET", &format!("/Users?filter={filter}"), Value::Null)["totalResults"].clone()
    };
    for (filter, expected) in
        [("active+eq+true", 0), ("active+eq+false", 0), ("not+(active+pr)", 1), ("active+ne+true", 1)]
    {
        assert_eq!(total(filter), expected, "{filter}");
    }
    assert_eq!(it.json("PUT", &format!("/Users/{id}"), json!({ "userName": "ann" }))["active"], false);
}

#[test]
fn a_put_without_active_leaves_it_and_one_that_echoes_changes_nothing() {
    let it = Fixture::new();
    let id = it.user("ann");
    let address = format!("/Users/{id}");
    it.json("PUT", &address, json!({ "userName": "ann", "active": false }));
    let put = it.json("PUT", &address, json!({ "userName": "ann", "title": "T" }));
    assert_eq!(put["active"], false);
    let events = it.events().len();
    assert_eq!(it.json("PUT", &address, put.clone()), put);
    assert_eq!(it.events().len(), events);
}

#[test]
fn a_member_that_does_not_exist_is_named_and_nothing_is_applied() {
    let it = Fixture::new();
    let id = it.user("ann");
    let group = it.json("POST", "/Groups", json!({ "displayName": "G" }));
    assert_eq!(group["members"], json!([]));
    let address = format!("/Groups/{}", group["id"].as_str().unwrap());
    let patch = json!({ "Operations": [
        { "op": "replace", "value": { "displayName": "H" } },
        { "op": "add", "path": "members", "value": [{ "value": id }, { "value": "nobody" }] }] });
    let error = refusal(it.ask("PATCH", &address, patch));
    assert_eq!(error.status, 400);
    assert!(error.detail.contains("nobody"), "{error}");
    assert_eq!(it.json("GET", &address, Value::Null), group);
}

#[test]
fn members_are_added_removed_and_replaced_by_any_of_the_clients_forms() {
    let it = Fixture::new();
    let (a, b) = (it.user("ann"), it.user("bob"));
    let group = it.json(
        "POST",
        "/Groups",
        json!({ "displayName": "G", "members": [{ "value": a, "display": "ann" }] }),
    );
    let address = format!("/Groups/{}", group["id"].as_str().unwrap());
    let names = |operations: Value| -> Vec<String> {
        let group = it.json("PATCH", &address, json!({ "Operations": operations }));
        group["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["display"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(json!([{ "op": "add", "path": "members", "value": [{ "value": a }, { "value": b }] }])),
        ["ann", "bob"]
    );
    assert_eq!(names(json!([{ "op": "remove", "path": format!("members[value eq \"{a}\"]") }])), ["bob"]);
    assert_eq!(names(json!([{ "op": "remove", "path": format!("members[value eq \"{a}\"]") }])), ["bob"]);
    assert_eq!(names(json!([{ "op": "replace", "path": "members", "value": [{ "value": a }] }])), ["ann"]);
    assert_eq!(names(json!([{ "op": "remove", "path": "members[display sw \"a\"]" }])), Vec::<String>::new());
    let user = it.json("GET", &format!("/Users/{a}"), Value::Null);
    assert_eq!(user["groups"], json!([]));
}

#[test]
fn a_large_group_is_patched_without_being_sent_back_unless_asked() {
    let it = Fixture::new();
    let ids: Vec<Value> = (0..1001).map(|n| json!({ "value": it.user(&n.to_string()) })).collect();
    let group = it.json("POST", "/Groups", json!({ "displayName": "G", "members": ids[..1000] }));
    let address = format!("/Groups/{}", group["id"].as_str().unwrap());
    let add = json!({ "Operations": [{ "op": "add", "path": "members", "value": [ids[1000]] }] });
    let answer = it.ask("PATCH", &address, add.clone()).unwrap();
    assert_eq!((answer.status, answer.body), (204, None));
    let asked = it.json("PATCH", &format!("{address}?attributes=members"), add);
    assert_eq!(asked["members"].as_array().unwrap().len(), 1001);
}

#[test]
fn a_stale_if_match_is_refused_before_anything_is_written() {
    let it = Fixture::new();
    let id = it.user("ann");
    let address = format!("/Users/{id}");
    let etag = it.ask("GET", &address, Value::Null).unwrap().etag.unwrap();
    it.ask_if("PUT", &address, json!({ "userName": "ann", "title": "1" }), Some(&etag)).unwrap();
    let stale = it.ask_if("PUT", &address, json!({ "userName": "ann", "title": "2" }), Some(&etag));
    assert_eq!(refusal(stale).status, 412);
    assert_eq!(it.json("GET", &address, Value::Null)["title"], "1");
}

#[test]
fn a_rename_to_a_name_that_is_taken_is_refused_and_to_its_own_in_other_case_is_not() {
    let it = Fixture::new();
    let (a, _) = (it.user("ann"), it.user("bob"));
    let put = |name: &str| it.ask("PUT", &format!("/Users/{a}"), json!({ "userName": name }));
    assert_eq!(refusal(put("BOB")).status, 409);
    assert_eq!(put("ANN").unwrap().status, 200);
    assert_eq!(
        it.json("GET", "/Users?filter=userName%20eq%20%22ann%22", Value::Null)["Resources"][0]["userName"],
        "ANN"
    );
}

fn bulk(it: &Fixture, body: Value) -> Vec<Value> {
    let mut body = body;
    body["schemas"] = json!([scim::bulk::REQUEST_URN]);
    let answer = it.json("POST", "/Bulk", body);
    assert_eq!(answer["schemas"], json!([scim::bulk::RESPONSE_URN]));
    answer["Operations"].as_array().unwrap().clone()
}

fn statuses(outcomes: &[Value]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome["status"].as_str().unwrap()).collect()
}

#[test]
fn a_bulk_request_makes_changes_and_deletes_and_refers_forwards_and_backwards() {
    let it = Fixture::new();
    let old = it.user("old");
    let outcomes = bulk(
        &it,
        json!({ "Operations": [
        { "method": "POST", "path": "/Groups", "bulkId": "g", "data": { "displayName": "G", "members": [{ "value": "bulkId:ann" }, { "value": old }] } },
        { "method": "POST", "path": "/Users", "bulkId": "ann", "data": { "userName": "ann" } },
        { "method": "PATCH", "path": "/Users/bulkId:ann", "data": { "Operations": [{ "op": "replace", "value": { "title": "T" } }] } },
        { "method": "DELETE", "path": format!("/Users/{old}") }] }),
    );
    assert_eq!(statuses(&outcomes), ["201", "201", "200", "204"]);
    let group = it.json("GET", "/Groups", Value::Null)["Resources"][0].clone();
    assert_eq!(group["members"].as_array().unwrap().len(), 1);
    assert_eq!(outcomes[0]["location"], group["meta"]["location"]);
    let ann = it.json("GET", "/Users", Value::Null)["Resources"][0].clone();
    assert_eq!((&ann["title"], &outcomes[2]["version"]), (&json!("T"), &ann["meta"]["version"]));
}

#[test]
fn two_groups_of_a_bulk_request_may_contain_each_other() {
    let it = Fixture::new();
    let group = |name: &str, other: &str| {
        json!({ "method": "POST", "path": "/Groups", "bulkId": name,
                "data": { "displayName": name, "members": [{ "value": format!("bulkId:{other}") }] } })
    };
    let outcomes = bulk(&it, json!({ "Operations": [group("a", "b"), group("b", "a")] }));
    assert_eq!(statuses(&outcomes), ["201", "201"]);
    let groups = it.json("GET", "/Groups", Value::Null)["Resources"].clone();
    for (outcome, name) in outcomes.iter().zip(["a", "b"]) {
        let at = usize::from(groups[0]["displayName"] != name);
        let (group, other) = (&groups[at], &groups[1 - at]);
        assert_eq!(group["members"][0]["value"], other["id"]);
        assert_eq!(
            (&outcome["version"], &outcome["location"]),
            (&group["meta"]["version"], &group["meta"]["location"])
        );
    }
}

#[test]
fn a_failed_operation_undoes_itself_alone_and_fail_on_errors_stops_there() {
    let it = Fixture::new();
    let operations = json!([
        { "method": "POST", "path": "/Users", "bulkId": "1", "data": { "userName": "ann" } },
        { "method": "POST", "path": "/Users", "bulkId": "2", "data": { "userName": "ANN" } },
        { "method": "POST", "path": "/Groups", "bulkId": "3", "data": { "displayName": "G", "members": [{ "value": "bulkId:2" }] } },
        { "method": "POST", "path": "/Users", "bulkId": "4", "data": { "userName": "bob" } }]);
    let outcomes = bulk(&it, json!({ "Operations": operations }));
    assert_eq!(statuses(&outcomes), ["201", "409", "409", "201"]);
    assert_eq!(outcomes[1]["response"]["scimType"], "uniqueness");
    assert_eq!(it.json("GET", "/Groups", Value::Null)["totalResults"], 0);
    let again = bulk(&it, json!({ "failOnErrors": 1, "Operations": operations }));
    assert_eq!(statuses(&again), ["409"]);
}

#[test]
fn a_circle_is_cut_where_it_can_be_and_a_conflict_where_it_cannot() {
    let it = Fixture::new();
    let user = |name: &str, user_name: &str, manager: &str| {
        json!({ "method": "POST", "path": "/Users", "bulkId": name, "data": { "userName": user_name,
                scim::schema::ENTERPRISE_USER: { "manager": { "value": format!("bulkId:{manager}") } } } })
    };
    let outcomes =
        bulk(&it, json!({ "Operations": [user("a", "a", "b"), user("b", "b", "a"), user("c", "c", "c")] }));
    assert_eq!(statuses(&outcomes), ["201", "201", "201"]);
    let users = it.json("GET", "/Users", Value::Null)["Resources"].clone();
    for (of, is) in [("a", "b"), ("b", "a"), ("c", "c")] {
        let named =
            |name: &str| users.as_array().unwrap().iter().find(|user| user["userName"] == name).unwrap();
        assert_eq!(named(of)[scim::schema::ENTERPRISE_USER]["manager"]["value"], named(is)["id"]);
    }
    // A userName must be there, so that neither of these can come first; the third waits for them in vain.
    let operations = [user("d", "bulkId:e", "a"), user("e", "bulkId:d", "a"), user("f", "f", "d")];
    let outcomes = bulk(&it, json!({ "Operations": operations.clone() }));
    assert_eq!(statuses(&outcomes), ["409", "409", "409"]);
    let outcomes = bulk(&it, json!({ "Operations": operations, "failOnErrors": 1 }));
    assert_eq!(statuses(&outcomes), ["409"]);
    assert_eq!(it.json("GET", "/Users", Value::Null)["totalResults"], 3);
}

#[test]
fn a_resource_of_a_circle_whose_other_half_fails_is_not_kept() {
    let it = Fixture::new();
    it.user("taken");
    let outcomes = bulk(
        &it,
        json!({ "Operations": [
            { "method": "POST", "path": "/Users", "bulkId": "a", "data": { "userName": "a", "x": [{ "value": "bulkId:b" }] } },
            { "method": "POST", "path": "/Users", "bulkId": "b", "data": { "userName": "taken", "x": [{ "value": "bulkId:a" }] } },
            { "method": "POST", "path": "/Groups", "bulkId": "g", "data": { "displayName": "g", "members": [{ "value": "bulkId:g" }] } }] }),
    );
    assert_eq!(statuses(&outcomes), ["409", "409", "400"]);
    assert!(outcomes.iter().all(|outcome| outcome.get("location").is_none()));
    assert_eq!(it.json("GET", "/Users", Value::Null)["totalResults"], 1);
    assert_eq!(it.json("GET", "/Groups", Value::Null)["totalResults"], 0);
}

#[test]
fn an_operation_stays_at_its_place_and_what_it_refers_to_comes_before_it() {
    let it = Fixture::new();
    let old = it.user("old");
    let outcomes = bulk(
        &it,
        json!({ "Operations": [
            { "method": "POST", "path": "/Groups", "bulkId": "g", "data": { "displayName": "G", "members": [{ "value": "bulkId:h" }, { "value": old }] } },
            { "method": "DELETE", "path": format!("/Users/{old}") },
            { "method": "POST", "path": "/Groups", "bulkId": "h", "data": { "displayName": "H", "members": [{ "value": "bulkId:ann" }] } },
            { "method": "POST", "path": "/Users", "bulkId": "ann", "data": { "userName": "ann" } }] }),
    );
    assert_eq!(statuses(&outcomes), ["201", "204", "201", "201"]);
    let made: Vec<Value> = it.events().iter().skip(1).map(|event| json!(event.action)).collect();
    assert_eq!(made, ["create", "create", "create", "delete"]);
}

#[test]
fn a_write_whose_request_is_over_when_its_turn_comes_is_not_done() {
    let mut it = Fixture::new();
    it.options.limits.request_s = 0;
    let refused = refusal(it.ask("POST", "/Users", json!({ "userName": "ann" })));
    assert_eq!((refused.status, refused.retry_after_s.is_some()), (503, true));
    it.options.limits = Limits { write_ms_max: 0, ..Limits::default() };
    let operation =
        json!({ "method": "POST", "path": "/Users", "bulkId": "1", "data": { "userName": "ann" } });
    let body = json!({ "schemas": [scim::bulk::REQUEST_URN], "Operations": [operation] });
    assert_eq!(refusal(it.ask("POST", "/Bulk", body)).status, 503);
    it.options.limits = Limits::default();
    assert_eq!(it.json("GET", "/Users", Value::Null)["totalResults"], 0);
}

#[test]
fn a_resource_may_be_so_large_and_one_that_is_larger_may_only_shrink() {
    let mut it = Fixture::new();
    let much = |bytes: usize| json!({ "userName": "ann", "title": "x".repeat(bytes) });
    let id = it.json("POST", "/Users", much(100_000))["id"].as_str().unwrap().to_owned();
    it.options.limits.resource_bytes_max = 50_000;
    let refused =
        refusal(it.ask("POST", "/Users", json!({ "userName": "bob", "title": "x".repeat(50_000) })));
    assert_eq!((refused.status, refused.detail.contains("50000 bytes")), (413, true));
    let address = format!("/Users/{id}");
    assert_eq!(refusal(it.ask("PUT", &address, much(200_000))).status, 413);
    let patch = |value: Value| json!({ "Operations": [{ "op": "replace", "value": value }] });
    assert_eq!(
        refusal(it.ask("PATCH", &address, patch(json!({ "nickName": "x".repeat(1000) })))).status,
        413
    );
    assert_eq!(it.json("PUT", &address, much(90_000))["userName"], "ann");
    assert_eq!(it.json("PATCH", &address, patch(json!({ "title": "x" })))["title"], "x");
}

#[test]
fn only_reads_of_a_row_or_a_few_are_short() {
    let it = Fixture::new();
    let short = |address: &str| {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let ask = Ask {
            operation: Operation::resolve("GET", path).unwrap(),
            query: query.to_owned(),
            body: Bytes::new(),
            if_match: None,
            if_none_match: None,
            base_url: String::new(),
        };
        match it.directory.prepare(&it.options, &Actor::Operator, ask) {
            Ok(Work::Read(work)) => work.is_short(),
            _ => panic!("a read"),
        }
    };
    for address in [
        "/Users/1",
        "/Users?startIndex=1&count=2",
        "/Users?filter=userName+eq+%22a%22",
        "/Groups/1?excludedAttributes=members",
    ] {
        assert!(short(address), "{address}");
    }
    for address in ["/Users", "/Groups/1", "/Users?filter=title+pr", "/Groups?filter=displayName+eq+%22a%22"]
    {
        assert!(!short(address), "{address}");
    }
}

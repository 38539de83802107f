//! PATCH of groups over HTTP, beyond the forms that Okta sends (for those see `okta`).

use serde_json::{Value, json};

use crate::support::{Client, Reply, Tenant, file, okta};

/// A group of `a` and `b`, with `c` outside.
struct Team {
    tenant: Tenant,
    client: Client,
    id: String,
    a: String,
    b: String,
    c: String,
}

impl Team {
    fn new() -> Team {
        let tenant = Tenant::fresh();
        let client = tenant.client();
        let [a, b, c] =
            ["ann", "bob", "cid"].map(|name| client.create("/Users", json!({ "userName": name })).id());
        let id = client
            .create("/Groups", okta::group("team", &[okta::member(&a, "ann"), okta::member(&b, "bob")]))
            .id();
        Team { tenant, client, id, a, b, c }
    }

    fn send(&self, operations: Value) -> Reply {
        self.client.patch(&format!("/Groups/{}", self.id), okta::patch(operations))
    }

    /// The members after the operations.
    fn after(&self, operations: Value) -> Vec<String> {
        let reply = self.send(operations).expect(200);
        assert_eq!(self.client.get(&format!("/Groups/{}", self.id)).json, reply.json);
        reply.member_ids()
    }

    fn sorted<const N: usize>(&self, ids: [&String; N]) -> Vec<String> {
        let mut ids: Vec<String> = ids.into_iter().cloned().collect();
        ids.sort();
        ids
    }
}

#[test]
fn removing_members_without_a_filter_empties_the_group() {
    let team = Team::new();
    assert_eq!(team.after(json!([{ "op": "remove", "path": "members" }])), [""; 0]);
}

#[test]
fn removing_members_with_a_value_removes_only_those() {
    let team = Team::new();
    let left = team.after(
        json!([{ "op": "Remove", "path": "members", "value": [{ "value": team.a }, { "value": team.c }] }]),
    );
    assert_eq!(left, [team.b.as_str()]);
}

#[test]
fn a_filter_on_members_may_be_of_any_form() {
    let team = Team::new();
    let either = format!("members[value eq \"{}\" or value eq \"{}\"]", team.a, team.c);
    assert_eq!(team.after(json!([{ "op": "remove", "path": either }])), [team.b.as_str()]);
    let team = Team::new();
    assert_eq!(
        team.after(json!([{ "op": "remove", "path": "members[display sw \"AN\"]" }])),
        [team.b.as_str()]
    );
    let team = Team::new();
    assert_eq!(team.after(json!([{ "op": "remove", "path": "members[type eq \"User\"]" }])), [""; 0]);
    let team = Team::new();
    let not = format!("members[not (value eq \"{}\")]", team.a);
    assert_eq!(team.after(json!([{ "op": "remove", "path": not }])), [team.a.as_str()]);
}

#[test]
fn operations_take_effect_in_their_order() {
    let team = Team::new();
    let add_c = okta::add_members(&[okta::member(&team.c, "cid")]);
    assert_eq!(team.after(json!([okta::replace_members(&[]), add_c])), [team.c.as_str()]);
    assert_eq!(team.after(json!([add_c, okta::replace_members(&[])])), [""; 0]);
    assert_eq!(team.after(json!([add_c, okta::remove_member(&team.c), add_c])), [team.c.as_str()]);
}

#[test]
fn what_a_group_had_before_and_after_is_what_counts_for_the_event() {
    let team = Team::new();
    let events = file::events(&team.tenant.file());
    let there_and_back =
        json!([okta::remove_member(&team.a), okta::add_members(&[okta::member(&team.a, "ann")])]);
    assert_eq!(team.after(there_and_back), team.sorted([&team.a, &team.b]));
    assert_eq!(file::events(&team.tenant.file()), events, "nobody has come or gone");
}

#[test]
fn members_are_immutable_inside_but_their_display_is_not() {
    let team = Team::new();
    let path = format!("members[value eq \"{}\"]", team.a);
    for sub in ["value", "type", "$ref"] {
        team.send(json!([{ "op": "replace", "path": format!("{path}.{sub}"), "value": team.c }]))
            .expect_error(400, "mutability");
    }
    let shown = team
        .send(json!([{ "op": "replace", "path": format!("{path}.display"), "value": "Anne" }]))
        .expect(200);
    assert_eq!(shown["members"][0]["display"], "Anne");
    team.send(json!([{ "op": "replace", "path": "members[value eq \"no\"].display", "value": "x" }]))
        .expect_error(400, "noTarget");
}

#[test]
fn refusals_have_their_keyword_and_leave_the_group_as_it_was() {
    let team = Team::new();
    let path = format!("/Groups/{}", team.id);
    let before = team.client.get(&path).json;
    let first = okta::remove_member(&team.a);
    for (operation, scim_type) in [
        (json!({ "op": "remove", "path": "members[value eq" }), "invalidPath"),
        (json!({ "op": "remove", "path": "members[nonsense eq 1]" }), "invalidPath"),
        (json!({ "op": "remove", "path": "members.nonsense" }), "invalidPath"),
        (json!({ "op": "remove", "path": "displayName" }), "mutability"),
        (json!({ "op": "replace", "path": "id", "value": "x" }), "mutability"),
        (json!({ "op": "replace", "path": "displayName", "value": "" }), "invalidValue"),
        (json!({ "op": "add", "path": "members", "value": [{ "value": "no-such-id" }] }), "invalidValue"),
        (json!({ "op": "add", "path": "members", "value": 7 }), "invalidValue"),
        (json!({ "op": "remove" }), "noTarget"),
    ] {
        team.send(json!([first, operation])).expect_error(400, scim_type);
        assert_eq!(team.client.get(&path).json, before, "{operation}");
    }
}

#[test]
fn a_patch_names_what_it_shows() {
    let team = Team::new();
    let path = format!("/Groups/{}?attributes=displayName", team.id);
    let shown = team.client.patch(&path, okta::rename(&team.id, "crew")).expect(200);
    assert_eq!(shown.json, json!({ "schemas": [okta::GROUP], "id": team.id, "displayName": "crew" }));
}

#[test]
fn a_group_may_be_a_member_of_a_group() {
    let team = Team::new();
    let outer = team.client.create("/Groups", okta::group("outer", &[okta::member(&team.id, "team")]));
    assert_eq!(outer["members"][0]["type"], "Group");
    let gone = team
        .client
        .patch(&format!("/Groups/{}", outer.id()), okta::patch(json!([okta::remove_member(&team.id)])))
        .expect(200);
    assert_eq!(gone["members"], json!([]));
}

//! Groups: asked for without their members, changed member by member.

use serde_json::{Value, json};

use crate::entra::{Entra, group, tenants, user};
use crate::support::Tenant;

/// A group and three users that are not in it.
struct Crew {
    entra: Entra,
    path: String,
    id: String,
    users: [String; 3],
}

impl Crew {
    fn of(entra: Entra) -> Crew {
        let users = ["a", "b", "c"].map(|name| entra.post("/Users", user(name)).expect(201).id());
        let made = entra.post("/Groups", group("Crew")).expect(201);
        assert_eq!((&made["members"], &made["externalId"]), (&json!([]), &json!("ext-Crew")));
        Crew { path: format!("/Groups/{}", made.id()), id: made.id(), users, entra }
    }

    /// Every change is answered 200 or 204; Entra ID takes both.
    fn patch(&self, operations: Value) {
        let answered = self.entra.patch(&self.path, operations);
        assert!([200, 204].contains(&answered.status), "{answered}");
    }

    fn members(&self) -> Vec<String> {
        self.entra.get(&self.path).expect(200).member_ids()
    }

    /// Asked as Entra ID asks: whether the group has the member.
    fn has(&self, user: &str) -> bool {
        let ask = |about: &str| {
            let filter = format!("id eq \"{}\" and {about}", self.id);
            self.entra.find("/Groups?excludedAttributes=members", &filter)
        };
        let found = ask(&format!("members eq \"{user}\""));
        assert_eq!(ask(&format!("members[value eq \"{user}\"]")), found);
        assert_eq!(ask(&format!("members.value eq \"{user}\"")), found);
        !found.is_empty()
    }
}

fn of_both_kinds(tenant: &Tenant) -> [Entra; 2] {
    [Entra::of(tenant), Entra::with_flag(tenant)]
}

#[test]
fn a_group_is_looked_up_by_name_and_shown_without_members() {
    for tenant in tenants() {
        let crew = Crew::of(Entra::of(&tenant));
        crew.patch(json!([{ "op": "Add", "path": "members", "value": [{ "value": crew.users[0] }] }]));
        let list = "/Groups?excludedAttributes=members";
        for filter in ["displayName eq \"Crew\"", "displayName eq \"CREW\"", "externalId eq \"ext-Crew\""] {
            assert_eq!(crew.entra.find(list, filter), [crew.id.as_str()], "{filter}");
        }
        assert!(crew.entra.find(list, "displayName eq \"Nobodies\"").is_empty());
        let shown = crew.entra.get(&format!("{}?excludedAttributes=members", crew.path)).expect(200);
        assert_eq!((shown.json.get("members"), &shown["displayName"]), (None, &json!("Crew")));
        crew.entra.post("/Groups", group("Crew")).expect_error(409, "uniqueness");
    }
}

#[test]
fn members_are_added_asked_for_and_removed_by_value() {
    for tenant in tenants() {
        for entra in of_both_kinds(&tenant) {
            let crew = Crew::of(entra);
            let [a, b, c] = &crew.users;
            let mut all = crew.users.to_vec();
            all.sort();
            let one = |op: &str, id: &str| json!([{ "op": op, "path": "members", "value": [{ "$ref": null, "value": id }] }]);
            crew.patch(one("Add", a));
            crew.patch(json!([
                { "op": "Add", "path": "members", "value": [{ "value": b }] },
                { "op": "Add", "path": "members", "value": [{ "value": c }] },
            ]));
            assert_eq!(crew.members(), all);
            assert!(crew.has(a) && crew.has(b));

            crew.patch(one("Remove", a));
            assert!(!crew.has(a) && crew.has(b), "only the one that was named is gone");
            crew.patch(one("Remove", a));
            crew.patch(json!([{ "op": "remove", "path": format!("members[value eq \"{b}\"]") }]));
            assert_eq!(crew.members(), [c.as_str()]);
            crew.patch(json!([{ "op": "Remove", "path": "members", "value": [] }]));
            assert_eq!(crew.members(), [c.as_str()], "an empty list names nobody");

            crew.entra.delete(&crew.path).expect(204);
            crew.entra.get(&crew.path).expect_error(404, "");
            for id in &crew.users {
                crew.entra.delete(&format!("/Users/{id}")).expect(204);
            }
        }
    }
}

#[test]
fn a_group_is_renamed_alone_and_an_unknown_member_refused_by_name() {
    for tenant in tenants() {
        let crew = Crew::of(Entra::of(&tenant));
        crew.patch(json!([{ "op": "Add", "path": "members", "value": [{ "value": crew.users[0] }] }]));
        crew.patch(json!([{ "op": "Replace", "path": "displayName", "value": "1879db59updated" }]));
        assert_eq!(crew.entra.find("/Groups", "displayName eq \"1879db59updated\""), [crew.id.as_str()]);
        let nobody =
            json!([{ "op": "Add", "path": "members", "value": [{ "value": crate::entra::NOBODY }] }]);
        let refused = crew.entra.patch(&crew.path, nobody).expect_error(400, "invalidValue");
        assert!(refused.detail().contains(crate::entra::NOBODY), "{refused}");
        assert_eq!(crew.members(), [crew.users[0].as_str()]);
    }
}

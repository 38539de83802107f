use super::*;
use crate::scim::resource::MemberRef;
use crate::scim::schema::{ENTERPRISE_USER, Schemas};
use serde_json::json;

const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

fn patched(kind: Kind, doc: Value, operations: Value) -> Result<Patched, Error> {
    let schemas = Schemas::builtin().unwrap();
    let body = json!({ "schemas": [PATCH_URN], "Operations": operations });
    let Value::Object(doc) = doc else { panic!("a document is an object") };
    apply(
        parse(body, 10, BOUNDS, Profile::Okta)?,
        doc,
        schemas.of(kind),
        BOUNDS,
        Profile::Okta,
        &mut Effort::default(),
    )
}

/// The document after the operations, without `schemas`.
fn user(doc: Value, operations: Value) -> Value {
    let mut doc = patched(Kind::User, doc, operations).unwrap().doc;
    doc.remove("schemas");
    Value::Object(doc)
}

fn refused(doc: Value, operations: Value) -> Option<&'static str> {
    patched(Kind::User, doc, operations).unwrap_err().scim_type.map(crate::scim::ScimType::as_str)
}

fn members(operations: Value) -> Vec<MemberChange> {
    patched(Kind::Group, json!({ "displayName": "g" }), operations).unwrap().members
}

fn ann() -> Value {
    json!({
        "userName": "ann", "name": { "givenName": "A", "familyName": "N" }, "active": true,
        "emails": [{ "value": "a@x", "type": "work", "primary": true }, { "value": "h@x", "type": "home" }],
    })
}

#[test]
fn oktas_deactivation_has_no_path() {
    let gone = user(ann(), json!([{ "op": "replace", "value": { "active": false } }]));
    assert_eq!(gone["active"], false);
    assert_eq!(gone["emails"], ann()["emails"]);
}

#[test]
fn op_is_taken_in_any_case_and_booleans_as_text() {
    assert_eq!(
        user(ann(), json!([{ "op": "Replace", "path": "active", "value": "False" }]))["active"],
        false
    );
}

#[test]
fn keys_of_a_value_may_be_dotted_carry_a_urn_or_a_filter() {
    let changed = user(
        ann(),
        json!([{ "op": "add", "value": {
            "name.givenName": "B", "emails[type eq \"work\"].value": "b@x",
            format!("{ENTERPRISE_USER}:department"): "Eng", ENTERPRISE_USER: { "manager": { "value": "7" } } } }]),
    );
    assert_eq!(changed["name"], json!({ "givenName": "B", "familyName": "N" }));
    assert_eq!(changed["emails"][0]["value"], "b@x");
    assert_eq!(changed[ENTERPRISE_USER], json!({ "department": "Eng", "manager": { "value": "7" } }));
}

#[test]
fn sub_attributes_that_are_not_named_stay_and_null_ones_go() {
    let changed = user(
        ann(),
        json!([{ "op": "replace", "value": { "name": { "givenName": "B", "familyName": null } } }]),
    );
    assert_eq!(changed["name"], json!({ "givenName": "B" }));
    let emptied = user(ann(), json!([{ "op": "replace", "path": "name", "value": { "givenName": "" } }]));
    assert_eq!(emptied["name"], json!({ "familyName": "N" }));
    let gone = user(ann(), json!([{ "op": "replace", "path": "name", "value": null }]));
    assert_eq!(gone.get("name"), None);
}

#[test]
fn null_empty_text_and_empty_lists_unassign() {
    for value in [json!(null), json!(""), json!([])] {
        assert_eq!(
            user(ann(), json!([{ "op": "replace", "path": "emails", "value": value }])).get("emails"),
            None
        );
    }
}

#[test]
fn add_appends_and_a_value_that_is_there_is_brought_up_to_date() {
    let changed = user(
        ann(),
        json!([{ "op": "add", "path": "emails", "value": [
        { "value": "A@X", "type": "WORK", "display": "Ann" }, { "value": "new@x" }] }]),
    );
    let emails = changed["emails"].as_array().unwrap();
    assert_eq!(emails.len(), 3);
    assert_eq!((&emails[0]["display"], &emails[0]["primary"]), (&json!("Ann"), &json!(true)));
}

#[test]
fn a_new_primary_value_takes_the_place_of_the_old_one() {
    for operation in [
        json!({ "op": "add", "path": "emails", "value": { "value": "n@x", "primary": true } }),
        json!({ "op": "replace", "path": "emails[type eq \"home\"].primary", "value": true }),
    ] {
        let changed = user(ann(), json!([operation]));
        let primary: Vec<&Value> =
            changed["emails"].as_array().unwrap().iter().filter(|email| email["primary"] == true).collect();
        assert_eq!(primary.len(), 1, "{changed}");
        assert_ne!(primary[0]["value"], "a@x");
    }
    let two = json!([{ "op": "replace", "path": "emails", "value": [{ "value": "a", "primary": true }, { "value": "b", "primary": true }] }]);
    assert_eq!(refused(ann(), two), Some("invalidValue"));
}

#[test]
fn a_filter_chooses_the_elements_that_change() {
    let changed =
        user(ann(), json!([{ "op": "replace", "path": "emails[type eq \"home\"].value", "value": "z@x" }]));
    assert_eq!(
        (&changed["emails"][0]["value"], &changed["emails"][1]["value"]),
        (&json!("a@x"), &json!("z@x"))
    );
    let whole = user(
        ann(),
        json!([{ "op": "replace", "path": "emails[value ew \"@x\" and type eq \"home\"]", "value": { "value": "q@x" } }]),
    );
    assert_eq!(whole["emails"][1], json!({ "value": "q@x" }));
    let removed = user(ann(), json!([{ "op": "remove", "path": "emails[type eq \"work\"]" }]));
    assert_eq!(removed["emails"], json!([{ "value": "h@x", "type": "home" }]));
    let last = user(ann(), json!([{ "op": "remove", "path": "emails[value pr]" }]));
    assert_eq!(last.get("emails"), None);
    let sub = user(ann(), json!([{ "op": "remove", "path": "emails[type eq \"work\"].primary" }]));
    assert_eq!(sub["emails"][0], json!({ "value": "a@x", "type": "work" }));
}

#[test]
fn a_missing_element_is_made_from_the_equalities_of_its_filter() {
    let made = user(
        json!({ "userName": "a" }),
        json!([{ "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "a@x" }]),
    );
    assert_eq!(made["emails"], json!([{ "type": "work", "value": "a@x" }]));
}

#[test]
fn what_a_path_does_not_find_is_no_target() {
    for operation in [
        json!({ "op": "replace", "path": "emails[type eq \"other\"]", "value": { "value": "x" } }),
        json!({ "op": "replace", "path": "emails[type co \"other\"].value", "value": "x" }),
        json!({ "op": "remove", "path": "emails[type eq \"other\"]" }),
        json!({ "op": "remove" }),
    ] {
        assert_eq!(refused(ann(), json!([operation])), Some("noTarget"), "{operation}");
    }
}

#[test]
fn schemas_inside_an_extension_are_passed_over() {
    let value = json!({ "schemas": [ENTERPRISE_USER], "department": "Eng" });
    let add = json!([{ "op": "add", "path": ENTERPRISE_USER, "value": value }]);
    assert_eq!(user(ann(), add)[ENTERPRISE_USER], json!({ "department": "Eng" }));
    let body = json!({ "schemas": [Kind::User.schema_id()], "userName": "ann", ENTERPRISE_USER: value });
    let schemas = Schemas::builtin().unwrap();
    let draft = resource::Draft::from_json(body, schemas.of(Kind::User), Profile::Strict).unwrap();
    assert_eq!(draft.doc[ENTERPRISE_USER], json!({ "department": "Eng" }));
}

#[test]
fn each_refusal_has_its_keyword() {
    for (operation, keyword) in [
        (json!({ "op": "replace", "path": "emails[", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "A*:$", "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "path": "name.given:Name", "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "path": format!("{ENTERPRISE_USER}:a:b"), "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "value": { "a\u{7f}b": "x" } }), "invalidSyntax"),
        (json!({ "op": "add", "value": { "name.given:x:y": "x" } }), "invalidPath"),
        (json!({ "op": "replace", "path": "emails[nope eq 1].value", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "userName.sub", "value": "x" }), "invalidPath"),
        (json!({ "op": "replace", "path": "active", "value": "maybe" }), "invalidValue"),
        (json!({ "op": "replace", "path": "active" }), "invalidValue"),
        (json!({ "op": "add", "value": "x" }), "invalidValue"),
        (json!({ "op": "replace", "path": "userName", "value": "" }), "invalidValue"),
        (json!({ "op": "remove", "path": "userName" }), "mutability"),
        (json!({ "op": "move", "path": "userName" }), "invalidSyntax"),
        (json!(7), "invalidSyntax"),
    ] {
        assert_eq!(refused(ann(), json!([operation])), Some(keyword), "{operation}");
    }
}

#[test]
fn read_only_attributes_in_a_value_are_passed_over_and_by_path_refused() {
    let same = user(
        ann(),
        json!([{ "op": "replace", "value": { "id": "x", "meta": {}, "groups": [], "schemas": [], "title": "T" } }]),
    );
    assert_eq!((same.get("id"), same.get("groups"), &same["title"]), (None, None, &json!("T")));
    for path in ["id", "groups", "meta.created"] {
        assert_eq!(
            refused(ann(), json!([{ "op": "replace", "path": path, "value": "x" }])),
            Some("mutability"),
            "{path}"
        );
    }
}

#[test]
fn extensions_are_changed_whole_and_in_part() {
    let urn = "urn:okta:x:1.0:user:custom";
    let made = user(
        ann(),
        json!([
        { "op": "add", "path": urn, "value": { "shoe": "42" } },
        { "op": "add", "path": format!("{urn}:hat"), "value": "M" },
        { "op": "add", "path": format!("{ENTERPRISE_USER}:manager.value"), "value": "7" },
        { "op": "replace", "path": ENTERPRISE_USER, "value": { "department": "Eng" } }]),
    );
    assert_eq!(made[urn], json!({ "shoe": "42", "hat": "M" }));
    assert_eq!(made[ENTERPRISE_USER], json!({ "department": "Eng", "manager": { "value": "7" } }));
    let gone = user(
        made,
        json!([{ "op": "remove", "path": urn }, { "op": "remove", "path": format!("{ENTERPRISE_USER}:manager") }]),
    );
    assert_eq!((gone.get(urn), &gone[ENTERPRISE_USER]), (None, &json!({ "department": "Eng" })));
}

#[test]
fn a_urn_that_no_schema_knows_is_one_extension_in_whatever_case() {
    let (urn, other) = ("urn:okta:x:1.0:user:custom", "urn:OKTA:x:1.0:User:custom");
    let made = user(
        ann(),
        json!([
        { "op": "add", "value": { format!("{urn}:hat"): "M", format!("{other}:shoe"): "42" } },
        { "op": "add", "value": { other: { "glove": "L" } } },
        { "op": "add", "path": other, "value": { "scarf": "S" } },
        { "op": "replace", "path": format!("{other}:hat"), "value": "XL" }]),
    );
    assert_eq!(made[urn], json!({ "hat": "XL", "shoe": "42", "glove": "L", "scarf": "S" }));
    assert_eq!(made.get(other), None);
    assert_eq!(user(made, json!([{ "op": "remove", "path": other }])).get(urn), None);
}

#[test]
fn clearing_one_attribute_of_an_extension_leaves_the_others() {
    let made = user(
        ann(),
        json!([{ "op": "add", "path": ENTERPRISE_USER, "value": { "department": "Eng", "costCenter": "1" } }]),
    );
    for operation in [
        json!({ "op": "replace", "value": { ENTERPRISE_USER: { "costCenter": null } } }),
        json!({ "op": "add", "value": { ENTERPRISE_USER: { "costCenter": "", "division": null } } }),
        json!({ "op": "replace", "path": ENTERPRISE_USER, "value": { "costCenter": null } }),
    ] {
        assert_eq!(
            user(made.clone(), json!([operation]))[ENTERPRISE_USER],
            json!({ "department": "Eng" }),
            "{operation}"
        );
    }
    let kept = user(
        ann(),
        json!([{ "op": "add", "path": "emails[type eq \"work\"]", "value": { "display": null } }]),
    );
    assert_eq!(kept["emails"], ann()["emails"]);
}

#[test]
fn the_core_urn_stands_for_the_resource_and_no_password_stays_anywhere() {
    let core = crate::scim::schema::USER;
    let made = user(
        ann(),
        json!([{ "op": "replace", "value": { core: { "title": "T", "password": "s" } } },
        { "op": "replace", "path": core, "value": { "nickName": "N" } },
        { "op": "add", "path": format!("{ENTERPRISE_USER}:password"), "value": "s" },
        { "op": "add", "path": "urn:x:1.0:y:password", "value": "s" },
        { "op": "add", "path": "hat.password", "value": "s" }]),
    );
    assert_eq!((&made["title"], &made["nickName"]), (&json!("T"), &json!("N")));
    assert!(!made.to_string().contains("assword") && made.get(core).is_none(), "{made}");
}

#[test]
fn attributes_of_no_schema_are_kept() {
    let made = user(
        ann(),
        json!([{ "op": "add", "value": { "shoe": 42 } }, { "op": "replace", "path": "hat.size", "value": "M" }]),
    );
    assert_eq!((&made["shoe"], &made["hat"]), (&json!(42), &json!({ "size": "M" })));
    assert_eq!(
        user(made, json!([{ "op": "remove", "path": "shoe" }, { "op": "remove", "path": "hat" }])),
        ann()
    );
}

#[test]
fn active_set_to_null_stays_as_it_was_and_removed_by_name_is_gone() {
    let inactive = json!({ "userName": "a", "active": false });
    assert_eq!(user(inactive.clone(), json!([{ "op": "replace", "value": { "active": null } }])), inactive);
    assert_eq!(user(ann(), json!([{ "op": "remove", "path": "active" }])).get("active"), None);
}

#[test]
fn passwords_are_no_part_of_a_document() {
    let body = json!({ "Operations": [{ "op": "replace", "value": { "password": "N3w" } }] });
    let operations = parse(body, 10, BOUNDS, Profile::Okta).unwrap();
    assert_eq!(password_of(&operations).unwrap(), Some(Some("N3w".to_owned())));
    let Value::Object(doc) = ann() else { unreachable!() };
    let patched = apply(
        operations,
        doc,
        Schemas::builtin().unwrap().of(Kind::User),
        BOUNDS,
        Profile::Okta,
        &mut Effort::default(),
    )
    .unwrap();
    assert!(!patched.doc.contains_key("password"));
}

#[test]
fn oktas_membership_changes_come_out_in_order() {
    let changes = members(json!([
        { "op": "replace", "value": { "id": "g1", "displayName": "g" } },
        { "op": "remove", "path": "members[value eq \"1\"]" },
        { "op": "remove", "path": "members[value eq \"2\" or value eq \"3\"]" },
        { "op": "add", "path": "members", "value": [{ "value": "4", "display": "d" }] },
        { "op": "replace", "path": "members", "value": [] },
        { "op": "replace", "value": { "members": [{ "value": "5" }] } }]));
    let member =
        |id: &str, display: Option<&str>| MemberRef { id: id.into(), display: display.map(str::to_owned) };
    assert_eq!(
        changes,
        [
            MemberChange::Remove(vec!["1".into()]),
            MemberChange::Remove(vec!["2".into(), "3".into()]),
            MemberChange::Add(vec![member("4", Some("d"))]),
            MemberChange::Replace(vec![]),
            MemberChange::Replace(vec![member("5", None)]),
        ]
    );
}

#[test]
fn remove_with_a_value_removes_only_that() {
    assert_eq!(
        members(json!([{ "op": "Remove", "path": "members", "value": [{ "value": "1" }] }])),
        [MemberChange::Remove(vec!["1".into()])]
    );
    assert_eq!(members(json!([{ "op": "remove", "path": "members" }])), [MemberChange::Replace(vec![])]);
    let left = user(ann(), json!([{ "op": "remove", "path": "emails", "value": [{ "value": "H@x" }] }]));
    assert_eq!(left["emails"].as_array().unwrap().len(), 1);
}

#[test]
fn other_filters_on_members_are_left_to_the_store() {
    assert!(matches!(
        members(json!([{ "op": "remove", "path": "members[type eq \"Group\"]" }]))[..],
        [MemberChange::RemoveWhere(_)]
    ));
    assert!(matches!(
        members(json!([{ "op": "replace", "path": "members[value eq \"1\"].display", "value": "x" }]))[..],
        [MemberChange::Display(_, Some(_))]
    ));
    let immutable = patched(
        Kind::Group,
        json!({ "displayName": "g" }),
        json!([{ "op": "replace", "path": "members[value eq \"1\"].value", "value": "2" }]),
    );
    assert_eq!(immutable.unwrap_err().scim_type, Some(crate::scim::ScimType::Mutability));
    let turned = patched(
        Kind::Group,
        json!({ "displayName": "g" }),
        json!([{ "op": "replace", "path": "members[value eq \"1\"]", "value": { "value": "2" } }]),
    );
    assert_eq!(turned.unwrap_err().scim_type, Some(crate::scim::ScimType::Mutability));
}

#[test]
fn a_message_that_is_none_is_refused() {
    for body in [
        json!([]),
        json!({}),
        json!({ "Operations": [] }),
        json!({ "Operations": {} }),
        json!({ "schemas": ["urn:x"], "Operations": [{ "op": "add", "value": {} }] }),
    ] {
        assert_eq!(parse(body.clone(), 10, BOUNDS, Profile::Okta).unwrap_err().status, 400, "{body}");
    }
    let many: Vec<Value> = (0..11).map(|_| json!({ "op": "add", "value": {} })).collect();
    assert_eq!(parse(json!({ "Operations": many }), 10, BOUNDS, Profile::Okta).unwrap_err().status, 413);
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

/// A user with as many e-mail addresses as one may have.
fn with_many_emails() -> Value {
    let emails: Vec<Value> =
        (0..1000).map(|n| json!({ "value": format!("{n}@x.test"), "type": format!("t{n}") })).collect();
    json!({ "schemas": [], "userName": "ann", "active": true, "emails": emails })
}

fn many(operation: impl Fn(usize) -> Value) -> Vec<PatchOperation> {
    let operations: Vec<Value> = (0..1000).map(operation).collect();
    parse(json!({ "Operations": operations }), 2000, BOUNDS, Profile::Okta).unwrap()
}

#[test]
fn a_thousand_operations_that_choose_among_a_thousand_values_are_taken_but_not_any_number() {
    let schema = Schemas::builtin().unwrap();
    let schema = schema.of(Kind::User);
    let mut doc = object(with_many_emails());
    let choose = |n: usize| json!({ "op": "replace", "path": format!("emails[type eq \"t{n}\"].display"), "value": "x" });
    doc = apply(many(choose), doc, schema, BOUNDS, Profile::Okta, &mut Effort::default()).unwrap().doc;
    assert_eq!(doc["emails"][999]["display"], "x");
    let refused =
        apply(many(choose), doc, schema, BOUNDS, Profile::Okta, &mut Effort::of(1_000_000)).unwrap_err();
    assert_eq!((refused.status, refused.detail.contains("several requests")), (413, true));
}

#[test]
fn whatever_grows_by_a_product_is_refused_before_it_is_done() {
    let schemas = Schemas::builtin().unwrap();
    let filter = format!("emails[{}].display", vec!["type eq \"t1\""; 200].join(" or "));
    let much = "x".repeat(100_000);
    let unknown: Map<String, Value> = (0..1000).map(|n| (format!("k{n}"), json!(vec![1; 20]))).collect();
    let hostile: [&dyn Fn(usize) -> Value; 4] = [
        &|n| json!({ "op": "replace", "path": filter, "value": format!("{n}") }),
        &|n| json!({ "op": "replace", "path": format!("emails.unknown{n}"), "value": much }),
        &|_| {
            json!({ "op": "add", "path": "emails", "value": [{ "value": "0@x.test", "type": "t0" }, { "value": "1@x.test", "type": "t1" },
            { "value": "2@x.test" }, { "value": "3@x.test" }, { "value": "4@x.test" }, { "value": "5@x.test" }, { "value": "6@x.test" },
            { "value": "7@x.test" }, { "value": "8@x.test" }, { "value": "9@x.test" }, { "value": "a@x.test" }] })
        },
        &|n| json!({ "op": "add", "path": format!("urn:x:1.0:Y:k{n}"), "value": n }),
    ];
    for operation in hostile {
        let mut doc = object(with_many_emails());
        doc.insert("urn:x:1.0:Y".to_owned(), Value::Object(unknown.clone()));
        doc["emails"].as_array_mut().unwrap().truncate(980);
        let refused = apply(
            many(operation),
            doc,
            schemas.of(Kind::User),
            BOUNDS,
            Profile::Okta,
            &mut Effort::of(500_000),
        );
        assert_eq!(refused.unwrap_err().status, 413);
    }
}

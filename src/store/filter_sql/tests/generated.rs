//! What random documents and filters are made of: words that compare in unlike ways, numbers at the edges of their types,
//! and the paths of every attribute.

use super::directory::Made;
use super::*;

const WORDS: &[&str] = &[
    "Ann",
    "ann",
    "ANNE",
    "n",
    "work",
    "Work",
    "Ä",
    "ä",
    "A\u{308}",
    "straße",
    "STRASSE",
    "ss",
    "12",
    "1",
    "true",
    "x y",
    "\"q\"",
    "%",
    "\\",
    "'",
    "\u{10ffff}",
    "😀",
    "urn:x",
    "",
];

pub(super) fn word() -> impl Strategy<Value = String> {
    select(WORDS).prop_map(str::to_owned)
}

pub(super) fn full_word() -> impl Strategy<Value = String> {
    select(&WORDS[..WORDS.len() - 1]).prop_map(str::to_owned)
}

const NUMBERS: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "12",
    "1.0",
    "2.5",
    "-3",
    "0.1",
    "1e2",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551615",
    "9223372036854775807",
    "1.7976931348623157e308",
    "0.30000000000000004",
    "5e-324",
    "123456789.12345679",
];

fn number() -> impl Strategy<Value = String> {
    select(NUMBERS).prop_map(str::to_owned)
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => word().prop_map(Json::from),
        2 => number().prop_map(|text| serde_json::from_str(&text).unwrap()),
        1 => any::<bool>().prop_map(Json::from),
        1 => Just(Json::Null),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = select(vec!["id", "ID", "value", "$ref", "o\"dd", "a.b", "", "k"]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::vec((key, inner), 0..3)
                .prop_map(|all| Json::from(all.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object with each of these keys or without it.
pub(super) fn object(keys: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
    let members: Vec<_> = keys
        .into_iter()
        .map(|(key, value)| {
            prop::option::of(value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
        })
        .collect();
    members.prop_map(|all| Json::from(all.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

pub(super) fn text() -> BoxedStrategy<Json> {
    word().prop_map(Json::from).boxed()
}

pub(super) fn list(element: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    prop::collection::vec(element, 0..3).prop_map(Json::from).boxed()
}

fn doc(kind: Kind) -> BoxedStrategy<Map<String, Json>> {
    let flag = || any::<bool>().prop_map(Json::from).boxed();
    let entry = || {
        let value = full_word().prop_map(Json::from).boxed();
        list(object(vec![("value", value), ("type", text()), ("display", text()), ("primary", flag())]))
    };
    let manager = object(vec![("value", text()), ("displayName", text())]);
    let custom = || {
        let keys = ["size", "SIZE", "tags", "desk", "o\"dd", "a.b", ""];
        let keys: Vec<_> = keys.into_iter().map(|key| (key, anything().boxed())).collect();
        prop_oneof![4 => object(keys), 1 => anything().boxed()].boxed()
    };
    let (required, keys) = match kind {
        Kind::User => (
            "userName",
            vec![
                ("displayName", text()),
                ("title", text()),
                ("name", object(vec![("familyName", text()), ("givenName", text())])),
                ("emails", entry()),
                ("roles", entry()),
                ("addresses", list(object(vec![("region", text())]))),
                (ENTERPRISE_USER, object(vec![("department", text()), ("manager", manager)])),
            ],
        ),
        Kind::Group => ("displayName", Vec::new()),
    };
    let common = vec![
        ("externalId", full_word().prop_map(Json::from).boxed()),
        ("schemas", list(select(vec![CUSTOM, ENTERPRISE_USER, "urn:x"]).prop_map(Json::from).boxed())),
        (CUSTOM, custom()),
        ("URN:acme:1.0:user", custom()),
    ];
    let made = (full_word(), any::<Option<bool>>(), object(keys.into_iter().chain(common).collect()));
    made.prop_map(move |(name, active, rest)| {
        let mut doc: Map<String, Json> = rest.as_object().unwrap().clone();
        doc.insert(required.to_owned(), json!(name));
        if let Some(active) = active.filter(|_| kind == Kind::User) {
            doc.insert("active".to_owned(), json!(active));
        }
        doc
    })
    .boxed()
}

pub(super) fn made(kind: Kind) -> impl Strategy<Value = Made> {
    (doc(kind), 0..3_i64, 0..3_i64, 1..4_i64)
}

pub(super) fn texts(kind: Kind) -> Vec<String> {
    let common = "externalId id meta.resourceType meta.location meta.version schemas";
    let own = match kind {
        Kind::User => {
            "userName displayName title name.familyName name.givenName emails emails.value emails.type \
             emails.display roles roles.type addresses.region groups groups.value groups.$ref groups.display groups.type"
        }
        Kind::Group => "displayName members members.value members.$ref members.display members.type",
    };
    let mut paths: Vec<String> =
        common.split_whitespace().chain(own.split_whitespace()).map(str::to_owned).collect();
    if kind == Kind::User {
        paths.extend(
            ["department", "manager", "manager.displayName"].map(|name| format!("{ENTERPRISE_USER}:{name}")),
        );
    }
    paths
}

fn quoted() -> impl Strategy<Value = String> {
    let place = (select(vec!["Users/user", "Groups/group"]), 0..3_u8)
        .prop_map(|(kind, at)| format!("{BASE_URL}/{kind}{at}"));
    prop_oneof![
        8 => word(),
        2 => (full_word(), 0..3_u8).prop_map(|(word, at)| format!("{word}{at}")),
        2 => (select(vec!["user", "group", "User", "Group"]), 0..3_u8).prop_map(|(kind, at)| format!("{kind}{at}")),
        1 => place,
        1 => select(vec!["direct", "indirect", "Group", "W/\"1\"", CUSTOM, BASE_URL]).prop_map(str::to_owned),
    ]
    .prop_map(|text| Json::from(text).to_string())
}

pub(super) fn op() -> impl Strategy<Value = String> {
    select(CompareOp::ALL.to_vec()).prop_map(|op| op.to_string())
}

fn order() -> impl Strategy<Value = &'static str> {
    select(vec!["eq", "ne", "gt", "ge", "lt", "le"])
}

fn custom_path() -> impl Strategy<Value = String> {
    let names = vec![
        "size",
        "Size",
        "tags",
        "desk",
        "desk.id",
        "size.ID",
        "tags.value",
        "tags.$ref",
        "tags.k",
        "nothing",
    ];
    (select(vec![CUSTOM, "urn:ACME:1.0:User"]), select(names)).prop_map(|(urn, name)| format!("{urn}:{name}"))
}

fn unknown_test(path: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        4 => (path.clone(), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}")),
        3 => (path.clone(), order(), number()).prop_map(|(path, op, number)| format!("{path} {op} {number}")),
        1 => (path.clone(), select(vec!["eq", "ne"]), any::<bool>()).prop_map(|(path, op, flag)| format!("{path} {op} {flag}")),
        1 => path.prop_map(|path| format!("{path} pr")),
    ]
    .boxed()
}

pub(super) fn in_element(path: &'static str, subs: &[&'static str]) -> BoxedStrategy<String> {
    let sub = select(subs.to_vec());
    let test = prop_oneof![
        4 => (sub.clone(), op(), quoted()).prop_map(|(sub, op, text)| format!("{sub} {op} {text}")),
        1 => sub.prop_map(|sub| format!("{sub} pr")),
    ];
    let test = if subs.contains(&"primary") {
        prop_oneof![4 => test, 1 => select(vec!["primary eq true", "primary ne true"]).prop_map(str::to_owned)].boxed()
    } else {
        test.boxed()
    };
    joined(test, 2).prop_map(move |inner| format!("{path}[{inner}]")).boxed()
}

pub(super) fn joined(leaf: BoxedStrategy<String>, depth: u32) -> BoxedStrategy<String> {
    leaf.prop_recursive(depth, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
            inner.prop_map(|inner| format!("not ({inner})")),
        ]
    })
    .boxed()
}

pub(super) fn filter(kind: Kind) -> BoxedStrategy<String> {
    let text =
        (select(texts(kind)), op(), quoted()).prop_map(|(path, op, text)| format!("{path} {op} {text}"));
    let present = select(texts(kind)).prop_map(|path| format!("{path} pr"));
    let other = vec![
        "meta pr",
        "meta.created pr",
        "urn:acme:1.0:user pr",
        "urn:acme:1.0 pr",
        "meta.version eq null",
        r#"schemas[value ew "User" and not (value eq "urn:x")]"#,
        r#"meta[resourceType eq "User"]"#,
    ];
    let of_kind = match kind {
        Kind::User => vec![
            "active eq true",
            "active ne true",
            "active pr",
            "emails pr",
            "emails.primary eq true",
            "emails.primary ne false",
            "roles pr",
            "name pr",
            "groups pr",
            "addresses pr",
            "schemas pr",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user pr",
            r#"name[familyName sw "a" and not (givenName pr)]"#,
        ],
        Kind::Group => vec!["members pr", "members eq null"],
    };
    let entry = ["value", "type", "display", "primary"];
    let elements = match kind {
        Kind::User => prop_oneof![
            3 => in_element("emails", &entry),
            1 => in_element("roles", &entry),
            1 => in_element("groups", &["value", "display", "type", "$ref"]),
        ]
        .boxed(),
        Kind::Group => in_element("members", &["value", "display", "type", "$ref"]),
    };
    let sub = select(vec!["id", "Value", "$ref", "k", "id.id"]).prop_map(str::to_owned).boxed();
    let custom_elements = (select(vec!["size", "tags", "desk"]), joined(unknown_test(sub), 2));
    let custom_elements = custom_elements.prop_map(|(name, inner)| format!("{CUSTOM}:{name}[{inner}]"));
    let date = (select(vec!["meta.created", "meta.lastModified"]), order(), 0..3_i64);
    let date = date.prop_map(|(path, op, ms)| format!("{path} {op} \"{}\"", datetime::format(ms)));
    let leaf = prop_oneof![
        8 => text,
        2 => present,
        3 => select([other, of_kind].concat()).prop_map(str::to_owned),
        4 => elements,
        5 => unknown_test(custom_path().boxed()),
        3 => custom_elements,
        2 => date,
    ];
    joined(leaf.boxed(), 3)
}

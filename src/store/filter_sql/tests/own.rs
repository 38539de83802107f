//! The same for a tenant's own schema, with an attribute of every type.

use super::*;
use crate::scim::schema::{Extension, ResourceSchema, own};

const OWN: &str = "urn:acme:scim:schemas:extension:2.0:User";

static OWN_SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(|| {
    let parts = json!([
        { "name": "value", "type": "string" },
        { "name": "type", "type": "string", "caseExact": true },
        { "name": "rank", "type": "integer" },
        { "name": "primary", "type": "boolean" },
    ]);
    let schema = json!({
        "id": OWN, "name": "Acme",
        "attributes": [
            { "name": "word", "type": "string" },
            { "name": "code", "type": "string", "caseExact": true },
            { "name": "whole", "type": "integer" },
            { "name": "rate", "type": "decimal" },
            { "name": "flag", "type": "boolean" },
            { "name": "since", "type": "dateTime" },
            { "name": "key", "type": "binary" },
            { "name": "link", "type": "reference", "referenceTypes": ["external"] },
            { "name": "words", "type": "string", "multiValued": true },
            { "name": "numbers", "type": "integer", "multiValued": true },
            { "name": "part", "type": "complex", "subAttributes": parts },
            { "name": "parts", "type": "complex", "multiValued": true, "subAttributes": parts },
        ],
    });
    let schema = Arc::new(own::from_json(&schema.to_string()).unwrap());
    let extension = Extension { schema, required: false };
    Arc::new(Schemas::builtin().unwrap().with_own(vec![(Kind::User, extension)], Vec::new()).unwrap())
});

fn users() -> &'static ResourceSchema {
    OWN_SCHEMAS.of(Kind::User)
}

const WHOLES: &[i64] = &[-1, 0, 1, 2, 12, i64::MAX];
const TIMES: &[&str] = &[
    "2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00.000Z",
    "2026-01-31T13:00:00+01:00",
    "2026-01-31T12:00:00.001Z",
    "2025-12-31T23:59:59Z",
];

fn whole() -> BoxedStrategy<Json> {
    select(WHOLES).prop_map(Json::from).boxed()
}

fn flag() -> BoxedStrategy<Json> {
    any::<bool>().prop_map(Json::from).boxed()
}

fn part() -> BoxedStrategy<Json> {
    object(vec![("value", text()), ("type", text()), ("rank", whole()), ("primary", flag())])
}

/// A user as it is stored: every value fits its type.
fn own_made() -> impl Strategy<Value = Made> {
    let rate = select(vec!["-1.5", "0.0", "1.0", "1.5", "2", "1e3"]);
    let own = object(vec![
        ("word", text()),
        ("code", text()),
        ("whole", whole()),
        ("rate", rate.prop_map(|text| serde_json::from_str(text).unwrap()).boxed()),
        ("flag", flag()),
        ("since", select(TIMES).prop_map(Json::from).boxed()),
        ("key", select(vec!["YQ==", "yq==", "YWI="]).prop_map(Json::from).boxed()),
        ("link", select(vec!["https://a.example/X", "https://a.example/x"]).prop_map(Json::from).boxed()),
        ("words", list(text())),
        ("numbers", list(whole())),
        ("part", part()),
        ("parts", list(part())),
    ]);
    let doc = (full_word(), prop::option::weighted(0.9, own)).prop_map(|(name, own)| {
        let mut doc = Map::from_iter([("userName".to_owned(), json!(name))]);
        doc.extend(own.map(|own| (OWN.to_owned(), own)));
        doc
    });
    (doc, 0..3_i64, 0..3_i64, 1..4_i64)
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => word().prop_map(|text| Json::from(text).to_string()),
        2 => select(WHOLES).prop_map(|number| number.to_string()),
        1 => select(vec!["1.0", "1.5", "-1.5", "1e3"]).prop_map(str::to_owned),
        2 => select(TIMES).prop_map(|time| format!("\"{time}\"")),
        1 => select(vec!["true", "false", "\"YQ==\"", "\"https://a.example/x\""]).prop_map(str::to_owned),
    ]
}

fn own_filter() -> BoxedStrategy<String> {
    let subs = || select(vec!["value", "type", "rank", "primary"]);
    let names = vec![
        "word",
        "CODE",
        "whole",
        "rate",
        "flag",
        "since",
        "key",
        "link",
        "words",
        "numbers",
        "part.value",
        "part.rank",
        "part.type",
        "parts",
        "parts.value",
        "parts.type",
        "parts.rank",
        "parts.primary",
    ];
    let path = (select(vec![OWN, "URN:acme:scim:schemas:extension:2.0:user"]), select(names))
        .prop_map(|(urn, name)| format!("{urn}:{name}"));
    let inner = prop_oneof![
        4 => (subs(), op(), literal()).prop_map(|(sub, op, literal)| format!("{sub} {op} {literal}")),
        1 => subs().prop_map(|sub| format!("{sub} pr")),
    ];
    let element = joined(inner.boxed(), 2).prop_map(|inner| format!("{OWN}:parts[{inner}]"));
    let leaf = prop_oneof![
        6 => (path.clone(), op(), literal()).prop_map(|(path, op, literal)| format!("{path} {op} {literal}")),
        1 => path.prop_map(|path| format!("{path} pr")),
        2 => element,
        1 => Just(format!("{OWN} pr")),
        1 => word().prop_map(|text| format!("userName co {}", Json::from(text))),
    ];
    joined(leaf.boxed(), 3)
}

/// The predicate, if the types allow it.
fn own_predicate(text: &str) -> Option<Predicate> {
    let filter = Filter::parse(text, Bounds { bytes_max: 1 << 20, depth_max: 64 }).unwrap();
    predicate::bind(&filter, users()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sql_selects_by_a_tenants_own_schema_what_matches_in_memory(
        users in prop::collection::vec(own_made(), 1..6),
        filters in prop::collection::vec(own_filter(), 12),
    ) {
        let directory = Directory::new(&users, &[group()], &[]);
        for text in filters {
            let Some(predicate) = own_predicate(&text) else { continue };
            let sql = compile(Kind::User, &predicate, BASE_URL);
            let selected = directory.selected(Kind::User, &sql);
            prop_assert_eq!(selected, directory.matching(Kind::User, &predicate), "{}\n{:?}", text, sql);
        }
    }
}

/// A group, for a directory without any cannot be linked.
fn group() -> Made {
    (Map::from_iter([("displayName".to_owned(), json!("g"))]), 0, 0, 1)
}

#[test]
fn most_of_the_filters_are_allowed_by_the_types() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let allowed = (0..400)
        .filter(|_| own_predicate(&own_filter().new_tree(&mut runner).unwrap().current()).is_some())
        .count();
    assert!(allowed > 80, "only {allowed} of 400");
}

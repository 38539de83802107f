//! Micro-benchmarks: the filter parser, PATCH and projection, with inputs as Okta sends them and with inputs made to
//! be as dear as the limits allow.
//!
//! Every hostile input comes in growing sizes with its bytes as throughput: where time grows in line with the input,
//! bytes a second stay the same.

use std::convert::Infallible;
use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ici_scim::scim::filter::{Bounds, Filter};
use ici_scim::scim::message;
use ici_scim::scim::patch::{self, Effort};
use ici_scim::scim::predicate;
use ici_scim::scim::projection::{Projection, Relation, View};
use ici_scim::scim::resource::Draft;
use ici_scim::scim::schema::{ResourceSchema, Schemas};
use ici_scim::scim::{Kind, Profile};
use serde_json::{Map, Value, json};

/// The limits in force by default.
const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };
const PATCH_OPERATIONS_MAX: usize = 2000;

/// Sizes of hostile filters, in bytes.
const FILTER_BYTES: [usize; 4] = [512, 1024, 2048, 4096];
/// Operations of hostile PATCHes.
const OPERATIONS: [usize; 4] = [250, 500, 1000, 2000];

fn schema_of(kind: Kind) -> ResourceSchema {
    Schemas::builtin()
        .map(|schemas| schemas.of(kind).clone())
        .unwrap_or_else(|reason| unreachable!("{reason}"))
}

/// `part` as often as it fits, within `start` and `end`.
fn filled(start: &str, part: &str, end: &str, bytes: usize) -> String {
    let times = (bytes - start.len() - end.len()) / part.len();
    format!("{start}{}{end}", part.repeat(times))
}

fn hostile_filters(bytes: usize) -> Vec<(&'static str, String)> {
    let depth = BOUNDS.depth_max - 1;
    let nested = format!("{}active pr{}", "(".repeat(depth), ")".repeat(depth));
    vec![
        ("chain of and", filled("active pr", " and active pr", "", bytes)),
        ("and, or, not", filled("active pr", " or not (title pr) and active eq true", "", bytes)),
        ("nested", filled(&nested, &format!(" or {nested}"), "", bytes)),
        ("brackets", filled("active pr", " or emails[type eq \"work\" and value co \"x\"]", "", bytes)),
        ("long literal", filled("userName eq \"", "a", "\"", bytes)),
        ("escapes", filled("userName eq \"", "\\u0130", "\"", bytes)),
        ("blanks", filled("userName", " ", "pr", bytes)),
        ("long name", filled("active pr or urn:", "a:", "b pr", bytes)),
        ("unclosed", filled("", "(", "", bytes)),
        ("unclosed literal", filled("userName eq \"", "\\\\", "", bytes)),
    ]
}

fn filters(criterion: &mut Criterion) {
    let users = schema_of(Kind::User);
    let mut group = criterion.benchmark_group("filter");
    for (name, text) in [
        ("look-up", r#"userName eq "test.user@okta.example""#),
        ("import", r#"meta.lastModified gt "2026-01-01T00:00:00.000Z" and active eq true"#),
        ("value path", r#"emails[type eq "work" and value ew "@example.com"] or not (title pr)"#),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("parse", name), |b| {
            b.iter(|| black_box(Filter::parse(black_box(text), BOUNDS)))
        });
        if let Ok(filter) = Filter::parse(text, BOUNDS) {
            group.bench_function(BenchmarkId::new("bind", name), |b| {
                b.iter(|| black_box(predicate::bind(black_box(&filter), &users)))
            });
        }
    }
    for bytes in FILTER_BYTES {
        for (name, text) in hostile_filters(bytes) {
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(format!("hostile, {name}"), bytes), |b| {
                b.iter(|| black_box(Filter::parse(black_box(&text), BOUNDS)))
            });
        }
    }
    group.finish();
}

/// A user as Okta makes one, without id and meta.
fn user(emails: usize) -> Map<String, Value> {
    let emails: Vec<Value> = (0..emails)
        .map(
            |number| json!({ "value": format!("user{number:05}@example.com"), "type": format!("t{number}") }),
        )
        .collect();
    let user = json!({
        "schemas": [Kind::User.schema_id()], "userName": "user@example.com", "externalId": "00u123",
        "name": { "givenName": "Given", "familyName": "Family" }, "displayName": "Given Family",
        "emails": emails, "title": "Engineer", "locale": "en-US", "active": true,
    });
    match user {
        Value::Object(user) => user,
        _ => Map::new(),
    }
}

fn message(operations: impl Iterator<Item = Value>) -> Value {
    json!({ "schemas": [patch::PATCH_URN], "Operations": operations.collect::<Vec<_>>() })
}

fn hostile_patches(count: usize) -> Vec<(&'static str, Kind, Value)> {
    let numbers = 0..count;
    vec![
        (
            "adds of an e-mail",
            Kind::User,
            message(numbers.clone().map(|number| {
                json!({ "op": "add", "path": "emails", "value": [{ "value": format!("a{number}@example.com") }] })
            })),
        ),
        (
            "removals by filter",
            Kind::User,
            message(numbers.clone().map(|number| {
                json!({ "op": "remove", "path": format!("emails[type eq \"t{number}\"]") })
            })),
        ),
        (
            "unknown attributes",
            Kind::User,
            message(numbers.clone().map(|number| {
                json!({ "op": "replace", "path": format!("urn:example:x:1.0:a{number}"), "value": number })
            })),
        ),
        (
            "one add of many e-mails",
            Kind::User,
            message(std::iter::once(json!({
                "op": "add", "path": "emails",
                "value": numbers.clone().map(|number| json!({ "value": format!("a{number}@example.com") }))
                    .collect::<Vec<_>>(),
            }))),
        ),
        (
            "members one by one",
            Kind::Group,
            message(numbers.map(|number| {
                json!({ "op": "remove", "path": format!("members[value eq \"{number:036}\"]") })
            })),
        ),
    ]
}

fn patches(criterion: &mut Criterion) {
    let (users, groups) = (schema_of(Kind::User), schema_of(Kind::Group));
    let mut group = criterion.benchmark_group("patch");
    group.sample_size(20);
    let mut bench = |name: BenchmarkId, schema: &ResourceSchema, doc: Map<String, Value>, body: Value| {
        group.throughput(Throughput::Bytes(body.to_string().len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let operations = patch::parse(body.clone(), PATCH_OPERATIONS_MAX, BOUNDS, Profile::Okta)?;
                patch::apply(operations, doc.clone(), schema, BOUNDS, Profile::Okta, &mut Effort::default())
                    .map(black_box)
            })
        });
    };
    let deactivate = message(std::iter::once(json!({ "op": "replace", "value": { "active": false } })));
    bench(BenchmarkId::from_parameter("deactivate"), &users, user(1), deactivate);
    let e_mail =
        json!({ "op": "replace", "path": "emails[type eq \"t0\"].value", "value": "new@example.com" });
    bench(BenchmarkId::from_parameter("work e-mail"), &users, user(2), message(std::iter::once(e_mail)));
    for count in OPERATIONS {
        for (name, kind, body) in hostile_patches(count) {
            let (schema, doc) = match kind {
                Kind::User => (&users, user(1)),
                Kind::Group => (&groups, Map::from_iter([("displayName".to_owned(), json!("Group"))])),
            };
            bench(BenchmarkId::new(format!("hostile, {name}"), count), schema, doc, body);
        }
        // Each operation meets all elements that the document has.
        let (_, _, body) = hostile_patches(count).swap_remove(1);
        bench(BenchmarkId::new("hostile, removals from many", count), &users, user(count), body);
    }
    group.finish();
}

fn projections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("projection");
    let (users, groups) = (schema_of(Kind::User), schema_of(Kind::Group));
    let doc = Value::Object(user(1)).to_string();
    let mut bench =
        |name: BenchmarkId, kind: Kind, doc: &str, related: &[(String, String)], projection: &Projection| {
            let view = View {
                kind,
                schema: if kind == Kind::User { &users } else { &groups },
                id: "2819c223-7f76-453a-919d-413861904646",
                doc: doc.as_bytes(),
                created_ms: 1_767_225_600_000,
                modified_ms: 1_767_225_600_000,
                version: 42,
                base_url: "https://scim.example.com/scim/v2/acme",
            };
            let mut out = Vec::new();
            let everything = doc.len() + related.len() * 160;
            group.throughput(Throughput::Bytes(everything as u64));
            group.bench_function(name, |b| {
                b.iter(|| {
                    out.clear();
                    projection.write(&mut out, black_box(&view), |writer| {
                        for (id, display) in related {
                            writer.push(Relation::Member(Kind::User), id, display);
                        }
                        Ok::<(), Infallible>(())
                    })
                })
            });
        };
    let everything = Projection::default();
    bench(BenchmarkId::from_parameter("whole user"), Kind::User, &doc, &[], &everything);
    let some = Projection::new(Some("userName,emails.value,active"), None);
    bench(BenchmarkId::from_parameter("some attributes"), Kind::User, &doc, &[], &some);
    let without = Projection::new(None, Some("emails,name.familyName"));
    bench(BenchmarkId::from_parameter("without some"), Kind::User, &doc, &[], &without);
    let plain_group = json!({ "schemas": [Kind::Group.schema_id()], "displayName": "Group" }).to_string();
    for members in [10, 1_000, 100_000] {
        let related: Vec<(String, String)> = (0..members)
            .map(|number| (format!("{number:036}"), format!("user{number:08}@example.com")))
            .collect();
        let name = BenchmarkId::new("whole group", members);
        bench(name, Kind::Group, &plain_group, &related, &everything);
    }
    for names in [16, 64, 256] {
        let mut attributes = "userName".to_owned();
        for number in 0..names {
            // Writing to a String cannot fail.
            let _ = write!(attributes, ",emails.a{number},a{number}");
        }
        let projection = Projection::new(Some(&attributes), None);
        bench(BenchmarkId::new("hostile, many names", names), Kind::User, &doc, &[], &projection);
    }
    for emails in [100, 1_000, 10_000] {
        let doc = Value::Object(user(emails)).to_string();
        let name = BenchmarkId::new("hostile, many elements", emails);
        bench(name, Kind::User, &doc, &[], &Projection::new(Some("emails.value"), None));
    }
    group.finish();
}

/// Bodies of requests: JSON as such, then a resource with as many values and attributes as one may have.
fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body");
    for bytes in [64 * 1024, 256 * 1024, 1024 * 1024] {
        for (name, start, part, end) in [
            ("brackets", "{\"a\":[0", ",[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", "]}"),
            ("unclosed", "", "[", ""),
            ("objects", "{\"a\":[0", ",{\"b\":1}", "]}"),
            ("escapes", "{\"a\":\"", "\\u0130", "\"}"),
            ("blanks", "", " ", "{}"),
        ] {
            let text = filled(start, part, end, bytes).into_bytes();
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(format!("hostile, {name}"), bytes), |b| {
                b.iter(|| black_box(message::parse_json(black_box(&text), 32)))
            });
        }
    }
    let users = schema_of(Kind::User);
    for count in [250, 500, 1_000] {
        let many = (0..count).map(|number| (format!("a{number}"), json!(number)));
        let mut attributes = Map::from_iter(many.take(count - 2));
        attributes.insert("userName".to_owned(), json!("user"));
        for (name, body) in
            [("many values", Value::Object(user(count))), ("many attributes", Value::Object(attributes))]
        {
            group.throughput(Throughput::Bytes(body.to_string().len() as u64));
            group.bench_function(BenchmarkId::new(format!("hostile, {name}"), count), |b| {
                b.iter(|| black_box(Draft::from_json(black_box(body.clone()), &users, Profile::Okta)))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, filters, patches, bodies, projections);
criterion_main!(benches);

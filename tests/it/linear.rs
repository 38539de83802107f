//! What reads clients' texts takes time in line with their length: four times the input, about four times the time.
//! `benches/micro.rs` has the same inputs with numbers; here a fault is one that shows on any machine.

use std::hint::black_box;
use std::time::Duration;

use ici_scim::clock::Stopwatch;
use ici_scim::scim::filter::{Bounds, Filter};
use ici_scim::scim::patch::{self, Effort};
use ici_scim::scim::path::PatchPath;
use ici_scim::scim::projection::Projection;
use ici_scim::scim::resource::Draft;
use ici_scim::scim::schema::{ResourceSchema, Schemas};
use ici_scim::scim::{Kind, Profile, matching, message, predicate};
use serde_json::{Map, Value, json};

/// Four times the input may take so many times the time: a square would take sixteen times.
const RATIO_MAX: f64 = 9.0;
/// The best of so many rounds counts: what else runs on the machine only adds to a time.
const ROUNDS: usize = 15;
/// And so many tries at the whole.
const TRIES: usize = 8;
/// Times below this are too short to be compared. Not much longer either: on a busy machine the system interrupts
/// what takes some milliseconds, and always the larger of the two.
const SHORTEST: Duration = Duration::from_micros(150);

/// No bound on the length, so that it can be measured far beyond the limits in force.
const WIDE: Bounds = Bounds { bytes_max: usize::MAX, depth_max: 32 };

/// The least time that `work` takes.
fn time(work: &dyn Fn()) -> Duration {
    let round = || {
        let watch = Stopwatch::start();
        work();
        watch.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap()
}

/// Holds the time of `make(n)` to grow no faster than its input, from a size on where it can be measured.
fn is_linear<T>(name: &str, make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let mut size = 64;
    let mut input = make(size);
    while time(&|| work(&input)) < SHORTEST && size < 65_536 {
        size *= 2;
        input = make(size);
    }
    let larger = make(4 * size);
    let mut ratios = Vec::new();
    for _ in 0..TRIES {
        let (small, large) = (time(&|| work(&input)), time(&|| work(&larger)));
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        if ratio <= RATIO_MAX {
            return;
        }
        ratios.push(ratio);
    }
    panic!("{name}: from {size} to four times that, the time grew by {ratios:.1?}");
}

fn schema_of(kind: Kind) -> ResourceSchema {
    Schemas::builtin().unwrap().of(kind).clone()
}

/// `start`, then `part` as often as it fits, then `end`.
fn filled(start: &str, part: &str, end: &str, bytes: usize) -> String {
    let times = bytes.saturating_sub(start.len() + end.len()) / part.len();
    format!("{start}{}{end}", part.repeat(times))
}

#[test]
fn filters_are_read_bound_and_matched_in_line_with_their_length() {
    let nested = format!("{}active pr{}", "(".repeat(30), ")".repeat(30));
    let users = schema_of(Kind::User);
    let user = json!({ "userName": "a", "active": true, "emails": [{ "value": "x", "type": "home" }] });
    for (start, part, end) in [
        ("active pr", " or title pr", ""),
        ("active pr", " or not (title pr) and active eq true", ""),
        (nested.as_str(), &format!(" or {nested}"), ""),
        ("active pr", " or emails[type eq \"work\" and value co \"x\"]", ""),
        ("userName eq \"", "a", "\""),
        ("userName eq \"", "\\u0130", "\""),
        ("userName", " ", "pr"),
        ("active pr or urn:", "a:", "b pr"),
        ("userName eq \"", "\\\\", ""),
        ("", "(", ""),
        ("", "a.", ""),
    ] {
        let name = format!("{start}{part}");
        is_linear(
            &name,
            |bytes| filled(start, part, end, bytes),
            |text| {
                if let Ok(filter) = Filter::parse(black_box(text), WIDE) {
                    if let Ok(bound) = predicate::bind(&filter, &users) {
                        black_box(matching::matches(&bound, &user));
                    }
                    black_box(filter.to_string());
                }
            },
        );
    }
}

#[test]
fn paths_are_read_in_line_with_their_length() {
    for (start, part, end) in [
        ("emails[active pr", " or value pr", "].value"),
        ("urn:", "a:", "b.c"),
        ("emails[value eq \"", "a", "\"]"),
        ("members[", "(", ""),
    ] {
        is_linear(
            part,
            |bytes| filled(start, part, end, bytes),
            |text| {
                let _ = black_box(PatchPath::parse(black_box(text), WIDE));
            },
        );
    }
}

#[test]
fn bodies_are_read_in_line_with_their_length() {
    for (start, part, end) in [
        ("{\"a\":[0", ",[[[[[[[[[[]]]]]]]]]]", "]}"),
        ("{\"a\":\"", "\\u00e9", "\"}"),
        ("{\"a\":\"", "\\\\", "\"}"),
        ("[", "[", ""),
        ("{\"a\":[0", ",{\"b\":1}", "]}"),
        ("", " ", "{}"),
        ("{\"a\":", "9", "}"),
    ] {
        is_linear(
            part,
            |bytes| filled(start, part, end, bytes).into_bytes(),
            |body| {
                let _ = black_box(message::parse_json(black_box(body), 32));
            },
        );
    }
}

#[test]
fn a_list_of_values_is_read_in_line_with_its_length() {
    // As far as a list may go; beyond that it is refused.
    let users = schema_of(Kind::User);
    let body = |count: usize, value: &dyn Fn(usize) -> Value| {
        let emails: Vec<Value> = (0..count).map(value).collect();
        json!({ "schemas": [Kind::User.schema_id()], "userName": "a", "emails": emails })
    };
    let values: [(&str, &dyn Fn(usize) -> Value); 3] = [
        ("different", &|number| json!({ "value": format!("address-{number}@example.com"), "type": "work" })),
        ("the same", &|_| json!({ "value": "address@example.com", "type": "work" })),
        ("the same but for the end", &|number| json!({ "value": format!("{}{number}", "a".repeat(200)) })),
    ];
    for (name, value) in values {
        is_linear(
            name,
            |count| body(count.min(1_000), value),
            |body| {
                black_box(Draft::from_json(black_box(body.clone()), &users, Profile::Okta).unwrap());
            },
        );
    }
}

/// What it is called, whose it is, and the operation of each number.
type NamedOperation<'a> = (&'a str, &'a ResourceSchema, &'a dyn Fn(usize) -> Value);

#[test]
fn patches_are_carried_out_in_line_with_their_operations() {
    let (users, groups) = (schema_of(Kind::User), schema_of(Kind::Group));
    let user = Map::from_iter([
        ("userName".to_owned(), json!("a")),
        ("emails".to_owned(), json!([{ "value": "a" }])),
    ]);
    let group = Map::from_iter([("displayName".to_owned(), json!("g"))]);
    let operations: [NamedOperation<'_>; 4] = [
        (
            "title",
            &users,
            &|number| json!({ "op": "replace", "path": "title", "value": format!("t{number}") }),
        ),
        (
            "a filter",
            &users,
            &|number| json!({ "op": "replace", "path": "emails[value eq \"a\"].display", "value": format!("d{number}") }),
        ),
        (
            "the same value",
            &users,
            &|_| json!({ "op": "add", "path": "emails", "value": [{ "value": "a" }] }),
        ),
        (
            "members",
            &groups,
            &|number| json!({ "op": "add", "path": "members", "value": [{ "value": format!("{number:036}") }] }),
        ),
    ];
    for (name, schema, operation) in operations {
        let doc = if schema.kind == Kind::User { &user } else { &group };
        is_linear(
            name,
            |count| {
                let operations: Vec<Value> = (0..count.min(2_000)).map(operation).collect();
                json!({ "schemas": [patch::PATCH_URN], "Operations": operations })
            },
            |body| {
                let parsed = patch::parse(body.clone(), 10_000, WIDE, Profile::Okta).unwrap();
                let mut effort = Effort::default();
                black_box(
                    patch::apply(parsed, doc.clone(), schema, WIDE, Profile::Okta, &mut effort).unwrap(),
                );
            },
        );
    }
}

#[test]
fn a_projection_is_read_in_line_with_its_names() {
    is_linear(
        "attributes",
        |bytes| filled("userName", ",emails.value,urn:a:b:c.d", "", bytes),
        |names| {
            black_box(Projection::new(Some(black_box(names)), None));
        },
    );
}

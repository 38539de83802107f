//! PATCH bodies: any bytes are refused or change the resource, and what comes out is a resource that can be read
//! again without a change.
#![no_main]

use ici_scim::scim::patch::Effort;
use ici_scim::scim::resource::Draft;
use ici_scim::scim::{Kind, Profile, message, patch};
use ici_scim_fuzz::{BOUNDS, schema_of, user};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

const OPERATIONS_MAX: usize = 100;
const DEPTH_MAX: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = message::parse_json(bytes, DEPTH_MAX) else { return };
    let group = Map::from_iter([
        ("schemas".to_owned(), json!([Kind::Group.schema_id()])),
        ("displayName".to_owned(), json!("Group")),
    ]);
    let kinds = [(Kind::User, user()), (Kind::Group, group)];
    for (profile, (kind, doc)) in [Profile::Okta, Profile::Strict]
        .into_iter()
        .flat_map(|profile| kinds.clone().map(|kind| (profile, kind)))
    {
        let Ok(operations) = patch::parse(body.clone(), OPERATIONS_MAX, BOUNDS, profile) else { continue };
        let effort = &mut Effort::default();
        let Ok(patched) = patch::apply(operations, doc, schema_of(kind), BOUNDS, profile, effort) else {
            continue;
        };
        // Strict refuses what a lenient time has left in the document, so it is read leniently.
        let again = Draft::from_json(Value::Object(patched.doc.clone()), schema_of(kind), Profile::Okta);
        let again = again.unwrap_or_else(|error| panic!("{}: {:?}", error.detail, patched.doc));
        assert_eq!(Value::Object(again.doc), Value::Object(patched.doc));
    }
});

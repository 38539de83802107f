//! Filters: any text is read or refused, and what was read prints as a text that is read as the same.
#![no_main]

use ici_scim::scim::filter::{Bounds, Filter};
use ici_scim::scim::{Kind, matching, predicate};
use ici_scim_fuzz::{BOUNDS, schema_of, user};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(filter) = Filter::parse(text, BOUNDS) else { return };
    let printed = filter.to_string();
    // Printed, it may have more brackets and blanks than were sent.
    let wide = Bounds { bytes_max: usize::MAX, depth_max: 4 * BOUNDS.depth_max };
    let again = Filter::parse(&printed, wide).unwrap_or_else(|error| panic!("{printed}: {}", error.detail));
    assert_eq!(printed, again.to_string(), "{text}");
    for kind in Kind::ALL {
        if let Ok(predicate) = predicate::bind(&filter, schema_of(kind)) {
            matching::matches(&predicate, &Value::Object(user()));
        }
    }
});

//! Paths of PATCH: any text is read or refused, and what was read prints as a text that is read as the same.
#![no_main]

use ici_scim::scim::filter::Bounds;
use ici_scim::scim::path::PatchPath;
use ici_scim_fuzz::BOUNDS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(path) = PatchPath::parse(text, BOUNDS) else { return };
    let printed = path.to_string();
    let wide = Bounds { bytes_max: usize::MAX, depth_max: 4 * BOUNDS.depth_max };
    let again =
        PatchPath::parse(&printed, wide).unwrap_or_else(|error| panic!("{printed}: {}", error.detail));
    assert_eq!(printed, again.to_string(), "{text}");
});

//! What every part of a resource is held to, wherever it stands: how many values and attributes there may be, and what
//! texts and names may hold. What an attribute's type asks for is not told here.

use crate::scim::Error;
use crate::scim::resource::{ATTRIBUTES_MAX, KEY_CHARS_MAX, VALUES_MAX};

/// A multi-valued attribute has no more values than are compared with each other in reasonable time.
///
/// # Errors
/// 400 `invalidValue` when there are more.
pub fn check_count(count: usize, place: &str) -> Result<(), Error> {
    if count > VALUES_MAX {
        return Err(Error::invalid_value(format!("{place} may have at most {VALUES_MAX} values.")));
    }
    Ok(())
}

/// A resource has no more attributes than can be compared with each other in reasonable time.
///
/// # Errors
/// 400 `invalidValue` when there are more.
pub fn check_attributes(count: usize) -> Result<(), Error> {
    if count > ATTRIBUTES_MAX {
        return Err(Error::invalid_value(format!(
            "A resource may have at most {ATTRIBUTES_MAX} attributes."
        )));
    }
    Ok(())
}

pub(super) fn check_text(text: &str, place: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::invalid_value(format!("{place} may not hold the character NUL.")));
    }
    Ok(())
}

/// The name of an attribute that no schema knows is one that can be stored and asked for.
///
/// # Errors
/// 400 `invalidSyntax` when it is empty, too long, or has control characters.
pub fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_CHARS_MAX || key.contains(char::is_control) {
        return Err(Error::invalid_syntax(format!(
            "An attribute's name must have 1 to {KEY_CHARS_MAX} characters and no control characters."
        )));
    }
    Ok(())
}

/// A URN goes into `schemas` and into JSON paths, so it is held to the characters of RFC 8141 that need no care.
///
/// # Errors
/// 400 `invalidSyntax` when it has others, or too many.
pub fn check_urn(urn: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":._-~/+%".contains(c);
    if urn.len() > KEY_CHARS_MAX || !urn.chars().all(plain) {
        return Err(Error::invalid_syntax(format!(
            "An extension's URN must have at most {KEY_CHARS_MAX} letters, digits and : . _ - ~ / + %."
        )));
    }
    Ok(())
}

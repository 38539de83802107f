//! Versions of resources: the weak ETag in `meta.version` and header, If-Match, If-None-Match (RFC 7644 §3.14).

use crate::scim::Error;

/// The version as it stands in `meta.version` and in the ETag header.
pub fn etag(version: i64) -> String {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(version);
    let mut etag = String::with_capacity(digits.len() + 4);
    for part in ["W/\"", digits, "\""] {
        etag.push_str(part);
    }
    etag
}

/// Whether a list of entity tags, as in If-Match and If-None-Match, names the version. Tags are compared
/// weakly: a version is a state of the resource, not of its bytes.
pub fn names(header: &str, version: i64) -> bool {
    let own = version.to_string();
    header
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == own)
}

/// Checks If-Match against the present version.
///
/// # Errors
/// 412 when the header is there and does not name the version.
pub fn check_if_match(header: Option<&str>, version: i64) -> Result<(), Error> {
    match header {
        Some(header) if !names(header, version) => Err(Error::precondition_failed(
            "The resource has changed since it was read; read it again and repeat the change.",
        )),
        _ => Ok(()),
    }
}

/// Checks If-None-Match of a write against the present version (RFC 9110 §13.1.2: for other methods than GET and
/// HEAD the answer is 412). RFC 7644 knows the header for reads only.
///
/// # Errors
/// 412 when the header is there and names the version.
pub fn check_if_none_match(header: Option<&str>, version: i64) -> Result<(), Error> {
    match header {
        Some(header) if names(header, version) => Err(Error::precondition_failed(
            "The resource is there with a version that If-None-Match names, so nothing was changed.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_weakly_in_a_list_and_by_star() {
        assert_eq!(etag(7), "W/\"7\"");
        for header in ["W/\"7\"", "\"7\"", "\"1\", W/\"7\"", "*"] {
            assert!(names(header, 7), "{header}");
        }
        for header in ["W/\"17\"", "", "\"\""] {
            assert!(!names(header, 7), "{header}");
        }
        assert_eq!(check_if_match(Some("\"1\""), 2).unwrap_err().status, 412);
        assert!(check_if_match(None, 2).is_ok());
        assert_eq!(check_if_none_match(Some("*"), 2).unwrap_err().status, 412);
        assert!(check_if_none_match(Some("\"1\""), 2).is_ok() && check_if_none_match(None, 2).is_ok());
    }
}

//! The name of a tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest tenant name in characters, as for a label of a host name.
const CHARS_MAX: usize = 63;

/// A tenant's name: 1 to 63 of `a-z`, `0-9` and, inside, `-`. It is part of the Base URL, in which Okta takes
/// no underscore, and of a file's name, which must not differ from another's in case only. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

/// A text is no tenant name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a tenant name of 1 to {CHARS_MAX} characters from a-z, 0-9 and, not at the ends, \"-\"")]
pub struct BadTenantName;

impl TenantName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = BadTenantName;

    fn from_str(text: &str) -> Result<TenantName, BadTenantName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let right = (1..=CHARS_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if right { Ok(TenantName(text.into())) } else { Err(BadTenantName) }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// So that a map by name can be asked with a text that need not be a name.
impl std::borrow::Borrow<str> for TenantName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_tenant_names() {
        for name in ["a", "7", "acme", "acme-eu-1", "a--b", &"x".repeat(63)] {
            assert_eq!(name.parse::<TenantName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn everything_else_is_not() {
        for name in [
            "",
            "-",
            "-a",
            "a-",
            "Acme",
            "acme_1",
            "a.b",
            "..",
            ".",
            "a/b",
            "a%2fb",
            "a%00",
            "a b",
            " a",
            "ä",
            "a\0",
            "a\n",
            &"x".repeat(64),
        ] {
            assert_eq!(name.parse::<TenantName>(), Err(BadTenantName), "{name:?}");
        }
    }
}

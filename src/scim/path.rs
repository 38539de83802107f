//! Where a PATCH operation points (RFC 7644 §3.5.2, figure 7): `name.familyName`, `members[value eq "x"]`,
//! `emails[type eq "work"].value`, `urn:...:User:department`, or a whole extension by its URN.
//!
//! Only the text is read here; what is found there in a resource is a matter of `patch`.

use std::fmt::{self, Display, Formatter};

use crate::scim::Error;
use crate::scim::filter::{AttrPath, Bounds, Filter, parse_path};

/// The `path` of a PATCH operation, as written.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchPath {
    /// The attribute. Its sub-attribute stands before the filter or, where there is one, behind it.
    pub attr: AttrPath,
    /// Which elements of a multi-valued attribute are meant; its names are sub-attributes.
    pub filter: Option<Filter>,
}

impl PatchPath {
    /// Reads a path.
    ///
    /// # Errors
    /// 400 `invalidPath` that says at which character, counted from 1, what was expected.
    pub fn parse(text: &str, bounds: Bounds) -> Result<PatchPath, Error> {
        let (attr, filter) = parse_path(text, bounds)?;
        Ok(PatchPath { attr, filter })
    }
}

impl Display for PatchPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(filter) = &self.filter else { return write!(f, "{}", self.attr) };
        let element = AttrPath { sub: None, ..self.attr.clone() };
        write!(f, "{element}[{filter}]")?;
        match &self.attr.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

    fn parse(text: &str) -> PatchPath {
        PatchPath::parse(text, BOUNDS).unwrap()
    }

    fn refusal(text: &str) -> String {
        let error = PatchPath::parse(text, BOUNDS).unwrap_err();
        assert_eq!(error, Error::invalid_path(error.detail.clone()));
        error.detail
    }

    fn attr(urn: Option<&str>, name: &str, sub: Option<&str>) -> AttrPath {
        AttrPath { urn: urn.map(str::to_owned), name: name.to_owned(), sub: sub.map(str::to_owned) }
    }

    #[test]
    fn the_paths_of_the_rfc_and_of_okta_are_read() {
        assert_eq!(parse("members").attr, attr(None, "members", None));
        assert_eq!(parse(" name.familyName ").attr, attr(None, "name", Some("familyName")));
        let member = parse(r#"members[value eq "2819c223-7f76-453a-919d-413861904646"]"#);
        assert_eq!(member.attr, attr(None, "members", None));
        assert_eq!(member.filter.unwrap().to_string(), r#"value eq "2819c223-7f76-453a-919d-413861904646""#);
        let name = parse(r#"addresses[type eq "work"].streetAddress"#);
        assert_eq!(name.attr, attr(None, "addresses", Some("streetAddress")));
        assert!(name.filter.is_some());
        let manager = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value";
        let user = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        assert_eq!(parse(manager).attr, attr(Some(user), "manager", Some("value")));
        assert_eq!(parse("urn:acme:1.0").attr, attr(Some("urn:acme:1.0"), "", None));
        assert_eq!(parse("members[value pr].$ref").attr, attr(None, "members", Some("$ref")));
    }

    #[test]
    fn a_refusal_says_where_and_what_was_expected() {
        for (text, detail) in [
            (
                "",
                "The path breaks at character 1: expected an attribute such as userName or name.familyName, \
                 found the end of the path.",
            ),
            ("a b", "The path breaks at character 3: expected the end of the path, found \"b\"."),
            (
                "emails[type].value",
                "The path breaks at character 12: expected an operator such as eq, found \"]\".",
            ),
            (
                "emails[type pr].",
                "The path breaks at character 17: expected the name of a sub-attribute, found the end of the path.",
            ),
            (
                "emails.value[type pr]",
                "The path breaks at character 13: brackets may follow only the plain name of an attribute.",
            ),
        ] {
            assert_eq!(refusal(text), detail);
        }
        for text in [
            "emails[]",
            "emails[type pr",
            "emails[type pr] .x",
            "emails[type pr].a.b",
            "a eq 1",
            "/a",
            "a[b pr][c pr]",
        ] {
            assert!(refusal(text).starts_with("The path breaks at character "), "{text}");
        }
        assert_eq!(refusal(&"a".repeat(4097)), "The path is longer than the 4096 bytes allowed.");
        assert!(refusal(&format!("a[{}", "(".repeat(4000))).contains("deeper"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_is_read_back(
            urn in prop::option::of("urn:[a-z]{1,5}:[0-9]\\.[0-9](:User)?"),
            name in "[a-z][a-zA-Z0-9_-]{0,6}",
            sub in prop::option::of("[$]?[a-z][a-zA-Z0-9_-]{0,6}"),
            filter in prop::option::of("[a-z]{1,4} (pr|(eq|co) (true|12|\"[^\\p{Cc}\"\\\\]{0,9}\"))( (and|or) not \\(x pr\\))?"),
        ) {
            let filter = filter.map(|text| Filter::parse(&text, BOUNDS).unwrap());
            let path = PatchPath { attr: AttrPath { urn, name, sub }, filter };
            prop_assert_eq!(PatchPath::parse(&path.to_string(), BOUNDS), Ok(path));
        }

        #[test]
        fn no_text_makes_it_stumble(text in r#"([a-z$.:]{0,3}|[ \[\]()"]|\PC|eq|and|not|pr|"x"|urn:){0,40}"#) {
            let _ = PatchPath::parse(&text, BOUNDS);
        }
    }
}

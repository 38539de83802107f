//! The filter language of RFC 7644 §3.4.2.2 (and of PATCH paths, figure 7 of §3.5.2): its syntax tree, and the tree
//! as text. How text becomes a tree stands in `filter::parser`.
//!
//! Whether an attribute exists, and what its type allows, is decided in [`crate::scim::predicate`].

use std::fmt::{self, Display, Formatter, Write};

use serde_json::Number;

use crate::scim::Error;

mod parser;

use parser::{Parser, Place, Subject};

/// A comparison operator of RFC 7644, table 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `eq`: equal.
    Eq,
    /// `ne`: not equal.
    Ne,
    /// `co`: contains.
    Co,
    /// `sw`: starts with.
    Sw,
    /// `ew`: ends with.
    Ew,
    /// `gt`: greater than.
    Gt,
    /// `ge`: greater than or equal to.
    Ge,
    /// `lt`: less than.
    Lt,
    /// `le`: less than or equal to.
    Le,
}

impl CompareOp {
    /// Every operator, in the order of the RFC's table.
    pub const ALL: [CompareOp; 9] = [
        CompareOp::Eq,
        CompareOp::Ne,
        CompareOp::Co,
        CompareOp::Sw,
        CompareOp::Ew,
        CompareOp::Gt,
        CompareOp::Ge,
        CompareOp::Lt,
        CompareOp::Le,
    ];

    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            CompareOp::Eq => "eq",
            CompareOp::Ne => "ne",
            CompareOp::Co => "co",
            CompareOp::Sw => "sw",
            CompareOp::Ew => "ew",
            CompareOp::Gt => "gt",
            CompareOp::Ge => "ge",
            CompareOp::Lt => "lt",
            CompareOp::Le => "le",
        }
    }

    fn from_word(word: &str) -> Option<CompareOp> {
        CompareOp::ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(word))
    }
}

/// A value that a filter compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A JSON number.
    Number(Number),
    /// A JSON string, decoded.
    Text(String),
}

/// The name of an attribute as a client writes it: `[URN ":"] name ["." sub]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttrPath {
    /// What stands before the last colon. When no attribute name follows that colon (`urn:x:1.0`), the whole.
    pub urn: Option<String>,
    /// The attribute; empty when the path is an URN and nothing else.
    pub name: String,
    /// The sub-attribute.
    pub sub: Option<String>,
}

/// A filter as written: names in the case sent, nothing looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// `path op literal`.
    Compare {
        /// What is compared.
        path: AttrPath,
        /// How.
        op: CompareOp,
        /// With what.
        literal: Literal,
    },
    /// `path pr`.
    Present(AttrPath),
    /// Two or more filters joined by `and`.
    And(Vec<Filter>),
    /// Two or more filters joined by `or`.
    Or(Vec<Filter>),
    /// `not (filter)`.
    Not(Box<Filter>),
    /// `path[inner]`: one and the same element fulfils the whole of `inner`.
    ValuePath {
        /// The attribute that has the elements.
        path: AttrPath,
        /// What an element must fulfil; its names are sub-attributes.
        inner: Box<Filter>,
    },
}

/// How much of a filter is read at all.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest text, in bytes of UTF-8.
    pub bytes_max: usize,
    /// The deepest nesting of parentheses and brackets. The parser calls itself this often at most.
    pub depth_max: usize,
}

impl Filter {
    /// Reads a filter.
    ///
    /// Keywords and operators may be in any case and blanks may stand where they like. Beyond the RFC,
    /// `emails[type eq "work"].value eq "x"` is taken for `emails[type eq "work" and value eq "x"]`.
    ///
    /// # Errors
    /// 400 `invalidFilter` that says at which character, counted from 1, what was expected.
    pub fn parse(text: &str, bounds: Bounds) -> Result<Filter, Error> {
        let mut parser = Parser::new(text, bounds, Subject::Filter)?;
        let filter = parser.alternatives(0, Place::Resource)?;
        parser.end("\"and\", \"or\" or the end of the filter")?;
        Ok(filter)
    }
}

/// Reads a PATCH path: an attribute path, its sub-attribute wherever it stood, and the filter in brackets.
///
/// # Errors
/// 400 `invalidPath` that says at which character, counted from 1, what was expected.
pub fn parse_path(text: &str, bounds: Bounds) -> Result<(AttrPath, Option<Filter>), Error> {
    let mut parser = Parser::new(text, bounds, Subject::Path)?;
    let mut attr = parser.attr_path()?;
    let filter = parser.brackets(0, &attr)?;
    if filter.is_some() {
        attr.sub = parser.sub_attribute()?;
    }
    parser.end("the end of the path")?;
    Ok((attr, filter))
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Number(value) => write!(f, "{value}"),
            Literal::Text(value) => write!(f, "{}", serde_json::Value::from(value.as_str())),
        }
    }
}

impl Display for AttrPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(urn) = &self.urn {
            f.write_str(urn)?;
            if self.name.is_empty() {
                return Ok(());
            }
            f.write_char(':')?;
        }
        f.write_str(&self.name)?;
        match &self.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Compare { path, op, literal } => write!(f, "{path} {op} {literal}"),
            Filter::Present(path) => write!(f, "{path} pr"),
            Filter::And(parts) => write_joined(f, parts, " and "),
            Filter::Or(parts) => write_joined(f, parts, " or "),
            Filter::Not(inner) => write!(f, "not ({inner})"),
            Filter::ValuePath { path, inner } => write!(f, "{path}[{inner}]"),
        }
    }
}

/// Parts that are joined themselves are put in parentheses, so that reading gives the same tree again.
fn write_joined(f: &mut Formatter<'_>, parts: &[Filter], joint: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            f.write_str(joint)?;
        }
        match part {
            Filter::And(_) | Filter::Or(_) => write!(f, "({part})")?,
            _ => write!(f, "{part}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { bytes_max: 4096, depth_max: 32 };

    fn parse(text: &str) -> Filter {
        Filter::parse(text, BOUNDS).unwrap()
    }

    fn refusal(text: &str) -> String {
        let error = Filter::parse(text, BOUNDS).unwrap_err();
        assert_eq!(error, Error::invalid_filter(error.detail.clone()));
        error.detail
    }

    fn attr(name: &str) -> AttrPath {
        AttrPath { urn: None, name: name.to_owned(), sub: None }
    }

    fn eq(name: &str, value: &str) -> Filter {
        Filter::Compare { path: attr(name), op: CompareOp::Eq, literal: Literal::Text(value.to_owned()) }
    }

    #[test]
    fn okta_asks_by_user_name() {
        assert_eq!(parse(r#"userName eq "test.user@okta.local""#), eq("userName", "test.user@okta.local"));
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for text in [
            r#"userName eq "bjensen""#,
            r#"name.familyName co "O'Malley""#,
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J""#,
            r#"title pr"#,
            r#"meta.lastModified gt "2011-05-13T04:42:34Z""#,
            r#"title pr and userType eq "Employee""#,
            r#"title pr or userType eq "Intern""#,
            r#"schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User""#,
            r#"userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")"#,
            r#"userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")"#,
            r#"userType eq "Employee" and (emails.type eq "work")"#,
            r#"userType eq "Employee" and emails[type eq "work" and value co "@example.com"]"#,
            r#"emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]"#,
        ] {
            let filter = parse(text);
            assert_eq!(parse(&filter.to_string()), filter, "{text}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or_and_parentheses_bind_tightest() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Filter::Present(attr(name)));
        let and = |x: &Filter, y: &Filter| Filter::And(vec![x.clone(), y.clone()]);
        let or = |x: &Filter, y: &Filter| Filter::Or(vec![x.clone(), y.clone()]);
        assert_eq!(parse("a pr or b pr and c pr"), or(&a, &and(&b, &c)));
        assert_eq!(parse("a pr and b pr or c pr"), or(&and(&a, &b), &c));
        assert_eq!(parse("a pr and (b pr or c pr)"), and(&a, &or(&b, &c)));
        assert_eq!(parse("a pr and b pr and c pr"), Filter::And(vec![a.clone(), b.clone(), c.clone()]));
        assert_eq!(parse("((a pr))"), a);
        assert_eq!(parse("not (a pr) and b pr"), and(&Filter::Not(Box::new(a)), &b));
    }

    #[test]
    fn case_and_blanks_do_not_matter() {
        let plain = parse(r#"a eq "x" and not (b pr or c eq true)"#);
        assert_eq!(parse("  a   EQ\t\"x\"   AND NOT(b PR OR( c Eq TRUE ) )  "), plain);
        assert_eq!(parse(r#"a eq"x"and not(b pr or(c eq true))"#), plain);
    }

    #[test]
    fn an_urn_ends_at_the_last_colon_unless_no_name_follows() {
        let present = |text: &str| match parse(&format!("{text} pr")) {
            Filter::Present(path) => path,
            other => panic!("{other:?}"),
        };
        let path = |urn: &str, name: &str, sub: Option<&str>| AttrPath {
            urn: Some(urn.to_owned()),
            name: name.to_owned(),
            sub: sub.map(str::to_owned),
        };
        assert_eq!(present("urn:a:b:2.0:User:dept.x"), path("urn:a:b:2.0:User", "dept", Some("x")));
        assert_eq!(present("urn:a:b:2.0:User"), path("urn:a:b:2.0", "User", None));
        assert_eq!(present("urn:x:1.0"), path("urn:x:1.0", "", None));
        assert_eq!(present("members.$ref"), AttrPath { sub: Some("$ref".to_owned()), ..attr("members") });
    }

    #[test]
    fn literals_are_those_of_json() {
        let literal = |text: &str| match parse(&format!("a eq {text}")) {
            Filter::Compare { literal, .. } => literal,
            other => panic!("{other:?}"),
        };
        assert_eq!(literal("null"), Literal::Null);
        assert_eq!(literal("False"), Literal::Bool(false));
        assert_eq!(literal("-12.5e3"), Literal::Number(Number::from_f64(-12500.0).unwrap()));
        assert_eq!(literal("18446744073709551615"), Literal::Number(Number::from(u64::MAX)));
        assert_eq!(
            literal(r#""a\"\\\u00e9\ud83d\ude00\n) and (""#),
            Literal::Text("a\"\\é😀\n) and (".to_owned())
        );
        assert_eq!(literal(r#""""#), Literal::Text(String::new()));
    }

    #[test]
    fn what_follows_the_brackets_belongs_to_the_element() {
        let both = Filter::ValuePath {
            path: attr("emails"),
            inner: Box::new(Filter::And(vec![eq("type", "work"), eq("value", "x")])),
        };
        assert_eq!(parse(r#"emails[type eq "work"].value eq "x""#), both);
        assert_eq!(parse(r#"emails[ type eq "work" and value eq "x" ]"#), both);
        assert_eq!(
            parse(r#"emails[type eq "a" and type eq "b"].value pr"#).to_string(),
            r#"emails[type eq "a" and type eq "b" and value pr]"#
        );
        assert_eq!(
            parse(r#"emails[type eq "a" or type eq "b"].value pr"#).to_string(),
            r#"emails[(type eq "a" or type eq "b") and value pr]"#
        );
    }

    #[test]
    fn a_refusal_says_where_and_what_was_expected() {
        for (text, detail) in [
            (
                r#"userName equals "bob""#,
                "The filter breaks at character 10: expected an operator such as eq, found \"equals\".",
            ),
            (
                "userName =\"bob\"",
                "The filter breaks at character 10: expected an operator such as eq, found \"=\".",
            ),
            (
                "userName",
                "The filter breaks at character 9: expected an operator such as eq, found the end of the filter.",
            ),
            (
                "",
                "The filter breaks at character 1: expected an attribute such as userName or name.familyName, \
                 found the end of the filter.",
            ),
            (
                r#""ö" eq "x""#,
                "The filter breaks at character 1: expected an attribute such as userName or name.familyName, \
                 found a text in quotes.",
            ),
            (
                "a eq \"ö\" und b pr",
                "The filter breaks at character 10: expected \"and\", \"or\" or the end of the filter, found \"und\".",
            ),
            (
                "(a pr",
                "The filter breaks at character 6: expected \"and\", \"or\" or a closing parenthesis, found the end \
                 of the filter.",
            ),
            (
                "a[b pr) ",
                "The filter breaks at character 7: expected \"and\", \"or\" or a closing bracket, found \")\".",
            ),
            (
                "a.b[c pr]",
                "The filter breaks at character 4: brackets may follow only the plain name of an attribute.",
            ),
            ("a[b[c pr]]", "The filter breaks at character 4: expected an operator such as eq, found \"[\"."),
            ("a eq \"x", "The filter breaks at character 6: the text that starts here has no closing quote."),
            ("a eq \"\\x\"", "The filter breaks at character 6: the text in quotes is not a JSON string."),
            (
                "a eq \"\\ud800\"",
                "The filter breaks at character 6: the text in quotes is not a JSON string.",
            ),
        ] {
            assert_eq!(refusal(text), detail);
        }
        for text in [
            "a..b pr",
            "a.b.c pr",
            "1a pr",
            "a: pr",
            "ä pr",
            "a pr pr",
            "a pr,",
            "not a pr",
            "a eq 1x",
            "a eq 1e999",
        ] {
            assert!(refusal(text).starts_with("The filter breaks at character "), "{text}");
        }
    }

    #[test]
    fn a_refusal_repeats_no_value() {
        for text in [
            "userName eq bob.secret",
            "userName eq 'bob.secret'",
            "userName eq \"bob.secret",
            "userName bob.secret@example.com eq",
            "bob.secret@example.com eq userName",
            "userName \"bob.secret\" eq",
            "bobsecretbobsecretbobsecretbobsecretbobsecret",
        ] {
            let detail = refusal(text);
            assert!(!detail.contains("secret"), "{detail}");
        }
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert_eq!(refusal(&" ".repeat(4097)), "The filter is longer than the 4096 bytes allowed.");
        let nested = |depth: usize| format!("{}a pr{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(parse(&nested(32)), Filter::Present(attr("a")));
        let deeper = "The filter breaks at character 33: it nests deeper than the 32 levels allowed.";
        assert_eq!(refusal(&nested(33)), deeper);
        assert_eq!(refusal(&"(".repeat(4096)), deeper);
        assert!(refusal(&"not(".repeat(1024)).contains("deeper"));
        assert!(refusal(&"a[".repeat(2048)).contains("operator"));
        let brackets = format!("{}a[b pr]{}", "(".repeat(32), ")".repeat(32));
        assert!(refusal(&brackets).contains("deeper"));
    }

    #[test]
    fn long_chains_are_flat() {
        let chain = vec!["a pr"; 500].join(" or ");
        let Filter::Or(parts) = parse(&chain) else { panic!("no chain") };
        assert_eq!(parts.len(), 500);
    }

    fn name() -> impl Strategy<Value = String> {
        "[$]?[a-zA-Z][a-zA-Z0-9_-]{0,6}".prop_filter("not is a keyword", |name| name != "not")
    }

    fn attr_path() -> impl Strategy<Value = AttrPath> {
        let urn = prop::option::of("urn:[a-z]{1,5}:[a-zA-Z0-9.:%_-]{0,8}[a-z0-9]");
        let named = (urn, name(), prop::option::of(name()));
        prop_oneof![
            4 => named.prop_map(|(urn, name, sub)| AttrPath { urn, name, sub }),
            1 => "urn:[a-z]{1,5}:[0-9]\\.[0-9]".prop_map(|urn| AttrPath { urn: Some(urn), name: String::new(), sub: None }),
        ]
    }

    fn literal() -> impl Strategy<Value = Literal> {
        prop_oneof![
            Just(Literal::Null),
            any::<bool>().prop_map(Literal::Bool),
            any::<i64>().prop_map(|number| Literal::Number(number.into())),
            any::<u64>().prop_map(|number| Literal::Number(number.into())),
            any::<i16>()
                .prop_map(|number| Literal::Number(Number::from_f64(f64::from(number) / 8.0).unwrap())),
            any::<String>().prop_map(Literal::Text),
        ]
    }

    fn simple() -> impl Strategy<Value = Filter> {
        prop_oneof![
            (attr_path(), prop::sample::select(CompareOp::ALL.to_vec()), literal())
                .prop_map(|(path, op, literal)| Filter::Compare { path, op, literal }),
            attr_path().prop_map(Filter::Present),
        ]
    }

    fn joined(leaf: impl Strategy<Value = Filter> + 'static) -> impl Strategy<Value = Filter> {
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
                inner.prop_map(|inner| Filter::Not(Box::new(inner))),
            ]
        })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let path = (prop::option::of("urn:[a-z]{1,5}:[0-9]\\.[0-9]"), name());
        let value_path = (path, joined(simple())).prop_map(|((urn, name), inner)| Filter::ValuePath {
            path: AttrPath { urn, name, sub: None },
            inner: Box::new(inner),
        });
        joined(prop_oneof![simple(), value_path])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_is_read_back(filter in filter()) {
            let bounds = Bounds { bytes_max: 1 << 20, depth_max: 64 };
            prop_assert_eq!(Filter::parse(&filter.to_string(), bounds), Ok(filter));
        }

        #[test]
        fn no_text_makes_it_stumble(text in r#"([a-z$.:]{0,3}|[ \[\]()"]|\PC|eq|and|not|pr|"x"|urn:){0,40}"#) {
            let _ = Filter::parse(&text, BOUNDS);
        }
    }
}

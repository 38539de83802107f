//! A filter bound to a schema: attributes looked up, types checked, literals converted and folded.
//!
//! What a filter means is decided here, once; [`crate::scim::matching`] and the SQL of the store only carry it
//! out. In particular: `ne` is `not eq`, `eq null` is `not pr`, a multi-valued attribute matches when any of
//! its elements does, and a complex attribute is compared by its `value`.

mod operand;

use crate::scim::filter::{AttrPath, CompareOp, Filter, Literal};
use crate::scim::schema::{Attribute, ResourceSchema, Returned, Type};
use crate::scim::{Error, Profile, quirks};

/// The longest name that an error message repeats; longer ones may be somebody's data.
pub(super) const SHOWN_BYTES_MAX: usize = 128;

/// A condition on a resource, or on an element of a multi-valued attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// All hold. True when empty.
    And(Vec<Predicate>),
    /// At least one holds. False when empty.
    Or(Vec<Predicate>),
    /// Does not hold.
    Not(Box<Predicate>),
    /// Some value of the target passes the test.
    Test {
        /// What is looked at.
        target: Target,
        /// What it must be.
        test: Test,
    },
    /// One and the same element of the target fulfils `inner`, whose targets are read from the element.
    Element {
        /// The attribute that has the elements: multi-valued, or unknown to every schema.
        target: Target,
        /// What the element must fulfil.
        inner: Box<Predicate>,
    },
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The extension in which the attribute lies; `None` for core and common attributes.
    pub urn: Option<String>,
    /// The attribute, in its canonical case when known. Empty: the extension as a whole, for presence only.
    /// In an element that is no object, `value` is the element itself (RFC 7643 §2.4).
    pub attribute: String,
    /// The sub-attribute, in its canonical case when known.
    pub sub: Option<String>,
    /// Whether the attribute (not the sub-attribute) has an array of values.
    pub multi_valued: bool,
    /// The type of what is looked at. `None` when no schema knows it: then names are found in any case, arrays
    /// are looked into at each step, and a value is compared by the type it happens to have.
    pub data_type: Option<Type>,
    /// Whether texts are compared as they are; otherwise folded.
    pub case_exact: bool,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Something: not null, not an empty text, and not made of such things only (RFC 7644 §3.4.2.2, `pr`).
    Present,
    /// Compares so with the operand; never [`CompareOp::Ne`]. A value of another type than the operand's does
    /// not compare.
    Compare(CompareOp, Operand),
}

/// A literal made fit for comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Compared by code point; folded already unless the target is case-exact.
    Text(String),
    /// Only for `eq`.
    Bool(bool),
    /// Never with `co`, `sw` or `ew`.
    Number(f64),
    /// Milliseconds since 1970-01-01T00:00:00Z; never with `co`, `sw` or `ew`.
    Instant(i64),
}

/// Binds a filter on whole resources.
///
/// # Errors
/// 400 `invalidFilter` that names the attribute: it is unknown, is made of parts, or is compared in a way, or with a
/// value, that its type does not allow; 400 `sensitive` when it is never shown.
pub fn bind(filter: &Filter, schema: &ResourceSchema) -> Result<Predicate, Error> {
    bind_tree(filter, &Scope::Resource { schema, all: &[] })
}

/// Binds a filter on resources of several kinds, for those of one of them. An attribute that only others of the kinds
/// have is one without a value (RFC 7644 §3.4.2.1).
///
/// # Errors
/// As [`bind`]; an attribute is unknown when none of the kinds has it.
pub fn bind_among(
    filter: &Filter,
    schema: &ResourceSchema,
    all: &[&ResourceSchema],
) -> Result<Predicate, Error> {
    bind_tree(filter, &Scope::Resource { schema, all })
}

/// Binds the inside of `attribute[...]`; its names are sub-attributes of `attribute`.
///
/// # Errors
/// As [`bind`].
pub fn bind_element(filter: &Filter, attribute: &Attribute) -> Result<Predicate, Error> {
    bind_tree(filter, &Scope::Element(attribute))
}

/// Binds the inside of `attribute[...]` where no schema knows the attribute.
///
/// # Errors
/// As [`bind`].
pub fn bind_unknown_element(filter: &Filter) -> Result<Predicate, Error> {
    bind_tree(filter, &Scope::Unknown)
}

/// Where the names of a filter are looked up.
enum Scope<'a> {
    Resource {
        schema: &'a ResourceSchema,
        /// The kinds that are searched together; empty where it is one.
        all: &'a [&'a ResourceSchema],
    },
    /// In an element of the attribute.
    Element(&'a Attribute),
    /// In an element of an attribute that no schema knows.
    Unknown,
}

/// What a name stands for.
enum Found<'a> {
    Attribute {
        urn: Option<&'a str>,
        attribute: &'a Attribute,
    },
    /// An element that has no parts, by the name `value` (RFC 7643 §2.4).
    Itself(&'a Attribute),
    /// An extension as a whole that a schema knows.
    Extension(&'a str),
    /// The core schema as a whole, which every resource has.
    Core,
    /// What only others of the kinds have that are searched together.
    Elsewhere,
    Unknown,
}

fn bind_tree(filter: &Filter, scope: &Scope<'_>) -> Result<Predicate, Error> {
    let all = |parts: &[Filter]| parts.iter().map(|part| bind_tree(part, scope)).collect::<Result<_, _>>();
    match filter {
        Filter::And(parts) => Ok(Predicate::And(all(parts)?)),
        Filter::Or(parts) => Ok(Predicate::Or(all(parts)?)),
        Filter::Not(inner) => Ok(not(bind_tree(inner, scope)?)),
        Filter::Present(path) => bind_present(path, scope),
        Filter::Compare { path, op, literal: Literal::Null } => match op {
            CompareOp::Eq => Ok(not(bind_present(path, scope)?)),
            CompareOp::Ne => bind_present(path, scope),
            _ => Err(refuse(path, &format!("with null by {op}; only eq and ne are possible"))),
        },
        Filter::Compare { path, op: CompareOp::Ne, literal } => {
            Ok(not(bind_compare(path, CompareOp::Eq, literal, scope)?))
        }
        Filter::Compare { path, op, literal } => bind_compare(path, *op, literal, scope),
        Filter::ValuePath { path, inner } => bind_value_path(path, inner, scope),
    }
}

fn not(inner: Predicate) -> Predicate {
    Predicate::Not(Box::new(inner))
}

/// What nobody fulfils.
fn nobody() -> Predicate {
    Predicate::Or(Vec::new())
}

fn bind_present(path: &AttrPath, scope: &Scope<'_>) -> Result<Predicate, Error> {
    let target = match find(path, scope)? {
        Found::Attribute { urn, attribute } => known(path, urn, attribute, false)?,
        Found::Itself(attribute) => itself(attribute),
        Found::Extension(id) => whole(id, Some(Type::Complex)),
        Found::Core => return Ok(Predicate::And(Vec::new())),
        Found::Elsewhere => return Ok(nobody()),
        Found::Unknown => {
            let target = unknown(path);
            // `urn:acme:custom` may be the attribute `custom` of `urn:acme`, or an extension of that name.
            return Ok(match (&path.urn, &path.sub) {
                (Some(_), None) if !path.name.is_empty() => Predicate::Or(vec![
                    Predicate::Test { target, test: Test::Present },
                    Predicate::Test { target: whole(&path.to_string(), None), test: Test::Present },
                ]),
                _ => Predicate::Test { target, test: Test::Present },
            });
        }
    };
    Ok(Predicate::Test { target, test: Test::Present })
}

fn bind_compare(
    path: &AttrPath,
    op: CompareOp,
    literal: &Literal,
    scope: &Scope<'_>,
) -> Result<Predicate, Error> {
    let target = match find(path, scope)? {
        Found::Attribute { urn, attribute } => known(path, urn, attribute, true)?,
        Found::Itself(attribute) => itself(attribute),
        Found::Unknown if !path.name.is_empty() => unknown(path),
        Found::Elsewhere if !path.name.is_empty() => return Ok(nobody()),
        Found::Elsewhere | Found::Extension(_) | Found::Core | Found::Unknown => {
            return Err(Error::invalid_filter(format!(
                "The filter compares {}, which is a whole schema; compare one of its attributes.",
                shown(path)
            )));
        }
    };
    let operand = operand::operand(path, &target, op, literal)?;
    Ok(Predicate::Test { target, test: Test::Compare(op, operand) })
}

fn bind_value_path(path: &AttrPath, inner: &Filter, scope: &Scope<'_>) -> Result<Predicate, Error> {
    let bare = Error::invalid_filter(format!(
        "The filter has brackets after {}, which has no elements to choose from.",
        shown(path)
    ));
    if path.sub.is_some() || path.name.is_empty() || !matches!(scope, Scope::Resource { .. }) {
        return Err(bare);
    }
    match find(path, scope)? {
        Found::Attribute { urn, attribute } if attribute.multi_valued => {
            let target = known(path, urn, attribute, false)?;
            Ok(Predicate::Element { target, inner: Box::new(bind_element(inner, attribute)?) })
        }
        Found::Attribute { urn, attribute } if attribute.data_type == Type::Complex => {
            // A single value is its only element: there when it is present, and addressed through its name.
            let target = known(path, urn, attribute, false)?;
            let mut inner = bind_element(inner, attribute)?;
            prefix(&mut inner, &target);
            Ok(Predicate::And(vec![Predicate::Test { target, test: Test::Present }, inner]))
        }
        Found::Unknown => {
            let inner = Box::new(bind_unknown_element(inner)?);
            Ok(Predicate::Element { target: unknown(path), inner })
        }
        Found::Elsewhere => Ok(nobody()),
        Found::Attribute { .. } | Found::Itself(_) | Found::Extension(_) | Found::Core => Err(bare),
    }
}

/// Turns targets in an element of a single-valued attribute into targets in the resource.
fn prefix(predicate: &mut Predicate, parent: &Target) {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => {
            parts.iter_mut().for_each(|part| prefix(part, parent));
        }
        Predicate::Not(inner) | Predicate::Element { inner, .. } => prefix(inner, parent),
        Predicate::Test { target, .. } => {
            target.sub = Some(std::mem::replace(&mut target.attribute, parent.attribute.clone()));
            target.urn.clone_from(&parent.urn);
        }
    }
}

fn find<'a>(path: &AttrPath, scope: &Scope<'a>) -> Result<Found<'a>, Error> {
    let (schema, all) = match scope {
        Scope::Resource { schema, all } => (schema, *all),
        Scope::Element(_) | Scope::Unknown if path.urn.is_some() => {
            return Err(Error::invalid_filter(format!(
                "The filter names {} inside brackets, where only plain sub-attributes may stand.",
                shown(path)
            )));
        }
        Scope::Element(parent) => return find_in_element(path, parent),
        Scope::Unknown => return Ok(Found::Unknown),
    };
    let elsewhere = |is_there: &dyn Fn(&&ResourceSchema) -> bool| {
        if all.iter().any(is_there) {
            return Ok(Found::Elsewhere);
        }
        let names: Vec<&str> = all.iter().map(|schema| schema.core.name.as_str()).collect();
        Err(missing(path, if names.is_empty() { schema.core.name.clone() } else { names.join(" or ") }))
    };
    let Some(urn) = &path.urn else {
        if let Some(found) = in_extension_by_bare_name(path, schema) {
            return Ok(found);
        }
        let in_other = |other: &&ResourceSchema| {
            other.attribute(&path.name).is_some() || in_extension_by_bare_name(path, other).is_some()
        };
        return match schema.attribute(&path.name) {
            Some(attribute) => Ok(Found::Attribute { urn: None, attribute }),
            None => elsewhere(&in_other),
        };
    };
    // `urn:...:2.0:User` alone reads like the attribute `User` of `urn:...:2.0`.
    if path.sub.is_none() {
        let whole = path.to_string();
        if schema.is_core(&whole) {
            return Ok(Found::Core);
        }
        if let Some(extension) = schema.extension(&whole) {
            return Ok(Found::Extension(&extension.id));
        }
        if all.iter().any(|other| other.is_core(&whole)) {
            return Ok(Found::Elsewhere);
        }
    }
    if schema.is_core(urn) {
        let attribute = schema.attribute(&path.name);
        let attribute = attribute.ok_or_else(|| missing(path, schema.core.name.clone()))?;
        return Ok(Found::Attribute { urn: None, attribute });
    }
    if all.iter().any(|other| other.is_core(urn)) {
        return Ok(Found::Elsewhere);
    }
    let Some(extension) = schema.extension(urn) else {
        // Every URN has a colon of its own; `name:familyName` must not reach into `name`.
        return if urn.contains(':') { Ok(Found::Unknown) } else { elsewhere(&|_| false) };
    };
    let attribute = extension.attribute(&path.name);
    let attribute = attribute.ok_or_else(|| missing(path, extension.name.clone()))?;
    Ok(Found::Attribute { urn: Some(&extension.id), attribute })
}

/// An attribute of an extension that is named without its URN. A filter changes nothing, so it is forgiven in every
/// profile.
fn in_extension_by_bare_name<'a>(path: &AttrPath, schema: &'a ResourceSchema) -> Option<Found<'a>> {
    let urn = quirks::extension_of_bare_name(&path.name, Profile::default())?;
    if schema.attribute(&path.name).is_some() {
        return None;
    }
    let extension = schema.extension(urn)?;
    let attribute = extension.attribute(&path.name)?;
    Some(Found::Attribute { urn: Some(&extension.id), attribute })
}

fn find_in_element<'a>(path: &AttrPath, parent: &'a Attribute) -> Result<Found<'a>, Error> {
    if parent.sub_attributes.is_empty() && path.sub.is_none() && path.name.eq_ignore_ascii_case("value") {
        return Ok(Found::Itself(parent));
    }
    let attribute = parent.sub(&path.name).ok_or_else(|| missing(path, parent.name.clone()))?;
    Ok(Found::Attribute { urn: None, attribute })
}

/// The target of a known attribute; `compared` when a value is wanted and not only presence.
fn known(path: &AttrPath, urn: Option<&str>, attribute: &Attribute, compared: bool) -> Result<Target, Error> {
    never_searched(path, attribute)?;
    let simple_value = |sub: &str| {
        attribute.multi_valued && attribute.sub_attributes.is_empty() && sub.eq_ignore_ascii_case("value")
    };
    let sub = match &path.sub {
        None if compared && attribute.data_type == Type::Complex => {
            let value = attribute.sub("value");
            Some(value.ok_or_else(|| {
                let example = attribute.sub_attributes.first().map_or("", |sub| sub.name.as_str());
                let name = &attribute.name;
                Error::invalid_filter(format!(
                    "The filter compares {name}, which is made of parts; name one, such as {name}.{example}."
                ))
            })?)
        }
        None => None,
        Some(sub) if simple_value(sub) => None,
        Some(sub) => Some(attribute.sub(sub).ok_or_else(|| missing(path, attribute.name.clone()))?),
    };
    let compared = sub.unwrap_or(attribute);
    never_searched(path, compared)?;
    Ok(Target {
        urn: urn.map(str::to_owned),
        attribute: attribute.name.clone(),
        sub: sub.map(|sub| sub.name.clone()),
        multi_valued: attribute.multi_valued,
        data_type: Some(compared.data_type),
        case_exact: compared.case_exact,
    })
}

/// A filter stands in the address of a request, and addresses end up in logs (RFC 7644 §7.5.2).
fn never_searched(path: &AttrPath, attribute: &Attribute) -> Result<(), Error> {
    if attribute.returned != Returned::Never {
        return Ok(());
    }
    Err(Error::sensitive(format!(
        "The filter names {}, which is never shown and cannot be searched.",
        shown(path)
    )))
}

fn itself(attribute: &Attribute) -> Target {
    Target {
        urn: None,
        attribute: "value".to_owned(),
        sub: None,
        multi_valued: false,
        data_type: Some(attribute.data_type),
        case_exact: attribute.case_exact,
    }
}

fn unknown(path: &AttrPath) -> Target {
    Target {
        urn: path.urn.clone(),
        attribute: path.name.clone(),
        sub: path.sub.clone(),
        multi_valued: false,
        data_type: None,
        case_exact: false,
    }
}

fn whole(urn: &str, data_type: Option<Type>) -> Target {
    Target {
        urn: Some(urn.to_owned()),
        attribute: String::new(),
        sub: None,
        multi_valued: false,
        data_type,
        case_exact: false,
    }
}

fn missing(path: &AttrPath, owner: String) -> Error {
    Error::invalid_filter(format!("The filter names {}, which is not an attribute of {owner}.", shown(path)))
}

fn refuse(path: &AttrPath, what: &str) -> Error {
    Error::invalid_filter(format!("The filter compares {} {what}.", shown(path)))
}

fn shown(path: &AttrPath) -> String {
    let text = path.to_string();
    if text.len() <= SHOWN_BYTES_MAX { text } else { "an attribute with a very long name".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Kind;
    use crate::scim::filter::Bounds;
    use crate::scim::schema::{ENTERPRISE_USER, Schemas};

    fn bound(kind: Kind, text: &str) -> Result<Predicate, Error> {
        let filter = Filter::parse(text, Bounds { bytes_max: 4096, depth_max: 32 }).unwrap();
        bind(&filter, Schemas::builtin().unwrap().of(kind))
    }

    fn user(text: &str) -> Predicate {
        bound(Kind::User, text).unwrap()
    }

    fn refusal(text: &str) -> String {
        let error = bound(Kind::User, text).unwrap_err();
        assert_eq!(error, Error::invalid_filter(error.detail.clone()));
        error.detail
    }

    fn target(
        attribute: &str,
        sub: Option<&str>,
        multi_valued: bool,
        data_type: Type,
        exact: bool,
    ) -> Target {
        Target {
            urn: None,
            attribute: attribute.to_owned(),
            sub: sub.map(str::to_owned),
            multi_valued,
            data_type: Some(data_type),
            case_exact: exact,
        }
    }

    fn test(target: &Target, op: CompareOp, operand: Operand) -> Predicate {
        Predicate::Test { target: target.clone(), test: Test::Compare(op, operand) }
    }

    fn text(text: &str) -> Operand {
        Operand::Text(text.to_owned())
    }

    #[test]
    fn names_become_canonical_and_texts_are_folded_unless_case_matters() {
        let user_name = target("userName", None, false, Type::String, false);
        assert_eq!(user(r#"USERNAME eq "BOB""#), test(&user_name, CompareOp::Eq, text("bob")));
        let core = r#"urn:ietf:params:scim:schemas:core:2.0:user:username eq "BOB""#;
        assert_eq!(user(core), test(&user_name, CompareOp::Eq, text("bob")));
        let external_id = target("externalId", None, false, Type::String, true);
        assert_eq!(user(r#"externalid sw "Ab""#), test(&external_id, CompareOp::Sw, text("Ab")));
        let department = Target {
            urn: Some(ENTERPRISE_USER.to_owned()),
            ..target("department", None, false, Type::String, false)
        };
        let filter = format!("{}:DEPARTMENT co \"X\"", ENTERPRISE_USER.to_ascii_lowercase());
        assert_eq!(user(&filter), test(&department, CompareOp::Co, text("x")));
    }

    #[test]
    fn a_complex_attribute_is_compared_by_its_value() {
        let emails = target("emails", Some("value"), true, Type::String, false);
        assert_eq!(user(r#"emails co "X""#), test(&emails, CompareOp::Co, text("x")));
        let members = target("members", Some("value"), true, Type::String, true);
        let bound_members = bound(Kind::Group, r#"members eq "X""#).unwrap();
        assert_eq!(bound_members, test(&members, CompareOp::Eq, text("X")));
        assert_eq!(
            refusal(r#"name eq "x""#),
            "The filter compares name, which is made of parts; name one, such as name.formatted."
        );
        let present = Predicate::Test {
            target: target("emails", None, true, Type::Complex, false),
            test: Test::Present,
        };
        assert_eq!(user("emails pr"), present);
    }

    #[test]
    fn ne_is_not_eq_and_null_is_absence() {
        assert_eq!(user(r#"title ne "x""#), not(user(r#"title eq "x""#)));
        assert_eq!(user("title eq null"), not(user("title pr")));
        assert_eq!(user("title ne null"), user("title pr"));
        assert_eq!(
            refusal("title gt null"),
            "The filter compares title with null by gt; only eq and ne are possible."
        );
    }

    #[test]
    fn literals_are_converted_to_the_attributes_type() {
        let active = target("active", None, false, Type::Boolean, false);
        assert_eq!(user("active eq true"), test(&active, CompareOp::Eq, Operand::Bool(true)));
        assert_eq!(user(r#"active eq "False""#), test(&active, CompareOp::Eq, Operand::Bool(false)));
        let created = target("meta", Some("created"), false, Type::DateTime, false);
        let filter = r#"meta.created ge "2026-01-01T01:00:00+01:00""#;
        assert_eq!(user(filter), test(&created, CompareOp::Ge, Operand::Instant(1_767_225_600_000)));
        let title = target("title", None, false, Type::String, false);
        assert_eq!(user("title eq 12"), test(&title, CompareOp::Eq, text("12")));
    }

    #[test]
    fn what_a_type_does_not_allow_is_refused_by_name() {
        for (filter, detail) in [
            ("title eq true", "The filter compares title with something else than a text in double quotes."),
            ("active gt true", "The filter compares active by gt; true and false take only eq, ne and pr."),
            (
                r#"active eq "yes""#,
                "The filter compares active with something else than true or false, which are its only values.",
            ),
            (
                r#"meta.created co "2026""#,
                "The filter compares meta.created by co; a date takes only eq, ne, gt, ge, lt, le and pr.",
            ),
            (
                r#"meta.created gt "2026""#,
                "The filter compares meta.created with something else than a date such as \
                 \"2026-01-01T00:00:00Z\".",
            ),
            (
                r#"x509Certificates gt "x""#,
                "The filter compares x509Certificates by gt; binary data has no order.",
            ),
            ("nope pr", "The filter names nope, which is not an attribute of User."),
            ("name.nope pr", "The filter names name.nope, which is not an attribute of name."),
            ("title.nope pr", "The filter names title.nope, which is not an attribute of title."),
            ("emails[nope pr]", "The filter names nope, which is not an attribute of emails."),
            ("title[value pr]", "The filter has brackets after title, which has no elements to choose from."),
            (
                "emails[urn:x:value pr]",
                "The filter names urn:x:value inside brackets, where only plain sub-attributes may stand.",
            ),
            (
                r#"urn:x:1.0 eq "x""#,
                "The filter compares urn:x:1.0, which is a whole schema; compare one of its attributes.",
            ),
            ("name:familyName pr", "The filter names name:familyName, which is not an attribute of User."),
            ("members pr", "The filter names members, which is not an attribute of User."),
        ] {
            assert_eq!(refusal(filter), detail);
        }
        let sensitive = bound(Kind::User, "password pr").unwrap_err();
        let detail = "The filter names password, which is never shown and cannot be searched.";
        assert_eq!(sensitive, Error::sensitive(detail));
        let nope = format!("{ENTERPRISE_USER}:nope pr");
        assert!(refusal(&nope).ends_with(":nope, which is not an attribute of EnterpriseUser."));
    }

    #[test]
    fn an_attribute_of_an_unknown_urn_is_compared_by_what_it_happens_to_be() {
        let size = Target {
            urn: Some("urn:acme:1.0:User".to_owned()),
            attribute: "Size".to_owned(),
            sub: None,
            multi_valued: false,
            data_type: None,
            case_exact: false,
        };
        let bind = |rest: &str| user(&format!("urn:acme:1.0:User:Size {rest}"));
        assert_eq!(bind(r#"eq "XL""#), test(&size, CompareOp::Eq, text("xl")));
        assert_eq!(bind("gt 5"), test(&size, CompareOp::Gt, Operand::Number(5.0)));
        assert_eq!(bind("sw 5"), test(&size, CompareOp::Sw, text("5")));
        assert_eq!(bind("eq true"), test(&size, CompareOp::Eq, Operand::Bool(true)));
        assert!(refusal("urn:acme:1.0:User:Size lt true").contains("take only eq, ne and pr"));
    }

    #[test]
    fn an_extension_as_a_whole_can_only_be_present() {
        let present = |urn: &str, attribute: &str, data_type| Predicate::Test {
            target: Target { attribute: attribute.to_owned(), ..whole(urn, data_type) },
            test: Test::Present,
        };
        let enterprise = present(ENTERPRISE_USER, "", Some(Type::Complex));
        assert_eq!(user(&format!("{} pr", ENTERPRISE_USER.to_ascii_lowercase())), enterprise);
        assert_eq!(user("urn:acme:1.0 pr"), present("urn:acme:1.0", "", None));
        let either = vec![present("urn:acme", "custom", None), present("urn:acme:custom", "", None)];
        assert_eq!(user("urn:acme:custom pr"), Predicate::Or(either));
        assert_eq!(user("urn:ietf:params:scim:schemas:core:2.0:User pr"), Predicate::And(Vec::new()));
    }

    #[test]
    fn brackets_ask_one_element() {
        let Predicate::Element { target: emails, inner } =
            user(r#"emails[TYPE eq "Work" and primary eq true]"#)
        else {
            panic!("not an element")
        };
        assert_eq!(emails, target("emails", None, true, Type::Complex, false));
        let work = test(&target("type", None, false, Type::String, false), CompareOp::Eq, text("work"));
        let primary =
            test(&target("primary", None, false, Type::Boolean, false), CompareOp::Eq, Operand::Bool(true));
        assert_eq!(*inner, Predicate::And(vec![work, primary]));
    }

    #[test]
    fn a_single_value_in_brackets_is_its_only_element() {
        assert_eq!(
            user(r#"name[familyName eq "X" and not (givenName pr)]"#),
            user(r#"name pr and (name.familyName eq "X" and not (name.givenName pr))"#)
        );
        let manager = format!("{ENTERPRISE_USER}:manager");
        assert_eq!(
            user(&format!(r#"{manager}[value eq "x"]"#)),
            user(&format!(r#"{manager} pr and {manager}.value eq "x""#))
        );
    }

    #[test]
    fn an_element_without_parts_is_its_own_value() {
        let Predicate::Element { inner, .. } = user(r#"schemas[value eq "urn:X"]"#) else {
            panic!("not an element")
        };
        assert_eq!(
            *inner,
            test(&target("value", None, false, Type::Reference, true), CompareOp::Eq, text("urn:X"))
        );
        assert_eq!(user(r#"schemas.value eq "urn:X""#), user(r#"schemas eq "urn:X""#));
    }
}

//! What clients send off the standard and is taken all the same: each with the client, the source and the test.
//!
//! A leniency that is not named here is a defect. The rest of `scim` calls these functions where the RFC would
//! have refused; [`Profile::Strict`] then refuses. `tests/it/strict.rs` holds each of them in both profiles.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::scim::filter::{CompareOp, Filter, Literal};
use crate::scim::schema::{Attribute, ENTERPRISE_USER};
use crate::scim::{Error, fold, rules};

/// What is forgiven a tenant's clients.
///
/// Okta and Entra ID are forgiven the same today: neither is harmed by what the other needs, and a tenant may
/// have both. Where they ever have to differ, the difference is a function of this module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What Okta sends, and whatever Entra ID sends too.
    #[default]
    Okta,
    /// What Entra ID sends, and whatever Okta sends too.
    Entra,
    /// Nothing: what RFC 7643 and RFC 7644 refuse is refused. For conformance suites and for new clients.
    Strict,
}

impl Profile {
    /// Every profile with the word for it in `tenants.toml`.
    pub const WORDS: &[(&str, Profile)] =
        &[("okta", Profile::Okta), ("entra", Profile::Entra), ("strict", Profile::Strict)];

    /// Whether nothing is forgiven.
    pub fn is_strict(self) -> bool {
        self == Profile::Strict
    }
}

/// How much of a name that no schema has is repeated to the client.
const NAME_CHARS_SHOWN: usize = 64;

/// scim2-models writes `schemas` with the extension's own URN into an extension's object (scim2-tester 0.5,
/// `check_add_attribute`). It says nothing that the URN above it does not say, so it is passed over, in every
/// profile. Test: `schemas_inside_an_extension_are_passed_over`.
pub fn repeats_the_extension(key: &str) -> bool {
    key.eq_ignore_ascii_case("schemas")
}

/// Entra ID sends booleans as text, `"True"` and `"False"` (SCIM-SDK #416, SCIMMY #51; Microsoft's
/// `aadOptscim062020` notes); RFC 7643 §2.3.2 knows JSON's `true` and `false`. Test:
/// `booleans_and_numbers_sent_as_text_are_taken`.
pub fn boolean_from_text(text: &str, profile: Profile) -> Option<bool> {
    if profile.is_strict() {
        None
    } else if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Mappings of both clients make texts of numbers (RFC 7643 §2.3.3 and §2.3.4: JSON's numbers). Test:
/// `booleans_and_numbers_sent_as_text_are_taken`.
pub fn number_from_text<N: FromStr>(text: &str, profile: Profile) -> Option<N> {
    if profile.is_strict() { None } else { text.parse().ok() }
}

/// Okta's expression language makes numbers of what an administrator takes for a text, such as an employee
/// number (RFC 7643 §2.3.1: a JSON string). Test: `booleans_and_numbers_sent_as_text_are_taken`.
pub fn takes_numbers_as_text(profile: Profile) -> bool {
    !profile.is_strict()
}

/// Entra ID sends `manager` as a plain string, and some clients a list of plain addresses as `emails` or of plain
/// ids as `members` (scim2-models #62); RFC 7643 §2.3.8 wants an object. Test:
/// `a_plain_string_stands_for_the_value_of_a_complex_attribute`.
pub fn takes_plain_values(profile: Profile) -> bool {
    !profile.is_strict()
}

/// Clients send one value for a list of values: Okta's mappings give one e-mail address. RFC 7643 §2.4: an array. (In a
/// PATCH one value is added to a list by the RFC's own words, §3.5.2.1.) Test:
/// `strict::what_is_forgiven_by_default_is_refused_by_the_strict_profile`.
///
/// # Errors
/// 400 `invalidValue` where that is not forgiven.
pub fn takes_one_for_many(one: &Value, place: &str, profile: Profile) -> Result<(), Error> {
    if profile.is_strict() && *one != "" {
        return Err(Error::invalid_value(format!("{place} must be a list.")));
    }
    Ok(())
}

/// Clients have types of their own, such as `alias` for an e-mail address. RFC 7643 §7 leaves it to the server whether
/// `canonicalValues` are the only ones: strict, they are. Test:
/// `strict::what_is_forgiven_by_default_is_refused_by_the_strict_profile`.
///
/// # Errors
/// 400 `invalidValue` where that is not forgiven.
pub fn takes_other_values(
    attribute: &Attribute,
    text: &str,
    place: &str,
    profile: Profile,
) -> Result<(), Error> {
    let known = &attribute.canonical_values;
    let is_known =
        |value: &String| value == text || (!attribute.case_exact && fold::fold(value) == fold::fold(text));
    if !profile.is_strict() || known.is_empty() || known.iter().any(is_known) {
        return Ok(());
    }
    Err(Error::invalid_value(format!("{place} must be one of {}.", known.join(", "))))
}

/// Clients put into references what people entered, such as `www.example.com` for a profile's address. RFC 7643
/// §2.3.7: a URI that points to what `referenceTypes` names. Test:
/// `strict::what_is_forgiven_by_default_is_refused_by_the_strict_profile`.
///
/// # Errors
/// 400 `invalidValue` where that is not forgiven.
pub fn takes_loose_references(
    attribute: &Attribute,
    text: &str,
    place: &str,
    profile: Profile,
) -> Result<(), Error> {
    if !profile.is_strict() || rules::is_reference(text, &attribute.reference_types) {
        return Ok(());
    }
    let types = &attribute.reference_types;
    let expected = if types.iter().any(|kind| kind == "external" || kind == "uri") {
        "an absolute URI".to_owned()
    } else {
        format!("the address of a {}", types.join(" or "))
    };
    Err(Error::invalid_value(format!("{place} must be {expected}.")))
}

/// The object that a plain string stands for, see [`takes_plain_values`].
pub fn plain_value(text: String) -> Map<String, Value> {
    let mut element = Map::new();
    element.insert("value".to_owned(), Value::String(text));
    element
}

/// Whether attributes may be named in a body as paths name them: with a dot (`name.givenName`), or with a schema's
/// URN before it. Entra ID does so in the value of a PATCH without path, with its flag `aadOptscim062020` (Microsoft,
/// "Known issues and resolutions with SCIM 2.0 protocol compliance"; sourcegraph #48430). Test:
/// `entra_names_attributes_by_paths_in_a_value`.
pub fn takes_names_of_paths(profile: Profile) -> bool {
    !profile.is_strict()
}

/// Attributes and extensions that no schema has are kept and given back: Okta pushes what an administrator has
/// mapped, and Entra ID its own extensions (okta.com, "Understanding SCIM": custom attributes; Microsoft, "Tutorial:
/// Develop and plan provisioning for a SCIM endpoint"). RFC 7644 §3.12 calls a body that is not of the schema
/// `invalidSyntax`. Test: `what_no_schema_knows_is_kept_and_its_urn_listed`.
///
/// # Errors
/// 400 `invalidSyntax` where that is not forgiven.
pub fn takes_unknown_attributes(name: &str, profile: Profile) -> Result<(), Error> {
    if !profile.is_strict() {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
    Err(Error::invalid_syntax(format!("{shown} is in no schema of this resource.")))
}

/// Entra ID calls the Enterprise User's `manager` by its bare name, in the filter by which it asks whether a user has
/// that manager, and in the path of the PATCH that follows (Microsoft, "Tutorial: Develop and plan provisioning for a
/// SCIM endpoint", examples 4 and 5); RFC 7644 §3.10 has the URN before it. Gives that URN. Test:
/// `entra_calls_the_manager_by_its_bare_name`.
pub fn extension_of_bare_name(name: &str, profile: Profile) -> Option<&'static str> {
    (!profile.is_strict() && name.eq_ignore_ascii_case("manager")).then_some(ENTERPRISE_USER)
}

/// Entra ID sends the one `manager` as a list of one (as above, example 5); RFC 7643 §2.4 has a list only for what is
/// multi-valued. Test: `entra_calls_the_manager_by_its_bare_name`.
pub fn takes_lists_of_one(profile: Profile) -> bool {
    !profile.is_strict()
}

/// The `op` of a PATCH operation. Entra ID sends `Add`, `Replace` and `Remove` (SSOReady #159); RFC 7644 §3.5.2 has
/// them in small letters. Test: `op_is_taken_in_any_case_and_booleans_as_text`.
pub fn operation_name(op: &str, profile: Profile) -> Cow<'_, str> {
    if profile.is_strict() { Cow::Borrowed(op) } else { Cow::Owned(op.to_ascii_lowercase()) }
}

/// Clients leave `schemas` out, or empty, in a body and in a PATCH (okta.com, SCIM 2.0 reference: examples without).
/// RFC 7643 §3 and RFC 7644 §3.5.2 require it. Test: `a_body_of_another_kind_is_refused_and_missing_schemas_are_not`.
///
/// # Errors
/// 400 `invalidSyntax` where that is not forgiven.
pub fn takes_missing_schemas(urn: &str, profile: Profile) -> Result<(), Error> {
    if profile.is_strict() {
        return Err(Error::invalid_syntax(format!("schemas must be there and name {urn}.")));
    }
    Ok(())
}

/// Clients whose requests are made from templates send `path: ""` for no path; RFC 7644 §3.5.2 leaves it out. Test:
/// `strict::what_is_forgiven_by_default_is_refused_by_the_strict_profile`.
pub fn takes_empty_paths(profile: Profile) -> bool {
    !profile.is_strict()
}

/// A form with an empty field asks with `filter=`; it is taken for no filter (RFC 7644 §3.4.2.2: a filter holds at least
/// one expression). Test: `strict::an_empty_filter_is_none_by_default_and_refused_by_the_strict_profile`.
///
/// # Errors
/// 400 `invalidFilter` where that is not forgiven.
pub fn takes_empty_filters(profile: Profile) -> Result<(), Error> {
    if profile.is_strict() {
        return Err(Error::invalid_filter(
            "The filter is empty; it needs an attribute and what it is to be.",
        ));
    }
    Ok(())
}

/// Suites and scripts name media types in `Accept` that are no JSON, and read the answer (Okta's SCIM 2.0 test suites:
/// all kinds of it); RFC 9110 §12.5.1 leaves it to the server whether it refuses. Test:
/// `who_takes_no_json_is_told_so_before_anything_is_done`.
///
/// # Errors
/// 406 where that is not forgiven.
pub fn answers_json_to_everybody(profile: Profile) -> Result<(), Error> {
    if profile.is_strict() { Err(Error::not_acceptable()) } else { Ok(()) }
}

/// Okta's path-less replace carries the group's own `id` before every membership change (Okta SCIM 2.0
/// reference, "Update a specific group name"; Metatavu/keycloak-scim-server #113). In a PATCH value that names
/// several attributes the read-only ones are passed over; named by `path` they are refused. (In the body of POST
/// and PUT the RFC itself passes them over, §3.3 and §3.5.1.) Test:
/// `read_only_attributes_in_a_value_are_passed_over_and_by_path_refused`.
pub fn passes_over_read_only_in_values(profile: Profile) -> bool {
    !profile.is_strict()
}

/// Entra ID replaces `emails[type eq "work"].value` where no such element is yet and expects it to be made
/// (Microsoft, "Known issues and resolutions with SCIM 2.0 protocol compliance"). Gives the element that the
/// filter describes, when it is made of nothing but equalities; RFC 7644 §3.5.2.3 would answer `noTarget`.
/// Test: `a_missing_element_is_made_from_the_equalities_of_its_filter`.
pub fn element_described_by(filter: &Filter, profile: Profile) -> Option<Map<String, Value>> {
    let mut element = Map::new();
    (!profile.is_strict() && describe(filter, &mut element)).then_some(element)
}

fn describe(filter: &Filter, element: &mut Map<String, Value>) -> bool {
    match filter {
        Filter::Compare { path, op: CompareOp::Eq, literal } if path.urn.is_none() && path.sub.is_none() => {
            let value = match literal {
                Literal::Text(text) => Value::String(text.clone()),
                Literal::Bool(flag) => Value::Bool(*flag),
                Literal::Number(number) => Value::Number(number.clone()),
                Literal::Null => return false,
            };
            element.insert(path.name.clone(), value);
            true
        }
        Filter::And(parts) => parts.iter().all(|part| describe(part, element)),
        Filter::Compare { .. }
        | Filter::Present(_)
        | Filter::Or(_)
        | Filter::Not(_)
        | Filter::ValuePath { .. } => false,
    }
}

/// Entra ID removes members with `path: "members"` and the ids in `value`; RFC 7644 §3.5.2.2 knows no value with
/// `remove` and would empty the group (langwatch #7136); strict, such an operation is refused, for who sends a value
/// does not mean that. Test: `remove_with_a_value_removes_only_that`.
///
/// # Errors
/// 400 `invalidSyntax` where that is not forgiven.
pub fn removes_only_the_values_sent(profile: Profile) -> Result<(), Error> {
    if profile.is_strict() {
        return Err(Error::invalid_syntax(
            "An operation remove takes no value; choose what is removed by a filter in the path.",
        ));
    }
    Ok(())
}

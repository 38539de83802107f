//! What an operation of a PATCH on `members` comes to: a change of rows, since members are no part of a group's
//! document. Who they are, and whether they are there, is for the store.

use serde_json::Value;

use crate::scim::filter::{CompareOp, Filter, Literal};
use crate::scim::patch::{Verb, as_path_error, attribute_path};
use crate::scim::path::PatchPath;
use crate::scim::predicate::{self, Predicate};
use crate::scim::resource::{self, MemberRef};
use crate::scim::schema::Attribute;
use crate::scim::{Error, Profile, quirks};

/// A change of a group's members.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberChange {
    /// These become members; who is one already stays one.
    Add(Vec<MemberRef>),
    /// These are members no longer; who is none is passed over (Okta repeats removals).
    Remove(Vec<String>),
    /// All members that fulfil the predicate, which speaks of the sub-attributes of `members`, are removed.
    RemoveWhere(Predicate),
    /// These, and no others, are members.
    Replace(Vec<MemberRef>),
    /// All members that fulfil the predicate get this name, or the one of their own.
    Display(Predicate, Option<String>),
}

/// An operation on `members` as a change of rows.
pub(super) fn member_change(
    verb: Verb,
    path: &PatchPath,
    attribute: &Attribute,
    value: Option<Value>,
    profile: Profile,
) -> Result<Option<MemberChange>, Error> {
    let value = value.unwrap_or(Value::Null);
    match (&path.filter, path.attr.sub.as_deref()) {
        (None, None) => Ok(Some(match verb {
            Verb::Add => MemberChange::Add(resource::members_from(value, profile)?),
            Verb::Replace => MemberChange::Replace(resource::members_from(value, profile)?),
            Verb::Remove if value.is_null() => MemberChange::Replace(Vec::new()),
            Verb::Remove => {
                quirks::removes_only_the_values_sent(profile)?;
                let named = resource::members_from(value, profile)?;
                MemberChange::Remove(named.into_iter().map(|member| member.id).collect())
            }
        })),
        (Some(filter), None) => match verb {
            Verb::Remove => Ok(Some(match ids_named(filter) {
                Some(ids) => MemberChange::Remove(ids),
                None => MemberChange::RemoveWhere(bind_members(filter, attribute)?),
            })),
            Verb::Add | Verb::Replace if names_another(filter, &value) => Err(Error::mutability(
                "A member cannot be turned into another; remove the one and add the other.",
            )),
            Verb::Add | Verb::Replace => {
                let display = value.as_object().and_then(|object| {
                    object
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case("display"))
                        .map(|(_, value)| value.clone())
                });
                let display = display.and_then(|display| display.as_str().map(str::to_owned));
                Ok(Some(MemberChange::Display(bind_members(filter, attribute)?, display)))
            }
        },
        (filter, Some(sub)) if sub.eq_ignore_ascii_case("display") => {
            let filter = filter.clone().unwrap_or_else(|| Filter::Present(attribute_path("value").attr));
            let display = if verb == Verb::Remove { None } else { value.as_str().map(str::to_owned) };
            Ok(Some(MemberChange::Display(bind_members(&filter, attribute)?, display)))
        }
        (None, Some(sub)) if sub.eq_ignore_ascii_case("value") && verb == Verb::Add => {
            Ok(Some(MemberChange::Add(resource::members_from(value, profile)?)))
        }
        (_, Some(sub)) => match attribute.sub(sub) {
            Some(known) => Err(Error::mutability(format!(
                "members.{} cannot be changed; remove the member and add another.",
                known.name
            ))),
            None => Err(Error::invalid_path(format!("members has no sub-attribute {sub}."))),
        },
    }
}

/// Whether the value names members that the filter does not choose by their ids.
fn names_another(filter: &Filter, value: &Value) -> bool {
    let chosen = ids_named(filter).unwrap_or_default();
    let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    elements.iter().filter_map(Value::as_object).any(|object| {
        object
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("value"))
            .any(|(_, id)| !id.as_str().is_some_and(|id| chosen.iter().any(|known| known == id)))
    })
}

fn bind_members(filter: &Filter, attribute: &Attribute) -> Result<Predicate, Error> {
    predicate::bind_element(filter, attribute).map_err(as_path_error)
}

/// The ids when a filter is `value eq "…"`, or an `or` of such: the form that Okta sends.
fn ids_named(filter: &Filter) -> Option<Vec<String>> {
    match filter {
        Filter::Compare { path, op: CompareOp::Eq, literal: Literal::Text(id) }
            if path.urn.is_none() && path.sub.is_none() && path.name.eq_ignore_ascii_case("value") =>
        {
            Some(vec![id.clone()])
        }
        Filter::Or(parts) => {
            let mut ids = Vec::with_capacity(parts.len());
            for part in parts {
                ids.extend(ids_named(part)?);
            }
            Some(ids)
        }
        Filter::Compare { .. }
        | Filter::Present(_)
        | Filter::And(_)
        | Filter::Not(_)
        | Filter::ValuePath { .. } => None,
    }
}

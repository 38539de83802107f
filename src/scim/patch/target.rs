//! How one attribute of a document is changed by one PATCH operation (RFC 7644 §3.5.2.1 to §3.5.2.3).

use serde_json::{Map, Value};

use crate::scim::filter::Filter;
use crate::scim::patch::Verb;
use crate::scim::path::PatchPath;
use crate::scim::resource::{attribute_value, check_count, check_key, check_primary, clean, single_value};
use crate::scim::schema::{Attribute, Mutability, Type};
use crate::scim::{Error, Profile, fold, matching, predicate, quirks};

/// Changes a known attribute of `holder`, which is a resource or an extension's object.
pub(super) fn change(
    holder: &mut Map<String, Value>,
    attribute: &Attribute,
    verb: Verb,
    path: &PatchPath,
    value: Value,
    profile: Profile,
) -> Result<(), Error> {
    let name = &attribute.name;
    let held = holder.shift_remove(name);
    let changed = match (&path.filter, &path.attr.sub) {
        (Some(filter), sub) => by_filter(held, attribute, verb, filter, sub.as_deref(), value, profile)?,
        (None, Some(sub)) => by_sub_attribute(held, attribute, verb, sub, value, profile)?,
        (None, None) => whole(held, attribute, verb, value, profile)?,
    };
    if let Some(changed) = changed {
        if let Value::Array(elements) = &changed {
            check_primary(elements, name)?;
        }
        holder.insert(name.clone(), changed);
    }
    Ok(())
}

/// Puts the sub-attributes of `from` into `into`; what `from` does not name stays (RFC 7644 §3.5.2.3).
pub(super) fn merge(into: &mut Value, from: Map<String, Value>) {
    match into {
        Value::Object(object) => {
            for (key, value) in from {
                match (object.get_mut(&key), value) {
                    (Some(held @ Value::Object(_)), Value::Object(value)) => merge(held, value),
                    (_, value) => {
                        object.insert(key, value);
                    }
                }
            }
        }
        other => *other = Value::Object(from),
    }
}

fn whole(
    held: Option<Value>,
    attribute: &Attribute,
    verb: Verb,
    value: Value,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    let name = &attribute.name;
    if verb == Verb::Remove {
        if attribute.multi_valued && !value.is_null() {
            quirks::removes_only_the_values_sent(profile)?;
            return remove_values(held, attribute, value, profile);
        }
        return Ok(None);
    }
    if attribute.multi_valued {
        let value = in_a_list(value);
        return match verb {
            Verb::Add => {
                // A primary value that is added takes the place of the one there (RFC 7644 §3.5.2).
                let Some(Value::Array(added)) = attribute_value(attribute, value, name, profile)? else {
                    return Ok(held);
                };
                add_elements(held, added, name).map(Some)
            }
            Verb::Replace | Verb::Remove => attribute_value(attribute, value, name, profile),
        };
    }
    let emptied = nothing_left(attribute, &value);
    match (single_value(attribute, value.clone(), name, profile)?, held) {
        (Some(Value::Object(made)), held) => {
            let mut merged = held.unwrap_or_else(|| Value::Object(Map::new()));
            drop_unassigned(&mut merged, attribute, &value);
            merge(&mut merged, made);
            Ok(Some(merged))
        }
        (Some(made), _) => Ok(Some(made)),
        // An object whose sub-attributes are all null takes those away and leaves the others.
        (None, Some(mut held)) if emptied => {
            drop_unassigned(&mut held, attribute, &value);
            Ok(held.as_object().is_some_and(|object| !object.is_empty()).then_some(held))
        }
        (None, _) => Ok(None),
    }
}

/// One value of a list is a list of one: "a new value is added to the attribute" (RFC 7644 §3.5.2.1).
fn in_a_list(value: Value) -> Value {
    match value {
        Value::Array(_) | Value::Null => value,
        one => Value::Array(vec![one]),
    }
}

fn nothing_left(attribute: &Attribute, value: &Value) -> bool {
    attribute.data_type == Type::Complex && value.as_object().is_some_and(|object| !object.is_empty())
}

/// Takes the sub-attributes away that `value` names with nothing in them.
fn drop_unassigned(held: &mut Value, attribute: &Attribute, value: &Value) {
    let (Value::Object(held), Value::Object(value)) = (held, value) else { return };
    for (key, value) in value {
        let empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let is_ours = attribute.sub(key).is_some_and(|sub| sub.mutability == Mutability::ReadOnly);
        if empty && !is_ours {
            held.shift_remove(attribute.sub(key).map_or(key.as_str(), |sub| sub.name.as_str()));
        }
    }
}

fn elements_of(held: Option<Value>) -> Vec<Value> {
    match held {
        Some(Value::Array(elements)) => elements,
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// Adds elements; one with the same value and type is brought up to date instead (RFC 7644 §3.5.2.1: a value
/// that is there already is not added again).
fn add_elements(held: Option<Value>, added: Vec<Value>, name: &str) -> Result<Value, Error> {
    let mut elements = elements_of(held);
    check_count(elements.len() + added.len(), name)?;
    for new in added {
        if new.get("primary") == Some(&Value::Bool(true)) {
            clear_primary(&mut elements);
        }
        match (elements.iter_mut().find(|element| same_element(element, &new)), new) {
            (Some(element), Value::Object(new)) => merge(element, new),
            (Some(_), _) => {}
            (None, new) => elements.push(new),
        }
    }
    Ok(Value::Array(elements))
}

fn same_element(one: &Value, other: &Value) -> bool {
    match (one.get("value"), other.get("value")) {
        (Some(a), Some(b)) => same_text(a, b) && same_text_or_none(one.get("type"), other.get("type")),
        _ => one == other,
    }
}

fn same_text_or_none(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(a), Some(b)) => same_text(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_text(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(a), Value::String(b)) => fold::same(a, b),
        (a, b) => a == b,
    }
}

fn clear_primary(elements: &mut [Value]) {
    for element in elements {
        if let Some(primary) = element.get_mut("primary") {
            *primary = Value::Bool(false);
        }
    }
}

/// `remove` with a value: Entra ID's form (see `quirks`).
fn remove_values(
    held: Option<Value>,
    attribute: &Attribute,
    value: Value,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    let Some(Value::Array(unwanted)) = attribute_value(attribute, value, &attribute.name, profile)? else {
        return Ok(held);
    };
    let same = |element: &Value, other: &Value| match (element.get("value"), other.get("value")) {
        (Some(a), Some(b)) => {
            same_text(a, b)
                && (other.get("type").is_none() || same_text_or_none(element.get("type"), other.get("type")))
        }
        _ => element == other,
    };
    let mut elements = elements_of(held);
    elements.retain(|element| !unwanted.iter().any(|other| same(element, other)));
    Ok((!elements.is_empty()).then_some(Value::Array(elements)))
}

fn sub_attribute<'a>(attribute: &'a Attribute, sub: &str) -> Result<Option<&'a Attribute>, Error> {
    if attribute.data_type != Type::Complex {
        return Err(Error::invalid_path(format!("{} has no sub-attributes.", attribute.name)));
    }
    Ok(attribute.sub(sub))
}

/// Sets or takes away one sub-attribute of one object.
fn set_sub(
    object: &mut Map<String, Value>,
    attribute: &Attribute,
    verb: Verb,
    sub: &str,
    value: Value,
    profile: Profile,
) -> Result<(), Error> {
    let known = sub_attribute(attribute, sub)?;
    if let Some(known) = known.filter(|known| known.mutability == Mutability::ReadOnly) {
        return Err(Error::mutability(format!("{}.{} is read-only.", attribute.name, known.name)));
    }
    let name = known.map_or(sub, |known| known.name.as_str());
    let made = match (verb, known) {
        (Verb::Remove, _) => None,
        (_, Some(known)) => attribute_value(known, value, &format!("{}.{name}", attribute.name), profile)?,
        (_, None) => {
            quirks::takes_unknown_attributes(&format!("{}.{name}", attribute.name), profile)?;
            clean(value)?
        }
    };
    match made {
        Some(made) => object.insert(name.to_owned(), made),
        None => object.shift_remove(name),
    };
    Ok(())
}

fn by_sub_attribute(
    held: Option<Value>,
    attribute: &Attribute,
    verb: Verb,
    sub: &str,
    value: Value,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    if !attribute.multi_valued {
        let mut object = match held {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        set_sub(&mut object, attribute, verb, sub, value, profile)?;
        return Ok((!object.is_empty()).then_some(Value::Object(object)));
    }
    let mut elements = elements_of(held);
    if elements.is_empty() && verb != Verb::Remove {
        elements.push(Value::Object(Map::new()));
    }
    change_elements(&mut elements, |_| true, attribute, verb, sub, &value, profile)?;
    Ok(kept(elements))
}

/// Applies a sub-attribute's change to the chosen elements; gives how many there were.
fn change_elements(
    elements: &mut [Value],
    chosen: impl Fn(&Value) -> bool,
    attribute: &Attribute,
    verb: Verb,
    sub: &str,
    value: &Value,
    profile: Profile,
) -> Result<usize, Error> {
    let makes_primary = verb != Verb::Remove
        && sub.eq_ignore_ascii_case("primary")
        && (value == &Value::Bool(true)
            || value.as_str().and_then(|text| quirks::boolean_from_text(text, profile)) == Some(true));
    let picked: Vec<bool> = elements.iter().map(chosen).collect();
    let count = picked.iter().filter(|picked| **picked).count();
    if makes_primary && count > 0 {
        clear_primary(elements);
    }
    for (element, _) in elements.iter_mut().zip(&picked).filter(|(_, picked)| **picked) {
        if let Value::Object(object) = element {
            set_sub(object, attribute, verb, sub, value.clone(), profile)?;
        }
    }
    Ok(count)
}

/// What is left of the elements; those that are empty are gone.
fn kept(mut elements: Vec<Value>) -> Option<Value> {
    elements.retain(|element| element.as_object().is_none_or(|object| !object.is_empty()));
    (!elements.is_empty()).then_some(Value::Array(elements))
}

/// Drops what is left without a value where there should be one. Only at the end of a request: Entra ID sends an
/// element bit by bit, and its value need not come first.
pub(super) fn prune(holder: &mut Map<String, Value>, attributes: &[Attribute]) {
    let carriers =
        attributes.iter().filter(|attribute| attribute.multi_valued && attribute.sub("value").is_some());
    for attribute in carriers {
        let Some(Value::Array(elements)) = holder.get_mut(&attribute.name) else { continue };
        elements.retain(|element| element.as_object().is_none_or(|object| object.contains_key("value")));
        if elements.is_empty() {
            holder.shift_remove(&attribute.name);
        }
    }
}

fn by_filter(
    held: Option<Value>,
    attribute: &Attribute,
    verb: Verb,
    filter: &Filter,
    sub: Option<&str>,
    value: Value,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    let bound =
        predicate::bind_element(filter, attribute).map_err(|error| Error::invalid_path(error.detail))?;
    let single = !attribute.multi_valued;
    let mut elements = elements_of(held);
    let chosen = |element: &Value| matching::matches(&bound, element);
    let count = match (verb, sub) {
        (_, Some(sub)) => change_elements(&mut elements, chosen, attribute, verb, sub, &value, profile)?,
        (Verb::Remove, None) => {
            let before = elements.len();
            elements.retain(|element| !chosen(element));
            before - elements.len()
        }
        (Verb::Add | Verb::Replace, None) => {
            put_elements(&mut elements, chosen, attribute, verb, &value, profile)?
        }
    };
    if count == 0 {
        match (verb, sub, quirks::element_described_by(filter, profile)) {
            (Verb::Add | Verb::Replace, Some(sub), Some(described)) if !single => {
                let made = made_element(described, attribute, verb, sub, value, &elements, profile)?;
                elements.push(made);
            }
            (Verb::Add, None, Some(described)) if !single => {
                let mut element = Value::Object(described);
                if let Some(Value::Object(value)) = single_value(attribute, value, &attribute.name, profile)?
                {
                    merge(&mut element, value);
                }
                let element = single_value(attribute, element, &attribute.name, profile)?;
                let added = element.into_iter().collect();
                return add_elements(Some(Value::Array(elements)), added, &attribute.name).map(Some);
            }
            _ => {
                return Err(Error::no_target(format!(
                    "No value of {} fulfils the filter of the path.",
                    attribute.name
                )));
            }
        }
    }
    if single {
        return Ok(elements.pop().filter(|value| value.as_object().is_none_or(|object| !object.is_empty())));
    }
    Ok(kept(elements))
}

/// The element that `emails[type eq "work"].value` describes, with the value in it.
fn made_element(
    described: Map<String, Value>,
    attribute: &Attribute,
    verb: Verb,
    sub: &str,
    value: Value,
    others: &[Value],
    profile: Profile,
) -> Result<Value, Error> {
    let mut element = match single_value(attribute, Value::Object(described), &attribute.name, profile)? {
        Some(Value::Object(element)) => element,
        _ => Map::new(),
    };
    set_sub(&mut element, attribute, verb, sub, value, profile)?;
    // Where the one there is primary, the new one is not: it did not ask to take its place.
    if others.iter().any(|other| other.get("primary") == Some(&Value::Bool(true))) {
        element.shift_remove("primary");
    }
    Ok(Value::Object(element))
}

/// `replace` puts the value in the place of each chosen element, `add` merges it in.
fn put_elements(
    elements: &mut Vec<Value>,
    chosen: impl Fn(&Value) -> bool,
    attribute: &Attribute,
    verb: Verb,
    value: &Value,
    profile: Profile,
) -> Result<usize, Error> {
    let made = single_value(attribute, value.clone(), &attribute.name, profile)?;
    let picked: Vec<bool> = elements.iter().map(chosen).collect();
    let count = picked.iter().filter(|picked| **picked).count();
    if count > 0 && made.as_ref().is_some_and(|made| made.get("primary") == Some(&Value::Bool(true))) {
        clear_primary(elements);
    }
    let mut changed = Vec::with_capacity(elements.len());
    for (element, picked) in std::mem::take(elements).into_iter().zip(picked) {
        match (picked, &made) {
            (false, _) => changed.push(element),
            (true, None) if value.as_object().is_some_and(|object| !object.is_empty()) => {
                // Nothing but nulls: those sub-attributes go, the element stays.
                let mut element = element;
                drop_unassigned(&mut element, attribute, value);
                changed.push(element);
            }
            (true, None) if verb == Verb::Add => changed.push(element),
            (true, None) => {}
            (true, Some(Value::Object(object))) if verb == Verb::Add => {
                let mut element = element;
                drop_unassigned(&mut element, attribute, value);
                merge(&mut element, object.clone());
                changed.push(element);
            }
            (true, Some(made)) => changed.push(made.clone()),
        }
    }
    *elements = changed;
    Ok(count)
}

/// Changes an attribute that no schema knows: it is what the client makes it.
pub(super) fn change_unknown(
    holder: &mut Map<String, Value>,
    verb: Verb,
    path: &PatchPath,
    value: Value,
) -> Result<(), Error> {
    let name = &path.attr.name;
    if verb != Verb::Remove {
        // As in POST: what is stored can be put back.
        check_key(name)?;
        path.attr.sub.as_deref().map_or(Ok(()), check_key)?;
    }
    if path.filter.is_some() {
        return Err(Error::invalid_path(format!(
            "{name} is in no schema, so a filter cannot choose among its values."
        )));
    }
    let key =
        holder.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned().unwrap_or_else(|| name.clone());
    match &path.attr.sub {
        Some(sub) => {
            let mut inside = match holder.shift_remove(&key) {
                Some(Value::Object(inside)) => inside,
                None => Map::new(),
                Some(_) => return Err(Error::invalid_path(format!("{name} has no sub-attributes."))),
            };
            match clean(value)?.filter(|_| verb != Verb::Remove) {
                Some(value) => inside.insert(sub.clone(), value),
                None => inside.shift_remove(sub),
            };
            if !inside.is_empty() {
                holder.insert(key, Value::Object(inside));
            }
        }
        None => match (verb, clean(value)?) {
            (Verb::Remove, _) | (_, None) => {
                holder.shift_remove(&key);
            }
            (Verb::Add, Some(Value::Array(added))) if holder.get(&key).is_some_and(Value::is_array) => {
                let held = holder.shift_remove(&key);
                let made = add_elements(held, added, name)?;
                holder.insert(key, made);
            }
            (Verb::Add | Verb::Replace, Some(value)) => {
                holder.insert(key, value);
            }
        },
    }
    Ok(())
}

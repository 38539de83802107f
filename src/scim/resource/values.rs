//! A value as its attribute's type wants it (RFC 7643 §2.3 and §2.4), in the one form in which it is stored. What a
//! resource is made of, and what no schema knows, is told in `resource`.

use serde_json::{Map, Value};

use crate::scim::resource::bounds::check_text;
use crate::scim::resource::{check_count, check_key, clean, in_order, insert_once, is_password};
use crate::scim::schema::{Attribute, Mutability, Type};
use crate::scim::{Error, Profile, datetime, quirks, rules};

/// A value of a known attribute, made canonical; `None` when it is unassigned (RFC 7643 §2.5: null and the
/// empty list; here the empty string as well). `place` names the attribute in refusals.
///
/// # Errors
/// 400 `invalidValue` when the value does not fit the type.
pub fn attribute_value(
    attribute: &Attribute,
    value: Value,
    place: &str,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    if !attribute.multi_valued {
        return single_value(attribute, value, place, profile);
    }
    let elements = match value {
        Value::Array(elements) => elements,
        Value::Null => return Ok(None),
        one => {
            quirks::takes_one_for_many(&one, place, profile)?;
            vec![one]
        }
    };
    check_count(elements.len(), place)?;
    let carries_value = attribute.sub("value").is_some();
    let mut made: Vec<Value> = Vec::with_capacity(elements.len());
    for element in elements {
        if let Some(element) = single_value(attribute, element, place, profile)? {
            let empty = carries_value && element.get("value").is_none();
            if !empty {
                made.push(element);
            }
        }
    }
    without_repeats(&mut made);
    check_primary(&made, place)?;
    Ok((!made.is_empty()).then_some(Value::Array(made)))
}

/// Takes elements away that are there already.
fn without_repeats(elements: &mut Vec<Value>) {
    if elements.len() < 2 {
        return;
    }
    let mut seen = std::collections::HashSet::with_capacity(elements.len());
    let mut first = elements.iter().map(|element| seen.insert(element)).collect::<Vec<bool>>().into_iter();
    elements.retain(|_| first.next().unwrap_or(true));
}

/// A single value, or one element of a multi-valued attribute.
///
/// # Errors
/// 400 `invalidValue` when the value does not fit the type.
pub fn single_value(
    attribute: &Attribute,
    value: Value,
    place: &str,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    if attribute.data_type == Type::Complex {
        return complex_value(attribute, value, place, profile);
    }
    let expected = match (attribute.data_type, value) {
        (_, Value::Null) => return Ok(None),
        (Type::Boolean, Value::Bool(flag)) => return Ok(Some(Value::Bool(flag))),
        (_, Value::String(text)) => return text_value(attribute, text, place, profile),
        (Type::String | Type::Reference, Value::Number(number)) if quirks::takes_numbers_as_text(profile) => {
            return Ok(Some(Value::String(number.to_string())));
        }
        (Type::Integer, Value::Number(number)) if number.is_i64() => return Ok(Some(Value::Number(number))),
        (Type::Decimal, Value::Number(number)) => return Ok(Some(Value::Number(number))),
        (_, Value::Array(list)) if list.is_empty() => return Ok(None),
        (Type::Boolean, _) => "true or false",
        (Type::Integer, _) => "a whole number",
        (Type::Decimal, _) => "a number",
        (Type::DateTime, _) => "a date and time such as \"2026-01-31T12:00:00Z\"",
        (Type::String | Type::Reference | Type::Binary | Type::Complex, _) => "a string",
    };
    Err(Error::invalid_value(format!("{place} must be {expected}.")))
}

fn text_value(
    attribute: &Attribute,
    text: String,
    place: &str,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    check_text(&text, place)?;
    let data_type = attribute.data_type;
    let made = match data_type {
        Type::String => {
            quirks::takes_other_values(attribute, &text, place, profile)?;
            Some(Value::String(text))
        }
        Type::Reference => {
            quirks::takes_loose_references(attribute, &text, place, profile)?;
            Some(Value::String(text))
        }
        Type::Binary => rules::is_base64(&text, profile.is_strict()).then_some(Value::String(text)),
        Type::Boolean => quirks::boolean_from_text(&text, profile).map(Value::Bool),
        Type::Integer => quirks::number_from_text::<i64>(&text, profile).map(Value::from),
        Type::Decimal => quirks::number_from_text::<serde_json::Number>(&text, profile).map(Value::Number),
        Type::DateTime => datetime::parse(&text).is_some().then_some(Value::String(text)),
        Type::Complex => None,
    };
    let expected = match data_type {
        Type::Boolean => "true or false",
        Type::Integer => "a whole number",
        Type::Decimal => "a number",
        Type::DateTime => "a date and time such as \"2026-01-31T12:00:00Z\"",
        Type::Binary => "base64",
        Type::String | Type::Reference | Type::Complex => "a string",
    };
    made.map(Some).ok_or_else(|| Error::invalid_value(format!("{place} must be {expected}.")))
}

fn complex_value(
    attribute: &Attribute,
    value: Value,
    place: &str,
    profile: Profile,
) -> Result<Option<Value>, Error> {
    let object = match value {
        Value::Null => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) if attribute.sub("value").is_some() && quirks::takes_plain_values(profile) => {
            quirks::plain_value(text)
        }
        Value::Array(mut list) if list.len() == 1 && quirks::takes_lists_of_one(profile) => {
            // Only the list is forgiven: one inside of it is none of the attribute's forms.
            return match list.pop() {
                Some(one @ (Value::Object(_) | Value::String(_))) => {
                    complex_value(attribute, one, place, profile)
                }
                _ => Err(no_object(place)),
            };
        }
        Value::Object(object) => object,
        _ => return Err(no_object(place)),
    };
    let mut made = Map::new();
    for (key, value) in object {
        if is_password(&key) {
            continue;
        }
        let (name, value) = match attribute.sub(&key) {
            // RFC 7644 §3.3 and §3.5.1: what is read-only is passed over.
            Some(sub) if sub.mutability == Mutability::ReadOnly => continue,
            Some(sub) => {
                let place = format!("{place}.{}", sub.name);
                (sub.name.clone(), attribute_value(sub, value, &place, profile)?)
            }
            None => {
                check_key(&key)?;
                quirks::takes_unknown_attributes(&format!("{place}.{key}"), profile)?;
                (key.clone(), clean(value)?)
            }
        };
        if let Some(value) = value {
            insert_once(&mut made, name, value, &key)?;
        }
    }
    Ok((!made.is_empty()).then(|| Value::Object(in_order(made, &attribute.sub_attributes))))
}

fn no_object(place: &str) -> Error {
    Error::invalid_value(format!("{place} must be a JSON object."))
}

/// At most one element is primary (RFC 7643 §2.4).
///
/// # Errors
/// 400 `invalidValue` when there are more.
pub fn check_primary(elements: &[Value], place: &str) -> Result<(), Error> {
    let primary =
        elements.iter().filter(|element| element.get("primary") == Some(&Value::Bool(true))).count();
    if primary > 1 {
        return Err(Error::invalid_value(format!("Only one of {place} may be primary.")));
    }
    Ok(())
}

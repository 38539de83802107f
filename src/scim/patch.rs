//! PATCH (RFC 7644 §3.5.2): operations to a new document, or to an error and no change at all. How they are read from a
//! PatchOp message stands in `patch::message`.
//!
//! A group's members are no part of its document: they may be a hundred thousand. Operations on them come out
//! as [`MemberChange`]s, in order, for the store to carry out row by row. How one attribute is changed in place
//! stands in `patch::target`.

use serde_json::{Map, Value};

use crate::scim::filter::{AttrPath, Bounds};
use crate::scim::path::PatchPath;
use crate::scim::resource;
use crate::scim::schema::{Attribute, Mutability, ResourceSchema};
use crate::scim::{Error, Kind, Profile, quirks, rules};

mod effort;
mod members;
mod message;
mod target;

pub use effort::Effort;
pub use members::MemberChange;
pub use message::{PATCH_URN, PatchOperation, Verb, parse};

use members::member_change;

/// What a PATCH makes of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The new document, complete.
    pub doc: Map<String, Value>,
    /// Changes of members, in order.
    pub members: Vec<MemberChange>,
}

/// Applies the operations in order to a stored document.
///
/// # Errors
/// The RFC's error for the first operation that cannot be carried out, 413 when together they take more than the
/// `effort` left; nothing is then changed, since the document handed in is consumed and none comes out.
pub fn apply(
    operations: Vec<PatchOperation>,
    doc: Map<String, Value>,
    schema: &ResourceSchema,
    bounds: Bounds,
    profile: Profile,
    effort: &mut Effort,
) -> Result<Patched, Error> {
    // A document may be large, and most schemas have nothing that is immutable.
    let held = schema.has_immutable.then(|| doc.clone());
    let mut patching =
        Patching { schema, bounds, profile, effort, result: Patched { doc, members: Vec::new() } };
    for operation in operations {
        match operation.path {
            Some(path) => patching.at_path(operation.verb, &path, operation.value)?,
            None => patching.at_resource(operation.verb, operation.value)?,
        }
    }
    let doc = &mut patching.result.doc;
    target::prune(doc, &schema.core.attributes);
    for extension in &schema.extensions {
        if let Some(Value::Object(inside)) = doc.get_mut(&extension.id) {
            target::prune(inside, &extension.attributes);
        }
    }
    if let Some(held) = held {
        rules::keep_immutable(&held, doc, schema, rules::Missing::Refused)?;
    }
    resource::finish(doc, schema)?;
    Ok(patching.result)
}

/// The password that the operations set, or take away; the last one counts.
///
/// # Errors
/// 400 `invalidValue` when it is no string.
pub fn password_of(operations: &[PatchOperation]) -> Result<Option<Option<String>>, Error> {
    let mut password = None;
    for operation in operations {
        let value = match (&operation.path, &operation.value) {
            (Some(path), value) if path.attr.name.eq_ignore_ascii_case("password") => {
                let taken = if operation.verb == Verb::Remove { None } else { value.clone() };
                Some(taken.unwrap_or(Value::Null))
            }
            (None, Some(Value::Object(object))) => object
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case("password"))
                .map(|(_, value)| value.clone()),
            _ => None,
        };
        if let Some(value) = value {
            password = Some(resource::password_from(value)?);
        }
    }
    Ok(password)
}

struct Patching<'a> {
    schema: &'a ResourceSchema,
    bounds: Bounds,
    profile: Profile,
    effort: &'a mut Effort,
    result: Patched,
}

impl Patching<'_> {
    /// An operation without a path: its value names the attributes. Keys may be dotted or carry a URN, as Entra
    /// ID sends them (sourcegraph #48430).
    fn at_resource(&mut self, verb: Verb, value: Option<Value>) -> Result<(), Error> {
        if verb == Verb::Remove {
            return Err(Error::no_target("An operation remove needs a path."));
        }
        let Some(Value::Object(value)) = value else {
            return Err(Error::invalid_value(
                "An operation without a path needs an object of attributes as value.",
            ));
        };
        for (key, value) in value {
            if key.eq_ignore_ascii_case("schemas") || self.is_read_only(&key) {
                continue;
            }
            if self.schema.is_core(&key) && quirks::takes_names_of_paths(self.profile) {
                self.at_resource(verb, Some(value))?;
                continue;
            }
            if let Some(urn) = self.whole_extension(&key, &value) {
                self.at_extension(verb, &urn, value)?;
            } else if self.schema.attribute(&key).is_some() {
                self.at_path(verb, &attribute_path(&key), Some(value))?;
            } else if key.contains(['.', '[', ':']) && quirks::takes_names_of_paths(self.profile) {
                let path = PatchPath::parse(&key, self.bounds)?;
                self.at_path(verb, &path, Some(value))?;
            } else {
                self.at_unknown(verb, &key, Some(value))?;
            }
        }
        Ok(())
    }

    /// Whether a key of a value names something that is ours alone.
    fn is_read_only(&self, key: &str) -> bool {
        quirks::passes_over_read_only_in_values(self.profile)
            && self
                .schema
                .attribute(key)
                .is_some_and(|attribute| attribute.mutability == Mutability::ReadOnly)
    }

    /// The canonical URN when a key addresses an extension as a whole.
    fn whole_extension(&self, key: &str, value: &Value) -> Option<String> {
        if !resource::is_urn(key) || self.schema.is_core(key) {
            return None;
        }
        if let Some(known) = self.schema.extension(key) {
            return Some(known.id.clone());
        }
        let of_known = |id: &str| key.get(..id.len()).is_some_and(|start| start.eq_ignore_ascii_case(id));
        let inside_known = of_known(&self.schema.core.id)
            || self.schema.extensions.iter().any(|extension| of_known(&extension.id));
        (!inside_known && value.is_object()).then(|| self.as_held(key))
    }

    /// A URN in the case in which the document holds it: URNs are compared without it (RFC 7643 §2.1), so one that no
    /// schema knows must not become a second extension.
    fn as_held(&self, urn: &str) -> String {
        let doc = &self.result.doc;
        let held =
            if doc.contains_key(urn) { None } else { doc.keys().find(|key| key.eq_ignore_ascii_case(urn)) };
        held.map_or_else(|| urn.to_owned(), String::clone)
    }

    /// An extension as a whole: what its value names is changed, and nothing else.
    fn at_extension(&mut self, verb: Verb, urn: &str, value: Value) -> Result<(), Error> {
        let unassigned = value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
        match (verb, value) {
            (Verb::Remove, _) => {
                self.result.doc.shift_remove(urn);
            }
            (Verb::Replace, _) if unassigned => {
                self.result.doc.shift_remove(urn);
            }
            (Verb::Add, _) if unassigned => {}
            (_, Value::Object(object)) => {
                for (key, value) in object {
                    let path = PatchPath {
                        attr: AttrPath { urn: Some(urn.to_owned()), name: key, sub: None },
                        filter: None,
                    };
                    self.inside(verb, &path, urn, value)?;
                }
            }
            (_, value) => {
                if let Some(made) =
                    resource::extension_value(urn, value, self.schema.extension(urn), self.profile)?
                {
                    self.result.doc.insert(urn.to_owned(), made);
                }
            }
        }
        Ok(())
    }

    fn at_path(&mut self, verb: Verb, path: &PatchPath, value: Option<Value>) -> Result<(), Error> {
        if verb != Verb::Remove && value.is_none() {
            return Err(Error::invalid_value("An operation add or replace needs a value."));
        }
        // Finding and taking out an attribute walks the others.
        self.effort.spend(1 + effort::in_steps(self.result.doc.len() / 16))?;
        let schema = self.schema;
        let urn = path.attr.urn.as_deref().filter(|urn| !schema.is_core(urn));
        match urn {
            Some(urn) => self.at_urn(verb, path, urn, value),
            None => match schema.attribute(&path.attr.name) {
                Some(attribute) => self.at_attribute(verb, path, attribute, value),
                None => match self.extension_of_bare_name(&path.attr.name) {
                    Some(urn) => self.inside(verb, path, urn, value.unwrap_or(Value::Null)),
                    None => self.at_unknown_path(verb, path, value),
                },
            },
        }
    }

    /// The extension of an attribute that a client names without it; what is kept under that name itself wins.
    fn extension_of_bare_name(&self, name: &str) -> Option<&'static str> {
        let urn = quirks::extension_of_bare_name(name, self.profile)?;
        (self.schema.extension(urn).is_some() && !self.result.doc.contains_key(name)).then_some(urn)
    }

    /// A path below a URN: an attribute of an extension, or the extension as a whole.
    fn at_urn(&mut self, verb: Verb, path: &PatchPath, urn: &str, value: Option<Value>) -> Result<(), Error> {
        let schema = self.schema;
        resource::check_urn(urn).map_err(as_path_error)?;
        let (urn, whole) = (&*self.as_held(urn), self.as_held(&whole_urn(path)));
        // Only a URN names an extension: what else has a colon would be kept as an attribute of that name, and be
        // read as another one when it is put back.
        let known = schema.extension(urn).is_some() || schema.extension(&whole).is_some();
        if !known && (!resource::is_urn(urn) || schema.ids().any(|id| resource::below(urn, id).is_some())) {
            return Err(Error::invalid_path(
                "What stands before the colon of a path must be a schema's URN.",
            ));
        }
        if schema.is_core(&whole) && path.filter.is_none() {
            return self.at_resource(verb, value);
        }
        let value = value.unwrap_or(Value::Null);
        if path.filter.is_none() {
            let known = schema.extension(&whole).map(|known| known.id.clone());
            let unknown = || {
                let held = self.result.doc.contains_key(&whole);
                (held || path.attr.name.is_empty() || value.is_object() && !self.result.doc.contains_key(urn))
                    .then(|| whole.clone())
            };
            let known_prefix = schema.extension(urn).is_some();
            if let Some(whole) = known.or_else(|| if known_prefix { None } else { unknown() }) {
                return self.at_extension(verb, &whole, value);
            }
        }
        self.inside(verb, path, urn, value)
    }

    /// An attribute of an extension.
    fn inside(&mut self, verb: Verb, path: &PatchPath, urn: &str, value: Value) -> Result<(), Error> {
        let known = self.schema.extension(urn);
        let repeats = known.is_some() && quirks::repeats_the_extension(&path.attr.name);
        if resource::is_password(&path.attr.name) || repeats {
            return Ok(());
        }
        let name = known.map_or_else(|| urn.to_owned(), |known| known.id.clone());
        // The whole of the extension is checked anew with each change.
        let held = self.result.doc.get(&name);
        self.effort.spend(held.map_or(1, effort::size) + effort::size(&value))?;
        let mut inside = match self.result.doc.shift_remove(&name) {
            Some(Value::Object(inside)) => inside,
            _ => Map::new(),
        };
        match known.and_then(|known| known.attribute(&path.attr.name)) {
            Some(attribute) => {
                refuse_read_only(attribute)?;
                spend_on_change(self.effort, inside.get(&attribute.name), verb, path, &value)?;
                target::change(&mut inside, attribute, verb, path, value, self.profile)?;
                check_removal(&inside, attribute, verb)?;
            }
            None => {
                quirks::takes_unknown_attributes(&path.attr.to_string(), self.profile)
                    .map_err(as_path_error)?;
                target::change_unknown(&mut inside, verb, path, value)?;
            }
        }
        if !inside.is_empty() {
            // Checks the URN, and orders what is inside.
            if let Some(inside) =
                resource::extension_value(&name, Value::Object(inside), known, self.profile)?
            {
                self.result.doc.insert(name, inside);
            }
        }
        Ok(())
    }

    fn at_attribute(
        &mut self,
        verb: Verb,
        path: &PatchPath,
        attribute: &Attribute,
        value: Option<Value>,
    ) -> Result<(), Error> {
        if attribute.name == "schemas" {
            return Ok(()); // Computed from what the document holds.
        }
        refuse_read_only(attribute)?;
        if self.schema.kind == Kind::Group && attribute.name == "members" {
            let change = member_change(verb, path, attribute, value, self.profile)?;
            self.result.members.extend(change);
            return Ok(());
        }
        if attribute.name == "password" {
            return Ok(()); // Never part of a document: see `password_of`.
        }
        let doc = &mut self.result.doc;
        let value = value.unwrap_or(Value::Null);
        let held = doc.get(&attribute.name);
        spend_on_change(self.effort, held, verb, path, &value)?;
        let before = held.filter(|_| attribute.name == "active").cloned();
        target::change(doc, attribute, verb, path, value, self.profile)?;
        if !doc.contains_key(&attribute.name) {
            check_removal(doc, attribute, verb)?;
            // Null says nothing about who may log in, so `active` stays what it was. Removed by name it is gone,
            // and with it the right to log in.
            if let Some(before) = before.filter(|_| verb != Verb::Remove) {
                doc.insert(attribute.name.clone(), before);
            }
        }
        Ok(())
    }

    fn at_unknown(&mut self, verb: Verb, key: &str, value: Option<Value>) -> Result<(), Error> {
        quirks::takes_unknown_attributes(key, self.profile)?;
        self.at_unknown_path(verb, &attribute_path(key), value)
    }

    /// An attribute that no schema knows is kept as in POST and PUT.
    fn at_unknown_path(&mut self, verb: Verb, path: &PatchPath, value: Option<Value>) -> Result<(), Error> {
        if resource::is_password(&path.attr.name)
            || path.attr.sub.as_deref().is_some_and(resource::is_password)
        {
            return Ok(());
        }
        quirks::takes_unknown_attributes(&path.attr.to_string(), self.profile).map_err(as_path_error)?;
        let value = value.unwrap_or(Value::Null);
        spend_on_change(self.effort, self.result.doc.get(&path.attr.name), verb, path, &value)?;
        target::change_unknown(&mut self.result.doc, verb, path, value)
    }
}

/// Counts what changing the attribute that is `held` will take at most.
fn spend_on_change(
    effort: &mut Effort,
    held: Option<&Value>,
    verb: Verb,
    path: &PatchPath,
    value: &Value,
) -> Result<(), Error> {
    let there = effort::in_steps(held.and_then(Value::as_array).map_or(1, Vec::len));
    let sent = effort::size(value);
    let steps = match (&path.filter, &path.attr.sub, verb) {
        // Each element is looked at, and may get a copy of the value.
        (Some(filter), _, _) => there.saturating_mul(effort::comparisons(filter).saturating_add(sent)),
        (None, Some(_), _) => there.saturating_mul(1 + sent),
        (None, None, Verb::Replace) => there + sent,
        // Each element that is sent is compared with each that is there.
        (None, None, Verb::Add | Verb::Remove) => {
            let elements = effort::in_steps(value.as_array().map_or(1, Vec::len));
            there.saturating_mul(elements).saturating_add(sent)
        }
    };
    effort.spend(steps)
}

/// The path that a bare attribute name is.
fn attribute_path(name: &str) -> PatchPath {
    PatchPath { attr: AttrPath { urn: None, name: name.to_owned(), sub: None }, filter: None }
}

/// The URN that a path would be if it addressed an extension as a whole: whether the text after the last colon
/// is an attribute or the end of a URN only the schemas can tell.
fn whole_urn(path: &PatchPath) -> String {
    path.attr.to_string()
}

fn refuse_read_only(attribute: &Attribute) -> Result<(), Error> {
    if attribute.mutability != Mutability::ReadOnly {
        return Ok(());
    }
    Err(Error::mutability(match attribute.name.as_str() {
        "groups" => "groups of a user is read-only; change the members of the group instead.".to_owned(),
        name => format!("{name} is read-only."),
    }))
}

/// What is required must be there after the operation.
fn check_removal(holder: &Map<String, Value>, attribute: &Attribute, verb: Verb) -> Result<(), Error> {
    if !attribute.required || holder.contains_key(&attribute.name) {
        return Ok(());
    }
    Err(match verb {
        Verb::Remove => Error::mutability(format!("{} is required and cannot be removed.", attribute.name)),
        Verb::Add | Verb::Replace => Error::invalid_value(format!("{} must have a value.", attribute.name)),
    })
}

/// A filter inside a path that cannot be bound is a fault of the path (RFC 7644 §3.5.2).
fn as_path_error(error: Error) -> Error {
    Error::invalid_path(error.detail)
}

#[cfg(test)]
mod tests;

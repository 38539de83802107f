//! A user as cells of a table, and the columns that a table needs for all of them.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::cli::attributes::{only_type, plain};
use crate::scim::schema::ResourceSchema;

/// The columns that come first, where they are needed.
const FIRST: [&str; 9] = [
    "id",
    "userName",
    "externalId",
    "active",
    "displayName",
    "name.givenName",
    "name.familyName",
    "emails[type eq \"work\"].value",
    "emails[type eq \"work\"].primary",
];

/// What the table is to hold, learned from every user that goes into it.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// In the order in which they were met.
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// Lists that do not tell their values apart by type: each is one cell of JSON.
    whole: HashSet<String>,
    /// Attributes that no schema knows, and that a column could not give back.
    pub(super) left_out: HashSet<String>,
}

impl Columns {
    /// Learns what a user needs.
    pub(super) fn learn(&mut self, user: &Value, schema: &ResourceSchema) {
        let mut lists = Vec::new();
        let mut left_out = Vec::new();
        each(user, schema, |path, value, known| match value {
            _ if !known => left_out.push(path.to_owned()),
            Value::Array(elements) if !elements.iter().all(|element| is_told_by_type(element, elements)) => {
                lists.push(path.to_owned());
            }
            _ => {}
        });
        self.whole.extend(lists);
        self.left_out.extend(left_out);
        for (name, _) in self.cells(user, schema) {
            if !self.places.contains_key(&name) {
                self.places.insert(name.clone(), self.names.len());
                self.names.push(name);
            }
        }
    }

    /// The headings, now that all is known: what is a whole list has no columns for its parts.
    pub(super) fn headings(&mut self) -> Vec<String> {
        let is_part = |name: &String| name.split_once('[').is_some_and(|(list, _)| self.whole.contains(list));
        let mut names: Vec<String> = FIRST
            .iter()
            .map(|name| (*name).to_owned())
            .filter(|name| self.places.contains_key(name))
            .collect();
        names.extend(self.names.iter().filter(|name| !FIRST.contains(&name.as_str())).cloned());
        names.retain(|name| !is_part(name));
        for list in &self.whole {
            if !names.contains(list) {
                names.push(list.clone());
            }
        }
        self.places = names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        names
    }

    /// The cells of a user under those headings.
    pub(super) fn row(&self, user: &Value, schema: &ResourceSchema) -> Vec<String> {
        let mut row = vec![String::new(); self.places.len()];
        for (name, value) in self.cells(user, schema) {
            if let Some(cell) = self.places.get(&name).and_then(|place| row.get_mut(*place)) {
                *cell = value;
            }
        }
        row
    }

    fn cells(&self, user: &Value, schema: &ResourceSchema) -> Vec<(String, String)> {
        let mut cells = Vec::new();
        each(user, schema, |path, value, known| match value {
            _ if !known => {}
            Value::Object(parts) => {
                cells.extend(parts.iter().map(|(part, value)| (format!("{path}.{part}"), plain(value))));
            }
            Value::Array(_) if self.whole.contains(path) => cells.push((path.to_owned(), value.to_string())),
            Value::Array(elements) => {
                for element in elements.iter().filter_map(Value::as_object) {
                    for (part, value) in element.iter().filter(|(part, _)| *part != "type") {
                        let kind = json!(element["type"]);
                        cells.push((format!("{path}[type eq {kind}].{part}"), plain(value)));
                    }
                }
            }
            single => cells.push((path.to_owned(), plain(single))),
        });
        cells
    }
}

/// Each attribute that can be imported again, by the shortest name that `user set` takes; whether a schema knows it.
fn each(user: &Value, schema: &ResourceSchema, mut each: impl FnMut(&str, &Value, bool)) {
    for (name, value) in user.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("schemas" | "members" | "meta" | "groups", _) => {}
            ("id", id) => each("id", id, true),
            (urn, Value::Object(parts)) if urn.contains(':') => {
                for (part, value) in parts {
                    let known = schema.extension(urn).is_some_and(|known| known.attribute(part).is_some());
                    match is_short(part, schema) {
                        true => each(part, value, known),
                        false => each(&format!("{urn}:{part}"), value, known),
                    }
                }
            }
            (name, value) => each(name, value, schema.attribute(name).is_some()),
        }
    }
}

/// Whether an attribute of an extension is meant by its name alone.
fn is_short(name: &str, schema: &ResourceSchema) -> bool {
    schema.attribute(name).is_none()
        && schema.extensions.iter().filter(|extension| extension.attribute(name).is_some()).count() == 1
}

/// Whether a value of a list has a column for each of its parts.
fn is_told_by_type(element: &Value, elements: &[Value]) -> bool {
    let is_plain = |parts: &Map<String, Value>| {
        parts.len() > 1 && parts.values().all(|part| !part.is_object() && !part.is_array())
    };
    let is_word =
        |kind: &str| !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    element.as_object().is_some_and(is_plain) && only_type(element, elements).is_some_and(is_word)
}

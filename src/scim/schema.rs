//! What attributes there are and how each behaves (RFC 7643 §2, §3.1, §7), read from `schema/scim/*.json`.
//!
//! These files are the single source for validation, filters, PATCH, projection and `/Schemas`. What a value
//! must look like is told here; that a value does look so is checked in `resource`.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::scim::Kind;

/// The URN of the User schema, RFC 7643 §4.1.
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The URN of the Group schema, RFC 7643 §4.2.
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The URN of the Enterprise User extension, RFC 7643 §4.3.
pub const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// A data type of RFC 7643 §2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Type {
    /// A Unicode string.
    String,
    /// `true` or `false`.
    Boolean,
    /// A number with or without a fraction.
    Decimal,
    /// A whole number.
    Integer,
    /// An `xsd:dateTime`.
    DateTime,
    /// Base64.
    Binary,
    /// A URI.
    Reference,
    /// Sub-attributes.
    Complex,
}

/// RFC 7643 §2.2, `mutability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mutability {
    /// Ours alone; ignored or refused when a client sends it.
    ReadOnly,
    /// The client may set and change it.
    #[default]
    ReadWrite,
    /// Set once.
    Immutable,
    /// Taken and never shown.
    WriteOnly,
}

/// RFC 7643 §2.2, `returned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Returned {
    /// In every answer, whatever was asked for.
    Always,
    /// In no answer.
    Never,
    /// Unless excluded, or not among those asked for.
    #[default]
    Default,
    /// Only when asked for.
    Request,
}

/// RFC 7643 §2.2, `uniqueness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Uniqueness {
    /// Any number of resources may have the value.
    #[default]
    None,
    /// One resource of the tenant may have it.
    Server,
    /// One resource anywhere.
    Global,
}

/// An attribute or sub-attribute (RFC 7643 §7).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// The name in its canonical case.
    pub name: String,
    /// The data type.
    #[serde(rename = "type")]
    pub data_type: Type,
    /// Whether the value is an array.
    #[serde(default)]
    pub multi_valued: bool,
    /// Whether a resource must have it.
    #[serde(default)]
    pub required: bool,
    /// Whether strings that differ in case are different.
    #[serde(default)]
    pub case_exact: bool,
    /// Who may change it.
    #[serde(default)]
    pub mutability: Mutability,
    /// When it is shown.
    #[serde(default)]
    pub returned: Returned,
    /// Whether values may repeat among resources.
    #[serde(default)]
    pub uniqueness: Uniqueness,
    /// What a complex attribute is made of.
    #[serde(default)]
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    /// The sub-attribute of that name, whatever its case.
    pub fn sub(&self, name: &str) -> Option<&Attribute> {
        find(&self.sub_attributes, name)
    }
}

/// A schema as served at `/Schemas`.
#[derive(Clone, Debug, Deserialize)]
pub struct Schema {
    /// The URN.
    pub id: String,
    /// The short name.
    pub name: String,
    /// The attributes in their canonical order.
    pub attributes: Vec<Attribute>,
    /// The file's JSON, as served.
    #[serde(skip)]
    pub json: Value,
}

impl Schema {
    /// Reads a schema from the RFC's JSON form.
    ///
    /// # Errors
    /// When the text is not JSON, not of the form of RFC 7643 §7, or names an attribute twice.
    pub fn from_json(text: &str) -> Result<Schema, String> {
        let mut schema: Schema = serde_json::from_str(text).map_err(|error| error.to_string())?;
        schema.json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check_names(&schema.attributes)?;
        Ok(schema)
    }

    /// The attribute of that name, whatever its case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.attributes, name)
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

fn check_names(attributes: &[Attribute]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for attribute in attributes {
        if !seen.insert(attribute.name.to_ascii_lowercase()) {
            return Err(format!("attribute {} is there twice", attribute.name));
        }
        if (attribute.data_type == Type::Complex) == attribute.sub_attributes.is_empty() {
            return Err(format!(
                "attribute {}: complex attributes, and no others, have sub-attributes",
                attribute.name
            ));
        }
        check_names(&attribute.sub_attributes)?;
    }
    Ok(())
}

/// What a kind of resource is made of: the common attributes, the core schema and its extensions.
#[derive(Clone, Debug)]
pub struct ResourceSchema {
    /// Which kind this is.
    pub kind: Kind,
    /// `schemas`, `id`, `externalId`, `meta` (RFC 7643 §3.1); in no schema, in every resource.
    pub common: Vec<Attribute>,
    /// The core schema.
    pub core: Schema,
    /// The extensions that `/ResourceTypes` names.
    pub extensions: Vec<Schema>,
}

impl ResourceSchema {
    /// The common or core attribute of that name, whatever its case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.common, name).or_else(|| self.core.attribute(name))
    }

    /// The extension of that URN, whatever its case.
    pub fn extension(&self, urn: &str) -> Option<&Schema> {
        self.extensions.iter().find(|extension| extension.id.eq_ignore_ascii_case(urn))
    }

    /// Whether `urn` names the core schema, whatever its case.
    pub fn is_core(&self, urn: &str) -> bool {
        self.core.id.eq_ignore_ascii_case(urn)
    }
}

/// All schemas of a tenant.
#[derive(Clone, Debug)]
pub struct Schemas {
    users: ResourceSchema,
    groups: ResourceSchema,
}

impl Schemas {
    /// The schemas of `schema/scim/`.
    ///
    /// # Errors
    /// When a file in the binary is not a schema; a test rules that out.
    pub fn builtin() -> Result<Arc<Schemas>, String> {
        let common: Vec<Attribute> = serde_json::from_str(include_str!("../../schema/scim/common.json"))
            .map_err(|error| error.to_string())?;
        let user = Schema::from_json(include_str!("../../schema/scim/user.json"))?;
        let group = Schema::from_json(include_str!("../../schema/scim/group.json"))?;
        let enterprise = Schema::from_json(include_str!("../../schema/scim/enterprise_user.json"))?;
        Ok(Arc::new(Schemas {
            users: ResourceSchema {
                kind: Kind::User,
                common: common.clone(),
                core: user,
                extensions: vec![enterprise],
            },
            groups: ResourceSchema { kind: Kind::Group, common, core: group, extensions: Vec::new() },
        }))
    }

    /// What resources of that kind are made of.
    pub fn of(&self, kind: Kind) -> &ResourceSchema {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    /// Every schema once, core schemas first, in the order in which `/Schemas` lists them.
    pub fn all(&self) -> Vec<&Schema> {
        let mut all = vec![&self.users.core, &self.groups.core];
        for extension in self.users.extensions.iter().chain(&self.groups.extensions) {
            if !all.iter().any(|schema| schema.id == extension.id) {
                all.push(extension);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_schemas_load_and_names_are_found_in_any_case() {
        let schemas = Schemas::builtin().unwrap();
        let users = schemas.of(Kind::User);
        assert_eq!(users.attribute("USERNAME").unwrap().uniqueness, Uniqueness::Server);
        assert_eq!(users.attribute("EMAILS").unwrap().sub("Value").unwrap().data_type, Type::String);
        assert!(users.attribute("externalid").unwrap().case_exact);
        let enterprise = users.extension(&ENTERPRISE_USER.to_ascii_uppercase()).unwrap();
        assert_eq!(enterprise.attribute("manager").unwrap().data_type, Type::Complex);
        assert_eq!(schemas.of(Kind::Group).attribute("members").unwrap().sub_attributes.len(), 4);
        assert_eq!(schemas.all().len(), 3);
    }

    #[test]
    fn a_schema_that_names_an_attribute_twice_is_refused() {
        let twice = r#"{"id":"urn:x","name":"X","attributes":[
            {"name":"a","type":"string"},{"name":"A","type":"string"}]}"#;
        assert_eq!(Schema::from_json(twice).unwrap_err(), "attribute A is there twice");
    }

    #[test]
    fn only_complex_attributes_have_sub_attributes() {
        let bare = r#"{"id":"urn:x","name":"X","attributes":[{"name":"a","type":"complex"}]}"#;
        assert!(Schema::from_json(bare).unwrap_err().contains("complex"));
    }
}

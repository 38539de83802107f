//! What attributes there are and how each behaves (RFC 7643 §2, §3.1, §7), read from `schema/scim/*.json`.
//!
//! These files are the single source for validation, filters, PATCH, projection and `/Schemas`. What a value
//! must look like is told here; that a value does look so is checked in `resource`.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::scim::Kind;
use crate::scim::catalog::{Catalog, Class};
use crate::scim::rules::{Unique, unique_attributes};

pub mod own;

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
    /// Values that are suggested. A service provider "MAY restrict" to them (RFC 7643 §7); see
    /// [`crate::scim::quirks`].
    #[serde(default)]
    pub canonical_values: Vec<String>,
    /// What a reference may point to: names of resource types, `external` or `uri` (RFC 7643 §7).
    #[serde(default)]
    pub reference_types: Vec<String>,
    /// What a complex attribute is made of.
    #[serde(default)]
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    /// Whether it, or a sub-attribute, can be set only once.
    pub fn has_immutable(&self) -> bool {
        self.mutability == Mutability::Immutable || self.sub_attributes.iter().any(Attribute::has_immutable)
    }

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
    pub common: Arc<[Attribute]>,
    /// The core schema.
    pub core: Arc<Schema>,
    /// The extensions that `/ResourceTypes` names.
    pub extensions: Vec<Extension>,
    /// Whether a stored document may be shown as it is: nothing in it is `returned` `never` or only on request.
    pub shown_as_stored: bool,
    /// Whether something in a resource can be set only once.
    pub has_immutable: bool,
    /// The attributes of extensions whose values are unique.
    pub unique: Vec<Unique>,
}

/// An extension of a kind of resource (RFC 7643 §3.3).
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its schema.
    pub schema: Arc<Schema>,
    /// Whether every resource of the kind must have it (RFC 7643 §6, `schemaExtensions.required`).
    pub required: bool,
}

impl std::ops::Deref for Extension {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        &self.schema
    }
}

impl ResourceSchema {
    fn new(kind: Kind, common: Arc<[Attribute]>, core: Arc<Schema>, extensions: Vec<Extension>) -> Self {
        // The password has a place of its own and is in no document.
        let in_documents = |attribute: &&Attribute| !attribute.name.eq_ignore_ascii_case("password");
        let shown_as_stored = core.attributes.iter().filter(in_documents).all(is_shown_as_stored)
            && extensions.iter().flat_map(|extension| &extension.attributes).all(is_shown_as_stored);
        let of_extensions = || extensions.iter().flat_map(|extension| &extension.attributes);
        let has_immutable = core.attributes.iter().chain(of_extensions()).any(Attribute::has_immutable);
        let unique = unique_attributes(&extensions);
        ResourceSchema { kind, common, core, extensions, shown_as_stored, has_immutable, unique }
    }

    /// The common or core attribute of that name, whatever its case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.common, name).or_else(|| self.core.attribute(name))
    }

    /// The extension of that URN, whatever its case.
    pub fn extension(&self, urn: &str) -> Option<&Schema> {
        let found = self.extensions.iter().find(|extension| extension.id.eq_ignore_ascii_case(urn));
        found.map(|extension| &*extension.schema)
    }

    /// The URNs of the core schema and of the extensions.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let extensions = self.extensions.iter().map(|extension| extension.id.as_str());
        std::iter::once(self.core.id.as_str()).chain(extensions)
    }

    /// Whether `urn` names the core schema, whatever its case.
    pub fn is_core(&self, urn: &str) -> bool {
        self.core.id.eq_ignore_ascii_case(urn)
    }
}

fn is_shown_as_stored(attribute: &Attribute) -> bool {
    !matches!(attribute.returned, Returned::Never | Returned::Request)
        && attribute.sub_attributes.iter().all(is_shown_as_stored)
}

/// All schemas of a tenant.
#[derive(Clone, Debug)]
pub struct Schemas {
    users: ResourceSchema,
    groups: ResourceSchema,
    catalogs: Vec<Catalog>,
    /// The core schemas of catalogs.
    entitlement: Arc<Schema>,
    role: Arc<Schema>,
    /// What discovery itself answers with (RFC 7643 §5 to §7): served, and of no resource that is stored.
    discovery: Arc<[Schema]>,
}

impl Schemas {
    /// The schemas of `schema/scim/`.
    ///
    /// # Errors
    /// When a file in the binary is not a schema; a test rules that out.
    pub fn builtin() -> Result<Arc<Schemas>, String> {
        let common: Vec<Attribute> = serde_json::from_str(include_str!("../../schema/scim/common.json"))
            .map_err(|error| error.to_string())?;
        let common: Arc<[Attribute]> = common.into();
        let read = |text| Schema::from_json(text).map(Arc::new);
        let user = read(include_str!("../../schema/scim/user.json"))?;
        let group = read(include_str!("../../schema/scim/group.json"))?;
        let enterprise = read(include_str!("../../schema/scim/enterprise_user.json"))?;
        let enterprise = vec![Extension { schema: enterprise, required: false }];
        Ok(Arc::new(Schemas {
            users: ResourceSchema::new(Kind::User, Arc::clone(&common), user, enterprise),
            groups: ResourceSchema::new(Kind::Group, common, group, Vec::new()),
            catalogs: Vec::new(),
            entitlement: read(include_str!("../../schema/scim/entitlement.json"))?,
            role: read(include_str!("../../schema/scim/role.json"))?,
            discovery: discovery()?,
        }))
    }

    /// What resources of that kind are made of.
    pub fn of(&self, kind: Kind) -> &ResourceSchema {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    /// The tenant's resource types of entitlements and roles.
    pub fn catalogs(&self) -> &[Catalog] {
        &self.catalogs
    }

    /// The core schema of catalogs of that class.
    pub fn of_class(&self, class: Class) -> &Arc<Schema> {
        match class {
            Class::Entitlement => &self.entitlement,
            Class::Role => &self.role,
        }
    }

    /// What the entries of a catalog are made of, for filters on them.
    pub fn of_catalog(&self, catalog: &Catalog) -> ResourceSchema {
        let core = Arc::clone(self.of_class(catalog.class));
        // The kind is that of no resource here: it is asked for in refusals of drafts, which entries have none of.
        ResourceSchema::new(Kind::User, Arc::clone(&self.users.common), core, Vec::new())
    }

    /// These schemas with extensions and catalogs of a tenant's own.
    ///
    /// # Errors
    /// When two of them cannot stand side by side: which, and why.
    pub fn with_own(
        &self,
        extensions: Vec<(Kind, Extension)>,
        catalogs: Vec<Catalog>,
    ) -> Result<Schemas, String> {
        let mut own = self.clone();
        for (kind, extension) in extensions {
            for other in own.all() {
                let same = other.id.eq_ignore_ascii_case(&extension.id);
                // One file may extend users and groups alike.
                if same && (other.json != extension.json || own.of(kind).extension(&other.id).is_some()) {
                    return Err(format!("{} is there twice", extension.id));
                }
                if begins(&other.id, &extension.id) || begins(&extension.id, &other.id) {
                    return Err(format!(
                        "{} and {} cannot be told apart in a path: the one is the beginning of the other",
                        other.id, extension.id
                    ));
                }
            }
            let kept = match kind {
                Kind::User => &mut own.users,
                Kind::Group => &mut own.groups,
            };
            let mut all = std::mem::take(&mut kept.extensions);
            all.push(extension);
            *kept = ResourceSchema::new(kind, Arc::clone(&kept.common), Arc::clone(&kept.core), all);
        }
        own.catalogs = catalogs;
        Ok(own)
    }

    /// Every schema once, core schemas first and those of discovery last, in the order in which `/Schemas` lists them.
    pub fn all(&self) -> Vec<&Schema> {
        let mut all: Vec<&Schema> = vec![&self.users.core, &self.groups.core];
        let classes = self.catalogs.iter().map(|catalog| &**self.of_class(catalog.class));
        let extensions = self.users.extensions.iter().chain(&self.groups.extensions);
        for schema in classes.chain(extensions.map(|extension| &*extension.schema)) {
            if !all.iter().any(|listed| listed.id == schema.id) {
                all.push(schema);
            }
        }
        all.extend(self.discovery.iter());
        all
    }
}

fn discovery() -> Result<Arc<[Schema]>, String> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../schema/scim/discovery.json"))
        .map_err(|error| error.to_string())?;
    all.iter().map(|schema| Schema::from_json(&schema.to_string())).collect()
}

/// Whether a URN is the other one with more after a colon.
fn begins(start: &str, whole: &str) -> bool {
    whole.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
        && whole.as_bytes().get(start.len()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(id: &str) -> Extension {
        let text =
            serde_json::json!({ "id": id, "name": "x", "attributes": [{ "name": "a", "type": "string" }] });
        Extension { schema: Arc::new(own::from_json(&text.to_string()).unwrap()), required: false }
    }

    #[test]
    fn extensions_of_a_tenants_own_stand_beside_the_built_in_ones() {
        let builtin = Schemas::builtin().unwrap();
        let both = vec![(Kind::User, own("urn:acme:1.0:X")), (Kind::Group, own("urn:acme:1.0:X"))];
        let made = builtin.with_own(both, Vec::new()).unwrap();
        assert!(made.of(Kind::User).extension("URN:ACME:1.0:x").is_some());
        assert_eq!(made.of(Kind::Group).extensions.len(), 1);
        assert_eq!(made.all().len(), 7);
        assert!(made.of(Kind::User).shown_as_stored);
    }

    #[test]
    fn urns_that_cannot_be_told_apart_are_refused() {
        let builtin = Schemas::builtin().unwrap();
        let with = |ids: &[&str]| {
            let extensions = ids.iter().map(|id| (Kind::User, own(id))).collect();
            builtin.with_own(extensions, Vec::new()).map(drop)
        };
        assert!(with(&["urn:acme:1.0:X", "urn:ACME:1.0:x"]).unwrap_err().contains("twice"));
        assert!(with(&["urn:acme:1.0:X", "urn:acme:1.0:X:Y"]).unwrap_err().contains("beginning"));
        let below = format!("{ENTERPRISE_USER}:acme");
        assert!(with(&[&below]).unwrap_err().contains("beginning"));
        assert!(with(&["urn:acme:1.0:X", "urn:acme:1.0:XY"]).is_ok());
    }

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
        assert_eq!(schemas.all().len(), 6);
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

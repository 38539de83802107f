//! What a tenant's resources are made of beyond the built-in schemas: `schemas`, `entitlement_types`, `role_types`
//! and `check_entitlements`. Only which files there are is read here; what stands in them is the business of
//! `scim::schema::own`.

use std::path::PathBuf;

use crate::config::read::{Entry, Section};
use crate::config::{Error, OwnSchema, PATH_BYTES_MAX, TenantSettings};
use crate::scim::Kind;
use crate::scim::catalog::{CATALOGS_MAX, Catalog, Class, DESCRIPTION_CHARS_MAX};

const SCHEMA_KEYS: &[&str] = &["file", "resource", "required"];
const TYPE_KEYS: &[&str] = &["name", "endpoint", "description"];

/// The most schemas of one tenant's own.
const SCHEMAS_MAX: usize = 20;

const KINDS: &[(&str, Kind)] = &[("User", Kind::User), ("Group", Kind::Group)];

const A_SCHEMA: &str =
    "the path of a file, or a table such as { file = \"schemas/acme.json\", resource = \"User\" }";
const A_TYPE: &str = "a name, or a table such as { name = \"Policy\", endpoint = \"/Policies\" }";

/// Reads the keys of a tenant that are about schemas.
pub(super) fn read(section: &Section<'_>, tenant: &mut TenantSettings) -> Result<(), Error> {
    if let Some(entry) = section.get("schemas") {
        for element in entry.elements("an array of files")? {
            let schema = own_schema(&element)?;
            if tenant.schemas.iter().any(|other| (&other.file, other.kind) == (&schema.file, schema.kind)) {
                return Err(element.error("expected a file that is not there already"));
            }
            tenant.schemas.push(schema);
        }
        if tenant.schemas.len() > SCHEMAS_MAX {
            return Err(entry.error(format!("expected at most {SCHEMAS_MAX} files")));
        }
    }
    for (key, class) in [("entitlement_types", Class::Entitlement), ("role_types", Class::Role)] {
        let Some(entry) = section.get(key) else { continue };
        for element in entry.elements("an array of resource types")? {
            let catalog = catalog(&element, class)?;
            let same = |other: &Catalog| {
                other.name.eq_ignore_ascii_case(&catalog.name)
                    || other.endpoint.eq_ignore_ascii_case(&catalog.endpoint)
            };
            if tenant.catalogs.iter().any(same) {
                return Err(element.error("expected a name and an endpoint that no other type has"));
            }
            tenant.catalogs.push(catalog);
        }
        if tenant.catalogs.len() > CATALOGS_MAX {
            return Err(entry.error(format!("expected at most {CATALOGS_MAX} resource types in all")));
        }
    }
    if let Some(entry) = section.get("check_entitlements") {
        tenant.check_entitlements = entry.boolean()?;
        if tenant.check_entitlements && tenant.catalogs.is_empty() {
            return Err(entry.error("expected entitlement_types or role_types beside it, to check against"));
        }
    }
    Ok(())
}

fn own_schema(element: &Entry<'_>) -> Result<OwnSchema, Error> {
    if element.is_text() {
        return Ok(OwnSchema { file: file(element)?, kind: Kind::User, required: false });
    }
    let table = element.table().map_err(|_| element.error(format!("expected {A_SCHEMA}")))?;
    table.only(SCHEMA_KEYS)?;
    let kind = table.get("resource").map(|entry| entry.word(KINDS)).transpose()?;
    Ok(OwnSchema {
        file: file(&table.require("file", "the path of a file")?)?,
        kind: kind.unwrap_or(Kind::User),
        required: table.get("required").map(|entry| entry.boolean()).transpose()?.unwrap_or(false),
    })
}

fn file(entry: &Entry<'_>) -> Result<PathBuf, Error> {
    let text = entry.text("the path of a file")?;
    if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return Err(entry.error("expected the path of a file"));
    }
    Ok(PathBuf::from(text))
}

fn catalog(element: &Entry<'_>, class: Class) -> Result<Catalog, Error> {
    if element.is_text() {
        return Catalog::named(class, element.text(A_TYPE)?).map_err(|problem| element.error(problem));
    }
    let table = element.table().map_err(|_| element.error(format!("expected {A_TYPE}")))?;
    table.only(TYPE_KEYS)?;
    let entry = table.require("name", "the name of a resource type")?;
    let name = entry.text("the name of a resource type")?;
    let made = match table.get("endpoint") {
        Some(endpoint) => Catalog::at(class, name, endpoint.text("a path such as \"/Licenses\"")?),
        None => Catalog::named(class, name),
    };
    let mut made = made.map_err(|problem| element.error(problem))?;
    if let Some(entry) = table.get("description") {
        let text = entry.text("a text")?;
        if text.chars().count() > DESCRIPTION_CHARS_MAX {
            return Err(entry.error(format!("expected at most {DESCRIPTION_CHARS_MAX} characters")));
        }
        made.description = Some(text.to_owned());
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn tenant(text: &str) -> Result<TenantSettings, String> {
        let settings = parse(&format!("[tenants.a]\n{text}"), "t").map_err(|error| error.to_string())?;
        Ok(settings.tenants["a"].clone())
    }

    #[test]
    fn a_file_extends_users_unless_it_says_otherwise() {
        let read = tenant(
            "schemas = [\"a.json\", { file = \"b.json\", resource = \"Group\", required = true }, { file = \"b.json\" }]",
        )
        .unwrap();
        let own = |file: &str, kind, required| OwnSchema { file: PathBuf::from(file), kind, required };
        assert_eq!(
            read.schemas,
            [
                own("a.json", Kind::User, false),
                own("b.json", Kind::Group, true),
                own("b.json", Kind::User, false)
            ]
        );
    }

    #[test]
    fn types_of_entitlements_and_roles_have_an_endpoint_each() {
        let read = tenant(
            "entitlement_types = [\"License\", { name = \"Policy\", endpoint = \"/Policies\", description = \"What for\" }]\nrole_types = [\"Role\"]\ncheck_entitlements = true",
        )
        .unwrap();
        let endpoints: Vec<&str> = read.catalogs.iter().map(|catalog| catalog.endpoint.as_str()).collect();
        assert_eq!(endpoints, ["Licenses", "Policies", "Roles"]);
        assert_eq!(read.catalogs[1].description.as_deref(), Some("What for"));
        assert!(read.check_entitlements);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, problem) in [
            ("schemas = \"a.json\"", "t:2: tenants.a.schemas: expected an array of files, found a text"),
            ("schemas = [1]", "t:2: tenants.a.schemas[0]: expected the path of a file, or a table"),
            ("schemas = [\"\"]", "t:2: tenants.a.schemas[0]: expected the path of a file"),
            (
                "schemas = [\"a\", \"a\"]",
                "t:2: tenants.a.schemas[1]: expected a file that is not there already",
            ),
            ("schemas = [{ resource = \"User\" }]", "t:2: tenants.a.schemas[0].file: missing"),
            ("schemas = [{ file = \"a\", for = \"User\" }]", "unknown key; the keys known here are file"),
            (
                "schemas = [{ file = \"a\", resource = \"Device\" }]",
                "t:2: tenants.a.schemas[0].resource: expected \"User\" or \"Group\"",
            ),
            ("entitlement_types = [\"User\"]", "which is taken"),
            ("entitlement_types = [\"a b\"]", "expected a name, and an endpoint"),
            (
                "role_types = [\"Role\", \"role\"]",
                "t:2: tenants.a.role_types[1]: expected a name and an endpoint",
            ),
            ("check_entitlements = true", "expected entitlement_types or role_types beside it"),
        ] {
            let error = tenant(text).unwrap_err();
            assert!(error.contains(problem), "{error} should say {problem}");
        }
    }
}

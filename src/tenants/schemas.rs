//! Schemas of tenants' own: from the files that the configuration names to what requests are held against.
//!
//! All is read and checked when the configuration is; a request finds its tenant's schemas ready. Tenants
//! without any share the built-in ones, and tenants with the same ones share those.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Settings, TenantName, TenantSettings};
use crate::scim::Kind;
use crate::scim::catalog::Catalog;
use crate::scim::schema::{Extension, Schema, Schemas, own};
use crate::tenants::config_file;

/// What is wrong with a tenant's own schemas. One sentence for the operator, without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tenants.{tenant}.schemas: {problem}")]
pub struct SchemaFault {
    /// Whose they are.
    pub tenant: TenantName,
    /// What is wrong, with the file where it is one file's fault.
    pub problem: String,
}

/// The schemas of all tenants that have some of their own.
#[derive(Clone, Debug, Default)]
pub struct OwnSchemas {
    by_tenant: HashMap<TenantName, Arc<Own>>,
}

/// Schemas, and what they were made from.
#[derive(Debug)]
struct Own {
    sources: Sources,
    schemas: Arc<Schemas>,
}

/// What schemas are made from: the same sources make the same schemas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sources {
    texts: Vec<(Arc<str>, Kind, bool)>,
    catalogs: Vec<Catalog>,
}

impl OwnSchemas {
    /// Reads the schemas that the settings name; what `before` has made from the same sources is kept.
    /// `settings` are those in force, as [`crate::tenants::Overrides::lay_over`] gives them. Blocks.
    ///
    /// # Errors
    /// [`SchemaFault`] for the first tenant whose schemas cannot be used.
    pub fn load(settings: &Settings, before: Option<&OwnSchemas>) -> Result<OwnSchemas, SchemaFault> {
        let mut loading = Loading::default();
        for own in before.into_iter().flat_map(|before| before.by_tenant.values()) {
            loading.made.insert(own.sources.clone(), Arc::clone(own));
        }
        let mut by_tenant = HashMap::new();
        for (name, tenant) in settings.tenants.iter().filter(|(_, tenant)| has_own(tenant)) {
            let own = loading.own(tenant).map_err(|problem| SchemaFault { tenant: name.clone(), problem })?;
            by_tenant.insert(name.clone(), own);
        }
        Ok(OwnSchemas { by_tenant })
    }

    /// The tenant's schemas; `None` when they are the built-in ones.
    pub fn of(&self, tenant: &TenantName) -> Option<&Arc<Schemas>> {
        // Nearly every server has none.
        if self.by_tenant.is_empty() {
            return None;
        }
        self.by_tenant.get(tenant).map(|own| &own.schemas)
    }

    /// Whether a tenant has the same schemas in both.
    pub(super) fn is_same(&self, other: &OwnSchemas) -> bool {
        self.by_tenant.len() == other.by_tenant.len()
            && self.by_tenant.iter().all(|(name, own)| {
                other.by_tenant.get(name).is_some_and(|other| own.sources == other.sources)
            })
    }
}

/// The schemas of one tenant, for a command; `None` when they are the built-in ones. Blocks.
///
/// # Errors
/// [`SchemaFault`]
pub fn schemas_of(name: &TenantName, tenant: &TenantSettings) -> Result<Option<Arc<Schemas>>, SchemaFault> {
    if !has_own(tenant) {
        return Ok(None);
    }
    let own = Loading::default().own(tenant);
    let own = own.map_err(|problem| SchemaFault { tenant: name.clone(), problem })?;
    Ok(Some(Arc::clone(&own.schemas)))
}

fn has_own(tenant: &TenantSettings) -> bool {
    !tenant.schemas.is_empty() || !tenant.catalogs.is_empty()
}

/// What was read and made so far: ten thousand tenants with the same file cost as much as one.
#[derive(Default)]
struct Loading {
    builtin: Option<Arc<Schemas>>,
    texts: HashMap<Arc<Path>, Arc<str>>,
    read: HashMap<Arc<str>, Arc<Schema>>,
    made: HashMap<Sources, Arc<Own>>,
}

impl Loading {
    fn own(&mut self, tenant: &TenantSettings) -> Result<Arc<Own>, String> {
        let mut texts = Vec::with_capacity(tenant.schemas.len());
        for schema in &tenant.schemas {
            texts.push((self.text(&schema.file)?, schema.kind, schema.required));
        }
        let sources = Sources { texts, catalogs: tenant.catalogs.clone() };
        if let Some(made) = self.made.get(&sources) {
            return Ok(Arc::clone(made));
        }
        let mut extensions = Vec::with_capacity(tenant.schemas.len());
        for (settings, (text, kind, required)) in tenant.schemas.iter().zip(&sources.texts) {
            let schema = self.schema(text).map_err(|problem| in_file(&settings.file, &problem))?;
            extensions.push((*kind, Extension { schema, required: *required }));
        }
        let builtin = match &self.builtin {
            Some(builtin) => Arc::clone(builtin),
            None => Schemas::builtin()?,
        };
        let schemas = Arc::new(builtin.with_own(extensions, sources.catalogs.clone())?);
        self.builtin = Some(builtin);
        let own = Arc::new(Own { sources: sources.clone(), schemas });
        self.made.insert(sources, Arc::clone(&own));
        Ok(own)
    }

    fn text(&mut self, file: &Path) -> Result<Arc<str>, String> {
        if let Some(text) = self.texts.get(file) {
            return Ok(Arc::clone(text));
        }
        let text = config_file::read_named(file)
            .map_err(|error| in_file(file, &format!("it cannot be read: {error}")))?;
        let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(&text).into();
        self.texts.insert(file.into(), Arc::clone(&text));
        Ok(text)
    }

    fn schema(&mut self, text: &Arc<str>) -> Result<Arc<Schema>, String> {
        if let Some(schema) = self.read.get(text) {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(own::from_json(text)?);
        self.read.insert(Arc::clone(text), Arc::clone(&schema));
        Ok(schema)
    }
}

fn in_file(file: &Path, problem: &str) -> String {
    format!("{}: {problem}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        r#"{"id":"urn:acme:1.0:User","name":"Acme","attributes":[{"name":"a","type":"string"}]}"#;

    fn settings(folder: &Path, text: &str) -> Settings {
        let settings = crate::config::parse(text, "t").unwrap();
        crate::tenants::Overrides::default().lay_over(settings, &folder.join("tenants.toml")).unwrap()
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    #[test]
    fn tenants_with_the_same_schemas_share_them_and_the_others_have_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acme.json"), FILE).unwrap();
        let text =
            "[tenants.a]\nschemas = [\"acme.json\"]\n[tenants.b]\nschemas = [\"acme.json\"]\n[tenants.c]\n";
        let settings = settings(folder.path(), text);
        let first = OwnSchemas::load(&settings, None).unwrap();
        assert!(Arc::ptr_eq(first.of(&name("a")).unwrap(), first.of(&name("b")).unwrap()));
        assert!(first.of(&name("c")).is_none());
        let again = OwnSchemas::load(&settings, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(first.of(&name("a")).unwrap(), again.of(&name("a")).unwrap()));
        assert!(first.is_same(&again));
        std::fs::write(folder.path().join("acme.json"), FILE.replace("\"a\"", "\"b\"")).unwrap();
        assert!(!first.is_same(&OwnSchemas::load(&settings, Some(&first)).unwrap()));
    }

    #[test]
    fn a_fault_names_tenant_file_and_attribute() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), "[tenants.a]\nschemas = [\"acme.json\"]\n");
        let fault = || OwnSchemas::load(&settings, None).unwrap_err().to_string();
        let file = folder.path().join("acme.json");
        assert!(fault().starts_with(&format!("tenants.a.schemas: {}: it cannot be read", file.display())));
        std::fs::write(&file, FILE.replace("\"string\"", "\"text\"")).unwrap();
        assert!(fault().contains("acme.json: attribute a: type must be one of string"));
        std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();
        assert!(fault().contains("larger than 1 MiB"));
    }
}

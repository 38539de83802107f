//! The documents: `tenants.toml` and the files that it includes to [`Settings`]. What stands in a table is read by
//! the module of that table.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::config::include::Include;
use crate::config::read::{Lines, Section, Source, document};
use crate::config::token::Hashes;
use crate::config::{
    BadTenantName, Error, ServerSettings, Settings, TenantName, TenantSettings, server, tenant,
};
use crate::secret::TokenHash;

/// The keys that are known at the top.
pub(super) const DOCUMENT_KEYS: &[&str] = &["include", "server", "tenants"];

/// Reads the text of `tenants.toml` by itself; files that it includes are left aside.
///
/// # Errors
/// The first place, in the order of the checks, at which the text is not as expected. `file` is the name that
/// the error gives.
pub fn parse(text: &str, file: &str) -> Result<Settings, Error> {
    MainFile::parse(text, file)?.with([])
}

/// The main file, which may include others.
#[derive(Clone, Debug)]
pub struct MainFile {
    server: ServerSettings,
    include: Option<Include>,
    tenants: TenantsFile,
}

/// The tenants of one file. Every file of the configuration is read by itself; see [`MainFile::with`].
#[derive(Clone, Debug)]
pub struct TenantsFile {
    /// The file's name as the caller gave it.
    file: String,
    tenants: Vec<Placed<TenantName, TenantSettings>>,
    /// In the order of the text.
    hashes: Vec<Placed<TokenHash, String>>,
}

/// Something with the line that it stands at.
#[derive(Clone, Debug)]
struct Placed<K, V> {
    key: K,
    line: usize,
    value: V,
}

impl MainFile {
    /// Reads the text of the main file.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(text: &str, file: &str) -> Result<MainFile, Error> {
        let source = Source { file, text: without_bom(text) };
        let table = document(source)?;
        let document = Section::document(source, &table);
        document.only(DOCUMENT_KEYS)?;
        let server = match document.get("server") {
            Some(entry) => server::read(&entry.table()?)?,
            None => ServerSettings::default(),
        };
        let include = document.get("include").map(|entry| Include::read(&entry)).transpose()?;
        Ok(MainFile { server, include, tenants: TenantsFile::read(source, &document)? })
    }

    /// Which other files hold tenants.
    pub fn include(&self) -> Option<&Include> {
        self.include.as_ref()
    }

    /// The settings of this file and of those that it includes.
    ///
    /// # Errors
    /// When two files have the same tenant, or tokens with the same hash: both places are named.
    pub fn with<'a>(
        &'a self,
        included: impl IntoIterator<Item = &'a TenantsFile>,
    ) -> Result<Settings, Error> {
        let mut tenants = BTreeMap::new();
        let mut places: HashMap<&TenantName, (&str, usize)> = HashMap::new();
        // One hash in two places would let one token open two tenants, or outlive its revocation.
        let mut hashes: HashMap<&TokenHash, (&str, usize, &str)> = HashMap::new();
        for TenantsFile { file, tenants: of_file, hashes: hashes_of_file } in
            std::iter::once(&self.tenants).chain(included)
        {
            for Placed { key: name, line, value } in of_file {
                if let Some((other, other_line)) = places.insert(name, (file, *line)) {
                    let problem = format!("expected a tenant of its own; {other}:{other_line} has it too");
                    return Err(error(file, *line, format!("tenants.{name}"), problem));
                }
                tenants.insert(name.clone(), value.clone());
            }
            for Placed { key: hash, line, value: path } in hashes_of_file {
                if let Some((other, other_line, other_path)) = hashes.insert(hash, (file, *line, path)) {
                    let problem = format!(
                        "expected a hash of its own; {other_path} at {other}:{other_line} is the same"
                    );
                    return Err(error(file, *line, path.clone(), problem));
                }
            }
        }
        Ok(Settings { server: self.server.clone(), include: self.include.clone(), tenants })
    }

    /// Whether the tenant stands in this file itself.
    pub fn has(&self, tenant: &TenantName) -> bool {
        self.tenants.has(tenant)
    }
}

impl TenantsFile {
    /// Reads the text of an included file: tables of tenants and nothing else. A relative path in it is meant from
    /// `folder`, which is meant from where the main file lies.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<TenantsFile, Error> {
        let source = Source { file, text: without_bom(text) };
        let table = document(source)?;
        let document = Section::document(source, &table);
        if let Some((_, entry)) =
            document.entries().iter().find(|(key, _)| ["include", "server"].contains(key))
        {
            return Err(entry.error("expected in the main file only; an included one has [tenants.NAME]"));
        }
        document.only(&["tenants"])?;
        let mut read = TenantsFile::read(source, &document)?;
        for schema in read.tenants.iter_mut().flat_map(|tenant| &mut tenant.value.schemas) {
            schema.file = folder.join(&schema.file);
        }
        Ok(read)
    }

    /// Whether the tenant stands in this file.
    pub fn has(&self, tenant: &TenantName) -> bool {
        self.tenants.iter().any(|placed| placed.key == *tenant)
    }

    fn read(source: Source<'_>, document: &Section<'_>) -> Result<TenantsFile, Error> {
        let lines = Lines::of(source.text);
        let mut hashes = Hashes::new();
        let mut tenants = Vec::new();
        if let Some(entry) = document.get("tenants") {
            for (key, entry) in entry.table()?.entries() {
                let name: TenantName =
                    key.parse().map_err(|fault: BadTenantName| entry.error(fault.to_string()))?;
                let value = tenant::read(&entry.table()?, &mut hashes)?;
                tenants.push(Placed { key: name, line: lines.of_byte(entry.at()), value });
            }
        }
        let mut hashes: Vec<_> = hashes
            .into_iter()
            .map(|(key, place)| Placed { key, line: lines.of_byte(place.at), value: place.path })
            .collect();
        hashes.sort_by_key(|placed| placed.line);
        Ok(TenantsFile { file: source.file.to_owned(), tenants, hashes })
    }
}

fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn error(file: &str, line: usize, key: String, problem: String) -> Error {
    Error { file: file.to_owned(), line, key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn included(text: &str, file: &str) -> Result<TenantsFile, Error> {
        TenantsFile::parse(text, file, Path::new("tenants.d"))
    }

    #[test]
    fn tenants_of_all_files_are_one_configuration() {
        let main = MainFile::parse("include = \"tenants.d/*.toml\"\n[tenants.a]\n", "t.toml").unwrap();
        let more =
            included("[tenants.b]\nschemas = [\"b.json\", \"/c.json\"]\n[tenants.c]\n", "b.toml").unwrap();
        let settings = main.with([&more]).unwrap();
        let names: Vec<&str> = settings.tenants.keys().map(TenantName::as_str).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let schemas = &settings.tenants["b"].schemas;
        assert_eq!(schemas[0].file, Path::new("tenants.d/b.json"));
        assert_eq!(schemas[1].file, Path::new("/c.json"));
        let name = "b".parse().unwrap();
        assert!(more.has(&name) && !main.has(&name));
    }

    #[test]
    fn what_two_files_have_is_refused_with_both_places() {
        let main = MainFile::parse("\n[tenants.a]\n", "t.toml").unwrap();
        let again = included("\n\n[tenants.a]\n", "d/a.toml").unwrap();
        assert_eq!(
            main.with([&again]).unwrap_err().to_string(),
            "d/a.toml:3: tenants.a: expected a tenant of its own; t.toml:2 has it too"
        );
        let token = |tenant: &str| format!("[[tenants.{tenant}.tokens]]\nname = \"x\"\nhash = \"{HASH}\"\n");
        let first = included(&token("b"), "d/b.toml").unwrap();
        let second = included(&format!("# c\n{}", token("c")), "d/c.toml").unwrap();
        assert_eq!(
            main.with([&first, &second]).unwrap_err().to_string(),
            "d/c.toml:4: tenants.c.tokens[0].hash: expected a hash of its own; tenants.b.tokens[0].hash at d/b.toml:3 is the same"
        );
    }

    #[test]
    fn an_included_file_has_tenants_and_nothing_else() {
        let problem = |text: &str| included(text, "d/a.toml").unwrap_err().to_string();
        assert_eq!(
            problem("[tenants.a]\n[server]\n"),
            "d/a.toml:2: server: expected in the main file only; an included one has [tenants.NAME]"
        );
        assert!(
            problem("include = \"d/*\"").starts_with("d/a.toml:1: include: expected in the main file only")
        );
        assert_eq!(problem("x = 1"), "d/a.toml:1: x: unknown key; the keys known here are tenants");
        assert!(
            MainFile::parse("include = [\"d/*\"]", "t").unwrap_err().problem.starts_with("expected a folder")
        );
    }
}

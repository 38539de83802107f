//! The document: `tenants.toml` to [`Settings`]. What stands in a table is read by the module of that table.

use std::collections::BTreeMap;

use crate::config::read::{Section, Source, document};
use crate::config::token::Hashes;
use crate::config::{BadTenantName, Error, Settings, TenantName, TenantSettings, server, tenant};

/// The keys that are known at the top.
pub(super) const DOCUMENT_KEYS: &[&str] = &["server", "tenants"];

/// Reads the text of `tenants.toml`.
///
/// # Errors
/// The first place, in the order of the checks, at which the text is not as expected. `file` is the name that
/// the error gives.
pub fn parse(text: &str, file: &str) -> Result<Settings, Error> {
    let source = Source { file, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
    let table = document(source)?;
    let document = Section::document(source, &table);
    document.only(DOCUMENT_KEYS)?;
    let mut settings = Settings::default();
    if let Some(entry) = document.get("server") {
        settings.server = server::read(&entry.table()?)?;
    }
    if let Some(entry) = document.get("tenants") {
        settings.tenants = tenants(&entry.table()?)?;
    }
    Ok(settings)
}

fn tenants(section: &Section<'_>) -> Result<BTreeMap<TenantName, TenantSettings>, Error> {
    let mut tenants = BTreeMap::new();
    // One hash in two places would let one token open two tenants, or outlive its revocation.
    let mut hashes = Hashes::new();
    for (key, entry) in section.entries() {
        let name: TenantName = key.parse().map_err(|fault: BadTenantName| entry.error(fault.to_string()))?;
        tenants.insert(name, tenant::read(&entry.table()?, &mut hashes)?);
    }
    Ok(tenants)
}

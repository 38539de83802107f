//! How the commands change the configuration file, and what a person is told when it cannot be read or changed.
//!
//! Which bytes of the text change is decided in `config::edit`, and how a file is replaced in `tenants::config_set`.

use std::path::PathBuf;

use crate::cli::Globals;
use crate::cli::output::Failure;
use crate::cli::session::unknown_tenant;
use crate::config::{self, Settings, TenantName};
use crate::tenants::config_set::{self, ConfigSet, ReadError};

/// Changes the text of the configuration file in which a tenant stands; what `change` leaves alone keeps every
/// byte. Gives the file.
///
/// # Errors
/// When a file cannot be read or replaced or is wrong, there is no such tenant, or what `change` gives.
pub fn edit(
    globals: &Globals,
    tenant: &TenantName,
    change: impl FnOnce(&str) -> Result<String, config::edit::Error>,
) -> anyhow::Result<PathBuf> {
    edit_file(
        globals,
        |set| Ok(set.file_of(tenant).to_owned()),
        |settings, text| {
            if !settings.tenants.contains_key(tenant) {
                return Err(unknown_tenant(settings, tenant).into());
            }
            Ok(change(text).map_err(refused_edit)?)
        },
    )
}

/// Adds a tenant to the configuration: to the main file, or in a file of its own where files are included. Gives the
/// file.
///
/// # Errors
/// As [`edit`], and when the tenant is there already.
pub fn add_tenant(globals: &Globals, tenant: &TenantName, customer: Option<&str>) -> anyhow::Result<PathBuf> {
    edit_file(
        globals,
        |set| set.file_for_new(tenant),
        |settings, text| {
            if settings.tenants.contains_key(tenant) {
                return Err(refused_edit(config::edit::Error::TenantExists(tenant.clone())).into());
            }
            Ok(config::edit::add_tenant(text, tenant, customer).map_err(refused_edit)?)
        },
    )
}

fn edit_file(
    globals: &Globals,
    choose: impl FnOnce(&ConfigSet) -> Result<PathBuf, ReadError>,
    change: impl FnOnce(&Settings, &str) -> anyhow::Result<String>,
) -> anyhow::Result<PathBuf> {
    let result = config_set::edit(&globals.config, choose, |settings, text| {
        change(settings, text).map_err(EditFailed::Command)
    });
    result.map_err(|failed| match failed {
        EditFailed::Command(error) => error,
        EditFailed::Read(error) => unread(error, globals),
        // Says what is wrong with the file in the words of every other command, where it is not there at all.
        EditFailed::Io(error) if globals.config.exists() => anyhow::Error::new(error)
            .context(format!("cannot change the configuration {}", globals.config.display())),
        EditFailed::Io(error) => {
            unread(ReadError::Unreadable { file: globals.config.display().to_string(), error }, globals)
        }
    })
}

/// Why an edit came to nothing.
enum EditFailed {
    Command(anyhow::Error),
    Read(ReadError),
    Io(std::io::Error),
}

impl From<ReadError> for EditFailed {
    fn from(error: ReadError) -> EditFailed {
        EditFailed::Read(error)
    }
}

impl From<std::io::Error> for EditFailed {
    fn from(error: std::io::Error) -> EditFailed {
        EditFailed::Io(error)
    }
}

/// A configuration that cannot be had, for the person: exit code 2.
pub fn unread(error: ReadError, globals: &Globals) -> anyhow::Error {
    let main_file = globals.config.display().to_string();
    match error {
        ReadError::Wrong(error) => error.into(),
        ReadError::Unreadable { file, error } if file == main_file => {
            Failure::usage(format!("cannot read the configuration {file}: {error}"))
                .hint("name another file with --config, or make a first one with ici-scim quickstart")
                .into()
        }
        error @ ReadError::Unreadable { .. } => Failure::usage(error.to_string())
            .hint(format!("{main_file} includes it; make it readable, or take it out"))
            .into(),
        error => Failure::usage(error.to_string()).into(),
    }
}

fn refused_edit(error: config::edit::Error) -> Failure {
    let text = error.to_string();
    match error {
        config::edit::Error::Config(_)
        | config::edit::Error::BadTokenName
        | config::edit::Error::BadInstant => Failure::usage(text),
        config::edit::Error::UnknownTenant { tenant, .. } => {
            Failure::failed(text).hint(format!("add it: `ici-scim tenant add {tenant}`"))
        }
        config::edit::Error::TenantExists(ref tenant) => {
            let hint = format!("a token for it: `ici-scim token new {tenant} --name okta`");
            Failure::failed(text).hint(hint)
        }
        config::edit::Error::UnknownToken { ref tenant, .. }
        | config::edit::Error::TokenExists { ref tenant, .. }
        | config::edit::Error::TooManyTokens(ref tenant) => {
            Failure::failed(text).hint(format!("`ici-scim token list {tenant}` shows what there is"))
        }
        config::edit::Error::Form(_) => Failure::failed(text),
    }
}

//! The text of `tenants.toml` to checked settings, and edits of that text.
//!
//! Pure: text in, settings or an [`Error`] out; no file, no environment, no clock. Unknown keys are errors
//! and every number has bounds, so that a mistyped setting is noticed when it is made. Reading the file,
//! flags and environment, and taking a changed file into service belong to `tenants`. `tenants.example.toml`
//! shows every key. Each table has a module with its settings, their defaults and bounds, and how it is read.

mod backup;
pub mod edit;
mod include;
mod limits;
mod listen;
mod ops;
pub mod nodes;
mod parse;
mod read;
mod server;
mod tenant;
mod tenant_life;
mod tenant_name;
mod tenant_schemas;
mod tls;
mod token;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use backup::{BackupSettings, BadKeep, Keep, Period, Schedule};
pub use include::Include;
pub use limits::{COMPRESS_BYTES_NEVER, Limits};
pub use listen::{BadListen, LISTEN_EXPECTED, Listen, TrustedProxies};
pub use ops::{OpsListen, OpsSettings};
pub use parse::{MainFile, TenantsFile, parse};
pub use server::{Durability, ServerSettings, public_url};
pub use tenant::{OnRecreate, OwnSchema, TenantSettings};
pub use tenant_life::{Pause, RateLimit, TenantLife};
pub use tenant_name::{BadTenantName, TenantName};
pub use tls::{
    AcmeChallenge, AcmeSettings, ExternalAccount, LETS_ENCRYPT_URL, TlsSettings, TlsSource, TlsVersion,
};
pub use token::{Access, TENANT_TOKENS_MAX, TOKEN_NAME_CHARS_MAX, TokenSettings, is_token_name, is_user_id};

/// Longest path in bytes; that of Linux.
const PATH_BYTES_MAX: usize = 4096;

/// Everything that `tenants.toml` and the files that it includes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`
    pub server: ServerSettings,
    /// `include`
    pub include: Option<Include>,
    /// `[tenants.NAME]`, of the main file and of those that it includes.
    pub tenants: BTreeMap<TenantName, TenantSettings>,
}

impl Settings {
    /// Whether another node serves a tenant, or none is told to: only where this server is one of several
    /// (`server.node`). Two that serve one tenant would each keep a directory of their own.
    pub fn is_elsewhere(&self, tenant: &str) -> bool {
        match &self.server.node {
            None => false,
            here => self.tenants.get(tenant).is_none_or(|chosen| chosen.node != *here),
        }
    }
}

/// What is wrong in the text, and where. Names keys, never values: a value may be a secret in the wrong
/// place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// The key with the tables that it is in, such as `tenants.acme.tokens[0].hash`; empty when the text is
    /// not even TOML.
    pub key: String,
    /// What was expected, or what is wrong, as the end of a sentence.
    pub problem: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Error {}

//! The text of `tenants.toml` to checked settings, and edits of that text.
//!
//! Pure: text in, settings or an [`Error`] out; no file, no environment, no clock. Unknown keys are errors
//! and every number has bounds, so that a mistyped setting is noticed when it is made. Reading the file,
//! flags and environment, and taking a changed file into service belong to `tenants`. `tenants.example.toml`
//! shows every key.

pub mod edit;
mod limits;
mod parse;
mod read;
mod tenant_name;
mod tenant_schemas;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scim::catalog::Catalog;
use crate::scim::{Kind, Profile};
use crate::secret::TokenHash;

pub use limits::{COMPRESS_BYTES_NEVER, Limits};
pub use parse::{parse, public_url};
pub use tenant_name::{BadTenantName, TenantName};

/// Most tokens that one tenant may have at once; bounds what one wrong token can cost.
pub const TENANT_TOKENS_MAX: usize = 16;
/// Longest token name in characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;

/// Everything that `tenants.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`
    pub server: ServerSettings,
    /// `[tenants.NAME]`
    pub tenants: BTreeMap<TenantName, TenantSettings>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address and port to listen on; 127.0.0.1:8080 unless set.
    pub listen: SocketAddr,
    /// How Okta reaches this server from outside, without `/scim/v2` and without a slash at the end.
    pub public_url: Option<String>,
    /// The folder of the tenants' files as it stands in the text; `data` unless set. See
    /// [`ServerSettings::data_dir_beside`].
    pub data_dir: PathBuf,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// `[server.limits]`
    pub limits: Limits,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            public_url: None,
            data_dir: PathBuf::from("data"),
            durability: Durability::default(),
            limits: Limits::default(),
        }
    }
}

impl ServerSettings {
    /// The folder of the tenants' files; a relative one lies beside the configuration file.
    pub fn data_dir_beside(&self, config_file: &Path) -> PathBuf {
        match config_file.parent() {
            Some(folder) => folder.join(&self.data_dir),
            None => self.data_dir.clone(),
        }
    }
}

/// `[tenants.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantSettings {
    /// The customer's name, for people.
    pub name: Option<String>,
    /// What is forgiven the tenant's clients.
    pub profile: Profile,
    /// What a create of a user that exists and is inactive does; `Conflict` unless set where the profile is
    /// strict.
    pub on_recreate: OnRecreate,
    /// Whether passwords that Okta sends are kept, as Argon2id hashes; otherwise they are dropped.
    pub store_passwords: bool,
    /// Extension schemas of the tenant's own.
    pub schemas: Vec<OwnSchema>,
    /// Its resource types of entitlements, then those of roles.
    pub catalogs: Vec<Catalog>,
    /// Whether users can be given only what is in the catalogs.
    pub check_entitlements: bool,
    /// `[[tenants.NAME.tokens]]`, in the order of the text. Names and hashes are unique.
    pub tokens: Vec<TokenSettings>,
}

/// A schema of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnSchema {
    /// The file with the schema in the form of RFC 7643 §7. As it stands in the text until flags and environment
    /// are laid over the settings; then absolute.
    pub file: PathBuf,
    /// What it extends.
    pub kind: Kind,
    /// Whether every resource of the kind must have it.
    pub required: bool,
}

/// `[[tenants.NAME.tokens]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// What people and logs call the token. Cheap to clone.
    pub name: Arc<str>,
    /// The Argon2id hash of the token.
    pub hash: TokenHash,
    /// When it was made, in milliseconds since 1970-01-01T00:00:00Z; for people.
    pub created_ms: Option<i64>,
    /// From when on it is refused, in milliseconds since 1970-01-01T00:00:00Z.
    pub expires_ms: Option<i64>,
    /// What it may do.
    pub access: Access,
    /// The id of the user that it stands for at `/Me`; that does not bound what it may do.
    pub user: Option<Arc<str>>,
}

/// What POST of a userName does whose user exists and is inactive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRecreate {
    /// The user comes back with its id and memberships and takes the new attributes.
    #[default]
    Reactivate,
    /// 409 `uniqueness`, as for an active user.
    Conflict,
}

/// What an acknowledged write survives; `docs/durability.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power: each commit is written through to the disk.
    #[default]
    Full,
    /// The end of the process; the loss of power may take the last moments.
    Normal,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing that changes the directory.
    ReadOnly,
}

impl OnRecreate {
    const WORDS: &[(&str, OnRecreate)] =
        &[("reactivate", OnRecreate::Reactivate), ("conflict", OnRecreate::Conflict)];

    /// The word for it in `tenants.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            OnRecreate::Reactivate => "reactivate",
            OnRecreate::Conflict => "conflict",
        }
    }
}

impl Durability {
    const WORDS: &[(&str, Durability)] = &[("full", Durability::Full), ("normal", Durability::Normal)];

    /// The word for it in `tenants.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Full => "full",
            Durability::Normal => "normal",
        }
    }
}

impl Access {
    const WORDS: &[(&str, Access)] = &[("read-write", Access::ReadWrite), ("read-only", Access::ReadOnly)];

    /// The word for it in `tenants.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::ReadWrite => "read-write",
            Access::ReadOnly => "read-only",
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

/// Whether a text has the form of a user's id: a UUID, in lower case, with its dashes.
pub fn is_user_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// Whether `name` can be the name of a token: letters, digits, inner blanks, `.`, `_` and `-`. It stands in
/// logs and in the event log, so it holds nothing that could be taken for something else there.
pub fn is_token_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
    !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= TOKEN_NAME_CHARS_MAX
        && name.chars().all(allowed)
}

//! `[[tenants.NAME.tokens]]`: what a tenant's clients show.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Error;
use crate::config::read::{Entry, Section};
use crate::secret::TokenHash;

/// The keys that are known here.
pub(super) const TOKEN_KEYS: &[&str] = &["name", "hash", "created", "expires", "access", "user"];

/// Most tokens that one tenant may have at once; bounds what one wrong token can cost.
pub const TENANT_TOKENS_MAX: usize = 16;
/// Longest token name in characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;

/// The hashes of the tokens of a file read so far, and where each stands.
pub(super) type Hashes = HashMap<TokenHash, Place>;

/// Where something stands.
pub(super) struct Place {
    /// The key with the tables that it is in.
    pub(super) path: String,
    /// Its first byte in the text.
    pub(super) at: usize,
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

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing that changes the directory.
    ReadOnly,
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

/// Reads `[[tenants.NAME.tokens]]`. `others` are the tenant's tokens read so far.
pub(super) fn read(
    section: &Section<'_>,
    others: &[TokenSettings],
    hashes: &mut Hashes,
) -> Result<TokenSettings, Error> {
    section.only(TOKEN_KEYS)?;
    let expected = "a name of 1 to 64 letters, digits, blanks, \".\", \"_\" and \"-\"";
    let entry = section.require("name", expected)?;
    let name = entry.text(expected)?;
    if !is_token_name(name) {
        return Err(entry.error(format!("expected {expected}")));
    }
    if others.iter().any(|other| &*other.name == name) {
        return Err(entry.error("expected a name that no other token of this tenant has"));
    }
    let entry = section.require("hash", "an Argon2id hash, as 'ici-scim token new' writes it")?;
    let hash = token_hash(&entry)?;
    let place = Place { path: entry.path().to_owned(), at: entry.at() };
    if let Some(other) = hashes.insert(hash.clone(), place) {
        return Err(entry.error(format!("expected a hash of its own; {} is the same", other.path)));
    }
    let created_ms = section.get("created").map(|entry| entry.instant()).transpose()?;
    let expires_ms = section.get("expires").map(|entry| entry.instant()).transpose()?;
    if let (Some(created_ms), Some(expires_ms), Some(entry)) =
        (created_ms, expires_ms, section.get("expires"))
        && expires_ms <= created_ms
    {
        return Err(entry.error("expected a time after that of created"));
    }
    let access = match section.get("access") {
        Some(entry) => entry.word(Access::WORDS)?,
        None => Access::default(),
    };
    let user = section.get("user").map(|entry| user_id(&entry)).transpose()?;
    Ok(TokenSettings { name: name.into(), hash, created_ms, expires_ms, access, user })
}

fn user_id(entry: &Entry<'_>) -> Result<Arc<str>, Error> {
    let expected = "the id of a user, such as \"2819c223-7f76-453a-919d-413861904646\"";
    let id = entry.text(expected)?;
    if is_user_id(id) { Ok(id.into()) } else { Err(entry.error(format!("expected {expected}"))) }
}

fn token_hash(entry: &Entry<'_>) -> Result<TokenHash, Error> {
    let text = entry.text("an Argon2id hash in PHC form (\"$argon2id$...\")")?;
    TokenHash::parse(text)
        .map_err(|fault| entry.error(format!("expected {fault}, as 'ici-scim token new' writes it")))
}

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

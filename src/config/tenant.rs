//! `[tenants.NAME]`: one customer. Its tokens are in `token`, its schemas in `tenant_schemas`.

use std::path::PathBuf;

use crate::config::nodes::{self, NodeName};
use crate::config::read::{Entry, Section};
use crate::config::token::Hashes;
use crate::config::{
    Error, TENANT_TOKENS_MAX, TenantLife, TokenSettings, tenant_life, tenant_schemas, token,
};
use crate::scim::catalog::Catalog;
use crate::scim::{Kind, Profile};

/// The keys that are known here.
pub(super) const TENANT_KEYS: &[&str] = &[
    "name",
    "profile",
    "on_recreate",
    "store_passwords",
    "paused",
    "max_users",
    "rate_limit",
    "schemas",
    "entitlement_types",
    "role_types",
    "check_entitlements",
    "node",
    "tokens",
];

/// Longest customer's name in characters.
const NAME_CHARS_MAX: usize = 200;

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
    /// Whether it is paused, how many users it may have, how fast it may be asked.
    pub life: TenantLife,
    /// Extension schemas of the tenant's own.
    pub schemas: Vec<OwnSchema>,
    /// Its resource types of entitlements, then those of roles.
    pub catalogs: Vec<Catalog>,
    /// Whether users can be given only what is in the catalogs.
    pub check_entitlements: bool,
    /// The node that serves it, where there are several; see [`ServerSettings::node`](crate::config::ServerSettings).
    pub node: Option<NodeName>,
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

/// What POST of a userName does whose user exists and is inactive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRecreate {
    /// The user comes back with its id and memberships and takes the new attributes.
    #[default]
    Reactivate,
    /// 409 `uniqueness`, as for an active user.
    Conflict,
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

/// Reads `[tenants.NAME]`. `hashes` are those of the tokens read so far.
pub(super) fn read(section: &Section<'_>, hashes: &mut Hashes) -> Result<TenantSettings, Error> {
    section.only(TENANT_KEYS)?;
    let mut tenant = TenantSettings::default();
    if let Some(entry) = section.get("name") {
        tenant.name = Some(name_for_people(&entry)?);
    }
    if let Some(entry) = section.get("profile") {
        tenant.profile = entry.word(Profile::WORDS)?;
    }
    tenant.on_recreate = match section.get("on_recreate") {
        Some(entry) => entry.word(OnRecreate::WORDS)?,
        None if tenant.profile.is_strict() => OnRecreate::Conflict,
        None => OnRecreate::default(),
    };
    if let Some(entry) = section.get("store_passwords") {
        tenant.store_passwords = entry.boolean()?;
    }
    tenant.life = tenant_life::read(section)?;
    tenant_schemas::read(section, &mut tenant)?;
    tenant.node = section.get("node").map(|entry| nodes::name(&entry)).transpose()?;
    if let Some(entry) = section.get("tokens") {
        let sections = entry.tables()?;
        if sections.len() > TENANT_TOKENS_MAX {
            return Err(entry.error(format!("expected at most {TENANT_TOKENS_MAX} tokens")));
        }
        // Thousands of tenants have one token each; room for more would be most of what they take.
        tenant.tokens.reserve_exact(sections.len());
        for section in sections {
            let token = token::read(&section, &tenant.tokens, hashes)?;
            tenant.tokens.push(token);
        }
    }
    Ok(tenant)
}

fn name_for_people(entry: &Entry<'_>) -> Result<String, Error> {
    let text = entry.text("a name")?;
    let right = !text.trim().is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    let problem = format!("expected a name of 1 to {NAME_CHARS_MAX} characters on one line");
    if right { Ok(text.to_owned()) } else { Err(entry.error(problem)) }
}

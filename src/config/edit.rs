//! Edits of the text of `tenants.toml` that leave every other byte as it is: comments, order, formatting.
//!
//! Each takes a text that [`parse()`] takes and gives such a text back; both are checked. Reading and
//! replacing the file is the business of `tenants`.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use crate::config::nodes::NodeName;
use crate::config::{
    Access, Settings, TENANT_TOKENS_MAX, TOKEN_NAME_CHARS_MAX, TenantName, TenantSettings, is_token_name,
    parse,
};
use crate::secret::TokenHash;

mod tenant;

pub use tenant::{remove_tenant, set_paused};

/// The name that errors give the text; callers who have a file's name parse the text before they edit it.
const FILE: &str = "tenants.toml";

/// A token to be added.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What people and logs will call it.
    pub name: String,
    /// The hash of the token.
    pub hash: TokenHash,
    /// When it was made, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: i64,
    /// From when on it is refused.
    pub expires_ms: Option<i64>,
    /// What it may do.
    pub access: Access,
    /// The id of the user that it stands for.
    pub user: Option<String>,
}

/// Why a text was not edited. One sentence for the operator, without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not right as it is, or an edit of it would not be.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// No such tenant.
    #[error("there is no tenant {tenant}; {known}")]
    UnknownTenant {
        /// What was asked for.
        tenant: String,
        /// Which tenants there are.
        known: String,
    },
    /// The tenant is there already.
    #[error("there is a tenant {0} already")]
    TenantExists(TenantName),
    /// No such token.
    #[error("tenant {tenant} has no token {token:?}; {known}")]
    UnknownToken {
        /// The tenant.
        tenant: TenantName,
        /// What was asked for.
        token: String,
        /// Which tokens the tenant has.
        known: String,
    },
    /// The tenant has a token of that name.
    #[error("tenant {tenant} has a token {token:?} already; revoke it first, or take another name")]
    TokenExists {
        /// The tenant.
        tenant: TenantName,
        /// The name.
        token: String,
    },
    /// The text cannot be the name of a token.
    #[error(
        "a token's name has 1 to {TOKEN_NAME_CHARS_MAX} letters, digits, inner blanks, \".\", \"_\" and \"-\""
    )]
    BadTokenName,
    /// A time that TOML has no form for.
    #[error("a token's times lie in the years 0 to 9999")]
    BadInstant,
    /// The tenant has as many tokens as it may have.
    #[error("tenant {0} has {TENANT_TOKENS_MAX} tokens, which is the most; revoke one first")]
    TooManyTokens(TenantName),
    /// The text is written in a way that this module does not edit.
    #[error("{0} is written in a form that this command does not edit; edit the file by hand")]
    Form(String),
}

/// Adds `[tenants.NAME]` at the end, with the customer's name for people.
///
/// # Errors
/// [`Error::TenantExists`], or what is wrong with the text.
pub fn add_tenant(text: &str, name: &TenantName, customer: Option<&str>) -> Result<String, Error> {
    let settings = parse(text, FILE)?;
    if settings.tenants.contains_key(name) {
        return Err(Error::TenantExists(name.clone()));
    }
    let mut document = read(text)?;
    let root = document.as_table_mut();
    if !root.contains_key("tenants") {
        let mut tenants = Table::new();
        tenants.set_implicit(true);
        root.insert("tenants", Item::Table(tenants));
    }
    let form = || Error::Form("tenants".to_owned());
    match root.get_mut("tenants").ok_or_else(form)? {
        Item::Table(tenants) => {
            let mut tenant = Table::new();
            tenant.decor_mut().set_prefix(if text.trim().is_empty() { "" } else { "\n" });
            if let Some(customer) = customer {
                tenant.insert("name", value(customer));
            }
            tenants.insert(name.as_str(), Item::Table(tenant));
        }
        other => {
            let tenants = other.as_table_like_mut().ok_or_else(form)?;
            let mut tenant = InlineTable::new();
            if let Some(customer) = customer {
                tenant.insert("name", customer.into());
            }
            tenants.insert(name.as_str(), value(tenant));
        }
    }
    checked(document.to_string())
}

/// Adds a token at the end of a tenant's tokens.
///
/// # Errors
/// [`Error`] when there is no such tenant, the name is taken or cannot be one, or there are too many tokens.
pub fn add_token(text: &str, tenant: &TenantName, token: &NewToken) -> Result<String, Error> {
    let settings = parse(text, FILE)?;
    let known = settings.tenants.get(tenant).ok_or_else(|| unknown_tenant(&settings, tenant))?;
    if !is_token_name(&token.name) {
        return Err(Error::BadTokenName);
    }
    if known.tokens.iter().any(|other| *other.name == token.name) {
        return Err(Error::TokenExists { tenant: tenant.clone(), token: token.name.clone() });
    }
    if known.tokens.len() >= TENANT_TOKENS_MAX {
        return Err(Error::TooManyTokens(tenant.clone()));
    }
    let mut document = read(text)?;
    let form = || Error::Form(format!("tenants.{tenant}"));
    let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let item = tenants.get_mut(tenant.as_str()).ok_or_else(form)?;
    let inline = !item.is_table();
    let table = item.as_table_like_mut().ok_or_else(form)?;
    if table.get("tokens").is_none() {
        let empty = if inline { value(toml_edit::Array::new()) } else { ArrayOfTables::new().into() };
        table.insert("tokens", empty);
    }
    match table.get_mut("tokens").ok_or_else(form)? {
        Item::ArrayOfTables(tokens) => {
            let mut table = Table::new();
            table.decor_mut().set_prefix("\n");
            fill(&mut table, token)?;
            tokens.push(table);
        }
        Item::Value(Value::Array(tokens)) => {
            let mut table = InlineTable::new();
            fill(&mut table, token)?;
            tokens.push(table);
        }
        _ => return Err(form()),
    }
    checked(document.to_string())
}

fn fill(table: &mut dyn TableLike, token: &NewToken) -> Result<(), Error> {
    table.insert("name", value(token.name.as_str()));
    table.insert("hash", value(token.hash.expose()));
    table.insert("created", value(datetime(token.created_ms)?));
    if let Some(expires_ms) = token.expires_ms {
        table.insert("expires", value(datetime(expires_ms)?));
    }
    table.insert("access", value(token.access.as_str()));
    if let Some(user) = &token.user {
        table.insert("user", value(user.as_str()));
    }
    Ok(())
}

/// The instant in whole seconds, as TOML writes it.
fn datetime(ms: i64) -> Result<toml_edit::Datetime, Error> {
    let instant = jiff::Timestamp::from_second(ms.div_euclid(1000)).map_err(|_| Error::BadInstant)?;
    instant.to_string().parse().map_err(|_| Error::BadInstant)
}

/// Takes a token away, with the comment lines that stand directly above it.
///
/// # Errors
/// [`Error`] when there is no such tenant or token.
pub fn revoke_token(text: &str, tenant: &TenantName, token_name: &str) -> Result<String, Error> {
    let settings = parse(text, FILE)?;
    let known = settings.tenants.get(tenant).ok_or_else(|| unknown_tenant(&settings, tenant))?;
    let index = index_of(known, tenant, token_name)?;
    let left = match lines_of_token(text, tenant, index) {
        Some(lines) => format!("{}{}", &text[..lines.start], &text[lines.end..]),
        None => without_inline_token(text, tenant, index)?,
    };
    let left = checked(left)?;
    // A revocation that did not take effect must not look like one that did.
    match parse(&left, FILE)?.tenants.get(tenant) {
        Some(after) if after.tokens.len() + 1 == known.tokens.len() => Ok(left),
        _ => Err(Error::Form(format!("tenants.{tenant}.tokens"))),
    }
}

/// What becomes of a token that another one takes over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// It goes on until then, in milliseconds since 1970-01-01T00:00:00Z, or until its own expiry when that is
    /// earlier.
    Until(i64),
    /// It is taken away.
    AtOnce,
}

/// Adds a token and ends the one that it takes over from, in one edit.
///
/// # Errors
/// As [`add_token`] and [`revoke_token`].
pub fn rotate_token(
    text: &str,
    tenant: &TenantName,
    old_name: &str,
    handover: Handover,
    new: &NewToken,
) -> Result<String, Error> {
    let Handover::Until(end_ms) = handover else {
        return add_token(&revoke_token(text, tenant, old_name)?, tenant, new);
    };
    let settings = parse(text, FILE)?;
    let known = settings.tenants.get(tenant).ok_or_else(|| unknown_tenant(&settings, tenant))?;
    let index = index_of(known, tenant, old_name)?;
    let ends_earlier = known.tokens[index].expires_ms.is_some_and(|expires_ms| expires_ms <= end_ms);
    let with_end = if ends_earlier { text.to_owned() } else { with_expiry(text, tenant, index, end_ms)? };
    add_token(&with_end, tenant, new)
}

/// Gives a token another expiry.
fn with_expiry(text: &str, tenant: &TenantName, index: usize, expires_ms: i64) -> Result<String, Error> {
    let mut document = read(text)?;
    let form = || Error::Form(format!("tenants.{tenant}.tokens"));
    let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let table = tenants.get_mut(tenant.as_str()).and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let token: &mut dyn TableLike = match table.get_mut("tokens").ok_or_else(form)? {
        Item::ArrayOfTables(tokens) => tokens.get_mut(index).ok_or_else(form)?,
        Item::Value(Value::Array(tokens)) => {
            tokens.get_mut(index).and_then(Value::as_inline_table_mut).ok_or_else(form)?
        }
        _ => return Err(form()),
    };
    let expires = datetime(expires_ms)?;
    match token.get_mut("expires").and_then(Item::as_value_mut) {
        Some(old) => {
            // What stands behind it, such as a comment, stays.
            let decor = old.decor().clone();
            *old = Value::from(expires);
            *old.decor_mut() = decor;
        }
        None => {
            token.insert("expires", value(expires));
        }
    }
    checked(document.to_string())
}

fn index_of(known: &TenantSettings, tenant: &TenantName, token_name: &str) -> Result<usize, Error> {
    let index = known.tokens.iter().position(|token| &*token.name == token_name);
    index.ok_or_else(|| Error::UnknownToken {
        tenant: tenant.clone(),
        token: token_name.to_owned(),
        known: list(
            "its tokens are",
            "it has none",
            known.tokens.iter().map(|token| format!("{:?}", token.name)),
        ),
    })
}

/// The name of a token that takes over from another: that one's name with the day, in place of the day that it may
/// have. `day` is as `2027-01-31`; a number is added while the name is taken.
pub fn next_token_name(known: &TenantSettings, old_name: &str, day: &str) -> String {
    let stem = without_day(old_name);
    let room = TOKEN_NAME_CHARS_MAX - "-2027-01-31-16".len();
    let stem: String = stem.chars().take(room).collect();
    let names = std::iter::once(format!("{stem}-{day}"))
        .chain((2..=TENANT_TOKENS_MAX + 1).map(|number| format!("{stem}-{day}-{number}")));
    let is_free = |name: &String| !known.tokens.iter().any(|token| *token.name == **name);
    names.into_iter().find(is_free).unwrap_or_default()
}

/// `okta-2027-01-31` and `okta-2027-01-31-2` as `okta`.
fn without_day(name: &str) -> &str {
    let digits_and_dashes = |c: char| c.is_ascii_digit() || c == '-';
    let stem = name.trim_end_matches(digits_and_dashes);
    let is_day = |text: &str| {
        let day = text.get(..11).unwrap_or_default();
        day.strip_prefix('-').is_some_and(|day| day.parse::<jiff::civil::Date>().is_ok())
            && (text.len() == 11 || text[11..].strip_prefix('-').is_some_and(|rest| !rest.contains('-')))
    };
    if !stem.is_empty() && is_day(&name[stem.len()..]) { stem } else { name }
}

/// Writes into the tables of tenants which node serves them.
///
/// # Errors
/// [`Error`] when the text has no such tenant, or a form that this does not edit.
pub fn pin_tenants<'a>(
    text: &str,
    pins: impl Iterator<Item = (&'a TenantName, &'a NodeName)>,
) -> Result<String, Error> {
    let settings = parse(text, FILE)?;
    let mut document = read(text)?;
    for (tenant, node) in pins {
        if !settings.tenants.contains_key(tenant) {
            return Err(unknown_tenant(&settings, tenant));
        }
        let form = || Error::Form(format!("tenants.{tenant}"));
        let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
        let table = tenants.get_mut(tenant.as_str()).and_then(Item::as_table_like_mut).ok_or_else(form)?;
        table.insert("node", value(node.as_str()));
    }
    checked(document.to_string())
}

/// The whole lines of `[[tenants.NAME.tokens]]`, from the comment directly above it to its last value and one
/// blank line after that; `None` when the tokens are written as an inline array.
fn lines_of_token(text: &str, tenant: &TenantName, index: usize) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Table(tenants) = document.get_ref().get("tenants")?.get_ref() else { return None };
    let DeValue::Table(tenant) = tenants.get(tenant.as_str())?.get_ref() else { return None };
    let DeValue::Array(tokens) = tenant.get("tokens")?.get_ref() else { return None };
    let token = tokens.get(index)?;
    let DeValue::Table(table) = token.get_ref() else { return None };
    let header = token.span();
    if !text.get(header.clone())?.starts_with("[[") {
        return None;
    }
    let last = table.values().map(|value| value.span().end).chain([header.end]).max()?;
    let mut start = line_start(text, header.start);
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text[above..start].trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    let mut end = line_end(text, last);
    let below = line_end(text, end);
    if text[end..below].trim().is_empty() {
        end = below;
    }
    Some(start..end)
}

/// The first byte of the line that the byte is in.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The first byte after the line that the byte is in.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn without_inline_token(text: &str, tenant: &TenantName, index: usize) -> Result<String, Error> {
    let mut document = read(text)?;
    let form = || Error::Form(format!("tenants.{tenant}.tokens"));
    let tenants = document.get_mut("tenants").and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let table = tenants.get_mut(tenant.as_str()).and_then(Item::as_table_like_mut).ok_or_else(form)?;
    let tokens = table.get_mut("tokens").and_then(Item::as_array_mut).ok_or_else(form)?;
    tokens.remove(index);
    Ok(document.to_string())
}

fn unknown_tenant(settings: &Settings, tenant: &TenantName) -> Error {
    let known =
        list("the tenants are", "there are none yet", settings.tenants.keys().map(TenantName::to_string));
    Error::UnknownTenant { tenant: tenant.to_string(), known }
}

/// `some: a, b`, or `none`.
fn list(some: &str, none: &str, names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { none.to_owned() } else { format!("{some} {}", names.join(", ")) }
}

/// For a text that [`parse()`] took.
fn read(text: &str) -> Result<DocumentMut, Error> {
    text.parse().map_err(|_| Error::Form("the text".to_owned()))
}

/// What an edit makes is read again before anybody writes it to a file.
fn checked(text: String) -> Result<String, Error> {
    parse(&text, FILE)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn hash(number: u32) -> String {
        HASH.replace("c29tZXNhbHQ", &format!("c29tZXNhbHQ{number:05}"))
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    fn token(name: &str, number: u32) -> NewToken {
        NewToken {
            name: name.to_owned(),
            hash: TokenHash::parse(&hash(number)).unwrap(),
            created_ms: 1_767_323_045_678,
            expires_ms: None,
            access: Access::ReadWrite,
            user: None,
        }
    }

    #[test]
    fn a_tenant_is_pinned_to_its_node_and_all_else_stays() {
        let text = "# Ours.\n[tenants.acme] # first\nname = \"Acme\"\n\n[tenants.globex]\nnode = \"n1\"\n";
        let (acme, globex, n2) = (name("acme"), name("globex"), name("n2"));
        let pinned = pin_tenants(text, [(&acme, &n2), (&globex, &n2)].into_iter()).unwrap();
        let expected = "# Ours.\n[tenants.acme] # first\nname = \"Acme\"\nnode = \"n2\"\n\n[tenants.globex]\nnode = \"n2\"\n";
        assert_eq!(pinned, expected);
        assert!(matches!(pin_tenants(text, [(&n2, &n2)].into_iter()), Err(Error::UnknownTenant { .. })));
    }

    /// A file as people write them.
    fn kept_by_hand() -> String {
        let (first, second, third) = (hash(1), hash(2), hash(3));
        format!(
            r#"# Our tenants.   Ask Ada before changing anything.
[server]
listen   = '0.0.0.0:8080' # behind the proxy

[tenants.acme] # since 2024
name = "Acme"

# The old one.
# Ask before revoking.
[[tenants.acme.tokens]]
name = "old"   # from Bob
hash = "{first}"
# never expires

# about the tenant, not about a token

[[tenants.acme.tokens]]
hash = "{second}"
name = "new"
expires = 2027-01-01 # soon


# Globex is small.
[tenants.globex]
tokens = [ {{ name = "only", hash = "{third}" }} ] # one

# the end
"#
        )
    }

    #[test]
    fn a_tenant_is_added_at_the_end_and_nothing_else_changes() {
        let before = kept_by_hand();
        let after = add_tenant(&before, &name("initech"), None).unwrap();
        let end = "\n# the end\n";
        let kept = before.strip_suffix(end).unwrap();
        assert_eq!(after, format!("{kept}\n[tenants.initech]\n{end}"));
        assert_eq!(add_tenant("", &name("a"), None).unwrap(), "[tenants.a]\n");
        assert_eq!(add_tenant("", &name("a"), Some("A \"B\"")).unwrap(), "[tenants.a]\nname = 'A \"B\"'\n");
        assert!(
            add_tenant("", &name("a"), Some(" "))
                .unwrap_err()
                .to_string()
                .contains("tenants.a.name: expected")
        );
        assert_eq!(
            add_tenant("[tenants]\nb = {}\n", &name("a"), None).unwrap(),
            "[tenants]\nb = {}\n\n[tenants.a]\n"
        );
        assert_eq!(
            add_tenant("tenants = { b = {} }\n", &name("a"), None).unwrap(),
            "tenants = { b = {} , a = {} }\n"
        );
    }

    #[test]
    fn a_tenant_is_not_added_twice() {
        let error = add_tenant(&kept_by_hand(), &name("acme"), None).unwrap_err();
        assert_eq!(error.to_string(), "there is a tenant acme already");
    }

    #[test]
    fn a_token_is_added_after_the_tenants_other_tokens() {
        let before = kept_by_hand();
        let added =
            NewToken { expires_ms: Some(1_798_848_000_000), access: Access::ReadOnly, ..token("third", 4) };
        let after = add_token(&before, &name("acme"), &added).unwrap();
        let new = format!(
            "\n[[tenants.acme.tokens]]\nname = \"third\"\nhash = \"{}\"\ncreated = 2026-01-02T03:04:05Z\nexpires = 2027-01-02T00:00:00Z\naccess = \"read-only\"\n",
            hash(4)
        );
        let (head, tail) = before.split_once("\n\n# Globex").unwrap();
        assert_eq!(after, format!("{head}{new}\n\n# Globex{tail}"));
        let read = parse(&after, "").unwrap().tenants["acme"].tokens[2].clone();
        assert_eq!((read.name, read.created_ms), ("third".into(), Some(1_767_323_045_000)));
        assert_eq!((read.expires_ms, read.access), (added.expires_ms, added.access));
    }

    #[test]
    fn a_first_token_follows_its_tenant() {
        let text = "[tenants.a]\nname = \"A\"\n\n# B\n[tenants.b]\n";
        let after = add_token(text, &name("a"), &token("okta", 1)).unwrap();
        let (head, tail) = after.split_once("\n[[tenants.a.tokens]]\n").unwrap();
        assert_eq!(head, "[tenants.a]\nname = \"A\"\n");
        assert!(tail.ends_with("access = \"read-write\"\n\n# B\n[tenants.b]\n"), "{tail}");
    }

    #[test]
    fn a_token_is_added_to_inline_forms_too() {
        let globex = add_token(&kept_by_hand(), &name("globex"), &token("second", 4)).unwrap();
        assert!(globex.contains("name = \"only\"") && globex.contains("] # one\n"), "{globex}");
        for text in [
            "tenants = { globex = {} }",
            "[tenants]\nglobex = { name = \"G\" }",
            "tenants.globex.name = \"G\"",
        ] {
            let after = add_token(text, &name("globex"), &token("first", 1)).unwrap();
            assert_eq!(parse(&after, "").unwrap().tenants["globex"].tokens.len(), 1, "{after}");
        }
    }

    #[test]
    fn tokens_that_cannot_be_added_are_refused_with_a_reason() {
        let text = kept_by_hand();
        let refused =
            |tenant: &str, token: &NewToken| add_token(&text, &name(tenant), token).unwrap_err().to_string();
        assert_eq!(
            refused("initech", &token("x", 4)),
            "there is no tenant initech; the tenants are acme, globex"
        );
        assert_eq!(
            refused("acme", &token("new", 4)),
            "tenant acme has a token \"new\" already; revoke it first, or take another name"
        );
        assert_eq!(
            refused("acme", &token(" x", 4)),
            "a token's name has 1 to 64 letters, digits, inner blanks, \".\", \"_\" and \"-\""
        );
        assert!(refused("acme", &token("x", 3)).contains("expected a hash of its own"));
        let expired = NewToken { expires_ms: Some(0), ..token("x", 4) };
        assert!(refused("acme", &expired).contains("expected a time after that of created"));
        let never = NewToken { expires_ms: Some(i64::MAX), ..token("x", 4) };
        assert_eq!(refused("acme", &never), "a token's times lie in the years 0 to 9999");
        let none = add_token("", &name("acme"), &token("x", 1)).unwrap_err();
        assert_eq!(none.to_string(), "there is no tenant acme; there are none yet");
        let mut full = "[tenants.acme]\n".to_owned();
        for number in 0..16 {
            full = add_token(&full, &name("acme"), &token(&format!("t{number}"), number)).unwrap();
        }
        let error = add_token(&full, &name("acme"), &token("x", 16)).unwrap_err();
        assert_eq!(error.to_string(), "tenant acme has 16 tokens, which is the most; revoke one first");
    }

    #[test]
    fn a_faulty_text_is_not_edited() {
        let error = add_tenant("[server]\nhuh = 1\n", &name("a"), None).unwrap_err();
        assert!(error.to_string().starts_with("tenants.toml:2: server.huh: unknown key"));
    }

    #[test]
    fn a_revoked_token_goes_with_its_own_comment_and_nothing_else() {
        let before = kept_by_hand();
        let after = revoke_token(&before, &name("acme"), "old").unwrap();
        let start = before.find("# The old one.").unwrap();
        let end = before.find("# never expires").unwrap();
        assert_eq!(after, format!("{}{}", &before[..start], &before[end..]));
        let after = revoke_token(&before, &name("acme"), "new").unwrap();
        let start = before.find("[[tenants.acme.tokens]]\nhash").unwrap();
        let end = before.find("\n# Globex").unwrap();
        assert_eq!(after, format!("{}{}", &before[..start], &before[end..]));
        let after = revoke_token(&before, &name("globex"), "only").unwrap();
        assert!(after.ends_with("[tenants.globex]\ntokens = [] # one\n\n# the end\n"), "{after}");
    }

    #[test]
    fn tokens_can_be_revoked_to_the_last_and_made_anew() {
        let mut text = kept_by_hand();
        for token in ["old", "new"] {
            text = revoke_token(&text, &name("acme"), token).unwrap();
        }
        assert!(parse(&text, "").unwrap().tenants["acme"].tokens.is_empty());
        let text = add_token(&text, &name("acme"), &token("old", 5)).unwrap();
        assert_eq!(parse(&text, "").unwrap().tenants["acme"].tokens.len(), 1);
    }

    #[test]
    fn adding_and_revoking_gives_the_text_back() {
        let before = kept_by_hand();
        let after = add_token(&before, &name("acme"), &token("x", 4)).unwrap();
        let back = revoke_token(&after, &name("acme"), "x").unwrap();
        assert_eq!(parse(&back, "").unwrap(), parse(&before, "").unwrap());
        assert_eq!(back.matches('#').count(), before.matches('#').count());
    }

    #[test]
    fn texts_with_windows_line_ends_or_without_a_last_one_are_edited() {
        for text in [kept_by_hand().replace('\n', "\r\n"), kept_by_hand().trim_end().to_owned()] {
            let after = revoke_token(&text, &name("acme"), "old").unwrap();
            let after = add_token(&after, &name("acme"), &token("x", 4)).unwrap();
            let after = add_tenant(&after, &name("initech"), None).unwrap();
            let settings = parse(&after, "").unwrap();
            assert_eq!((settings.tenants.len(), settings.tenants["acme"].tokens.len()), (3, 2));
        }
    }

    #[test]
    fn a_token_that_is_not_there_is_not_revoked() {
        let refused = |text: &str, tenant: &str, token: &str| {
            revoke_token(text, &name(tenant), token).unwrap_err().to_string()
        };
        let text = kept_by_hand();
        assert_eq!(
            refused(&text, "acme", "Old"),
            "tenant acme has no token \"Old\"; its tokens are \"old\", \"new\""
        );
        assert_eq!(refused("[tenants.a]", "a", "x"), "tenant a has no token \"x\"; it has none");
        assert_eq!(refused(&text, "b", "x"), "there is no tenant b; the tenants are acme, globex");
    }

    #[test]
    fn no_error_shows_a_hash() {
        let text = kept_by_hand();
        let same = NewToken { ..token("x", 3) };
        let error = add_token(&text, &name("acme"), &same).unwrap_err();
        assert!(!format!("{error} {error:?} {same:?}").contains("$argon2id"));
    }

    #[test]
    fn a_rotated_token_ends_when_the_handover_does_and_never_later_than_before() {
        let day_ms = 24 * 3_600_000;
        let new = token("new", 9);
        let expires = |text: &str, name: &str| {
            let settings = parse(text, "t").unwrap();
            let token = settings.tenants["a"].tokens.iter().find(|token| &*token.name == name).cloned();
            token.map(|token| token.expires_ms)
        };
        let end_ms = new.created_ms + 7 * day_ms;
        for (written, kept) in [
            ("", end_ms / 1000 * 1000),
            ("expires = 2030-01-01T00:00:00Z # as agreed", end_ms / 1000 * 1000),
            ("expires = \"2026-01-04\"", 1_767_484_800_000),
        ] {
            let text = format!(
                "# A\n[tenants.a]\n\n# The old one.\n[[tenants.a.tokens]]\nname = \"old\"\nhash = \"{}\"\n{written}\n",
                hash(1)
            );
            let rotated = rotate_token(&text, &name("a"), "old", Handover::Until(end_ms), &new).unwrap();
            assert_eq!(expires(&rotated, "old"), Some(Some(kept)), "{rotated}");
            assert_eq!(expires(&rotated, "new"), Some(None));
            assert!(
                rotated
                    .starts_with("# A\n[tenants.a]\n\n# The old one.\n[[tenants.a.tokens]]\nname = \"old\"")
            );
            assert_eq!(rotated.contains("# as agreed"), written.contains("# as agreed"));
            let at_once = rotate_token(&text, &name("a"), "old", Handover::AtOnce, &new).unwrap();
            assert_eq!((expires(&at_once, "old"), expires(&at_once, "new")), (None, Some(None)));
        }
        let inline =
            format!("[tenants]\na = {{ tokens = [{{ name = \"old\", hash = \"{}\" }}] }}\n", hash(1));
        let rotated = rotate_token(&inline, &name("a"), "old", Handover::Until(end_ms), &new).unwrap();
        assert_eq!(expires(&rotated, "old"), Some(Some(end_ms / 1000 * 1000)));
        let unknown = rotate_token(&inline, &name("a"), "older", Handover::Until(end_ms), &new);
        assert!(matches!(unknown, Err(Error::UnknownToken { .. })));
    }

    #[test]
    fn the_next_token_has_the_name_of_the_last_with_its_own_day() {
        let named = |names: &[&str], old: &str| {
            let mut settings = TenantSettings::default();
            let text: String = names
                .iter()
                .zip(1..)
                .map(|(name, number)| {
                    format!("[[tenants.a.tokens]]\nname = \"{name}\"\nhash = \"{}\"\n", hash(number))
                })
                .collect();
            settings.tokens = parse(&text, "t").unwrap().tenants["a"].tokens.clone();
            next_token_name(&settings, old, "2027-01-31")
        };
        assert_eq!(named(&["okta"], "okta"), "okta-2027-01-31");
        assert_eq!(named(&["okta-2026-12-01"], "okta-2026-12-01"), "okta-2027-01-31");
        assert_eq!(named(&["okta-2027-01-31"], "okta-2027-01-31"), "okta-2027-01-31-2");
        assert_eq!(named(&["okta-2027-01-31-2"], "okta-2027-01-31-2"), "okta-2027-01-31");
        assert_eq!(named(&["okta 2026"], "okta 2026"), "okta 2026-2027-01-31");
        assert_eq!(named(&["2026-01-01"], "2026-01-01"), "2026-01-01-2027-01-31");
        let long = "x".repeat(TOKEN_NAME_CHARS_MAX);
        assert!(is_token_name(&named(&[&long], &long)));
    }
}

//! `ici-scim token`: the API tokens of a tenant, made, listed, rotated and revoked in the configuration file.
//!
//! The file holds a token's hash and never the token. A running server sees the changed file by itself.

mod rotate;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Globals;
use crate::cli::output::{self, Failure, Mark, Table};
use crate::cli::session::{self, Session};
use crate::clock::{Clock, SystemClock};
use crate::config::edit::NewToken;
use crate::config::{self, Access, TenantName, TokenSettings};
use crate::scim::{Kind, datetime};
use crate::secret::{TokenHash, TokenText};
use crate::tenants::{LastUsed, TOKEN_EXPIRES_SOON_MS};

const EXAMPLES: &str = "\
Examples:
  ici-scim token new acme --name okta
  ici-scim token list
  ici-scim token rotate acme okta --overlap 7d
  ici-scim token verify acme < token.txt
  ici-scim token revoke acme okta";

const NEW_EXAMPLES: &str = "\
The token is printed alone on standard output and nowhere else: only its hash is kept.
A running server takes the new token into service by itself.

Examples:
  ici-scim token new acme --name okta
  ici-scim token new acme --name okta-2027 --expires 365d
  ici-scim token new acme --name audit --read-only --expires 2027-06-30
  ici-scim token new acme --name ada --user ada@example.com
  TOKEN=$(ici-scim token new acme --name script --expires 12h)";

const LIST_EXAMPLES: &str = "\
LAST USED is known to a minute, or two where the server was not stopped in order. `-`: never, as far as is known.

Examples:
  ici-scim token list
  ici-scim token list acme --json";

const REVOKE_EXAMPLES: &str = "\
A running server refuses the token within a second.

Examples:
  ici-scim token revoke acme okta-2026";

/// The longest life of a token that can be asked for; a century is as good as for ever.
const LIFE_DAYS_MAX: i64 = 36_500;

const HOUR_MS: i64 = 3_600_000;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Make a token and print it, once
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// List the tokens of all tenants or of one
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Make a token that takes over from another, both good for a while
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(rotate::Rotate),
    /// Say which token of a tenant is on standard input
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Verify),
    /// Revoke a token
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke(Revoke),
}

/// Arguments of `token new`.
#[derive(Debug, Args)]
pub struct New {
    /// The tenant's name
    tenant: TenantName,
    /// What people and logs call the token
    #[arg(long)]
    name: String,
    /// How long it is good (90d, 12h), or from when on it is refused (2027-06-30, 2027-06-30T12:00:00Z) [default:
    /// it is good for ever]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// The token may read and may not change anything
    #[arg(long)]
    read_only: bool,
    /// The user that the token stands for at /Me: user name or id; what the token may do stays the same
    #[arg(long)]
    user: Option<String>,
}

/// Arguments of `token list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant's name
    tenant: Option<TenantName>,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The tenant's name
    tenant: TenantName,
    /// The token's name
    name: String,
}

/// Runs a command.
///
/// # Errors
/// When the configuration is wrong or cannot be written, or has no such tenant or token.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::New(new) => run_new(&new, globals),
        Command::List(list) => run_list(&list, globals),
        Command::Rotate(rotate) => rotate::run(&rotate, globals),
        Command::Verify(verify) => return verify::run(&verify, globals),
        Command::Revoke(revoke) => run_revoke(&revoke, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_new(new: &New, globals: &Globals) -> anyhow::Result<()> {
    let created_ms = SystemClock.now_ms();
    let expires_ms = new.expires.as_deref().map(|text| expiry(text, created_ms)).transpose()?;
    let access = if new.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let user = match &new.user {
        Some(user) => Some(Session::open(globals, &new.tenant)?.find_id(Kind::User, user)?),
        None => None,
    };
    let token = TokenText::generate()?;
    let hash = TokenHash::hash(&token)?;
    let entry = NewToken { name: new.name.clone(), hash, created_ms, expires_ms, access, user: user.clone() };
    session::edit(globals, &new.tenant, |text| config::edit::add_token(text, &new.tenant, &entry))?;
    let until = match expires_ms {
        Some(ms) => format!("expires at {}", shown(ms)),
        None => "never expires".to_owned(),
    };
    output::note(&format!("token {} of tenant {} ({}) {until}", new.name, new.tenant, access.as_str()));
    if let Some(user) = &user {
        output::note(&format!("at /Me it stands for the user {user}"));
    }
    output::note("it is shown only this once; the configuration keeps nothing but its hash");
    output::note("a running server takes it into service by itself");
    if globals.json {
        let expires = expires_ms.map(datetime::format);
        return output::json(&json!({
            "tenant": new.tenant.as_str(), "name": new.name, "access": access.as_str(),
            "expires": expires, "user": user, "token": token.expose(),
        }));
    }
    output::line(token.expose())
}

fn run_list(list: &List, globals: &Globals) -> anyhow::Result<()> {
    let settings = globals.settings()?;
    if let Some(tenant) = list.tenant.as_ref().filter(|tenant| !settings.tenants.contains_key(*tenant)) {
        return Err(session::unknown_tenant(&settings, tenant).into());
    }
    let now_ms = SystemClock.now_ms();
    let last_used = LastUsed::read(&globals.data_dir(&settings));
    let mut table =
        Table::new(&["TENANT", "TOKEN", "ACCESS", "CREATED", "EXPIRES", "STATE", "LAST USED", "USER"]);
    let mut all = Vec::new();
    for (tenant, chosen) in &settings.tenants {
        if list.tenant.as_ref().is_some_and(|only| only != tenant) {
            continue;
        }
        for token in &chosen.tokens {
            let (words, mark) = state(token, now_ms);
            let used_ms = last_used.of_token(tenant.as_str(), &token.name, token.created_ms);
            let access = token.access.as_str();
            table.row([
                tenant.to_string(),
                token.name.to_string(),
                access.to_owned(),
                token.created_ms.map(shown).unwrap_or_default(),
                token.expires_ms.map_or_else(|| "never".to_owned(), shown),
                words,
                used_ms.map_or_else(|| "-".to_owned(), shown),
                token.user.as_deref().unwrap_or("-").to_owned(),
            ]);
            table.mark(5, mark);
            let state = if is_expired(token, now_ms) { "expired" } else { "valid" };
            all.push(json!({
                "tenant": tenant.as_str(), "name": &*token.name, "access": access,
                "created": token.created_ms.map(datetime::format),
                "expires": token.expires_ms.map(datetime::format), "state": state,
                "lastUsed": used_ms.map(datetime::format), "user": token.user.as_deref(),
            }));
        }
    }
    if globals.json {
        return output::json(&Value::Array(all));
    }
    if all.is_empty() {
        let (whose, tenant) = match &list.tenant {
            Some(tenant) => (format!("tenant {tenant} has"), tenant.to_string()),
            None => ("there are".to_owned(), "TENANT".to_owned()),
        };
        output::note(&format!("{whose} no tokens yet; make one: `ici-scim token new {tenant} --name okta`"));
        return Ok(());
    }
    output::table(&table)
}

fn run_revoke(revoke: &Revoke, globals: &Globals) -> anyhow::Result<()> {
    session::edit(globals, &revoke.tenant, |text| {
        config::edit::revoke_token(text, &revoke.tenant, &revoke.name)
    })?;
    output::note(&format!("token {} of tenant {} is revoked", revoke.name, revoke.tenant));
    output::note("a running server refuses it within a second");
    Ok(())
}

/// Whether a token is refused for its age.
pub fn is_expired(token: &TokenSettings, now_ms: i64) -> bool {
    token.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
}

/// Whether a token is good, in words, and how they are to be shown.
fn state(token: &TokenSettings, now_ms: i64) -> (String, Mark) {
    const DAY_MS: i64 = 24 * HOUR_MS;
    let plural = |count: i64, unit: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("expires in {count} {unit}{s}")
    };
    match token.expires_ms.map(|expires_ms| expires_ms - now_ms) {
        Some(left_ms) if left_ms <= 0 => ("expired".to_owned(), Mark::Bad),
        Some(left_ms) if left_ms < HOUR_MS => (plural(left_ms / 60_000, "minute"), Mark::Bad),
        Some(left_ms) if left_ms < DAY_MS => (plural(left_ms / HOUR_MS, "hour"), Mark::Bad),
        Some(left_ms) if left_ms < TOKEN_EXPIRES_SOON_MS => (plural(left_ms / DAY_MS, "day"), Mark::Warning),
        _ => ("valid".to_owned(), Mark::None),
    }
}

/// An instant in whole seconds, for people.
pub fn shown(ms: i64) -> String {
    datetime::format(ms - ms.rem_euclid(1000)).replace(".000Z", "Z")
}

/// `90d`, `12h`, `2w`, a day or an RFC 3339 time as milliseconds since 1970.
fn expiry(text: &str, now_ms: i64) -> Result<i64, Failure> {
    let wrong = |problem: &str| {
        Failure::usage(format!("--expires {text}: {problem}"))
            .hint("for example 90d, 12h, 2027-06-30 or 2027-06-30T12:00:00Z")
    };
    let too_long =
        || wrong(&format!("at most {LIFE_DAYS_MAX}d from now; leave it out for a token that never expires"));
    let expires_ms = match duration_ms(text) {
        Some(duration_ms) => duration_ms.and_then(|ms| now_ms.checked_add(ms)).ok_or_else(too_long)?,
        None => datetime::parse(text)
            .or_else(|| datetime::parse(&format!("{text}T00:00:00Z")))
            .ok_or_else(|| wrong("expected a number of days or hours, a day or a time"))?,
    };
    if expires_ms <= now_ms {
        return Err(wrong("that is not in the future"));
    }
    if expires_ms - now_ms > LIFE_DAYS_MAX * 24 * HOUR_MS {
        return Err(too_long());
    }
    Ok(expires_ms)
}

/// None: not of the form of a duration. `Some(None)`: too long to count.
fn duration_ms(text: &str) -> Option<Option<i64>> {
    let unit_ms = match text.chars().last()? {
        'h' => HOUR_MS,
        'd' => 24 * HOUR_MS,
        'w' => 7 * 24 * HOUR_MS,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z
    const NOW_MS: i64 = 1_767_225_600_000;

    #[test]
    fn an_expiry_is_a_span_a_day_or_a_time() {
        let in_hours = |text| (expiry(text, NOW_MS).unwrap() - NOW_MS) / HOUR_MS;
        assert_eq!(in_hours("12h"), 12);
        assert_eq!(in_hours("90d"), 90 * 24);
        assert_eq!(in_hours("2w"), 14 * 24);
        assert_eq!(in_hours("2026-01-03"), 48);
        assert_eq!(in_hours("2026-01-01T03:00:00+01:00"), 2);
    }

    #[test]
    fn an_expiry_that_is_none_or_past_or_a_century_away_is_wrong_usage() {
        for text in ["", "d", "0d", "-1d", "1.5d", "90", "90m", "tomorrow", "2025-12-31", "2026-02-30", "ä"]
        {
            assert!(expiry(text, NOW_MS).is_err(), "{text}");
        }
        for text in ["36501d", "99999999999999999999d", "9223372036854775807h", "2300-01-01"] {
            assert!(expiry(text, NOW_MS).unwrap_err().to_string().contains("at most 36500d"), "{text}");
        }
    }

    #[test]
    fn a_state_tells_how_long_a_token_is_good() {
        let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let text = format!("[[tenants.a.tokens]]\nname = \"x\"\nhash = \"{hash}\"");
        let mut token = config::parse(&text, "t").unwrap().tenants["a"].tokens[0].clone();
        let mut told = |left_ms: Option<i64>| {
            token.expires_ms = left_ms.map(|left_ms| NOW_MS + left_ms);
            state(&token, NOW_MS)
        };
        let day_ms = 24 * HOUR_MS;
        for (left_ms, words, mark) in [
            (None, "valid", Mark::None),
            (Some(30 * day_ms), "valid", Mark::None),
            (Some(30 * day_ms - 1), "expires in 29 days", Mark::Warning),
            (Some(day_ms), "expires in 1 day", Mark::Warning),
            (Some(day_ms - 1), "expires in 23 hours", Mark::Bad),
            (Some(61_000), "expires in 1 minute", Mark::Bad),
            (Some(0), "expired", Mark::Bad),
        ] {
            assert_eq!(told(left_ms), (words.to_owned(), mark));
        }
    }

    #[test]
    fn an_instant_is_shown_without_its_fraction() {
        assert_eq!(shown(NOW_MS + 999), "2026-01-01T00:00:00Z");
    }
}

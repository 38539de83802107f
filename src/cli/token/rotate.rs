//! `ici-scim token rotate`: a new token that takes over from an old one, both good for a while.

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::cli::output::{self, Failure};
use crate::cli::session;
use crate::cli::token::{duration_ms, expiry, shown};
use crate::clock::{Clock, SystemClock};
use crate::config::edit::{self, Handover, NewToken};
use crate::config::{TenantName, TokenSettings};
use crate::scim::datetime;
use crate::secret::{TokenHash, TokenText};

pub(super) const EXAMPLES: &str = "\
The new token is printed alone on standard output. The old one stays good for the overlap, and never longer than it \
was to: enter the new one in Okta, press Test API Credentials and Save, and let the old one end by itself.

The new token has the old one's access and user, and its name with the day: okta, okta-2027-01-31,
okta-2027-04-30. It lives as long as the old one was to live, or for ever.

Examples:
  ici-scim token rotate acme okta
  ici-scim token rotate acme okta --overlap 24h --expires 365d
  ici-scim token rotate acme okta --name okta-next
  ici-scim token rotate acme okta --overlap 0";

/// Arguments of `token rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The tenant's name
    tenant: TenantName,
    /// The name of the token that is to end
    name: String,
    /// How long the old token stays good (7d, 12h); 0 ends it at once
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    overlap: String,
    /// What people and logs call the new token [default: the old name with the day]
    #[arg(long = "name", value_name = "NEW-NAME")]
    new_name: Option<String>,
    /// How long the new token is good (90d, 12h), or from when on it is refused [default: as long as the old one was
    /// to live, or for ever]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// Makes the new token, prints it, and lets the old one end.
pub(super) fn run(rotate: &Rotate, globals: &Globals) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let handover = handover(&rotate.overlap, now_ms)?;
    let settings = globals.settings()?;
    let Some(tenant) = settings.tenants.get(&rotate.tenant) else {
        return Err(session::unknown_tenant(&settings, &rotate.tenant).into());
    };
    let Some(old) = tenant.tokens.iter().find(|token| *token.name == *rotate.name) else {
        return Err(Failure::failed(format!("tenant {} has no token {:?}", rotate.tenant, rotate.name))
            .hint(format!("`ici-scim token list {}` shows its tokens", rotate.tenant))
            .into());
    };
    let expires_ms = match &rotate.expires {
        Some(text) => Some(expiry(text, now_ms)?),
        None => life_ms(old).map(|life_ms| now_ms.saturating_add(life_ms)),
    };
    let today = datetime::format(now_ms);
    let name = rotate
        .new_name
        .clone()
        .unwrap_or_else(|| edit::next_token_name(tenant, &rotate.name, today.get(..10).unwrap_or_default()));
    let token = TokenText::generate()?;
    let new = NewToken {
        name,
        hash: TokenHash::hash(&token)?,
        created_ms: now_ms,
        expires_ms,
        access: old.access,
        user: old.user.as_deref().map(str::to_owned),
    };
    session::edit(globals, &rotate.tenant, |text| {
        edit::rotate_token(text, &rotate.tenant, &rotate.name, handover, &new)
    })?;
    report(rotate, &new, old, handover, now_ms);
    if globals.json {
        let old_expires = old_end_ms(old, handover).map(datetime::format);
        return output::json(&json!({
            "tenant": rotate.tenant.as_str(), "name": new.name, "access": new.access.as_str(),
            "expires": new.expires_ms.map(datetime::format), "user": new.user, "token": token.expose(),
            "replaces": { "name": rotate.name, "expires": old_expires },
        }));
    }
    output::line(token.expose())
}

fn handover(overlap: &str, now_ms: i64) -> Result<Handover, Failure> {
    let wrong = || {
        Failure::usage(format!("--overlap {overlap}: expected a number of days, hours or weeks"))
            .hint("for example 7d, 12h or 2w; 0 ends the old token at once")
    };
    let overlap_ms = if overlap == "0" { Some(0) } else { duration_ms(overlap).ok_or_else(wrong)? };
    match overlap_ms {
        Some(0) => Ok(Handover::AtOnce),
        Some(_) => expiry(overlap, now_ms).map(Handover::Until).map_err(|_| wrong()),
        None => Err(wrong()),
    }
}

/// How long a token was to live, where that is known.
fn life_ms(token: &TokenSettings) -> Option<i64> {
    Some(token.expires_ms? - token.created_ms?)
}

/// When the old token ends; `None`: it has.
fn old_end_ms(old: &TokenSettings, handover: Handover) -> Option<i64> {
    match handover {
        Handover::AtOnce => None,
        Handover::Until(end_ms) => Some(old.expires_ms.map_or(end_ms, |expires_ms| expires_ms.min(end_ms))),
    }
}

fn report(rotate: &Rotate, new: &NewToken, old: &TokenSettings, handover: Handover, now_ms: i64) {
    let until =
        new.expires_ms.map_or_else(|| "never expires".to_owned(), |ms| format!("expires at {}", shown(ms)));
    let Rotate { tenant, name, .. } = rotate;
    output::note(&format!("token {} of tenant {tenant} ({}) {until}", new.name, new.access.as_str()));
    output::note(&match old_end_ms(old, handover) {
        None => format!("token {name} is taken out; a running server refuses it within a second"),
        Some(end_ms) if end_ms <= now_ms => format!("token {name} has expired at {} already", shown(end_ms)),
        Some(end_ms) => {
            format!("token {name} stays good until {}: enter the new one in Okta before that", shown(end_ms))
        }
    });
    output::note("it is shown only this once; the configuration keeps nothing but its hash");
    output::note("a running server takes it into service within a second");
}

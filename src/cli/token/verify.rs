//! `ici-scim token verify`: which of a tenant's tokens somebody has in hand.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::cli::output::{self, Failure, Table};
use crate::cli::session;
use crate::cli::token::{is_expired, shown, state};
use crate::clock::{Clock, SystemClock};
use crate::config::TenantName;
use crate::scim::datetime;
use crate::secret::TokenText;

pub(super) const EXAMPLES: &str = "\
The token is read from standard input and not taken as an argument, which others could see. It is held against
every token of the tenant, whichever it is.

Exit codes: 0 it is a valid token of the tenant, 1 it is not.

Examples:
  ici-scim token verify acme < token.txt
  pass show okta/acme | ici-scim token verify acme --json";

/// Most bytes that are read: a token has 53, and may have blanks and `Bearer` about it.
const INPUT_BYTES_MAX: u64 = 4096;

/// Arguments of `token verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The tenant's name
    tenant: TenantName,
}

/// Reads a token and says which it is.
pub(super) fn run(verify: &Verify, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    let Some(tenant) = settings.tenants.get(&verify.tenant) else {
        return Err(session::unknown_tenant(&settings, &verify.tenant).into());
    };
    let shown_token = read_token()?;
    // All are checked, so that the time tells nothing of which it is.
    let mut found = None;
    for token in &tenant.tokens {
        if token.hash.check(&shown_token)? {
            found = Some(token);
        }
    }
    let Some(token) = found else {
        return Err(Failure::failed(format!("this is no token of tenant {}", verify.tenant))
            .hint(format!("`ici-scim token list {}` shows which it has", verify.tenant))
            .into());
    };
    let now_ms = SystemClock.now_ms();
    let is_valid = !is_expired(token, now_ms);
    if globals.json {
        output::json(&json!({
            "tenant": verify.tenant.as_str(), "name": &*token.name, "access": token.access.as_str(),
            "expires": token.expires_ms.map(datetime::format),
            "state": if is_valid { "valid" } else { "expired" }, "user": token.user.as_deref(),
        }))?;
    } else {
        let (words, mark) = state(token, now_ms);
        let mut table = Table::new(&["TENANT", "TOKEN", "ACCESS", "EXPIRES", "STATE", "USER"]);
        table.row([
            verify.tenant.as_str(),
            &*token.name,
            token.access.as_str(),
            &token.expires_ms.map_or_else(|| "never".to_owned(), shown),
            &words,
            token.user.as_deref().unwrap_or("-"),
        ]);
        table.mark(4, mark);
        output::table(&table)?;
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_token() -> anyhow::Result<TokenText> {
    let mut stdin = std::io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        output::note("enter the token and press Enter");
        stdin.read_line(&mut text)?;
    } else {
        stdin.by_ref().take(INPUT_BYTES_MAX).read_to_string(&mut text).map_err(|_| not_a_token())?;
    }
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    Ok(TokenText::parse(text).ok_or_else(not_a_token)?)
}

fn not_a_token() -> Failure {
    Failure::failed(
        "what was read is not a token of this program: a character is missing, too many or another",
    )
    .hint("a token is ici_ and 49 letters and digits, on a line of its own")
}

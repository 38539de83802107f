//! `ici-scim check`: the configuration and every tenant's file, looked at without starting the server.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::output::{self, Failure, Table};
use crate::cli::session::Session;
use crate::cli::{Globals, attributes, token};
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, TenantName, TenantSettings, TlsSettings, TlsSource};
use crate::scim::Kind;
use crate::server::{Certificate, end_warning};
use crate::tenants::{OwnSchemas, TOKEN_EXPIRES_SOON_MS, file_of};

const EXAMPLES: &str = "\
Exit codes: 0 all is well, 1 a tenant's file is not, 2 the configuration is wrong.
Warnings do not change the exit code.

Examples:
  ici-scim check
  ici-scim check --config /etc/ici/tenants.toml --json";

/// Arguments of `check`; there are none of its own.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {}

/// Checks everything and reports it.
///
/// # Errors
/// When the configuration is wrong (exit code 2), or the report cannot be printed.
pub fn run(_: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    OwnSchemas::load(&settings, None)?;
    let mut warnings = server_warnings(&settings)?;
    let mut tenants = Vec::with_capacity(settings.tenants.len());
    for (tenant, chosen) in &settings.tenants {
        warnings.extend(token_warnings(tenant, chosen, SystemClock.now_ms()));
        let report = file_report(tenant, &settings);
        if report["problem"].is_null() {
            warnings.extend(user_warnings(tenant, chosen, &settings)?);
        }
        tenants.push(report);
    }
    warnings.extend(stray_files(&settings));
    let broken = tenants.iter().filter(|tenant| !tenant["problem"].is_null()).count();
    let configuration = globals.config.display().to_string();
    if globals.json {
        output::json(&json!({ "configuration": configuration, "tenants": tenants, "warnings": warnings }))?;
    } else {
        print(&tenants)?;
        for warning in &warnings {
            output::note(&format!("warning: {warning}"));
        }
        for tenant in &tenants {
            if let Some(problem) = tenant["problem"].as_str() {
                output::note(&format!("error: tenant {}: {problem}", attributes::plain(&tenant["name"])));
            }
        }
        output::note(&format!(
            "{configuration} is right; tenants {}, files with a problem {broken}, warnings {}",
            tenants.len(),
            warnings.len(),
        ));
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(tenants: &[Value]) -> anyhow::Result<()> {
    let mut table = Table::new(&["TENANT", "STATE", "USERS", "GROUPS", "FILE"]);
    for tenant in tenants {
        table.row(["name", "state", "users", "groups", "file"].map(|key| attributes::plain(&tenant[key])));
    }
    output::table(&table)
}

fn server_warnings(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    let secure = settings.server.tls.is_some();
    match &settings.server.public_url {
        // Who ends TLS itself is asked for by its public name, and answers point there.
        None if secure => {}
        None => warnings.push(format!(
            "server.public_url is not set: answers point to {}, where Okta cannot reach this server",
            settings.server.site()
        )),
        Some(url) if !url.starts_with("https://") => {
            warnings.push("server.public_url is not https://, and Okta takes nothing else".to_owned());
        }
        Some(_) => {}
    }
    if let Some(tls) = &settings.server.tls {
        warnings.extend(tls_warnings(tls, settings.server.public_url.as_deref(), SystemClock.now_ms())?);
    }
    if settings.tenants.is_empty() {
        warnings.push("there are no tenants; add one: `ici-scim tenant add NAME`".to_owned());
    }
    Ok(warnings)
}

/// What there is to say of the certificate. One that cannot be served is an error, since the server would not start.
fn tls_warnings(tls: &TlsSettings, public_url: Option<&str>, now_ms: i64) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    let host = public_url.and_then(|url| url.parse::<http::Uri>().ok()?.host().map(str::to_ascii_lowercase));
    let names = match &tls.source {
        TlsSource::Files { cert, key } => {
            let certificate = Certificate::read(cert, key).map_err(|reason| {
                Failure::usage(format!("[server.tls]: {reason}"))
                    .hint("name the files of a certificate and its key, both PEM, which this user may read")
            })?;
            warnings
                .extend(end_warning(&certificate, now_ms).map(|warning| format!("server.tls: {warning}")));
            certificate.names
        }
        TlsSource::Acme(acme) => {
            for file in
                acme.ca_file.iter().chain(acme.external_account.as_ref().map(|account| &account.key_file))
            {
                if let Err(error) = std::fs::File::open(file) {
                    warnings.push(format!("server.tls.acme: {} cannot be read: {error}", file.display()));
                }
            }
            acme.domains.clone()
        }
    };
    if let Some(host) = host.filter(|host| !names.iter().any(|name| covers(name, host))) {
        warnings.push(format!(
            "server.tls: the certificate is for {}, and not for {host} of public_url",
            if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
        ));
    }
    Ok(warnings)
}

/// Whether a name in a certificate covers a host; `*` stands for the first label (RFC 6125 §6.4.3).
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

fn token_warnings(tenant: &TenantName, chosen: &TenantSettings, now_ms: i64) -> Vec<String> {
    let mut warnings = Vec::new();
    for entry in &chosen.tokens {
        let Some(expires_ms) = entry.expires_ms else { continue };
        let (name, at) = (&entry.name, token::shown(expires_ms));
        if token::is_expired(entry, now_ms) {
            warnings.push(format!("tenant {tenant}: token {name} expired at {at}"));
        } else if expires_ms - now_ms < TOKEN_EXPIRES_SOON_MS {
            warnings.push(format!("tenant {tenant}: token {name} expires soon, at {at}"));
        }
    }
    if chosen.tokens.iter().all(|entry| token::is_expired(entry, now_ms)) {
        warnings.push(format!(
            "tenant {tenant} has no valid token, so no Okta can reach it: `ici-scim token new {tenant} --name NAME`"
        ));
    }
    warnings
}

/// Tokens that stand for a user who is not there: their `/Me` is 404.
fn user_warnings(
    tenant: &TenantName,
    chosen: &TenantSettings,
    settings: &Settings,
) -> anyhow::Result<Vec<String>> {
    let bound: Vec<_> =
        chosen.tokens.iter().filter_map(|token| Some((&token.name, token.user.as_deref()?))).collect();
    if bound.is_empty() {
        return Ok(Vec::new());
    }
    // A file that is not there has nobody in it, and is not made for this.
    let session = match file_of(&settings.server.data_dir, tenant).try_exists() {
        Ok(true) => Some(Session::with(settings, tenant)?),
        _ => None,
    };
    let mut warnings = Vec::new();
    for (name, id) in bound {
        let filter = format!("id eq \"{id}\"");
        let there = session.as_ref().map_or(Ok(0), |session| session.count(Kind::User, Some(&filter)))?;
        if there == 0 {
            warnings
                .push(format!("tenant {tenant}: token {name} stands for the user {id}, who is not there"));
        }
    }
    Ok(warnings)
}

/// What can be said of a tenant's file. One that is not there yet is not made for this.
fn file_report(tenant: &TenantName, settings: &Settings) -> Value {
    let file = file_of(&settings.server.data_dir, tenant);
    let mut report = json!({
        "name": tenant.as_str(), "file": file.display().to_string(), "state": "not made yet",
        "users": null, "groups": null, "problem": null,
    });
    // A file that cannot be looked at is not one that is missing: opening it tells why.
    if matches!(file.try_exists(), Ok(false)) {
        return report;
    }
    match look(tenant, settings) {
        Ok((users, groups)) => {
            report["state"] = json!("ok");
            report["users"] = json!(users);
            report["groups"] = json!(groups);
        }
        Err(error) => {
            report["state"] = json!("problem");
            report["problem"] = json!(format!("{error:#}"));
        }
    }
    report
}

fn look(tenant: &TenantName, settings: &Settings) -> anyhow::Result<(u64, u64)> {
    let session = Session::with(settings, tenant)?;
    session.quick_check()?;
    Ok((session.count(Kind::User, None)?, session.count(Kind::Group, None)?))
}

/// Files of tenants that the configuration does not have: as a rule it was renamed or taken out.
fn stray_files(settings: &Settings) -> Vec<String> {
    // A folder that is not there yet has none; one that cannot be read shows in the tenants' files.
    let Ok(entries) = std::fs::read_dir(&settings.server.data_dir) else { return Vec::new() };
    let mut stray: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sqlite"))
        .filter(|path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            !settings.tenants.contains_key(stem)
        })
        .map(|path| format!("{} belongs to no tenant of the configuration", path.display()))
        .collect();
    stray.sort();
    stray
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const HASH: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    /// 2026-01-01T00:00:00Z
    const NOW_MS: i64 = 1_767_225_600_000;

    fn warnings(expires: &str) -> Vec<String> {
        let text =
            format!("[tenants.acme]\n[[tenants.acme.tokens]]\nname = \"okta\"\nhash = \"{HASH}\"\n{expires}");
        let settings = config::parse(&text, "tenants.toml").unwrap();
        let (tenant, chosen) = settings.tenants.first_key_value().unwrap();
        token_warnings(tenant, chosen, NOW_MS)
    }

    #[test]
    fn tokens_are_warned_about_when_they_expire_soon_and_when_none_is_left() {
        assert!(warnings("").is_empty());
        assert!(warnings("expires = 2026-02-01").is_empty(), "in 31 days");
        assert_eq!(
            warnings("expires = 2026-01-30").len(),
            1,
            "within 30 days, as in the log and `token list`"
        );
        assert_eq!(
            warnings("expires = 2026-01-10"),
            ["tenant acme: token okta expires soon, at 2026-01-10T00:00:00Z"]
        );
        let expired = warnings("expires = 2025-12-31");
        assert_eq!(expired[0], "tenant acme: token okta expired at 2025-12-31T00:00:00Z");
        assert!(expired[1].contains("no valid token"));
    }

    #[test]
    fn an_address_that_okta_cannot_reach_is_warned_about() {
        let warned = |text| server_warnings(&config::parse(text, "tenants.toml").unwrap()).unwrap();
        assert!(warned("[tenants.acme]")[0].contains("public_url is not set"));
        assert!(warned("[server]\npublic_url = \"http://x\"\n[tenants.acme]")[0].contains("not https://"));
        assert!(warned("[server]\npublic_url = \"https://x\"\n[tenants.acme]").is_empty());
        assert!(warned("")[1].contains("tenant add"));
    }
}

//! `tenant stats`: how much each tenant holds and when its client last came.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::output::{self, Table};
use crate::cli::session::{self, Session};
use crate::cli::tenant::pause::LOOK;
use crate::cli::{Globals, attributes, token};
use crate::clock::Stopwatch;
use crate::config::{Settings, TenantName};
use crate::directory::Stats;
use crate::tenants::{Told, file_of, last_import_ms, told};

pub(super) const EXAMPLES: &str = "\
LAST PUSH is when a client last changed anything, LAST IMPORT when one last listed the users without a filter, as \
Okta's import does; that is written down once a minute. STATE is what the \
server tells, or that none serves the data folder (no server). SIZE is that of the tenant's file with its log.

Examples:
  ici-scim tenant stats
  ici-scim tenant stats acme --json";

/// How long a server may read its configuration before its word is given up: longer than with ten thousand tenants.
const TELLS_WITHIN: Duration = Duration::from_secs(5);

/// Arguments of `tenant stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// The tenant's name; all tenants without it
    #[arg(value_name = "NAME")]
    tenant: Option<TenantName>,
}

pub(super) fn run(arguments: &StatsArgs, globals: &Globals) -> anyhow::Result<()> {
    let settings = globals.settings()?;
    if let Some(tenant) = arguments.tenant.as_ref().filter(|tenant| !settings.tenants.contains_key(*tenant)) {
        return Err(session::unknown_tenant(&settings, tenant).into());
    }
    let chosen = |name: &&TenantName| arguments.tenant.as_ref().is_none_or(|only| only == *name);
    let tenants: Vec<&TenantName> = settings.tenants.keys().filter(chosen).collect();
    if tenants.is_empty() && !globals.json {
        output::note("there are no tenants yet; add one: `ici-scim tenant add NAME`");
        return Ok(());
    }
    // Of one that is paused, or on another node, the server has nothing to tell.
    let is_asked_for =
        |tenant: &&TenantName| !is_paused(tenant, &settings) && !settings.is_elsewhere(tenant.as_str());
    let told = tenants.iter().any(is_asked_for).then(|| told_soon(&settings.server.data_dir)).flatten();
    let rows = tenants
        .iter()
        .map(|tenant| row(tenant, &settings, told.as_ref()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if globals.json {
        return output::json(&Value::Array(rows));
    }
    let mut table = Table::new(&[
        "TENANT",
        "STATE",
        "USERS",
        "ACTIVE",
        "MAX",
        "GROUPS",
        "MEMBERSHIPS",
        "LAST PUSH",
        "LAST IMPORT",
        "SIZE",
    ]);
    for row in &rows {
        let plain = |key: &str| attributes::plain(&row[key]);
        let or_never = |key: &str| if row[key].is_null() { "never".to_owned() } else { plain(key) };
        table.row([
            plain("name"),
            plain("state"),
            plain("users"),
            plain("activeUsers"),
            if row["maxUsers"].is_null() { "-".to_owned() } else { plain("maxUsers") },
            plain("groups"),
            plain("memberships"),
            or_never("lastPush"),
            or_never("lastImport"),
            size(row["bytes"].as_u64().unwrap_or_default()),
        ]);
    }
    output::table(&table)
}

/// What the server tells of its tenants. It tells nothing while it reads its configuration, and is asked again then;
/// [`Told::Nothing`] when it is not done in [`TELLS_WITHIN`], `None` when this user may not look.
#[expect(clippy::disallowed_methods, reason = "the condition is another process's, told in a file")]
fn told_soon(data_dir: &Path) -> Option<Told> {
    let watch = Stopwatch::start();
    loop {
        let told = told(data_dir).ok()?;
        if told != Told::Nothing || watch.elapsed() >= TELLS_WITHIN {
            return Some(told);
        }
        std::thread::sleep(LOOK);
    }
}

fn row(tenant: &TenantName, settings: &Settings, told: Option<&Told>) -> anyhow::Result<Value> {
    let data_dir = &settings.server.data_dir;
    let file = file_of(data_dir, tenant);
    // Looking must not make a file for a tenant that nobody has asked yet.
    let stats = if file.exists() { Session::with(settings, tenant)?.stats()? } else { Stats::default() };
    let life = settings.tenants.get(tenant).map(|chosen| &chosen.life);
    let paused = is_paused(tenant, settings);
    // In whole seconds, as people read them.
    let time = |ms: Option<i64>| ms.map(token::shown);
    Ok(json!({
        "name": tenant.as_str(),
        "paused": paused,
        "state": state(paused, settings.is_elsewhere(tenant.as_str()), told, tenant),
        "users": stats.users,
        "activeUsers": stats.active_users,
        "maxUsers": life.and_then(|life| life.max_users),
        "groups": stats.groups,
        "memberships": stats.memberships,
        "lastPush": time(stats.last_push_ms),
        "lastImport": time(last_import_ms(data_dir, tenant)),
        "bytes": bytes(&file),
    }))
}

fn is_paused(tenant: &TenantName, settings: &Settings) -> bool {
    settings.tenants.get(tenant).is_some_and(|chosen| chosen.life.paused.is_some())
}

/// What is known of a tenant, in two or three words; `told` is what the server tells, if that can be read.
fn state(paused: bool, elsewhere: bool, told: Option<&Told>, tenant: &TenantName) -> &'static str {
    if elsewhere {
        return "on another node";
    }
    if paused {
        return "paused";
    }
    if told == Some(&Told::NoServer) {
        return "no server";
    }
    match told.and_then(|told| told.has(tenant)) {
        Some(true) => "in service",
        Some(false) => "not in service",
        // The server has read its configuration for long, or may not be asked by this user.
        None => "not known",
    }
}

/// The size of a tenant's file with the log that SQLite keeps beside it.
fn bytes(file: &Path) -> u64 {
    let log = file.with_extension("sqlite-wal");
    [file, &log].into_iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum()
}

/// For people, in units of 1,024.
fn size(bytes: u64) -> String {
    let mut rest = bytes;
    let mut tenths = 0;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024 {
            let with_tenth = unit != "B" && rest < 10;
            return if with_tenth { format!("{rest}.{tenths} {unit}") } else { format!("{rest} {unit}") };
        }
        tenths = (rest % 1024) * 10 / 1024;
        rest /= 1024;
    }
    format!("{rest}.{tenths} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_service_is_said_of_what_a_server_says_it_of_and_of_nothing_else() {
        let acme: TenantName = "acme".parse().unwrap();
        let of = |name: &str| Told::Known { in_service: [name.to_owned()].into(), problem: None };
        for (paused, elsewhere, told, text) in [
            (false, false, Some(of("acme")), "in service"),
            (false, false, Some(of("globex")), "not in service"),
            (false, false, Some(Told::NoServer), "no server"),
            (false, false, Some(Told::Nothing), "not known"),
            (false, false, None, "not known"),
            (true, false, Some(of("globex")), "paused"),
            (false, true, Some(of("acme")), "on another node"),
        ] {
            assert_eq!(state(paused, elsewhere, told.as_ref(), &acme), text);
        }
    }

    #[test]
    fn a_size_is_told_in_the_unit_that_people_read() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (20 * 1024, "20 KiB"),
            (3 * 1024 * 1024, "3.0 MiB"),
            (5 * 1024 * 1024 * 1024 * 1024, "5.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}

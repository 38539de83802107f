//! `ici-scim tenant`: which tenants the configuration has, one more or one less, and what they are at.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::output::{self, Table};
use crate::cli::session::{self, base_url};
use crate::cli::{Globals, attributes, token};
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, TenantName};

mod pause;
mod remove;
mod stats;

const EXAMPLES: &str = "\
Examples:
  ici-scim tenant list
  ici-scim tenant add acme --name \"Acme Corp\"
  ici-scim tenant stats
  ici-scim tenant pause acme
  ici-scim tenant resume acme
  ici-scim tenant remove acme";

const LIST_EXAMPLES: &str = "\
Examples:
  ici-scim tenant list
  ici-scim tenant list --json";

const ADD_EXAMPLES: &str = "\
The name becomes part of the Base URL and cannot be changed later: a-z, 0-9 and, inside, `-`.

Examples:
  ici-scim tenant add acme
  ici-scim tenant add acme --name \"Acme Corp\"";

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List the tenants with the Base URL that Okta needs
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Add a tenant to the configuration
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Show how much the tenants hold and when their clients last came
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::StatsArgs),
    /// Turn a tenant's clients away for a while, and close its file
    #[command(after_help = pause::PAUSE_EXAMPLES)]
    Pause(pause::PauseArgs),
    /// Take a paused tenant into service again
    #[command(after_help = pause::RESUME_EXAMPLES)]
    Resume(pause::ResumeArgs),
    /// Take a tenant out of the configuration and its file out of the way
    #[command(after_help = remove::EXAMPLES)]
    Remove(remove::Remove),
}

/// Arguments of `tenant add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The tenant's name in addresses and file names
    #[arg(value_name = "NAME")]
    tenant: TenantName,
    /// The customer's name, for people
    #[arg(long = "name", value_name = "CUSTOMER")]
    customer: Option<String>,
}

/// Runs a command.
///
/// # Errors
/// When the configuration is wrong or cannot be written, has the tenant already or does not have it, or the server
/// does not follow.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => list(globals),
        Command::Add(add) => run_add(&add, globals),
        Command::Stats(arguments) => stats::run(&arguments, globals),
        Command::Pause(arguments) => pause::pause(&arguments, globals),
        Command::Resume(arguments) => pause::resume(&arguments, globals),
        Command::Remove(arguments) => remove::run(&arguments, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn list(globals: &Globals) -> anyhow::Result<()> {
    let settings = globals.settings()?;
    if settings.tenants.is_empty() && !globals.json {
        output::note("there are no tenants yet; add one: `ici-scim tenant add NAME`");
        return Ok(());
    }
    let tenants: Vec<&TenantName> = settings.tenants.keys().collect();
    print(&tenants, &settings, globals)
}

fn run_add(add: &Add, globals: &Globals) -> anyhow::Result<()> {
    let file = session::add_tenant(globals, &add.tenant, add.customer.as_deref())?;
    let settings = globals.settings()?;
    output::note(&format!("tenant {} is in {}", add.tenant, file.display()));
    output::note(&format!("next, a token for its Okta: `ici-scim token new {} --name okta`", add.tenant));
    if globals.json {
        return output::json(&shown(&add.tenant, &settings));
    }
    print(&[&add.tenant], &settings, globals)
}

fn print(tenants: &[&TenantName], settings: &Settings, globals: &Globals) -> anyhow::Result<()> {
    let rows: Vec<Value> = tenants.iter().map(|tenant| shown(tenant, settings)).collect();
    if globals.json {
        return output::json(&Value::Array(rows));
    }
    let mut table = Table::new(&["TENANT", "CUSTOMER", "TOKENS", "BASE URL"]);
    for row in &rows {
        table.row(["name", "customer", "validTokens", "baseUrl"].map(|key| attributes::plain(&row[key])));
    }
    output::table(&table)
}

fn shown(tenant: &TenantName, settings: &Settings) -> Value {
    let now_ms = SystemClock.now_ms();
    let chosen = settings.tenants.get(tenant);
    let tokens = chosen.map(|chosen| chosen.tokens.as_slice()).unwrap_or_default();
    json!({
        "name": tenant.as_str(),
        "customer": chosen.and_then(|chosen| chosen.name.as_deref()),
        "validTokens": tokens.iter().filter(|token| !token::is_expired(token, now_ms)).count(),
        "baseUrl": base_url(settings, tenant),
    })
}

//! `ici-scim entitlement` and `ici-scim role`: what a tenant's users can be given, for Okta to choose from.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::output::{self, Failure, Table};
use crate::cli::session::{Session, text};
use crate::cli::{Globals, attributes};
use crate::config::TenantName;
use crate::directory::Put;
use crate::scim::catalog::{Catalog, Class};

const EXAMPLES: &str = "\
Of which types they are stands in the configuration: entitlement_types = [\"License\"]

Examples:
  ici-scim entitlement list acme
  ici-scim entitlement add acme pro --name \"Pro seat\" --type License";

const LIST_EXAMPLES: &str = "\
Examples:
  ici-scim entitlement list acme
  ici-scim entitlement list acme --type License --json";

const ADD_EXAMPLES: &str = "\
Examples:
  ici-scim entitlement add acme pro --name \"Pro seat\"
  ici-scim entitlement add acme pro --type License --description \"May do everything\"";

const REMOVE_EXAMPLES: &str = "\
Examples:
  ici-scim entitlement remove acme pro";

const ROLE_EXAMPLES: &str = "\
Of which types they are stands in the configuration: role_types = [\"Role\"]

Examples:
  ici-scim role list acme
  ici-scim role add acme admin --name Administrator";

const ROLE_LIST_EXAMPLES: &str = "\
Examples:
  ici-scim role list acme
  ici-scim role list acme --json";

const ROLE_ADD_EXAMPLES: &str = "\
Examples:
  ici-scim role add acme admin --name Administrator
  ici-scim role add acme auditor --description \"May see everything\"";

const ROLE_REMOVE_EXAMPLES: &str = "\
Examples:
  ici-scim role remove acme admin";

/// What can be done with entitlements.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List the entitlements there are, in the order in which they were added
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Add an entitlement, or change the one with that id; Okta's next import finds it
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Remove an entitlement; who has been given it keeps it
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove(Remove),
}

/// What can be done with roles.
#[derive(Debug, Subcommand)]
#[command(after_help = ROLE_EXAMPLES)]
pub enum RoleCommand {
    /// List the roles there are, in the order in which they were added
    #[command(after_help = ROLE_LIST_EXAMPLES)]
    List(List),
    /// Add a role, or change the one with that id; Okta's next import finds it
    #[command(after_help = ROLE_ADD_EXAMPLES)]
    Add(Add),
    /// Remove a role; who has been given it keeps it
    #[command(after_help = ROLE_REMOVE_EXAMPLES)]
    Remove(Remove),
}

/// Arguments of `entitlement list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant's name
    tenant: TenantName,
    /// Only those of this resource type
    #[arg(long = "type", value_name = "TYPE")]
    of_type: Option<String>,
}

/// Arguments of `entitlement add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The tenant's name
    tenant: TenantName,
    /// What Okta sends as its value; unique in the tenant
    id: String,
    /// The name that people choose it by [default: the id]
    #[arg(long)]
    name: Option<String>,
    /// Its resource type; may be left out where the tenant has only one
    #[arg(long = "type", value_name = "TYPE")]
    of_type: Option<String>,
    /// What it gives, in at most 1,000 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Arguments of `entitlement remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The tenant's name
    tenant: TenantName,
    /// Its id
    id: String,
}

/// Runs a command on entitlements.
///
/// # Errors
/// When the configuration is wrong or has no such resource type, or the directory refuses or fails.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(list) => run_list(&list, Class::Entitlement, globals),
        Command::Add(add) => run_add(&add, Class::Entitlement, globals),
        Command::Remove(remove) => run_remove(&remove, Class::Entitlement, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command on roles.
///
/// # Errors
/// As [`run`].
pub fn run_role(command: RoleCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        RoleCommand::List(list) => run_list(&list, Class::Role, globals),
        RoleCommand::Add(add) => run_add(&add, Class::Role, globals),
        RoleCommand::Remove(remove) => run_remove(&remove, Class::Role, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_list(list: &List, class: Class, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::open(globals, &list.tenant)?;
    let catalogs = match &list.of_type {
        Some(name) => vec![one(&session, class, Some(name))?],
        None => all(&session, class)?,
    };
    let mut entries = Vec::new();
    for catalog in catalogs {
        entries.extend(session.entries(catalog)?.into_iter().map(|entry| (catalog, entry)));
    }
    if globals.json {
        let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
        return output::json(&json!(entries));
    }
    let mut table = Table::new(&["ID", "NAME", "TYPE", "DESCRIPTION"]);
    for (catalog, entry) in &entries {
        let shown = |key: &str| attributes::plain(&entry[key]);
        table.row([text(entry, "id")?, shown("displayName"), catalog.name.clone(), shown("description")]);
    }
    output::table(&table)
}

fn run_add(add: &Add, class: Class, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &add.tenant)?;
    let catalog = one(&session, class, add.of_type.as_deref())?;
    let name = add.name.as_deref().unwrap_or(&add.id);
    let put = session.put_entry(catalog, &add.id, name, add.description.as_deref())?;
    let done = match put {
        Put::Added => "is added",
        Put::Changed => "is changed",
        Put::Same => "was there already",
    };
    output::note(&format!("{} {} of type {} {done}", class.noun(), add.id, catalog.name));
    if globals.json {
        let made = session.entries(catalog)?.into_iter().find(|entry| entry["id"] == json!(add.id));
        output::json(&made.unwrap_or_default())?;
    }
    Ok(())
}

fn run_remove(remove: &Remove, class: Class, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &remove.tenant)?;
    session.remove_entry(&all(&session, class)?, &remove.id)?;
    output::note(&format!("{} {} is removed", class.noun(), remove.id));
    Ok(())
}

/// The tenant's resource types of that class.
fn all(session: &Session, class: Class) -> anyhow::Result<Vec<&Catalog>> {
    let catalogs: Vec<&Catalog> =
        session.schemas().catalogs().iter().filter(|catalog| catalog.class == class).collect();
    if catalogs.is_empty() {
        let (tenant, noun) = (session.tenant(), class.noun());
        let (key, example) = match class {
            Class::Entitlement => ("entitlement_types", "License"),
            Class::Role => ("role_types", "Role"),
        };
        return Err(Failure::failed(format!("tenant {tenant} has no resource type for a {noun}"))
            .hint(format!("give [tenants.{tenant}] of the configuration one: {key} = [\"{example}\"]"))
            .into());
    }
    Ok(catalogs)
}

/// The resource type of that name; the only one when there is no name.
fn one<'a>(session: &'a Session, class: Class, name: Option<&str>) -> anyhow::Result<&'a Catalog> {
    let catalogs = all(session, class)?;
    let known = || catalogs.iter().map(|catalog| catalog.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, catalogs.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::usage(format!("--type is needed, since there are several: {}", known())).into())
        }
        (Some(name), _) => {
            let found = catalogs.iter().find(|catalog| catalog.name.eq_ignore_ascii_case(name)).copied();
            found.ok_or_else(|| {
                Failure::usage(format!("there is no resource type {name}; there are {}", known())).into()
            })
        }
    }
}

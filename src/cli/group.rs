//! `ici-scim group`: the groups of a tenant and who is in them, seen and changed by the operator.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::output::{self, Table};
use crate::cli::session::{Session, text};
use crate::cli::{Globals, attributes, transfer};
use crate::config::TenantName;
use crate::scim::Kind;

const EXAMPLES: &str = "\
Examples:
  ici-scim group list acme
  ici-scim group add acme Engineering --member ada@example.com
  ici-scim group add-member acme Engineering bob@example.com";

const LIST_EXAMPLES: &str = "\
Examples:
  ici-scim group list acme
  ici-scim group list acme --filter 'displayName sw \"eng\"' --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  ici-scim group show acme Engineering
  ici-scim group show acme Engineering --json";

const ADD_EXAMPLES: &str = "\
Examples:
  ici-scim group add acme Engineering
  ici-scim group add acme Engineering --member ada@example.com --member bob@example.com";

const ADD_MEMBER_EXAMPLES: &str = "\
All of them are added or, when one is not found, none.
Who is in the group already stays in it.

Examples:
  ici-scim group add-member acme Engineering ada@example.com bob@example.com";

const REMOVE_MEMBER_EXAMPLES: &str = "\
All of them are removed or, when one is not found, none.
Who is not in the group stays out of it.

Examples:
  ici-scim group remove-member acme Engineering ada@example.com";

const DELETE_EXAMPLES: &str = "\
The members stay; only the group goes.

Examples:
  ici-scim group delete acme Engineering
  ici-scim group delete acme Engineering --yes";

/// What can be done with groups.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List the groups of a tenant, in the order in which they were made
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show a group with its members
    #[command(after_help = SHOW_EXAMPLES)]
    Show(One),
    /// Add a group; Okta's next import finds it
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Put users into a group
    #[command(after_help = ADD_MEMBER_EXAMPLES)]
    AddMember(Members),
    /// Take users out of a group
    #[command(after_help = REMOVE_MEMBER_EXAMPLES)]
    RemoveMember(Members),
    /// Delete a group for good
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(Delete),
    /// Write the groups of a tenant to a file, as CSV or NDJSON
    #[command(after_help = transfer::GROUP_EXPORT)]
    Export(transfer::GroupExport),
    /// Make and change groups as a CSV or NDJSON file says
    #[command(after_help = transfer::GROUP_IMPORT)]
    Import(transfer::GroupImport),
}

/// Arguments of `group list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant's name
    tenant: TenantName,
    /// Only groups which this SCIM filter selects (RFC 7644, section 3.4.2.2)
    #[arg(long)]
    filter: Option<String>,
    /// At most so many groups
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A group of a tenant.
#[derive(Debug, Args)]
pub struct One {
    /// The tenant's name
    tenant: TenantName,
    /// The group's displayName, in any case, or id
    group: String,
}

/// Arguments of `group add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The tenant's name
    tenant: TenantName,
    /// The group's displayName
    name: String,
    /// The userName or id of a first member; may be given several times
    #[arg(long = "member", value_name = "USER")]
    members: Vec<String>,
}

/// Arguments of `group add-member` and `group remove-member`.
#[derive(Debug, Args)]
pub struct Members {
    #[command(flatten)]
    one: One,
    /// The userNames, in any case, or ids of the users
    #[arg(value_name = "USER", required = true)]
    users: Vec<String>,
}

/// Arguments of `group delete`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    one: One,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs a command.
///
/// # Errors
/// When the configuration is wrong, or the directory refuses or fails.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(list) => run_list(&list, globals),
        Command::Show(one) => show(&one, globals),
        Command::Add(add) => run_add(&add, globals),
        Command::AddMember(members) => add_member(&members, globals),
        Command::RemoveMember(members) => remove_member(&members, globals),
        Command::Delete(delete) => run_delete(&delete, globals),
        Command::Export(export) => return transfer::run_group_export(&export, globals),
        Command::Import(import) => return transfer::run_group_import(&import, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_list(list: &List, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::open(globals, &list.tenant)?;
    let mut query: Vec<(&str, &str)> = list.filter.iter().map(|filter| ("filter", filter.as_str())).collect();
    if !globals.json {
        query.push(ROW);
    }
    let mut groups = Vec::new();
    session.walk(Kind::Group, &query, list.limit, |group| {
        groups.push(group);
        Ok(())
    })?;
    if globals.json {
        return output::json(&Value::Array(groups));
    }
    if groups.is_empty() && list.limit != Some(0) {
        let which = if list.filter.is_some() { "groups of that kind" } else { "groups yet" };
        output::note(&format!("tenant {} has no {which}", list.tenant));
        return Ok(());
    }
    print_rows(&groups, &session)
}

fn show(one: &One, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::open(globals, &one.tenant)?;
    let group = session.find(Kind::Group, &one.group, &[])?;
    if globals.json {
        return output::json(&group);
    }
    let mut table = Table::new(&["ATTRIBUTE", "VALUE"]);
    for (attribute, value) in attributes::lines(&group) {
        table.row([attribute, value]);
    }
    output::table(&table)?;
    let mut members = Table::new(&["MEMBER", "TYPE", "ID"]);
    for member in group["members"].as_array().into_iter().flatten() {
        members.row(["display", "type", "value"].map(|part| attributes::plain(&member[part])));
    }
    output::line("")?;
    output::table(&members)
}

fn run_add(add: &Add, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &add.tenant)?;
    let members = values(&add.members, &session)?;
    let draft = json!({ "displayName": add.name, "members": members });
    let group = session.create(Kind::Group, &draft, &projection(globals))?;
    output::note(&format!("group {} is in tenant {}", text(&group, "displayName")?, session.tenant()));
    print(group, &session, globals)
}

fn add_member(members: &Members, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &members.one.tenant)?;
    let value = values(&members.users, &session)?;
    change(members, &[json!({ "op": "add", "path": "members", "value": value })], &session, globals)
}

fn remove_member(members: &Members, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &members.one.tenant)?;
    let mut operations = Vec::with_capacity(members.users.len());
    for user in &members.users {
        let id = session.find_id(Kind::User, user)?;
        operations.push(json!({ "op": "remove", "path": format!("members[value eq {}]", json!(id)) }));
    }
    change(members, &operations, &session, globals)
}

fn change(
    members: &Members,
    operations: &[Value],
    session: &Session,
    globals: &Globals,
) -> anyhow::Result<()> {
    let id = session.find_id(Kind::Group, &members.one.group)?;
    let group = session.patch(Kind::Group, &id, operations, &projection(globals))?;
    print(group, session, globals)
}

fn run_delete(delete: &Delete, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &delete.one.tenant)?;
    let group = session.find(Kind::Group, &delete.one.group, &[ROW])?;
    let name = text(&group, "displayName")?;
    output::confirm(&format!("delete group {name} of tenant {} for good", session.tenant()), delete.yes)?;
    session.delete(Kind::Group, &text(&group, "id")?)?;
    output::note(&format!("group {name} is deleted"));
    Ok(())
}

/// Users as values of `members`.
fn values(users: &[String], session: &Session) -> anyhow::Result<Vec<Value>> {
    users.iter().map(|user| Ok(json!({ "value": session.find_id(Kind::User, user)? }))).collect()
}

/// What a row shows. The members are left out: a group may have a hundred thousand.
const ROW: (&str, &str) = ("attributes", "displayName,externalId,meta.lastModified");

fn projection(globals: &Globals) -> Vec<(&'static str, &'static str)> {
    if globals.json { Vec::new() } else { vec![ROW] }
}

fn print(group: Value, session: &Session, globals: &Globals) -> anyhow::Result<()> {
    if globals.json { output::json(&group) } else { print_rows(&[group], session) }
}

fn print_rows(groups: &[Value], session: &Session) -> anyhow::Result<()> {
    let mut table = Table::new(&["GROUP", "USERS", "CHANGED", "ID"]);
    for group in groups {
        let id = text(group, "id")?;
        let users = session.count(Kind::User, Some(&format!("groups.value eq {}", json!(id))))?;
        let changed = attributes::plain(&group["meta"]["lastModified"]);
        table.row([text(group, "displayName")?, users.to_string(), changed, id]);
    }
    output::table(&table)
}

//! `ici-scim user`: the people of a tenant, seen and changed by the operator.
//!
//! Every command asks the directory what an Okta app would ask, so the same rules hold and the same events are
//! written.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::output::{self, Table};
use crate::cli::session::{Session, text};
use crate::cli::{Globals, attributes, transfer};
use crate::config::TenantName;
use crate::scim::Kind;
use crate::scim::schema::ResourceSchema;

const EXAMPLES: &str = "\
Examples:
  ici-scim user list acme
  ici-scim user add acme ada@example.com --given Ada --family Lovelace --email ada@example.com
  ici-scim user set acme ada@example.com title=Engineer
  ici-scim user deactivate acme ada@example.com";

const LIST_EXAMPLES: &str = "\
Examples:
  ici-scim user list acme
  ici-scim user list acme --inactive
  ici-scim user list acme --filter 'emails.value ew \"@example.com\"' --limit 20
  ici-scim user list acme --filter 'groups.display eq \"Engineering\"' --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  ici-scim user show acme ada@example.com
  ici-scim user show acme ada@example.com --json";

const ADD_EXAMPLES: &str = "\
Examples:
  ici-scim user add acme ada@example.com --given Ada --family Lovelace --email ada@example.com
  ici-scim user add acme bob --inactive title=Contractor department=Sales";

const SET_EXAMPLES: &str = "\
ATTR is an attribute as `user show` prints it; ATTR= takes the value away.

Examples:
  ici-scim user set acme ada@example.com title=Engineer department=Sales
  ici-scim user set acme ada@example.com name.familyName=King nickName=
  ici-scim user set acme ada@example.com 'emails[type eq \"work\"].value=ada.king@example.com'
  ici-scim user set acme ada@example.com userName=ada.king@example.com";

const ACTIVATE_EXAMPLES: &str = "\
Examples:
  ici-scim user activate acme ada@example.com";

const DEACTIVATE_EXAMPLES: &str = "\
The person keeps id, attributes and groups, and may no longer log in.
Okta sees it at its next import.

Examples:
  ici-scim user deactivate acme ada@example.com";

const DELETE_EXAMPLES: &str = "\
To take access away for a time, deactivate the user instead.

Examples:
  ici-scim user delete acme ada@example.com
  ici-scim user delete acme ada@example.com --yes";

/// What can be done with users.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// List the users of a tenant, in the order in which they were made
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show all attributes of a user
    #[command(after_help = SHOW_EXAMPLES)]
    Show(One),
    /// Add a user; Okta's next import finds the person
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Change attributes of a user
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Let a user log in again
    #[command(after_help = ACTIVATE_EXAMPLES)]
    Activate(One),
    /// Stop a user from logging in, and keep everything else
    #[command(after_help = DEACTIVATE_EXAMPLES)]
    Deactivate(One),
    /// Delete a user for good
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(Delete),
    /// Write the users of a tenant to a file, as CSV or NDJSON
    #[command(after_help = transfer::USER_EXPORT)]
    Export(transfer::Export),
    /// Make and change users as a CSV or NDJSON file says
    #[command(after_help = transfer::USER_IMPORT)]
    Import(transfer::Import),
}

/// Arguments of `user list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant's name
    tenant: TenantName,
    /// Only users whom this SCIM filter selects (RFC 7644, section 3.4.2.2)
    #[arg(long)]
    filter: Option<String>,
    /// Only users who may log in
    #[arg(long, conflicts_with = "inactive")]
    active: bool,
    /// Only users who may not log in
    #[arg(long)]
    inactive: bool,
    /// At most so many users
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A user of a tenant.
#[derive(Debug, Args)]
pub struct One {
    /// The tenant's name
    tenant: TenantName,
    /// The user's userName, in any case, or id
    user: String,
}

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The tenant's name
    tenant: TenantName,
    /// The name the person logs in with, as a rule the e-mail address
    #[arg(value_name = "USERNAME")]
    user_name: String,
    /// Further attributes, as for `user set`
    #[arg(value_name = "ATTR=VALUE")]
    assignments: Vec<String>,
    /// Given name
    #[arg(long, value_name = "NAME")]
    given: Option<String>,
    /// Family name
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// Work e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The name shown to other people
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The id that the person has in another system
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// The person may not log in yet
    #[arg(long)]
    inactive: bool,
}

/// Arguments of `user set`.
#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    one: One,
    /// The changes; all of them are made or none
    #[arg(value_name = "ATTR=VALUE", required = true)]
    assignments: Vec<String>,
}

/// Arguments of `user delete`.
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
        Command::Set(set) => run_set(&set, globals),
        Command::Activate(one) => set_active(&one, true, globals),
        Command::Deactivate(one) => set_active(&one, false, globals),
        Command::Delete(delete) => run_delete(&delete, globals),
        Command::Export(export) => return transfer::run_user_export(&export, globals),
        Command::Import(import) => return transfer::run_user_import(&import, globals),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn run_list(list: &List, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::open(globals, &list.tenant)?;
    let state = if list.active {
        Some("active eq true")
    } else if list.inactive {
        Some("active eq false")
    } else {
        None
    };
    let filter = match (&list.filter, state) {
        (Some(filter), Some(state)) => Some(format!("{state} and ({filter})")),
        (filter, state) => filter.clone().or(state.map(str::to_owned)),
    };
    let mut query: Vec<(&str, &str)> = filter.iter().map(|filter| ("filter", filter.as_str())).collect();
    if globals.json {
        let mut users = Vec::new();
        session.walk(Kind::User, &query, list.limit, |user| {
            users.push(user);
            Ok(())
        })?;
        return output::json(&Value::Array(users));
    }
    query.push(("attributes", ROW_ATTRIBUTES));
    let mut table = Table::new(&HEADINGS);
    let mut shown = 0_u64;
    session.walk(Kind::User, &query, list.limit, |user| {
        shown += 1;
        table.row(row(&user));
        Ok(())
    })?;
    if shown == 0 && list.limit != Some(0) {
        let whom = if filter.is_some() { "users of that kind" } else { "users yet" };
        output::note(&format!("tenant {} has no {whom}", list.tenant));
        return Ok(());
    }
    output::table(&table)
}

fn show(one: &One, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::open(globals, &one.tenant)?;
    let user = session.find(Kind::User, &one.user, &[])?;
    if globals.json {
        return output::json(&user);
    }
    let mut table = Table::new(&["ATTRIBUTE", "VALUE"]);
    for (attribute, value) in attributes::lines(&user) {
        table.row([attribute, value]);
    }
    output::table(&table)
}

fn run_add(add: &Add, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &add.tenant)?;
    let schema = session.schemas().of(Kind::User);
    let operations = operations(&add.assignments, schema, &session)?;
    let draft = attributes::apply(operations, draft(add), schema, session.bounds())?;
    let user = session.create(Kind::User, &draft, &[])?;
    output::note(&format!("user {} is in tenant {}", text(&user, "userName")?, session.tenant()));
    let lacks: Vec<&str> = [
        ("a given name", &user["name"]["givenName"]),
        ("a family name", &user["name"]["familyName"]),
        ("an e-mail address", &user["emails"][0]["value"]),
    ]
    .into_iter()
    .filter_map(|(what, value)| value.is_null().then_some(what))
    .collect();
    if !lacks.is_empty() {
        output::note(&format!("Okta imports a person only with {}", lacks.join(", ")));
    }
    print(&user, globals)
}

fn draft(add: &Add) -> Map<String, Value> {
    let mut draft = json!({ "userName": add.user_name, "active": !add.inactive });
    let mut set = |pointer: [&str; 2], value: &Option<String>| {
        if let Some(value) = value {
            match pointer {
                [name, ""] => draft[name] = json!(value),
                [name, part] => draft[name][part] = json!(value),
            }
        }
    };
    set(["name", "givenName"], &add.given);
    set(["name", "familyName"], &add.family);
    set(["displayName", ""], &add.display_name);
    set(["externalId", ""], &add.external_id);
    if let Some(email) = &add.email {
        draft["emails"] = json!([{ "value": email, "type": "work", "primary": true }]);
    }
    draft.as_object().cloned().unwrap_or_default()
}

fn run_set(set: &Set, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &set.one.tenant)?;
    let operations = operations(&set.assignments, session.schemas().of(Kind::User), &session)?;
    let id = session.find_id(Kind::User, &set.one.user)?;
    let user = session.patch(Kind::User, &id, &operations, &[])?;
    print(&user, globals)
}

fn set_active(one: &One, active: bool, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &one.tenant)?;
    let id = session.find_id(Kind::User, &one.user)?;
    let operation = json!({ "op": "replace", "path": "active", "value": active });
    let user = session.patch(Kind::User, &id, &[operation], &[])?;
    let name = text(&user, "userName")?;
    output::note(&if active {
        format!("user {name} may log in")
    } else {
        format!("user {name} may no longer log in; Okta sees it at its next import")
    });
    print(&user, globals)
}

fn run_delete(delete: &Delete, globals: &Globals) -> anyhow::Result<()> {
    let session = Session::to_change(globals, &delete.one.tenant)?;
    let user = session.find(Kind::User, &delete.one.user, &[("attributes", "userName")])?;
    let name = text(&user, "userName")?;
    output::confirm(&format!("delete user {name} of tenant {} for good", session.tenant()), delete.yes)?;
    session.delete(Kind::User, &text(&user, "id")?)?;
    output::note(&format!("user {name} is deleted"));
    Ok(())
}

/// The assignments as PATCH operations. Attributes that no schema knows are kept for whoever sends them, so a slip
/// is no error; it is said.
fn operations(
    assignments: &[String],
    schema: &ResourceSchema,
    session: &Session,
) -> anyhow::Result<Vec<Value>> {
    let mut operations = Vec::with_capacity(assignments.len());
    for text in assignments {
        let assignment = attributes::parse(text, schema, session.bounds())?;
        if let Some(name) = assignment.unknown {
            output::note(&format!("warning: no schema knows the attribute {name}; it is kept as it is"));
        }
        if assignment.operation["path"] == "password" && !session.stores_passwords() {
            output::note(&format!(
                "warning: tenant {} keeps no passwords; this one is dropped",
                session.tenant()
            ));
        }
        operations.push(assignment.operation);
    }
    Ok(operations)
}

const HEADINGS: [&str; 5] = ["USERNAME", "NAME", "EMAIL", "ACTIVE", "ID"];
const ROW_ATTRIBUTES: &str = "userName,displayName,name,emails,active";

fn print(user: &Value, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return output::json(user);
    }
    let mut table = Table::new(&HEADINGS);
    table.row(row(user));
    output::table(&table)
}

fn row(user: &Value) -> [String; 5] {
    let emails = user["emails"].as_array().map(Vec::as_slice).unwrap_or_default();
    let email = emails.iter().find(|email| email["primary"] == true).or(emails.first());
    [
        attributes::plain(&user["userName"]),
        shown_name(user),
        email.map(|email| attributes::plain(&email["value"])).unwrap_or_default(),
        if user["active"] == false { "no" } else { "yes" }.to_owned(),
        attributes::plain(&user["id"]),
    ]
}

fn shown_name(user: &Value) -> String {
    let name = &user["name"];
    [&user["displayName"], &name["formatted"]]
        .into_iter()
        .find_map(Value::as_str)
        .map(str::to_owned)
        .unwrap_or_else(|| {
            let parts: Vec<&str> =
                [&name["givenName"], &name["familyName"]].into_iter().filter_map(Value::as_str).collect();
            parts.join(" ")
        })
}

//! Export and import of users and groups, as CSV or as one SCIM resource a line.
//!
//! What a row means to the directory is told in `directory::transfer`; here are the files: their forms, their lines,
//! what is counted and what is said.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::config::TenantName;

mod columns;
mod export;
mod import;
mod rows;

pub use export::{run_group_export, run_user_export};
pub use import::{run_group_import, run_user_import};

/// Examples of `user export`.
pub const USER_EXPORT: &str = "\
Without FILE it is written to standard output. The password's hash is in neither form. Attributes that no schema knows \
are in NDJSON only.

Examples:
  ici-scim user export acme --file users.csv
  ici-scim user export acme --file users.ndjson
  ici-scim user export acme --format ndjson --filter 'active eq true' | jq .userName";

/// Examples of `user import`.
pub const USER_IMPORT: &str = "\
A row is about the user with its id, else with its userName, else with its externalId; where there is none, one is made. \
In NDJSON a line is the whole user: what is not in it is taken away, save `active`. In CSV a column is an attribute as \
`user show` prints it, or one of email, phone, mobile, firstName, lastName and login; an empty cell takes the value \
away, and attributes without a column stay.

A refused row is told with its line and changes nothing; the others are imported, and the exit code is 1. Run the same \
command again after it was interrupted or rows were corrected: what is done already is passed over.

Examples:
  ici-scim user import acme --file users.csv --dry-run
  ici-scim user import acme --file users.csv
  ici-scim user import acme --file hr.csv --map 'E-Mail=userName' --map 'Dept=department' --map 'Salary='
  ici-scim user import acme --format ndjson --file - --errors refused.ndjson";

/// Examples of `group export`.
pub const GROUP_EXPORT: &str = "\
In CSV there is a row for each member, with the member's userName (of a group in a group, its displayName); a group \
without members has one row. In NDJSON members are named by id, unless --members-by says otherwise.

Examples:
  ici-scim group export acme --file groups.csv
  ici-scim group export acme --file groups.ndjson --members-by name";

/// Examples of `group import`.
pub const GROUP_IMPORT: &str = "\
A row is about the group with its id, else with its displayName, else with its externalId; where there is none, one is \
made. A member is named by its id, userName or externalId, or a group by its displayName. The members that a file gives \
a group are its members afterwards. The rows of a group stand together.

Examples:
  ici-scim group import acme --file groups.csv --dry-run
  ici-scim group import acme --file groups.csv
  ici-scim group import acme --file new-members.csv --keep-members --skip-unknown-members";

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with a line of headings
    Csv,
    /// One SCIM resource a line, as JSON
    Ndjson,
}

/// How members are named in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MembersBy {
    /// By id, for the same tenant
    Id,
    /// By userName or displayName, for any tenant
    Name,
}

/// Arguments of `user export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The tenant
    #[arg(value_name = "TENANT")]
    tenant: TenantName,
    /// The file; `-` is standard output [default: -]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The form [default: by the end of FILE, else csv]
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Only what fulfils this filter
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

/// Arguments of `group export`.
#[derive(Debug, Args)]
pub struct GroupExport {
    #[command(flatten)]
    export: Export,
    /// How members are named [default: name in CSV, id in NDJSON]
    #[arg(long, value_name = "HOW")]
    members_by: Option<MembersBy>,
}

/// Arguments of `user import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The tenant
    #[arg(value_name = "TENANT")]
    tenant: TenantName,
    /// The file; `-` is standard input [default: -]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The form [default: by the end of FILE, else csv]
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// What a column of a CSV file is; without ATTR, nothing. May be given several times
    #[arg(long, value_name = "COLUMN=[ATTR]")]
    map: Vec<String>,
    /// Only tell what would be done: it is done to a copy
    #[arg(long)]
    dry_run: bool,
    /// End with the first row that is refused
    #[arg(long)]
    stop_on_error: bool,
    /// Pass over rows before this line
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,
    /// Write the refused rows' lines and reasons to this file, as JSON, one a line
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
}

/// Arguments of `group import`.
#[derive(Debug, Args)]
pub struct GroupImport {
    #[command(flatten)]
    import: Import,
    /// Members that a file does not name stay
    #[arg(long)]
    keep_members: bool,
    /// Pass over members that are not in the tenant, in place of refusing their group
    #[arg(long)]
    skip_unknown_members: bool,
}

/// `None` for `-` and for no file.
fn named(file: Option<&PathBuf>) -> Option<&Path> {
    file.map(PathBuf::as_path).filter(|file| *file != Path::new("-"))
}

fn format_of(given: Option<Format>, file: Option<&Path>) -> Format {
    let end = file.and_then(Path::extension).and_then(|end| end.to_str()).unwrap_or_default();
    given.unwrap_or(match end.to_ascii_lowercase().as_str() {
        "ndjson" | "jsonl" | "json" => Format::Ndjson,
        _ => Format::Csv,
    })
}

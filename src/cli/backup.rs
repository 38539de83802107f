//! `ici-scim backup`: copies of tenants made beside a running server, what there is of them, and whether they are good.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::backup::{self, Found, Manifest, State};
use crate::cli::Globals;
use crate::cli::output::{self, Failure, Table};
use crate::cli::progress::Progress;
use crate::cli::session::unknown_tenant;
use crate::clock::{Clock, SystemClock};
use crate::config::{Keep, Settings, TenantName};
use crate::tenants::file_of;

const AFTER_HELP: &str = "\
The server may run meanwhile, and nobody waits. Each backup is one moment of the tenant, looked through, packed by zstd, \
with a manifest and a checksum beside it (`sha256sum -c`). `ici-scim restore` puts one back. A tenant that is called \
`list` or `verify` is named after `--`.

Examples:
  ici-scim backup acme --to backups
  ici-scim backup --all --to /srv/backups --keep 7d,4w,12m
  ici-scim backup list backups
  ici-scim backup verify backups";

const LIST_EXAMPLES: &str = "\
Examples:
  ici-scim backup list backups
  ici-scim backup list backups/acme --json";

const VERIFY_EXAMPLES: &str = "\
Each is unpacked into the folder for temporary files (TMPDIR) and looked through. Exit code 1 when one is not good.

Examples:
  ici-scim backup verify backups
  ici-scim backup verify backups/acme/acme.20260131T030000Z.sqlite.zst";

/// Back tenants up, list backups and check them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    make: Make,
}

/// What else can be done with backups.
#[derive(Debug, Subcommand)]
enum What {
    /// List the backups in a folder
    #[command(after_help = LIST_EXAMPLES)]
    List(Folder),
    /// Check a backup, or all in a folder: checksums, every page, every count
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(FileOrFolder),
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
struct Make {
    /// The tenant
    #[arg(value_name = "TENANT", required_unless_present = "all", conflicts_with = "all")]
    tenant: Option<TenantName>,
    /// All tenants of the configuration, one after the other
    #[arg(long)]
    all: bool,
    /// The folder of the backups; each tenant gets one in it [default: `to` of `[server.backup]`]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Which backups of the tenant are kept afterwards, such as 7d,4w,12m: the newest of each of so many hours (h),
    /// days (d), weeks (w), months (m) or years (y) that have one [default: all]
    #[arg(long, value_name = "RULE")]
    keep: Option<Keep>,
}

/// Arguments of `backup list`.
#[derive(Debug, Args)]
struct Folder {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Arguments of `backup verify`.
#[derive(Debug, Args)]
struct FileOrFolder {
    /// The backup, or a folder of them
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

/// Runs a command.
///
/// # Errors
/// When the configuration is wrong, a tenant cannot be backed up, or a folder cannot be read.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command.what {
        Some(What::List(list)) => run_list(&list.folder, globals),
        Some(What::Verify(verify)) => run_verify(&verify.path, globals),
        None => run_make(&command.make, globals),
    }
}

fn run_make(make: &Make, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    let to = folder(make, &settings)?;
    if let Some(tenant) = &make.tenant {
        if !settings.tenants.contains_key(tenant) {
            return Err(unknown_tenant(&settings, tenant).into());
        }
        let progress = Progress::endless(&format!("backing up {tenant}"));
        let made = make_one(make, &settings, tenant, &to)?;
        drop(progress);
        return print(&[made], &to, globals).map(|()| ExitCode::SUCCESS);
    }
    run_all(make, &settings, &to, globals)
}

fn run_all(make: &Make, settings: &Settings, to: &Path, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (tenants, fileless): (Vec<&TenantName>, Vec<&TenantName>) =
        settings.tenants.keys().partition(|tenant| file_of(&settings.server.data_dir, tenant).exists());
    let progress = Progress::of(u64::try_from(tenants.len()).unwrap_or(0), "backing up");
    let (mut rows, mut failed) = (Vec::new(), 0_usize);
    for tenant in tenants {
        match make_one(make, settings, tenant, to) {
            Ok(row) => rows.push(row),
            Err(error) => {
                failed += 1;
                progress.aside(|| output::note(&format!("tenant {tenant} is not backed up: {error:#}")));
            }
        }
        progress.step(1);
    }
    drop(progress);
    if globals.json {
        output::json(&Value::Array(rows.clone()))?;
    } else {
        print_table(&rows)?;
        note_deleted(&rows, to);
        if !fileless.is_empty() {
            output::note(&format!(
                "without a file yet, and so without a backup: {}",
                fileless.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::failed(format!("{failed} of {} tenants are not backed up", failed + rows.len()))
            .hint("`ici-scim check` looks at every file; the others are backed up")
            .into()),
    }
}

fn folder(make: &Make, settings: &Settings) -> anyhow::Result<PathBuf> {
    let set = settings.server.backup.as_ref().map(|backup| backup.to.clone());
    make.to.clone().or(set).ok_or_else(|| {
        Failure::usage("the folder of the backups is to be named")
            .hint("--to DIR names it, or `to` under [server.backup]")
            .into()
    })
}

fn make_one(make: &Make, settings: &Settings, tenant: &TenantName, to: &Path) -> anyhow::Result<Value> {
    let file = file_of(&settings.server.data_dir, tenant);
    let made = backup::make(&file, tenant, to, SystemClock.now_ms()).map_err(refusal)?;
    let gone = match &make.keep {
        Some(keep) => backup::prune(to, tenant, keep).map_err(refusal)?,
        None => Vec::new(),
    };
    let mut row = shown(&made.file, &made.manifest, State::Good);
    row["deleted"] = gone.iter().map(|found| found.file.display().to_string()).collect();
    Ok(row)
}

fn print(rows: &[Value], to: &Path, globals: &Globals) -> anyhow::Result<()> {
    if globals.json {
        return rows.iter().try_for_each(output::json);
    }
    print_table(rows)?;
    note_deleted(rows, to);
    Ok(())
}

fn note_deleted(rows: &[Value], to: &Path) {
    let deleted: usize = rows.iter().filter_map(|row| row["deleted"].as_array()).map(Vec::len).sum();
    if deleted > 0 {
        output::note(&format!("older backups in {} that --keep lets go: {deleted} deleted", to.display()));
    }
}

fn run_list(folder: &Path, globals: &Globals) -> anyhow::Result<ExitCode> {
    let found = backup::list(folder).map_err(refusal)?;
    let rows: Vec<Value> =
        found.iter().map(|Found { file, manifest, state }| shown(file, manifest, *state)).collect();
    if globals.json {
        output::json(&Value::Array(rows))?;
    } else if rows.is_empty() {
        output::note(&format!("{} has no backups", folder.display()));
    } else {
        print_table(&rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_verify(path: &Path, globals: &Globals) -> anyhow::Result<ExitCode> {
    let files: Vec<PathBuf> = if path.is_dir() {
        backup::list(path).map_err(refusal)?.into_iter().map(|found| found.file).collect()
    } else {
        // That nothing is there says nothing of a backup, and is not "damaged".
        path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        vec![path.to_owned()]
    };
    if files.is_empty() {
        return Err(Failure::failed(format!("{} has no backups", path.display()))
            .hint("make one: `ici-scim backup TENANT --to DIR`")
            .into());
    }
    let unpacked = tempfile::tempdir()?;
    let progress = Progress::of(u64::try_from(files.len()).unwrap_or(0), "checking");
    let (mut rows, mut failed) = (Vec::new(), 0_usize);
    for file in &files {
        let checked = backup::verify(file, unpacked.path(), false);
        match checked.map(|checked| checked.manifest) {
            Ok(Some(manifest)) => rows.push(shown(file, &manifest, State::Good)),
            Ok(None) => {}
            Err(error) => {
                failed += 1;
                let error = error.to_string();
                progress.aside(|| output::note(&error));
                rows.push(json!({ "file": file.display().to_string(), "state": "damaged", "error": error }));
            }
        }
        progress.step(1);
    }
    drop(progress);
    if globals.json {
        output::json(&Value::Array(rows))?;
    } else {
        print_table(&rows)?;
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::failed(format!("{failed} of {} backups are not good", files.len()))
            .hint("make a new one now: `ici-scim backup --all --to DIR`")
            .into()),
    }
}

fn shown(file: &Path, manifest: &Manifest, state: State) -> Value {
    json!({
        "tenant": manifest.tenant,
        "time": manifest.time,
        "users": manifest.users,
        "groups": manifest.groups,
        "memberships": manifest.memberships,
        "schemaVersion": manifest.schema_version,
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "state": match state {
            State::Good => "good",
            State::Damaged => "damaged",
            State::Missing => "missing",
        },
        "file": file.display().to_string(),
    })
}

fn print_table(rows: &[Value]) -> anyhow::Result<()> {
    let mut table =
        Table::new(&["TENANT", "TIME", "USERS", "GROUPS", "MEMBERSHIPS", "BYTES", "STATE", "FILE"]);
    for row in rows {
        let keys = ["tenant", "time", "users", "groups", "memberships", "bytes", "state", "file"];
        table.row(keys.map(|key| match &row[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }));
    }
    output::table(&table)
}

/// What the operator is told, with the next step.
pub fn refusal(error: backup::Error) -> anyhow::Error {
    let failure = Failure::failed(error.to_string());
    let failure = match &error {
        backup::Error::NoFile(tenant) => failure
            .hint(format!("its file is made by the first request, or by `ici-scim user list {tenant}`")),
        backup::Error::NoManifest(_) => failure
            .hint("put the .json beside it; or restore it with --without-manifest if you know what it is"),
        backup::Error::OtherTenant { .. } => {
            failure.hint("--from-other-tenant restores it all the same; its users keep their ids")
        }
        backup::Error::NoBackup { .. } => failure.hint("`ici-scim backup list DIR` shows what is there"),
        backup::Error::Bad { .. } => {
            failure.hint("take another one; `ici-scim backup verify DIR` tells which are good")
        }
        backup::Error::Io { .. } => failure.hint("see that the folder is there, writable and not full"),
        backup::Error::Store(_) => failure.hint("`ici-scim check` looks at the configuration and every file"),
    };
    failure.into()
}

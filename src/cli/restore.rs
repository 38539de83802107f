//! `ici-scim restore`: a backup in the place of what a tenant holds, beside a running server or without one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::backup::{self, Allow, Checked};
use crate::cli::Globals;
use crate::cli::backup::refusal;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::session::{Session, unknown_tenant};
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, TenantName};
use crate::scim::Kind;
use crate::tenants::file_of;

const AFTER_HELP: &str = "\
The backup is checked as a whole first. What the tenant holds now is then kept in the folder `replaced` of the data \
folder, and the backup takes its place in one transaction. A running server goes on: reads are answered all the \
time, writes wait for the moment. A backup of an older version is brought up to date.

What Okta pushed since the backup is missing afterwards: have it pushed again (Okta: Provisioning, Force Sync).

Examples:
  ici-scim restore acme backups
  ici-scim restore acme backups/acme/acme.20260131T030000Z.sqlite.zst --yes
  ici-scim restore acme-test backups/acme/acme.20260131T030000Z.sqlite.zst --from-other-tenant
  ici-scim restore acme litestream-copy.sqlite --without-manifest";

/// Put a backup in the place of what a tenant holds
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    /// The tenant
    #[arg(value_name = "TENANT")]
    tenant: TenantName,
    /// The backup; of a folder, the newest good one of the tenant
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Take the backup of another tenant, with the ids of its users and groups
    #[arg(long)]
    from_other_tenant: bool,
    /// Take a file without a manifest beside it: a packed one, or an SQLite file of a tenant
    #[arg(long)]
    without_manifest: bool,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is wrong, the backup is not good, or a file cannot be written.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    let tenant = &command.tenant;
    if !settings.tenants.contains_key(tenant) {
        return Err(unknown_tenant(&settings, tenant).into());
    }
    if settings.is_elsewhere(tenant.as_str()) {
        // A move restores before the tenant is given to this node, so this is no error.
        output::note(&format!(
            "tenant {tenant} is not served by this node (server.node); it is restored for a move"
        ));
    }
    let data_dir = &settings.server.data_dir;
    let file = match command.file.is_dir() {
        true => backup::newest(&command.file, tenant).map_err(refusal)?.file,
        false => command.file.clone(),
    };
    let allow = Allow { other_tenant: command.from_other_tenant, no_manifest: command.without_manifest };
    let progress = Progress::endless("checking the backup");
    let checked = backup::check(&file, tenant, data_dir, allow).map_err(refusal)?;
    drop(progress);
    if !command.yes {
        output::confirm(&deed(&settings, tenant, &checked), false)?;
    }
    let (contents, manifest) = (checked.contents.clone(), checked.manifest.clone());
    let progress = Progress::endless("restoring");
    let live = file_of(data_dir, tenant);
    let restored = backup::put_back(checked, &live, tenant, SystemClock.now_ms()).map_err(refusal)?;
    drop(progress);
    let aside = restored.aside.as_deref().map(Path::display).map(|path| path.to_string());
    if globals.json {
        output::json(&json!({
            "tenant": tenant.as_str(),
            "file": file.display().to_string(),
            "time": manifest.map(|manifest| manifest.time),
            "users": contents.users,
            "groups": contents.groups,
            "memberships": contents.memberships,
            "schemaVersion": contents.schema_version,
            "replaced": aside,
        }))?;
    } else {
        output::line(&format!(
            "tenant {tenant} is as in {}: {} users, {} groups, {} memberships",
            file.display(),
            contents.users,
            contents.groups,
            contents.memberships
        ))?;
    }
    if let Some(aside) = aside {
        output::note(&format!("what was there before is in {aside}"));
    }
    if restored.file_replaced {
        output::note("the old file could not be read; a running server takes the new one within two seconds");
    }
    output::note("what was pushed since that backup is to be pushed again from Okta");
    Ok(ExitCode::SUCCESS)
}

/// What is asked about, as [`output::confirm`] wants it.
fn deed(settings: &Settings, tenant: &TenantName, checked: &Checked) -> String {
    let present = || -> anyhow::Result<String> {
        if !file_of(&settings.server.data_dir, tenant).exists() {
            return Ok("nothing".to_owned());
        }
        let session = Session::with(settings, tenant)?;
        let (users, groups) = (session.count(Kind::User, None)?, session.count(Kind::Group, None)?);
        Ok(format!("{users} users and {groups} groups"))
    };
    // A damaged file is what a backup is for.
    let present = present().unwrap_or_else(|_| "a file that cannot be read".to_owned());
    let time = checked.manifest.as_ref().map_or("an unknown time", |manifest| manifest.time.as_str());
    let (users, groups) = (checked.contents.users, checked.contents.groups);
    format!(
        "replace what tenant {tenant} holds ({present}) by the backup of {time} ({users} users and {groups} groups)"
    )
}

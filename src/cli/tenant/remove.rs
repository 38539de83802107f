//! `tenant remove`: out of the configuration, its file to a dated place. Nothing is deleted.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::cli::output::{self, Failure};
use crate::cli::session;
use crate::cli::tenant::pause::Wait;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, TenantName};
use crate::scim::datetime;
use crate::tenants::file_of;

pub(super) const EXAMPLES: &str = "\
Nothing is deleted: the tenant's file goes to a dated folder under the data folder, with the lines of the \
configuration beside it, and what brings it back is printed. Its requests are answered 401 from then on.

Examples:
  ici-scim tenant remove acme
  ici-scim tenant remove acme --yes --json";

/// The folder under the data folder that removed tenants go to.
const REMOVED: &str = "removed";
/// The lines of the configuration, beside the file.
const LINES: &str = "tenant.toml";
/// A tenant's file and what SQLite keeps beside it.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// Arguments of `tenant remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The tenant's name
    #[arg(value_name = "NAME")]
    tenant: TenantName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn run(remove: &Remove, globals: &Globals) -> anyhow::Result<()> {
    let tenant = &remove.tenant;
    let settings = globals.settings()?;
    if !settings.tenants.contains_key(tenant) {
        return Err(session::unknown_tenant(&settings, tenant).into());
    }
    output::confirm(&format!("remove tenant {tenant}, whose clients are refused from then on"), remove.yes)?;
    let data_dir = settings.server.data_dir;
    let place = make_place(&data_dir, tenant, SystemClock.now_ms()).map_err(|error| {
        Failure::failed(format!("cannot make a folder in {}: {error}", data_dir.display()))
    })?;
    let mut not_kept = None;
    let edited = session::edit(globals, tenant, |text| {
        let (left, taken) = config::edit::remove_tenant(text, tenant)?;
        not_kept = keep_lines(&place, &taken).err();
        // Then nothing is taken out either.
        Ok(match not_kept {
            // An included file is never empty: one that is would be about to be written.
            None if left.trim().is_empty() => format!("# Tenant {tenant} stood here and was removed.\n"),
            None => left,
            Some(_) => text.to_owned(),
        })
    });
    let edited = edited.and_then(|file| match not_kept {
        Some(error) => Err(anyhow::Error::new(error).context(format!("cannot write to {}", place.display()))),
        None => Ok(file),
    });
    let stood_in = edited.inspect_err(|_| {
        // Empty, or with lines that are still in the configuration.
        let _ = fs::remove_file(place.join(LINES));
        let _ = fs::remove_dir(&place);
    })?;
    output::note(&format!("tenant {tenant} is out of {}", stood_in.display()));
    let file = file_of(&data_dir, tenant);
    let by_hand = |error: &anyhow::Error| {
        Failure::failed(format!("{error:#}")).hint(format!(
            "its file is still {}; when the server has followed, or is stopped, move it and what begins with its name to {}",
            file.display(),
            place.display()
        ))
    };
    let server = Wait::USUAL.until(&data_dir, tenant, false).map_err(|error| by_hand(&error))?;
    let moved = move_file(&file, &place).map_err(|error| by_hand(&error.into()))?;
    output::note(&if moved.is_empty() {
        format!("it had no file yet; its lines of the configuration are in {}", place.display())
    } else {
        format!("its file and its lines of the configuration are in {}", place.display())
    });
    let back = bring_back(&place, &data_dir, &stood_in, !moved.is_empty());
    output::note(&format!("to bring it back: {back}"));
    if globals.json {
        return output::json(&json!({
            "tenant": tenant.as_str(), "movedTo": place, "files": moved, "server": server.as_str(),
            "bringBack": back,
        }));
    }
    Ok(())
}

/// Makes the folder that a removed tenant goes to.
fn make_place(data_dir: &Path, tenant: &TenantName, now_ms: i64) -> io::Result<PathBuf> {
    let all = data_dir.join(REMOVED);
    DirBuilder::new().recursive(true).mode(0o700).create(&all)?;
    let at: String =
        datetime::format(now_ms).chars().take(19).filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut place = all.join(format!("{tenant}-{at}Z"));
    for number in 2.. {
        match DirBuilder::new().mode(0o700).create(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                place = all.join(format!("{tenant}-{at}Z-{number}"));
            }
            made => return made.map(|()| place),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Keeps the lines that were taken out of the configuration. They hold hashes.
fn keep_lines(place: &Path, lines: &str) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(place.join(LINES))?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}

/// Moves a tenant's file; gives the names of what there was to move.
fn move_file(file: &Path, place: &Path) -> io::Result<Vec<String>> {
    let mut moved = Vec::new();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for ending in ENDINGS {
        let name = format!("{name}{ending}");
        match fs::rename(file.with_file_name(&name), place.join(&name)) {
            Ok(()) => moved.push(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// The commands that undo it: the file first, since a server makes one for a tenant that has none.
fn bring_back(place: &Path, data_dir: &Path, config: &Path, has_file: bool) -> String {
    let lines = format!("cat {} >> {}", quoted(&place.join(LINES)), quoted(config));
    if has_file { format!("mv {}/*.sqlite* {}/ && {lines}", quoted(place), quoted(data_dir)) } else { lines }
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z
    const NOW_MS: i64 = 1_767_225_600_000;

    #[test]
    fn a_place_is_dated_and_never_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let make = || make_place(folder.path(), &"acme".parse().unwrap(), NOW_MS).unwrap();
        let (first, second) = (make(), make());
        assert_eq!(first, folder.path().join("removed/acme-20260101T000000Z"));
        assert_eq!(second, folder.path().join("removed/acme-20260101T000000Z-2"));
    }

    #[test]
    fn a_path_is_quoted_for_the_shell_where_it_needs_it() {
        assert_eq!(quoted(Path::new("/var/lib/ici-scim/a_b.toml")), "/var/lib/ici-scim/a_b.toml");
        assert_eq!(quoted(Path::new("/my data/it's")), "'/my data/it'\\''s'");
    }
}

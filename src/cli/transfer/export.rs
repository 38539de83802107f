//! `user export` and `group export`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cli::Globals;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::session::{Session, text};
use crate::cli::transfer::columns::Columns;
use crate::cli::transfer::{Export, Format, GroupExport, MembersBy, format_of, named};
use crate::scim::Kind;

/// The columns of groups.
pub(super) const GROUP_COLUMNS: [&str; 4] = ["id", "displayName", "externalId", "member"];

/// Where an export goes. A file is there as a whole or not at all.
enum To {
    File(BufWriter<NamedTempFile>, PathBuf),
    Stdout(Box<dyn Write>),
}

impl To {
    fn open(file: Option<&Path>) -> anyhow::Result<To> {
        let Some(file) = file else { return Ok(To::Stdout(Box::new(output::stream()))) };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made = tempfile::Builder::new()
            .prefix(".ici-scim-export-")
            .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(To::File(BufWriter::new(made), file.to_owned()))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            To::File(file, _) => file,
            To::Stdout(stdout) => stdout,
        }
    }

    fn finish(self, rows: u64, noun: &str) -> anyhow::Result<()> {
        match self {
            To::File(file, path) => {
                let made = file.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?;
                made.as_file().sync_all()?;
                made.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
                output::note(&format!("{rows} {noun}s are in {}", path.display()));
            }
            To::Stdout(mut stdout) => stdout.flush()?,
        }
        Ok(())
    }
}

/// Writes the users of a tenant.
///
/// # Errors
/// When the filter is refused, or a file cannot be read or written.
pub fn run_user_export(export: &Export, globals: &Globals) -> anyhow::Result<ExitCode> {
    let session = Session::open(globals, &export.tenant)?;
    let file = named(export.file.as_ref());
    let progress = progress(&session, Kind::User, export)?;
    let mut query = vec![("excludedAttributes", "groups")];
    query.extend(export.filter.as_deref().map(|filter| ("filter", filter)));
    let mut to = To::open(file)?;
    let mut rows = 0;
    if format_of(export.format, file) == Format::Ndjson {
        session.walk(Kind::User, &query, None, |user| {
            rows += 1;
            progress.step(1);
            Ok(writeln!(to.writer(), "{user}")?)
        })?;
        drop(progress);
        to.finish(rows, "user")?;
        return Ok(ExitCode::SUCCESS);
    }
    // Which columns there are is known after the last user only.
    let mut spool = BufWriter::new(tempfile::tempfile()?);
    let mut columns = Columns::default();
    let schema = session.schemas().of(Kind::User);
    session.walk(Kind::User, &query, None, |user| {
        rows += 1;
        progress.step(1);
        columns.learn(&user, schema);
        Ok(writeln!(spool, "{user}")?)
    })?;
    let mut spool = spool.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?;
    spool.rewind()?;
    let mut headings = columns.headings();
    if headings.is_empty() {
        headings.extend(["id", "userName", "externalId", "active"].map(str::to_owned));
    }
    let mut table = csv::Writer::from_writer(to.writer());
    table.write_record(&headings)?;
    for line in BufReader::new(spool).lines() {
        table.write_record(columns.row(&serde_json::from_str(&line?)?, schema))?;
    }
    table.flush()?;
    drop(table);
    drop(progress);
    to.finish(rows, "user")?;
    if !columns.left_out.is_empty() {
        let mut left_out: Vec<&str> = columns.left_out.iter().map(String::as_str).collect();
        left_out.sort_unstable();
        output::note(&format!("left out, since no schema knows it: {}; NDJSON has it", left_out.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the groups of a tenant.
///
/// # Errors
/// When the filter is refused, or a file cannot be read or written.
pub fn run_group_export(group_export: &GroupExport, globals: &Globals) -> anyhow::Result<ExitCode> {
    let export = &group_export.export;
    let session = Session::open(globals, &export.tenant)?;
    let file = named(export.file.as_ref());
    let format = format_of(export.format, file);
    let by_name = match group_export.members_by {
        Some(how) => how == MembersBy::Name,
        None => format == Format::Csv,
    };
    let progress = progress(&session, Kind::Group, export)?;
    let query: Vec<(&str, &str)> =
        export.filter.as_deref().map(|filter| ("filter", filter)).into_iter().collect();
    let mut names = HashMap::new();
    let mut rows = 0;
    let mut to = To::open(file)?;
    if format == Format::Ndjson {
        session.walk(Kind::Group, &query, None, |mut group| {
            rows += 1;
            progress.step(1);
            if by_name {
                for member in group["members"].as_array_mut().into_iter().flatten() {
                    member["value"] = Value::String(name_of(&session, member, &mut names)?);
                    if let Some(member) = member.as_object_mut() {
                        member.remove("$ref");
                    }
                }
            }
            Ok(writeln!(to.writer(), "{group}")?)
        })?;
    } else {
        let mut table = csv::Writer::from_writer(to.writer());
        table.write_record(GROUP_COLUMNS)?;
        session.walk(Kind::Group, &query, None, |group| {
            rows += 1;
            progress.step(1);
            let part = |name: &str| group[name].as_str().unwrap_or_default();
            let members = group["members"].as_array().map(Vec::as_slice).unwrap_or_default();
            if members.is_empty() {
                table.write_record([part("id"), part("displayName"), part("externalId"), ""])?;
            }
            for member in members {
                let name =
                    if by_name { name_of(&session, member, &mut names)? } else { text(member, "value")? };
                table.write_record([part("id"), part("displayName"), part("externalId"), &name])?;
            }
            Ok(())
        })?;
        table.flush()?;
    }
    drop(progress);
    to.finish(rows, "group")?;
    Ok(ExitCode::SUCCESS)
}

/// The userName or displayName of a member; each is looked up once. A member that has gone meanwhile keeps its id.
fn name_of(session: &Session, member: &Value, names: &mut HashMap<String, String>) -> anyhow::Result<String> {
    let id = text(member, "value")?;
    if let Some(name) = names.get(&id) {
        return Ok(name.clone());
    }
    let kind = if member["type"] == "Group" { Kind::Group } else { Kind::User };
    let attribute = kind.name_attribute();
    let name = match session.read(kind, &id, &[("attributes", attribute)]) {
        Ok(resource) => text(&resource, attribute)?,
        Err(_) => id.clone(),
    };
    names.insert(id, name.clone());
    Ok(name)
}

fn progress(session: &Session, kind: Kind, export: &Export) -> anyhow::Result<Progress> {
    let count = session.count(kind, export.filter.as_deref())?;
    Ok(Progress::of(count, &format!("{}s", kind.noun())))
}

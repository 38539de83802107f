//! `user import` and `group import`: rows in, in transactions of some hundred, and what became of them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Globals;
use crate::cli::output::{self, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::{Session, refusal, refuse_elsewhere};
use crate::cli::transfer::rows::{self, Membership, Numbered};
use crate::cli::transfer::{GroupImport, Import, format_of, named};
use crate::directory::{self, Error, Imported, Outcome, Row};
use crate::scim::Kind;

/// Most rows in one transaction: a tenth of a second or so, for which a server's writers wait.
const ROWS_MAX: usize = 256;
/// Most members in one transaction, unless one group has more.
const MEMBERS_MAX: usize = 10_000;
/// Refused rows that are told on the screen; the file of `--errors` has all.
const TOLD_MAX: u64 = 20;
/// Refused rows that are told as JSON.
const JSON_MAX: usize = 1_000;

/// Imports users.
///
/// # Errors
/// When a file cannot be read or written, or a row is refused.
pub fn run_user_import(import: &Import, globals: &Globals) -> anyhow::Result<ExitCode> {
    run(import, Kind::User, Membership { keep_others: false, skip_unknown: false }, globals)
}

/// Imports groups.
///
/// # Errors
/// When a file cannot be read or written, or a row is refused.
pub fn run_group_import(import: &GroupImport, globals: &Globals) -> anyhow::Result<ExitCode> {
    let membership =
        Membership { keep_others: import.keep_members, skip_unknown: import.skip_unknown_members };
    run(&import.import, Kind::Group, membership, globals)
}

fn run(import: &Import, kind: Kind, membership: Membership, globals: &Globals) -> anyhow::Result<ExitCode> {
    let settings = globals.settings()?;
    let (session, _folder) = match import.dry_run {
        true => {
            Session::rehearsal(&settings, &import.tenant).map(|(session, folder)| (session, Some(folder)))?
        }
        false => {
            refuse_elsewhere(&settings, &import.tenant)?;
            (Session::with(&settings, &import.tenant)?, None)
        }
    };
    let file = named(import.file.as_ref());
    let format = format_of(import.format, file);
    let rows = rows::open(file, format, kind, &import.map, membership, &session)?;
    let progress = match rows.bytes {
        Some(bytes) => Progress::of(bytes, "bytes"),
        None => Progress::endless("rows"),
    };
    let errors = import.errors.as_deref().map(create).transpose()?;
    let mut work = Work {
        session: &session,
        kind,
        stop: import.stop_on_error,
        tally: Tally::default(),
        errors,
        progress,
    };
    let ended = work.all(rows, import.from_line);
    let Work { mut tally, errors, progress, .. } = work;
    drop(progress);
    if let Some(mut errors) = errors {
        errors.flush()?;
    }
    tally.dry_run = import.dry_run;
    tally.print(&import.tenant.to_string(), kind, globals)?;
    ended?;
    if tally.refused == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let (were, hint) = match import.dry_run {
        true => {
            ("would be", "nothing was changed; correct them and try again, or import the others as it is")
        }
        false => ("were", "correct them and run the same command again; what is done already is passed over"),
    };
    Err(Failure::failed(format!("{} of {} rows {were} refused", tally.refused, tally.rows()))
        .hint(hint)
        .into())
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?))
}

/// An import that is going on.
struct Work<'a> {
    session: &'a Session,
    kind: Kind,
    stop: bool,
    tally: Tally,
    errors: Option<BufWriter<File>>,
    progress: Progress,
}

impl Work<'_> {
    fn all(&mut self, rows: rows::Rows, from_line: u64) -> anyhow::Result<()> {
        let (mut batch, mut members, mut seen) = (Vec::new(), 0, 0);
        let (read, bytes) = (rows.read, rows.bytes);
        for numbered in rows.rows {
            let Numbered { line, row } = numbered?;
            if line < from_line {
                continue;
            }
            match row {
                Ok(row) => {
                    members += row.members.as_ref().map_or(0, |members| members.names.len());
                    batch.push((line, row));
                }
                Err(reason) => {
                    self.commit(&mut batch)?;
                    if self.tally.refused == 0 || !self.stop {
                        self.refuse(line, &reason)?;
                    }
                }
            }
            if batch.len() >= ROWS_MAX || members >= MEMBERS_MAX {
                self.commit(&mut batch)?;
                members = 0;
                if bytes.is_some() {
                    self.progress.step(read.get() - seen);
                    seen = read.get();
                } else {
                    self.progress.step(u64::try_from(ROWS_MAX)?);
                }
            }
            if self.stop && self.tally.refused > 0 {
                return Ok(());
            }
        }
        self.commit(&mut batch)
    }

    fn commit(&mut self, batch: &mut Vec<(u64, Row)>) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (lines, rows): (Vec<u64>, Vec<Row>) = std::mem::take(batch).into_iter().unzip();
        for (line, imported) in lines.into_iter().zip(self.session.import(self.kind, rows, self.stop)) {
            match imported {
                Ok(imported) => self.tally.count(imported),
                Err(Error::Client(error)) => {
                    let reason = match directory::is_without_seat(&error) {
                        true => format!(
                            "more active users than max_users of [tenants.{}] allows",
                            self.session.tenant()
                        ),
                        false => error.detail,
                    };
                    self.refuse(line, &reason)?;
                    if self.stop {
                        return Ok(());
                    }
                }
                // The file cannot be used: no later row would fare better.
                Err(error) => return Err(refusal(error).context(format!("the import ended at line {line}"))),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, reason: &str) -> anyhow::Result<()> {
        self.tally.refused += 1;
        let error = json!({ "line": line, "error": reason });
        if let Some(errors) = &mut self.errors {
            writeln!(errors, "{error}")?;
        }
        if self.tally.refused <= TOLD_MAX {
            self.progress.aside(|| output::note(&format!("line {line}: {reason}")));
        } else if self.tally.refused == TOLD_MAX + 1 {
            self.progress.aside(|| output::note("more rows are refused; --errors FILE tells of all"));
        }
        if self.tally.errors.len() < JSON_MAX {
            self.tally.errors.push(error);
        }
        Ok(())
    }
}

/// What became of the rows.
#[derive(Default)]
struct Tally {
    dry_run: bool,
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    members_skipped: u64,
    errors: Vec<Value>,
}

impl Tally {
    fn count(&mut self, imported: Imported) {
        match imported.outcome {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged => self.unchanged += 1,
        }
        self.members_skipped += u64::try_from(imported.members_skipped).unwrap_or(0);
    }

    fn rows(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.refused
    }

    fn print(&self, tenant: &str, kind: Kind, globals: &Globals) -> anyhow::Result<()> {
        if globals.json {
            return output::json(&json!({
                "tenant": tenant,
                "kind": kind.noun(),
                "dryRun": self.dry_run,
                "rows": self.rows(),
                "created": self.created,
                "updated": self.updated,
                "unchanged": self.unchanged,
                "refused": self.refused,
                "membersSkipped": self.members_skipped,
                "errors": self.errors,
            }));
        }
        let would = if self.dry_run { "would be " } else { "" };
        output::line(&format!(
            "{} {}s: {would}created {}, updated {}, unchanged {}, refused {}",
            self.rows(),
            kind.noun(),
            self.created,
            self.updated,
            self.unchanged,
            self.refused
        ))?;
        if self.members_skipped > 0 {
            output::note(&format!(
                "{} members are not in the tenant and were passed over",
                self.members_skipped
            ));
        }
        Ok(())
    }
}

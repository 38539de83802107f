//! What `-V` and `--version` print: one line for people and scripts, more for a report of a fault.

use crate::directory;
use crate::scim::datetime;
use crate::version;

/// Characters of a commit that are shown in the one line.
const COMMIT_SHOWN: usize = 12;

/// Characters of an instant that are its date.
const DATE: usize = "2026-01-31".len();

/// `0.1.0 (78e7c55a1b2c 2026-11-25)`, or `0.1.0 (development build)`.
pub fn short() -> String {
    let commit = version::COMMIT.map(|commit| &commit[..commit.len().min(COMMIT_SHOWN)]);
    let changed = if version::IS_CHANGED { "-modified" } else { "" };
    let from = match (commit, date()) {
        (Some(commit), Some(date)) => format!("{commit}{changed} {date}"),
        (Some(commit), None) => format!("{commit}{changed}"),
        (None, Some(date)) => date,
        (None, None) if version::PROFILE == "release" => "commit unknown".to_owned(),
        (None, None) => "development build".to_owned(),
    };
    format!("{} ({from})", version::NUMBER)
}

/// The same, and below it one fact a line.
pub fn long() -> String {
    let changed = if version::IS_CHANGED { ", with changes" } else { "" };
    let commit = version::COMMIT.map_or_else(|| "unknown".to_owned(), |commit| format!("{commit}{changed}"));
    let committed = version::committed_ms().map_or_else(|| "unknown".to_owned(), datetime::format);
    let linked = if version::IS_STATIC { "static" } else { "dynamic" };
    format!(
        "{}\ncommit: {commit}\ncommitted: {committed}\ntarget: {} ({linked}, {})\nSQLite: {}\nschema of tenants' files: {}",
        short(),
        version::TARGET,
        version::PROFILE,
        directory::sqlite_version(),
        directory::schema_version(),
    )
}

/// The date of the commit, in UTC.
pub fn date() -> Option<String> {
    let mut date = datetime::format(version::committed_ms()?);
    date.truncate(DATE);
    Some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_begins_with_the_version_and_the_long_form_with_the_line() {
        assert!(short().starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")), "{}", short());
        assert!(long().starts_with(&format!("{}\ncommit: ", short())), "{}", long());
        assert!(long().ends_with(&format!("\nschema of tenants' files: {}", directory::schema_version())));
    }
}

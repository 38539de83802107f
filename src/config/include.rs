//! `include`: which other files hold tenants. Listing and reading them belongs to `tenants`.

use std::path::{Path, PathBuf};

use crate::config::read::Entry;
use crate::config::{Error, PATH_BYTES_MAX};

const EXPECTED: &str = "a folder and a pattern of file names, such as \"tenants.d/*.toml\"";

/// The files of a folder whose names fit a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    folder: PathBuf,
    names: glob::Pattern,
}

impl Include {
    /// Reads the key `include`.
    pub(super) fn read(entry: &Entry<'_>) -> Result<Include, Error> {
        let text = entry.text(EXPECTED)?;
        Include::parse(text).ok_or_else(|| entry.error(format!("expected {EXPECTED}")))
    }

    fn parse(text: &str) -> Option<Include> {
        if text.len() > PATH_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        let (folder, names) = text.rsplit_once('/')?;
        // One folder and no more: what there is to look at stays bounded, and a change of it is one look.
        let folder_is_plain = !folder.contains(['*', '?', '[']);
        let folder = if folder.is_empty() { "/" } else { folder };
        let names_are_some = !names.is_empty() && names != "." && names != "..";
        let names = glob::Pattern::new(names).ok()?;
        (folder_is_plain && names_are_some).then(|| Include { folder: PathBuf::from(folder), names })
    }

    /// The folder, as it stands in the text: a relative one lies beside the main file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a file of that name is included. One whose name begins with a dot is not, unless the pattern does:
    /// editors and configuration management keep what is half written under such names.
    pub fn takes(&self, file_name: &str) -> bool {
        let options =
            glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
        self.names.matches_with(file_name, options)
    }

    /// The name of the file that is made for a tenant; `None` when the pattern does not take it.
    pub fn file_name_for(&self, tenant: &str) -> Option<String> {
        let by_pattern = self.names.as_str().replacen('*', tenant, 1);
        [by_pattern, format!("{tenant}.toml")].into_iter().find(|name| self.takes(name))
    }

    /// Folder and pattern, for people.
    pub fn shown(&self) -> String {
        self.folder.join(self.names.as_str()).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_the_names_that_fit_and_no_hidden_ones() {
        let include = Include::parse("tenants.d/*.toml").unwrap();
        assert_eq!(include.folder(), Path::new("tenants.d"));
        assert!(include.takes("acme.toml") && include.takes("a b.toml"));
        for name in ["acme.toml~", "acme.toml.swp", ".acme.toml", "..data", "acme.json", ".#acme.toml"] {
            assert!(!include.takes(name), "{name}");
        }
        assert_eq!(include.file_name_for("acme").as_deref(), Some("acme.toml"));
        let numbered = Include::parse("/etc/ici/[0-9]*-*.toml").unwrap();
        assert!(numbered.takes("10-acme.toml"));
        assert_eq!(numbered.file_name_for("acme"), None);
        assert_eq!(
            Include::parse("d/t-*.conf").unwrap().file_name_for("acme").as_deref(),
            Some("t-acme.conf")
        );
        assert_eq!(Include::parse("/*.toml").unwrap().folder(), Path::new("/"));
    }

    #[test]
    fn what_is_no_folder_and_pattern_is_refused() {
        for text in ["", "*.toml", "tenants.d/", "*/a.toml", "a/**/b/*.toml", "d/[", "d/***", "d/..", "d/a\n"]
        {
            assert_eq!(Include::parse(text), None, "{text:?}");
        }
        assert_eq!(Include::parse(&format!("{}/*", "d".repeat(PATH_BYTES_MAX))), None);
    }
}

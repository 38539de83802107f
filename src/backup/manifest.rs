//! What a backup is called, and what its manifest tells of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::TenantName;
use crate::scim::datetime;

/// The end of a backup's name.
pub(super) const PACKED_END: &str = ".sqlite.zst";

/// What a manifest says that it is.
const FORMAT: &str = "ici-scim backup 1";

/// Most bytes of a manifest that are read; it has some six hundred.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// The manifest beside a backup, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// `ici-scim backup 1`
    pub format: String,
    /// Whose backup it is.
    pub tenant: String,
    /// Of which moment, RFC 3339 in UTC.
    pub time: String,
    /// The version of the program that made it.
    pub program: String,
    /// The schema version of the file in it.
    pub schema_version: i64,
    /// Users, inactive ones too.
    pub users: u64,
    /// Groups.
    pub groups: u64,
    /// Members of groups, counted once for each group.
    pub memberships: u64,
    /// Events.
    pub events: u64,
    /// The name of the packed file.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its checksum, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The length of the SQLite file in it, in bytes.
    pub plain_bytes: u64,
    /// The checksum of the SQLite file in it.
    pub plain_sha256: String,
}

impl Manifest {
    /// The name for `format`.
    pub(super) fn format() -> String {
        FORMAT.to_owned()
    }

    /// Reads a manifest; `None` when it is none.
    pub(super) fn parse(text: &[u8]) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text).ok()?;
        (manifest.format == FORMAT && datetime::parse(&manifest.time).is_some()).then_some(manifest)
    }

    /// The moment, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn time_ms(&self) -> i64 {
        datetime::parse(&self.time).unwrap_or(0)
    }
}

/// `acme.20260131T030000Z.sqlite.zst`; a further one of the same second has its number before the ending. A tenant's
/// name has no dot.
pub(super) fn file_name(tenant: &TenantName, at_ms: i64, number: u32) -> String {
    format!("{tenant}.{}{PACKED_END}", stamp(at_ms, number))
}

/// `20260131T030000Z`, or `20260131T030000Z-2`.
pub(super) fn stamp(at_ms: i64, number: u32) -> String {
    let text = datetime::format(at_ms);
    let seconds = text.split('.').next().unwrap_or_default().replace(['-', ':'], "");
    if number < 2 { format!("{seconds}Z") } else { format!("{seconds}Z-{number}") }
}

/// The moment in a backup's name; `None` when the file is none of this tenant's.
pub(super) fn time_in_name(tenant: &str, name: &str) -> Option<i64> {
    let stamp = name.strip_prefix(tenant)?.strip_prefix('.')?.strip_suffix(PACKED_END)?;
    let seconds = stamp.split_once('-').map_or(stamp, |(seconds, _)| seconds);
    let (day, time) = seconds.strip_suffix('Z')?.split_once('T')?;
    let (year, month, day) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    datetime::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The manifest that belongs to a backup.
pub(super) fn manifest_of(packed: &Path) -> PathBuf {
    with_end(packed, ".json")
}

/// The checksum that belongs to a backup.
pub(super) fn checksum_of(packed: &Path) -> PathBuf {
    with_end(packed, ".sha256")
}

pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_else(|| OsStr::new("")).to_owned();
    name.push(end);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_tenant_and_second() {
        let tenant: TenantName = "a-1".parse().unwrap();
        let at_ms = 1_769_828_405_678;
        for (number, name) in
            [(1, "a-1.20260131T030005Z.sqlite.zst"), (2, "a-1.20260131T030005Z-2.sqlite.zst")]
        {
            assert_eq!(file_name(&tenant, at_ms, number), name);
            assert_eq!(time_in_name("a-1", name), Some(1_769_828_405_000));
            assert_eq!(time_in_name("a", name), None);
        }
        for other in ["a-1.sqlite.zst", "a-1.2026.sqlite.zst", "a-1.20260131T030005Z.sqlite.zst.json", "x"] {
            assert_eq!(time_in_name("a-1", other), None, "{other}");
        }
    }
}

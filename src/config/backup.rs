//! `[server.backup]`: when the server backs its tenants up, where to, and which backups it keeps. Which of them a rule
//! of keeping chooses is told in `backup::retention`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::read::{Entry, Section};
use crate::config::{Error, PATH_BYTES_MAX};

/// The keys that are known here.
pub(super) const BACKUP_KEYS: &[&str] = &["to", "every", "at", "keep"];

/// Shortest and longest time between two backups, in seconds.
const EVERY_S: std::ops::RangeInclusive<u64> = 60..=366 * 24 * 3600;
/// Most periods of one length that are kept.
const PERIODS_MAX: u32 = 10_000;

/// `[server.backup]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// The folder of the backups. As it stands in the text until flags and environment are laid over the settings;
    /// then absolute.
    pub to: PathBuf,
    /// When.
    pub schedule: Schedule,
    /// Which backups are kept; all, unless set.
    pub keep: Option<Keep>,
}

/// When a backup is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// So many seconds after the one before.
    EverySeconds(u64),
    /// Once a day, so many minutes after midnight in UTC.
    DailyMinute(u32),
}

/// A length of time that backups are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl Period {
    const LETTERS: [(char, Period); 5] = [
        ('h', Period::Hour),
        ('d', Period::Day),
        ('w', Period::Week),
        ('m', Period::Month),
        ('y', Period::Year),
    ];
}

/// Which backups are kept: for each of these periods the newest one of so many of them. In UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep(Vec<(Period, u32)>);

impl Keep {
    /// The periods, and of how many of each one backup is kept.
    pub fn rules(&self) -> &[(Period, u32)] {
        &self.0
    }
}

/// A text is no [`Keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected numbers of hours, days, weeks, months or years, such as \"7d,4w,12m\" (h, d, w, m, y; each once, 1 to 10000)"
)]
pub struct BadKeep;

impl FromStr for Keep {
    type Err = BadKeep;

    fn from_str(text: &str) -> Result<Keep, BadKeep> {
        let mut rules: Vec<(Period, u32)> = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let letter = part.chars().next_back().ok_or(BadKeep)?;
            let (_, period) =
                Period::LETTERS.into_iter().find(|(known, _)| *known == letter).ok_or(BadKeep)?;
            let digits = &part[..part.len() - 1];
            let count: u32 = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
                true => digits.parse().map_err(|_| BadKeep)?,
                false => return Err(BadKeep),
            };
            if count == 0 || count > PERIODS_MAX || rules.iter().any(|(known, _)| *known == period) {
                return Err(BadKeep);
            }
            rules.push((period, count));
        }
        Ok(Keep(rules))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (period, count)) in self.0.iter().enumerate() {
            let letter =
                Period::LETTERS.iter().find(|(_, known)| known == period).map_or('?', |(letter, _)| *letter);
            write!(f, "{}{count}{letter}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Reads `[server.backup]`.
pub(super) fn read(section: &Section<'_>) -> Result<BackupSettings, Error> {
    section.only(BACKUP_KEYS)?;
    let expected = "the path of a folder";
    let entry = section.require("to", expected)?;
    let to = entry.text(expected)?;
    if to.is_empty() || to.len() > PATH_BYTES_MAX || to.contains('\0') {
        return Err(entry.error(format!("expected {expected}")));
    }
    let schedule = match (section.get("every"), section.get("at")) {
        (Some(every), None) => Schedule::EverySeconds(time_s(&every)?),
        (None, Some(at)) => Schedule::DailyMinute(minute_of_day(&at)?),
        (Some(_), Some(at)) => return Err(at.error("expected either every or at, found both")),
        // It is not there, which is told with what may stand there.
        (None, None) => Schedule::EverySeconds(time_s(
            &section.require("every", "a time such as \"6h\", or at = \"03:00\"")?,
        )?),
    };
    let keep = match section.get("keep") {
        Some(entry) => {
            let text = entry.text("a text such as \"7d,4w,12m\"")?;
            Some(text.parse().map_err(|fault: BadKeep| entry.error(fault.to_string()))?)
        }
        None => None,
    };
    Ok(BackupSettings { to: PathBuf::from(to), schedule, keep })
}

fn time_s(entry: &Entry<'_>) -> Result<u64, Error> {
    let expected = "a time from 1m to 366d, such as \"30m\", \"6h\" or \"1d\"";
    let wrong = || entry.error(format!("expected {expected}"));
    let text = entry.text(expected)?;
    let (digits, factor) = [("m", 60), ("h", 3600), ("d", 24 * 3600)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .ok_or_else(wrong)?;
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(factor).filter(|seconds| EVERY_S.contains(seconds)).ok_or_else(wrong)
}

fn minute_of_day(entry: &Entry<'_>) -> Result<u32, Error> {
    let expected = "a time of the day in UTC, such as \"03:00\"";
    let text = entry.text(expected)?;
    let minute = || {
        let (hour, minute) = text.split_once(':')?;
        let in_form = text.len() == 5
            && hour.len() == 2
            && text.bytes().all(|byte| byte == b':' || byte.is_ascii_digit());
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        (in_form && hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    minute().ok_or_else(|| entry.error(format!("expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(lines: &str) -> Result<BackupSettings, String> {
        let parsed = parse(&format!("[server.backup]\n{lines}"), "t").map_err(|error| error.to_string())?;
        Ok(parsed.server.backup.unwrap())
    }

    #[test]
    fn a_schedule_is_read() {
        let read_well = |lines: &str| read(lines).unwrap();
        let every = read_well("to = \"b\"\nevery = \"6h\"\nkeep = \"7d, 4w,12m\"");
        assert_eq!((every.to.to_str(), every.schedule), (Some("b"), Schedule::EverySeconds(21_600)));
        assert_eq!(every.keep.as_ref().map(ToString::to_string).as_deref(), Some("7d,4w,12m"));
        let daily = read_well("to = \"/b\"\nat = \"03:05\"");
        assert_eq!((daily.schedule, daily.keep), (Schedule::DailyMinute(185), None));
        assert!(parse("", "t").unwrap().server.backup.is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (lines, problem) in [
            ("every = \"6h\"", "t:1: server.backup.to: missing; expected the path of a folder"),
            ("to = \"\"\nevery = \"6h\"", "t:2: server.backup.to: expected the path of a folder"),
            (
                "to = \"b\"",
                "t:1: server.backup.every: missing; expected a time such as \"6h\", or at = \"03:00\"",
            ),
            (
                "to = \"b\"\nevery = \"6h\"\nat = \"03:00\"",
                "t:4: server.backup.at: expected either every or at, found both",
            ),
            (
                "to = \"b\"\nevery = \"6h\"\nkeep = \"7x\"",
                "t:4: server.backup.keep: expected numbers of hours, days, weeks, months or years, such as \"7d,4w,12m\" (h, d, w, m, y; each once, 1 to 10000)",
            ),
        ] {
            assert_eq!(read(lines).unwrap_err(), problem);
        }
        for wrong in ["6", "0h", "59s", "-1h", "367d", "h", "", "99999999999999999999d", "1.5h", "+6h6h"] {
            assert!(read(&format!("to = \"b\"\nevery = \"{wrong}\"")).is_err(), "{wrong}");
        }
        for wrong in ["24:00", "3:00", "03:60", "0300", "03:0x", "+3:00", "03:00:00", ""] {
            assert!(read(&format!("to = \"b\"\nat = \"{wrong}\"")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_of_keeping_are_read_and_shown() {
        for text in ["7d,4w,12m", "24h", "1y,10000d"] {
            assert_eq!(text.parse::<Keep>().unwrap().to_string(), text);
        }
        for wrong in ["", ",", "7", "d", "0d", "7d,", "7d,8d", "10001d", "-1d", "+1d", "7 d", "7ä", "7D"] {
            assert_eq!(wrong.parse::<Keep>(), Err(BadKeep), "{wrong}");
        }
    }
}

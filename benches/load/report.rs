//! The results: a table for people, JSON for `benches/plot.py`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use ici_scim::clock::{Clock, SystemClock};
use ici_scim::scim::datetime;
use serde_json::{Value, json};

use crate::drive::Sample;
use crate::measure::Ratio;
use crate::plan::Plan;

/// Everything that a run has found.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    facts: Vec<Fact>,
    bounds: Vec<Bound>,
}

/// One measurement under load.
pub(crate) struct Row {
    /// What was done.
    pub(crate) what: String,
    /// What the amount counts: users, members, tenants.
    pub(crate) unit: &'static str,
    /// How many of them there were.
    pub(crate) amount: u64,
    /// Clients at once.
    pub(crate) concurrency: usize,
    /// Medians of the rounds.
    pub(crate) sample: Sample,
    /// Requests a second against the bare warp route with the same bytes.
    pub(crate) of_bare_route: Option<Ratio>,
    /// Requests a second against the plain statements by one thread.
    pub(crate) of_plain_sqlite: Option<Ratio>,
}

/// One number that is no load.
pub(crate) struct Fact {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// Which side of a limit is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    AtLeast,
    AtMost,
}

/// Something that must be reached.
pub(crate) struct Bound {
    pub(crate) what: String,
    pub(crate) sense: Sense,
    pub(crate) limit: f64,
    /// `x` for a ratio, else MiB or ms.
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// The smallest and the largest value of the rounds.
    pub(crate) range: Option<(f64, f64)>,
    /// What it comes to as a rule, where that is not the limit: a value half as good is a regression.
    usual: Option<f64>,
}

impl Bound {
    /// A bound on a ratio.
    pub(crate) fn ratio(what: impl Into<String>, sense: Sense, limit: f64, ratio: Ratio) -> Bound {
        let range = Some((ratio.low, ratio.high));
        Bound { what: what.into(), sense, limit, unit: "x", value: ratio.median, range, usual: None }
    }

    /// The same, which as a rule comes to `usual` in place of the limit.
    pub(crate) fn usually(self, usual: f64) -> Bound {
        Bound { usual: Some(usual), ..self }
    }

    /// A bound on a time.
    pub(crate) fn time(what: impl Into<String>, limit_ms: f64, ms: f64) -> Bound {
        let sense = Sense::AtMost;
        Bound { what: what.into(), sense, limit: limit_ms, unit: "ms", value: ms, range: None, usual: None }
    }

    /// A bound on memory.
    pub(crate) fn memory(what: impl Into<String>, limit_mib: f64, mib: f64) -> Bound {
        Bound {
            what: what.into(),
            sense: Sense::AtMost,
            limit: limit_mib,
            unit: "MiB",
            value: mib,
            range: None,
            usual: None,
        }
    }

    fn is_reached(&self) -> bool {
        self.holds_at(self.limit)
    }

    /// Whether it is at least half as good as usual.
    fn is_half_as_good(&self) -> bool {
        let usual = self.usual.unwrap_or(self.limit);
        match self.sense {
            Sense::AtLeast => self.holds_at(usual / 2.0),
            Sense::AtMost => self.holds_at(usual * 2.0),
        }
    }

    fn holds_at(&self, limit: f64) -> bool {
        match self.sense {
            Sense::AtLeast => self.value >= limit,
            Sense::AtMost => self.value <= limit,
        }
    }
}

impl Report {
    /// Adds a measurement.
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a number, and shows it.
    pub(crate) fn fact(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        let what = what.into();
        eprintln!("    {what}: {value:.1} {unit}");
        self.facts.push(Fact { what, value, unit });
    }

    /// Adds a bound, and shows what came of it.
    pub(crate) fn bound(&mut self, bound: Bound) {
        eprintln!("    {}", bound_line(&bound));
        self.bounds.push(bound);
    }

    /// Whether all bounds are reached; when `generous`, whether all are at least half as good as usual.
    pub(crate) fn is_good(&self, generous: bool) -> bool {
        self.bounds.iter().all(|bound| if generous { bound.is_half_as_good() } else { bound.is_reached() })
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n{:<26} {:>9} {:<7} {:>3} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "what", "", "", "c", "req/s", "p50 us", "p99 us", "CPU us", "peak MiB", "of warp", "of SQLite"
        );
        for row in &self.rows {
            let ratio = |ratio: Option<Ratio>| ratio.map_or("".to_owned(), |it| format!("{:.2}", it.median));
            let _ = writeln!(
                text,
                "{:<26} {:>9} {:<7} {:>3} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {:>9} {:>9}",
                row.what,
                row.amount,
                row.unit,
                row.concurrency,
                row.sample.per_second,
                row.sample.p50_us,
                row.sample.p99_us,
                row.sample.cpu_us,
                row.sample.peak_mib,
                ratio(row.of_bare_route),
                ratio(row.of_plain_sqlite),
            );
        }
        text.push('\n');
        for fact in &self.facts {
            let _ = writeln!(text, "{:<76} {:>10.1} {}", fact.what, fact.value, fact.unit);
        }
        text.push('\n');
        for bound in &self.bounds {
            let _ = writeln!(text, "{}", bound_line(bound));
        }
        text
    }

    /// Writes the results to a file.
    pub(crate) fn save(&self, file: &Path, plan: &Plan, data: &Path) -> Result<()> {
        let ratio = |ratio: Option<Ratio>| ratio.map(|it| json!([it.median, it.low, it.high]));
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what, "unit": row.unit, "amount": row.amount, "concurrency": row.concurrency,
                "requests": row.sample.requests, "per_second": row.sample.per_second,
                "p50_us": row.sample.p50_us, "p99_us": row.sample.p99_us,
                "cpu_us": row.sample.cpu_us, "client_cpu_us": row.sample.client_cpu_us,
                "peak_mib": row.sample.peak_mib,
                "of_bare_route": ratio(row.of_bare_route), "of_plain_sqlite": ratio(row.of_plain_sqlite),
            })
        });
        let facts =
            self.facts.iter().map(|it| json!({ "what": it.what, "value": it.value, "unit": it.unit }));
        let bounds = self.bounds.iter().map(|it| {
            json!({
                "what": it.what, "at_least": it.sense == Sense::AtLeast, "limit": it.limit, "unit": it.unit,
                "value": it.value, "range": it.range, "reached": it.is_reached(),
            })
        });
        let whole = json!({
            "plan": plan.name,
            "date": datetime::format(SystemClock.now_ms()),
            "commit": output("git", &["describe", "--always", "--dirty", "--abbrev=40"]),
            "machine": machine(data),
            "bounds": bounds.collect::<Vec<_>>(),
            "facts": facts.collect::<Vec<_>>(),
            "rows": rows.collect::<Vec<_>>(),
        });
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(file, serde_json::to_string_pretty(&whole)? + "\n")?)
    }
}

fn bound_line(bound: &Bound) -> String {
    let sign = match bound.sense {
        Sense::AtLeast => ">=",
        Sense::AtMost => "<=",
    };
    let range = bound.range.map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    let verdict = if bound.is_reached() { "reached" } else { "MISSED" };
    format!(
        "{verdict:<7} {:<76} {:>7.2} {}{range}, must be {sign} {}",
        bound.what, bound.value, bound.unit, bound.limit
    )
}

/// What the numbers were measured on.
fn machine(data: &Path) -> Value {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
        found.map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": line("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map(std::num::NonZero::get).ok(),
        "memory": line("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        "file_system": output("stat", &["--file-system", "--format=%T", &data.display().to_string()]),
        "compiler": output("rustc", &["--version"]),
    })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

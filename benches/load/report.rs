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
use crate::goal::{Goal, Sense};
use crate::measure::Ratio;
use crate::plan::Plan;

/// Everything that a run has found.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    facts: Vec<Fact>,
    bounds: Vec<Bound>,
    comparisons: Vec<Comparison>,
    usual: Vec<Usual>,
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

/// A ratio that is told, and held to nothing.
struct Comparison {
    what: String,
    ratio: Ratio,
}

/// Something that need not reach anything, and is a regression when it is far worse than usual.
struct Usual {
    what: String,
    goal: Goal,
    value: f64,
}

/// Something that must be reached.
pub(crate) struct Bound {
    what: String,
    goal: Goal,
    /// `x` for a ratio, else MiB or ms.
    unit: &'static str,
    value: f64,
    /// The smallest and the largest value of the rounds.
    range: Option<(f64, f64)>,
}

impl Bound {
    /// A bound on a ratio.
    pub(crate) fn ratio(what: impl Into<String>, goal: Goal, ratio: Ratio) -> Bound {
        let range = Some((ratio.low, ratio.high));
        Bound { what: what.into(), goal, unit: "x", value: ratio.median, range }
    }

    /// A bound on a time.
    pub(crate) fn time(what: impl Into<String>, limit_ms: f64, usual_ms: f64, ms: f64) -> Bound {
        let goal = Goal { sense: Sense::AtMost, limit: limit_ms, usual: usual_ms };
        Bound { what: what.into(), goal, unit: "ms", value: ms, range: None }
    }

    /// A bound on memory.
    pub(crate) fn memory(what: impl Into<String>, limit_mib: f64, usual_mib: f64, mib: f64) -> Bound {
        let goal = Goal { sense: Sense::AtMost, limit: limit_mib, usual: usual_mib };
        Bound { what: what.into(), goal, unit: "MiB", value: mib, range: None }
    }

    fn is_reached(&self) -> bool {
        self.goal.is_reached(self.value)
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

    /// Adds a ratio that is held to nothing, and shows it.
    pub(crate) fn comparison(&mut self, what: impl Into<String>, ratio: Ratio) {
        let comparison = Comparison { what: what.into(), ratio };
        eprintln!("    {}", comparison_line(&comparison));
        self.comparisons.push(comparison);
    }

    /// Has a ratio named when it is far worse than usual.
    pub(crate) fn usual(&mut self, what: impl Into<String>, sense: Sense, usual: f64, value: f64) {
        self.usual.push(Usual { what: what.into(), goal: Goal { sense, limit: usual, usual }, value });
    }

    /// Whether all bounds are reached.
    pub(crate) fn is_good(&self) -> bool {
        self.bounds.iter().all(Bound::is_reached)
    }

    /// What is far worse than usual.
    pub(crate) fn regressions(&self) -> Vec<String> {
        let bounds = self.bounds.iter().map(|it| (&it.what, it.goal, it.value, it.unit));
        let others = self.usual.iter().map(|it| (&it.what, it.goal, it.value, "x"));
        let worse = bounds.chain(others).filter(|(_, goal, value, _)| !goal.is_as_usual(*value));
        let line = |(what, goal, value, unit): (&String, Goal, f64, &str)| {
            format!("far worse than usual: {what}: {value:.2} {unit}, usually {}", goal.usual)
        };
        worse.map(line).collect()
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
        for comparison in &self.comparisons {
            let _ = writeln!(text, "{}", comparison_line(comparison));
        }
        text
    }

    /// Writes the results to a file.
    /// `only` are the parts that were measured, if not all were.
    pub(crate) fn save(&self, file: &Path, plan: &Plan, only: &[String], data: &Path) -> Result<()> {
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
                "what": it.what, "at_least": it.goal.sense == Sense::AtLeast, "limit": it.goal.limit, "unit": it.unit,
                "value": it.value, "range": it.range, "reached": it.is_reached(),
            })
        });
        let comparisons = self.comparisons.iter().map(|it| {
            let Ratio { median, low, high } = it.ratio;
            json!({ "what": it.what, "median": median, "low": low, "high": high })
        });
        let whole = json!({
            "plan": plan.name,
            "only": only,
            "date": datetime::format(SystemClock.now_ms()),
            "commit": output("git", &["describe", "--always", "--dirty", "--abbrev=40"]),
            "machine": machine(data),
            "bounds": bounds.collect::<Vec<_>>(),
            "comparisons": comparisons.collect::<Vec<_>>(),
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
    let sign = match bound.goal.sense {
        Sense::AtLeast => ">=",
        Sense::AtMost => "<=",
    };
    let range = bound.range.map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    let verdict = if bound.is_reached() { "reached" } else { "MISSED" };
    format!(
        "{verdict:<7} {:<76} {:>7.2} {}{range}, must be {sign} {}",
        bound.what, bound.value, bound.unit, bound.goal.limit
    )
}

fn comparison_line(comparison: &Comparison) -> String {
    let Comparison { what, ratio: Ratio { median, low, high } } = comparison;
    format!("{:<7} {what:<76} {median:>7.2} x ({low:.2} to {high:.2})", "told")
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

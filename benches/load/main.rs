//! The load benchmark: the release binary under load over HTTP, beside floors that are measured in the same run: a bare
//! warp route with the same bytes, the same route served by the server's own loops, and plain SQLite with the same
//! statements.
//!
//! Speeds are worth little on a shared machine, ratios measured turn by turn are; so what must be reached is a
//! ratio wherever it can be. `docs/benchmarks.md` tells what came of it and how to read it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its results and progress"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use ici_scim::clock::Stopwatch;

use crate::plan::{HeldTo, Plan};
use crate::report::Report;
use crate::site::Site;

mod plan;
mod process;
mod http;
mod drive;
mod people;
mod ask;
mod bare_route;
mod plain;
mod site;
mod measure;
mod goal;
mod report;
mod parts;

/// The server's, so that its floors have the same.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Puts the release binary under load and compares it with its floors
#[derive(Debug, Parser)]
struct Arguments {
    /// End within three minutes; fail where something is far worse than usual
    #[arg(long, conflicts_with = "tiny")]
    quick: bool,

    /// Try the benchmark itself, with amounts whose numbers mean nothing
    #[arg(long)]
    tiny: bool,

    /// Only these parts
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,

    /// Where to write the results
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/load.json"))]
    json: PathBuf,

    /// Where to put the files, on a disk like the one in service, and leave them there; a folder that an earlier
    /// run has left spares the filling [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Be the bare warp route, with the answers in this folder
    #[arg(long, hide = true)]
    bare_route: Option<PathBuf>,

    /// Be the same route, served by the server's own loops
    #[arg(long, hide = true)]
    own_loops: Option<PathBuf>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The ratios with a bound on users
    Bounds,
    /// Groups and their members
    Groups,
    /// Imports
    Walk,
    /// Every operation at every size
    Operations,
    /// Many tenants
    Tenants,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(answers) = &arguments.bare_route {
        bare_route::serve(answers)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(answers) = &arguments.own_loops {
        bare_route::serve_by_own_loops(answers)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !(arguments.bench || arguments.quick || arguments.tiny) {
        println!("This is a benchmark and no test: cargo bench --bench load");
        return Ok(ExitCode::SUCCESS);
    }
    let plan = match (arguments.quick, arguments.tiny) {
        (true, _) => Plan::quick(),
        (_, true) => Plan::tiny(),
        _ => Plan::full(),
    };
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut report = Report::default();
    let stopwatch = Stopwatch::start();
    measure(&plan, &arguments.only, folder.clone(), &mut report)?;
    let took_s = stopwatch.elapsed().as_secs();
    print!("{}", report.text());
    let only: Vec<String> = arguments.only.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
    report.save(&arguments.json, &plan, &only, &folder)?;
    println!("\n{} plan, {took_s} s; results in {}", plan.name, arguments.json.display());
    let good = match plan.held_to {
        HeldTo::Limits => report.is_good(),
        HeldTo::Usual => {
            let regressions = report.regressions();
            regressions.iter().for_each(|line| println!("{line}"));
            regressions.is_empty()
        }
        HeldTo::Nothing => true,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(plan: &Plan, only: &[Part], folder: PathBuf, report: &mut Report) -> Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let site = Site::make(folder.clone())?;
    if only != [Part::Tenants] {
        fill(plan, &site, report)?;
    }
    if wanted(Part::Bounds) {
        parts::bounds::run(plan, &site, report)?;
    }
    if wanted(Part::Walk) {
        parts::walk::run(plan, &site, report)?;
    }
    if wanted(Part::Groups) {
        parts::groups::run(plan, &site, report)?;
    }
    if wanted(Part::Tenants) {
        parts::tenants::run(plan, &folder, report)?;
    }
    if wanted(Part::Operations) {
        parts::operations::run(plan, &site, report)?;
    }
    Ok(())
}

/// Fills what is not there from an earlier run.
fn fill(plan: &Plan, site: &Site, report: &mut Report) -> Result<()> {
    let files = plan.files();
    if files.iter().all(|users| people::filled(&site.data(), *users).exists()) {
        return Ok(());
    }
    let seconds = people::fill_sizes(&site.data(), &files)?;
    let users = files.last().copied().unwrap_or_default();
    report.fact(format!("filling {users} users through the library, 1,000 in a transaction"), seconds, "s");
    for users in files {
        let bytes = process::file_bytes(&people::filled(&site.data(), users));
        report.fact(format!("file with {users} users"), parts::operations::mib(bytes), "MiB");
    }
    Ok(())
}

//! Many tenants: start, first use of each, memory afterwards, use of all at random, reload.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use argon2::{Argon2, Params, PasswordHasher};
use ici_scim::clock::Stopwatch;
use ici_scim::secret::{TokenHash, TokenText};

use crate::ask::{Client, Random, each_once};
use crate::drive::{Asks, Until, drive, pause};
use crate::http;
use crate::measure::{Contender, rounds};
use crate::plan::Plan;
use crate::process::Process;
use crate::report::{Bound, Report, Row};
use crate::site::write_configuration;

/// Clients at once.
const CLIENTS: usize = 16;
/// What Okta asks when an administrator tests the credentials.
const PROBE: &str = "Users?startIndex=1&count=2";
/// How long the server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// What a start, the memory after it and a reload usually come to with the tenants of the quick plan. The start is a time
/// and no ratio, so that there is room in it for a machine that is slower by half.
const START_MS: f64 = 40.0;
const RESIDENT_MIB: f64 = 34.5;
const RELOAD_MS: f64 = 315.0;
/// How long a reload is waited for.
const RELOAD_MAX: Duration = Duration::from_secs(30);

/// A tenant and its one token.
struct Tenant {
    name: String,
    client: Client,
    hash: String,
}

/// Measures many tenants.
pub(crate) fn run(plan: &Plan, folder: &Path, report: &mut Report) -> Result<()> {
    for count in &plan.tenants {
        let folder = folder.join(format!("tenants{count}"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder.join("data"))?;
        measure(plan, &folder, *count, report)?;
    }
    Ok(())
}

fn measure(plan: &Plan, folder: &Path, count: usize, report: &mut Report) -> Result<()> {
    eprintln!("{count} tenants");
    let tenants = Arc::new(make(count, plan.real_hashes)?);
    configure(folder, &tenants)?;
    let server = Process::server(folder)?;
    let what = format!("{count} tenants: start until it listens");
    if Some(&count) == plan.tenants.last() {
        report.bound(Bound::time(what, 1000.0, START_MS, millis(server.listened_after)));
    } else {
        report.fact(what, millis(server.listened_after), "ms");
    }
    report.fact(format!("{count} tenants: memory after the start"), server.resident_mib()?, "MiB");

    let of_each = Arc::clone(&tenants);
    let touched = drive(
        server.target(),
        CLIENTS.min(count),
        Until::Done,
        &each_once(count, move |index, out| of_each[index].client.get(out, &of_each[index].name, PROBE)),
    )?;
    report.row(row("first use of each tenant", count, CLIENTS.min(count), touched));
    pause(SETTLE);
    let resident_mib = server.resident_mib()?;
    if Some(&count) == plan.tenants.last() {
        let what = format!("{count} idle tenants, all touched once: resident memory");
        report.bound(Bound::memory(what, 64.0, RESIDENT_MIB, resident_mib));
    }
    report.fact(format!("{count} tenants: memory after the first use of each"), resident_mib, "MiB");
    report.fact(format!("{count} tenants: peak of memory during the first use"), touched.peak_mib, "MiB");
    report.fact(format!("{count} tenants: threads"), server.threads()?, "");

    let contender = Contender::server("tenants at random", server.target(), CLIENTS, at_random(&tenants));
    let used = rounds(plan.rounds, plan.until(), vec![contender])?;
    report.row(row("page of 2, tenant at random", count, CLIENTS, used.median(0)));
    let reloaded = reload(folder, &server, &tenants)?;
    let what = format!("{count} tenants: reload until a new one is served, in steps of about 100 ms");
    if Some(&count) == plan.tenants.last() {
        report.bound(Bound::time(what, 1000.0, RELOAD_MS, millis(reloaded)));
    } else {
        report.fact(what, millis(reloaded), "ms");
    }
    Ok(())
}

fn row(what: &str, count: usize, concurrency: usize, sample: crate::drive::Sample) -> Row {
    Row {
        what: what.to_owned(),
        unit: "tenants",
        amount: count as u64,
        concurrency,
        sample,
        of_bare_route: None,
        of_plain_sqlite: None,
    }
}

/// Tenants, each with a token and hash of its own. The first `real_hashes` are hashed as the server does it; that
/// takes 19 MiB and some 20 ms each, so the others are hashed with less.
fn make(count: usize, real_hashes: usize) -> Result<Vec<Tenant>> {
    (0..count)
        .map(|index| {
            let token = TokenText::generate()?;
            let hash = if index < real_hashes {
                TokenHash::hash(&token)?.expose().to_owned()
            } else {
                cheap_hash(&token, index)?
            };
            Ok(Tenant { name: format!("t{index:06}"), client: Client::new(token.expose()), hash })
        })
        .collect()
}

fn cheap_hash(token: &TokenText, index: usize) -> Result<String> {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).ok().context("Argon2 parameters")?;
    let salt = format!("salt of tenant {index:06}");
    let hash = Argon2::from(params).hash_password_with_salt(token.expose().as_bytes(), salt.as_bytes());
    Ok(hash.ok().context("Argon2")?.to_string())
}

fn configure(folder: &Path, tenants: &[Tenant]) -> Result<()> {
    write_configuration(folder, tenants.iter().map(|tenant| (tenant.name.clone(), tenant.hash.clone())))
}

fn at_random(tenants: &Arc<Vec<Tenant>>) -> Asks {
    let tenants = Arc::clone(tenants);
    Box::new(move |_| {
        let (tenants, mut random) = (Arc::clone(&tenants), Random::another());
        Box::new(move |out| {
            let tenant = &tenants[random.below(tenants.len())];
            tenant.client.get(out, &tenant.name, PROBE);
            true
        })
    })
}

/// The time from the change of the file until a tenant that it adds is served.
fn reload(folder: &Path, server: &Process, tenants: &[Tenant]) -> Result<Duration> {
    let newcomer = make(1, 0)?.pop().context("no tenant")?;
    let newcomer = Tenant { name: "newcomer".to_owned(), ..newcomer };
    let request = newcomer.client.get_alone(&newcomer.name, PROBE);
    let all = tenants.iter().chain(std::iter::once(&newcomer));
    let file: PathBuf = folder.to_owned();
    write_configuration(&file, all.map(|tenant| (tenant.name.clone(), tenant.hash.clone())))?;
    let stopwatch = Stopwatch::start();
    loop {
        let status = http::fetch(server.address, &request)?.status;
        let elapsed = stopwatch.elapsed();
        match status {
            200 => return Ok(elapsed),
            401 => {
                ensure!(elapsed < RELOAD_MAX, "the configuration is not taken into service");
            }
            _ => bail!("a new tenant was answered {status}"),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

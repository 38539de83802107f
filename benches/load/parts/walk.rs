//! An import: all users by pages of 100, one page after the other, as Okta walks them.

use anyhow::Result;

use crate::ask::{Client, Tenant, each_once};
use crate::drive::{Asks, Sample, Until, drive};
use crate::plan::Plan;
use crate::process::Process;
use crate::report::{Bound, Report, Row};
use crate::site::Site;

/// Resources of a page.
const PAGE: u64 = 100;
/// The walk is measured in so many parts.
const PARTS: usize = 10;

/// Measures the walks.
pub(crate) fn run(plan: &Plan, site: &Site, report: &mut Report) -> Result<()> {
    for users in &plan.users {
        eprintln!("walk of {users} users");
        let tenant = site.filled(*users)?;
        // Each by a server that has done nothing before, so that its memory shows.
        let server = site.server(&[&tenant.name])?;
        site.get(&server, &tenant.name, "Users?startIndex=1&count=100")?;
        let idle_mib = server.resident_mib()?;
        let (whole, parts) = walk(site, &server, &tenant, *users)?;
        report.row(Row {
            what: "page of a full walk".to_owned(),
            unit: "users",
            amount: *users,
            concurrency: 1,
            sample: whole,
            of_bare_route: None,
            of_plain_sqlite: None,
        });
        let rate = |part: Option<&Sample>| part.map_or(0.0, |part| part.per_second);
        report.fact(format!("walk of {users} users: whole"), seconds(&whole), "s");
        report.fact(format!("walk of {users} users: first tenth"), rate(parts.first()), "pages/s");
        report.fact(format!("walk of {users} users: last tenth"), rate(parts.last()), "pages/s");
        if *users == plan.users_max() {
            let what = format!("walk of {users} users: memory above idle");
            report.bound(Bound::memory(what, 64.0, 5.8, whole.peak_mib - idle_mib));
        }
    }
    Ok(())
}

/// Walks through all users in parts; gives the whole and the parts.
#[expect(clippy::cast_precision_loss, reason = "counts of pages are far below 2^52")]
fn walk(site: &Site, server: &Process, tenant: &Tenant, users: u64) -> Result<(Sample, Vec<Sample>)> {
    let pages = usize::try_from(users.div_ceil(PAGE))?;
    let mut parts = Vec::new();
    for part in 0..PARTS {
        let range = pages * part / PARTS..pages * (part + 1) / PARTS;
        if !range.is_empty() {
            parts.push(drive(server.target(), 1, Until::Done, &pages_of(&site.client, tenant, range))?);
        }
    }
    let total = |value: fn(&Sample) -> f64| -> f64 {
        parts.iter().map(|part| value(part) * part.requests as f64).sum::<f64>() / pages as f64
    };
    let largest = |value: fn(&Sample) -> f64| parts.iter().map(value).fold(0.0, f64::max);
    let time: f64 = parts.iter().map(seconds).sum();
    let whole = Sample {
        requests: pages,
        per_second: pages as f64 / time,
        p50_us: total(|part| part.p50_us),
        p99_us: largest(|part| part.p99_us),
        cpu_us: total(|part| part.cpu_us),
        client_cpu_us: total(|part| part.client_cpu_us),
        peak_mib: largest(|part| part.peak_mib),
    };
    Ok((whole, parts))
}

fn pages_of(client: &Client, tenant: &Tenant, pages: std::ops::Range<usize>) -> Asks {
    let (client, name) = (client.clone(), tenant.name.clone());
    each_once(pages.len(), move |index, out| {
        let first = (pages.start + index) as u64 * PAGE + 1;
        client.get(out, &name, format_args!("Users?startIndex={first}&count={PAGE}"));
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of pages are far below 2^52")]
fn seconds(sample: &Sample) -> f64 {
    sample.requests as f64 / sample.per_second
}

//! The ratios that must be reached on users: against the bare route, against plain SQLite, and against a smaller
//! tenant.

use anyhow::Result;

use crate::ask::{Op, Tenant};
use crate::bare_route;
use crate::measure::{Contender, Ratio, rounds};
use crate::parts::operations::{answer, bare_asks, name, same};
use crate::people::Ids;
use crate::plain::Plain;
use crate::plan::Plan;
use crate::process::Process;
use crate::report::{Bound, Report, Sense};
use crate::site::Site;

/// Clients of the look-ups and of GET.
const READERS: usize = 16;
/// Clients of the creates.
const WRITERS: usize = 64;
/// Resources of a page.
const PAGE: u64 = 100;

/// Measures the ratios.
pub(crate) fn run(plan: &Plan, site: &Site, report: &mut Report) -> Result<()> {
    let middle = site.filled(plan.ratio_users)?;
    let (small, large) = (site.filled(plan.users_min())?, site.filled(plan.users_max())?);
    let created = Tenant { name: "created".into(), ids: Ids::default() };
    let server = site.server(&[&middle.name, &small.name, &large.name, &created.name])?;
    for tenant in [&middle, &small, &large, &created] {
        site.get(&server, &tenant.name, "Users?startIndex=1&count=2")?;
    }
    for (op, least, usual) in [(Op::Get, 0.70, 0.70), (Op::ByUserName, 0.60, 0.65)] {
        let ratio = against_bare_route(plan, site, &server, &middle, op)?;
        let what = format!("{}, c{READERS}, {} users, against bare warp", op.label(), middle.ids.len());
        report.bound(Bound::ratio(what, Sense::AtLeast, least, ratio).usually(usual));
    }
    creates(plan, site, report, &server, &created)?;
    look_up_by_size(plan, site, report, &server, &small, &large)?;
    page_by_place(plan, site, report, &server, &large)
}

fn against_bare_route(plan: &Plan, site: &Site, server: &Process, tenant: &Tenant, op: Op) -> Result<Ratio> {
    eprintln!("{} against the bare route", op.label());
    bare_route::keep(&site.answers(), name(op), &answer(site, server, tenant, op)?)?;
    let bare = Process::bare_route(&site.answers())?;
    let measured = rounds(
        plan.bound_rounds,
        plan.until(),
        vec![
            Contender::server("server", server.target(), READERS, op.asks(&site.client, tenant, READERS)),
            Contender::server(
                "bare warp route",
                bare.target(),
                READERS,
                bare_asks(site, op, tenant, READERS),
            ),
        ],
    )?;
    Ok(measured.ratio(0, 1))
}

fn creates(plan: &Plan, site: &Site, report: &mut Report, server: &Process, tenant: &Tenant) -> Result<()> {
    eprintln!("creates against plain SQLite");
    let plain = Plain::open(&site.plain("created"), 0)?;
    let measured = rounds(
        plan.bound_rounds,
        plan.until(),
        vec![
            Contender::server(
                "server",
                server.target(),
                WRITERS,
                Op::Create.asks(&site.client, tenant, WRITERS),
            ),
            Contender::repeat("plain SQLite", || plain.create()),
        ],
    )?;
    let what = format!("durable creates, c{WRITERS}, against plain SQLite, one row a commit");
    report.bound(Bound::ratio(what, Sense::AtLeast, 1.5, measured.ratio(0, 1)).usually(5.0));
    Ok(())
}

fn look_up_by_size(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    small: &Tenant,
    large: &Tenant,
) -> Result<()> {
    eprintln!("look-up by size");
    let asks = |tenant| Op::ByUserName.asks(&site.client, tenant, READERS);
    let measured = rounds(
        plan.bound_rounds,
        plan.until(),
        vec![
            Contender::server(&*small.name, server.target(), READERS, asks(small)),
            Contender::server(&*large.name, server.target(), READERS, asks(large)),
        ],
    )?;
    let what = format!("time of a look-up, {} users against {}", large.ids.len(), small.ids.len());
    report.bound(time_at_most(what, 1.3, measured.ratio(0, 1)));
    Ok(())
}

fn page_by_place(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    large: &Tenant,
) -> Result<()> {
    eprintln!("page by place");
    let last = plan.users_max() - PAGE + 1;
    let page = |place: u64| same(site, &large.name, &format!("Users?startIndex={place}&count={PAGE}"));
    let measured = rounds(
        plan.bound_rounds,
        plan.until(),
        vec![
            Contender::server("page at 1", server.target(), 1, page(1)),
            Contender::server(format!("page at {last}"), server.target(), 1, page(last)),
        ],
    )?;
    let what = format!("time of a page of {PAGE} at {last} of {} against page 1", large.ids.len());
    report.bound(time_at_most(what, 1.3, measured.ratio(0, 1)));
    Ok(())
}

/// A bound on how many times as long something takes: the inverse of its requests a second, so `faster` is the
/// ratio of the other to it.
pub(crate) fn time_at_most(what: String, limit: f64, faster: Ratio) -> Bound {
    Bound::ratio(what, Sense::AtMost, limit, faster)
}

//! The ratios that must be reached on users: against the bare route, against plain SQLite, and against a smaller
//! tenant; and beside the first, those to the same route served by the server's own loops.

use anyhow::Result;

use crate::ask::{Op, Tenant};
use crate::bare_route;
use crate::goal::{Goal, Sense};
use crate::measure::{Contender, Ratio, rounds};
use crate::parts::operations::{answer, bare_asks, name, same};
use crate::people::Ids;
use crate::plain::Plain;
use crate::plan::Plan;
use crate::process::Process;
use crate::report::{Bound, Report};
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
    for (op, limit, usual_cpu) in [(Op::Get, 0.70, 2.3), (Op::ByUserName, 0.60, 2.5)] {
        let goal = Goal { sense: Sense::AtLeast, limit, usual: 0.62 };
        against_routes(plan, site, report, &server, &middle, op, goal, usual_cpu)?;
    }
    creates(plan, site, report, &server, &created)?;
    look_up_by_size(plan, site, report, &server, &small, &large)?;
    page_by_place(plan, site, report, &server, &large)
}

/// `goal` is for requests a second, `usual_cpu` for the server's CPU time for a request; both against bare warp.
#[expect(clippy::too_many_arguments, reason = "the last two differ, the others go with them")]
fn against_routes(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    tenant: &Tenant,
    op: Op,
    goal: Goal,
    usual_cpu: f64,
) -> Result<()> {
    eprintln!("{} against the routes", op.label());
    bare_route::keep(&site.answers(), name(op), &answer(site, server, tenant, op)?)?;
    let (bare, own) = (Process::bare_route(&site.answers())?, Process::own_loops(&site.answers())?);
    let route = |name: &str, process: &Process| {
        Contender::server(name, process.target(), READERS, bare_asks(site, op, tenant, READERS))
    };
    // The server in the middle, next to what it is compared with.
    let measured = rounds(
        plan.bound_rounds,
        plan.until(),
        vec![
            route("bare warp route", &bare),
            Contender::server("server", server.target(), READERS, op.asks(&site.client, tenant, READERS)),
            route("the route by our loops", &own),
        ],
    )?;
    let what = format!("{}, c{READERS}, {} users", op.label(), tenant.ids.len());
    report.bound(Bound::ratio(format!("{what}, against bare warp"), goal, measured.ratio(1, 0)));
    // Requests a second are those of server and client together, so that this tells more of a server that does more.
    let cpu = measured.median(1).cpu_us / measured.median(0).cpu_us;
    let told = format!("{what}: the server's CPU time, against that of bare warp");
    report.fact(told.clone(), cpu, "x");
    report.usual(told, Sense::AtMost, usual_cpu, cpu);
    report.comparison(format!("{what}, against the route by our loops"), measured.ratio(1, 2));
    report.comparison(format!("{what}: the route by our loops against bare warp"), measured.ratio(2, 0));
    Ok(())
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
            Contender::repeat("plain SQLite", || plain.new_user(), |user| plain.create(&user)),
        ],
    )?;
    let what = format!("durable creates, c{WRITERS}, against plain SQLite, one row a commit");
    let goal = Goal { sense: Sense::AtLeast, limit: 1.5, usual: 5.3 };
    report.bound(Bound::ratio(what, goal, measured.ratio(0, 1)));
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
    report.bound(time_at_most(what, 1.3, 1.15, measured.ratio(0, 1)));
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
    report.bound(time_at_most(what, 1.3, 1.05, measured.ratio(0, 1)));
    Ok(())
}

/// A bound on how many times as long something takes: the inverse of its requests a second, so `faster` is the
/// ratio of the other to it.
pub(crate) fn time_at_most(what: String, limit: f64, usual: f64, faster: Ratio) -> Bound {
    Bound::ratio(what, Goal { sense: Sense::AtMost, limit, usual }, faster)
}

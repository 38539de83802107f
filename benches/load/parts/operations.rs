//! Every operation on one user or page, on tenants of every size, against both floors.

use anyhow::{Context, Result};

use crate::ask::{Op, Random, Tenant, always, read_path};
use crate::bare_route;
use crate::drive::Asks;
use crate::goal::Sense;
use crate::http::Fetched;
use crate::measure::{Contender, rounds};
use crate::people;
use crate::plain::{Change, Place, Plain};
use crate::plan::Plan;
use crate::process::{Process, file_bytes};
use crate::report::{Report, Row};
use crate::site::Site;

/// Creates in one bulk request.
const BULK: u64 = 100;

/// Numbers of users that a floor creates.
const PLAIN_USERS_FROM: u64 = 60_000_000;

/// Measures the operations.
pub(crate) fn run(plan: &Plan, site: &Site, report: &mut Report) -> Result<()> {
    let tenants: Vec<Tenant> = plan.users.iter().map(|users| site.copied(*users)).collect::<Result<_>>()?;
    let names: Vec<&str> = tenants.iter().map(|tenant| &*tenant.name).collect();
    let server = site.server(&names)?;
    for tenant in &tenants {
        site.get(&server, &tenant.name, "Users?startIndex=1&count=2")?;
    }
    let largest = tenants.last().context("no tenant")?;
    for op in Op::ALL.into_iter().filter(|op| op.is_read()) {
        bare_route::keep(&site.answers(), name(op), &answer(site, &server, largest, op)?)?;
    }
    let bare = Process::bare_route(&site.answers())?;
    let middle = plan.members_max() as u64;
    people::copy(&people::filled(&site.data(), middle), &site.plain("operations"))?;
    let plain = Plain::open(&site.plain("operations"), PLAIN_USERS_FROM)?;
    let floors = Floors { bare: &bare, plain: &plain, plain_tenant: &site.filled(middle)? };
    for op in Op::ALL {
        for concurrency in &plan.concurrency {
            measure(plan, site, report, &server, &tenants, &floors, op, *concurrency)?;
        }
    }
    bulk(plan, site, report, &server, &tenants)?;
    for tenant in &tenants {
        let bytes = file_bytes(&site.file(&tenant.name));
        let what = format!("file with {} users, after the writes of the benchmark", tenant.ids.len());
        report.fact(what, mib(bytes), "MiB");
    }
    Ok(())
}

/// What the server is compared with.
struct Floors<'a> {
    bare: &'a Process,
    plain: &'a Plain,
    plain_tenant: &'a Tenant,
}

#[expect(clippy::too_many_arguments, reason = "the innermost of four loops; a struct would only rename them")]
fn measure(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    tenants: &[Tenant],
    floors: &Floors<'_>,
    op: Op,
    concurrency: usize,
) -> Result<()> {
    eprintln!("{}, {concurrency} at once", op.label());
    let mut contenders = vec![plain_loop(op, floors)];
    for tenant in tenants {
        let asks = op.asks(&site.client, tenant, concurrency);
        let users = tenant.ids.len();
        contenders.push(Contender::server(format!("{users} users"), server.target(), concurrency, asks));
    }
    if op.is_read() {
        let asks = bare_asks(site, op, floors.plain_tenant, concurrency);
        contenders.push(Contender::server("bare warp route", floors.bare.target(), concurrency, asks));
    }
    let measured = rounds(plan.rounds, plan.until(), contenders)?;
    if concurrency == USUAL_CLIENTS {
        let what =
            format!("{}, c{concurrency}, {} users, against plain SQLite", op.label(), tenants[0].ids.len());
        report.usual(what, Sense::AtLeast, usual(op), measured.ratio(1, 0).median);
    }
    for (index, tenant) in tenants.iter().enumerate() {
        report.row(Row {
            what: op.label().to_owned(),
            unit: "users",
            amount: tenant.ids.len() as u64,
            concurrency,
            sample: measured.median(index + 1),
            of_bare_route: op.is_read().then(|| measured.ratio(index + 1, tenants.len() + 1)),
            of_plain_sqlite: Some(measured.ratio(index + 1, 0)),
        });
    }
    Ok(())
}

/// Clients whose ratio to the plain statements is held to what is usual.
const USUAL_CLIENTS: usize = 16;

/// That ratio, in a tenant of 1,000 users.
fn usual(op: Op) -> f64 {
    match op {
        Op::Get => 0.44,
        Op::ByUserName => 0.55,
        Op::ByExternalId => 0.5,
        Op::Page => 0.48,
        Op::Create => 3.4,
        Op::Put => 3.3,
        Op::PatchActive => 3.0,
    }
}

/// The statements of an operation, without a server.
fn plain_loop<'a>(op: Op, floors: &Floors<'a>) -> Contender<'a> {
    let (plain, ids) = (floors.plain, &floors.plain_tenant.ids);
    let mut random = Random::another();
    let mut below = move |end| random.below(end);
    let mut any = move || below(ids.len());
    let name = "plain SQLite";
    match op {
        Op::Get => Contender::repeat(name, move || Place::of(ids.get(any())), |place| plain.get(place)),
        Op::ByUserName => {
            Contender::repeat(name, move || people::user_name(any() as u64), |name| plain.by_name(&name))
        }
        Op::ByExternalId => Contender::repeat(
            name,
            move || people::external_id(any() as u64),
            |external_id| plain.by_external_id(&external_id),
        ),
        Op::Page => {
            let first = move || Place::of(ids.get(below(ids.len() - 99))).seq;
            Contender::repeat(name, first, |seq| plain.page(seq))
        }
        Op::Create => Contender::repeat(name, || plain.new_user(), |user| plain.create(&user)),
        Op::Put => {
            Contender::repeat(name, move || plain.replaced(ids, any()), |change| plain.update(&change))
        }
        Op::PatchActive => {
            let (mut active, mut index) = (true, 0);
            let turned = move || {
                active = !active;
                if !active {
                    index = any();
                }
                Change::turned(ids, index, active)
            };
            Contender::repeat(name, turned, |change| plain.update(&change))
        }
    }
}

/// Requests of the same form to the bare route.
pub(crate) fn bare_asks(site: &Site, op: Op, like: &Tenant, concurrency: usize) -> Asks {
    op.asks(&site.client, &Tenant { name: name(op).into(), ids: like.ids.clone() }, concurrency)
}

/// What the bare route calls an operation: as long as the tenant's name is that it stands for.
pub(crate) fn name(op: Op) -> &'static str {
    match op {
        Op::Get => "bare00",
        Op::ByUserName => "bare01",
        Op::ByExternalId => "bare02",
        _ => "bare03",
    }
}

/// The answer to an operation on a user, or page, in the middle.
pub(crate) fn answer(site: &Site, server: &Process, tenant: &Tenant, op: Op) -> Result<Fetched> {
    let mut path = String::new();
    read_path(&mut path, op, tenant.ids.len() / 2, &tenant.ids);
    site.get(server, &tenant.name, &path)
}

/// Bulk requests, where the server says that it takes them.
fn bulk(plan: &Plan, site: &Site, report: &mut Report, server: &Process, tenants: &[Tenant]) -> Result<()> {
    let first = tenants.first().context("no tenant")?;
    let config = site.get(server, &first.name, "ServiceProviderConfig")?;
    let config: serde_json::Value = serde_json::from_slice(&config.body)?;
    if config["bulk"]["supported"] != true {
        eprintln!("bulk: the server does not offer it");
        return Ok(());
    }
    for tenant in tenants {
        let (client, name) = (site.client.clone(), tenant.name.to_string());
        let asks: Asks = Box::new(move |_| {
            let (client, name, mut next) = (client.clone(), name.clone(), Random::another());
            Box::new(move |out| {
                let first = 70_000_000 + next.below(29_000_000) as u64;
                client.send(out, "POST", &name, "Bulk", &bulk_body(first));
                true
            })
        });
        let contender = Contender::server(format!("{} users", tenant.ids.len()), server.target(), 1, asks);
        let measured = rounds(plan.rounds, plan.until(), vec![contender])?;
        report.row(Row {
            what: format!("bulk of {BULK} creates"),
            unit: "users",
            amount: tenant.ids.len() as u64,
            concurrency: 1,
            sample: measured.median(0),
            of_bare_route: None,
            of_plain_sqlite: None,
        });
    }
    Ok(())
}

fn bulk_body(first: u64) -> String {
    let operations: Vec<String> = (first..first + BULK)
        .map(|number| {
            let data = people::user(number, 0);
            format!(r#"{{"method":"POST","path":"/Users","bulkId":"b{number}","data":{data}}}"#)
        })
        .collect();
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[{}]}}"#,
        operations.join(",")
    )
}

/// Bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "a number for people")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// The asks of one request by many, for where nothing varies.
pub(crate) fn same(site: &Site, tenant: &str, path: &str) -> Asks {
    always(site.client.get_alone(tenant, path))
}

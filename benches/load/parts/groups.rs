//! Groups: a change of members must cost what changes, and a large group must be read in little memory.

use anyhow::{Context, Result};

use crate::ask::{each_once, member_changes};
use crate::drive::{Until, drive};
use crate::measure::{Contender, rounds};
use crate::parts::bounds::time_at_most;
use crate::parts::operations::same;
use crate::people::{self, Filler, Ids};
use crate::plain::{MemberChange, Place, Plain};
use crate::plan::Plan;
use crate::process::{Process, file_bytes};
use crate::report::{Bound, Report, Row};
use crate::site::Site;

/// The tenant.
const TENANT: &str = "groups";
/// Users that are in no group: each client adds and removes one of its own.
const SPARE: u64 = 128;
const SPARE_FROM: u64 = 40_000_000;
/// Members that one PATCH adds.
const MANY: usize = 1_000;
/// How often a group is read for its memory.
const READS: usize = 5;

/// A group and how many members it was filled with.
struct Group {
    id: String,
    members: usize,
}

/// Measures groups.
pub(crate) fn run(plan: &Plan, site: &Site, report: &mut Report) -> Result<()> {
    let file = site.file(TENANT);
    people::copy(&people::filled(&site.data(), plan.members_max() as u64), &file)?;
    let filler = Filler::open(&file)?;
    filler.users(SPARE_FROM..SPARE_FROM + SPARE)?;
    let users = Ids::of_users_in(&file)?;
    let mut groups = Vec::new();
    for members in &plan.members {
        let id = filler.group(&format!("Group of {members}"), &users, *members)?;
        groups.push(Group { id, members: *members });
    }
    drop(filler);
    people::copy(&file, &site.plain(TENANT))?;
    let plain = Plain::open(&site.plain(TENANT), 0)?;

    memory(site, report, &users, groups.last().context("no group")?)?;
    let server = started(site)?;
    changes(plan, site, report, &server, &plain, &groups, &users)?;
    reads(plan, site, report, &server, &plain, &groups)?;
    report.fact(
        format!("file of the tenant with groups, {} users", users.len()),
        crate::parts::operations::mib(file_bytes(&file)),
        "MiB",
    );
    Ok(())
}

/// A server whose tenant has been asked for something small.
fn started(site: &Site) -> Result<Process> {
    let server = site.server(&[TENANT])?;
    site.get(&server, TENANT, "Users?startIndex=1&count=2")?;
    site.get(&server, TENANT, "Users?startIndex=1&count=100")?;
    Ok(server)
}

/// What reading and replacing the largest group takes of memory, each by a server that has done nothing before; only
/// one may serve the folder.
fn memory(site: &Site, report: &mut Report, users: &Ids, group: &Group) -> Result<()> {
    let path = format!("Groups/{}", group.id);
    eprintln!("memory of a group of {}", group.members);
    let server = started(site)?;
    let idle_mib = server.resident_mib()?;
    let (client, of_group) = (site.client.clone(), path.clone());
    let asks = each_once(READS, move |_, out| client.get(out, TENANT, &of_group));
    let sample = drive(server.target(), 1, Until::Done, &asks)?;
    let what = format!("GET of a group of {}: memory above idle", group.members);
    report.bound(Bound::memory(what, 32.0, 5.2, sample.peak_mib - idle_mib));

    drop(server);
    replace(site, report, users, group, MANY.min(group.members))?;
    replace(site, report, users, group, group.members)
}

/// What a PUT of a group takes, by a server that has done nothing before: first so many members are missing, then
/// they are there again.
fn replace(site: &Site, report: &mut Report, users: &Ids, group: &Group, changed: usize) -> Result<()> {
    let server = started(site)?;
    let idle_mib = server.resident_mib()?;
    let members: Vec<String> =
        (0..group.members).map(|index| format!(r#"{{"value":"{}"}}"#, users.get(index))).collect();
    let name = format!("Group of {}", group.members);
    let (client, path) = (site.client.clone(), format!("Groups/{}?excludedAttributes=members", group.id));
    let asks = each_once(2, move |index, out| {
        let kept = if index == 0 { &members[changed..] } else { &members[..] };
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"{name}","members":[{}]}}"#,
            kept.join(",")
        );
        client.send(out, "PUT", TENANT, &path, &body);
    });
    let sample = drive(server.target(), 1, Until::Done, &asks)?;
    let what = format!("PUT of a group of {} that changes {changed} members", group.members);
    report.fact(format!("{what}: slower of two"), sample.p99_us / 1e3, "ms");
    report.fact(format!("{what}: memory above idle"), sample.peak_mib - idle_mib, "MiB");
    Ok(())
}

/// Adding and removing members.
fn changes(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    plain: &Plain,
    groups: &[Group],
    users: &Ids,
) -> Result<()> {
    let smallest = groups.first().context("no group")?;
    let asks = |group: &Group| member_changes(&site.client, TENANT, &group.id, users);
    for concurrency in &plan.concurrency {
        eprintln!("member changes, {concurrency} at once");
        let spare = users.get(users.len() - 1);
        let mut add = false;
        let ready = || {
            add = !add;
            MemberChange::new(&smallest.id, spare, add)
        };
        let change = |change: MemberChange<'_>| plain.change_member(&change);
        let mut contenders = vec![Contender::repeat("plain SQLite", ready, change)];
        for group in groups {
            let name = format!("group of {}", group.members);
            contenders.push(Contender::server(name, server.target(), *concurrency, asks(group)));
        }
        let measured = rounds(plan.rounds, plan.until(), contenders)?;
        for (index, group) in groups.iter().enumerate() {
            report.row(Row {
                what: "member added or removed".to_owned(),
                unit: "members",
                amount: group.members as u64,
                concurrency: *concurrency,
                sample: measured.median(index + 1),
                of_bare_route: None,
                of_plain_sqlite: Some(measured.ratio(index + 1, 0)),
            });
        }
    }
    let largest = groups.last().context("no group")?;
    eprintln!("member changes, largest against smallest");
    let contenders = [smallest, largest].map(|group| {
        Contender::server(format!("group of {}", group.members), server.target(), 1, asks(group))
    });
    let measured = rounds(plan.bound_rounds, plan.until(), contenders.into())?;
    let what = format!(
        "time of a member added and removed, group of {} against {}",
        largest.members, smallest.members
    );
    report.bound(time_at_most(what, 1.5, 1.02, measured.ratio(0, 1)));
    many(plan, site, report, server, largest, users)
}

/// Many members in one request.
fn many(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    group: &Group,
    users: &Ids,
) -> Result<()> {
    let count = MANY.min(group.members);
    let (client, path) = (site.client.clone(), format!("Groups/{}", group.id));
    let chosen: Vec<String> = (0..count).map(|index| users.get(index).to_owned()).collect();
    let asks = each_once(2 * plan.bound_rounds, move |index, out| {
        let body = if index % 2 == 0 {
            let operations: Vec<String> = chosen
                .iter()
                .map(|id| format!(r#"{{"op":"remove","path":"members[value eq \"{id}\"]"}}"#))
                .collect();
            people::patch(&operations.join(","))
        } else {
            people::add_members(chosen.iter().map(String::as_str))
        };
        client.send(out, "PATCH", TENANT, &path, &body);
    });
    let sample = drive(server.target(), 1, Until::Done, &asks)?;
    report.row(Row {
        what: format!("PATCH of {count} members"),
        unit: "members",
        amount: group.members as u64,
        concurrency: 1,
        sample,
        of_bare_route: None,
        of_plain_sqlite: None,
    });
    Ok(())
}

/// Reading whole groups.
fn reads(
    plan: &Plan,
    site: &Site,
    report: &mut Report,
    server: &Process,
    plain: &Plain,
    groups: &[Group],
) -> Result<()> {
    let largest = groups.len() - 1;
    for (index, group) in groups.iter().enumerate() {
        eprintln!("GET of a group of {}", group.members);
        let seq = Place::of(&group.id).seq;
        let count = if index == largest { plan.bound_rounds } else { plan.rounds };
        let path = format!("Groups/{}", group.id);
        let measured = rounds(
            count,
            plan.until_long(),
            vec![
                Contender::server("server", server.target(), 1, same(site, TENANT, &path)),
                Contender::repeat("plain SQLite", || (), |()| plain.members(seq)),
            ],
        )?;
        report.row(Row {
            what: "GET group".to_owned(),
            unit: "members",
            amount: group.members as u64,
            concurrency: 1,
            sample: measured.median(0),
            of_bare_route: None,
            of_plain_sqlite: Some(measured.ratio(0, 1)),
        });
        if index == largest {
            let what = format!("time of a GET of a group of {} against the bare SELECT", group.members);
            report.bound(time_at_most(what, 4.0, 1.65, measured.ratio(1, 0)));
        }
    }
    Ok(())
}

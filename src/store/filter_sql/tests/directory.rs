//! A directory in a database, and the same as clients see it.

use super::*;

/// A directory in a database, and the same as clients see it.
pub(super) struct Directory {
    pub(super) connection: Connection,
    pub(super) users: Vec<Json>,
    pub(super) groups: Vec<Json>,
}

/// A document, when it was made and changed, and its version.
pub(super) type Made = (Map<String, Json>, i64, i64, i64);

impl Directory {
    /// `links` are places of groups and members; a member past the users is a group.
    pub(super) fn new(
        users: &[Made],
        groups: &[Made],
        links: &[(usize, usize, Option<String>)],
    ) -> Directory {
        let connection = migrated();
        let put = |kind: Kind, all: &[Made]| -> Vec<(i64, Json)> {
            all.iter().enumerate().map(|(at, made)| put(&connection, kind, at, made)).collect()
        };
        let (mut users, mut groups) = (put(Kind::User, users), put(Kind::Group, groups));
        // In the order in which they are shown: oldest first.
        let all = users.len() + groups.len();
        let mut links: Vec<_> = links
            .iter()
            .map(|(group, member, display)| (group % groups.len(), member % all, display))
            .collect();
        links.sort_by_key(|(group, member, _)| (*group, *member));
        for (group, member, display) in links {
            let (member_seq, seen) = users.iter().chain(&groups).nth(member).unwrap().clone();
            let (group_seq, owner) = groups[group].clone();
            let new = connection
                .execute(
                    "INSERT OR IGNORE INTO members VALUES (?, ?, ?)",
                    params![group_seq, member_seq, display],
                )
                .unwrap();
            if new == 0 {
                continue;
            }
            let (kind, name) =
                if member < users.len() { (Kind::User, "userName") } else { (Kind::Group, "displayName") };
            groups[group].1["members"].as_array_mut().unwrap().push(json!({
                "value": seen["id"], "$ref": seen["meta"]["location"], "type": kind.name(),
                "display": display.clone().map_or(seen[name].clone(), Json::from),
            }));
            if kind == Kind::User {
                users[member].1["groups"].as_array_mut().unwrap().push(json!({
                    "value": owner["id"], "$ref": owner["meta"]["location"], "type": "direct",
                    "display": owner["displayName"],
                }));
            }
        }
        add_indirect(&mut users, &groups);
        let shown = |all: Vec<(i64, Json)>| all.into_iter().map(|(_, resource)| resource).collect();
        Directory { connection, users: shown(users), groups: shown(groups) }
    }

    pub(super) fn selected(&self, kind: Kind, sql: &Sql) -> Vec<String> {
        let query = format!("SELECT id FROM resources WHERE seq IN ({})", query(sql));
        let mut statement = self.connection.prepare(&query).unwrap();
        let rows = statement.query_map(params_from_iter(values(kind, sql)), |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub(super) fn matching(&self, kind: Kind, predicate: &Predicate) -> Vec<String> {
        let all = if kind == Kind::User { &self.users } else { &self.groups };
        let matching = all.iter().filter(|resource| matching::matches(predicate, resource));
        matching.map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Adds the groups that users belong to without being a member, plainly: as long as one is found.
fn add_indirect(users: &mut [(i64, Json)], groups: &[(i64, Json)]) {
    let has = |list: &Json, id: &Json| list.as_array().unwrap().iter().any(|one| one["value"] == *id);
    for (_, user) in users {
        while let Some((_, owner)) = groups.iter().find(|(_, owner)| {
            let inside = |held: &Json| has(&owner["members"], &held["value"]);
            !has(&user["groups"], &owner["id"]) && user["groups"].as_array().unwrap().iter().any(inside)
        }) {
            let indirect = json!({
                "value": owner["id"], "$ref": owner["meta"]["location"], "type": "indirect",
                "display": owner["displayName"],
            });
            user["groups"].as_array_mut().unwrap().push(indirect);
        }
    }
}

pub(super) fn put(
    connection: &Connection,
    kind: Kind,
    at: usize,
    (doc, created, modified, version): &Made,
) -> (i64, Json) {
    let mut doc = doc.clone();
    let id = format!("{}{at}", kind.noun());
    let name = format!("{}{at}", doc[kind.name_attribute()].as_str().unwrap());
    doc.insert(kind.name_attribute().to_owned(), json!(name));
    let text = |name: &str| doc.get(name).and_then(Json::as_str);
    let display = (kind == Kind::User).then(|| text("displayName").map(fold));
    connection
        .execute(
            "INSERT INTO resources (kind, id, name, name_key, display_key, external_id, active, created_ms,
             modified_ms, version, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                kind_code(kind),
                id,
                name,
                fold(&name),
                display.flatten(),
                text("externalId"),
                kind == Kind::Group || doc.get("active") == Some(&json!(true)),
                created,
                modified,
                version,
                Json::from(doc.clone()).to_string(),
            ],
        )
        .unwrap();
    let seq = connection.last_insert_rowid();
    for email in doc.get("emails").and_then(Json::as_array).into_iter().flatten() {
        let text = |name: &str| email.get(name).and_then(Json::as_str).map(fold);
        if let Some(value) = text("value") {
            connection
                .execute("INSERT INTO emails VALUES (?, ?, ?)", params![seq, value, text("type")])
                .unwrap();
        }
    }
    let mut shown = Json::from(doc);
    shown["id"] = json!(id);
    shown["meta"] = json!({
        "resourceType": kind.name(), "created": datetime::format(*created), "lastModified": datetime::format(*modified),
        "location": format!("{BASE_URL}/{}/{id}", kind.endpoint()), "version": format!("W/\"{version}\""),
    });
    shown[if kind == Kind::User { "groups" } else { "members" }] = json!([]);
    (seq, shown)
}

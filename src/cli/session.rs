//! How the commands reach a tenant's directory; how they change the configuration file is told in `edit`.
//!
//! The directory is asked the same way as by SCIM, with the operator as the one who asks: a command builds the
//! question that an Okta app would send and gets the answer that Okta would get. Nothing here knows a rule of
//! the directory, and nothing here prints.

mod edit;

use std::collections::HashSet;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::backup;
use crate::cli::Globals;
use crate::cli::output::Failure;
use crate::clock::SystemClock;
use crate::config::{self, Limits, Settings, TenantName};
use crate::directory::{self, Actor, Answer, Ask, Directory, Options, Put};
use crate::scim::catalog::Catalog;
use crate::scim::endpoint::Operation;
use crate::scim::filter::Bounds;
use crate::scim::schema::Schemas;
use crate::scim::{Kind, Profile, ScimType};
use crate::tenants;

pub use edit::{add_tenant, edit, unread};

/// The message of a PATCH request, RFC 7644 §3.5.2.
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The most users that are asked for at once. Where a filter is walked, each page costs as much as all of them, so
/// a page is larger than a client may have.
const USERS_PAGE: usize = 10_000;

/// The most groups that are asked for at once: each may come with a hundred thousand members.
const GROUPS_PAGE: usize = 100;

/// How many rows of a page a walk knows already; see [`Session::walk`].
const OVERLAP: usize = 1;

/// The open directory of a tenant.
pub struct Session {
    tenant: TenantName,
    directory: Directory,
    options: Options,
    base_url: String,
    users_page: usize,
}

impl Session {
    /// Opens a tenant's file, and makes it when it is not there yet.
    ///
    /// # Errors
    /// When the configuration is wrong, does not have the tenant, or the file cannot be opened.
    pub fn open(globals: &Globals, tenant: &TenantName) -> anyhow::Result<Session> {
        Session::with(&globals.settings()?, tenant)
    }

    /// As [`Session::open`], to change what the tenant holds.
    ///
    /// # Errors
    /// As [`Session::open`], and when another node serves the tenant.
    pub fn to_change(globals: &Globals, tenant: &TenantName) -> anyhow::Result<Session> {
        let settings = globals.settings()?;
        refuse_elsewhere(&settings, tenant)?;
        Session::with(&settings, tenant)
    }

    /// As [`Session::open`], with settings that have been read already.
    ///
    /// # Errors
    /// When the settings do not have the tenant, or its file cannot be opened.
    pub fn with(settings: &Settings, tenant: &TenantName) -> anyhow::Result<Session> {
        let Some(chosen) = settings.tenants.get(tenant) else {
            return Err(unknown_tenant(settings, tenant).into());
        };
        let options = Options {
            limits: Limits { page_resources_max: USERS_PAGE, ..settings.server.limits },
            // What a person writes by hand is forgiven as a client's slips are.
            profile: Profile::Okta,
            on_recreate: chosen.on_recreate,
            store_passwords: chosen.store_passwords,
            schemas: tenants::schemas_of(tenant, chosen)?,
            check_entitlements: chosen.check_entitlements,
            max_users: chosen.life.max_users,
        };
        let directory = tenants::open_directory(settings, tenant, Arc::new(SystemClock)).map_err(refusal)?;
        Ok(Session {
            tenant: tenant.clone(),
            directory,
            options,
            base_url: base_url(settings, tenant),
            users_page: USERS_PAGE,
        })
    }

    /// As [`Session::with`], on a copy of the tenant that goes when the folder is dropped: what is done is only tried.
    ///
    /// # Errors
    /// As [`Session::with`], and when the copy cannot be made.
    pub fn rehearsal(
        settings: &Settings,
        tenant: &TenantName,
    ) -> anyhow::Result<(Session, tempfile::TempDir)> {
        let data_dir = &settings.server.data_dir;
        // On the same disk, readable by the same user alone.
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix(".rehearsal-");
        let folder = if data_dir.is_dir() { folder.tempdir_in(data_dir) } else { folder.tempdir() }?;
        let file = tenants::file_of(data_dir, tenant);
        if file.exists() {
            backup::copy(&file, &tenants::file_of(folder.path(), tenant))
                .map_err(crate::cli::backup::refusal)?;
        }
        let mut settings = settings.clone();
        settings.server.data_dir = folder.path().to_owned();
        settings.server.durability = config::Durability::Normal;
        Ok((Session::with(&settings, tenant)?, folder))
    }

    /// Imports rows in one transaction; see [`Directory::import`].
    pub fn import(
        &self,
        kind: Kind,
        rows: Vec<directory::Row>,
        stop_at_error: bool,
    ) -> Vec<Result<directory::Imported, directory::Error>> {
        self.directory.import(&self.options, kind, rows, stop_at_error)
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The tenant's schemas.
    pub fn schemas(&self) -> &Schemas {
        self.directory.schemas(&self.options)
    }

    /// Puts an entry into a catalog.
    ///
    /// # Errors
    /// When the directory refuses it, or the file cannot be written.
    pub fn put_entry(
        &self,
        catalog: &Catalog,
        id: &str,
        display_name: &str,
        description: Option<&str>,
    ) -> anyhow::Result<Put> {
        self.directory.put_entry(catalog, id, display_name, description).map_err(refusal)
    }

    /// Takes an entry out of whichever of the catalogs has it.
    ///
    /// # Errors
    /// When none has it, or the file cannot be written.
    pub fn remove_entry(&self, catalogs: &[&Catalog], id: &str) -> anyhow::Result<()> {
        self.directory.remove_entry(catalogs, id).map_err(refusal)
    }

    /// The entries of a catalog, as resources.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self, catalog: &Catalog) -> anyhow::Result<Vec<Value>> {
        let entries = self.directory.entries(catalog).map_err(refusal)?;
        Ok(entries.iter().map(|entry| Value::Object(catalog.resource(entry, &self.base_url))).collect())
    }

    /// Whether hashes of passwords are kept; else passwords are dropped.
    pub fn stores_passwords(&self) -> bool {
        self.options.store_passwords
    }

    /// How long and how deep a filter or path may be.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.options.limits.filter_bytes_max,
            depth_max: self.options.limits.filter_depth_max,
        }
    }

    /// The resource with that id, with the attributes that `query` asks for.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read.
    pub fn read(&self, kind: Kind, id: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.body(self.ask(Operation::Read(kind, id.to_owned()), query, None)?)
    }

    /// Makes a resource; gives it back as it now is.
    ///
    /// # Errors
    /// When the directory refuses it, or the file cannot be written.
    pub fn create(&self, kind: Kind, resource: &Value, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.body(self.ask(Operation::Create(kind), query, Some(resource))?)
    }

    /// Changes a resource by PATCH operations; gives it back as it now is.
    ///
    /// # Errors
    /// When the directory refuses the change, or the file cannot be written.
    pub fn patch(
        &self,
        kind: Kind,
        id: &str,
        operations: &[Value],
        query: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let message = json!({ "schemas": [PATCH_OP], "Operations": operations });
        let answer = self.ask(Operation::Patch(kind, id.to_owned()), query, Some(&message))?;
        // A large group is not sent back unasked (204).
        if answer.body.is_none() { self.read(kind, id, query) } else { self.body(answer) }
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn delete(&self, kind: Kind, id: &str) -> anyhow::Result<()> {
        self.ask(Operation::Delete(kind, id.to_owned()), &[], None).map(drop)
    }

    /// The resource that a person means by its unique name, in any case, or by its id; the name goes first.
    ///
    /// # Errors
    /// When there is none (with the next step as a hint), or the file cannot be read.
    pub fn find(&self, kind: Kind, name_or_id: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let by_name = format!("{} eq {}", kind.name_attribute(), json!(name_or_id));
        let mut parameters = vec![("filter", by_name.as_str())];
        parameters.extend_from_slice(query);
        if let Some(found) = resources(self.list(kind, &parameters)?)?.into_iter().next() {
            return Ok(found);
        }
        match self.run(Operation::Read(kind, name_or_id.to_owned()), query, None) {
            Ok(answer) => self.body(answer),
            Err(directory::Error::Client(error)) if error.status == 404 => {
                Err(Failure::failed(format!("tenant {} has no {} {name_or_id}", self.tenant, kind.noun()))
                    .hint(format!("`ici-scim {} list {}` shows who is there", kind.noun(), self.tenant))
                    .into())
            }
            Err(error) => Err(refusal(error)),
        }
    }

    /// The id of the resource that [`Session::find`] finds.
    ///
    /// # Errors
    /// As [`Session::find`].
    pub fn find_id(&self, kind: Kind, name_or_id: &str) -> anyhow::Result<String> {
        text(&self.find(kind, name_or_id, &[("attributes", "id")])?, "id")
    }

    /// How many resources a filter selects.
    ///
    /// # Errors
    /// When the filter is refused, or the file cannot be read.
    pub fn count(&self, kind: Kind, filter: Option<&str>) -> anyhow::Result<u64> {
        let mut query = vec![("count", "0")];
        query.extend(filter.map(|filter| ("filter", filter)));
        total(&self.list(kind, &query)?)
    }

    /// Hands every resource that the query selects to `each`, in creation order, at most `limit` of them.
    ///
    /// Other writers may be at work between two pages. Each page begins with the last row of the page before;
    /// where it does not, rows before it have gone and the walk goes a page back, so that nobody who was there
    /// all the time is left out.
    ///
    /// # Errors
    /// When the query is refused, the file cannot be read, or `each` fails.
    pub fn walk(
        &self,
        kind: Kind,
        query: &[(&str, &str)],
        limit: Option<usize>,
        mut each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = limit.unwrap_or(usize::MAX);
        let page_max = match kind {
            Kind::User => self.users_page,
            Kind::Group => GROUPS_PAGE,
        };
        let mut seen = HashSet::new();
        let mut start = 1_usize;
        while left > 0 {
            let count = left.saturating_add(OVERLAP).min(page_max);
            let (start_text, count_text) = (start.to_string(), count.to_string());
            let mut parameters = vec![("startIndex", start_text.as_str()), ("count", count_text.as_str())];
            parameters.extend_from_slice(query);
            let answer = self.list(kind, &parameters)?;
            let all = total(&answer)?;
            let page = resources(answer)?;
            let first_is_known =
                page.first().and_then(|row| row["id"].as_str()).is_some_and(|id| seen.contains(id));
            if start > 1 && !first_is_known {
                start = start.saturating_sub(page_max).max(1);
                continue;
            }
            let end = start + page.len();
            for row in page {
                if left > 0 && seen.insert(text(&row, "id")?) {
                    left -= 1;
                    each(row)?;
                }
            }
            if end == start || u64::try_from(end)? > all {
                break;
            }
            start = end.saturating_sub(OVERLAP).max(start + 1);
        }
        Ok(())
    }

    /// Has SQLite look through the file, quickly.
    ///
    /// # Errors
    /// When something is wrong with it: what, in SQLite's words.
    pub fn quick_check(&self) -> anyhow::Result<()> {
        let problems = self.directory.quick_check().map_err(refusal)?;
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(format!("the file is damaged: {}", problems.join("; "))).into()),
        }
    }

    /// How much the tenant's file holds, and when a client last changed it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stats(&self) -> anyhow::Result<directory::Stats> {
        self.directory.stats().map_err(refusal)
    }

    fn list(&self, kind: Kind, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.body(self.ask(Operation::List(kind), query, None)?)
    }

    fn ask(
        &self,
        operation: Operation,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        self.run(operation, query, body).map_err(|error| match error {
            directory::Error::Client(error) if directory::is_without_seat(&error) => {
                full(&self.tenant, self.options.max_users).into()
            }
            error => refusal(error),
        })
    }

    fn run(
        &self,
        operation: Operation,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, directory::Error> {
        let ask = Ask {
            operation,
            query: raw_query(query),
            body: body.map(Value::to_string).unwrap_or_default().into(),
            if_match: None,
            if_none_match: None,
            base_url: self.base_url.clone(),
        };
        self.directory.run(&self.options, &Actor::Operator, ask)
    }

    fn body(&self, answer: Answer) -> anyhow::Result<Value> {
        let bytes = answer.body.ok_or_else(|| anyhow::anyhow!("the directory gave no answer"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// The address that Okta's administrator enters as Base URL.
pub fn base_url(settings: &Settings, tenant: &TenantName) -> String {
    format!("{}/scim/v2/{tenant}", settings.server.site())
}

/// Refuses to change a tenant that this node does not serve: it would begin a second directory of the same people.
///
/// # Errors
/// When it is another node's, or no node's.
pub fn refuse_elsewhere(settings: &Settings, tenant: &TenantName) -> Result<(), Failure> {
    let Some(chosen) = settings.tenants.get(tenant).filter(|_| settings.is_elsewhere(tenant.as_str())) else {
        return Ok(());
    };
    let here = settings.server.node.as_ref().map(ToString::to_string).unwrap_or_default();
    Err(match &chosen.node {
        Some(node) => {
            Failure::failed(format!("tenant {tenant} is served by node {node}, and this is {here}"))
                .hint(format!("run the command on {node}"))
        }
        None => Failure::failed(format!("tenant {tenant} names no node, so {here} does not serve it"))
            .hint(format!("node = \"{here}\" in [tenants.{tenant}] gives it to this node")),
    })
}

/// The failure for one active user too many, for who may change that.
fn full(tenant: &TenantName, max_users: Option<u32>) -> Failure {
    let max = max_users.unwrap_or_default();
    Failure::failed(format!("tenant {tenant} may have {max} active users and no more")).hint(format!(
        "raise max_users of [tenants.{tenant}] in the configuration, or `ici-scim user deactivate {tenant} USER`"
    ))
}

/// The failure for a tenant that the configuration does not have.
pub fn unknown_tenant(settings: &Settings, tenant: &TenantName) -> Failure {
    let known: Vec<String> = settings.tenants.keys().map(ToString::to_string).collect();
    let failure = Failure::failed(format!("the configuration has no tenant {tenant}"));
    if known.is_empty() {
        failure.hint(format!("add it: `ici-scim tenant add {tenant}`"))
    } else {
        failure.hint(format!("it has: {}; add one: `ici-scim tenant add {tenant}`", known.join(", ")))
    }
}

/// A string of a resource that every resource has.
///
/// # Errors
/// When it is missing, which would be a fault of the directory.
pub fn text(resource: &Value, attribute: &str) -> anyhow::Result<String> {
    resource[attribute]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("the directory's answer lacks {attribute}"))
}

fn total(answer: &Value) -> anyhow::Result<u64> {
    answer["totalResults"]
        .as_u64()
        .ok_or_else(|| anyhow::anyhow!("the directory's answer lacks totalResults"))
}

fn resources(mut answer: Value) -> anyhow::Result<Vec<Value>> {
    match answer["Resources"].take() {
        Value::Array(resources) => Ok(resources),
        _ => Err(anyhow::anyhow!("the directory's answer lacks Resources")),
    }
}

fn raw_query(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    pairs.join("&")
}

/// What the operator is told of a refusal. The reason that a SCIM client never sees is for the operator.
pub fn refusal(error: directory::Error) -> anyhow::Error {
    let failure = match error {
        directory::Error::Client(error) => {
            let failure = Failure::failed(error.detail);
            match error.scim_type {
                Some(ScimType::InvalidFilter) => {
                    failure.hint("a filter looks like: userName sw \"a\" and active eq true")
                }
                Some(ScimType::InvalidPath | ScimType::NoTarget) => {
                    failure.hint("the `show` command prints the attributes by the names that are taken here")
                }
                _ => failure,
            }
        }
        directory::Error::Unavailable { reason, .. } => {
            Failure::failed(reason).hint("`ici-scim check` looks at the configuration and every file")
        }
        directory::Error::Internal { reason } => {
            Failure::failed(reason).hint("`ici-scim check` looks at the configuration and every file")
        }
    };
    failure.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant of 250 users, in a folder that goes when it is dropped; a page has 100.
    fn session() -> (tempfile::TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = config::parse("[tenants.acme]", "tenants.toml").unwrap();
        settings.server.data_dir = folder.path().to_owned();
        let mut session = Session::with(&settings, &"acme".parse().unwrap()).unwrap();
        session.users_page = 100;
        for number in 0..250 {
            session.create(Kind::User, &json!({ "userName": format!("user{number}") }), &[]).unwrap();
        }
        (folder, session)
    }

    /// Walks, and calls `meanwhile` with the number so far after each user; gives the userNames.
    fn walk(session: &Session, limit: Option<usize>, meanwhile: impl Fn(usize)) -> Vec<String> {
        let mut names = Vec::new();
        session
            .walk(Kind::User, &[("attributes", "userName")], limit, |user| {
                names.push(text(&user, "userName")?);
                meanwhile(names.len());
                Ok(())
            })
            .unwrap();
        names
    }

    fn numbered(numbers: impl Iterator<Item = usize>) -> Vec<String> {
        numbers.map(|number| format!("user{number}")).collect()
    }

    fn delete(session: &Session, numbers: std::ops::Range<usize>) {
        for name in numbered(numbers) {
            session.delete(Kind::User, &session.find_id(Kind::User, &name).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_walk_passes_everybody_once_and_in_order() {
        let (_folder, session) = session();
        assert_eq!(walk(&session, None, |_| {}), numbered(0..250));
        for limit in [0, 1, 99, 100, 101, 199, 250, 999] {
            assert_eq!(walk(&session, Some(limit), |_| {}), numbered(0..limit.min(250)), "{limit}");
        }
    }

    #[test]
    fn a_walk_leaves_nobody_out_when_others_are_deleted_meanwhile() {
        let (_folder, session) = session();
        // Right after the first page: its own end, so that the second page begins somewhere else.
        let walked = walk(&session, None, |so_far| {
            if so_far == 100 {
                delete(&session, 50..100);
            }
        });
        assert_eq!(walked, numbered(0..250));
        let walked = walk(&session, None, |so_far| {
            if so_far == 100 {
                delete(&session, 0..50);
                delete(&session, 150..160);
            }
        });
        assert_eq!(walked, numbered((0..50).chain(100..150).chain(160..250)));
    }

    #[test]
    fn a_walk_ends_when_everybody_is_deleted_meanwhile() {
        let (_folder, session) = session();
        let walked = walk(&session, None, |so_far| {
            if so_far == 100 {
                delete(&session, 0..250);
            }
        });
        assert_eq!(walked, numbered(0..100));
        assert_eq!(session.count(Kind::User, None).unwrap(), 0);
    }

    #[test]
    fn a_name_goes_before_an_id_and_may_hold_anything() {
        let (_folder, session) = session();
        let quoted = "o\"x\\ and userName pr";
        session.create(Kind::User, &json!({ "userName": quoted }), &[]).unwrap();
        assert_eq!(session.find(Kind::User, quoted, &[]).unwrap()["userName"], quoted);
        let id = session.find_id(Kind::User, "user1").unwrap();
        assert_eq!(session.find(Kind::User, &id, &[]).unwrap()["userName"], "user1");
        session.create(Kind::User, &json!({ "userName": id }), &[]).unwrap();
        assert_eq!(session.find(Kind::User, &id, &[]).unwrap()["userName"], id);
        assert_eq!(session.find_id(Kind::User, "USER1").unwrap(), id);
        assert!(session.find(Kind::Group, &id, &[]).unwrap_err().is::<Failure>());
    }

    #[test]
    fn a_query_is_encoded() {
        let encoded = raw_query(&[("filter", "a eq \"ä+&\""), ("count", "0")]);
        assert_eq!(encoded, "filter=a%20eq%20%22%C3%A4%2B%26%22&count=0");
    }
}

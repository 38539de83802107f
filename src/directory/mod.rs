//! What the product does with one tenant's users and groups. One call is one transaction, and the event that
//! tells of a change is written with it. SCIM over HTTP and the command line come through here alike.
//!
//! A request is first prepared ([`Directory::prepare`]: parsed and checked, without touching the file) and then
//! carried out as [`Work`]: the caller decides where and with what others. Nothing here is async, knows HTTP, or
//! knows that there are other tenants.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, Stopwatch};
use crate::config::Durability;
use crate::directory::parts::Parts;
use crate::scim::endpoint::Operation;
use crate::scim::message::{self, Capabilities};
use crate::scim::patch::{self, Effort};
use crate::scim::query::{self, Query};
use crate::scim::schema::{ResourceSchema, Schemas};
use crate::scim::{self, Kind, ScimType, resource};
use crate::secret;
use crate::store::{self, Pools, ReadTx, Statements, Store, WriteTx};

mod bounds;
mod bulk;
mod catalog;
mod error;
mod leading;
mod options;
mod parts;
mod read;
mod transfer;
mod write;

pub use crate::store::Stats;
pub use bounds::is_without_seat;
pub use catalog::Put;
pub use error::Error;
pub use options::Options;
pub use parts::{Part, TakeParts};
// What `--version` tells of the files below.
pub use crate::store::copy::schema_version;
pub use crate::store::sqlite_version;
pub use transfer::{Content, Imported, Members, Outcome, Row};

/// Bodies up to this size are parsed where the request came in; larger ones elsewhere.
const SHORT_BODY_BYTES_MAX: usize = 16 * 1024;

/// The share of a request's time that a read may take.
const READ_SHARE: f64 = 0.8;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client with the API token of this name.
    Token(Arc<str>),
    /// The operator, on the command line.
    Operator,
}

impl Actor {
    /// As events tell it: `token:NAME` or `operator`.
    fn label(&self) -> String {
        match self {
            Actor::Token(name) => format!("token:{name}"),
            Actor::Operator => "operator".to_owned(),
        }
    }
}

/// A request, as far as it concerns the directory.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is asked for.
    pub operation: Operation,
    /// The raw query, without the question mark; may be empty.
    pub query: String,
    /// The body; empty where there is none.
    pub body: Bytes,
    /// The header If-Match.
    pub if_match: Option<String>,
    /// The header If-None-Match.
    pub if_none_match: Option<String>,
    /// The tenant's base URL (`https://host/scim/v2/acme`), without a trailing slash.
    pub base_url: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON, where there is a body.
    pub body: Option<Vec<u8>>,
    /// The header Location.
    pub location: Option<String>,
    /// The header ETag.
    pub etag: Option<String>,
}

impl Answer {
    /// A list, without its body.
    fn list() -> Answer {
        Answer { status: 200, body: None, location: None, etag: None }
    }

    /// A message, or a resource that tells its own address.
    fn json(value: &serde_json::Value) -> Answer {
        let location = value["meta"]["location"].as_str().map(str::to_owned);
        Answer { status: 200, body: Some(value.to_string().into_bytes()), location, etag: None }
    }
}

/// What the directories of all tenants share.
#[derive(Clone)]
pub struct Shared {
    schemas: Arc<Schemas>,
    clock: Arc<dyn Clock>,
    pools: Pools,
    durability: Durability,
}

impl Shared {
    /// Reads the schemas and starts the threads of the connection pools.
    ///
    /// # Errors
    /// When a built-in schema is none.
    pub fn new(clock: Arc<dyn Clock>, durability: Durability) -> Result<Shared, Error> {
        let schemas = Schemas::builtin().map_err(|reason| Error::Internal { reason })?;
        Ok(Shared { schemas, clock, pools: Pools::start(), durability })
    }
}

/// A read may be done a second time, elsewhere; a write is done once. The schemas are handed to it when it runs:
/// counting how many hold those that all tenants share would have every processor write to one place.
type ReadRun = Box<dyn Fn(&ReadTx<'_>, &Schemas, &mut Parts<'_>) -> Result<Answer, Error> + Send>;
type WriteRun = Box<dyn FnOnce(&WriteTx<'_>) -> Result<Answer, Error> + Send>;

/// A read that is ready to be done.
pub struct ReadWork {
    short: bool,
    time_max: Duration,
    /// The tenant's own; `None` for those that all share.
    schemas: Option<Arc<Schemas>>,
    statements: Option<Statements>,
    run: ReadRun,
}

impl ReadWork {
    /// Whether it touches a row or a few, by an index, and may be done where the request came in.
    pub fn is_short(&self) -> bool {
        self.short
    }

    fn new(short: bool, run: ReadRun) -> ReadWork {
        ReadWork { short, time_max: Duration::MAX, schemas: None, statements: None, run }
    }

    /// The same, which keeps the statements that it runs.
    #[must_use]
    pub fn keeping(self, statements: Statements) -> ReadWork {
        ReadWork { statements: Some(statements), ..self }
    }

    /// The same, given up after a time, by the schemas of a tenant with these options.
    fn within(self, time_max: Duration, options: &Options) -> ReadWork {
        ReadWork { time_max, schemas: options.schemas.clone(), ..self }
    }
}

/// A write that is ready to be done.
pub struct WriteWork {
    run: WriteRun,
    /// Runs since the request was prepared.
    asked: Stopwatch,
    /// After that nobody waits for the answer any more.
    request_max: Duration,
    /// How long it may hold the directory.
    hold_max: Duration,
    statements: Option<Statements>,
}

impl WriteWork {
    /// The same, which keeps the statements that it runs.
    #[must_use]
    pub fn keeping(self, statements: Statements) -> WriteWork {
        WriteWork { statements: Some(statements), ..self }
    }

    /// How long it may take, now that its turn has come.
    fn time_max(&self) -> Duration {
        self.hold_max.min(self.request_max.saturating_sub(self.asked.elapsed()))
    }
}

/// A request, parsed and checked.
pub enum Work {
    /// Nothing is left to do.
    Ready(Answer),
    /// For [`Directory::read`].
    Read(ReadWork),
    /// For [`Directory::write`].
    Write(WriteWork),
}

/// One tenant's users and groups.
pub struct Directory {
    store: Store,
    shared: Shared,
}

impl Directory {
    /// Opens a tenant's file; makes it where it is not there yet and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a reason that names the file.
    pub fn open(file: &Path, shared: &Shared) -> Result<Directory, Error> {
        let store = Store::open(file, &shared.pools, shared.durability).map_err(|error| match error {
            // Here even an odd error of SQLite is about the file, and tells the operator which.
            store::Error::Other(_) | store::Error::Corrupt(_) => {
                Error::Unavailable { reason: format!("{}: {error}", file.display()) }
            }
            other => Error::from(other),
        })?;
        Ok(Directory { store, shared: shared.clone() })
    }

    /// What SQLite's quick check finds wrong with the file; nothing when it is well.
    ///
    /// # Errors
    /// When the check cannot be made.
    pub fn quick_check(&self) -> Result<Vec<String>, Error> {
        Ok(self.store.quick_check()?)
    }

    /// How much the file holds, and when a client last changed it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.store.read(Duration::MAX, |tx| Ok(tx.stats()?))
    }

    /// Whether [`Directory::prepare`] is quick enough to be called where the request came in.
    pub fn prepare_is_short(&self, options: &Options, ask: &Ask) -> bool {
        let hashes_a_password = options.store_passwords
            && matches!(
                ask.operation,
                Operation::Create(Kind::User)
                    | Operation::Replace(Kind::User, _)
                    | Operation::Patch(Kind::User, _)
            );
        ask.body.len() <= SHORT_BODY_BYTES_MAX && !hashes_a_password
    }

    /// Parses and checks a request without touching the file.
    ///
    /// # Errors
    /// What the client did wrong.
    pub fn prepare(&self, options: &Options, actor: &Actor, ask: Ask) -> Result<Work, Error> {
        let schemas = self.schemas(options);
        // A little less than the request has, so that who asks is told why (`tooMany`) before the time is over.
        let time_max = Duration::from_secs(options.limits.request_s).mul_f64(READ_SHARE);
        let ready = |value: serde_json::Value| Ok(Work::Ready(Answer::json(&value)));
        if ask.operation.is_discovery() {
            query::refuse_filter(&ask.query)?;
        }
        match &ask.operation {
            Operation::ServiceProviderConfig => {
                let capabilities = Capabilities {
                    page_resources_max: options.limits.page_resources_max,
                    page_resources_default: options.limits.page_resources_default,
                    bulk_operations_max: options.limits.bulk_operations_max,
                    body_bytes_max: options.limits.body_bytes_max,
                    change_password: options.store_passwords,
                };
                ready(message::service_provider_config(capabilities, &ask.base_url))
            }
            Operation::ResourceTypes => ready(message::resource_types(schemas, &ask.base_url)),
            Operation::ResourceType(name) => ready(message::resource_type(schemas, name, &ask.base_url)?),
            Operation::Schemas => ready(message::schemas(schemas, &ask.base_url)),
            Operation::Schema(urn) => ready(message::schema(schemas, urn, &ask.base_url)?),
            Operation::List(kind) => {
                let query = Query::parse(&ask.query, &[schemas.of(*kind)], options.page_bounds())?;
                Ok(Work::Read(read::list(query, ask.base_url).within(time_max, options)))
            }
            Operation::ListAll => {
                let all = Kind::ALL.map(|kind| schemas.of(kind));
                let query = Query::parse(&ask.query, &all, options.page_bounds())?;
                Ok(Work::Read(read::list(query, ask.base_url).within(time_max, options)))
            }
            Operation::Search(kind) => {
                let query = search(options, &ask, &[schemas.of(*kind)])?;
                Ok(Work::Read(read::list(query, ask.base_url).within(time_max, options)))
            }
            Operation::SearchAll => {
                let query = search(options, &ask, &Kind::ALL.map(|kind| schemas.of(kind)))?;
                Ok(Work::Read(read::list(query, ask.base_url).within(time_max, options)))
            }
            Operation::Read(kind, id) => {
                let projection = query::projection_of(&ask.query)?;
                let (if_match, if_none_match) = (ask.if_match, ask.if_none_match);
                let one = read::one(*kind, id.clone(), projection, if_match, if_none_match, ask.base_url);
                Ok(Work::Read(one.within(time_max, options)))
            }
            Operation::ListEntries(endpoint) => {
                let catalog = catalog::at(schemas, endpoint)?;
                let query = Query::parse(&ask.query, &[&schemas.of_catalog(catalog)], options.page_bounds())?;
                let list = catalog::list(catalog.clone(), query, ask.base_url);
                Ok(Work::Read(list.within(time_max, options)))
            }
            Operation::SearchEntries(endpoint) => {
                let catalog = catalog::at(schemas, endpoint)?;
                let query = search(options, &ask, &[&schemas.of_catalog(catalog)])?;
                let list = catalog::list(catalog.clone(), query, ask.base_url);
                Ok(Work::Read(list.within(time_max, options)))
            }
            Operation::ReadEntry(endpoint, id) => {
                let catalog = catalog::at(schemas, endpoint)?.clone();
                let projection = query::projection_of(&ask.query)?;
                let one = catalog::one(catalog, id.clone(), projection, ask.base_url);
                Ok(Work::Read(one.within(time_max, options)))
            }
            Operation::Create(_)
            | Operation::Replace(..)
            | Operation::Patch(..)
            | Operation::Delete(..)
            | Operation::Bulk => self.prepare_write(options, actor, ask),
            Operation::Me(_) => Err(Error::Internal { reason: "nobody told which user /Me is".to_owned() }),
        }
    }

    /// The schemas that hold for a tenant with these options.
    pub fn schemas<'a>(&'a self, options: &'a Options) -> &'a Arc<Schemas> {
        options.schemas.as_ref().unwrap_or(&self.shared.schemas)
    }

    fn prepare_write(&self, options: &Options, actor: &Actor, ask: Ask) -> Result<Work, Error> {
        let asked = Stopwatch::start();
        // A bulk request is of no kind; its operations each are.
        let kind = scim::bulk::kind_of(&ask.operation).unwrap_or(Kind::User);
        let write = write::Write {
            kind,
            schemas: Arc::clone(self.schemas(options)),
            clock: Arc::clone(&self.shared.clock),
            options: options.clone(),
            actor: actor.label(),
            projection: query::projection_of(&ask.query)?,
            if_match: ask.if_match,
            if_none_match: ask.if_none_match,
            base_url: ask.base_url,
            shows: true,
        };
        let json = || message::parse_json(&ask.body, options.limits.json_depth_max);
        let draft = || {
            let (depth_max, schema) = (options.limits.json_depth_max, self.schemas(options).of(kind));
            resource::Draft::from_body(&ask.body, depth_max, schema, options.profile)
        };
        let run: WriteRun = match ask.operation {
            Operation::Create(_) => {
                let mut draft = draft()?;
                let password = password_hash(options, draft.password.take().map(Some))?;
                Box::new(move |tx| write.create(tx, draft, password))
            }
            Operation::Replace(_, id) => {
                let mut draft = draft()?;
                let password = password_hash(options, draft.password.take().map(Some))?;
                Box::new(move |tx| write.replace(tx, &id, draft, password))
            }
            Operation::Patch(_, id) => {
                let operations = options.patch(json()?)?;
                let password = match kind {
                    Kind::User => password_hash(options, patch::password_of(&operations)?)?,
                    Kind::Group => None,
                };
                Box::new(move |tx| write.patch(tx, &id, operations, password, &mut Effort::default()))
            }
            Operation::Delete(_, id) => Box::new(move |tx| write.delete(tx, &id)),
            Operation::Bulk => {
                let bulk = bulk::Bulk::prepare(write, ask.body, asked)?;
                Box::new(move |tx| bulk.run(tx))
            }
            _ => return Err(Error::Internal { reason: "a read was prepared as a write".to_owned() }),
        };
        Ok(Work::Write(WriteWork {
            run,
            asked,
            request_max: Duration::from_secs(options.limits.request_s),
            hold_max: Duration::from_millis(options.limits.write_ms_max),
            statements: None,
        }))
    }

    /// Does a read. Blocks.
    ///
    /// # Errors
    /// What the client did wrong, or that the file cannot be used.
    pub fn read(&self, work: &ReadWork) -> Result<Answer, Error> {
        self.store.read(work.time_max, |tx| self.run_read(work, tx, &mut Parts::kept()))
    }

    fn run_read(&self, work: &ReadWork, tx: &ReadTx<'_>, parts: &mut Parts<'_>) -> Result<Answer, Error> {
        if let Some(statements) = &work.statements {
            tx.keep_statements(statements);
        }
        (work.run)(tx, work.schemas.as_ref().unwrap_or(&self.shared.schemas), parts)
    }

    /// Does a read whose body may be large: it is handed to `take` in parts while the rest is still being read.
    /// When `take` has been called the answer holds no more than the last part. Blocks.
    ///
    /// # Errors
    /// What the client did wrong, that the file cannot be used, or what `take` gives.
    pub fn read_in_parts<'a>(&self, work: &ReadWork, take: &'a mut TakeParts<'a>) -> Result<Answer, Error> {
        self.store.read(work.time_max, |tx| self.run_read(work, tx, &mut Parts::handed_to(take)))
    }

    /// Does a short read without waiting, for the threads that serve connections. `None` when it turned out not
    /// to be short, or no connection was free at once: [`Directory::read`] then does it elsewhere.
    pub fn read_in_place(&self, work: &ReadWork) -> Option<Result<Answer, Error>> {
        self.store.read_short(|tx| self.run_read(work, tx, &mut Parts::kept())).ok()
    }

    /// Does writes in one transaction, each undone by itself where it fails. Blocks; the answers hold when it
    /// returns, since the transaction is then committed.
    pub fn write(&self, works: Vec<WriteWork>) -> Vec<Result<Answer, Error>> {
        self.store.write(works, WriteWork::time_max, |work, tx| {
            tx.check_time()?;
            if let Some(statements) = &work.statements {
                tx.keep_statements(statements);
            }
            (work.run)(tx)
        })
    }

    /// How SQLite goes about the statements of a piece of work, without a value of any; empty when there were none.
    /// Blocks.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn plan(&self, statements: &Statements) -> Result<String, Error> {
        Ok(self.store.plan(statements)?)
    }

    /// Prepares a request and does it at once: the command line's way. Blocks.
    ///
    /// # Errors
    /// What the client did wrong, or that the file cannot be used.
    pub fn run(&self, options: &Options, actor: &Actor, ask: Ask) -> Result<Answer, Error> {
        match self.prepare(options, actor, ask)? {
            Work::Ready(answer) => Ok(answer),
            Work::Read(work) => self.read(&work),
            Work::Write(work) => self
                .write(vec![work])
                .pop()
                .unwrap_or_else(|| Err(Error::Internal { reason: "a write gave no answer".to_owned() })),
        }
    }
}

/// Reads a SearchRequest.
fn search(options: &Options, ask: &Ask, schemas: &[&ResourceSchema]) -> Result<Query, Error> {
    let message = message::parse_json(&ask.body, options.limits.json_depth_max)?;
    let query = Query::from_message(message, &ask.query, schemas, options.page_bounds());
    Ok(query.map_err(|error| match error.scim_type {
        // It is about what stands in an address; a body is none (RFC 7644 §7.5.2).
        Some(ScimType::Sensitive) => scim::Error::invalid_filter(error.detail),
        _ => error,
    })?)
}

/// What becomes of a password in a request: nothing, unless the tenant keeps hashes. `Some(None)` takes a kept
/// one away.
fn password_hash(
    options: &Options,
    password: Option<Option<String>>,
) -> Result<Option<Option<String>>, Error> {
    if !options.store_passwords {
        return Ok(None);
    }
    match password {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(text)) => match secret::hash_password(&text) {
            Ok(hash) => Ok(Some(Some(hash))),
            Err(error) => Err(Error::Internal { reason: format!("hashing a password: {error}") }),
        },
    }
}

#[cfg(test)]
mod tests;

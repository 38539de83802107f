//! Bulk requests: the operations of one message, in one commit, each undone by itself where it fails
//! (RFC 7644 §3.7: a bulk request is not atomic).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::directory::write::{PasswordHash, Write};
use crate::directory::{Answer, Error, password_hash};
use crate::scim::bulk::{self, BulkOperation, BulkRequest, Ids, Outcome};
use crate::scim::endpoint::Operation;
use crate::scim::patch::Effort;
use crate::scim::projection::{self, Projection};
use crate::scim::resource::Draft;
use crate::scim::{self, Kind, patch};
use crate::store::{self, WriteTx};

/// A bulk request, ready to be run. Of the message there is its text and nothing else; each operation's part is
/// built when its turn comes, and gone after it.
pub(super) struct Bulk {
    /// As for a single write; `kind` and `if_match` are each operation's own.
    base: Write,
    body: Bytes,
    request: BulkRequest,
    /// By operation; hashing takes too long to be done while the directory is held.
    passwords: Vec<PasswordHash>,
}

/// A resource that was made without the attributes that refer to others still to be made.
struct Later {
    /// Which operation made it.
    place: usize,
    id: String,
    /// Paths and values.
    attributes: Vec<(String, Value)>,
}

/// A bulk request being run.
struct Run<'a> {
    bulk: &'a Bulk,
    operations: &'a [BulkOperation],
    /// By operation: those that make what it refers to.
    needs: Vec<Vec<usize>>,
    /// By operation: whether it was not tried yet.
    open: Vec<bool>,
    /// Which operation makes a `bulkId`'s resource.
    makers: HashMap<&'a str, usize>,
    ids: Ids<'a>,
    outcomes: Vec<Option<Outcome>>,
    later: Vec<Later>,
    errors: usize,
    errors_max: usize,
    effort: Effort,
}

impl Bulk {
    /// Reads the message and hashes the passwords in it, without touching the file.
    ///
    /// # Errors
    /// What is wrong with the message, or that hashing takes longer than the request may.
    pub(super) fn prepare(base: Write, body: Bytes, asked: Stopwatch) -> Result<Bulk, Error> {
        let options = &base.options;
        let limits = options.limits;
        let request = bulk::parse(&body, limits.json_depth_max, limits.bulk_operations_max)?;
        let mut passwords = vec![None; request.operations.len()];
        if options.store_passwords {
            for (operation, place) in request.operations.iter().zip(&mut passwords) {
                if asked.elapsed().as_secs() >= limits.request_s {
                    return Err(store::Error::WriteTooLong.into());
                }
                *place = base.password_in(operation, &body)?;
            }
        }
        Ok(Bulk { base, body, request, passwords })
    }

    /// Runs the operations: in order, save that one which refers to a resource of a later one waits for it.
    pub(super) fn run(&self, tx: &WriteTx<'_>) -> Result<Answer, Error> {
        let mut run = Run::new(self);
        run.all(tx)?;
        let operations = self.request.operations.iter();
        let tried = operations
            .zip(&run.outcomes)
            .filter_map(|(operation, outcome)| outcome.as_ref().map(|outcome| (operation, outcome)));
        Ok(Answer { body: Some(bulk::response(tried)), ..Answer::list() })
    }
}

impl<'a> Run<'a> {
    fn new(bulk: &'a Bulk) -> Run<'a> {
        let operations = bulk.request.operations.as_slice();
        let made = operations.iter().enumerate().filter_map(|(place, one)| Some((one.makes()?, place)));
        let makers: HashMap<&str, usize> = made.collect();
        // A reference to anything else cannot be resolved by waiting.
        let makers_of = |operation: &BulkOperation| -> Vec<usize> {
            let references = operation.references(&bulk.body);
            references.iter().filter_map(|bulk_id| makers.get(bulk_id.as_str()).copied()).collect()
        };
        Run {
            bulk,
            operations,
            needs: operations.iter().map(makers_of).collect(),
            open: vec![true; operations.len()],
            ids: Ids { made_here: makers.keys().copied().collect(), known: HashMap::new() },
            makers,
            outcomes: operations.iter().map(|_| None).collect(),
            later: Vec::new(),
            errors: 0,
            errors_max: bulk.request.fail_on_errors.unwrap_or(usize::MAX),
            effort: Effort::default(),
        }
    }

    /// Tries the operations in their order, but before each those that make what it refers to.
    fn all(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        self.all_operations(tx)?;
        // What is half made by now stays so.
        self.open.fill(false);
        self.add_later(tx)
    }

    fn all_operations(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        loop {
            let before = self.open.iter().filter(|open| **open).count();
            for place in 0..self.operations.len() {
                self.with_needs(tx, place)?;
            }
            let after = self.open.iter().filter(|open| **open).count();
            if after == 0 || self.is_over() {
                return Ok(());
            }
            if after == before {
                self.give_up();
                return Ok(());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.errors >= self.errors_max
    }

    /// Tries an operation after what it needs. Where that needs the operation itself, directly or not, a new
    /// resource is made without what refers to the others, and gets it when they are made: so two groups come to
    /// contain each other.
    fn with_needs(&mut self, tx: &WriteTx<'_>, place: usize) -> Result<(), Error> {
        let mut path = vec![place];
        // On the path now, or found to be in a circle that cannot be cut here.
        let mut seen = vec![false; self.operations.len()];
        while let Some(place) = path.last().copied() {
            if !self.open[place] || self.is_over() {
                path.pop();
                continue;
            }
            seen[place] = true;
            let needed = |need: &&usize| self.open[**need];
            if let Some(next) = self.needs[place].iter().filter(needed).find(|need| !seen[**need]) {
                path.push(*next);
                continue;
            }
            tx.check_time()?;
            let waits = self.needs[place].iter().any(|need| self.open[*need]);
            if !waits || self.can_be_cut(place) {
                self.one(tx, place, waits)?;
                self.add_later(tx)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn can_be_cut(&self, place: usize) -> bool {
        let operation = &self.operations[place];
        matches!(operation.operation, Ok(Operation::Create(_)))
            && self.is_in_circle(place)
            && operation.data(&self.bulk.body).is_ok_and(|mut data| self.cut(operation, &mut data).is_some())
    }

    /// Whether what an operation needs needs the operation itself.
    fn is_in_circle(&self, place: usize) -> bool {
        let mut seen = vec![false; self.operations.len()];
        let mut next = vec![place];
        while let Some(at) = next.pop() {
            for need in self.needs[at].iter().copied().filter(|need| self.open[*need]) {
                if need == place {
                    return true;
                }
                if !std::mem::replace(&mut seen[need], true) {
                    next.push(need);
                }
            }
        }
        false
    }

    fn is_open(&self, bulk_id: &str) -> bool {
        self.makers.get(bulk_id).is_some_and(|place| self.open[*place])
    }

    fn cut(&self, operation: &BulkOperation, data: &mut Value) -> Option<Vec<(String, Value)>> {
        let kind = operation.operation.as_ref().ok().and_then(bulk::kind_of)?;
        bulk::cut(data, self.bulk.base.schemas.of(kind), |bulk_id| self.is_open(bulk_id))
    }

    /// What is left refers to itself in circles that cannot be cut (RFC 7644 §3.7.1: 409).
    fn give_up(&mut self) {
        for place in 0..self.operations.len() {
            if std::mem::take(&mut self.open[place]) && !self.is_over() {
                self.settle(place, Err(scim::Error::conflict(
                    "The operation refers by bulkId to one that refers back to it, and neither can be made first.",
                )));
            }
        }
    }

    /// Tries an operation; with `cut`, a new resource without what refers to others still to be made.
    fn one(&mut self, tx: &WriteTx<'_>, place: usize, cut: bool) -> Result<(), Error> {
        let operation = &self.operations[place];
        let done = tx.part(|| self.carry_out(tx, place, cut))?;
        let made = match done {
            Ok((answer, left)) => {
                let id = answer.location.as_deref().and_then(|location| location.rsplit('/').next());
                if let (Some(bulk_id), Some(id)) = (operation.makes(), id) {
                    self.ids.known.insert(bulk_id, id.to_owned());
                    if !left.is_empty() {
                        self.later.push(Later { place, id: id.to_owned(), attributes: left });
                    }
                }
                Ok(answer)
            }
            Err(Error::Client(error)) => Err(error),
            Err(other) => return Err(other),
        };
        self.open[place] = false;
        self.settle(place, made);
        Ok(())
    }

    /// Carries an operation out; gives what was cut out of it as well.
    fn carry_out(
        &mut self,
        tx: &WriteTx<'_>,
        place: usize,
        cut: bool,
    ) -> Result<(Answer, Vec<(String, Value)>), Error> {
        let operation = &self.operations[place];
        let what = operation.operation.as_ref().map_err(|error| Error::Client(error.clone()))?;
        let mut data = operation.data(&self.bulk.body)?;
        let left = if cut { self.cut(operation, &mut data).unwrap_or_default() } else { Vec::new() };
        self.ids.resolve(&mut data)?;
        let id = operation.target().map(|(_, id)| self.id(id)).transpose()?.unwrap_or_default();
        let kind = bulk::kind_of(what).unwrap_or(Kind::User);
        let write = self.bulk.base.with(kind, operation.version.clone());
        let password = self.bulk.passwords[place].clone();
        let answer = match what {
            Operation::Create(_) => {
                write.create(tx, Draft::from_json(data, write.schema(), write.options.profile)?, password)
            }
            Operation::Replace(..) => write.replace(
                tx,
                &id,
                Draft::from_json(data, write.schema(), write.options.profile)?,
                password,
            ),
            Operation::Patch(..) => {
                let operations = write.options.patch(data)?;
                write.patch(tx, &id, operations, password, &mut self.effort)
            }
            Operation::Delete(..) => write.delete(tx, &id),
            _ => Err(Error::Internal { reason: "a bulk operation is no write".to_owned() }),
        };
        Ok((answer?, left))
    }

    /// The id that a path names, itself or by `bulkId`.
    fn id(&self, named: &str) -> Result<String, scim::Error> {
        bulk::reference(named)
            .map_or_else(|| Ok(named.to_owned()), |bulk_id| self.ids.of(bulk_id).map(str::to_owned))
    }

    fn settle(&mut self, place: usize, made: Result<Answer, scim::Error>) {
        let there = || {
            let (kind, named) = self.operations[place].target()?;
            let id = self.id(named).ok()?;
            Some(projection::location(&self.bulk.base.base_url, kind, &projection::encoded(&id)))
        };
        let outcome = match made {
            Ok(answer) => Outcome {
                status: answer.status,
                location: answer.location.or_else(there),
                version: answer.etag,
                error: None,
            },
            Err(error) => {
                Outcome { status: error.status, location: there(), version: None, error: Some(error) }
            }
        };
        if outcome.error.is_some() {
            self.errors += 1;
        }
        self.outcomes[place] = Some(outcome);
    }

    /// Adds what was left out of new resources, once what it refers to is made. Where that fails, so does the
    /// operation that made the resource, which is deleted again.
    fn add_later(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let mut index = 0;
        while index < self.later.len() {
            if self.is_waiting(&self.later[index]) {
                index += 1;
                continue;
            }
            let Later { place, id, attributes } = self.later.swap_remove(index);
            let added = match tx.part(|| self.add(tx, place, &id, attributes))? {
                Ok(answer) => {
                    if let Some(outcome) = &mut self.outcomes[place] {
                        outcome.version = answer.etag;
                    }
                    continue;
                }
                Err(Error::Client(error)) => error,
                Err(other) => return Err(other),
            };
            if let Some(bulk_id) = self.operations[place].makes() {
                self.ids.known.remove(bulk_id);
            }
            self.write_of(place).delete(tx, &id)?;
            self.settle(place, Err(added));
        }
        Ok(())
    }

    fn is_waiting(&self, later: &Later) -> bool {
        let mut left = later.attributes.iter().flat_map(|(_, value)| bulk::references_in(value));
        left.any(|bulk_id| self.is_open(&bulk_id))
    }

    fn add(
        &mut self,
        tx: &WriteTx<'_>,
        place: usize,
        id: &str,
        attributes: Vec<(String, Value)>,
    ) -> Result<Answer, Error> {
        let mut operations = Vec::with_capacity(attributes.len());
        for (path, mut value) in attributes {
            self.ids.resolve(&mut value)?;
            operations.push(json!({ "op": "add", "path": path, "value": value }));
        }
        let body = json!({ "schemas": [patch::PATCH_URN], "Operations": operations });
        let write = self.write_of(place);
        let operations =
            patch::parse(body, usize::MAX, write.options.filter_bounds(), write.options.profile)?;
        write.patch(tx, id, operations, None, &mut self.effort)
    }

    fn write_of(&self, place: usize) -> Write {
        let operation = &self.operations[place].operation;
        self.bulk.base.with(operation.as_ref().ok().and_then(bulk::kind_of).unwrap_or(Kind::User), None)
    }
}

impl Write {
    /// The password that an operation sets, hashed. What is wrong with the operation is found when it is run.
    fn password_in(&self, operation: &BulkOperation, body: &[u8]) -> Result<PasswordHash, Error> {
        let patches = match &operation.operation {
            Ok(Operation::Create(Kind::User) | Operation::Replace(Kind::User, _)) => false,
            Ok(Operation::Patch(Kind::User, _)) => true,
            _ => return Ok(None),
        };
        let options = &self.options;
        let password = operation.data(body).and_then(|data| {
            if patches {
                return patch::password_of(&options.patch(data)?);
            }
            let draft = Draft::from_json(data, self.schemas.of(Kind::User), options.profile)?;
            Ok(draft.password.map(Some))
        });
        password_hash(options, password.unwrap_or_default())
    }

    /// The same for an operation of its own; its answer shows no resource, since nobody would read it.
    fn with(&self, kind: Kind, if_match: Option<String>) -> Write {
        Write {
            kind,
            schemas: Arc::clone(&self.schemas),
            clock: Arc::clone(&self.clock),
            options: self.options.clone(),
            actor: self.actor.clone(),
            projection: Projection::default(),
            if_match,
            if_none_match: None,
            base_url: self.base_url.clone(),
            shows: false,
        }
    }
}

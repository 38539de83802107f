//! Bulk requests: the operations of one message, in one commit, each undone by itself where it fails
//! (RFC 7644 §3.7: a bulk request is not atomic).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::directory::write::{PasswordHash, Write};
use crate::directory::{Answer, Error, Options, password_hash};
use crate::scim::bulk::{self, BulkOperation, BulkRequest, Ids, Outcome};
use crate::scim::endpoint::Operation;
use crate::scim::projection::Projection;
use crate::scim::resource::Draft;
use crate::scim::{self, Kind, patch};
use crate::store::WriteTx;

/// What running a bulk request needs to know.
pub(super) struct Bulk {
    /// As for a single write; `kind`, `if_match` and `projection` are each operation's own.
    pub(super) base: Arc<Write>,
}

/// Members of a new group that could not be added when the group was made.
struct Later {
    /// Which operation made the group.
    place: usize,
    group: String,
    members: Vec<Value>,
}

/// A bulk request being run.
struct Run<'a> {
    bulk: &'a Bulk,
    operations: &'a [BulkOperation],
    /// The `bulkId`s that each operation refers to.
    references: Vec<Vec<&'a str>>,
    /// The `bulkId`s whose operation was tried: waiting for them is no use any more.
    settled: HashSet<&'a str>,
    ids: Ids,
    outcomes: Vec<Option<Outcome>>,
    later: Vec<Later>,
    errors: usize,
    errors_max: usize,
}

impl Bulk {
    /// Runs the operations: in order, save that one which refers to a resource of a later one waits for it.
    pub(super) fn run(&self, tx: &WriteTx<'_>, request: &BulkRequest) -> Result<Answer, Error> {
        let operations = &request.operations;
        let mut run = Run {
            bulk: self,
            operations,
            references: operations.iter().map(references).collect(),
            settled: HashSet::new(),
            ids: Ids::new(),
            outcomes: operations.iter().map(|_| None).collect(),
            later: Vec::new(),
            errors: 0,
            errors_max: request.fail_on_errors.unwrap_or(usize::MAX),
        };
        run.all(tx)?;
        let tried: Vec<(&BulkOperation, Outcome)> = operations
            .iter()
            .zip(run.outcomes)
            .filter_map(|(operation, outcome)| outcome.map(|outcome| (operation, outcome)))
            .collect();
        Ok(Answer::json(&bulk::response(&tried)))
    }
}

impl Run<'_> {
    fn all(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let mut open: Vec<usize> = (0..self.operations.len()).collect();
        // What can be made, by `bulkId`; a reference to anything else cannot be resolved by waiting.
        let operations = self.operations;
        let awaited: HashSet<&str> = operations
            .iter()
            .filter(|operation| matches!(operation.operation, Ok(Operation::Create(_))))
            .filter_map(|operation| operation.bulk_id.as_deref())
            .collect();
        while !open.is_empty() && self.errors < self.errors_max {
            let before = open.len();
            let mut waiting = Vec::new();
            for place in open {
                if self.errors >= self.errors_max {
                    return Ok(());
                }
                let waits = self.waits(place, &awaited);
                if waits && !self.can_be_cut(place) {
                    waiting.push(place);
                } else {
                    self.one(tx, place, waits)?;
                    self.add_later(tx, &awaited)?;
                }
            }
            open = waiting;
            if open.len() == before {
                self.give_up(std::mem::take(&mut open));
            }
        }
        Ok(())
    }

    /// Whether an operation refers to one that is still to be tried.
    fn waits(&self, place: usize, awaited: &HashSet<&str>) -> bool {
        self.references[place]
            .iter()
            .any(|bulk_id| awaited.contains(bulk_id) && !self.settled.contains(bulk_id))
    }

    /// A new group need not wait: it is made at its place, and gets its members when these are made. So two
    /// groups can contain each other.
    fn can_be_cut(&self, place: usize) -> bool {
        self.operations[place].operation == Ok(Operation::Create(Kind::Group))
    }

    /// What is left refers to itself in a circle that cannot be cut (RFC 7644 §3.7.1: 409).
    fn give_up(&mut self, open: Vec<usize>) {
        for place in open {
            let mut error = scim::Error::uniqueness("");
            error.scim_type = None;
            error.detail = "The operation refers by bulkId to one that refers back to it, and neither can be made first.".to_owned();
            self.settle(place, Err(error));
        }
    }

    /// Tries an operation; with `cut`, a new group without the members that are still to be made.
    fn one(&mut self, tx: &WriteTx<'_>, place: usize, cut: bool) -> Result<(), Error> {
        let operations = self.operations;
        let operation = &operations[place];
        let mut data = operation.data.clone();
        bulk::resolve(&mut data, &self.ids);
        let unresolved = if cut { bulk::take_unresolved_members(&mut data) } else { Vec::new() };
        let done = match &operation.operation {
            Ok(what) => tx.part(|| self.carry_out(tx, operation, what, data))?,
            Err(error) => Err(Error::Client(error.clone())),
        };
        let made = match done {
            Ok(answer) => Ok(answer),
            Err(Error::Client(error)) => Err(error),
            Err(other) => return Err(other),
        };
        if let (Ok(answer), Some(bulk_id)) = (&made, &operation.bulk_id)
            && let Some(id) = answer.location.as_deref().and_then(|location| location.rsplit('/').next())
        {
            self.ids.insert(bulk_id.clone(), id.to_owned());
            if !unresolved.is_empty() {
                self.later.push(Later { place, group: id.to_owned(), members: unresolved });
            }
        }
        if let (Ok(Operation::Create(_)), Some(bulk_id)) = (&operation.operation, &operation.bulk_id) {
            self.settled.insert(bulk_id);
        }
        self.settle(place, made);
        Ok(())
    }

    fn carry_out(
        &self,
        tx: &WriteTx<'_>,
        operation: &BulkOperation,
        what: &Operation,
        data: Value,
    ) -> Result<Answer, Error> {
        let kind = bulk::kind_of(what).unwrap_or(Kind::User);
        let write = self.bulk.base.with(kind, operation.version.clone());
        let options = &write.options;
        match what {
            Operation::Create(_) => {
                let (draft, password) = draft(&write, options, data)?;
                write.create(tx, draft, password)
            }
            Operation::Replace(_, id) => {
                let (draft, password) = draft(&write, options, data)?;
                write.replace(tx, &self.id(id)?, draft, password)
            }
            Operation::Patch(_, id) => {
                let operations = patch::parse(
                    data,
                    options.limits.patch_operations_max,
                    options.filter_bounds(),
                    options.profile,
                )?;
                let password = match kind {
                    Kind::User => password_hash(options, patch::password_of(&operations)?)?,
                    Kind::Group => None,
                };
                write.patch(tx, &self.id(id)?, operations, password)
            }
            Operation::Delete(_, id) => write.delete(tx, &self.id(id)?),
            _ => Err(Error::Internal { reason: "a bulk operation is no write".to_owned() }),
        }
    }

    /// The id that a path names, itself or by `bulkId`.
    fn id(&self, named: &str) -> Result<String, Error> {
        match bulk::reference(named) {
            None => Ok(named.to_owned()),
            Some(bulk_id) => self.ids.get(bulk_id).cloned().ok_or_else(|| {
                scim::Error::invalid_value(
                    "The path refers to a bulkId that no operation of the request has made.",
                )
                .into()
            }),
        }
    }

    fn settle(&mut self, place: usize, made: Result<Answer, scim::Error>) {
        let outcome = match made {
            Ok(answer) => Outcome {
                status: answer.status,
                location: answer.location,
                version: answer.etag,
                error: None,
            },
            Err(error) => {
                self.errors += 1;
                Outcome { status: error.status, location: None, version: None, error: Some(error) }
            }
        };
        self.outcomes[place] = Some(outcome);
    }

    /// Adds members that were left out of new groups, once they are made; where that fails, so does the
    /// operation that made the group, and the group stays without them.
    fn add_later(&mut self, tx: &WriteTx<'_>, awaited: &HashSet<&str>) -> Result<(), Error> {
        let (waiting, ready): (Vec<Later>, Vec<Later>) =
            std::mem::take(&mut self.later).into_iter().partition(|later| self.waits(later.place, awaited));
        self.later = waiting;
        for Later { place, group, mut members } in ready {
            members.iter_mut().for_each(|member| bulk::resolve(member, &self.ids));
            let body = json!({
                "schemas": [patch::PATCH_URN],
                "Operations": [{ "op": "add", "path": "members", "value": members }],
            });
            let write = self.bulk.base.with(Kind::Group, None);
            let options = &write.options;
            let operations = patch::parse(
                body,
                options.limits.patch_operations_max,
                options.filter_bounds(),
                options.profile,
            )?;
            match tx.part(|| write.patch(tx, &group, operations, None))? {
                Ok(answer) => {
                    if let Some(Some(outcome)) = self.outcomes.get_mut(place) {
                        outcome.version = answer.etag;
                    }
                }
                Err(Error::Client(error)) => self.settle(place, Err(error)),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

/// The `bulkId`s that an operation refers to, in its body or its path.
fn references(operation: &BulkOperation) -> Vec<&str> {
    let mut found = Vec::new();
    bulk::references(&operation.data, &mut found);
    if let Ok(Operation::Replace(_, id) | Operation::Patch(_, id) | Operation::Delete(_, id)) =
        &operation.operation
    {
        found.extend(bulk::reference(id));
    }
    found
}

fn draft(write: &Write, options: &Options, data: Value) -> Result<(Draft, PasswordHash), Error> {
    let mut draft = Draft::from_json(data, write.schema(), options.profile)?;
    let password = password_hash(options, draft.password.take().map(Some))?;
    Ok((draft, password))
}

impl Write {
    /// The same for an operation of its own; its answer shows as little as can be, since nobody reads it.
    fn with(&self, kind: Kind, if_match: Option<String>) -> Write {
        Write {
            kind,
            schemas: Arc::clone(&self.schemas),
            clock: Arc::clone(&self.clock),
            options: self.options.clone(),
            actor: self.actor.clone(),
            projection: Projection::new(Some("id"), None),
            if_match,
            base_url: self.base_url.clone(),
        }
    }
}

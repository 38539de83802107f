//! Import: rows of another directory's export become users and groups. A row is made, changed, or already as it should
//! be; so a file that was imported in part is simply imported again. The rules are those of every write.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::directory::write::{self, PasswordHash, Write, parse_doc};
use crate::directory::{Actor, Directory, Error, Options, password_hash};
use crate::scim::patch::{self, Effort, PatchOperation};
use crate::scim::projection::Projection;
use crate::scim::resource::{Draft, MemberRef};
use crate::scim::{self, Kind, ScimType};
use crate::store::{MemberChanges, Record, WriteTx};

/// How long one row may hold the directory: a group may have a hundred thousand members.
const ROW_TIME_MAX: Duration = Duration::from_secs(300);

/// How much of a name that does not exist is repeated.
const NAME_CHARS_SHOWN_MAX: usize = 100;

/// A row of an import.
#[derive(Clone, Debug)]
pub struct Row {
    /// The id that the resource has, if it is of this tenant.
    pub id: Option<String>,
    /// What the row says of the resource.
    pub content: Content,
    /// What it says of a group's members; nothing where it does not speak of them.
    pub members: Option<Members>,
}

/// What a row says of a resource.
#[derive(Clone, Debug)]
pub enum Content {
    /// The whole resource: what is not in it is taken away, as by a PUT.
    Whole(Value),
    /// Some attributes, as operations of a PATCH; the others stay.
    Some {
        /// What is set.
        set: Vec<Value>,
        /// What is taken away, where it is there.
        clear: Vec<Value>,
    },
}

/// The members of a group.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Each by its id, its userName, its externalId or, if it is a group, its displayName; the first that fits.
    pub names: Vec<String>,
    /// Whether members that are not named stay.
    pub keep_others: bool,
    /// Whether names that nobody has are passed over.
    pub skip_unknown: bool,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What was done.
    pub outcome: Outcome,
    /// How many names of members were passed over.
    pub members_skipped: usize,
}

/// What was done for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A resource was made.
    Created,
    /// A resource was changed.
    Updated,
    /// The resource was already so.
    Unchanged,
}

/// A row that is checked as far as it can be without the file.
struct Prepared {
    id: Option<String>,
    name: Option<String>,
    external_id: Option<String>,
    content: Ready,
    password: PasswordHash,
    members: Option<Members>,
}

enum Ready {
    Whole(Box<Draft>),
    Some { set: Vec<PatchOperation>, clear: Vec<PatchOperation> },
}

impl Directory {
    /// Imports rows in one transaction; a row that is refused undoes itself and nothing else. The resource that a row
    /// is about is the one with its id, else the one with its userName or displayName, else the one with its
    /// externalId; where there is none, one is made. With `stop_at_error`, rows after a refused one are refused, too.
    /// Blocks.
    pub fn import(
        &self,
        options: &Options,
        kind: Kind,
        rows: Vec<Row>,
        stop_at_error: bool,
    ) -> Vec<Result<Imported, Error>> {
        let write = Write {
            kind,
            schemas: std::sync::Arc::clone(self.schemas(options)),
            clock: std::sync::Arc::clone(&self.shared.clock),
            options: options.clone(),
            actor: Actor::Operator.label(),
            projection: Projection::default(),
            if_match: None,
            if_none_match: None,
            base_url: String::new(),
            shows: false,
        };
        let prepared: Vec<Result<Prepared, Error>> =
            rows.into_iter().map(|row| write.prepare_row(row)).collect();
        let refused = std::cell::Cell::new(false);
        let run = |row: Result<Prepared, Error>, tx: &WriteTx<'_>| {
            if stop_at_error && refused.get() {
                return Err(scim::Error::invalid_value("A row before this one was refused.").into());
            }
            let imported = row.and_then(|row| write.import(tx, row));
            refused.set(refused.get() || imported.is_err());
            imported
        };
        self.store.write(prepared, |_| ROW_TIME_MAX, run)
    }
}

impl Write {
    fn prepare_row(&self, row: Row) -> Result<Prepared, Error> {
        let (profile, bounds) = (self.options.profile, self.options.filter_bounds());
        let parse = |operations: Vec<Value>| {
            patch::parse(json!({ "Operations": operations }), usize::MAX, bounds, profile)
        };
        let (content, password, name, external_id) = match row.content {
            Content::Whole(value) => {
                let mut draft = Draft::from_json(value, self.schema(), profile)?;
                let password = draft.password.take().map(Some);
                let (name, external_id) =
                    (text(&draft.doc, self.kind.name_attribute()), text(&draft.doc, "externalId"));
                (Ready::Whole(Box::new(draft)), password, name, external_id)
            }
            Content::Some { set, clear } => {
                let value_at = |attribute: &str| {
                    let found = set.iter().find(|operation| operation["path"] == attribute);
                    found.and_then(|operation| operation["value"].as_str()).map(str::to_owned)
                };
                let (name, external_id) = (value_at(self.kind.name_attribute()), value_at("externalId"));
                let set = if set.is_empty() { Vec::new() } else { parse(set)? };
                let clear = if clear.is_empty() { Vec::new() } else { parse(clear)? };
                let password = patch::password_of(&set)?;
                (Ready::Some { set, clear }, password, name, external_id)
            }
        };
        let password = match self.kind {
            Kind::User => password_hash(&self.options, password)?,
            Kind::Group => None,
        };
        Ok(Prepared { id: row.id, name, external_id, content, password, members: row.members })
    }

    fn import(&self, tx: &WriteTx<'_>, row: Prepared) -> Result<Imported, Error> {
        let held = self.meant(tx, &row)?;
        let (members, members_skipped) = self.resolve(tx, row.members.as_ref())?;
        let outcome = match held {
            Some(held) => {
                let keep_others = row.members.as_ref().is_some_and(|members| members.keep_others);
                self.bring_to(tx, &held, row.content, row.password, members.as_deref(), keep_others)?
            }
            None => {
                let draft = Draft { members, ..self.draft_of(row.content)? };
                self.create(tx, draft, row.password)?;
                Outcome::Created
            }
        };
        Ok(Imported { outcome, members_skipped })
    }

    /// The resource that a row is about.
    fn meant(&self, tx: &WriteTx<'_>, row: &Prepared) -> Result<Option<Record>, Error> {
        if let Some(id) = &row.id
            && let Some(held) = tx.find(self.kind, id)?
        {
            return Ok(Some(held));
        }
        if let Some(name) = &row.name
            && let Some(held) = tx.find_by_name(self.kind, name)?
        {
            return Ok(Some(held));
        }
        let Some(external_id) = &row.external_id else { return Ok(None) };
        match tx.ids_by_external_id(self.kind, external_id)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(tx.find(self.kind, one)?),
            _ => Err(scim::Error::uniqueness(format!(
                "Several {}s have this externalId, so that it does not tell which one is meant.",
                self.kind.noun()
            ))
            .into()),
        }
    }

    fn draft_of(&self, content: Ready) -> Result<Draft, Error> {
        match content {
            Ready::Whole(draft) => Ok(*draft),
            Ready::Some { set, .. } => {
                let (bounds, profile) = (self.options.filter_bounds(), self.options.profile);
                let made =
                    patch::apply(set, Map::new(), self.schema(), bounds, profile, &mut Effort::default())?;
                Ok(Draft::from_json(Value::Object(made.doc), self.schema(), profile)?)
            }
        }
    }

    /// Makes of a resource what the row says of it.
    fn bring_to(
        &self,
        tx: &WriteTx<'_>,
        held: &Record,
        content: Ready,
        password: PasswordHash,
        members: Option<&[MemberRef]>,
        keep_others: bool,
    ) -> Result<Outcome, Error> {
        let doc = match content {
            Ready::Whole(draft) => self.with_active(draft.doc, held.active)?,
            Ready::Some { set, clear } => self.patched(held, set, clear)?,
        };
        let mut changes = MemberChanges::default();
        if let Some(members) = members {
            self.known(match keep_others {
                true => tx.add_members(held.seq, members, &mut changes)?,
                false => tx.replace_members(held.seq, members, &mut changes)?,
            })?;
        }
        Ok(match self.put(tx, held, doc, &changes, password, None)? {
            write::Change::Some => Outcome::Updated,
            write::Change::None => Outcome::Unchanged,
        })
    }

    fn patched(
        &self,
        held: &Record,
        set: Vec<PatchOperation>,
        clear: Vec<PatchOperation>,
    ) -> Result<Map<String, Value>, Error> {
        let (bounds, profile) = (self.options.filter_bounds(), self.options.profile);
        let mut effort = Effort::default();
        let mut doc = parse_doc(held)?;
        for operation in clear {
            // As a rule it is not there, which would be an error of a PATCH.
            let is_there = operation.path.as_ref().is_some_and(|path| {
                let attributes = match &path.attr.urn {
                    Some(urn) if !self.schema().is_core(urn) => doc.get(urn).and_then(Value::as_object),
                    _ => Some(&doc),
                };
                attributes
                    .is_some_and(|there| there.keys().any(|key| key.eq_ignore_ascii_case(&path.attr.name)))
            });
            if !is_there {
                continue;
            }
            match patch::apply(vec![operation], doc.clone(), self.schema(), bounds, profile, &mut effort) {
                Ok(patched) => doc = patched.doc,
                Err(error) if error.scim_type == Some(ScimType::NoTarget) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if set.is_empty() {
            return Ok(doc);
        }
        Ok(patch::apply(set, doc, self.schema(), bounds, profile, &mut effort)?.doc)
    }

    /// The members that are named, and how many names were passed over.
    fn resolve(
        &self,
        tx: &WriteTx<'_>,
        members: Option<&Members>,
    ) -> Result<(Option<Vec<MemberRef>>, usize), Error> {
        let Some(members) = members else { return Ok((None, 0)) };
        let (mut found, mut skipped) = (Vec::with_capacity(members.names.len()), 0);
        for (index, name) in members.names.iter().enumerate() {
            if index % 1_000 == 0 {
                tx.check_time()?;
            }
            match self.member_named(tx, name)? {
                Some(id) => found.push(MemberRef { id, display: None }),
                None if members.skip_unknown => skipped += 1,
                None => {
                    let shown: String =
                        name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_SHOWN_MAX).collect();
                    return Err(scim::Error::invalid_value(format!(
                        "Nobody has the id, userName or externalId {shown}, and no group this name, so that nothing of the group was changed."
                    ))
                    .into());
                }
            }
        }
        Ok((Some(found), skipped))
    }

    fn member_named(&self, tx: &WriteTx<'_>, name: &str) -> Result<Option<String>, Error> {
        if tx.has_id(name)? {
            return Ok(Some(name.to_owned()));
        }
        if let Some(id) = tx.id_by_name(Kind::User, name)? {
            return Ok(Some(id));
        }
        match tx.ids_by_external_id(Kind::User, name)?.as_mut_slice() {
            [one] => Ok(Some(std::mem::take(one))),
            _ => Ok(tx.id_by_name(Kind::Group, name)?),
        }
    }
}

fn text(doc: &Map<String, Value>, attribute: &str) -> Option<String> {
    doc.get(attribute).and_then(Value::as_str).map(str::to_owned)
}

//! Writing: create, replace, patch, delete. Each runs inside the one write transaction, and whatever it tests
//! (the name is free, the version is the one named) still holds when it writes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::config::OnRecreate;
use crate::directory::parts::Parts;
use crate::directory::{Answer, Error, Options, bounds, catalog, read};
use crate::scim::patch::{self, Effort, MemberChange, PatchOperation};
use crate::scim::projection::{self, Projection};
use crate::scim::resource::{self, Draft};
use crate::scim::schema::{ResourceSchema, Schemas};
use crate::scim::{self, Kind, rules, version};
use crate::store::{self, Action, BadMember, MemberChanges, NewEvent, NewResource, Record, WriteTx};

/// A PATCH of a group with more members than this is answered 204, unless the request asks for attributes.
const MEMBERS_ANSWERED_MAX: u32 = 1_000;

/// How much of an id that does not exist is repeated to the client.
const ID_CHARS_SHOWN_MAX: usize = 64;

/// What all writes need to know.
pub(super) struct Write {
    pub(super) kind: Kind,
    pub(super) schemas: Arc<Schemas>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    /// As events tell it.
    pub(super) actor: String,
    pub(super) projection: Projection,
    pub(super) if_match: Option<String>,
    /// If-None-Match; of no use to a create.
    pub(super) if_none_match: Option<String>,
    pub(super) base_url: String,
    /// Whether the answer shows the resource; its status, address and version it always tells.
    pub(super) shows: bool,
}

/// What becomes of the password's hash: nothing, a new one, or it is taken away.
pub(super) type PasswordHash = Option<Option<String>>;

/// Whether a write has changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Something is otherwise than before, and an event tells of it.
    Some,
    /// All was so already.
    None,
}

impl Write {
    pub(super) fn schema(&self) -> &ResourceSchema {
        self.schemas.of(self.kind)
    }

    /// `POST /Users`.
    pub(super) fn create(
        &self,
        tx: &WriteTx<'_>,
        draft: Draft,
        password: PasswordHash,
    ) -> Result<Answer, Error> {
        if let Some(held) = tx.find_by_name(self.kind, self.name_in(&draft.doc))? {
            let comes_back =
                self.kind == Kind::User && !held.active && self.options.on_recreate == OnRecreate::Reactivate;
            return if comes_back {
                self.restore(tx, &held, draft, password)
            } else {
                Err(self.name_taken())
            };
        }
        let mut doc = self.with_active(draft.doc, true)?;
        if self.kind == Kind::User && is_active(&doc) {
            bounds::check_seat(tx, &self.options, "created")?;
        }
        self.hold_to_schema(tx, None, &mut doc)?;
        let members = draft.members.unwrap_or_default();
        let id = tx.new_id()?;
        let now_ms = self.clock.now_ms();
        let mut declared = MemberChanges::default();
        members.iter().for_each(|member| declared.note_added(&member.id, None));
        let text = self.text_of(&doc, 0)?;
        let changed = changed(doc.keys().map(String::as_str), &declared, password.is_some());
        let version = self.event(tx, now_ms, Action::Create, &id, &changed)?;
        let new = NewResource { kind: self.kind, id: &id, now_ms, version, doc: &doc, text: &text };
        let seq = tx.insert(&new)?;
        self.keep_unique(tx, seq, None, &doc)?;
        if self.kind == Kind::Group {
            let mut changes = MemberChanges::default();
            self.known(tx.add_members(seq, &members, &mut changes)?)?;
        }
        if let Some(hash) = password {
            tx.set_password_hash(seq, hash.as_deref())?;
        }
        self.show(tx, &id, 201, true)
    }

    /// A POST of an inactive user's userName: Okta does that when a person returns (better-auth #11111). The
    /// person comes back with id and memberships, and the attributes that were sent.
    fn restore(
        &self,
        tx: &WriteTx<'_>,
        held: &Record,
        draft: Draft,
        password: PasswordHash,
    ) -> Result<Answer, Error> {
        let doc = self.with_active(draft.doc, true)?;
        self.put(tx, held, doc, &MemberChanges::default(), password, Some(Action::Restore))?;
        self.show(tx, &held.id, 201, true)
    }

    /// `PUT /Users/{id}`.
    pub(super) fn replace(
        &self,
        tx: &WriteTx<'_>,
        id: &str,
        draft: Draft,
        password: PasswordHash,
    ) -> Result<Answer, Error> {
        let held = self.find(tx, id)?;
        // Okta's profile push never means to change `active` (okta.com, "Understanding SCIM"), so a body that
        // leaves it out leaves it as it is.
        let doc = self.with_active(draft.doc, held.active)?;
        let mut changes = MemberChanges::default();
        if self.kind == Kind::Group {
            let members = draft.members.unwrap_or_default();
            self.known(tx.replace_members(held.seq, &members, &mut changes)?)?;
        }
        self.put(tx, &held, doc, &changes, password, None)?;
        self.show(tx, id, 200, true)
    }

    /// `PATCH /Users/{id}`.
    pub(super) fn patch(
        &self,
        tx: &WriteTx<'_>,
        id: &str,
        operations: Vec<PatchOperation>,
        password: PasswordHash,
        effort: &mut Effort,
    ) -> Result<Answer, Error> {
        let held = self.find(tx, id)?;
        let bounds = self.options.filter_bounds();
        let patched =
            patch::apply(operations, parse_doc(&held)?, self.schema(), bounds, self.options.profile, effort)?;
        let schema = self.schema();
        let gave = !schema.shown_as_stored
            && rules::changes_what_is_on_request(&parse_doc(&held)?, &patched.doc, schema);
        let mut changes = MemberChanges::default();
        for change in &patched.members {
            tx.check_time()?;
            self.change_members(tx, held.seq, change, &mut changes)?;
        }
        self.put(tx, &held, patched.doc, &changes, password, None)?;
        let answers_members = self.shows && self.kind == Kind::Group && self.projection.shows("members");
        if answers_members
            && !self.projection.is_explicit()
            && tx.has_more_members_than(held.seq, MEMBERS_ANSWERED_MAX)?
        {
            let record = self.find_any(tx, id)?;
            let etag = Some(version::etag(record.version));
            return Ok(Answer { status: 204, body: None, location: None, etag });
        }
        self.show(tx, id, 200, gave)
    }

    /// `DELETE /Users/{id}`.
    pub(super) fn delete(&self, tx: &WriteTx<'_>, id: &str) -> Result<Answer, Error> {
        let held = self.find(tx, id)?;
        let now_ms = self.clock.now_ms();
        let changed = changed(std::iter::empty(), &MemberChanges::default(), false);
        let version = self.event(tx, now_ms, Action::Delete, id, &changed)?;
        tx.delete(&held, now_ms, version)?;
        Ok(Answer { status: 204, body: None, location: None, etag: None })
    }

    fn change_members(
        &self,
        tx: &WriteTx<'_>,
        group: i64,
        change: &MemberChange,
        changes: &mut MemberChanges,
    ) -> Result<(), Error> {
        match change {
            MemberChange::Add(members) => self.known(tx.add_members(group, members, changes)?),
            MemberChange::Replace(members) => self.known(tx.replace_members(group, members, changes)?),
            MemberChange::Remove(ids) => Ok(tx.remove_members(group, ids, changes)?),
            MemberChange::RemoveWhere(predicate) => {
                Ok(tx.remove_members_where(group, predicate, &self.base_url, changes)?)
            }
            MemberChange::Display(predicate, display) => {
                let chosen =
                    tx.rename_members_where(group, predicate, &self.base_url, display.as_deref(), changes)?;
                if chosen == 0 {
                    return Err(scim::Error::no_target("No member fulfils the filter of the path.").into());
                }
                Ok(())
            }
        }
    }

    /// Puts a new document and changed members in place, with their event; does nothing where nothing changes.
    pub(super) fn put(
        &self,
        tx: &WriteTx<'_>,
        held: &Record,
        mut doc: Map<String, Value>,
        members: &MemberChanges,
        password: PasswordHash,
        action: Option<Action>,
    ) -> Result<Change, Error> {
        let name = self.name_in(&doc);
        if tx.find_by_name(self.kind, name)?.is_some_and(|other| other.seq != held.seq) {
            return Err(self.name_taken());
        }
        let before = parse_doc(held)?;
        self.hold_to_schema(tx, Some(&before), &mut doc)?;
        let doc_changed = before != doc;
        if !doc_changed && members.is_empty() && password.is_none() {
            return Ok(Change::None);
        }
        let text = if doc_changed { Some(self.text_of(&doc, held.doc.len())?) } else { None };
        let attributes = differences(&before, &doc);
        let changed = changed(attributes.into_iter(), members, password.is_some());
        let is_active = is_active(&doc);
        if self.kind == Kind::User && is_active && !held.active {
            bounds::check_seat(tx, &self.options, "activated")?;
        }
        let action = action.unwrap_or(match (held.active, is_active) {
            (true, false) if self.kind == Kind::User => Action::Deactivate,
            (false, true) if self.kind == Kind::User => Action::Activate,
            _ => Action::Update,
        });
        let now_ms = self.clock.now_ms();
        let version = self.event(tx, now_ms, action, &held.id, &changed)?;
        if let Some(text) = text {
            tx.update(held, &before, &doc, &text, now_ms, version)?;
            self.keep_unique(tx, held.seq, Some(&before), &doc)?;
        } else {
            tx.touch(held.seq, now_ms, version)?;
        }
        if let Some(hash) = password {
            tx.set_password_hash(held.seq, hash.as_deref())?;
        }
        Ok(Change::Some)
    }

    /// Holds a document to what the schema asks of it as a whole, and of the change from what is stored.
    fn hold_to_schema(
        &self,
        tx: &WriteTx<'_>,
        held: Option<&Map<String, Value>>,
        doc: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let schema = self.schema();
        rules::check_required(doc, held, schema)?;
        if let Some(held) = held {
            // A PATCH that takes something away was refused before.
            if rules::keep_immutable(held, doc, schema, rules::Missing::Stays)? {
                resource::finish(doc, schema)?;
            }
        }
        catalog::check_given(tx, &self.schemas, &self.options, held, doc)
    }

    /// Keeps the values that one resource of the kind may have.
    fn keep_unique(
        &self,
        tx: &WriteTx<'_>,
        seq: i64,
        held: Option<&Map<String, Value>>,
        doc: &Map<String, Value>,
    ) -> Result<(), Error> {
        let unique = &self.schema().unique;
        tx.keep_unique_attributes(self.kind, unique)?;
        for change in rules::unique_changes(held, doc, unique) {
            if !tx.set_unique_value(self.kind, seq, &change)? {
                let (noun, name) = (self.kind.noun(), change.name);
                return Err(
                    scim::Error::uniqueness(format!("A {noun} with this {name} already exists.")).into()
                );
            }
        }
        Ok(())
    }

    fn event(
        &self,
        tx: &WriteTx<'_>,
        at_ms: i64,
        action: Action,
        resource_id: &str,
        changed: &Value,
    ) -> Result<i64, Error> {
        let event = NewEvent { at_ms, actor: &self.actor, action, kind: self.kind, resource_id, changed };
        Ok(tx.event(&event)?)
    }

    /// A user's document always says whether the person may log in.
    pub(super) fn with_active(
        &self,
        mut doc: Map<String, Value>,
        unless_said: bool,
    ) -> Result<Map<String, Value>, Error> {
        if self.kind == Kind::User && !doc.contains_key("active") {
            doc.insert("active".to_owned(), Value::Bool(unless_said));
            resource::finish(&mut doc, self.schema())?;
        }
        Ok(doc)
    }

    fn name_in<'a>(&self, doc: &'a Map<String, Value>) -> &'a str {
        doc.get(self.kind.name_attribute()).and_then(Value::as_str).unwrap_or_default()
    }

    fn name_taken(&self) -> Error {
        let (noun, attribute) = (self.kind.noun(), self.kind.name_attribute());
        scim::Error::uniqueness(format!("A {noun} with this {attribute} already exists.")).into()
    }

    pub(super) fn known(&self, outcome: Result<(), BadMember>) -> Result<(), Error> {
        outcome.map_err(|bad| match bad {
            BadMember::Unknown(id) => {
                let shown: String = id.chars().filter(|c| !c.is_control()).take(ID_CHARS_SHOWN_MAX).collect();
                scim::Error::invalid_value(format!(
                    "The member {shown} does not exist in this tenant, so nothing was changed; push the person first, then the group again."
                ))
                .into()
            }
            BadMember::Itself => scim::Error::invalid_value(
                "A group cannot be a member of itself, so nothing was changed; take it out of its own members.",
            )
            .into(),
        })
    }

    /// The document as it is stored. One that is too large may still become smaller: nothing must keep a person
    /// from being deactivated.
    fn text_of(&self, doc: &Map<String, Value>, bytes_before: usize) -> Result<String, Error> {
        // A map of strings to JSON values always has a JSON text.
        let text = serde_json::to_string(doc).unwrap_or_default();
        let bytes_max = self.options.limits.resource_bytes_max;
        if text.len() > bytes_max.max(bytes_before) {
            return Err(scim::Error::resource_too_large(self.kind, bytes_max).into());
        }
        Ok(text)
    }

    /// The resource, when its version is one that If-Match names and none that If-None-Match does.
    fn find(&self, tx: &WriteTx<'_>, id: &str) -> Result<Record, Error> {
        let record = self.find_any(tx, id)?;
        version::check_if_match(self.if_match.as_deref(), record.version)?;
        version::check_if_none_match(self.if_none_match.as_deref(), record.version)?;
        Ok(record)
    }

    fn find_any(&self, tx: &WriteTx<'_>, id: &str) -> Result<Record, Error> {
        tx.find(self.kind, id)?.ok_or_else(|| read::unknown(self.kind).into())
    }

    /// The answer that shows the resource; `gave` tells whether the request gave what is returned on request only.
    fn show(&self, tx: &WriteTx<'_>, id: &str, status: u16, gave: bool) -> Result<Answer, Error> {
        let record = self.find_any(tx, id)?;
        if !self.shows {
            let location = Some(projection::location(&self.base_url, self.kind, id));
            return Ok(Answer { status, body: None, location, etag: Some(version::etag(record.version)) });
        }
        let after_write = gave && !self.schema().shown_as_stored;
        let after_write = after_write.then(|| self.projection.clone().after_write());
        let projection = after_write.as_ref().unwrap_or(&self.projection);
        let show = read::Show { tx, schemas: &self.schemas, projection, base_url: &self.base_url };
        show.answer(&record.seen(), status, &mut Parts::kept())
    }
}

pub(super) fn parse_doc(record: &Record) -> Result<Map<String, Value>, Error> {
    match serde_json::from_str(&record.doc) {
        Ok(Value::Object(doc)) => Ok(doc),
        _ => Err(store::Error::Corrupt("a resource's document is no JSON object".to_owned()).into()),
    }
}

fn is_active(doc: &Map<String, Value>) -> bool {
    doc.get("active") == Some(&Value::Bool(true))
}

/// The attributes that are in one document and not, or not so, in the other.
fn differences<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> Vec<&'a str> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let new = after.iter().filter(|(key, value)| before.get(*key) != Some(value)).map(|(key, _)| key);
    gone.chain(new).map(String::as_str).collect()
}

/// What an event says of a change: names, never values.
fn changed<'a>(attributes: impl Iterator<Item = &'a str>, members: &MemberChanges, password: bool) -> Value {
    let mut names: Vec<&str> = attributes.filter(|name| *name != "schemas").collect();
    if password {
        names.push("password");
    }
    let mut changed = json!({ "attributes": names });
    if !members.is_empty() {
        changed["members"] = members.to_json();
    }
    changed
}

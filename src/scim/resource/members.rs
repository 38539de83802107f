//! The members of a group as a client names them, read one by one: there may be a hundred thousand of them. Who they
//! are, and whether they are there, is for the store.

use serde_json::{Map, Value};

use crate::scim::resource::check_text;
use crate::scim::{Error, Profile, quirks};

/// A member as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRef {
    /// The id of a user or group.
    pub id: String,
    /// The name the client gave it.
    pub display: Option<String>,
}

/// Reads a list of members, one member, or nothing. A member is `{"value": id}`, `{"$ref": address}` or a plain id;
/// what has an empty value is passed over, and a member that is there twice counts once.
///
/// # Errors
/// 400 `invalidValue` when an element is none of these: a list that was meant to name people must not empty a
/// group.
pub fn members_from(value: Value, profile: Profile) -> Result<Vec<MemberRef>, Error> {
    let mut list = MemberList::new(profile);
    list.take_all(value);
    list.finish()
}

/// Members as they are read, one by one.
pub(super) struct MemberList {
    members: Vec<MemberRef>,
    /// What was wrong first; what comes after it is not looked at.
    fault: Option<Error>,
    pub(super) profile: Profile,
}

impl MemberList {
    pub(super) fn new(profile: Profile) -> MemberList {
        MemberList { members: Vec::new(), fault: None, profile }
    }

    /// Takes a list of members, one member, or nothing.
    pub(super) fn take_all(&mut self, value: Value) {
        match value {
            Value::Array(elements) => elements.into_iter().for_each(|element| self.take(element)),
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            one => self.take(one),
        }
    }

    /// Takes an element of a list.
    pub(super) fn take(&mut self, element: Value) {
        if self.fault.is_some() {
            return;
        }
        let member = match element {
            Value::Null => return,
            Value::String(id) if quirks::takes_plain_values(self.profile) => {
                Ok(Some(MemberRef { id, display: None }))
            }
            Value::Object(object) => member_from(object),
            _ => {
                Err(Error::invalid_value("Each of members must be an object with the member's id as value."))
            }
        };
        match member {
            Ok(member) => self.members.extend(member.filter(|member| !member.id.is_empty())),
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Each member once, where it was named first.
    pub(super) fn finish(self) -> Result<Vec<MemberRef>, Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut members = self.members;
        // By places, since a set of the ids would be as large as the members themselves.
        let mut places: Vec<usize> = (0..members.len()).collect();
        places.sort_by(|a, b| members[*a].id.cmp(&members[*b].id));
        let mut again = vec![false; members.len()];
        for pair in places.windows(2) {
            again[pair[1]] = members[pair[0]].id == members[pair[1]].id;
        }
        let mut again = again.into_iter();
        members.retain(|_| !again.next().unwrap_or_default());
        Ok(members)
    }
}

fn member_from(object: Map<String, Value>) -> Result<Option<MemberRef>, Error> {
    let (mut id, mut address, mut display) = (None, None, None);
    let says_something = object.values().any(|value| !value.is_null());
    let has_value = object.keys().any(|key| key.eq_ignore_ascii_case("value"));
    for (key, value) in object {
        match value {
            Value::String(text) if key.eq_ignore_ascii_case("$ref") => address = Some(text),
            Value::String(text) if key.eq_ignore_ascii_case("value") => {
                check_text(&text, "members.value")?;
                id = Some(text);
            }
            Value::String(text) if key.eq_ignore_ascii_case("display") => {
                check_text(&text, "members.display")?;
                display = (!text.is_empty()).then_some(text);
            }
            Value::Null => {}
            _ if key.eq_ignore_ascii_case("value") => {
                return Err(Error::invalid_value("members.value must be a string."));
            }
            _ => {}
        }
    }
    let in_address = || address?.rsplit('/').next().map(str::to_owned);
    let id = if has_value { id } else { in_address() };
    if id.is_none() && says_something && !has_value {
        return Err(Error::invalid_value("Each of members must have the member's id as value."));
    }
    Ok(id.map(|id| MemberRef { id, display }))
}

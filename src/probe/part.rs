//! Which steps there are, what Okta does in each, and which of them need which. Pure.

use crate::probe::Style;

/// The steps in their order, with what Okta does in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    BaseUrl,
    Connect,
    TestUsers,
    TestGroups,
    WrongToken,
    LookUp,
    Create,
    CreateAgain,
    Import,
    Update,
    Deactivate,
    FindInactive,
    Reactivate,
    GroupCreate,
    GroupRename,
    GroupAdd,
    GroupRemove,
    GroupPush,
    GroupDelete,
}

/// Test API Credentials alone.
pub(super) const READ_ONLY: &[Part] =
    &[Part::BaseUrl, Part::Connect, Part::TestUsers, Part::TestGroups, Part::WrongToken];

/// Everything.
pub(super) const WHOLE: &[Part] = &[
    Part::BaseUrl,
    Part::Connect,
    Part::TestUsers,
    Part::TestGroups,
    Part::WrongToken,
    Part::LookUp,
    Part::Create,
    Part::CreateAgain,
    Part::Import,
    Part::Update,
    Part::Deactivate,
    Part::FindInactive,
    Part::Reactivate,
    Part::GroupCreate,
    Part::GroupRename,
    Part::GroupAdd,
    Part::GroupRemove,
    Part::GroupPush,
    Part::GroupDelete,
];

impl Part {
    /// What the step is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::BaseUrl => "base-url",
            Part::Connect => "connect",
            Part::TestUsers => "test-users",
            Part::TestGroups => "test-groups",
            Part::WrongToken => "wrong-token",
            Part::LookUp => "look-up",
            Part::Create => "create",
            Part::CreateAgain => "create-again",
            Part::Import => "import",
            Part::Update => "update",
            Part::Deactivate => "deactivate",
            Part::FindInactive => "find-inactive",
            Part::Reactivate => "reactivate",
            Part::GroupCreate => "group-create",
            Part::GroupRename => "group-rename",
            Part::GroupAdd => "group-add",
            Part::GroupRemove => "group-remove",
            Part::GroupPush => "group-push",
            Part::GroupDelete => "group-delete",
        }
    }

    /// What Okta does then.
    pub(super) fn okta(self, style: Style) -> &'static str {
        let wizard = style == Style::Wizard;
        match self {
            Part::BaseUrl => "takes the Base URL",
            Part::Connect => "finds the name, connects, checks the certificate",
            Part::TestUsers => "Test API Credentials: GET /Users, two of them",
            Part::TestGroups => "Test API Credentials with Import Groups: GET /Groups",
            Part::WrongToken => "nothing; a wrong token must be refused",
            Part::LookUp => "a person is assigned: GET /Users by userName",
            Part::Create => "POST /Users, for two people",
            Part::CreateAgain => "nothing; a second POST of a userName must be 409",
            Part::Import => "Import Now: GET /Users, page by page",
            Part::Update => "a profile changes: GET and PUT /Users/{id}",
            Part::Deactivate if wizard => "a person is unassigned: GET and PUT, active false",
            Part::Deactivate => "a person is unassigned: PATCH, active false",
            Part::FindInactive => "the person is assigned again: GET by userName",
            Part::Reactivate if wizard => "GET and PUT, active true",
            Part::Reactivate => "PATCH, active true; GET and PUT",
            Part::GroupCreate => "a group is pushed: GET by displayName, POST /Groups",
            Part::GroupRename if wizard => "the group is renamed: GET and PUT /Groups/{id}",
            Part::GroupRename => "the group is renamed: GET and PATCH /Groups/{id}",
            Part::GroupAdd if wizard => "a member comes: GET and PUT",
            Part::GroupAdd => "a member comes: PATCH, add",
            Part::GroupRemove if wizard => "a member goes: GET and PUT",
            Part::GroupRemove => "a member goes: PATCH, remove",
            Part::GroupPush if wizard => "Push Now: GET and PUT, all members, then none",
            Part::GroupPush => "Push Now: PATCH, replace all members, then by none",
            Part::GroupDelete => "the pushed group is deleted: GET and DELETE",
        }
    }

    /// The step without which this one makes no sense.
    pub(super) fn needs(self) -> Option<Part> {
        match self {
            Part::BaseUrl | Part::Connect => None,
            Part::TestUsers => Some(Part::Connect),
            Part::TestGroups | Part::WrongToken | Part::LookUp => Some(Part::TestUsers),
            Part::Create => Some(Part::LookUp),
            Part::CreateAgain | Part::Import | Part::Update | Part::Deactivate | Part::GroupCreate => {
                Some(Part::Create)
            }
            Part::FindInactive | Part::Reactivate => Some(Part::Deactivate),
            Part::GroupRename | Part::GroupAdd | Part::GroupPush | Part::GroupDelete => {
                Some(Part::GroupCreate)
            }
            Part::GroupRemove => Some(Part::GroupAdd),
        }
    }
}

//! SCIM 2.0 (RFC 7643 and RFC 7644) as pure functions from values to values.
//!
//! Same input, same output: no I/O, no clock, no randomness, no logging, no async. What a request means and
//! what is answered to it is decided here; that it is stored, and who may ask, is decided elsewhere.

pub mod bulk;
pub mod catalog;
pub mod cursor;
pub mod datetime;
pub mod endpoint;
pub mod error;
pub mod filter;
pub mod fold;
pub mod matching;
pub mod message;
pub mod patch;
pub mod path;
pub mod plain;
pub mod predicate;
pub mod projection;
pub mod query;
pub mod quirks;
pub mod resource;
pub mod route;
pub mod rules;
pub mod schema;
pub mod sort;
pub mod version;

pub use error::{Error, ScimType, Supported};
pub use quirks::Profile;

/// Which kind of resource is meant. Users and Groups share one code path, told apart by this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/Users`, RFC 7643 §4.1.
    User,
    /// `/Groups`, RFC 7643 §4.2.
    Group,
}

impl Kind {
    /// Every kind, in the order in which `/ResourceTypes` lists them.
    pub const ALL: [Kind; 2] = [Kind::User, Kind::Group];

    /// The resource type's name: `User` or `Group`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "User",
            Kind::Group => "Group",
        }
    }

    /// The path segment below the base URL: `Users` or `Groups`.
    pub fn endpoint(self) -> &'static str {
        match self {
            Kind::User => "Users",
            Kind::Group => "Groups",
        }
    }

    /// The attribute that is unique within the kind, ignoring case: `userName` or `displayName`.
    pub fn name_attribute(self) -> &'static str {
        match self {
            Kind::User => "userName",
            Kind::Group => "displayName",
        }
    }

    /// The URN of the kind's core schema.
    pub fn schema_id(self) -> &'static str {
        match self {
            Kind::User => schema::USER,
            Kind::Group => schema::GROUP,
        }
    }

    /// The kind as a lower-case noun for sentences that people read.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Group => "group",
        }
    }
}

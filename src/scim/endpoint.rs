//! What a method and a path ask for (RFC 7644 §3.2, table 2). 404 and 405 are decided here, and nowhere else.

use std::borrow::Cow;

use crate::scim::catalog::Catalog;
use crate::scim::route::Route;
use crate::scim::{Error, Kind};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET /ServiceProviderConfig`, RFC 7644 §4.
    ServiceProviderConfig,
    /// `GET /ResourceTypes`.
    ResourceTypes,
    /// `GET /ResourceTypes/{name}`.
    ResourceType(String),
    /// `GET /Schemas`.
    Schemas,
    /// `GET /Schemas/{urn}`.
    Schema(String),
    /// `GET /Users`, RFC 7644 §3.4.2.
    List(Kind),
    /// `GET /`: resources of every kind, RFC 7644 §3.4.2.1.
    ListAll,
    /// `POST /Users/.search`, RFC 7644 §3.4.3.
    Search(Kind),
    /// `POST /.search`: resources of every kind.
    SearchAll,
    /// `POST /Users`, RFC 7644 §3.3.
    Create(Kind),
    /// `GET /Users/{id}`, RFC 7644 §3.4.1.
    Read(Kind, String),
    /// `PUT /Users/{id}`, RFC 7644 §3.5.1.
    Replace(Kind, String),
    /// `PATCH /Users/{id}`, RFC 7644 §3.5.2.
    Patch(Kind, String),
    /// `DELETE /Users/{id}`, RFC 7644 §3.6.
    Delete(Kind, String),
    /// `POST /Bulk`, RFC 7644 §3.7.
    Bulk,
    /// `/Me`, RFC 7644 §3.11: of which user only the caller's token tells; see [`Operation::of_user`].
    Me(OnMe),
    /// `POST /Licenses/.search`: the entries of a tenant's catalog, by its endpoint.
    SearchEntries(String),
    /// `GET /Licenses`: the entries of a tenant's catalog, by its endpoint.
    ListEntries(String),
    /// `GET /Licenses/{id}`.
    ReadEntry(String, String),
}

/// What is asked for at `/Me`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMe {
    /// `GET`
    Read,
    /// `POST`
    Create,
    /// `PUT`
    Replace,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

const COLLECTION_ALLOW: &str = "GET, HEAD, POST, OPTIONS";
const RESOURCE_ALLOW: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";
const READ_ALLOW: &str = "GET, HEAD, OPTIONS";
/// Of bulk requests and searches.
const POST_ALLOW: &str = "POST, OPTIONS";

impl Operation {
    /// Reads a method and the percent-encoded path below the tenant (`/Users/2819`); empty segments, which a
    /// base URL with a trailing slash leads to, are skipped. HEAD asks for what GET asks for.
    ///
    /// OPTIONS is no operation: the refusal names the methods that it asks for.
    ///
    /// # Errors
    /// 404 when there is nothing at the address, 405 when it does not take the method, 501 for what RFC 7644
    /// leaves to the server and this one does not offer.
    pub fn resolve(method: &str, path: &str) -> Result<Operation, Error> {
        // Nothing is further down than two.
        let mut segments = [Cow::Borrowed(""), Cow::Borrowed("")];
        let mut count = 0;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            *segments.get_mut(count).ok_or_else(nothing_here)? = decode(segment).ok_or_else(nothing_here)?;
            count += 1;
        }
        let segments = [&*segments[0], &*segments[1]];
        let method = if method == "HEAD" { "GET" } else { method };
        match (method, &segments[..count]) {
            ("GET", ["ServiceProviderConfig"]) => Ok(Operation::ServiceProviderConfig),
            ("GET", ["ResourceTypes"]) => Ok(Operation::ResourceTypes),
            ("GET", ["ResourceTypes", name]) => Ok(Operation::ResourceType((*name).to_owned())),
            ("GET", ["Schemas"]) => Ok(Operation::Schemas),
            ("GET", ["Schemas", urn]) => Ok(Operation::Schema((*urn).to_owned())),
            (
                _,
                ["ServiceProviderConfig"] | ["ResourceTypes" | "Schemas"] | ["ResourceTypes" | "Schemas", _],
            ) => Err(Error::method_not_allowed(method, READ_ALLOW)),
            (_, ["Me"]) => Operation::on_me(method),
            ("POST", ["Bulk"]) => Ok(Operation::Bulk),
            (_, ["Bulk"]) => Err(Error::method_not_allowed(method, POST_ALLOW)),
            ("GET", []) => Ok(Operation::ListAll),
            (_, []) => Err(Error::method_not_allowed(method, READ_ALLOW)),
            ("POST", [".search"]) => Ok(Operation::SearchAll),
            ("POST", [plural, ".search"]) => Ok(Operation::Search(kind(plural)?)),
            (_, [".search"] | ["Users" | "Groups", ".search"]) => {
                Err(Error::method_not_allowed(method, POST_ALLOW))
            }
            (_, [plural]) => Operation::on_collection(method, kind(plural)?),
            (_, [plural, id]) => Operation::on_resource(method, kind(plural)?, (*id).to_owned()),
            _ => Err(nothing_here()),
        }
    }

    /// As [`Operation::resolve`], for a tenant that has catalogs of entitlements or roles. They are read only: what
    /// there is to give is the application's to say.
    ///
    /// # Errors
    /// As [`Operation::resolve`].
    pub fn resolve_with(method: &str, path: &str, catalogs: &[Catalog]) -> Result<Operation, Error> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let catalog = segments.next().and_then(|first| catalogs.iter().find(|known| known.endpoint == first));
        let Some(catalog) = catalog else { return Operation::resolve(method, path) };
        let endpoint = catalog.endpoint.clone();
        let operation = match (segments.next(), segments.next()) {
            (None, _) => Operation::ListEntries(endpoint),
            (Some(".search"), None) if method == "POST" => return Ok(Operation::SearchEntries(endpoint)),
            (Some(".search"), None) => return Err(Error::method_not_allowed(method, POST_ALLOW)),
            (Some(id), None) => {
                Operation::ReadEntry(endpoint, decode(id).ok_or_else(nothing_here)?.into_owned())
            }
            (Some(_), Some(_)) => return Err(nothing_here()),
        };
        match method {
            "GET" | "HEAD" => Ok(operation),
            _ => Err(Error::method_not_allowed(method, READ_ALLOW)),
        }
    }

    fn on_me(method: &str) -> Result<Operation, Error> {
        Ok(Operation::Me(match method {
            "GET" => OnMe::Read,
            "POST" => OnMe::Create,
            "PUT" => OnMe::Replace,
            "PATCH" => OnMe::Patch,
            "DELETE" => OnMe::Delete,
            _ => return Err(Error::method_not_allowed(method, RESOURCE_ALLOW)),
        }))
    }

    /// The operation for a caller whose token stands for the user with this id, or for none: `/Me` becomes the user.
    ///
    /// # Errors
    /// At `/Me`, 501 for a token that stands for none, and 403 for a POST of one that does: its user is there.
    pub fn of_user(self, id: Option<&str>) -> Result<Operation, Error> {
        let Operation::Me(on_me) = self else { return Ok(self) };
        let Some(id) = id else {
            return Err(Error::not_implemented(
                "This API token stands for no user, so there is no /Me; address the user as /Users/{id}.",
            ));
        };
        let id = id.to_owned();
        match on_me {
            OnMe::Read => Ok(Operation::Read(Kind::User, id)),
            OnMe::Replace => Ok(Operation::Replace(Kind::User, id)),
            OnMe::Patch => Ok(Operation::Patch(Kind::User, id)),
            OnMe::Delete => Ok(Operation::Delete(Kind::User, id)),
            OnMe::Create => Err(Error::forbidden(
                "This API token stands for one user already; create others by POST to /Users.",
            )),
        }
    }

    fn on_collection(method: &str, kind: Kind) -> Result<Operation, Error> {
        match method {
            "GET" => Ok(Operation::List(kind)),
            "POST" => Ok(Operation::Create(kind)),
            _ => Err(Error::method_not_allowed(method, COLLECTION_ALLOW)),
        }
    }

    fn on_resource(method: &str, kind: Kind, id: String) -> Result<Operation, Error> {
        match method {
            "GET" => Ok(Operation::Read(kind, id)),
            "PUT" => Ok(Operation::Replace(kind, id)),
            "PATCH" => Ok(Operation::Patch(kind, id)),
            "DELETE" => Ok(Operation::Delete(kind, id)),
            _ => Err(Error::method_not_allowed(method, RESOURCE_ALLOW)),
        }
    }

    /// Whether a read-only token is refused.
    pub fn is_write(&self) -> bool {
        match self {
            Operation::Create(_)
            | Operation::Replace(..)
            | Operation::Patch(..)
            | Operation::Delete(..)
            | Operation::Bulk => true,
            Operation::Me(on_me) => *on_me != OnMe::Read,
            Operation::ServiceProviderConfig
            | Operation::ResourceTypes
            | Operation::ResourceType(_)
            | Operation::Schemas
            | Operation::Schema(_)
            | Operation::List(_)
            | Operation::ListAll
            | Operation::Search(_)
            | Operation::SearchAll
            | Operation::Read(..)
            | Operation::SearchEntries(_)
            | Operation::ListEntries(_)
            | Operation::ReadEntry(..) => false,
        }
    }

    /// Whether it tells of the server itself and not of its users and groups (RFC 7644 §4).
    pub fn is_discovery(&self) -> bool {
        match self {
            Operation::ServiceProviderConfig
            | Operation::ResourceTypes
            | Operation::ResourceType(_)
            | Operation::Schemas
            | Operation::Schema(_) => true,
            Operation::List(_)
            | Operation::ListAll
            | Operation::Search(_)
            | Operation::SearchAll
            | Operation::Create(_)
            | Operation::Read(..)
            | Operation::Replace(..)
            | Operation::Patch(..)
            | Operation::Delete(..)
            | Operation::SearchEntries(_)
            | Operation::ListEntries(_)
            | Operation::ReadEntry(..)
            | Operation::Me(_)
            | Operation::Bulk => false,
        }
    }

    /// Whether the request carries a body.
    pub fn has_body(&self) -> bool {
        match self {
            Operation::Search(_) | Operation::SearchAll | Operation::SearchEntries(_) => true,
            Operation::Delete(..) | Operation::Me(OnMe::Delete) => false,
            _ => self.is_write(),
        }
    }

    /// What is asked for, without which one: for logs and metrics.
    pub fn route(&self) -> Route {
        match self {
            Operation::ServiceProviderConfig => Route::ServiceProviderConfig,
            Operation::ResourceTypes | Operation::ResourceType(_) => Route::ResourceTypes,
            Operation::Schemas | Operation::Schema(_) => Route::Schemas,
            Operation::List(Kind::User) => Route::ListUsers,
            Operation::List(Kind::Group) => Route::ListGroups,
            Operation::SearchEntries(_) => Route::SearchEntries,
            Operation::ListAll => Route::ListAll,
            Operation::Search(Kind::User) => Route::SearchUsers,
            Operation::Search(Kind::Group) => Route::SearchGroups,
            Operation::SearchAll => Route::SearchAll,
            Operation::Create(Kind::User) => Route::CreateUser,
            Operation::Create(Kind::Group) => Route::CreateGroup,
            Operation::Read(Kind::User, _) => Route::ReadUser,
            Operation::Read(Kind::Group, _) => Route::ReadGroup,
            Operation::Replace(Kind::User, _) => Route::ReplaceUser,
            Operation::Replace(Kind::Group, _) => Route::ReplaceGroup,
            Operation::Patch(Kind::User, _) => Route::PatchUser,
            Operation::Patch(Kind::Group, _) => Route::PatchGroup,
            Operation::Delete(Kind::User, _) => Route::DeleteUser,
            Operation::Delete(Kind::Group, _) => Route::DeleteGroup,
            Operation::Bulk => Route::Bulk,
            Operation::Me(_) => Route::Me,
            Operation::ListEntries(_) => Route::ListEntries,
            Operation::ReadEntry(..) => Route::ReadEntry,
        }
    }
}

fn kind(plural: &str) -> Result<Kind, Error> {
    Kind::ALL.into_iter().find(|kind| kind.endpoint() == plural).ok_or_else(nothing_here)
}

fn nothing_here() -> Error {
    Error::not_found(
        "There is nothing at this address; Users, Groups, ServiceProviderConfig, ResourceTypes and Schemas are below the Base URL.",
    )
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_asks_for_one_thing() {
        let cases = [
            ("GET", "/Users", Operation::List(Kind::User)),
            ("HEAD", "/Users/", Operation::List(Kind::User)),
            ("POST", "//Groups", Operation::Create(Kind::Group)),
            ("GET", "/Users/a%20b", Operation::Read(Kind::User, "a b".into())),
            ("PUT", "/Groups/1", Operation::Replace(Kind::Group, "1".into())),
            ("PATCH", "/Users/1/", Operation::Patch(Kind::User, "1".into())),
            ("DELETE", "/Users/1", Operation::Delete(Kind::User, "1".into())),
            ("GET", "/Schemas/urn:x", Operation::Schema("urn:x".into())),
            ("GET", "/ResourceTypes/User", Operation::ResourceType("User".into())),
            ("GET", "/ServiceProviderConfig", Operation::ServiceProviderConfig),
            ("GET", "", Operation::ListAll),
            ("HEAD", "/", Operation::ListAll),
            ("POST", "/.search", Operation::SearchAll),
            ("POST", "/Users/.search", Operation::Search(Kind::User)),
            ("POST", "/Groups/.search/", Operation::Search(Kind::Group)),
        ];
        for (method, path, expected) in cases {
            assert_eq!(Operation::resolve(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_is_404_and_a_wrong_method_405_with_allow() {
        for path in ["/users", "/Widgets/.search", "/Users/1/2", "/Widgets", "/Users/%ff"] {
            assert_eq!(Operation::resolve("GET", path).unwrap_err().status, 404, "{path}");
        }
        let refused = Operation::resolve("DELETE", "/Users").unwrap_err();
        assert_eq!((refused.status, refused.allow), (405, Some("GET, HEAD, POST, OPTIONS")));
        assert_eq!(Operation::resolve("POST", "/Schemas").unwrap_err().status, 405);
        for (method, path, allow) in [
            ("GET", "/.search", POST_ALLOW),
            ("DELETE", "/Groups/.search", POST_ALLOW),
            ("POST", "/", READ_ALLOW),
        ] {
            let refused = Operation::resolve(method, path).unwrap_err();
            assert_eq!((refused.status, refused.allow), (405, Some(allow)), "{method} {path}");
        }
        let search = Operation::SearchAll;
        assert!(search.has_body() && !search.is_write() && !search.is_discovery());
        assert_eq!(Operation::resolve("POST", "/Bulk"), Ok(Operation::Bulk));
    }

    #[test]
    fn me_is_the_user_that_the_token_stands_for_or_is_not_implemented() {
        let me = |method: &str| Operation::resolve(method, "/Me").unwrap();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(me(method).of_user(None).unwrap_err().status, 501, "{method}");
        }
        let own = |method: &str| me(method).of_user(Some("7"));
        assert_eq!(own("HEAD"), Ok(Operation::Read(Kind::User, "7".into())));
        assert_eq!(own("PUT"), Ok(Operation::Replace(Kind::User, "7".into())));
        assert_eq!(own("PATCH"), Ok(Operation::Patch(Kind::User, "7".into())));
        assert_eq!(own("DELETE"), Ok(Operation::Delete(Kind::User, "7".into())));
        assert_eq!(own("POST").unwrap_err().status, 403);
        assert_eq!(Operation::resolve("TRACE", "/Me").unwrap_err().status, 405);
        assert_eq!(Operation::resolve("GET", "/Me/1").unwrap_err().status, 404);
        let list = Operation::List(Kind::User);
        assert_eq!(list.clone().of_user(Some("7")), Ok(list));
        for (method, writes, has_body) in
            [("GET", false, false), ("PUT", true, true), ("DELETE", true, false)]
        {
            assert_eq!((me(method).is_write(), me(method).has_body()), (writes, has_body), "{method}");
        }
    }
}

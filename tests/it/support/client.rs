//! A SCIM client that sends what Okta's sends, and checks of every answer what must hold of every answer.

use std::io::Read;
use std::ops::Index;
use std::sync::LazyLock;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

pub(crate) const ERROR_URN: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
pub(crate) const LIST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// Below what the server keeps an idle connection, so that none is used that it is just closing.
const IDLE: Duration = Duration::from_secs(20);

static HTTP: LazyLock<reqwest::blocking::Client> = LazyLock::new(|| {
    crate::support::http()
        .pool_idle_timeout(IDLE)
        .timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
});

/// A client of one tenant.
#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    authorization: Option<String>,
}

impl Client {
    pub(crate) fn new(base: String, authorization: Option<&str>) -> Client {
        Client { base, authorization: authorization.map(str::to_owned) }
    }

    /// The same tenant with another Authorization header.
    pub(crate) fn authorized(&self, authorization: &str) -> Client {
        Client::new(self.base.clone(), Some(authorization))
    }

    /// The same token with another Base URL, such as one with a slash at its end.
    pub(crate) fn at(&self, base: String) -> Client {
        Client { base, authorization: self.authorization.clone() }
    }

    /// The tenant's Base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(&body))
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(&body))
    }

    pub(crate) fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(&body))
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None)
    }

    /// Makes a resource and returns it.
    pub(crate) fn create(&self, path: &str, body: Value) -> Reply {
        self.post(path, body).expect(201)
    }

    /// The resources that a filter selects, of any number up to a page.
    pub(crate) fn find(&self, path: &str, filter: &str) -> Vec<Value> {
        let reply = self.get(&format!("{path}?filter={}&count=1000", encode(filter))).expect(200);
        assert_eq!(reply["totalResults"], reply.resources().len(), "{filter}");
        reply.resources().to_vec()
    }

    /// A POST to a server that may die at any moment: the status, if an answer came.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Option<u16> {
        let mut headers = okta_headers(true);
        headers.insert("authorization", HeaderValue::from_str(self.authorization.as_deref()?).unwrap());
        let request = HTTP.post(format!("{}{path}", self.base)).headers(headers).body(body.to_string());
        request.send().ok().map(|response| response.status().as_u16())
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        self.send_with(method, path, body.map(|body| body.to_string().into_bytes()), &[])
    }

    /// Sends any body with Okta's headers, of which `headers` replace or add; an empty value leaves one out.
    pub(crate) fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut all = okta_headers(body.is_some());
        if let Some(authorization) = &self.authorization {
            all.insert("authorization", HeaderValue::from_str(authorization).unwrap());
        }
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            match *value {
                "" => all.remove(name),
                value => all.insert(name, HeaderValue::from_str(value).unwrap()),
            };
        }
        let mut request = HTTP.request(method.clone(), format!("{}{path}", self.base)).headers(all);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().unwrap().to_vec();
        Reply::checked(&method, path, status, headers, body)
    }
}

/// The headers of a request as captured from a tenant of Okta (okta.md §1).
fn okta_headers(has_body: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("application/scim+json"));
    headers.insert("accept-charset", HeaderValue::from_static("utf-8"));
    headers.insert("user-agent", HeaderValue::from_static("Okta SCIM Client 1.0.0"));
    headers.insert("accept-encoding", HeaderValue::from_static("gzip,deflate"));
    if has_body {
        headers.insert("content-type", HeaderValue::from_static("application/scim+json; charset=utf-8"));
    }
    headers
}

/// Percent-encodes a query value, a blank as `%20`.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Percent-encodes a query value, a blank as `+`.
pub(crate) fn encode_with_plus(text: &str) -> String {
    encode(text).replace("%20", "+")
}

/// An answer that has passed the checks of every answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Null when there is no body.
    pub(crate) json: Value,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
    asked: String,
}

impl Reply {
    /// Takes an answer and checks what must hold of every answer.
    pub(crate) fn checked(
        method: &Method,
        path: &str,
        status: u16,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Reply {
        let asked = format!("{method} {path}");
        let body = match headers.get("content-encoding").map(|value| value.to_str().unwrap()) {
            None => body,
            Some(_) if body.is_empty() => body,
            Some("gzip") => {
                let mut whole = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut whole).unwrap();
                whole
            }
            Some("zstd") => zstd::stream::decode_all(&body[..]).unwrap(),
            Some(other) => panic!("{asked}: {other}"),
        };
        let json = if body.is_empty() {
            Value::Null
        } else {
            let kind = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
            assert!(
                ["application/scim+json", "application/json"].contains(&kind),
                "{asked}: {status} {kind}"
            );
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| panic!("{asked}: no JSON: {}", String::from_utf8_lossy(&body)))
        };
        let reply = Reply { status, headers, json, body, asked };
        if status >= 400 {
            reply.check_error(method == Method::HEAD);
        } else if reply.json["schemas"] == json!([LIST_URN]) {
            reply.check_list();
        } else if let Some("User" | "Group") = reply.json["meta"]["resourceType"].as_str() {
            reply.check_resource(path);
        }
        assert!(!has_key(&reply.json, "password"), "{reply}: a password is shown");
        reply
    }

    fn check_error(&self, is_head: bool) {
        if is_head {
            return;
        }
        assert_eq!(self["schemas"], json!([ERROR_URN]), "{self}");
        assert_eq!(self["status"], json!(self.status.to_string()), "{self}");
        let detail = self["detail"].as_str().unwrap_or_default();
        let one_line = !detail.chars().any(char::is_control);
        assert!(detail.ends_with('.') && one_line, "{self}: no sentence");
        let next = detail.split(". ").skip(1).find(|next| next.starts_with(char::is_uppercase));
        assert_eq!(next, None, "{self}: more than one sentence");
        if let Some(kind) = self.json.get("scimType") {
            assert!(kind.is_string(), "{self}");
        }
    }

    fn check_list(&self) {
        for number in ["totalResults", "itemsPerPage"] {
            assert!(self[number].is_u64(), "{self}: {number} must be a whole number");
        }
        // A page by cursor has no place to tell; what was asked for by a body is checked where it is asked.
        if !self.asked.contains("cursor") && !self.asked.contains("/.search") {
            assert!(self["startIndex"].is_u64(), "{self}: startIndex must be a whole number");
        }
        assert_eq!(self["itemsPerPage"], self.resources().len(), "{self}");
        for resource in self.resources() {
            assert!(resource["schemas"].is_array(), "{self}");
        }
    }

    fn check_resource(&self, path: &str) {
        let id = self["id"].as_str().unwrap_or_default();
        assert!(!id.is_empty(), "{self}");
        let whole = !path.contains("ttributes=");
        for name in ["created", "lastModified"] {
            assert!(!whole || self["meta"][name].is_string(), "{self}");
        }
        if whole {
            let location = self["meta"]["location"].as_str().unwrap_or_default();
            assert!(location.ends_with(id), "{self}");
            assert_eq!(self.header("location"), Some(location), "{self}");
            assert_eq!(self.header("content-location"), Some(location), "{self}");
            assert_eq!(self.header("etag"), self["meta"]["version"].as_str(), "{self}");
            let related = if self["meta"]["resourceType"] == "User" { "groups" } else { "members" };
            let related = self[related].as_array().unwrap_or_else(|| panic!("{self}: no {related}"));
            for one in related {
                for key in ["value", "$ref", "display", "type"] {
                    assert!(one[key].as_str().is_some_and(|text| !text.is_empty()), "{self}: {key}");
                }
            }
        }
    }

    /// This answer, if it has the status.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// This answer, if it is an Error of that status and `scimType`; `""` for none.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, scim_type: &str) -> Reply {
        assert_eq!((self.status, self["scimType"].as_str().unwrap_or("")), (status, scim_type), "{self}");
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn id(&self) -> String {
        self["id"].as_str().unwrap_or_else(|| panic!("{self}: no id")).to_owned()
    }

    #[track_caller]
    pub(crate) fn resources(&self) -> &[Value] {
        self["Resources"].as_array().unwrap_or_else(|| panic!("{self}: no Resources"))
    }

    pub(crate) fn detail(&self) -> &str {
        self["detail"].as_str().unwrap_or_default()
    }

    /// The ids of a group's members, sorted.
    pub(crate) fn member_ids(&self) -> Vec<String> {
        member_ids(&self.json)
    }

    /// The resource as it may be compared with another state of it: without what a change of anything changes.
    pub(crate) fn without_meta(&self) -> Value {
        let mut json = self.json.clone();
        json.as_object_mut().unwrap().remove("meta");
        json
    }
}

/// The ids of a group's members, sorted.
pub(crate) fn member_ids(group: &Value) -> Vec<String> {
    ids_in(&group["members"])
}

/// The ids of a user's groups, sorted.
pub(crate) fn group_ids(user: &Value) -> Vec<String> {
    ids_in(&user["groups"])
}

fn ids_in(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let mut ids: Vec<String> = list.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

impl Index<&str> for Reply {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.json[key]
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} {}", self.asked, self.status, String::from_utf8_lossy(&self.body))
    }
}

fn has_key(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) || has_key(value, name))
        }
        Value::Array(list) => list.iter().any(|value| has_key(value, name)),
        _ => false,
    }
}

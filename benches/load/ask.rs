//! What the clients ask: requests as Okta sends them.

use std::fmt::{Display, Write};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drive::{Asker, Asks};
use crate::people::{self, Ids};

/// Numbers of users that are created while the clock runs; those filled before are below.
const NEW_USERS_FROM: u64 = 50_000_000;

/// Requests with a token.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    token: Arc<str>,
}

impl Client {
    /// A client that has a token.
    pub(crate) fn new(token: &str) -> Client {
        Client { token: Arc::from(token) }
    }

    /// Writes a GET.
    pub(crate) fn get(&self, out: &mut Vec<u8>, tenant: &str, path: impl Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "GET /scim/v2/{tenant}/{path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Okta SCIM Client 1.0.0\r\n\
             Accept: application/scim+json\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
    }

    /// Writes a request with a body.
    pub(crate) fn send(&self, out: &mut Vec<u8>, method: &str, tenant: &str, path: impl Display, body: &str) {
        let _ = write!(
            out,
            "{method} /scim/v2/{tenant}/{path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
             User-Agent: Okta SCIM Client 1.0.0\r\nAccept: application/scim+json\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/scim+json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
    }

    /// A GET by itself.
    pub(crate) fn get_alone(&self, tenant: &str, path: impl Display) -> Vec<u8> {
        let mut out = Vec::new();
        self.get(&mut out, tenant, path);
        out
    }
}

/// A tenant with users.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The ids of the users that it was filled with; the user at place `n` has the number `n`.
    pub(crate) ids: Ids,
}

/// What is measured on one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `GET /Users/{id}`.
    Get,
    /// `GET /Users?filter=userName eq "..."`, Okta's look-up before each create.
    ByUserName,
    /// The same by externalId.
    ByExternalId,
    /// 100 users from a random place on.
    Page,
    /// `POST /Users`.
    Create,
    /// `PUT /Users/{id}`.
    Put,
    /// PATCH that turns `active` off and on again.
    PatchActive,
}

impl Op {
    /// All, reads first.
    pub(crate) const ALL: [Op; 7] =
        [Op::Get, Op::ByUserName, Op::ByExternalId, Op::Page, Op::PatchActive, Op::Put, Op::Create];

    /// What tables call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Op::Get => "GET user by id",
            Op::ByUserName => "look-up by userName",
            Op::ByExternalId => "look-up by externalId",
            Op::Page => "page of 100",
            Op::Create => "create user",
            Op::Put => "PUT user",
            Op::PatchActive => "PATCH active",
        }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Op::Get | Op::ByUserName | Op::ByExternalId | Op::Page)
    }

    /// The clients that do it over and over.
    pub(crate) fn asks(self, client: &Client, tenant: &Tenant, concurrency: usize) -> Asks {
        let (client, tenant) = (client.clone(), tenant.clone());
        Box::new(move |number| {
            let one = One {
                client: client.clone(),
                tenant: tenant.clone(),
                random: Random::another(),
                number,
                concurrency,
            };
            match self {
                Op::Get | Op::ByUserName | Op::ByExternalId | Op::Page => one.reads(self),
                Op::Create => one.creates(),
                Op::Put => one.replaces(),
                Op::PatchActive => one.patches_active(),
            }
        })
    }
}

/// The path of a read.
pub(crate) fn read_path(out: &mut String, op: Op, index: usize, ids: &Ids) {
    out.clear();
    // Writing to a String cannot fail.
    let _ = match op {
        Op::ByUserName => write!(
            out,
            "Users?filter=userName%20eq%20%22user{index:08}%40example.com%22&startIndex=1&count=100"
        ),
        Op::ByExternalId => write!(
            out,
            "Users?filter=externalId%20eq%20%22{}%22&startIndex=1&count=100",
            people::external_id(index as u64)
        ),
        Op::Page => write!(out, "Users?startIndex={}&count=100", index + 1),
        _ => write!(out, "Users/{}", ids.get(index)),
    };
}

/// One client.
struct One {
    client: Client,
    tenant: Tenant,
    random: Random,
    number: usize,
    concurrency: usize,
}

impl One {
    /// A user that no other client changes.
    fn own_user(&mut self) -> usize {
        let own = (self.tenant.ids.len() / self.concurrency).max(1);
        self.random.below(own) * self.concurrency + self.number
    }

    fn reads(mut self, op: Op) -> Asker {
        let mut path = String::new();
        let places =
            if op == Op::Page { self.tenant.ids.len().saturating_sub(99) } else { self.tenant.ids.len() };
        Box::new(move |out| {
            read_path(&mut path, op, self.random.below(places), &self.tenant.ids);
            self.client.get(out, &self.tenant.name, &path);
            true
        })
    }

    fn creates(self) -> Asker {
        static NEXT: AtomicU64 = AtomicU64::new(NEW_USERS_FROM);
        Box::new(move |out| {
            let body = people::user(NEXT.fetch_add(1, Ordering::Relaxed), 0);
            self.client.send(out, "POST", &self.tenant.name, "Users", &body);
            true
        })
    }

    fn replaces(mut self) -> Asker {
        static REVISION: AtomicU64 = AtomicU64::new(1);
        Box::new(move |out| {
            let index = self.own_user();
            let body = people::user(index as u64, REVISION.fetch_add(1, Ordering::Relaxed));
            let path = format_args!("Users/{}", self.tenant.ids.get(index)).to_string();
            self.client.send(out, "PUT", &self.tenant.name, path, &body);
            true
        })
    }

    fn patches_active(mut self) -> Asker {
        let (mut active, mut index) = (true, 0);
        Box::new(move |out| {
            active = !active;
            if !active {
                index = self.own_user();
            }
            let body = people::patch(&format!(r#"{{"op":"replace","value":{{"active":{active}}}}}"#));
            let path = format!("Users/{}", self.tenant.ids.get(index));
            self.client.send(out, "PATCH", &self.tenant.name, path, &body);
            true
        })
    }
}

/// Clients that add a member to a group and take it out again, each one of its own.
pub(crate) fn member_changes(client: &Client, tenant: &str, group: &str, spare: &Ids) -> Asks {
    let (client, tenant, spare) = (client.clone(), tenant.to_owned(), spare.clone());
    let path = format!("Groups/{group}");
    Box::new(move |number| {
        let (client, tenant, path) = (client.clone(), tenant.clone(), path.clone());
        let id = spare.get(spare.len() - 1 - number).to_owned();
        let mut add = false;
        Box::new(move |out| {
            add = !add;
            let body = if add {
                people::add_members(std::iter::once(id.as_str()))
            } else {
                people::remove_member(&id)
            };
            client.send(out, "PATCH", &tenant, &path, &body);
            true
        })
    })
}

/// Clients that send the same request over and over.
pub(crate) fn always(request: Vec<u8>) -> Asks {
    let request: Arc<[u8]> = Arc::from(request);
    Box::new(move |_| {
        let request = Arc::clone(&request);
        Box::new(move |out| {
            out.extend_from_slice(&request);
            true
        })
    })
}

/// Clients that together send each of so many requests once.
pub(crate) fn each_once(count: usize, make: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> Asks {
    let (make, next) = (Arc::new(make), Arc::new(AtomicU64::new(0)));
    Box::new(move |_| {
        let (make, next) = (Arc::clone(&make), Arc::clone(&next));
        Box::new(move |out| {
            let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            if index < count {
                make(index, out);
            }
            index < count
        })
    })
}

/// Random numbers (xorshift64*): others for each client and round, the same in every run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that nobody has had yet.
    pub(crate) fn another() -> Random {
        static SEED: AtomicU64 = AtomicU64::new(1);
        Random(SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`, which is above zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(high).unwrap_or(0) % end.max(1)
    }
}

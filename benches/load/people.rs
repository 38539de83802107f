//! The people and groups of the benchmark, and files filled with them straight through the library: a server would
//! take longer and end with the same file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result, bail, ensure};
use ici_scim::clock::SystemClock;
use ici_scim::config::{Durability, Limits, OnRecreate};
use ici_scim::directory::{Actor, Answer, Ask, Directory, Options, Shared, Work, WriteWork};
use ici_scim::scim::endpoint::Operation;
use ici_scim::scim::{Kind, Profile};
use rusqlite::Connection;

/// Creates in one transaction.
const BATCH: u64 = 1_000;
/// Members in one PATCH.
const MEMBERS_AT_ONCE: usize = 1_000;
/// Batches that are prepared ahead of the writer.
const BATCHES_AHEAD: usize = 4;
/// Bytes of an id.
const ID_BYTES: usize = 36;

/// A user as Okta sends one, about 900 bytes. All are equally long, so that one stands for all in the bare route.
/// `revision` is in it, so that another one is a change.
pub(crate) fn user(number: u64, revision: u64) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"{name}","externalId":"{external_id}","name":{{"givenName":"Given{number:08}","familyName":"Family{number:08}"}},"displayName":"Given{number:08} Family{number:08}","emails":[{{"value":"{name}","type":"work","primary":true}}],"phoneNumbers":[{{"value":"+1 555 {number:08}","type":"work"}}],"title":"Engineer {revision:08}","locale":"en-US","timezone":"America/Los_Angeles","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{{"employeeNumber":"{number:08}","costCenter":"CC-0042","organization":"Example","division":"Products","department":"Engineering"}}}}"#,
        name = user_name(number),
        external_id = external_id(number),
    )
}

/// The userName of a user.
pub(crate) fn user_name(number: u64) -> String {
    format!("user{number:08}@example.com")
}

/// The externalId of a user, as long as Okta's.
pub(crate) fn external_id(number: u64) -> String {
    format!("00u{number:017}")
}

/// The ids of users, in the order of creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(Arc<Vec<u8>>);

impl Ids {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len() / ID_BYTES
    }

    /// One of them.
    pub(crate) fn get(&self, index: usize) -> &str {
        self.0
            .get(index * ID_BYTES..(index + 1) * ID_BYTES)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// The ids of the users in a tenant's file.
    pub(crate) fn of_users_in(file: &Path) -> Result<Ids> {
        let connection = Connection::open(file)?;
        let mut statement = connection.prepare("SELECT id FROM resources WHERE kind = 1 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            ids.extend_from_slice(row.get_ref(0)?.as_str()?.as_bytes());
        }
        Ok(Ids(Arc::new(ids)))
    }
}

/// Fills one tenant's file.
pub(crate) struct Filler {
    directory: Directory,
    options: Options,
}

impl Filler {
    /// Opens the file, and makes it where it is not there.
    pub(crate) fn open(file: &Path) -> Result<Filler> {
        let directory = Directory::open(file, &Shared::new(Arc::new(SystemClock), Durability::Normal)?)?;
        let options = Options {
            limits: Limits::default(),
            profile: Profile::default(),
            on_recreate: OnRecreate::default(),
            store_passwords: false,
            schemas: None,
            check_entitlements: false,
            max_users: None,
        };
        Ok(Filler { directory, options })
    }

    /// Creates users with the numbers of a range.
    pub(crate) fn users(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        // One thread prepares what the other one writes.
        std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(BATCHES_AHEAD);
            let preparing = scope.spawn(move || -> Result<()> {
                for first in (numbers.start..numbers.end).step_by(usize::try_from(BATCH)?) {
                    let batch = first..numbers.end.min(first + BATCH);
                    let works =
                        batch.map(|number| self.prepare(Operation::Create(Kind::User), user(number, 0)));
                    if sender.send(works.collect::<Result<Vec<_>>>()?).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            for batch in batches {
                self.write(batch)?;
            }
            preparing.join().map_err(|_| anyhow::anyhow!("preparing users panicked"))?
        })
    }

    /// Creates a group whose members are the first `count` of `users`; gives its id.
    pub(crate) fn group(&self, name: &str, users: &Ids, count: usize) -> Result<String> {
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"{name}"}}"#
        );
        let made = self.write(vec![self.prepare(Operation::Create(Kind::Group), body)?])?;
        let location = made.first().and_then(|answer| answer.location.as_deref()).unwrap_or_default();
        let id = location.rsplit('/').next().unwrap_or_default().to_owned();
        for first in (0..count).step_by(MEMBERS_AT_ONCE) {
            let batch = first..count.min(first + MEMBERS_AT_ONCE);
            let body = add_members(batch.map(|index| users.get(index)));
            self.write(vec![self.prepare(Operation::Patch(Kind::Group, id.clone()), body)?])?;
        }
        Ok(id)
    }

    fn prepare(&self, operation: Operation, body: String) -> Result<WriteWork> {
        let ask = Ask {
            operation,
            query: String::new(),
            body: body.into(),
            if_match: None,
            if_none_match: None,
            base_url: "http://127.0.0.1/scim/v2/filled".to_owned(),
        };
        match self.directory.prepare(&self.options, &Actor::Token("okta".into()), ask)? {
            Work::Write(work) => Ok(work),
            Work::Ready(_) | Work::Read(_) => bail!("a write was not prepared as one"),
        }
    }

    fn write(&self, works: Vec<WriteWork>) -> Result<Vec<Answer>> {
        let answers = self.directory.write(works).into_iter();
        answers.collect::<Result<_, _>>().context("filling a file")
    }
}

/// The body of a PATCH that adds members, as Okta sends it.
pub(crate) fn add_members<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let members: Vec<String> = ids.map(|id| format!(r#"{{"value":"{id}"}}"#)).collect();
    patch(&format!(r#"{{"op":"add","path":"members","value":[{}]}}"#, members.join(",")))
}

/// The body of a PATCH that takes one member out, as Okta sends it.
pub(crate) fn remove_member(id: &str) -> String {
    patch(&format!(r#"{{"op":"remove","path":"members[value eq \"{id}\"]"}}"#))
}

/// The body of a PATCH with one operation.
pub(crate) fn patch(operation: &str) -> String {
    format!(r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{operation}]}}"#)
}

/// Files with so many users each, made in one go: filled up to a size, copied, filled further. Gives the seconds
/// that the filling took.
pub(crate) fn fill_sizes(folder: &Path, sizes: &[u64]) -> Result<f64> {
    let growing = folder.join("growing.sqlite");
    let mut users = 0;
    let mut seconds = 0.0;
    for size in sizes {
        let stopwatch = ici_scim::clock::Stopwatch::start();
        Filler::open(&growing)?.users(users..*size)?;
        seconds += stopwatch.elapsed().as_secs_f64();
        users = *size;
        copy(&growing, &filled(folder, users))?;
        eprintln!("filled {users} users after {seconds:.1} s");
    }
    remove(&growing)?;
    Ok(seconds)
}

/// Removes a file where there is one.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The file with so many users.
pub(crate) fn filled(folder: &Path, users: u64) -> PathBuf {
    folder.join(format!("u{users}.sqlite"))
}

/// Copies a tenant's file that nobody has open.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let connection = Connection::open(from)?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    ensure!(!busy, "{} is still in use", from.display());
    drop(connection);
    // A log of the file that was there before would be taken for one of the new file.
    for suffix in ["-wal", "-shm"] {
        remove(&PathBuf::from(format!("{}{suffix}", to.display())))?;
    }
    fs::copy(from, to)?;
    // What the copy left to write would otherwise be written during the first measurement.
    fs::File::open(to)?.sync_all()?;
    Ok(())
}

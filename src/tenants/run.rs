//! The one place where async meets blocking: a request to a tenant's directory.
//!
//! Short reads are done where the request came in, since a hop to another thread costs more than they do. All
//! else hops to a thread that may block: once, and bounded for each tenant, so that one tenant's slow scans
//! leave threads to the others. Writes go through the tenant's commit queue, those with a large body after a hop of
//! their own, in which it is read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, Ready, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Stopwatch;
use crate::config::Limits;
use crate::directory::{Actor, Answer, Ask, Directory, Error, Options, ReadWork, Work, WriteWork};
use crate::metrics::Metrics;
use crate::scim::endpoint::Operation;
use crate::scim::{self, Kind};
use crate::tenants::auth::Caller;
use crate::tenants::in_service::Held;
use crate::tenants::open::Lease;
use crate::tenants::parts::{self, Answered};
use crate::tenants::queue::{Bounds, Queue, Refused};
use crate::tenants::snapshot::Snapshot;
use crate::tenants::trail::Trail;
use crate::tenants::{Tenants, open_file};

/// Most hops of one tenant at once, not counting its commits.
const HOPS_MAX: usize = 8;

/// A tenant whose directory is open.
pub(super) struct Tenant {
    directory: Directory,
    file: PathBuf,
    stamp: Option<(u64, u64)>,
    commits: Arc<Queue<WriteWork, Result<Answer, Error>>>,
    hops: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    // Dropped last, when the file is closed.
    _held: Held,
}

impl Tenant {
    /// Opens a tenant's file, by the right to do so.
    pub(super) fn open(
        file: &Path,
        shared: &crate::directory::Shared,
        metrics: Arc<Metrics>,
        held: Held,
    ) -> Result<Tenant, Error> {
        let directory = open_file(file, shared)?;
        Ok(Tenant {
            directory,
            stamp: stamp(file),
            file: file.to_owned(),
            commits: Queue::new(),
            hops: Arc::new(Semaphore::new(HOPS_MAX)),
            metrics,
            _held: held,
        })
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Does writes in one commit, and counts it.
    fn commit(&self, works: Vec<WriteWork>) -> Vec<Result<Answer, Error>> {
        self.metrics.commit_writes.observe_count(u64::try_from(works.len()).unwrap_or(u64::MAX));
        let watch = Stopwatch::start();
        let answers = self.directory.write(works);
        self.metrics.commit.observe(watch.elapsed());
        answers
    }

    /// Whether another file lies by now where this one was opened. That none does is no reason to close it: the next
    /// request would begin an empty directory.
    pub(super) fn is_replaced(&self) -> bool {
        let now = stamp(&self.file);
        now.is_some() && now != self.stamp
    }
}

/// What tells a file from another that lies in its place.
fn stamp(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|there| (there.dev(), there.ino()))
}

impl Tenants {
    /// Does what an authenticated caller asks, on the caller's tenant. What needs no waiting is done when this returns;
    /// nearly every request is a short read of an open tenant. Giving the request up is safe at any moment: a write is
    /// then either done in full or not at all.
    ///
    /// # Errors
    /// What the directory refuses; 429 when too many writes wait or this one waited for too long;
    /// [`Error::Unavailable`] when the tenant's file cannot be opened, which is tried anew with the next
    /// request.
    pub fn run<'r>(
        &'r self,
        snapshot: &'r Snapshot,
        caller: &'r Caller,
        ask: Ask,
        trail: &'r Trail,
    ) -> Running<'r> {
        let Some(options) = snapshot.options(&caller.tenant) else {
            return done(Err(internal("the caller is of another configuration")));
        };
        if ask.operation == Operation::List(Kind::User) && !ask.query.contains("filter") {
            snapshot.note_import(caller, self.clock.now_ms());
        }
        match self.open.find(&caller.tenant) {
            Some(tenant) => {
                run_on(tenant, options, caller, ask, trail).unwrap_or_else(|error| done(Err(error)))
            }
            None => later(async move {
                let tenant = self.open(caller, options.limits.open_tenants_max).await?;
                run_on(tenant, options, caller, ask, trail)?.await
            }),
        }
    }

    async fn open(&self, caller: &Caller, open_max: usize) -> Result<Lease<Tenant>, Error> {
        let (data_dir, shared) = (Arc::clone(&self.data_dir), self.shared.clone());
        let (name, metrics) = (caller.tenant.clone(), Arc::clone(&self.metrics));
        // A request of an old snapshot may open what a reload has paused or removed, when it was let in before, but
        // must not keep it open.
        let Some(held) = self.in_service.hold(&name) else {
            return Err(self.current.load().out_of_service(&name).into());
        };
        let file = crate::tenants::file_of(&data_dir, &name);
        let open = move || Tenant::open(&file, &shared, metrics, held);
        let may_stay = || self.in_service.has(&name);
        self.open.get(&caller.tenant, open_max, may_stay, open).await
    }
}

/// A request that is being done: it is done already, or must be waited for. Boxed where it must: every request's
/// future would be as large as the largest of these.
pub type Running<'r> = Either<Ready<Result<Answered, Error>>, BoxFuture<'r, Result<Answered, Error>>>;

fn done<'r>(answered: Result<Answered, Error>) -> Running<'r> {
    Either::Left(ready(answered))
}

fn later<'r>(answered: impl Future<Output = Result<Answered, Error>> + Send + 'r) -> Running<'r> {
    Either::Right(Box::pin(answered))
}

/// Does what was asked of a tenant that is open.
fn run_on<'r>(
    tenant: Lease<Tenant>,
    options: Options,
    caller: &'r Caller,
    ask: Ask,
    trail: &'r Trail,
) -> Result<Running<'r>, Error> {
    if !tenant.directory.prepare_is_short(&options, &ask) {
        let elsewhere = prepare_elsewhere(tenant, options, caller.actor.clone(), ask, trail);
        return Ok(later(async move { elsewhere.await.map(Answered::from) }));
    }
    Ok(match tenant.directory.prepare(&options, &caller.actor, ask)? {
        Work::Ready(answer) => done(Ok(answer.into())),
        Work::Read(work) => {
            let in_place = if work.is_short() { tenant.directory.read_in_place(&work) } else { None };
            match in_place {
                Some(answer) => done(answer.map(Answered::from)),
                None => {
                    let work = work.keeping(trail.begin(&tenant));
                    later(read_elsewhere(tenant, work))
                }
            }
        }
        Work::Write(work) => {
            let work = work.keeping(trail.begin(&tenant));
            later(async move { write(tenant, work, options.limits).await.map(Answered::from) })
        }
    })
}

/// Prepares and, unless it is a write, does what was asked, all in one hop.
async fn prepare_elsewhere(
    tenant: Lease<Tenant>,
    options: Options,
    actor: Actor,
    ask: Ask,
    trail: &Trail,
) -> Result<Answer, Error> {
    let (there, limits, statements) = (tenant.clone(), options.limits, trail.begin(&tenant));
    let prepared = hop(&tenant, move || match there.directory.prepare(&options, &actor, ask)? {
        Work::Ready(answer) => Ok(Done::Answer(answer)),
        Work::Read(work) => there.directory.read(&work.keeping(statements)).map(Done::Answer),
        Work::Write(work) => Ok(Done::Prepared(work.keeping(statements))),
    });
    match prepared.await? {
        Done::Answer(answer) => Ok(answer),
        Done::Prepared(work) => write(tenant, work, limits).await,
    }
}

/// What a hop has come to.
enum Done {
    Answer(Answer),
    Prepared(WriteWork),
}

/// Reads where it may take its time; a large answer is sent while the rest of it is being read.
async fn read_elsewhere(tenant: Lease<Tenant>, work: ReadWork) -> Result<Answered, Error> {
    let place = place(&tenant).await?;
    let (mut sender, answered) = parts::channel();
    tokio::task::spawn_blocking(move || {
        // Also when nobody waits for the result any more.
        let _place = place;
        let read = tenant.directory.read_in_parts(&work, &mut |part| sender.send(part));
        sender.end(read);
    });
    match answered.await {
        Ok(answered) => answered,
        Err(_) => Err(panicked()),
    }
}

/// A place among the hops of a tenant.
async fn place(tenant: &Lease<Tenant>) -> Result<OwnedSemaphorePermit, Error> {
    let place = Arc::clone(&tenant.hops).acquire_owned().await;
    place.map_err(|_| internal("the tenant takes no more requests"))
}

/// Runs `what` on a thread that may block. A panic there is an internal error.
async fn hop<T: Send + 'static>(
    tenant: &Lease<Tenant>,
    what: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let place = place(tenant).await?;
    let hopped = tokio::task::spawn_blocking(move || {
        // Also when nobody waits for the result any more.
        let _place = place;
        what()
    });
    hopped.await.unwrap_or_else(|_| Err(panicked()))
}

async fn write(tenant: Lease<Tenant>, work: WriteWork, limits: Limits) -> Result<Answer, Error> {
    let wait_max = Duration::from_millis(limits.write_queue_wait_ms_max);
    let bounds = Bounds { waiting_max: limits.write_queue_max, wait_max };
    let submitted = tenant.commits.submit(work, bounds).map(|submitted| {
        if let Some(leader) = submitted.leader {
            tokio::task::spawn_blocking(move || {
                leader.run(|wait| tenant.metrics.queue_wait.observe(wait), |works| tenant.commit(works));
            });
        }
        submitted.ticket
    });
    let answered = match submitted {
        Ok(ticket) => ticket.answer().await,
        Err(refused) => Err(refused),
    };
    match answered {
        Ok(answer) => answer,
        Err(Refused::Full | Refused::TooLate) => {
            let retry_after_s = u32::try_from(wait_max.as_secs()).unwrap_or(u32::MAX).max(1);
            Err(Error::Client(scim::Error::too_many_requests(retry_after_s)))
        }
        Err(Refused::Failed) => Err(internal("the commit ended without an answer")),
    }
}

fn panicked() -> Error {
    internal("the request's thread panicked")
}

fn internal(reason: &str) -> Error {
    Error::Internal { reason: reason.to_owned() }
}

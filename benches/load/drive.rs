//! Load: so many clients that each send the next request as soon as the last one is answered, and what that comes
//! to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ici_scim::clock::Stopwatch;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::process;

/// Threads that all clients share. Two cores serve server and clients; a second thread of clients would take the
/// server's place.
const CLIENT_THREADS: usize = 1;

/// Writes the next request of one client into a buffer; `false` when there is none left.
pub(crate) type Asker = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// Makes the clients, by number.
pub(crate) type Asks = Box<dyn Fn(usize) -> Asker + Sync>;

/// What one measurement came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Requests that were answered in the time.
    pub(crate) requests: usize,
    /// Requests a second.
    pub(crate) per_second: f64,
    /// Half of the requests took less, in microseconds.
    pub(crate) p50_us: f64,
    /// All but a hundredth of the requests took less, in microseconds.
    pub(crate) p99_us: f64,
    /// CPU time of the server for a request, in microseconds.
    pub(crate) cpu_us: f64,
    /// CPU time of the clients for a request, in microseconds.
    pub(crate) client_cpu_us: f64,
    /// The most resident memory of the server in the time, in MiB.
    pub(crate) peak_mib: f64,
}

/// For how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// First `warm` that does not count, then `measured`.
    Time { warm: Duration, measured: Duration },
    /// Until no client has a request left.
    Done,
}

/// Who is asked, by how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
}

/// How long a measurement goes on beyond its time when nothing was answered yet.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(60);

struct Gate {
    answered: AtomicUsize,
    counting: AtomicBool,
    stopped: AtomicBool,
}

/// Puts a server under load.
///
/// # Errors
/// When a request fails: a benchmark of errors is none.
pub(crate) fn drive(target: Target, concurrency: usize, until: Until, asks: &Asks) -> Result<Sample> {
    let gate = Arc::new(Gate {
        answered: AtomicUsize::new(0),
        counting: AtomicBool::new(matches!(until, Until::Done)),
        stopped: AtomicBool::new(false),
    });
    process::forget_peak(target.pid)?;
    std::thread::scope(|scope| {
        let threads = CLIENT_THREADS.min(concurrency);
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let askers: Vec<Asker> = (thread..concurrency).step_by(threads).map(asks).collect();
                let gate = Arc::clone(&gate);
                scope.spawn(move || clients(target.address, askers, &gate))
            })
            .collect();
        if let Until::Time { warm, .. } = until {
            pause(warm);
        }
        let before = (process::cpu_us(target.pid)?, process::cpu_us(std::process::id())?);
        let stopwatch = Stopwatch::start();
        gate.counting.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        let mut elapsed = Duration::ZERO;
        if let Until::Time { measured, .. } = until {
            pause(measured);
            while gate.answered.load(Ordering::Relaxed) == 0 && stopwatch.elapsed() < FIRST_ANSWER_MAX {
                pause(measured / 10);
            }
            gate.counting.store(false, Ordering::Relaxed);
            elapsed = stopwatch.elapsed();
            gate.stopped.store(true, Ordering::Relaxed);
        }
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        if matches!(until, Until::Done) {
            elapsed = stopwatch.elapsed();
        }
        let cpu_us = process::cpu_us(target.pid)?.saturating_sub(before.0);
        let client_cpu_us = process::cpu_us(std::process::id())?.saturating_sub(before.1);
        let sample = Sample::of(latencies, elapsed, cpu_us, client_cpu_us)?;
        Ok(Sample { peak_mib: process::peak_mib(target.pid)?, ..sample })
    })
}

#[expect(clippy::disallowed_methods, reason = "a measurement lasts for a given time; there is no condition")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn clients(address: SocketAddr, askers: Vec<Asker>, gate: &Arc<Gate>) -> Result<Vec<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for asker in askers {
            clients.spawn(client(address, asker, Arc::clone(gate)));
        }
        let mut latencies = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client.context("a client panicked")??);
        }
        Ok(latencies)
    })
}

/// Gives the nanoseconds that each request took.
async fn client(address: SocketAddr, mut asker: Asker, gate: Arc<Gate>) -> Result<Vec<u64>> {
    let mut connection = Connection::open(address).await?;
    let mut request = Vec::with_capacity(4096);
    let mut latencies = Vec::new();
    while !gate.stopped.load(Ordering::Relaxed) {
        request.clear();
        if !asker(&mut request) {
            break;
        }
        let stopwatch = Stopwatch::start();
        let status = connection.exchange(&request).await?;
        if gate.counting.load(Ordering::Relaxed) {
            latencies.push(u64::try_from(stopwatch.elapsed().as_nanos()).unwrap_or(u64::MAX));
            gate.answered.fetch_add(1, Ordering::Relaxed);
        }
        if !(200..300).contains(&status) {
            gate.stopped.store(true, Ordering::Relaxed);
            let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
            bail!("{} was answered {status}: {}", String::from_utf8_lossy(line), connection.failure());
        }
    }
    Ok(latencies)
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds are far below 2^52")]
impl Sample {
    fn of(mut latencies: Vec<u64>, elapsed: Duration, cpu_us: u64, client_cpu_us: u64) -> Result<Sample> {
        ensure!(!latencies.is_empty(), "no request was answered within the time of the measurement");
        latencies.sort_unstable();
        let requests = latencies.len();
        let at = |hundredths: usize| latencies[(requests * hundredths / 100).min(requests - 1)] as f64 / 1e3;
        Ok(Sample {
            requests,
            per_second: requests as f64 / elapsed.as_secs_f64(),
            p50_us: at(50),
            p99_us: at(99),
            cpu_us: cpu_us as f64 / requests as f64,
            client_cpu_us: client_cpu_us as f64 / requests as f64,
            peak_mib: 0.0,
        })
    }

    /// A measurement of one thread that does `what` over and over, without any server. Only the time of `what` counts;
    /// the CPU time is that of `ready` too.
    pub(crate) fn of_loop<T>(
        until: Until,
        mut ready: impl FnMut() -> T,
        mut what: impl FnMut(T) -> Result<()>,
    ) -> Result<Sample> {
        let Until::Time { warm, measured } = until else { bail!("a loop needs a time") };
        let warming = Stopwatch::start();
        while warming.elapsed() < warm {
            what(ready())?;
        }
        let before = process::cpu_us(std::process::id())?;
        let (mut elapsed, mut latencies) = (Duration::ZERO, Vec::new());
        while elapsed < measured {
            let with = ready();
            let stopwatch = Stopwatch::start();
            what(with)?;
            let took = stopwatch.elapsed();
            elapsed += took;
            latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        let cpu_us = process::cpu_us(std::process::id())?.saturating_sub(before);
        Sample::of(latencies, elapsed, cpu_us, 0)
    }
}

//! The server: its sockets, the limits of a connection, TLS, the order of stopping.
//!
//! It does not decide when to stop, and its sockets are handed in, so that tests take a free port and end when they
//! like. What a request means is for `web`.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::ServerSettings;
use crate::metrics::Metrics;
use crate::tenants::Tenants;

mod acme;
mod certificate;
mod connection;
mod keeper;
mod loops;
mod ops;
mod places;
mod process;
mod redirect;
mod signals;
mod socket;
mod timed;
mod tls;

pub use certificate::Certificate;
pub use connection::Web;
pub use keeper::{Keeper, Tls, end_warning};
pub use loops::Loops;
pub use ops::Ops;
pub use signals::{StopSignals, reload_on_hangup, tell_ready};
pub use socket::{Inherited, Listener};

use places::{Place, Places};
use socket::{Accepted, Listeners};

/// How long to wait after a connection could not be accepted: file descriptors come back as others end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At most this often it is told that an address has too many connections.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where clients come in.
pub struct Entrance {
    /// What is listened on; at least one.
    pub listeners: Vec<Listener>,
    /// Keeps what TLS is ended with; without it plain HTTP is spoken. Socket files are spoken to in plain HTTP always.
    pub tls: Option<Keeper>,
    /// Where plain HTTP is redirected to HTTPS.
    pub redirect: Option<TcpListener>,
}

/// Serves until `shutdown` is ready, then stops: the listeners are closed first, so that new connections are
/// refused; idle ones are closed; requests in flight are answered, for `stop_s` at most.
///
/// `connections_max` and `stop_s` are those in force at the start, the limits of a connection those in force when
/// it is accepted.
///
/// # Errors
/// When a listener cannot tell its address. A connection that cannot be accepted is logged and does not end
/// the server.
pub async fn run(
    entrance: Entrance,
    tenants: Arc<Tenants>,
    loops: &Loops,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let served = Arc::clone(&tenants);
    run_with(entrance, |host| crate::web::service(served, host), tenants, loops, shutdown).await
}

/// The same with something else that answers, which is told what to call this server: a benchmark prices what the
/// server itself does with every request.
///
/// # Errors
/// As [`run`].
pub async fn run_with<W: Web>(
    entrance: Entrance,
    web: impl FnOnce(String) -> W,
    tenants: Arc<Tenants>,
    loops: &Loops,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = tenants.snapshot().settings().server.limits;
    let listeners = Listeners::new(entrance.listeners);
    let (web, port) = (web(listeners.host()?), listeners.port());
    let tls = entrance.tls.as_ref().map(Keeper::tls);
    let beside = beside(entrance.tls, entrance.redirect, port, &tenants);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut addresses = Addresses::default();
    let mut failing = false;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // A slot first: who cannot be served waits in the system's queue, at no cost to us.
        let accepting = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listeners.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(accepted) => {
                failing = false;
                let snapshot = tenants.snapshot();
                let server = &snapshot.settings().server;
                let Ok(place) = addresses.place(&accepted, server) else {
                    tenants.metrics().connections_refused.add_one();
                    continue;
                };
                let open = Open::count(tenants.metrics());
                let handshakes = tls.as_ref().map(|tls| tls.handshakes());
                let stopping = stopping.subscribe();
                let connection =
                    connection::serve(accepted, web.clone(), server.limits, handshakes, stopping);
                loops.spawn(&mut connections, async move {
                    connection.await;
                    drop((open, slot, place));
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(reason = %error.kind(), "connections cannot be accepted for now");
                }
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop((listeners, beside));
    signals::tell_stopping();
    stopping.send_replace(true);
    stop(connections, Duration::from_secs(limits.stop_s)).await;
    Ok(())
}

/// What runs beside the connections until it is dropped: the certificate is kept up to date, plain HTTP redirected.
fn beside(
    keeper: Option<Keeper>,
    redirect: Option<TcpListener>,
    https_port: Option<u16>,
    tenants: &Arc<Tenants>,
) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    let Some(keeper) = keeper else { return beside };
    if let Some(listener) = redirect {
        let presented = Arc::clone(&keeper.tls().presented);
        let port = https_port.unwrap_or(443);
        beside.spawn(redirect::serve(listener, presented, Arc::clone(tenants), port));
    }
    beside.spawn(keeper.keep(Arc::clone(tenants)));
    beside
}

/// Who has how many connections, and when it was last told that somebody has too many.
#[derive(Default)]
struct Addresses {
    places: Places,
    told: Option<Instant>,
    /// Connections that were closed since then.
    refused: usize,
}

/// The address has as many connections as it may.
struct TooMany;

impl Addresses {
    /// A place for the connection; none is needed at a socket file and for a trusted proxy.
    fn place(&mut self, accepted: &Accepted, server: &ServerSettings) -> Result<Option<Place>, TooMany> {
        let Accepted::Tcp(_, address) = *accepted else { return Ok(None) };
        if server.trusted_proxies.contains(address) {
            return Ok(None);
        }
        match self.places.take(address, server.limits.connections_per_address_max) {
            Some(place) => Ok(Some(place)),
            None => {
                self.refuse(address);
                Err(TooMany)
            }
        }
    }

    fn refuse(&mut self, address: IpAddr) {
        self.refused += 1;
        if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            tracing::warn!(
                client = %address,
                connections = self.refused,
                "connections were closed at once: the address has connections_per_address_max already; a proxy is \
                 to be named in trusted_proxies"
            );
            self.told = Some(Instant::now());
            self.refused = 0;
        }
    }
}

async fn stop(mut connections: JoinSet<()>, within: Duration) {
    while connections.try_join_next().is_some() {}
    tracing::info!(connections = connections.len(), "stopping: answering the requests in flight");
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(within, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off what was not answered within stop_s");
    }
    connections.shutdown().await;
    tracing::info!("stopped");
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Metrics>);

impl Open {
    fn count(metrics: &Arc<Metrics>) -> Open {
        metrics.connections.add_one();
        Open(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_ended.add_one();
    }
}

//! `ici-scim serve`: the server, from the configuration to the last answer. `quickstart` uses the same parts.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cli::Globals;
use crate::cli::output::Failure;
use crate::clock::SystemClock;
use crate::config::{self, OpsListen, ServerSettings, Settings};
use crate::server::{Entrance, Inherited, Keeper, Listener, Loops, Ops, StopSignals, Tls};
use crate::tenants::Tenants;

const AFTER_HELP: &str = "\
The server answers at http://ADDRESS/scim/v2/TENANT for every tenant of the configuration file, and takes a \
changed file into service by itself, or at once on SIGHUP. SIGTERM and Ctrl-C let the requests in flight be \
answered, then end it.

Okta needs HTTPS with a publicly trusted certificate: [server.tls] of the configuration names one, or has it got from \
Let's Encrypt. A reverse proxy in front does as well; then public_url is its address.

Examples:
  ici-scim serve
  ici-scim serve --config /etc/ici/tenants.toml --public-url https://scim.example.com
  ici-scim serve --listen unix:/run/ici-scim/scim.sock
  ICI_SCIM_LISTEN=0.0.0.0:8080 ici-scim serve --log-format json";

/// Serve the tenants of the configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    #[command(flatten)]
    listen: Listen,
}

/// Where to listen; shared with `quickstart`.
#[derive(Debug, Clone, clap::Args)]
pub struct Listen {
    /// The address and port to listen on, or a socket file such as `unix:/run/ici-scim/scim.sock` [default: `listen`
    /// of the configuration, or 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = "ICI_SCIM_LISTEN", hide_env_values = true)]
    pub listen: Option<config::Listen>,

    /// The address and port of /healthz, /readyz and /metrics, or "off" [default: `ops_listen` of the configuration,
    /// or 127.0.0.1:8081 if that is free]
    #[arg(long, value_name = "ADDRESS", env = "ICI_SCIM_OPS_LISTEN", hide_env_values = true, value_parser = OpsListen::parse)]
    pub ops_listen: Option<OpsListen>,
}

impl Listen {
    /// Lays these over what every command is told.
    pub fn lay_over(&self, globals: &Globals) -> Globals {
        let mut globals = globals.clone();
        globals.overrides.listen.clone_from(&self.listen);
        globals.overrides.ops_listen = self.ops_listen;
        globals
    }
}

/// Serves until a signal says stop.
///
/// # Errors
/// When the configuration is wrong, or the address cannot be listened on.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let globals = command.listen.lay_over(globals);
    let settings = globals.settings()?;
    let server = Server::bind(&settings.server)?;
    let secure = settings.server.tls.is_some();
    server.serve(&globals, settings, |addresses| {
        for address in addresses {
            let https = secure && matches!(address, config::Listen::Tcp(_));
            tracing::info!(%address, https, "listening");
        }
        Ok(())
    })
}

/// A server that listens and does not answer yet: from here on clients may connect, so that whatever is printed
/// about its address holds.
pub struct Server {
    runtime: Runtime,
    entrance: Entrance,
    /// For health and metrics.
    ops: Option<TcpListener>,
}

impl Server {
    /// Takes the sockets that systemd has opened for this process, or else opens those of the settings; and the one for
    /// health and metrics. Where nobody has said which that is and the default one is taken, as by another server on
    /// the machine, there is none. Reads the certificate.
    ///
    /// # Errors
    /// One clear sentence when the port is taken, the address is not this machine's or the certificate is wrong.
    pub fn bind(settings: &ServerSettings) -> anyhow::Result<Server> {
        // For what is beside the requests: accepting connections, signals, the watch of the configuration.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the server")?;
        // Before the sockets: a server that cannot speak TLS takes no port.
        let tls = settings.tls.clone().map(Tls::start).transpose().map_err(|reason| {
            Failure::usage(format!("[server.tls]: {reason}"))
                .hint("name the files of a certificate and its key, both PEM, which this user may read")
        })?;
        let entrance = runtime.block_on(async {
            let inherited = Inherited::take().context("a socket from systemd cannot be used")?;
            let listeners = if inherited.serving.is_empty() {
                let bound = Listener::bind(&settings.listen).await;
                vec![bound.map_err(|error| cannot_listen(&settings.listen, &error))?]
            } else {
                tracing::info!(
                    sockets = inherited.serving.len(),
                    "serving at the sockets of systemd, and not at listen"
                );
                inherited.serving
            };
            let redirect_listen = settings.tls.as_ref().and_then(|tls| tls.redirect_listen);
            let redirect = match (inherited.redirecting, redirect_listen) {
                (Some(listener), _) => Some(listener),
                (None, Some(address)) => Some(TcpListener::bind(address).await.map_err(|error| {
                    Failure::failed(format!("cannot listen on {address}: {error}"))
                        .hint("give another redirect_listen under [server.tls], or none")
                })?),
                (None, None) => None,
            };
            anyhow::Ok(Entrance { listeners, tls, redirect })
        })?;
        let ops = runtime.block_on(bind_ops(settings.ops.listen))?;
        Ok(Server { runtime, entrance, ops })
    }

    /// Where it listens; with port 0 in the settings, the one that the system chose. At least one.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> anyhow::Result<Vec<config::Listen>> {
        let addresses: std::io::Result<_> = self.entrance.listeners.iter().map(Listener::address).collect();
        addresses.context("cannot tell the address of the listener")
    }

    /// Serves until a signal says stop; a second one ends the program at once. `ready` is called when requests
    /// are answered.
    ///
    /// # Errors
    /// When the tenants cannot be set up, or what `ready` gives.
    pub fn serve(
        self,
        globals: &Globals,
        settings: Settings,
        ready: impl FnOnce(&[config::Listen]) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let addresses = self.addresses()?;
        let stop_s = settings.server.limits.stop_s;
        let ended = self.runtime.block_on(async {
            let tenants = Tenants::new(
                globals.config.clone(),
                settings,
                globals.overrides.clone(),
                Arc::new(SystemClock),
            )?;
            keep_to_the_end(tenants.take_data_dir()?);
            #[cfg(feature = "otlp")]
            let _last_spans = start_traces(&tenants)?;
            let _watch = tenants.watch();
            let _backups = tenants.keep_backups();
            crate::server::reload_on_hangup(Arc::clone(&tenants))?;
            let mut signals = StopSignals::listen().context("cannot take over the signals")?;
            let loops = Loops::start().context("cannot start the threads of the server")?;
            let ops = Ops::new(Arc::clone(&tenants), &loops, self.entrance.tls.as_ref().map(Keeper::tls));
            if let Some(listener) = self.ops {
                let address = listener.local_addr().context("cannot tell the address of ops_listen")?;
                tokio::spawn(Arc::clone(&ops).serve(listener));
                tracing::info!(%address, "health and metrics are served");
            }
            ready(&addresses)?;
            crate::server::tell_ready();
            let (stop, second) = tokio::sync::oneshot::channel();
            let stopping = async move {
                signals.next().await;
                ops.stop();
                let _ = stop.send(signals);
            };
            let second_signal = async move {
                match second.await {
                    Ok(mut signals) => signals.next().await,
                    Err(_) => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                served = crate::server::run(self.entrance, tenants, &loops, stopping) => {
                    served.context("the server failed").map(|()| Ended::AllAnswered)
                }
                () = second_signal => Ok(Ended::AtOnce),
            };
            // What still runs has nobody to answer to; SQLite's files are whole at any moment.
            loops.stop(match ended {
                Ok(Ended::AllAnswered) => Duration::from_secs(stop_s.min(1)),
                _ => Duration::ZERO,
            });
            ended
        })?;
        match ended {
            Ended::AllAnswered => {
                self.runtime.shutdown_timeout(Duration::from_secs(stop_s.min(1)));
                Ok(ExitCode::SUCCESS)
            }
            Ended::AtOnce => {
                tracing::warn!("a second signal: ending at once");
                self.runtime.shutdown_background();
                Ok(ExitCode::from(ENDED_AT_ONCE))
            }
        }
    }
}

/// Starts the traces, if the environment asks for any.
#[cfg(feature = "otlp")]
fn start_traces(tenants: &Tenants) -> anyhow::Result<Option<crate::telemetry::otlp::LastSpans>> {
    Ok(crate::telemetry::otlp::start(tenants.metrics()).map_err(|reason| {
        Failure::usage(reason)
            .hint("docs/configuration.md lists the variables; unset them to serve without traces")
    })?)
}

async fn bind_ops(ops: OpsListen) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = ops.address() else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if ops == OpsListen::Default => {
            tracing::warn!(
                %address,
                reason = %error.kind(),
                "health and metrics are not served, since their default address cannot be used: set ops_listen \
                 under [server] to another address, or to \"off\""
            );
            Ok(None)
        }
        Err(error) => {
            Err(Failure::failed(format!("cannot listen on {address} for health and metrics: {error}"))
                .hint("choose another address with --ops-listen or ops_listen under [server], or \"off\"")
                .into())
        }
    }
}

/// Keeps the lock on the data folder until the process has ended, and with it every thread that may still commit: a
/// commit can outlast `stop_s`, and the next server must not begin before it is over.
fn keep_to_the_end(lock: std::fs::File) {
    std::mem::forget(lock);
}

/// How serving ended.
enum Ended {
    AllAnswered,
    AtOnce,
}

/// Exit code after a second signal, as a shell gives it for Ctrl-C.
const ENDED_AT_ONCE: u8 = 130;

fn cannot_listen(listen: &config::Listen, error: &std::io::Error) -> Failure {
    let address = match listen {
        config::Listen::Tcp(address) => *address,
        config::Listen::Unix(path) => return cannot_make_socket(path, error),
    };
    let (port, ip) = (address.port(), address.ip());
    match error.kind() {
        ErrorKind::AddrInUse => Failure::failed(format!("port {port} on {ip} is already in use"))
            .hint(format!("choose another port with --listen, such as --listen {}", elsewhere(address))),
        ErrorKind::AddrNotAvailable => Failure::failed(format!("{ip} is not an address of this machine"))
            .hint("give one that is with --listen, such as --listen 127.0.0.1:8080"),
        ErrorKind::PermissionDenied => Failure::failed(format!("this user may not listen on port {port}")).hint(
            "choose a port above 1023 with --listen, such as --listen 127.0.0.1:8080, or have systemd open the port \
             or give AmbientCapabilities=CAP_NET_BIND_SERVICE",
        ),
        _ => Failure::failed(format!("cannot listen on {address}: {error}"))
            .hint("choose another address with --listen"),
    }
}

fn cannot_make_socket(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::AddrInUse => Failure::failed(format!("another program listens on {path} already"))
            .hint("stop it first, or choose another file with --listen"),
        ErrorKind::NotFound => Failure::failed(format!("the folder of {path} is not there"))
            .hint("make it for the server's user; systemd does with RuntimeDirectory="),
        _ => Failure::failed(format!("cannot listen on {path}: {error}"))
            .hint("choose another file with --listen, in a folder that this user may write"),
    }
}

/// The next port, for the hint.
fn elsewhere(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(listen: config::Listen) -> anyhow::Error {
        Server::bind(&ServerSettings { listen, ..ServerSettings::default() }).err().unwrap()
    }

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(config::Listen::Tcp(address));
        assert_eq!(error.to_string(), format!("port {} on 127.0.0.1 is already in use", address.port()));
        let hinted = format!("{:?}", error.downcast::<Failure>().unwrap());
        assert!(hinted.contains("--listen 127.0.0.1:"), "{hinted}");
    }

    #[test]
    fn a_socket_file_that_cannot_be_is_told_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scim.sock");
        let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(bind(config::Listen::Unix(path)).to_string().contains("listens on"));
        let nowhere = folder.path().join("no/scim.sock");
        let error = bind(config::Listen::Unix(nowhere)).downcast::<Failure>().unwrap();
        assert!(format!("{error:?}").contains("RuntimeDirectory="), "{error:?}");
    }

    #[test]
    fn the_port_of_the_hint_stays_a_port() {
        let last: SocketAddr = "127.0.0.1:65535".parse().unwrap();
        assert_eq!(elsewhere(last).port(), 8080);
    }
}

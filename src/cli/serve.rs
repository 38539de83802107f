//! `ici-scim serve`: the server, from the configuration to the last answer. `quickstart` uses the same parts.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cli::Globals;
use crate::cli::output::Failure;
use crate::clock::SystemClock;
use crate::config::{OpsListen, Settings};
use crate::server::{Loops, Ops, StopSignals};
use crate::tenants::{Tenants, take_data_dir};

const AFTER_HELP: &str = "\
The server answers at http://ADDRESS/scim/v2/TENANT for every tenant of the configuration file, and takes a \
changed file into service by itself, or at once on SIGHUP. SIGTERM and Ctrl-C let the requests in flight be \
answered, then end it.

Okta needs HTTPS with a publicly trusted certificate, which this program does not provide itself: put a reverse \
proxy in front and give its address as --public-url.

Examples:
  ici-scim serve
  ici-scim serve --config /etc/ici/tenants.toml --public-url https://scim.example.com
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
    /// The address and port to listen on [default: `listen` of the configuration, or 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = "ICI_SCIM_LISTEN", hide_env_values = true, value_parser = address)]
    pub listen: Option<SocketAddr>,

    /// The address and port of /healthz, /readyz and /metrics, or "off" [default: `ops_listen` of the configuration,
    /// or 127.0.0.1:8081 if that is free]
    #[arg(long, value_name = "ADDRESS", env = "ICI_SCIM_OPS_LISTEN", hide_env_values = true, value_parser = OpsListen::parse)]
    pub ops_listen: Option<OpsListen>,
}

impl Listen {
    /// Lays these over what every command is told.
    pub fn lay_over(&self, globals: &Globals) -> Globals {
        let mut globals = globals.clone();
        globals.overrides.listen = self.listen;
        globals.overrides.ops_listen = self.ops_listen;
        globals
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080")
}

/// Serves until a signal says stop.
///
/// # Errors
/// When the configuration is wrong, or the address cannot be listened on.
pub fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    let globals = command.listen.lay_over(globals);
    let settings = globals.settings()?;
    let server = Server::bind(settings.server.listen, settings.server.ops.listen)?;
    server.serve(&globals, settings, |address| {
        tracing::info!(%address, "listening");
        Ok(())
    })
}

/// A server that listens and does not answer yet: from here on clients may connect, so that whatever is printed
/// about its address holds.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    /// For health and metrics.
    ops: Option<TcpListener>,
}

impl Server {
    /// Takes the port, and the one for health and metrics. Where nobody has said which that is and the default one
    /// is taken, as by another server on the machine, there is none.
    ///
    /// # Errors
    /// One clear sentence when the port is taken or the address is not this machine's.
    pub fn bind(address: SocketAddr, ops: OpsListen) -> anyhow::Result<Server> {
        // For what is beside the requests: accepting connections, signals, the watch of the configuration.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the server")?;
        let listener =
            runtime.block_on(TcpListener::bind(address)).map_err(|error| cannot_listen(address, &error))?;
        let ops = runtime.block_on(bind_ops(ops))?;
        Ok(Server { runtime, listener, ops })
    }

    /// The address that was taken; with port 0 in the settings, the one that the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("cannot tell the address of the listener")
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
        ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let address = self.address()?;
        let stop_s = settings.server.limits.stop_s;
        let ended = self.runtime.block_on(async {
            let tenants = Tenants::new(
                globals.config.clone(),
                settings,
                globals.overrides.clone(),
                Arc::new(SystemClock),
            )?;
            keep_to_the_end(take_data_dir(&tenants.snapshot().settings().server.data_dir)?);
            let _watch = tenants.watch();
            let _backups = tenants.keep_backups();
            crate::server::reload_on_hangup(Arc::clone(&tenants))?;
            let mut signals = StopSignals::listen().context("cannot take over the signals")?;
            let loops = Loops::start().context("cannot start the threads of the server")?;
            let ops = Ops::new(Arc::clone(&tenants), &loops);
            if let Some(listener) = self.ops {
                let address = listener.local_addr().context("cannot tell the address of ops_listen")?;
                tokio::spawn(Arc::clone(&ops).serve(listener));
                tracing::info!(%address, "health and metrics are served");
            }
            ready(address)?;
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
                served = crate::server::run(self.listener, tenants, &loops, stopping) => {
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

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let (port, ip) = (address.port(), address.ip());
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::failed(format!("port {port} on {ip} is already in use"))
            .hint(format!("choose another port with --listen, such as --listen {}", elsewhere(address))),
        std::io::ErrorKind::AddrNotAvailable => {
            Failure::failed(format!("{ip} is not an address of this machine"))
                .hint("give one that is with --listen, such as --listen 127.0.0.1:8080")
        }
        std::io::ErrorKind::PermissionDenied => {
            Failure::failed(format!("this user may not listen on port {port}"))
                .hint("choose a port above 1023 with --listen, such as --listen 127.0.0.1:8080")
        }
        _ => Failure::failed(format!("cannot listen on {address}: {error}"))
            .hint("choose another address with --listen"),
    }
}

/// The next port, for the hint.
fn elsewhere(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind(address, OpsListen::Off).err().unwrap();
        assert_eq!(error.to_string(), format!("port {} on 127.0.0.1 is already in use", address.port()));
        let hinted = format!("{:?}", error.downcast::<Failure>().unwrap());
        assert!(hinted.contains("--listen 127.0.0.1:"), "{hinted}");
    }

    #[test]
    fn the_port_of_the_hint_stays_a_port() {
        let last: SocketAddr = "127.0.0.1:65535".parse().unwrap();
        assert_eq!(elsewhere(last).port(), 8080);
    }
}

//! What the system and its service manager say to the server, and what they are told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::tenants::Tenants;

/// The signals that ask the server to stop: SIGTERM and SIGINT (Ctrl-C).
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// A file that may not grow is an error of the write, not the end of the process; see `setrlimit(2)`.
    _file_size: Signal,
}

/// `SIGXFSZ` on Linux and the BSDs.
const FILE_SIZE_SIGNAL: i32 = 25;

impl StopSignals {
    /// Takes the signals over from the system, which would end the process at once.
    ///
    /// # Errors
    /// When the system does not let us. Needs a running tokio runtime.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE_SIGNAL))?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads the configuration anew at every SIGHUP, for as long as the runtime lives.
///
/// # Errors
/// When the system does not let us take the signal. Needs a running tokio runtime.
pub fn reload_on_hangup(tenants: Arc<Tenants>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let tenants = Arc::clone(&tenants);
            tell_reloading();
            // Reading a file blocks. What came of it is logged by `tenants`.
            let _ = tokio::task::spawn_blocking(move || tenants.reload()).await;
            tell(&[NotifyState::Ready]);
        }
    });
    Ok(())
}

/// Tells systemd that requests are answered (`sd_notify(3)`); nothing happens where it did not start the process.
/// Where it asks for a sign of life (`WatchdogSec=`), it gets one for as long as the runtime turns.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        // Twice as often as asked, as systemd advises.
        let mut signs = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
        loop {
            signs.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

/// Tells systemd that no further connections are taken.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell_reloading() {
    // `Type=notify-reload` wants the time at which it began.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody to tell is not an error, and one that does not listen is not ours.
    let _ = sd_notify::notify(states);
}

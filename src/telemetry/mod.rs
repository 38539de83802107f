//! The log: where it goes, in which form, how much of it; and what is logged of a panic.
//!
//! Lines are written by the layers below through `tracing`; this is only where they come out: on stderr, since
//! stdout is for data.
//!
//! The server's lines are written by a thread of their own, many at once: whoever reads them may be slow or stand
//! still, and requests must not. A command writes its few lines itself.

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

mod json;

/// How long lines are gathered before they are written, when there are any.
const GATHERING: Duration = Duration::from_millis(5);

/// Lines are written when so many bytes are gathered, however early.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Lines that wait for the thread that writes them; what comes on top is dropped and counted. A quarter of a second
/// at the rate of a busy machine, at most a few MiB.
const LINES_WAITING_MAX: usize = 8 * 1024;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Who writes the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Whoever logs one, at once: for commands.
    AtOnce,
    /// A thread of its own, within milliseconds: for the server.
    Apart,
}

/// Writes the last lines when it is dropped; `main` keeps it to its end.
#[must_use = "dropped at once, it ends the log"]
pub struct LastLines {
    _worker: Option<WorkerGuard>,
}

/// Starts logging, and makes panics log their place in the source and nothing else.
///
/// `filter` is a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or a list of directives such as
/// `info,ici_scim::tenants=debug`. Without a `format`, a terminal gets text and anything else JSON.
///
/// # Errors
/// One sentence, when the filter cannot be read or logging has been started before.
pub fn start(filter: &str, format: Option<Format>, writing: Writing) -> Result<LastLines, String> {
    let filter = filter_of(filter)?;
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let (writer, worker) = match writing {
        Writing::AtOnce => (BoxMakeWriter::new(io::stderr), None),
        Writing::Apart => {
            let lost = Arc::new(OnceLock::new());
            let gathering = Gathering::new(io::stderr(), GATHERING, Arc::clone(&lost));
            let (writer, worker) = NonBlockingBuilder::default()
                .thread_name("log")
                .buffered_lines_limit(LINES_WAITING_MAX)
                .lossy(true)
                .finish(gathering);
            let _ = lost.set(writer.error_counter());
            (BoxMakeWriter::new(writer), Some(worker))
        }
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // It would tell of a log that cannot be written on that same log, and panic when that fails as well.
        .log_internal_errors(false);
    let started = match format {
        Format::Text => lines.with_target(false).with_ansi(may_colour(&io::stderr())).try_init(),
        Format::Json => lines.event_format(json::JsonLines).try_init(),
    };
    started.map_err(|_| "the log has been started before".to_owned())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LastLines { _worker: worker })
}

/// Gathers lines and writes them together: a system call for each would cost a request as much as the rest of its
/// line does.
struct Gathering<W> {
    out: W,
    lines: Vec<u8>,
    pause: Duration,
    /// Counts the lines that found no place; set once there are any writers.
    lost: Arc<OnceLock<ErrorCounter>>,
    /// How many of those have been told of.
    lost_told: usize,
}

impl<W: Write> Gathering<W> {
    fn new(out: W, pause: Duration, lost: Arc<OnceLock<ErrorCounter>>) -> Gathering<W> {
        Gathering { out, lines: Vec::with_capacity(GATHERED_BYTES_MAX), pause, lost, lost_told: 0 }
    }

    /// What cannot be written is given up: there is nowhere to tell of it.
    fn write_out(&mut self) {
        let _ = self.out.write_all(&self.lines).and_then(|()| self.out.flush());
        self.lines.clear();
    }

    fn tell_of_lost_lines(&mut self) {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        let new = lost.saturating_sub(self.lost_told);
        if new > 0 {
            self.lost_told = lost;
            tracing::warn!(
                lines = new,
                "lines of this log were lost, since whoever reads it did not keep up"
            );
        }
    }
}

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.len() + line.len() > GATHERED_BYTES_MAX {
            self.write_out();
        }
        self.lines.extend_from_slice(line);
        Ok(line.len())
    }

    /// Called when no more lines wait. The pause lets the next ones gather; nobody is woken for them meanwhile.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no condition to wait for: time is what gathers lines"
    )]
    fn flush(&mut self) -> io::Result<()> {
        self.write_out();
        self.tell_of_lost_lines();
        std::thread::sleep(self.pause);
        Ok(())
    }
}

/// Whether a stream is a terminal and the person has not asked for plain text (<https://no-color.org>).
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A plain level is meant for this program: what libraries say at `debug` is noise, and is not held to the rule
/// that no log line holds a secret or a name. Who wants it anyway names the library in a directive.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    let text = text.trim();
    let directives = match text.to_ascii_lowercase().as_str() {
        "off" => "off".to_owned(),
        "error" => "error".to_owned(),
        level @ ("warn" | "info" | "debug" | "trace") => format!("warn,ici_scim={level}"),
        _ if text.contains([',', '=']) => text.to_owned(),
        _ => return Err("the log level must be error, warn, info, debug, trace or off, or a list such as info,ici_scim::tenants=debug".to_owned()),
    };
    EnvFilter::builder().parse(directives).map_err(|error| format!("the log filter cannot be read: {error}"))
}

/// The text of a panic may hold anything that the program has in hand, so only its place is told.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let (file, line) = panic.location().map_or(("?", 0), |location| (location.file(), location.line()));
    tracing::error!(file, line, "panic: a bug in this program");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_for_this_program_and_leaves_libraries_at_warn() {
        assert_eq!(filter_of("debug").unwrap().to_string(), "ici_scim=debug,warn");
        assert_eq!(filter_of(" INFO ").unwrap().to_string(), "ici_scim=info,warn");
        assert_eq!(filter_of("off").unwrap().to_string(), "off");
    }

    #[test]
    fn lines_are_written_together_and_none_is_kept_back() {
        let mut out = Vec::new();
        let mut gathering = Gathering::new(&mut out, Duration::ZERO, Arc::default());
        gathering.write_all(b"one\n").unwrap();
        gathering.write_all(b"two\n").unwrap();
        assert!(gathering.out.is_empty());
        gathering.flush().unwrap();
        assert_eq!(*gathering.out, b"one\ntwo\n");
        gathering.write_all(&vec![b'x'; GATHERED_BYTES_MAX]).unwrap();
        gathering.write_all(b"three\n").unwrap();
        assert_eq!(gathering.out.len(), 8 + GATHERED_BYTES_MAX);
        gathering.flush().unwrap();
        assert!(out.ends_with(b"xthree\n"));
    }

    #[test]
    fn a_log_that_nobody_reads_holds_up_nobody() {
        // A writer that stands still until the end of the test.
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (go_on, stuck) = std::sync::mpsc::channel();
        let gathering = Gathering::new(Stuck(stuck), Duration::ZERO, Arc::default());
        let (mut writer, worker) =
            NonBlockingBuilder::default().buffered_lines_limit(8).lossy(true).finish(gathering);
        for _ in 0..100_000 {
            writer.write_all(b"a line\n").unwrap();
        }
        assert!(writer.error_counter().dropped_lines() > 0);
        drop(go_on);
        drop(worker);
    }

    #[test]
    fn directives_are_taken_as_they_stand_and_nonsense_is_refused() {
        assert_eq!(filter_of("hyper=debug,info").unwrap().to_string(), "hyper=debug,info");
        assert!(filter_of("loud").unwrap_err().contains("error, warn, info"));
        assert!(filter_of("ici_scim=loud").is_err());
        assert!(filter_of("").is_err());
    }
}

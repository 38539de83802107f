//! The log: where it goes, in which form, how much of it; and what is logged of a panic. Traces, with a feature.
//!
//! Lines are written by the layers below through `tracing`; this is only where they come out: on stderr, since
//! stdout is for data.
//!
//! The server's lines are written by a thread of their own, many at once: whoever reads them may be slow or stand
//! still, and requests must not. A command writes its few lines itself.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod gather;
mod json;
#[cfg(feature = "otlp")]
pub mod otlp;

use gather::{Gatherer, Last};

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
    _last: Option<Last>,
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
    let (lines, last) = match writing {
        Writing::AtOnce => (Lines::AtOnce, None),
        Writing::Apart => {
            let started = Gatherer::start(io::stderr());
            let (lines, last) = started.map_err(|error| format!("the log cannot be started: {error}"))?;
            (Lines::Apart(lines), Some(last))
        }
    };
    let started = match format {
        Format::Text => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(lines)
            // It would tell of a log that cannot be written on that same log, and panic when that fails as well.
            .log_internal_errors(false)
            .with_target(false)
            .with_ansi(may_colour(&io::stderr()))
            .try_init(),
        Format::Json => tracing_subscriber::registry()
            .with(json::JsonLines(lines))
            .with(filter)
            .try_init()
            .map_err(Into::into),
    };
    started.map_err(|_| "the log has been started before".to_owned())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LastLines { _last: last })
}

/// Where lines go.
enum Lines {
    AtOnce,
    Apart(Gatherer),
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = EitherWriter<&'a Gatherer, io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Lines::AtOnce => EitherWriter::B(io::stderr()),
            Lines::Apart(lines) => EitherWriter::A(lines),
        }
    }
}

/// Whether a stream is a terminal that can show colours and the person has not asked for plain text
/// (<https://no-color.org>, <https://bixense.com/clicolors>). Help texts follow the same rules, by clap.
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !plain && !is("CLICOLOR", "0") && !is("TERM", "dumb")
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
    fn directives_are_taken_as_they_stand_and_nonsense_is_refused() {
        assert_eq!(filter_of("hyper=debug,info").unwrap().to_string(), "hyper=debug,info");
        assert!(filter_of("loud").unwrap_err().contains("error, warn, info"));
        assert!(filter_of("ici_scim=loud").is_err());
        assert!(filter_of("").is_err());
    }
}

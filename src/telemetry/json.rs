//! A log line as one JSON object, written by hand: a request writes one, and the general way of
//! `tracing-subscriber` costs it three times as much.

use std::fmt::{self, Write};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use crate::clock::{Clock, SystemClock};
use crate::scim::datetime;
use crate::scim::plain::is_plain;

/// `{"timestamp":…,"level":…,"message":…,FIELDS…,"target":…}`, to where it is told. Fields without a value are left out.
/// Spans are not shown: this program has none.
pub(super) struct JsonLines<W>(pub(super) W);

/// Room for the line of a request.
const LINE_BYTES: usize = 384;

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = String::with_capacity(LINE_BYTES);
        line.push_str("{\"timestamp\":\"");
        datetime::push(&mut line, SystemClock.now_ms());
        line.push('"');
        let mut fields = Fields(&mut line);
        fields.text("level", metadata.level().as_str());
        event.record(&mut fields);
        fields.text("target", metadata.target());
        line.push_str("}\n");
        // There is nowhere to tell that the log cannot be written.
        let _ = self.0.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// Writes fields as they come.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        // Names are identifiers of ours and of libraries: nothing in them needs an escape.
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        escape(self.0, value);
        self.0.push('"');
    }

    fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.name(name);
        self.0.push_str(itoa::Buffer::new().format(value));
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field.name());
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Also what is displayed, and every message. JSON has no place for what is no number.
        self.name(field.name());
        self.0.push('"');
        // Writing to a String fails only when the value itself says so; its field is then cut short.
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }
}

/// Writes the inside of a JSON string (RFC 8259 §7).
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

fn escape(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_escape) {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let mut tail = tail.chars();
        match tail.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            // Writing to a String cannot fail.
            Some(control) => drop(write!(out, "\\u{:04x}", u32::from(control))),
            None => {}
        }
        rest = tail.as_str();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> serde_json::Value {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLines(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        assert!(bytes.ends_with(b"}\n"));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_line_holds_the_message_and_every_field_that_has_a_value() {
        let line = logged(|| {
            tracing::info!(
                text = "a \"quoted\" \\ text\n\u{1}\u{7f} é",
                number = 7_u64,
                negative = -7,
                yes = true,
                none = None::<u64>,
                some = Some("x"),
                shown = %std::net::Ipv4Addr::LOCALHOST,
                debug = ?"a\"b",
                "what {}",
                "happened"
            );
        });
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "what happened");
        assert_eq!(line["text"], "a \"quoted\" \\ text\n\u{1}\u{7f} é");
        assert_eq!((&line["number"], &line["negative"]), (&7.into(), &(-7).into()));
        assert_eq!((&line["yes"], &line["some"]), (&true.into(), &"x".into()));
        assert_eq!((&line["shown"], &line["debug"]), (&"127.0.0.1".into(), &"\"a\\\"b\"".into()));
        assert!(line.get("none").is_none());
        assert!(line["target"].as_str().unwrap().ends_with("telemetry::json::tests"));
        assert!(datetime::parse(line["timestamp"].as_str().unwrap()).is_some());
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back_from_a_line(text in "\\PC*|[\\x00-\\x7f]*") {
            let line = logged(|| tracing::warn!(text, "any"));
            proptest::prop_assert_eq!(line["text"].as_str(), Some(text.as_str()));
        }
    }
}

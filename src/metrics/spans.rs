//! Requests on their way to a trace: each is handed over when it is over, to whoever has asked for them, and nothing
//! is waited for. How they are told further is for `telemetry`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::config::TenantName;
use crate::scim::route::Route;

/// Digits of the id of a trace, which is that of the request where the client has none.
const TRACE_DIGITS: usize = 32;

/// Digits of the id of a span.
const SPAN_DIGITS: usize = 16;

/// The methods that are told by name; a client may send any other word.
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];

/// The name of any other method, by the semantic conventions of OpenTelemetry.
pub const OTHER_METHOD: &str = "_OTHER";

/// A request that is to be traced, when it begins. Ids are lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The id of the trace: the client's, or else that of the request.
    pub trace_id: [u8; TRACE_DIGITS],
    /// The id of the client's span.
    pub parent: Option<[u8; SPAN_DIGITS]>,
    /// The method, [`OTHER_METHOD`] unless it is known.
    pub method: &'static str,
    /// The id of the request.
    pub request_id: [u8; TRACE_DIGITS],
}

/// A traced request that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was known when it began.
    pub begun: Begun,
    /// When it ended, in nanoseconds since 1970-01-01T00:00:00Z.
    pub ended_ns: u64,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// What was asked for.
    pub route: Option<Route>,
    /// Missing when it was not answered in full.
    pub status: Option<u16>,
    /// Whose token it had.
    pub tenant: Option<TenantName>,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether a client that has a trace says itself whether the request is part of it.
    pub by_parent: bool,
    /// The part of all others, 0 to 1.
    pub ratio: f64,
}

impl Sampler {
    /// Decides by the trace's last digits, so that every service that goes by them takes the same traces.
    fn takes(self, trace_id: &[u8; TRACE_DIGITS], parent_sampled: Option<bool>) -> bool {
        if let Some(sampled) = parent_sampled.filter(|_| self.by_parent) {
            return sampled;
        }
        let last = std::str::from_utf8(&trace_id[TRACE_DIGITS - 8..]).ok();
        let last = last.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
        f64::from(last) < self.ratio * (f64::from(u32::MAX) + 1.0)
    }
}

/// Where traced requests go; nowhere until somebody asks for them.
#[derive(Debug, Default)]
pub struct Spans {
    sink: OnceLock<Sink>,
    /// Requests for which there was no room, and which were not told of yet.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Sink {
    sampler: Sampler,
    queue: SyncSender<Option<Finished>>,
}

impl Spans {
    /// From here on requests go to `queue`. It takes each as `Some`. Only the first call has an effect.
    pub fn start(&self, sampler: Sampler, queue: SyncSender<Option<Finished>>) {
        let _ = self.sink.set(Sink { sampler, queue });
    }

    /// Notes what is known of a request when it begins, if it is to be traced. `traceparent` is the value of that
    /// header field (W3C Trace Context, 3.2); one that is faulty counts as none, as the standard has it.
    pub fn begin(
        &self,
        method: &str,
        traceparent: Option<&[u8]>,
        request_id: [u8; TRACE_DIGITS],
    ) -> Option<Begun> {
        let sampler = self.sink.get()?.sampler;
        let parent = traceparent.and_then(Parent::read);
        let trace_id = parent.map_or(request_id, |parent| parent.trace_id);
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD);
        sampler.takes(&trace_id, parent.map(|parent| parent.sampled)).then_some(Begun {
            trace_id,
            parent: parent.map(|parent| parent.span_id),
            method,
            request_id,
        })
    }

    /// Hands over a request, or counts it as lost when too many wait already.
    pub fn finish(&self, finished: Finished) {
        if self.sink.get().is_some_and(|sink| sink.queue.try_send(Some(finished)).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// The client's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace_id: [u8; TRACE_DIGITS],
    span_id: [u8; SPAN_DIGITS],
    sampled: bool,
}

impl Parent {
    /// Reads `00-<trace>-<span>-<flags>`; a later version may have more behind it.
    fn read(value: &[u8]) -> Option<Parent> {
        let mut parts = std::str::from_utf8(value).ok()?.split('-');
        let version: [u8; 2] = digits(parts.next()?)?;
        let trace_id = digits(parts.next()?).filter(|id| id.iter().any(|digit| *digit != b'0'))?;
        let span_id = digits(parts.next()?).filter(|id| id.iter().any(|digit| *digit != b'0'))?;
        let flags = parts.next()?;
        digits::<2>(flags)?;
        if version == *b"ff" || (version == *b"00" && parts.next().is_some()) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Parent { trace_id, span_id, sampled })
    }
}

/// Exactly so many lower-case hexadecimal digits.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: [u8; N] = text.as_bytes().try_into().ok()?;
    digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const OURS: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

    fn spans(by_parent: bool, ratio: f64) -> Spans {
        let spans = Spans::default();
        spans.start(Sampler { by_parent, ratio }, sync_channel(1).0);
        spans
    }

    #[test]
    fn a_valid_traceparent_is_the_parent_and_its_flag_decides() {
        let spans = spans(true, 1.0);
        let asked = |flags: &str| format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let begun = spans.begin("GET", Some(asked("01").as_bytes()), OURS).unwrap();
        assert_eq!((&begun.trace_id[..], begun.parent), (TRACE.as_bytes(), Some(*b"00f067aa0ba902b7")));
        assert_eq!((begun.method, begun.request_id), ("GET", OURS));
        assert_eq!(spans.begin("GET", Some(asked("00").as_bytes()), OURS), None);
        let later = format!("01-{TRACE}-00f067aa0ba902b7-03-more");
        assert_eq!(&spans.begin("GET", Some(later.as_bytes()), OURS).unwrap().trace_id[..], TRACE.as_bytes());
    }

    #[test]
    fn a_faulty_traceparent_counts_as_none_and_an_unknown_method_is_not_repeated() {
        let spans = spans(true, 1.0);
        let zeros = "0".repeat(32);
        for faulty in [
            String::new(),
            "mia@example.com".to_owned(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7-+1"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
        ] {
            let begun = spans.begin("MIA", Some(faulty.as_bytes()), OURS).unwrap();
            assert_eq!((begun.trace_id, begun.parent), (OURS, None), "{faulty}");
            assert_eq!(begun.method, OTHER_METHOD);
        }
    }

    #[test]
    fn the_ratio_goes_by_the_last_digits_of_the_trace() {
        let id = |last: &str| -> [u8; 32] { digits(&format!("{}{last}", "a".repeat(24))).unwrap() };
        let half = Sampler { by_parent: true, ratio: 0.5 };
        assert!(half.takes(&id("7fffffff"), None) && !half.takes(&id("80000000"), None));
        assert!(half.takes(&id("80000000"), Some(true)) && !half.takes(&id("00000000"), Some(false)));
        let (all, none) =
            (Sampler { by_parent: false, ratio: 1.0 }, Sampler { by_parent: false, ratio: 0.0 });
        assert!(all.takes(&id("ffffffff"), Some(false)) && !none.takes(&id("00000000"), Some(true)));
    }

    #[test]
    fn nothing_begins_unless_somebody_asked_and_what_finds_no_room_is_counted() {
        assert_eq!(Spans::default().begin("GET", None, OURS), None);
        let spans = Spans::default();
        let (sender, queue) = sync_channel(1);
        spans.start(Sampler { by_parent: true, ratio: 1.0 }, sender);
        let begun = spans.begin("GET", None, OURS).unwrap();
        let finished = Finished {
            begun,
            ended_ns: 0,
            duration: Duration::ZERO,
            route: None,
            status: None,
            tenant: None,
        };
        for _ in 0..3 {
            spans.finish(finished.clone());
        }
        assert_eq!((queue.try_iter().count(), spans.take_lost(), spans.take_lost()), (1, 2, 0));
    }
}

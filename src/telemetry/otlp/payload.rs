//! Finished requests as OTLP has them in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>,
//! named by the semantic conventions for HTTP servers. Ids are hexadecimal, 64-bit numbers are strings.

use serde_json::{Map, Value, json};

use crate::metrics::spans::{Finished, OTHER_METHOD};
use crate::scim::route::Route;

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// `TraceFlags` of W3C, sampled.
const SAMPLED: u32 = 1;

/// It is known whether the parent is on another machine.
const PARENT_KNOWN: u32 = 0x100;

/// The parent is on another machine.
const PARENT_REMOTE: u32 = 0x200;

/// The body of a request to the collector. `span_id` gives a random number for each.
pub(super) fn of(
    resource: &[(String, String)],
    requests: &[Finished],
    mut span_id: impl FnMut() -> u64,
) -> Vec<u8> {
    let resource: Vec<Value> = resource.iter().map(|(name, value)| text(name, value)).collect();
    let spans: Vec<Value> = requests.iter().map(|request| span(request, span_id())).collect();
    let whole = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] });
    whole.to_string().into_bytes()
}

fn span(request: &Finished, id: u64) -> Value {
    let begun = &request.begun;
    let took_ns = u64::try_from(request.duration.as_nanos()).unwrap_or(u64::MAX);
    let mut flags = SAMPLED | PARENT_KNOWN;
    let mut span = Map::new();
    span.insert("traceId".to_owned(), digits(&begun.trace_id).into());
    // An id of zeros is none.
    span.insert("spanId".to_owned(), format!("{:016x}", id.max(1)).into());
    if let Some(parent) = &begun.parent {
        span.insert("parentSpanId".to_owned(), digits(parent).into());
        flags |= PARENT_REMOTE;
    }
    span.insert("flags".to_owned(), flags.into());
    span.insert("name".to_owned(), name(begun.method, request.route).into());
    span.insert("kind".to_owned(), SERVER.into());
    let started_ns = request.ended_ns.saturating_sub(took_ns);
    span.insert("startTimeUnixNano".to_owned(), started_ns.to_string().into());
    span.insert("endTimeUnixNano".to_owned(), request.ended_ns.to_string().into());
    span.insert("attributes".to_owned(), attributes(request).into());
    if request.status.is_some_and(|status| status >= 500) {
        span.insert("status".to_owned(), json!({ "code": ERROR }));
    }
    Value::Object(span)
}

fn name(method: &str, route: Option<Route>) -> String {
    let method = if method == OTHER_METHOD { "HTTP" } else { method };
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", route.label()))
}

fn attributes(request: &Finished) -> Vec<Value> {
    let mut attributes = vec![
        text("http.request.method", request.begun.method),
        text("ici.request_id", digits(&request.begun.request_id)),
    ];
    if let Some(route) = request.route {
        attributes.push(text("http.route", route.label()));
    }
    if let Some(tenant) = &request.tenant {
        attributes.push(text("ici.tenant", tenant.as_str()));
    }
    match request.status {
        Some(status) => {
            let value = json!({ "intValue": status.to_string() });
            attributes.push(json!({ "key": "http.response.status_code", "value": value }));
            if status >= 500 {
                attributes.push(text("error.type", &status.to_string()));
            }
        }
        None => attributes.push(json!({ "key": "ici.abandoned", "value": { "boolValue": true } })),
    }
    attributes
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// Digits are ASCII.
fn digits(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::metrics::spans::Begun;

    fn finished(status: Option<u16>, parent: Option<[u8; 16]>) -> Finished {
        let begun = Begun {
            trace_id: *b"4bf92f3577b34da6a3ce929d0e0e4736",
            parent,
            method: "GET",
            request_id: *b"0123456789abcdef0123456789abcdef",
        };
        Finished {
            begun,
            ended_ns: 1_764_000_000_000_000_000,
            duration: Duration::from_micros(36),
            route: Some(Route::ReadUser),
            status,
            tenant: Some("acme".parse().unwrap()),
        }
    }

    fn spans(requests: &[Finished]) -> Value {
        let whole: Value = serde_json::from_slice(&of(&[], requests, || 0xab)).unwrap();
        whole["resourceSpans"][0]["scopeSpans"][0]["spans"].clone()
    }

    #[test]
    fn a_request_is_a_server_span_as_the_standard_writes_it() {
        assert_eq!(
            spans(&[finished(Some(503), Some(*b"00f067aa0ba902b7"))]),
            json!([{
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": "00000000000000ab",
                "parentSpanId": "00f067aa0ba902b7",
                "flags": 0x301,
                "name": "GET read_user",
                "kind": 2,
                "startTimeUnixNano": "1763999999999964000",
                "endTimeUnixNano": "1764000000000000000",
                "attributes": [
                    { "key": "http.request.method", "value": { "stringValue": "GET" } },
                    { "key": "ici.request_id", "value": { "stringValue": "0123456789abcdef0123456789abcdef" } },
                    { "key": "http.route", "value": { "stringValue": "read_user" } },
                    { "key": "ici.tenant", "value": { "stringValue": "acme" } },
                    { "key": "http.response.status_code", "value": { "intValue": "503" } },
                    { "key": "error.type", "value": { "stringValue": "503" } },
                ],
                "status": { "code": 2 },
            }])
        );
    }

    #[test]
    fn a_refusal_is_no_error_of_the_server_and_an_abandoned_request_has_no_status() {
        let spans = spans(&[finished(Some(404), None), finished(None, None)]);
        assert_eq!((spans[0].get("status"), spans[0].get("parentSpanId")), (None, None));
        assert_eq!(spans[0]["flags"], 0x101);
        let text = spans[1].to_string();
        assert!(text.contains("ici.abandoned") && !text.contains("status_code"), "{text}");
    }
}

use super::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

const HOST: &str = "scim.example.com";

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_static(value));
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    Answer::new("GET /Users?startIndex=1&count=2".to_owned(), status, map, body, 5)
}

fn told(answer: &Answer, authorization: Authorization) -> Finding {
    Refused { answer, expected: &[200], authorization }.finding()
}

fn told_of(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Finding {
    told(&answer(status, headers, body), Authorization::Unknown)
}

#[test]
fn each_way_of_not_reaching_the_server_has_its_cause() {
    let address: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let text = || "x".to_owned();
    let cases = [
        (Fault::Dns { host: HOST.to_owned(), text: text() }, "mistyped", "Name or service not known"),
        (Fault::Refused { address }, "no server listens", "Connection refused"),
        (Fault::Unreachable { address, text: text() }, "does not lead to", "No route to host"),
        (Fault::ConnectTimedOut { address, seconds: 3 }, "a firewall drops", "Connect timed out"),
        (Fault::ClosedEarly, "expects something else", "failed to respond"),
        (Fault::NoAnswer { seconds: 30 }, "gives up after 60 s", "Read timed out"),
        (Fault::BadHttp { text: text() }, "no HTTP server", "null"),
        (TlsFault::Expired { at_s: Some(0) }.into(), "not renewed", "PKIX path validation failed"),
        (TlsFault::NotValidYet.into(), "clock", "PKIX path validation failed"),
        (TlsFault::SelfSigned.into(), "of its own making", "PKIX path building failed"),
        (TlsFault::UnknownIssuer { issuer: text() }.into(), "private authority", "PKIX path building failed"),
        (
            TlsFault::IncompleteChain { issuer: text() }.into(),
            "chain is incomplete",
            "PKIX path building failed",
        ),
        (TlsFault::WrongName { names: vec!["a.test".to_owned()] }.into(), "another server", "[a.test]"),
        (TlsFault::NoTls.into(), "plain HTTP", "unrecognized SSL message"),
        (TlsFault::Handshake { text: text() }.into(), "client certificate", "handshake_failure"),
    ];
    for (fault, cause, shown) in cases {
        let finding = fault.finding("GET /Users", HOST, 443);
        assert!(finding.is_failure(), "{finding:?}");
        assert!(finding.cause.contains(cause), "{finding:?}");
        assert!(finding.shown.as_deref().unwrap_or_default().contains(shown), "{finding:?}");
        assert!(!finding.next.is_empty() && !finding.what.is_empty());
    }
    let expired = Fault::Tls(TlsFault::Expired { at_s: Some(86_400) }).finding("", HOST, 443);
    assert!(expired.what.contains("1970-01-02"), "{expired:?}");
}

#[test]
fn each_refusal_has_its_cause() {
    let html = "<html><title>404 Not Found</title></html>";
    let cases = [
        (301, &[("location", "https://scim.example.com/x")][..], "", "another address"),
        (302, &[("location", "https://sso.example.com/login?x")], "", "sign-in page"),
        (401, &[("www-authenticate", "Basic realm=\"x\"")], html, "password of its own"),
        (401, &[("www-authenticate", "basic realm=\"x\"")], "", "password of its own"),
        (403, &[], html, "a login page"),
        (403, &[], r#"{"detail":"read only"}"#, "read-only token"),
        (404, &[], html, "another program answers"),
        (404, &[], r#"{"detail":"x"}"#, "the path of the Base URL is wrong"),
        (405, &[], "", "does not take this method"),
        (406, &[], "", "refuses the media type"),
        (409, &[], "", "has already"),
        (413, &[], html, "small bodies"),
        (415, &[], "", "refuses the media type"),
        (429, &[], "", "as long as Retry-After says"),
        (500, &[], "", "the server failed"),
        (501, &[], "", "does not take this method"),
        (502, &[], html, "cannot reach the server behind it"),
        (503, &[], "", "paused, overloaded"),
        (504, &[], html, "cannot reach the server behind it"),
        (400, &[], "", "does not take what Okta sends"),
        (202, &[], "", "another status"),
    ];
    for (status, headers, body, cause) in cases {
        let finding = told_of(status, headers, body);
        assert!(finding.cause.contains(cause), "{status} {body}: {finding:?}");
        assert!(finding.what.contains(&status.to_string()), "{finding:?}");
    }
}

#[test]
fn what_okta_shows_is_the_detail_or_that_there_is_none() {
    let shown = |body: &str| told_of(404, &[], body).shown.unwrap();
    assert_eq!(shown(r#"{"detail":"No user."}"#), "Not Found. Errors reported by remote server: No user.");
    assert!(shown("<html>").ends_with("Invalid JSON: Unexpected character ('<' (code 60))"));
    assert!(shown("nothing here").ends_with("Unrecognized token"));
    assert_eq!(shown(""), "Not Found");
}

#[test]
fn a_refused_token_is_told_by_what_more_requests_showed() {
    let refused = answer(401, &[], r#"{"detail":"no"}"#);
    for (authorization, cause) in [
        (Authorization::Unknown, "a proxy in front takes the Authorization header away"),
        (Authorization::AsIfThereWereNone, "says that there is no token"),
        (Authorization::Arrives, "arrives and is wrong"),
        (Authorization::BearerIsMissing, "the word Bearer before"),
        (Authorization::BearerIsTooMuch, "the token alone"),
    ] {
        let finding = told(&refused, authorization);
        assert!(finding.cause.contains(cause), "{finding:?}");
    }
}

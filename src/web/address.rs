//! Where a request goes and under which name the client knows us: paths and the Host header. Pure.

use std::borrow::Cow;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

use crate::web::Head;
use crate::web::peer::Origin;

/// Below this path lies everything that is SCIM.
const ROOT: &str = "/scim/v2";

/// RFC 1035 §2.3.4 allows 255 bytes of name; six more hold a colon and a port.
const HOST_BYTES_MAX: usize = 255 + 6;

/// The path with doubled slashes made one and a trailing one removed: an administrator who enters the Base URL
/// with a slash at its end makes Okta ask for `//Users`.
pub(super) fn fold(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    // To the end, whatever is found: so the compiler looks at many bytes at once.
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let is_doubled = pairs.fold(false, |found, (one, next)| found | ((*one == b'/') & (*next == b'/')));
    if bytes.last() != Some(&b'/') && !is_doubled {
        return Cow::Borrowed(path);
    }
    let mut folded = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        folded.push('/');
        folded.push_str(segment);
    }
    Cow::Owned(folded)
}

/// The tenant's segment and what follows it (empty or starting with a slash) of a folded path; both still
/// percent-encoded and, as they come from anyone, not to be trusted. None when the path is not below `/scim/v2`.
pub(super) fn split(folded: &str) -> Option<(&str, &str)> {
    let below = folded.strip_prefix(ROOT)?.strip_prefix('/')?;
    let end = below.find('/').unwrap_or(below.len());
    Some(below.split_at(end))
}

/// A segment without percent-encoding (RFC 3986 §6.2.2.2); one that is not UTF-8 stays as it is, and is nobody's.
pub(super) fn plain(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    percent_encoding::percent_decode_str(segment).decode_utf8().unwrap_or(Cow::Borrowed(segment))
}

/// Whether a folded path is below another version of the protocol than ours, such as `/scim/v1` (RFC 7644 §3.13).
pub(super) fn is_of_another_version(folded: &str) -> bool {
    let version = folded.strip_prefix("/scim/v").map(|rest| rest.split('/').next().unwrap_or(rest));
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    version.is_some_and(|version| version != "2" && is_number(version))
}

/// The address of the tenant, without a trailing slash: below `public_url` where the operator has set it, else
/// below the host that the client asked for, else below the address we listen on.
pub(super) fn base_url(
    public_url: Option<&str>,
    origin: &Origin<'_>,
    head: &Head,
    listening: &str,
    tenant: &str,
) -> String {
    let below = |scheme: &str, between: &str, site: &str| -> String {
        [scheme, between, site, ROOT, "/", tenant].concat()
    };
    match public_url {
        Some(public_url) => below("", "", public_url.trim_end_matches('/')),
        None => {
            let asked = origin.forwarded_host.or_else(|| host(&head.uri, &head.headers));
            below(origin.scheme, "://", asked.unwrap_or(listening))
        }
    }
}

/// What the client calls us, when it is one plain `name[:port]`: the authority of the request's target, which HTTP/2
/// has in the place of Host and which wins over it in HTTP/1.1 (RFC 9112 §3.2.2), or the Host header.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => only(headers, HOST)?.to_str().ok()?,
    };
    is_plain_host(text).then_some(text)
}

/// The bytes that a host may have; a table, since each of a request's is looked at.
const IN_HOSTS: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        byte += 1;
    }
    bytes
};

/// Whether a text is one plain `name[:port]`. It goes into `Location` and `$ref`, so nothing else may come through.
pub(super) fn is_plain_host(text: &str) -> bool {
    if text.len() > HOST_BYTES_MAX || !text.bytes().all(|byte| IN_HOSTS[usize::from(byte)]) {
        return false;
    }
    // Nearly every host is one; the general way reads it as a part of a URI.
    if is_name_with_port(text) {
        return true;
    }
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let named = !authority.host().is_empty();
    let port_is_right = authority.as_str() == authority.host() || authority.port_u16().is_some();
    named && port_is_right
}

/// Whether a text of plain bytes is for sure a name or an IPv4 address, with a port or none.
fn is_name_with_port(text: &str) -> bool {
    let colon = text.bytes().position(|byte| byte == b':');
    let (name, port) = (&text[..colon.unwrap_or(text.len())], colon.map(|at| &text[at + 1..]));
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    // A sign would be read as part of a number.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    starts && !name.contains(['[', ']']) && port.is_none_or(is_port)
}

/// The header's value when the request gives it exactly once; two of a kind that belongs once are a forgery.
pub(super) fn only(headers: &HeaderMap, name: http::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::web::peer::Peer;

    const LISTENING: &str = "127.0.0.1:8080";

    fn with_host(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        headers
    }

    #[test]
    fn slashes_that_a_sloppy_base_url_brings_are_folded() {
        let cases = [
            ("/scim/v2/acme/Users", "/scim/v2/acme/Users"),
            ("/scim/v2/acme//Users", "/scim/v2/acme/Users"),
            ("//scim/v2/acme/Users///", "/scim/v2/acme/Users"),
            ("/", ""),
            ("", ""),
            ("*", "*"),
            ("/scim/v2/acme/%2f%2F/x", "/scim/v2/acme/%2f%2F/x"),
        ];
        for (path, folded) in cases {
            assert_eq!(fold(path), folded, "{path}");
        }
    }

    #[test]
    fn a_path_splits_into_tenant_and_rest() {
        assert_eq!(split("/scim/v2/acme/Users/1"), Some(("acme", "/Users/1")));
        assert_eq!(split("/scim/v2/acme"), Some(("acme", "")));
        assert_eq!(split("/scim/v2/../x"), Some(("..", "/x")));
        assert_eq!(split("/scim/v2/%00/Users"), Some(("%00", "/Users")));
        for elsewhere in ["", "*", "/scim", "/scim/v2", "/scim/v20/acme", "/SCIM/v2/acme", "/x/scim/v2/acme"]
        {
            assert_eq!(split(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_segment_may_be_encoded() {
        for (segment, name) in [("acme", "acme"), ("%61cme", "acme"), ("a%2Fb", "a/b"), ("%ff", "%ff")] {
            assert_eq!(plain(segment), name);
        }
    }

    #[test]
    fn another_version_is_told_from_another_address() {
        for path in
            ["/scim/v1", "/scim/v1/acme/Users", "/scim/v3/acme", "/scim/v20/acme", "/scim/v1.1/acme/Users"]
        {
            assert!(is_of_another_version(path), "{path}");
        }
        for path in
            ["/scim/v2", "/scim/v2/acme", "/scim/v", "/scim/vx/acme", "/scim", "/v1/acme", "/scim/users"]
        {
            assert!(!is_of_another_version(path), "{path}");
        }
    }

    fn head(target: &str, headers: HeaderMap) -> Head {
        let (method, uri) = (http::Method::GET, target.parse().unwrap());
        Head { method, uri, headers, peer: Arc::new(Peer::local()), body_is_empty: true }
    }

    fn origin(scheme: &'static str, forwarded_host: Option<&'static str>) -> Origin<'static> {
        Origin { forwarded_for: None, scheme, forwarded_host }
    }

    #[test]
    fn the_public_url_wins_over_the_host_and_the_host_over_the_listener() {
        let asked = head("/", with_host("scim.example.com:8443"));
        let base = |public_url, origin: &Origin<'_>, head: &Head| {
            base_url(public_url, origin, head, LISTENING, "acme")
        };
        let (plain, secure) = (origin("http", None), origin("https", None));
        assert_eq!(base(Some("https://a.example/"), &plain, &asked), "https://a.example/scim/v2/acme");
        assert_eq!(base(None, &plain, &asked), "http://scim.example.com:8443/scim/v2/acme");
        assert_eq!(base(None, &secure, &asked), "https://scim.example.com:8443/scim/v2/acme");
        let behind = origin("https", Some("b.example"));
        assert_eq!(base(None, &behind, &asked), "https://b.example/scim/v2/acme");
        assert_eq!(base(None, &plain, &head("/", HeaderMap::new())), "http://127.0.0.1:8080/scim/v2/acme");
    }

    #[test]
    fn the_authority_of_the_target_is_the_host_and_bound_by_the_same_rule() {
        let none = HeaderMap::new();
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert_eq!(host(&uri("https://a.example:1/Users"), &with_host("b.example")), Some("a.example:1"));
        assert_eq!(host(&uri("/Users"), &with_host("b.example")), Some("b.example"));
        assert_eq!(host(&uri("https://u:p@a.example/Users"), &none), None);
    }

    #[test]
    fn a_host_that_is_no_plain_name_and_port_is_not_repeated() {
        let of = |headers: &HeaderMap| host(&Uri::from_static("/"), headers).map(str::to_owned);
        for good in
            ["localhost", "127.0.0.1:8080", "a:65535", "a:00080", "[::1]:8080", "[::1]", "a-b.example.com"]
        {
            assert_eq!(of(&with_host(good)).as_deref(), Some(good));
        }
        for bad in [
            "", "a b", "a/b", "u@h", "a:b", "a:65536", "a:99999", "a\"b", "a?b", "a#b", "a%20b", ":80", "a:",
            "[::1",
        ] {
            assert_eq!(of(&with_host(bad)), None, "{bad}");
        }
        assert_eq!(of(&with_host(&"a".repeat(300))), None);
    }

    #[test]
    fn a_header_given_twice_is_as_good_as_none() {
        let mut headers = with_host("a.example");
        headers.append(HOST, HeaderValue::from_static("b.example"));
        assert_eq!(host(&Uri::from_static("/"), &headers), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_for_a_plain_host_at_a_glance_is_one(text in "[a-z0-9.:\\[\\]-]{0,12}") {
            let authority = text.parse::<Authority>().ok();
            let is_one = authority.is_some_and(|authority| {
                !authority.host().is_empty()
                    && (authority.as_str() == authority.host() || authority.port_u16().is_some())
            });
            proptest::prop_assert!(!is_name_with_port(&text) || is_one);
            proptest::prop_assert_eq!(is_plain_host(&text), is_one);
        }
    }
}

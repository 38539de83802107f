//! Who is at the other end: the socket's word, and that of a trusted proxy about its own client. Pure.
//!
//! A proxy adds what it has seen at the end of `X-Forwarded-For`; anything before that is hearsay. So the list is
//! read from its end, past the proxies that are trusted, and the first other address is the client's.

use std::net::IpAddr;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::config::TrustedProxies;
use crate::web::address;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest list of forwarded addresses that is read, from its end; proxies in a row are few.
const ADDRESSES_MAX: usize = 32;

/// The other end of a connection, as its socket tells.
#[derive(Debug)]
pub struct Peer {
    address: Option<IpAddr>,
    /// What the log calls it.
    text: String,
    https: bool,
}

impl Peer {
    /// Somebody at an address; `https` says whether the connection is encrypted.
    pub fn at(address: IpAddr, https: bool) -> Peer {
        let address = address.to_canonical();
        Peer { address: Some(address), text: address.to_string(), https }
    }

    /// Somebody on this machine, at a socket file. Who may open it is the operator's word, so it is trusted as a
    /// proxy is.
    pub fn local() -> Peer {
        Peer { address: None, text: "unix".to_owned(), https: false }
    }

    /// What the log calls it: its address, or `unix`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its address; `None` for somebody on this machine.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn is_trusted(&self, proxies: &TrustedProxies) -> bool {
        self.address.is_none_or(|address| proxies.contains(address))
    }
}

/// What is known of a request's origin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    /// The client behind a trusted proxy; `None` when the peer itself is the client.
    pub(super) forwarded_for: Option<IpAddr>,
    /// `https` or `http`, as the client asked.
    pub(super) scheme: &'static str,
    /// The host that the client asked a trusted proxy for.
    pub(super) forwarded_host: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// What the peer tells when it is a trusted proxy, else what its connection is.
    pub(super) fn of(peer: &Peer, headers: &'a HeaderMap, proxies: &TrustedProxies) -> Origin<'a> {
        let scheme = if peer.https { "https" } else { "http" };
        // The common case first: nobody is trusted, and no header is looked for.
        if (proxies.is_empty() && peer.address.is_some()) || !peer.is_trusted(proxies) {
            return Origin { forwarded_for: None, scheme, forwarded_host: None };
        }
        let scheme = match last(headers, &FORWARDED_PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http",
            _ => scheme,
        };
        let forwarded_host = last(headers, &FORWARDED_HOST).filter(|host| address::is_plain_host(host));
        Origin { forwarded_for: client(headers, proxies), scheme, forwarded_host }
    }
}

/// The last address of `X-Forwarded-For` that is not a trusted proxy's. What is no address ends the search: nobody
/// vouches for what stands before it.
fn client(headers: &HeaderMap, proxies: &TrustedProxies) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let mut client = None;
    for entry in lines.flat_map(entries_from_end).take(ADDRESSES_MAX) {
        let Some(address) = entry.and_then(address_of) else { break };
        client = Some(address);
        if !proxies.contains(address) {
            break;
        }
    }
    client
}

/// An address, also in brackets or with a port, as some proxies write it.
fn address_of(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

/// The last value of a header that each proxy may have added to: that of the nearest one.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    entries_from_end(headers.get_all(name).into_iter().next_back()?).next()?
}

/// The entries of a line, the last one first; `None` for one that is no text. Each is read by itself: the client wrote
/// the line's beginning and the proxy its end.
fn entries_from_end(line: &HeaderValue) -> impl Iterator<Item = Option<&str>> {
    line.as_bytes().rsplit(|byte| *byte == b',').map(|entry| std::str::from_utf8(entry.trim_ascii()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn proxies(list: &str) -> TrustedProxies {
        let text = format!("[server]\ntrusted_proxies = {list}");
        crate::config::parse(&text, "t").unwrap().server.trusted_proxies
    }

    fn forwarded(peer: &Peer, list: &str, pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let headers = headers(pairs);
        Origin::of(peer, &headers, &proxies(list)).forwarded_for.map(|address| address.to_string())
    }

    #[test]
    fn the_word_of_an_untrusted_peer_counts_for_nothing() {
        let forged = headers(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ]);
        let peer = Peer::at("203.0.113.9".parse().unwrap(), false);
        for list in ["[]", "[\"10.0.0.0/8\"]"] {
            let origin = Origin::of(&peer, &forged, &proxies(list));
            assert_eq!(origin, Origin { forwarded_for: None, scheme: "http", forwarded_host: None });
        }
    }

    #[test]
    fn a_trusted_proxy_tells_client_scheme_and_host() {
        let told = headers(&[
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "scim.example.com:8443"),
        ]);
        for peer in [Peer::at("10.0.0.1".parse().unwrap(), false), Peer::local()] {
            let origin = Origin::of(&peer, &told, &proxies("[\"10.0.0.0/8\"]"));
            assert_eq!(origin.forwarded_for, "198.51.100.7".parse().ok());
            assert_eq!((origin.scheme, origin.forwarded_host), ("https", Some("scim.example.com:8443")));
        }
    }

    #[test]
    fn the_list_is_read_from_its_end_past_trusted_proxies_only() {
        let peer = Peer::at("10.0.0.1".parse().unwrap(), false);
        let trusted = "[\"10.0.0.0/8\"]";
        for (line, client) in [
            ("1.1.1.1, 198.51.100.7, 10.0.0.2", Some("198.51.100.7")),
            ("10.0.0.3, 10.0.0.2", Some("10.0.0.3")),
            ("1.1.1.1, nonsense, 10.0.0.2", Some("10.0.0.2")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("192.0.2.1:5000", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(forwarded(&peer, trusted, &[("x-forwarded-for", line)]).as_deref(), client, "{line}");
        }
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2, 10.9.9.9")];
        assert_eq!(forwarded(&peer, trusted, &two).as_deref(), Some("2.2.2.2"));
        assert_eq!(forwarded(&peer, trusted, &[]), None);
    }

    #[test]
    fn what_a_client_wrote_before_it_does_not_hide_what_a_proxy_added_to_the_line() {
        let line = |bytes: &'static [u8]| HeaderValue::from_bytes(bytes).unwrap();
        let mut told = HeaderMap::new();
        told.append("x-forwarded-for", line(b"\xff, 198.51.100.7"));
        told.append("x-forwarded-proto", line(b"\xff, https"));
        told.append("x-forwarded-host", line(b"\xff, scim.example.com"));
        let peer = Peer::at("10.0.0.1".parse().unwrap(), false);
        let trusted = proxies("[\"10.0.0.0/8\"]");
        let origin = Origin::of(&peer, &told, &trusted);
        assert_eq!(origin.forwarded_for, "198.51.100.7".parse().ok());
        assert_eq!((origin.scheme, origin.forwarded_host), ("https", Some("scim.example.com")));
        // Of trusted proxies alone the one before it is the client; nobody vouches for more.
        for (bytes, client) in [
            (&b"1.1.1.1, \xff, 10.0.0.2"[..], Some("10.0.0.2")),
            (b"1.1.1.1, 198.51.100.7\xff", None),
            (b"\xff", None),
        ] {
            told.insert("x-forwarded-for", line(bytes));
            let origin = Origin::of(&peer, &told, &trusted);
            assert_eq!(origin.forwarded_for, client.map(|client| client.parse().unwrap()), "{bytes:?}");
        }
    }

    #[test]
    fn a_host_or_scheme_that_is_none_is_passed_over() {
        let told = headers(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b/c")]);
        let peer = Peer::at("10.0.0.1".parse().unwrap(), true);
        let origin = Origin::of(&peer, &told, &proxies("[\"10.0.0.0/8\"]"));
        assert_eq!((origin.scheme, origin.forwarded_host), ("https", None));
    }
}

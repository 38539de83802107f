//! What a request over plain HTTP is answered where HTTPS is served: its own address, with `https`.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};

use crate::web::address;

/// Below this path an ACME server asks whether a name is ours (RFC 8555 §8.3).
const ACME_CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The port of `https://` (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// The token of an ACME server's question, if it is one.
pub fn acme_token(uri: &Uri) -> Option<&str> {
    let token = uri.path().strip_prefix(ACME_CHALLENGES)?;
    (!token.is_empty() && !token.contains('/')).then_some(token)
}

/// Whether a request has sent a token in the clear.
pub fn has_token(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
}

/// Answers with the same address below `public_url`, else below the host that was asked for, at the port that HTTPS
/// is served at; 400 when neither is known. The method and the body are kept by who follows (308, RFC 9110 §15.4.9).
pub fn redirect(
    uri: &Uri,
    headers: &HeaderMap,
    public_url: Option<&str>,
    https_port: u16,
) -> Response<String> {
    let site = public_url
        .filter(|url| url.starts_with("https://"))
        .map(|url| url.trim_end_matches('/').to_owned())
        .or_else(|| asked_site(uri, headers, https_port));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = site.map(|site| format!("{site}{path}"));
    let location = location.and_then(|location| HeaderValue::try_from(location).ok());
    let text = if location.is_some() {
        "This server is spoken to over HTTPS; use https:// in the address.\n"
    } else {
        "This server is spoken to over HTTPS, and the request does not say at which name.\n"
    };
    let mut response = Response::new(text.to_owned());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match location {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn asked_site(uri: &Uri, headers: &HeaderMap, https_port: u16) -> Option<String> {
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => address::only(headers, HOST)?.to_str().ok()?,
    };
    if !address::is_plain_host(host) {
        return None;
    }
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host();
    Some(if https_port == HTTPS_PORT {
        format!("https://{name}")
    } else {
        format!("https://{name}:{https_port}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(
        target: &str,
        host: Option<&'static str>,
        public_url: Option<&str>,
        port: u16,
    ) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_static(host));
        }
        let answer = redirect(&target.parse().unwrap(), &headers, public_url, port);
        let location = answer.headers().get(LOCATION).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(answer.status(), if location.is_some() { 308 } else { 400 });
        location
    }

    #[test]
    fn the_same_address_is_named_with_https() {
        let target = "/scim/v2/acme/Users?count=2";
        for (host, public_url, port, expected) in [
            (Some("scim.example.com"), None, 443, Some("https://scim.example.com")),
            (Some("scim.example.com:80"), None, 8443, Some("https://scim.example.com:8443")),
            (Some("[::1]:80"), None, 443, Some("https://[::1]")),
            (Some("a.example"), Some("https://b.example"), 8443, Some("https://b.example")),
            (Some("a.example"), Some("http://b.example"), 443, Some("https://a.example")),
            (None, None, 443, None),
            (Some("evil.example/x?"), None, 443, None),
        ] {
            let expected = expected.map(|site| format!("{site}{target}"));
            assert_eq!(location(target, host, public_url, port), expected, "{host:?}");
        }
    }

    #[test]
    fn only_a_token_below_its_path_is_an_acme_servers_question() {
        let token = |path: &'static str| acme_token(&Uri::from_static(path)).map(str::to_owned);
        assert_eq!(token("/.well-known/acme-challenge/abc_-1").as_deref(), Some("abc_-1"));
        for other in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/a/b", "/scim/v2/acme"] {
            assert_eq!(token(other), None, "{other}");
        }
    }
}

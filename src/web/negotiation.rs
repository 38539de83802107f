//! What a client wants of an answer, by its headers (RFC 9110 §12.5): the media type and the content coding. Pure.
//!
//! A header that is absent, or that nobody can read, asks for nothing in particular.

use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::web::coding::Coding;

/// The media type of RFC 7644 §3.1.
const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");
/// The one that RFC 7644 §3.8 has beside it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Thousandths, as RFC 9110 §12.4.2 has them.
type Quality = u16;
const BEST: Quality = 1000;

/// The media type that an answer is given in: `application/scim+json` unless the client likes `application/json`
/// better. None when it takes neither.
pub(super) fn media_type(headers: &HeaderMap) -> Option<HeaderValue> {
    match headers.get(ACCEPT).map(HeaderValue::as_bytes) {
        None | Some(b"application/scim+json" | b"*/*") => return Some(SCIM_JSON),
        Some(_) => {}
    }
    let mut named = false;
    let (mut scim, mut plain) = (Range::default(), Range::default());
    for (range, quality) in items(headers, ACCEPT) {
        named |= range.contains('/');
        scim.consider(range, "application/scim+json", quality);
        plain.consider(range, "application/json", quality);
    }
    match (scim.quality, plain.quality) {
        (0, 0) if named => None,
        (scim, plain) if plain > scim => Some(JSON),
        _ => Some(SCIM_JSON),
    }
}

/// The best match of a media type so far: a more exact range counts more (RFC 9110 §12.5.1).
#[derive(Default)]
struct Range {
    exactness: u8,
    quality: Quality,
}

impl Range {
    fn consider(&mut self, range: &str, media_type: &str, quality: Quality) {
        let exactness = match range {
            _ if range.eq_ignore_ascii_case(media_type) => 3,
            _ if range.eq_ignore_ascii_case("application/*") => 2,
            "*/*" => 1,
            _ => return,
        };
        if exactness > self.exactness {
            *self = Range { exactness, quality };
        } else if exactness == self.exactness {
            self.quality = self.quality.max(quality);
        }
    }
}

/// The content coding that an answer may be given in; none where the client asks for none that there is.
pub(super) fn coding(headers: &HeaderMap) -> Option<Coding> {
    let (mut gzip, mut zstd, mut any) = (None, None, None);
    for (name, quality) in items(headers, ACCEPT_ENCODING) {
        let place = match Coding::named(name) {
            Some(Coding::Gzip) => &mut gzip,
            Some(Coding::Zstd) => &mut zstd,
            None if name == "*" => &mut any,
            None => continue,
        };
        *place = (*place).max(Some(quality));
    }
    let (gzip, zstd) = (gzip.or(any).unwrap_or(0), zstd.unwrap_or(0));
    // Who names zstd and likes both alike gets the one that costs less.
    match (gzip, zstd) {
        (0, 0) => None,
        (gzip, zstd) if zstd >= gzip => Some(Coding::Zstd),
        _ => Some(Coding::Gzip),
    }
}

/// The items of a list with their qualities, without other parameters. One whose quality cannot be read is taken for
/// the best.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, Quality)> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| quality(value.trim()))
        });
        Some((name, quality.unwrap_or(BEST)))
    })
}

/// `0`, `1`, `0.5`, `1.000` and the like.
fn quality(text: &str) -> Quality {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if digits => format!("{part:0<3}").parse().unwrap_or(BEST),
        _ => BEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn json_is_given_as_the_client_likes_it_best() {
        for (accept, expected) in [
            (&[][..], "application/scim+json"),
            (&["application/scim+json"], "application/scim+json"),
            (&["application/scim+json; charset=utf-8"], "application/scim+json"),
            (&["*/*"], "application/scim+json"),
            (&["application/*;q=0.1"], "application/scim+json"),
            (&["text/html, */*;q=0.1"], "application/scim+json"),
            (&["application/json, text/plain, */*"], "application/scim+json"),
            (&["application/json"], "application/json"),
            (&["APPLICATION/JSON"], "application/json"),
            (&["application/json, application/scim+json"], "application/scim+json"),
            (&["application/json", "application/scim+json"], "application/scim+json"),
            (&["application/json, application/scim+json;q=0.5"], "application/json"),
            (&["application/scim+json;q=0, */*"], "application/json"),
            (&[""], "application/scim+json"),
            (&["json"], "application/scim+json"),
        ] {
            let found = media_type(&with(ACCEPT, accept));
            assert_eq!(found.unwrap(), expected, "{accept:?}");
        }
    }

    #[test]
    fn who_takes_no_json_is_known() {
        for accept in ["text/html", "application/xml, text/*", "*/*;q=0", "application/*;q=0.000, text/html"]
        {
            assert_eq!(media_type(&with(ACCEPT, &[accept])), None, "{accept}");
        }
    }

    #[test]
    fn the_coding_is_one_that_the_client_takes() {
        for (accept, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["br, deflate"], None),
            (&["gzip,deflate"], Some(Coding::Gzip)),
            (&["X-GZIP"], Some(Coding::Gzip)),
            (&["gzip;q=0.2", "br;q=0.3"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0, *"], None),
            (&["*"], Some(Coding::Gzip)),
            (&["*;q=0"], None),
            (&["br;q=0, *;q=0.5"], Some(Coding::Gzip)),
            (&["gzip;q=nonsense"], Some(Coding::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Coding::Zstd)),
            (&["ZSTD"], Some(Coding::Zstd)),
            (&["zstd;q=0.5, gzip"], Some(Coding::Gzip)),
            (&["zstd;q=0, *"], Some(Coding::Gzip)),
            (&["zstd;q=0"], None),
        ] {
            assert_eq!(coding(&with(ACCEPT_ENCODING, accept)), expected, "{accept:?}");
        }
    }
}

//! From facts to the sentence that a person needs: what Okta shows its administrator, what is the likely cause, what
//! to do. Pure.
//!
//! Okta's client is written in Java on Apache's HTTP client; its messages are those that administrators report, and
//! may differ in a word from one release to the next.

use std::net::SocketAddr;

use crate::probe::answer::shown;
use crate::probe::{Answer, BodyKind};
use crate::scim::datetime;

/// After so long Okta hangs up, in seconds.
pub(super) const OKTA_PATIENCE_S: u64 = 60;

/// What follows when the connection test fails, whatever the reason.
const NOT_TESTED: &str = "The connector configuration could not be tested. Make sure that the URL, Authentication \
                          Parameters are correct and that there is an implementation available at the URL provided.";

/// One thing to say about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    failure: bool,
    /// What happened.
    pub what: String,
    /// What Okta shows its administrator; none when it shows nothing.
    pub shown: Option<String>,
    /// The likely cause.
    pub cause: String,
    /// What to do.
    pub next: String,
}

impl Finding {
    /// Something that makes Okta fail.
    pub fn failure(
        what: impl Into<String>,
        shown: Option<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Finding {
        Finding { failure: true, what: what.into(), shown, cause: cause.into(), next: next.into() }
    }

    /// Something that Okta lives with, and that should be looked at.
    pub fn warning(
        what: impl Into<String>,
        shown: Option<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Finding {
        Finding { failure: false, ..Finding::failure(what, shown, cause, next) }
    }

    /// Whether Okta fails over it.
    pub fn is_failure(&self) -> bool {
        self.failure
    }
}

/// There was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The name has no address.
    Dns {
        /// The name.
        host: String,
        /// The resolver's words.
        text: String,
    },
    /// Nobody listens there.
    Refused {
        /// The address.
        address: SocketAddr,
    },
    /// The network does not lead there.
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        text: String,
    },
    /// The connection did not come about in time.
    ConnectTimedOut {
        /// The address.
        address: SocketAddr,
        /// How long it was waited for.
        seconds: u64,
    },
    /// TLS did not come about.
    Tls(TlsFault),
    /// The connection ended before the answer did.
    ClosedEarly,
    /// No answer in time.
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
    },
    /// What came is not HTTP, or not such as can be read.
    BadHttp {
        /// What is wrong.
        text: String,
    },
}

/// Why TLS did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate has expired.
    Expired {
        /// When, in seconds since 1970-01-01T00:00:00Z.
        at_s: Option<i64>,
    },
    /// The certificate is not valid yet.
    NotValidYet,
    /// The issuer is in no list of trusted ones, though the server sent more than its own certificate.
    UnknownIssuer {
        /// The issuer's name.
        issuer: String,
    },
    /// The certificate is its own issuer.
    SelfSigned,
    /// The server sent its own certificate alone, and the issuer's is not a root.
    IncompleteChain {
        /// The issuer's name.
        issuer: String,
    },
    /// The certificate is of other names.
    WrongName {
        /// Those names.
        names: Vec<String>,
    },
    /// The port does not speak TLS.
    NoTls,
    /// The two did not agree on anything else.
    Handshake {
        /// What the library says.
        text: String,
    },
}

/// What further requests told about a refused token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing was tried, or it told nothing.
    Unknown,
    /// With `Bearer ` before the token, which was sent without, the server takes it.
    BearerIsMissing,
    /// Without the `Bearer ` with which it was sent, the server takes it.
    BearerIsTooMuch,
    /// A token that cannot be right is refused in other words than none: the header arrives.
    Arrives,
    /// The server answers as if there had been no token.
    AsIfThereWereNone,
}

/// An answer that was not as expected.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// The answer.
    pub answer: &'a Answer,
    /// The statuses that would have been right.
    pub expected: &'static [u16],
    /// For 401 and 403: what further requests told.
    pub authorization: Authorization,
}

impl Fault {
    /// What there is to say about it; `asked` is the request, `host` and `port` are those of the Base URL.
    pub fn finding(&self, asked: &str, host: &str, port: u16) -> Finding {
        let connect =
            |reason: &str| Some(format!("Error authenticating: Connect to {host}:{port} failed: {reason}"));
        match self {
            Fault::Dns { host, text } => Finding::failure(
                format!("the name {host} was not found: {}", shown(text)),
                Some(format!("Error authenticating: {host}: Name or service not known. {NOT_TESTED}")),
                "the name in the Base URL is mistyped, or it is known only to name servers inside your network",
                format!(
                    "look the name up from outside (`dig {host} @1.1.1.1`), and publish it if it is missing"
                ),
            ),
            Fault::Refused { address } => Finding::failure(
                format!("{address} refuses connections"),
                connect("Connection refused"),
                "no server listens on that port: it is not running, listens on 127.0.0.1 alone, or on another port",
                "see that the server runs and on which address it listens; see the port in the Base URL",
            ),
            Fault::Unreachable { address, text } => Finding::failure(
                format!("{address} cannot be reached: {}", shown(text)),
                connect("No route to host"),
                "the name leads to an address that the network does not lead to, such as an internal or an IPv6 one",
                "see which addresses the name has, and whether each of them is right",
            ),
            Fault::ConnectTimedOut { address, seconds } => Finding::failure(
                format!("{address} did not take the connection within {seconds} s"),
                connect("Connect timed out"),
                "a firewall drops what comes from outside, or the name leads to an internal address",
                "allow Okta's addresses (Settings > Downloads > Okta IP ranges in its admin console) on the firewall",
            ),
            Fault::Tls(fault) => fault.finding(host),
            Fault::ClosedEarly => Finding::failure(
                format!("{asked}: the connection was closed before there was a whole answer"),
                Some(format!("Error authenticating: {host}:{port} failed to respond. {NOT_TESTED}")),
                "the port expects something else (TLS where http:// is entered), or a firewall, a proxy or the \
                 server itself ended the connection",
                "see whether the Base URL should begin with https://, and look into the logs of the proxy and the server",
            ),
            Fault::NoAnswer { seconds } => Finding::failure(
                format!("{asked}: no answer within {seconds} s"),
                Some("Error authenticating: Read timed out".to_owned()),
                format!(
                    "the server or what is behind it is overloaded or hangs, or a proxy waits for a server that is \
                     gone; Okta itself gives up after {OKTA_PATIENCE_S} s"
                ),
                "see the server's log for the request; try again from the machine itself to leave the proxy out",
            ),
            Fault::BadHttp { text } => Finding::failure(
                format!("{asked}: {}", shown(text)),
                Some(format!("Error authenticating: null. {NOT_TESTED}")),
                "something answers that is no HTTP server, such as a port that speaks TLS while http:// is entered; or a \
                 damaged answer came through",
                "see whether the Base URL should begin with https://, and what listens on that port",
            ),
        }
    }
}

impl TlsFault {
    fn finding(&self, host: &str) -> Finding {
        let path = "PKIX path building failed: unable to find valid certification path to requested target";
        let say = |text: &str| Some(format!("Error authenticating: {text}"));
        let of = |issuer: &str| if issuer.is_empty() { "the issuer".to_owned() } else { issuer.to_owned() };
        match self {
            TlsFault::Expired { at_s } => Finding::failure(
                match at_s {
                    Some(at_s) => format!("the certificate expired at {}", datetime::format(at_s * 1000)),
                    None => "the certificate has expired".to_owned(),
                },
                say("PKIX path validation failed: validity check failed"),
                "the certificate was not renewed, or the server has not read the renewed one",
                "renew the certificate and have the server or proxy read it again",
            ),
            TlsFault::NotValidYet => Finding::failure(
                "the certificate is not valid yet",
                say("PKIX path validation failed: validity check failed"),
                "the certificate begins in the future, or the clock of this machine is wrong",
                "see the clock here, then the dates of the certificate",
            ),
            TlsFault::UnknownIssuer { issuer } => Finding::failure(
                format!("the certificate's issuer is trusted by nobody: {}", of(issuer)),
                say(path),
                "the certificate comes from a private authority, or a proxy that looks into TLS stands in between",
                "get a certificate of a public authority: Okta has no place to enter your own. To try the rest \
                 nevertheless: --ca FILE",
            ),
            TlsFault::SelfSigned => Finding::failure(
                "the certificate is self-signed",
                say(path),
                "the server shows a certificate of its own making, as servers and proxies do before one is set up",
                "get a certificate of a public authority: Okta has no place to enter your own. To try the rest \
                 nevertheless: --ca FILE",
            ),
            TlsFault::IncompleteChain { issuer } => Finding::failure(
                format!("the server sends its own certificate and not that of {}", of(issuer)),
                say(path),
                "the chain is incomplete: the certificate's file lacks the intermediate ones (browsers fetch them, \
                 Okta does not); or it comes from a private authority",
                "serve the file that has the whole chain, often called fullchain.pem",
            ),
            TlsFault::WrongName { names } => {
                let names = if names.is_empty() { "other names".to_owned() } else { names.join(", ") };
                Finding::failure(
                    format!("the certificate is for {names}, not for {host}"),
                    say(&format!(
                        "Certificate for <{host}> doesn't match any of the subject alternative names: [{names}]"
                    )),
                    "the name leads to another server, or the proxy shows its default certificate because it does \
                     not know the name",
                    format!("get a certificate that names {host}, or correct the name in the Base URL"),
                )
            }
            TlsFault::NoTls => Finding::failure(
                "the port does not speak TLS",
                say("Unsupported or unrecognized SSL message"),
                "https:// is entered, and the port speaks plain HTTP",
                "name the port of the TLS server, or put TLS before this one",
            ),
            TlsFault::Handshake { text } => Finding::failure(
                format!("the TLS handshake failed: {}", shown(text)),
                say("Received fatal alert: handshake_failure"),
                "the server offers only versions or ciphers that are given up, asks for a client certificate, or \
                 does not know the name",
                "let the server offer TLS 1.2 and 1.3 without client certificates",
            ),
        }
    }
}

impl Refused<'_> {
    /// What there is to say about it.
    pub fn finding(&self) -> Finding {
        let answer = self.answer;
        let what = match answer.detail() {
            Some(detail) => format!("{} answered {}: {detail}", answer.asked, answer.status),
            None => format!("{} answered {}{}", answer.asked, answer.status, self.body_words()),
        };
        let (cause, next) = self.cause();
        Finding::failure(what, Some(self.shown()), cause, next)
    }

    fn body_words(&self) -> &'static str {
        match self.answer.kind() {
            BodyKind::Empty => " without a body",
            BodyKind::Json => "",
            BodyKind::Html => " with a page for browsers",
            BodyKind::Text => " with plain text",
        }
    }

    fn shown(&self) -> String {
        let reason = reason_of(self.answer.status);
        match (self.answer.kind(), self.answer.json.get("detail").and_then(|detail| detail.as_str())) {
            (_, Some(detail)) => format!("{reason}. Errors reported by remote server: {}", shown(detail)),
            (BodyKind::Html, _) => format!(
                "{reason}. Errors reported by remote server: Invalid JSON: Unexpected character ('<' (code 60))"
            ),
            (BodyKind::Text, _) => {
                format!("{reason}. Errors reported by remote server: Invalid JSON: Unrecognized token")
            }
            _ => reason.to_owned(),
        }
    }

    fn cause(&self) -> (String, String) {
        let answer = self.answer;
        let say = |cause: &str, next: &str| (cause.to_owned(), next.to_owned());
        match answer.status {
            300..=399 => self.redirect(),
            401 | 403 if self.asks_for_basic() => say(
                "a proxy in front asks for a password of its own (WWW-Authenticate: Basic) and never lets the token through",
                "switch the proxy's own sign-in off for the path of the Base URL",
            ),
            401 | 403 if answer.kind() == BodyKind::Html => say(
                "a login page, a firewall or a proxy in front answers, not the SCIM server",
                "let requests to the path of the Base URL through without sign-in; the token protects it",
            ),
            401 => self.unauthorized(),
            403 => say(
                "the token is known and may not do this (a read-only token), or a firewall in front refuses the request",
                "enter a token that may also write; if the answer is not the SCIM server's, allow the method and path \
                 in the firewall",
            ),
            404 => self.not_found(),
            405 | 501 => say(
                "the server, or a proxy in front, does not take this method",
                "allow GET, POST, PUT, PATCH and DELETE in the proxy; a server without PATCH serves no app of Okta's catalog",
            ),
            406 | 415 => say(
                "something in front refuses the media type application/scim+json",
                "allow application/scim+json in Accept and Content-Type",
            ),
            409 => say(
                "the server takes what is made here for something that it has already",
                "see whether an earlier run left it behind: its name begins with ICI-SCIM-Probe",
            ),
            413 => say("the proxy in front takes only small bodies", "raise its limit to at least 4 MiB"),
            429 => say(
                "the server limits how often it may be asked; Okta waits as long as Retry-After says, in whole seconds, \
                 and five minutes without one",
                "raise the limit if this goes on",
            ),
            502 | 504 => say(
                "a proxy answers that cannot reach the server behind it",
                "see that the server runs, and where the proxy sends its requests",
            ),
            503 => say(
                "the server is paused, overloaded or just starting, or a proxy has no healthy server",
                "try again; if it stays, look into the logs of the server and the proxy",
            ),
            500..=599 => say("the server failed", "look into the server's log for this request"),
            200..=299 => say(
                "the server answers with another status than SCIM says",
                "see the server's documentation for this operation",
            ),
            _ => say(
                "the server does not take what Okta sends",
                "compare the request with what the server expects; the message above is all that Okta shows as well",
            ),
        }
    }

    fn asks_for_basic(&self) -> bool {
        let asked = self.answer.header("www-authenticate").unwrap_or_default().trim_start();
        asked.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
    }

    fn unauthorized(&self) -> (String, String) {
        let (cause, next) = match self.authorization {
            Authorization::BearerIsMissing => (
                "this server wants the word Bearer before the token",
                "enter `Bearer ` and the token in Okta's API Token field, with the blank between them",
            ),
            Authorization::BearerIsTooMuch => (
                "this server wants the token alone, and an app of the wizard sends `Bearer ` before it",
                "use the catalog's app SCIM 2.0 Test App (Header Auth), which sends the field as it stands",
            ),
            Authorization::Arrives => (
                "the token arrives and is wrong: mistyped, revoked, expired, or of another tenant",
                "enter the token anew, whole and without blanks; if in doubt, make a new one",
            ),
            Authorization::AsIfThereWereNone => (
                "the server says that there is no token: a proxy in front takes the Authorization header away",
                "have the proxy pass Authorization on (Apache: `CGIPassAuth On`; nginx: no `proxy_set_header \
                 Authorization \"\"`; API gateways: an own setting)",
            ),
            Authorization::Unknown => (
                "the token is wrong (mistyped, revoked, expired, of another tenant), the tenant's name in the Base URL is \
                 wrong, or a proxy in front takes the Authorization header away",
                "try from the machine itself, past the proxy: if that works, the proxy is it; else enter the token anew",
            ),
        };
        (cause.to_owned(), next.to_owned())
    }

    fn not_found(&self) -> (String, String) {
        if self.answer.kind() == BodyKind::Html || self.answer.kind() == BodyKind::Text {
            return (
                "another program answers at this address: a wrong host, or a proxy that does not pass this path on"
                    .to_owned(),
                "see the path of the Base URL (here it ends in /scim/v2/ and the tenant's name) and the proxy's rules"
                    .to_owned(),
            );
        }
        (
            "the path of the Base URL is wrong: a part is missing or too much".to_owned(),
            "compare the Base URL with the one that the server's documentation or `ici-scim tenant list` shows"
                .to_owned(),
        )
    }

    fn redirect(&self) -> (String, String) {
        let to = self.answer.header("location").map(shown).unwrap_or_else(|| "elsewhere".to_owned());
        let signs_in =
            ["login", "signin", "sign-in", "/sso", "oauth", "saml"].iter().any(|word| to.contains(word));
        let cause = if signs_in {
            format!("the request is sent to a sign-in page ({to}): a proxy in front protects the path")
        } else {
            format!(
                "the server sends whoever asks to another address ({to}), as from http to https or to another name"
            )
        };
        (
            cause,
            "enter the address to which it leads as Base URL; what Okta writes does not survive a redirect"
                .to_owned(),
        )
    }
}

/// The phrase of a status, as Okta shows it.
fn reason_of(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;

//! The connection to the server under trial: name, socket and handshake one by one, so that each can be told from the
//! others when it fails, then requests with the headers that Okta was captured sending.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::Stopwatch;
use crate::probe::trust::{self, LastShown};
use crate::probe::{Answer, BadCertificates, BaseUrl, Fault, TlsFault};

/// Largest answer that is read; a page of 100 users is a tenth of a megabyte.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Deepest chain of causes that is looked through.
const CAUSES_MAX: usize = 16;

/// Speaks to one server.
pub(super) struct Http {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    tls: Arc<ClientConfig>,
    last_shown: LastShown,
    base_url: BaseUrl,
    timeout: Duration,
}

/// What a connection that came about was like.
pub(super) struct Reached {
    /// The address that answered.
    pub(super) address: SocketAddr,
    /// The version of TLS, such as `TLSv1_3`.
    pub(super) tls: Option<String>,
    /// When the certificate expires, in seconds since 1970-01-01T00:00:00Z.
    pub(super) expires_s: Option<i64>,
}

impl Http {
    /// A client of the server at a Base URL.
    ///
    /// # Errors
    /// When a certificate in `authorities` cannot be trusted.
    pub(super) fn new(
        base_url: &BaseUrl,
        authorities: &[rustls::pki_types::CertificateDer<'static>],
        timeout: Duration,
    ) -> Result<Http, BadCertificates> {
        let last_shown = LastShown::default();
        let config = trust::client_config(authorities, &last_shown)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config.clone())
            .https_or_http()
            .enable_http1()
            .build();
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .build(connector);
        Ok(Http { client, tls: Arc::new(config), last_shown, base_url: base_url.clone(), timeout })
    }

    /// Finds the server's address, connects and shakes hands, and hangs up again.
    pub(super) async fn reach(&self) -> Result<Reached, Fault> {
        let (address, stream) = self.connect().await?;
        if !self.base_url.is_https() {
            return Ok(Reached { address, tls: None, expires_s: None });
        }
        let host = self.base_url.host().to_owned();
        let name = ServerName::try_from(host)
            .map_err(|error| Fault::Dns { host: self.base_url.host().to_owned(), text: error.to_string() })?;
        let shaking = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let stream = match tokio::time::timeout(self.timeout, shaking).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.fault_of(&error)),
            Err(_) => return Err(Fault::NoAnswer { seconds: self.timeout.as_secs() }),
        };
        let version = stream.get_ref().1.protocol_version();
        let tls = version.and_then(|version| version.as_str()).map(str::to_owned);
        Ok(Reached { address, tls, expires_s: self.last_shown.expires_s() })
    }

    async fn connect(&self) -> Result<(SocketAddr, TcpStream), Fault> {
        let (host, port) = (self.base_url.host(), self.base_url.port());
        let dns = |text: String| Fault::Dns { host: host.to_owned(), text };
        let looking = tokio::net::lookup_host((host, port));
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(self.timeout, looking).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(dns(error.to_string())),
            Err(_) => return Err(dns("no name server answered".to_owned())),
        };
        let mut last = dns("the name has no address".to_owned());
        for address in addresses {
            match tokio::time::timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((address, stream)),
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = Fault::Refused { address };
                }
                Ok(Err(error)) => last = Fault::Unreachable { address, text: error.to_string() },
                Err(_) => last = Fault::ConnectTimedOut { address, seconds: self.timeout.as_secs() },
            }
        }
        Err(last)
    }

    /// Sends a request and reads the whole answer. `authorization` is the value of that header field, or none.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Fault> {
        let bad = |text: String| Fault::BadHttp { text };
        let mut request = Request::builder()
            .method(method)
            .uri(self.base_url.join(path))
            // As captured; servers and firewalls that refuse one of them are found by it.
            .header(ACCEPT, "application/scim+json")
            .header(ACCEPT_CHARSET, "utf-8")
            .header(ACCEPT_ENCODING, "gzip,deflate")
            .header(USER_AGENT, "Okta SCIM Client 1.0.0");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/scim+json; charset=utf-8");
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| bad(error.to_string()))?;
        let watch = Stopwatch::start();
        let answering = async {
            let response = self.client.request(request).await.map_err(|error| self.fault_of(&error))?;
            let (head, body) = response.into_parts();
            Ok::<_, Fault>((head, self.read(body).await?))
        };
        let (head, body) = match tokio::time::timeout(self.timeout, answering).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Fault::NoAnswer { seconds: self.timeout.as_secs() }),
        };
        let body = unpack(head.headers.get("content-encoding"), body).map_err(bad)?;
        let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Answer::new(format!("{method} {path}"), head.status.as_u16(), head.headers, body, took_ms))
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Fault> {
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Fault::BadHttp { text: format!("the answer is larger than {ANSWER_BYTES_MAX} bytes") })
            }
            Err(error) => Err(self.fault_of(&*error)),
        }
    }

    /// What an error of the libraries means: the first cause in its chain that says something definite.
    fn fault_of(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
        let mut cause = Some(error);
        let mut last = error.to_string();
        for _ in 0..CAUSES_MAX {
            let Some(error) = cause else { break };
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Fault::Tls(self.last_shown.fault(error));
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    return Fault::Tls(self.last_shown.fault(inner));
                }
                match error.kind() {
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionAborted => return Fault::ClosedEarly,
                    _ => {}
                }
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_incomplete_message() {
                    return Fault::ClosedEarly;
                }
                if error.is_parse() {
                    return Fault::BadHttp { text: error.to_string() };
                }
            }
            last = error.to_string();
            cause = error.source();
        }
        Fault::BadHttp { text: last }
    }
}

impl From<TlsFault> for Fault {
    fn from(fault: TlsFault) -> Fault {
        Fault::Tls(fault)
    }
}

/// The body without its coding; Okta offers `gzip` and `deflate`.
fn unpack(coding: Option<&HeaderValue>, body: Bytes) -> Result<Bytes, String> {
    use std::io::Read as _;
    let coding = coding.map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let mut whole = Vec::new();
    let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let read = match coding.as_deref() {
        None | Some("" | "identity") => return Ok(body),
        Some(_) if body.is_empty() => return Ok(body),
        Some("gzip") => flate2::read::GzDecoder::new(&body[..]).take(limit).read_to_end(&mut whole),
        Some("deflate") => flate2::read::ZlibDecoder::new(&body[..]).take(limit).read_to_end(&mut whole),
        Some(other) => return Err(format!("the answer is packed as {other}, which was not asked for")),
    };
    match read {
        Ok(_) => Ok(whole.into()),
        Err(error) => Err(format!("the answer says that it is packed, and cannot be unpacked: {error}")),
    }
}

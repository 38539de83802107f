//! HTTPS in the binary: versions of TLS and HTTP, certificates that change, the redirect beside it, and the limits of
//! a connection that holds for HTTP/2.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ici_scim::clock::Stopwatch;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Version, tls};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::raw::{self, Connection};
use crate::support::server::{BINARY, run_to_end};
use crate::support::{Config, PATIENCE, Server, Token, http, okta, until};

/// The name that the certificates are for.
const NAME: &str = "scim.test";

/// A private certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for [`NAME`] and its key, PEM.
    fn certificate(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Puts a new certificate and its key into the folder.
    fn issue_into(&self, folder: &Path) {
        let (chain, key) = self.certificate();
        fs::write(folder.join("key.pem"), key).unwrap();
        fs::write(folder.join("cert.pem"), chain).unwrap();
    }

    /// A client that trusts this authority and nobody else, and finds [`NAME`] at the address.
    fn client(&self, address: SocketAddr) -> reqwest::blocking::ClientBuilder {
        http()
            .add_root_certificate(reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap())
            .tls_built_in_root_certs(false)
            .resolve(NAME, address)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
    }
}

/// A folder with a certificate, and the configuration that names it.
struct Secure {
    authority: Authority,
    folder: TempDir,
    token: Token,
}

impl Secure {
    fn new() -> Secure {
        let secure = Secure {
            authority: Authority::new(),
            folder: TempDir::new().unwrap(),
            token: Token::new("okta"),
        };
        secure.authority.issue_into(secure.folder.path());
        secure
    }

    /// The configuration, with further keys of `[server.tls]`.
    fn config(&self, more: &str) -> Config {
        let folder = self.folder.path().display();
        let table = format!("{{ cert = \"{folder}/cert.pem\", key = \"{folder}/key.pem\"{more} }}");
        Config::acme(&self.token).server("tls", &table)
    }

    fn start(&self, more: &str) -> Server {
        Server::start(&self.config(more))
    }

    fn get(&self, client: &reqwest::blocking::Client, server: &Server) -> reqwest::Result<u16> {
        let request = client.get(url(server, "/Users")).header("authorization", self.token.text());
        Ok(request.send()?.status().as_u16())
    }
}

fn url(server: &Server, path: &str) -> String {
    format!("https://{NAME}:{}/scim/v2/acme{path}", server.address().port())
}

#[test]
fn both_versions_of_http_and_of_tls_are_spoken_and_answers_point_to_https() {
    let secure = Secure::new();
    let server = secure.start("");
    for (number, tls_version) in [tls::Version::TLS_1_2, tls::Version::TLS_1_3].into_iter().enumerate() {
        for (http_1_only, version) in [(true, Version::HTTP_11), (false, Version::HTTP_2)] {
            let mut client = secure
                .authority
                .client(server.address())
                .min_tls_version(tls_version)
                .max_tls_version(tls_version);
            if http_1_only {
                client = client.http1_only();
            }
            let client = client.build().unwrap();
            let name = format!("{number}-{http_1_only}@x.test");
            let created = client
                .post(url(&server, "/Users"))
                .header("authorization", secure.token.text())
                .header("content-type", "application/scim+json")
                .body(okta::user(&name).to_string())
                .send()
                .unwrap();
            assert_eq!((created.status().as_u16(), created.version()), (201, version), "{tls_version:?}");
            let user: Value = created.json().unwrap();
            let location = user["meta"]["location"].as_str().unwrap();
            assert_eq!(location, url(&server, &format!("/Users/{}", user["id"].as_str().unwrap())));
            let found = client.get(location).header("authorization", secure.token.text()).send().unwrap();
            assert_eq!((found.status().as_u16(), found.version()), (200, version));
        }
    }
}

#[test]
fn an_older_version_of_tls_than_min_version_is_refused() {
    let secure = Secure::new();
    let server = secure.start(", min_version = \"1.3\"");
    let client =
        |version| secure.authority.client(server.address()).max_tls_version(version).build().unwrap();
    assert!(secure.get(&client(tls::Version::TLS_1_2), &server).is_err());
    assert_eq!(secure.get(&client(tls::Version::TLS_1_3), &server).unwrap(), 200);
    // The setting is live.
    server.write_config(&secure.config("").text());
    until("TLS 1.2 is taken", || secure.get(&client(tls::Version::TLS_1_2), &server).is_ok());
}

#[test]
fn a_changed_certificate_is_served_and_a_faulty_one_keeps_the_one_before() {
    let secure = Secure::new();
    let server = secure.start("");
    let kept = secure.authority.client(server.address()).build().unwrap();
    assert_eq!(secure.get(&kept, &server).unwrap(), 200);

    // A key that is not that of the certificate: as when only one of two files was copied.
    let (_, foreign) = secure.authority.certificate();
    fs::write(secure.folder.path().join("key.pem"), foreign).unwrap();
    let told = server.log().wait_for_message("the changed certificate is faulty");
    assert!(told["reason"].as_str().unwrap().contains("key.pem is not that of the certificate"), "{told}");
    let again = secure.authority.client(server.address()).build().unwrap();
    assert_eq!(secure.get(&again, &server).unwrap(), 200, "the one before is served");

    // Another authority's, so that it shows which one is served.
    let other = Authority::new();
    other.issue_into(secure.folder.path());
    let written = Stopwatch::start();
    until("the new certificate is served", || {
        secure.get(&other.client(server.address()).build().unwrap(), &server).is_ok()
    });
    assert!(written.elapsed() < Duration::from_secs(5), "{:?}", written.elapsed());
    assert_eq!(secure.get(&kept, &server).unwrap(), 200, "a connection that stands is left alone");
    let fresh = secure.authority.client(server.address()).build().unwrap();
    assert!(secure.get(&fresh, &server).is_err(), "the one before is served no longer");
}

#[test]
fn a_certificate_that_cannot_be_served_keeps_the_server_and_check_from_starting() {
    let secure = Secure::new();
    let config = secure.folder.path().join("tenants.toml");
    fs::write(&config, secure.config("").text()).unwrap();
    fs::write(secure.folder.path().join("cert.pem"), "not PEM").unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"]] {
        let output = run_to_end(Command::new(BINARY).args(command).arg("--config").arg(&config));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("[server.tls]") && stderr.contains("cert.pem"), "{stderr}");
    }
}

#[test]
fn check_warns_of_a_certificate_that_expires_or_is_for_another_name() {
    let secure = Secure::new();
    let config = secure.folder.path().join("tenants.toml");
    let text = secure.config("").server("public_url", "\"https://other.test\"").text();
    fs::write(&config, text).unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    fs::write(secure.folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(secure.folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let output = run_to_end(Command::new(BINARY).arg("check").arg("--config").arg(&config));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("has expired at 2021-01-01T00:00:00"), "{stderr}");
    assert!(stderr.contains("for scim.test, and not for other.test of public_url"), "{stderr}");
}

#[test]
fn plain_http_beside_it_is_redirected_and_a_token_in_the_clear_is_told() {
    let secure = Secure::new();
    let server = secure.start(", redirect_listen = \"127.0.0.1:0\"");
    let told = server.log().wait_for_message("redirecting to HTTPS");
    let address: SocketAddr = told["address"].as_str().unwrap().parse().unwrap();
    let client = http().redirect(reqwest::redirect::Policy::none()).resolve(NAME, address).build().unwrap();
    let plain = format!("http://{NAME}:{}/scim/v2/acme/Users?count=2", address.port());
    let answer = client.get(&plain).header("authorization", secure.token.text()).send().unwrap();
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["location"].to_str().unwrap(), url(&server, "/Users?count=2"));
    server.log().wait_for_message("Authorization header over plain HTTP");
    let unknown = client.get(format!("http://{NAME}:{}/.well-known/acme-challenge/x", address.port()));
    assert_eq!(unknown.send().unwrap().status(), 308, "there is no such proof");
    // Plain HTTP at the port of HTTPS is no handshake, and nothing is said.
    let mut wrong = Connection::open(server.address());
    wrong.send(raw::request("GET", "/scim/v2/acme/Users", &[]));
    assert!(wrong.is_closed());
}

#[test]
fn a_handshake_that_does_not_come_is_cut_off() {
    let secure = Secure::new();
    let server = Server::start(&secure.config("").limit("header_read_s", 1));
    let mut silent = Connection::open(server.address());
    let mut slow = Connection::open(server.address());
    // The beginning of a ClientHello.
    slow.send([0x16, 3, 1]);
    assert!(silent.is_closed() && slow.is_closed());
}

type Sender<B> = http2::SendRequest<B>;

/// A client of HTTP/2 that leaves everything to the test.
async fn speak_h2<B>(secure: &Secure, address: SocketAddr) -> (Sender<B>, tokio::task::JoinHandle<()>)
where
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(secure.authority.pem.as_bytes()).unwrap())
        .unwrap();
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(NAME.try_into().unwrap(), stream).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async { drop(connection.await) }))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn h2_request<B>(secure: &Secure, method: &str, path: &str, body: B) -> http::Request<B> {
    http::Request::builder()
        .method(method)
        .uri(format!("https://{NAME}/scim/v2/acme{path}"))
        .header("authorization", secure.token.text())
        .header("content-type", "application/scim+json")
        .body(body)
        .unwrap()
}

#[test]
fn with_http_2_a_body_needs_no_length_and_the_host_is_the_authority() {
    let secure = Secure::new();
    let server = secure.start("");
    runtime().block_on(async {
        let (mut sender, _connection) = speak_h2(&secure, server.address()).await;
        let text = json!({ "userName": "parts@x.test" }).to_string();
        let parts: Vec<_> =
            text.bytes().map(|byte| Ok(Frame::data(Bytes::copy_from_slice(&[byte])))).collect();
        let answer = sender
            .send_request(h2_request(&secure, "POST", "/Users", StreamBody::new(stream::iter(parts))))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 201);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let user: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(user["userName"], "parts@x.test");
        let location = user["meta"]["location"].as_str().unwrap();
        assert!(location.starts_with(&format!("https://{NAME}/scim/v2/acme/Users/")), "{location}");
    });
}

#[test]
fn with_http_2_an_idle_connection_and_one_without_a_request_are_closed() {
    let secure = Secure::new();
    let server = Server::start(&secure.config("").limit("keep_alive_s", 1).limit("header_read_s", 1));
    runtime().block_on(async {
        let (mut sender, connection) = speak_h2(&secure, server.address()).await;
        let request = h2_request(&secure, "GET", "/Users", Full::new(Bytes::new()));
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        tokio::time::timeout(PATIENCE, connection).await.expect("an idle connection ends").unwrap();
        let (_silent, connection) = speak_h2::<Full<Bytes>>(&secure, server.address()).await;
        tokio::time::timeout(PATIENCE, connection).await.expect("one without a request ends").unwrap();
    });
}

#[test]
fn with_http_2_a_head_too_large_is_refused_and_many_requests_at_once_are_answered() {
    let secure = Secure::new();
    let server = secure.start("");
    runtime().block_on(async {
        let (mut sender, _connection) = speak_h2(&secure, server.address()).await;
        // The first one has the token checked, for which few may wait at once.
        let request = h2_request(&secure, "GET", "/Users", Full::new(Bytes::new()));
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        let mut all = Vec::new();
        for _ in 0..150 {
            let request = h2_request(&secure, "GET", "/Users", Full::new(Bytes::new()));
            sender.ready().await.unwrap();
            all.push(sender.send_request(request));
        }
        for answer in all {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        let mut request = h2_request(&secure, "GET", "/Users", Full::new(Bytes::new()));
        let long = http::HeaderValue::try_from("x".repeat(8 * 1024)).unwrap();
        for _ in 0..12 {
            request.headers_mut().append("x-filler", long.clone());
        }
        let refused = sender.send_request(request).await;
        assert!(refused.is_err() || refused.unwrap().status() == 431);
        let (mut sender, _connection) = speak_h2(&secure, server.address()).await;
        let request = h2_request(&secure, "GET", "/Users", Full::new(Bytes::new()));
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    });
}

/// A body whose parts come when the test sends them.
type Parts = StreamBody<std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

fn parts(receiver: mpsc::Receiver<&'static str>) -> Parts {
    let next = |mut receiver: mpsc::Receiver<&'static str>| async move {
        let part = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), receiver))
    };
    StreamBody::new(Box::pin(stream::unfold(receiver, next)))
}

#[test]
fn a_stop_answers_what_is_in_flight_over_http_2_and_waits_for_no_handshake() {
    let secure = Secure::new();
    let server = secure.start("");
    runtime().block_on(async {
        let _shaking = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let (mut sender, _connection) = speak_h2(&secure, server.address()).await;
        let (send, receiver) = mpsc::channel(1);
        let answering = sender.send_request(h2_request(&secure, "POST", "/Users", parts(receiver)));
        let answering = tokio::spawn(answering);
        send.send("{\"userName\":").await.unwrap();
        // The server has it when it has answered a request that came after it.
        let (_, none) = mpsc::channel(1);
        let other = h2_request(&secure, "GET", "/Users", parts(none));
        assert_eq!(sender.send_request(other).await.unwrap().status(), 200);
        server.signal("TERM");
        server.log().wait_for_message("stopping");
        send.send("\"in-flight@x.test\"}").await.unwrap();
        drop(send);
        assert_eq!(answering.await.unwrap().unwrap().status(), 201);
    });
    assert!(server.ended().success());
}

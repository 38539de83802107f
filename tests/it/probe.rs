//! `ici-scim probe`: against the real server, and against small servers that each have one fault.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::server::{BINARY, clean_environment, run_to_end};
use crate::support::{Server, Tenant, Token, until};

/// A folder with a token.
struct Desk {
    folder: TempDir,
}

struct Told {
    code: i32,
    report: Value,
}

impl Desk {
    fn with(token: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
        Desk { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        clean_environment(&mut command);
        command.args(["probe", url, "--token-file"]).arg(self.file("token")).args(more);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, url: &str, more: &[&str]) -> Output {
        run_to_end(&mut self.command(url, more))
    }

    fn told(&self, url: &str, more: &[&str]) -> Told {
        let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
        let output = self.run(url, &more);
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Told { code: output.status.code().unwrap(), report }
    }
}

impl Told {
    fn step(&self, name: &str) -> &Value {
        let steps = self.report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {}", self.report))
    }

    fn results(&self) -> Vec<(&str, &str)> {
        let steps = self.report["steps"].as_array().unwrap();
        steps.iter().map(|step| (step["step"].as_str().unwrap(), step["result"].as_str().unwrap())).collect()
    }

    /// Checks that a step failed, and that cause and what Okta shows have these words.
    #[track_caller]
    fn failed(&self, step: &str, cause: &str, shown: &str) {
        assert_eq!(self.code, 1, "{}", self.report);
        let step = self.step(step);
        assert_eq!(step["result"], "failed", "{step}");
        let findings = step["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["failure"] == true).unwrap();
        assert!(finding["likely_cause"].as_str().unwrap().contains(cause), "{finding}");
        assert!(finding["okta_shows"].as_str().unwrap_or_default().contains(shown), "{finding}");
    }
}

const EMPTY_LIST: &str = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"startIndex":1,"itemsPerPage":0,"Resources":[]}"#;

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

const JSON: &str = "Content-Type: application/scim+json\r\n";

fn error(status: u16, detail: &str) -> String {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": status.to_string(), "detail": detail,
    });
    answer(&format!("{status} X"), JSON, &body.to_string())
}

/// A server that gives to each request's head what `respond` makes of it; None lets the client wait.
fn faulty(respond: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let respond = Arc::new(respond);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let respond = Arc::clone(&respond);
            thread::spawn(move || serve(stream, &*respond));
        }
    });
    address
}

fn serve(mut stream: impl Read + Write, respond: &dyn Fn(&str) -> Option<String>) {
    let mut head = String::new();
    let mut length = 0;
    let mut reader = BufReader::new(&mut stream);
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(count) if count > 0) {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    match respond(&head) {
        Some(answer) => {
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.flush();
        }
        // Until the client goes.
        None => {
            let _ = stream.read(&mut [0]);
        }
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/scim/v2/acme")
}

fn people_and_groups(tenant: &Tenant) -> (u64, u64) {
    let client = tenant.client();
    let total = |path: &str| client.get(path).expect(200)["totalResults"].as_u64().unwrap();
    (total("/Users?count=0"), total("/Groups?count=0"))
}

#[test]
fn okta_comes_through_to_our_server_in_both_styles_and_nothing_is_left_behind() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let desk = Desk::with(tenant.token.text());
    client.create("/Users", crate::support::okta::user("ada@example.com"));
    for style in ["template", "wizard"] {
        let told = desk.told(client.base(), &["--style", style]);
        for (step, result) in told.results() {
            // http:// is warned about, and the test server has nothing else.
            let expected = if step == "base-url" { "warning" } else { "ok" };
            assert_eq!(result, expected, "{style}: {step}: {}", told.report);
        }
        assert_eq!((told.code, told.results().len()), (0, 20), "{}", told.report);
        assert_eq!(people_and_groups(&tenant), (1, 0));
    }
    // With a slash at its end, as people enter it.
    assert_eq!(desk.told(&format!("{}/", client.base()), &[]).code, 0);
    let table = desk.run(client.base(), &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("STEP "), "{table}");
    assert!(!table.contains(tenant.token.text()));
    assert!(!table.contains('\u{1b}'), "colours go to terminals alone");
}

#[test]
fn read_only_plays_the_test_alone_and_changes_nothing() {
    let tenant = Tenant::fresh();
    let desk = Desk::with(&format!("Bearer {}", tenant.token.text()));
    let told = desk.told(tenant.client().base(), &["--read-only"]);
    let steps: Vec<&str> = told.results().iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, ["base-url", "connect", "test-users", "test-groups", "wrong-token"]);
    assert_eq!(told.code, 0, "{}", told.report);
    assert_eq!(people_and_groups(&tenant), (0, 0));
}

#[test]
fn the_token_comes_from_standard_input_as_well_and_never_from_the_command_line() {
    let tenant = Tenant::fresh();
    let desk = Desk::with("unused");
    let mut command = Command::new(BINARY);
    clean_environment(&mut command);
    command.args(["probe", tenant.client().base(), "--read-only", "--token-file", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(tenant.token.text().as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    for (arguments, expected) in [
        (vec!["probe", "https://x/scim/v2/acme"], "--token-file"),
        (vec!["probe", "x", "--token-file", "token"], "a Base URL"),
        (vec!["probe", "https://x/y", "--token-file", "nothing"], "cannot read the token"),
        (vec!["probe", "https://x/y", "--token-file", "token", "--ca", "token"], "no certificate"),
        (vec!["probe", "https://x/y", "--token-file", "token", "--domain", "a b"], "a domain"),
    ] {
        let output = run_to_end(Command::new(BINARY).args(&arguments).current_dir(desk.folder.path()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_wrong_token_and_one_that_may_only_read_are_told_apart() {
    let (writes, reads) = (Token::new("okta"), Token::new("audit").read_only());
    let server = Server::start(
        &crate::support::Config::new()
            .tenant(crate::support::TenantConfig::new("acme").token(&writes).token(&reads)),
    );
    let base = url(server.address());
    let wrong = Desk::with("ici_nonsense").told(&base, &[]);
    wrong.failed(
        "test-users",
        "the token is wrong",
        "Unauthorized. Errors reported by remote server: Missing",
    );
    assert_eq!(wrong.step("create")["result"], "skipped");
    let read_only = Desk::with(reads.text()).told(&base, &[]);
    read_only.failed("create", "a read-only token", "may only read");
    assert_eq!(Desk::with(reads.text()).told(&base, &["--read-only"]).code, 0);
    let nowhere = Desk::with(writes.text()).told(&format!("http://{}/scim/acme", server.address()), &[]);
    nowhere.failed("test-users", "the path of the Base URL is wrong", "There is nothing at this address");
    let nobody = Desk::with(writes.text()).told(&format!("http://{}/scim/v2/globex", server.address()), &[]);
    nobody.failed("test-users", "the tenant's name in the Base URL is wrong", "Unauthorized");
}

#[test]
fn an_interrupted_series_removes_what_it_made() {
    let created = Arc::new(Mutex::new((false, Vec::new())));
    let seen = Arc::clone(&created);
    // Creates the first user, and never answers the second create.
    let address = faulty(move |head| {
        let mut seen = seen.lock().unwrap();
        let line = head.lines().next().unwrap().to_owned();
        if line.starts_with("DELETE") {
            seen.1.push(line);
            return Some(answer("204 No Content", "", ""));
        }
        if !head.to_ascii_lowercase().contains("authorization: right") {
            return Some(error(401, "no"));
        }
        if line.starts_with("POST") {
            seen.0 = true;
            return None;
        }
        let posted = seen.0 && line.contains("filter=userName");
        let name = percent_encoding::percent_decode_str(&line).decode_utf8_lossy().into_owned();
        let name = name.split('"').nth(1).unwrap_or_default().to_owned();
        let found = json!({
            "totalResults": 1, "startIndex": 1, "itemsPerPage": 1, "Resources": [{ "id": "7", "userName": name }],
        });
        let list = if posted { found.to_string() } else { EMPTY_LIST.to_owned() };
        Some(answer("200 OK", JSON, &list))
    });
    let desk = Desk::with("right");
    let mut command = desk.command(&url(address), &["--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a user is being created", || created.lock().unwrap().0);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["interrupted"]), (Some(1), &json!(true)), "{report}");
    assert_eq!(report["left_behind"], json!([]));
    assert_eq!(created.lock().unwrap().1, ["DELETE /scim/v2/acme/Users/7 HTTP/1.1"]);
}

#[test]
fn what_stands_in_front_of_a_server_is_told_by_what_it_answers() {
    let desk = Desk::with("right");
    let all = |text: String| url(faulty(move |_| Some(text.clone())));
    let html = "Content-Type: text/html\r\n";
    let page = "<!doctype html><title>Sign in</title>";
    let cases = [
        (answer("200 OK", html, page), "not the SCIM server answers but a login page", "Invalid JSON"),
        (answer("200 OK", JSON, ""), "nothing at this path", "No results for users returned"),
        (answer("200 OK", JSON, "[]"), "no SCIM list", "No results for users returned"),
        (
            answer("200 OK", JSON, &EMPTY_LIST.replace("\"startIndex\":1", "\"startIndex\":\"1\"")),
            "without a word",
            "",
        ),
        (answer("302 Found", "Location: https://sso.example.com/login\r\n", ""), "a sign-in page", "Found"),
        (
            answer("301 Moved", "Location: https://www.example.com/\r\n", ""),
            "another address",
            "Moved Permanently",
        ),
        (
            answer("401 X", "WWW-Authenticate: Basic realm=\"proxy\"\r\n", page),
            "a password of its own",
            "Unauthorized",
        ),
        (answer("404 X", html, page), "another program answers", "Invalid JSON"),
        (answer("502 X", html, page), "cannot reach the server behind it", "Bad Gateway"),
        (answer("503 X", JSON, ""), "paused, overloaded", "Service Unavailable"),
        (answer("429 X", "Retry-After: 3600\r\n", ""), "limits how often", "Too Many Requests"),
        (
            error(401, "Authorization header is missing."),
            "takes the Authorization header away",
            "header is missing",
        ),
        ("garbage\r\n\r\n".to_owned(), "no HTTP server", "null"),
        (String::new(), "the connection was closed", "failed to respond"),
    ];
    for (text, cause, shown) in cases {
        let told = desk.told(&all(text.clone()), &["--read-only"]);
        if text.is_empty() {
            assert_eq!((told.code, &told.step("test-users")["result"]), (1, &json!("failed")));
            continue;
        }
        told.failed("test-users", cause, shown);
    }
}

#[test]
fn a_token_in_the_wrong_form_is_told_with_the_right_one() {
    let wants_bearer = faulty(|head| {
        let right = head.to_ascii_lowercase().contains("authorization: bearer right\r\n");
        Some(if right { answer("200 OK", JSON, EMPTY_LIST) } else { error(401, "no") })
    });
    Desk::with("right").told(&url(wants_bearer), &[]).failed("test-users", "the word Bearer before", "no");
    assert_eq!(Desk::with("Bearer right").told(&url(wants_bearer), &["--read-only"]).code, 0);
    assert_eq!(Desk::with("right").told(&url(wants_bearer), &["--read-only", "--style", "wizard"]).code, 0);
    // A server that tells a wrong token from none: the header arrives.
    let tells = faulty(|head| {
        let given = head.to_ascii_lowercase().contains("authorization:");
        Some(error(401, if given { "wrong" } else { "none" }))
    });
    Desk::with("right").told(&url(tells), &[]).failed(
        "test-users",
        "the token arrives and is wrong",
        "wrong",
    );
}

#[test]
fn a_server_that_lets_anybody_in_fails_and_no_token_is_repeated() {
    let open = faulty(|_| Some(answer("200 OK", JSON, EMPTY_LIST)));
    Desk::with("right").told(&url(open), &["--read-only"]).failed(
        "wrong-token",
        "gives its people to whoever asks",
        "",
    );
    let chatty = faulty(|_| Some(error(403, "The token sesame-open-12345 may not do this.")));
    let told = Desk::with("sesame-open-12345").told(&url(chatty), &[]);
    assert!(!told.report.to_string().contains("sesame"), "{}", told.report);
    told.failed("test-users", "may not do this", "(the token)");
}

#[test]
fn slow_closed_and_unknown_servers_are_told_apart() {
    let desk = Desk::with("right");
    let silent = faulty(|_| None);
    desk.told(&url(silent), &["--timeout", "1"]).failed(
        "test-users",
        "gives up after 60 s",
        "Read timed out",
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.told(&url(closed), &[]).failed("connect", "no server listens", "Connection refused");
    let unknown = desk.told("https://nobody.invalid/scim/v2/acme", &["--timeout", "5"]);
    unknown.failed("connect", "mistyped", "Name or service not known");
    let underscore = desk.told(&format!("{}_1", url(closed)), &[]);
    underscore.failed("base-url", "no underscore", "");
}

#[test]
fn a_server_that_understands_nothing_of_what_it_accepts_is_found_out() {
    // Makes users and answers every PATCH with 204 and no effect.
    let address = faulty(|head| {
        let line = head.lines().next().unwrap();
        if !head.to_ascii_lowercase().contains("authorization: right") {
            return Some(error(401, "no"));
        }
        let user = json!({
            "id": "1", "userName": "x", "active": true, "externalId": "x", "name": { "familyName": "Married" },
        });
        Some(match line.split(' ').next().unwrap() {
            "POST" if line.contains("/Users") => answer("201 Created", JSON, &user.to_string()),
            "GET" if line.contains("/Users/") => answer("200 OK", JSON, &user.to_string()),
            "GET" => answer("200 OK", JSON, EMPTY_LIST),
            "DELETE" => error(501, "People are not deleted here."),
            _ => answer("204 No Content", "", ""),
        })
    });
    let told = Desk::with("right").told(&url(address), &[]);
    told.failed("create", "makes up names of its own", "");
    // The user that it made cannot be removed, and the report says so.
    assert_eq!(told.report["left_behind"].as_array().unwrap().len(), 1, "{}", told.report);
}

/// What a TLS server shows, and the authority that signed it.
struct Identity {
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: KeyPair,
    authority: String,
}

fn identity(names: &[&str], change: impl Fn(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Test Authority");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "server");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Identity { chain: vec![certificate.der().clone()], key, authority: issuer.pem() }
}

/// A SCIM server with an empty directory behind TLS.
fn behind_tls(identity: &Identity) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let stream = rustls::StreamOwned::new(connection, stream);
                serve(stream, &|head| {
                    let known = head.to_ascii_lowercase().contains("authorization: right\r\n");
                    Some(if known { answer("200 OK", JSON, EMPTY_LIST) } else { error(401, "no") })
                });
            });
        }
    });
    address
}

#[test]
fn certificates_that_okta_would_not_take_are_told_apart() {
    let desk = Desk::with("right");
    let at = |address: SocketAddr| format!("https://localhost:{}/scim/v2/acme", address.port());
    let good = identity(&["localhost"], |_| {});
    let address = behind_tls(&good);
    desk.told(&at(address), &["--read-only"]).failed(
        "connect",
        "the chain is incomplete",
        "PKIX path building",
    );
    std::fs::write(desk.file("ca.pem"), &good.authority).unwrap();
    let told = desk.told(&at(address), &["--read-only", "--ca", "ca.pem"]);
    assert_eq!(told.code, 0, "{}", told.report);
    assert!(told.step("connect")["seen"].as_str().unwrap().contains("TLSv1_3"), "{}", told.report);

    let with = |identity: &Identity| {
        std::fs::write(desk.file("ca.pem"), &identity.authority).unwrap();
        desk.told(&at(behind_tls(identity)), &["--read-only", "--ca", "ca.pem"])
    };
    let expired = identity(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let told = with(&expired);
    told.failed("connect", "was not renewed", "PKIX path validation failed");
    assert!(told.step("connect").to_string().contains("expired at 2021-01-01"), "{}", told.report);
    let early = identity(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(2099, 1, 1));
    with(&early).failed("connect", "begins in the future", "PKIX path validation failed");
    let other = identity(&["other.example.com"], |_| {});
    with(&other).failed("connect", "its default certificate", "[other.example.com]");

    let mut unknown = identity(&["localhost"], |_| {});
    let stranger = identity(&["x"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    unknown.chain.extend(stranger.chain);
    let told = desk.told(&at(behind_tls(&unknown)), &["--read-only"]);
    told.failed("connect", "a private authority", "PKIX path building");

    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let own = Identity { chain: vec![own.der().clone()], key, authority: String::new() };
    let told = desk.told(&at(behind_tls(&own)), &["--read-only"]);
    told.failed("connect", "of its own making", "PKIX path building");

    // TLS where none is spoken, and none where it is.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(answer("400 Bad Request", "", "").as_bytes());
            // Until the client goes, so that it reads the answer.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    desk.told(&at(plain), &[]).failed("connect", "speaks plain HTTP", "unrecognized SSL message");
    let told = desk.told(&url(address), &["--read-only"]);
    assert_eq!(told.step("test-users")["result"], "failed", "{}", told.report);
}

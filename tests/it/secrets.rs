//! Nothing secret and nobody's name in the log, in an answer, or in the configuration: everything that could be
//! asked is asked with marked texts, and then they are looked for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::encode;
use crate::support::raw::{self, Connection};
use crate::support::{Client, Config, Server, TenantConfig, Token, okta};

const USER_NAME: &str = "marked-user-4711@mail.test";
const MAIL: &str = "marked-mail-4711@mail.test";
const PASSWORD: &str = "marked-password-4711";
const GROUP: &str = "marked-group-4711";
const MARK: &str = "marked-4711-zq";

/// A server, three tokens, and the marked user.
struct Stage {
    server: Server,
    /// The configuration, with a second for each request.
    impatient: Config,
    okta: Token,
    other: Token,
    reader: Token,
    client: Client,
    user: Value,
}

impl Stage {
    fn new() -> Stage {
        let (okta, other, reader) =
            (Token::new("okta"), Token::new("other"), Token::new("reader").read_only());
        let config = || {
            let acme =
                TenantConfig::new("acme").option("store_passwords", "true").token(&okta).token(&reader);
            let globex = TenantConfig::new("globex").token(&other);
            Config::new().limit("body_bytes_max", 65_536).tenant(acme).tenant(globex)
        };
        let server = Server::start_with(&config(), &[("ICI_SCIM_LOG", "trace")]);
        let impatient = config().limit("request_s", 1);
        let client = server.client("acme", &okta);
        let mut user = okta::user(USER_NAME);
        user["emails"] = json!([{ "value": MAIL, "type": "work", "primary": true }]);
        user["password"] = json!(PASSWORD);
        Stage { server, impatient, okta, other, reader, client, user }
    }

    /// What goes well. Returns the user's path.
    fn ask_well(&self) -> String {
        let client = &self.client;
        let id = client.create("/Users", self.user.clone()).id();
        let path = format!("/Users/{id}");
        let group = client.create("/Groups", okta::group(GROUP, &[okta::member(&id, USER_NAME)])).id();
        for filter in [format!("userName eq \"{USER_NAME}\""), format!("emails eq \"{MAIL}\"")] {
            client.get(&format!("/Users?filter={}", encode(&filter))).expect(200);
        }
        client.put(&path, self.user.clone()).expect(200);
        let password = json!([{ "op": "replace", "value": { "password": PASSWORD, "title": MARK } }]);
        client.patch(&path, okta::patch(password)).expect(200);
        client.patch(&format!("/Groups/{group}"), okta::rename(&group, GROUP)).expect(200);
        path
    }

    /// What is refused for what it says.
    fn ask_what_is_refused(&self, path: &str) {
        let client = &self.client;
        client.post("/Users", self.user.clone()).expect(409);
        client.post("/Groups", okta::group(GROUP, &[])).expect(409);
        client.post("/Groups", okta::group("x", &[okta::member(MARK, USER_NAME)])).expect(400);
        client.post("/Users", json!({ "userName": USER_NAME, "active": PASSWORD })).expect(400);
        let no_json = format!("{{ \"password\": {PASSWORD}").into_bytes();
        client.send_with(Method::POST, "/Users", Some(no_json), &[]).expect(400);
        let body = self.user.to_string().into_bytes();
        client
            .send_with(Method::POST, "/Users", Some(body), &[("content-type", "text/marked-4711")])
            .expect(415);
        client.post("/Users", json!({ "userName": USER_NAME, "x": MARK.repeat(20_000) })).expect(413);
        client.get(&format!("/Users/{USER_NAME}")).expect(404);
        client.get(&format!("/{USER_NAME}?password={PASSWORD}")).expect(404);
        for filter in [format!("userName xx \"{USER_NAME}\""), format!("{PASSWORD} eq \"{USER_NAME}\"")] {
            client.get(&format!("/Users?filter={}", encode(&filter))).expect(400);
        }
        client.get(&format!("/Users?count={PASSWORD}")).expect(400);
        let headers = [("user-agent", MARK), ("x-request-id", MARK)];
        client.send_with(Method::DELETE, &format!("/Users/{USER_NAME}"), None, &headers).expect(404);
        let bad_path =
            json!([{ "op": "replace", "path": format!("emails[value eq \"{MAIL}"), "value": PASSWORD }]);
        client.patch(path, okta::patch(bad_path)).expect(400);
        client.patch(path, okta::patch(json!([{ "op": PASSWORD }]))).expect(400);
    }

    /// What is refused for who says it.
    fn ask_as_somebody_else(&self) {
        self.server.client("acme", &self.reader).post("/Users", self.user.clone()).expect(403);
        self.server.client("globex", &self.okta).get("/Users").expect(401);
        self.server.client(USER_NAME, &self.okta).get("/Users").expect(401);
        let bearer = format!("Bearer {PASSWORD}");
        for authorization in [PASSWORD, &bearer, &format!("Basic {PASSWORD}"), &self.okta.text()[..52]] {
            self.client.authorized(authorization).get("/Users").expect(401);
        }
    }

    /// What breaks off or never comes, and what is not HTTP.
    fn ask_in_part(&self) {
        self.server.write_config(&self.impatient.text());
        self.server.log().wait_for_message("the changed configuration is in force");
        let token = self.okta.text();
        let headers =
            [("Authorization", token), ("Content-Type", "application/json"), ("Content-Length", "900")];
        let half = || {
            let mut connection = Connection::open(self.server.address());
            connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
            connection.send(format!("{{\"userName\":\"{USER_NAME}\",\"password\":\"{PASSWORD}"));
            connection
        };
        half().finish();
        half().answer().expect("an answer").expect(408);
        let no_version = format!("GET /{MARK} HTTP/9.9\r\nAuthorization: {token}\r\n\r\n");
        for nonsense in [format!("{PASSWORD}\r\n\r\n"), no_version] {
            let mut connection = Connection::open(self.server.address());
            connection.send(nonsense);
            connection.finish();
        }
    }

    /// A tenant's file that cannot be written, and a configuration with secrets in the wrong places.
    fn break_the_files(&self) {
        let holder = rusqlite::Connection::open(self.server.tenant_file("acme")).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = self.client.post("/Users", okta::user("other-marked-4711"));
        assert!(matches!(refused.status, 429 | 503), "{refused}");
        holder.execute_batch("ROLLBACK").unwrap();

        let faulty = self.impatient.text().replace("$argon2id$", &format!("{PASSWORD}$"));
        self.server.write_config(&faulty);
        let told = |line: &str| (line.contains("tenants.toml") && line.contains("hash")).then_some(());
        self.server.log().wait_for("the faulty file", told);
        self.server.write_config(&self.impatient.text());
    }
}

#[test]
fn nothing_secret_is_ever_logged_or_written_to_the_configuration() {
    let stage = Stage::new();
    let path = stage.ask_well();
    stage.ask_what_is_refused(&path);
    stage.ask_as_somebody_else();
    stage.ask_in_part();
    stage.break_the_files();

    let configuration = std::fs::read_to_string(stage.server.config_file()).unwrap();
    let (log, status) = stage.server.stop_and_take_log();
    assert!(status.success(), "{status}");
    let requests = log.lines().filter(|line| line.contains("request_id")).count();
    assert!(requests > 25, "the log was collected at all: {requests}");
    for (what, text) in [
        ("a token", stage.okta.text()),
        ("the other tenant's token", stage.other.text()),
        ("the reader's token", stage.reader.text()),
        ("a hash", &stage.okta.hash()[20..]),
        ("a hash", "$argon2id$v="),
        ("the start of a token", &stage.okta.text()[..12]),
        ("a marked text", MARK),
        ("an e-mail address", "@"),
    ] {
        if let Some(line) = log.lines().find(|line| line.contains(text)) {
            panic!("{what} is in the log: {line}");
        }
    }
    for token in [&stage.okta, &stage.other, &stage.reader] {
        assert!(!configuration.contains(token.text()), "a token is in the configuration");
    }
}

#[test]
fn a_token_that_is_made_is_printed_once_and_only_its_hash_is_written() {
    let server = Server::start(&Config::acme(&Token::new("first")));
    let output = server.run(["token", "new", "acme", "--name", "second"]);
    assert!(output.status.success());
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let token = stdout.trim_end();
    assert_eq!(stdout, format!("{token}\n"), "stdout has the token and nothing else");
    assert!(token.starts_with("ici_") && !stderr.contains(token), "{stderr}");
    let written = std::fs::read_to_string(server.config_file()).unwrap();
    assert!(written.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !written.contains(token));
    let client = server.client_with("acme", Some(token));
    crate::support::until("the token is taken", || client.get("/Users").status == 200);
    assert!(!server.log().text().contains(&token[..12]));
}

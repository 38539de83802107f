//! The commands, as the real binary in folders of their own: tables, JSON, exit codes, the files they leave, and
//! ICI's side of the work with Okta beside a running server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = r#"# Our tenants. Keep this comment.

[server] # where it listens
listen = "127.0.0.1:0"

# Acme pays on time.
[tenants.acme]
name = "Acme Corp"
"#;

/// A folder with a configuration of one tenant, `acme`.
struct Folder(TempDir);

/// What a command left behind.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::write(folder.config(), CONFIG).unwrap();
        folder
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("tenants.toml")
    }

    fn file(&self, tenant: &str) -> PathBuf {
        self.0.path().join("data").join(format!("{tenant}.sqlite"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_ici-scim"), arguments)
    }

    /// A program in the folder, with nothing of the environment that the commands read.
    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ICI_SCIM_") {
                command.env_remove(name);
            }
        }
        // Nothing of who runs the tests is read or written.
        command
            .env("HOME", self.0.path().join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME");
        // Fixes the width of help texts.
        command.env("COLUMNS", "100");
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed; gives its standard output.
    fn done(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.err);
        outcome.out
    }

    /// The same with `--json`.
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.done(&arguments)).unwrap()
    }

    /// Runs a command that must fail with that exit code and print nothing; gives its standard error.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (code, ""), "{arguments:?}: {}", outcome.err);
        assert!(outcome.err.starts_with("error: "), "{}", outcome.err);
        outcome.err
    }
}

/// `ici-scim serve` on a free port.
struct Server {
    child: Child,
    log: Receiver<String>,
    address: String,
}

/// After so long without a line of the log that a test waits for, it has failed.
const LOG_WAIT: Duration = Duration::from_secs(30);

impl Server {
    fn start(folder: &Folder) -> Server {
        let mut child = folder
            .command(&["serve", "--log", "info", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        // Ends with the server, or when nobody listens any more.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut server = Server { child, log, address: String::new() };
        let entry = server.wait_for("listening");
        server.address = entry["address"].as_str().unwrap().to_owned();
        server
    }

    /// Waits for a line of the log with this message.
    fn wait_for(&mut self, message: &str) -> Value {
        let mut before = Vec::new();
        while let Ok(line) = self.log.recv_timeout(LOG_WAIT) {
            match serde_json::from_str::<Value>(&line) {
                Ok(entry) if entry["message"] == message => return entry,
                _ => before.push(line),
            }
        }
        panic!("no line {message} after {before:#?}");
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/scim/v2/acme{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or as good as gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Okta, with the token of the Header Auth template.
struct Okta<'a> {
    server: &'a Server,
    token: String,
    client: Client,
}

impl Okta<'_> {
    fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(self.server.url(path)))
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder) -> (u16, Value) {
        let request = request.header("Authorization", &self.token).header("Accept", "application/scim+json");
        let response = request.send().unwrap();
        (response.status().as_u16(), response.json().unwrap())
    }

    /// The walk of an import: pages of 100 until totalResults is reached.
    fn import(&self, endpoint: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let (status, page) = self.get(&format!("/{endpoint}?startIndex={}&count=100", all.len() + 1));
            assert_eq!(status, 200);
            let total = page["totalResults"].as_u64().unwrap();
            all.extend(page["Resources"].as_array().unwrap().iter().cloned());
            if all.len() as u64 >= total {
                return all;
            }
        }
    }
}

/// The cells of a table's row that begins with a text.
fn row(table: &str, first: &str) -> Vec<String> {
    let line =
        table.lines().find(|line| line.starts_with(first)).unwrap_or_else(|| panic!("{first} in {table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_new_token_stands_alone_on_stdout_and_only_its_hash_is_kept() {
    let folder = Folder::new();
    fs::set_permissions(folder.config(), fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = folder.run(&["token", "new", "acme", "--name", "okta", "--expires", "90d"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let token = outcome.out.strip_suffix('\n').unwrap();
    assert!(token.starts_with("ici_") && token.len() == 53 && !token.contains(char::is_whitespace));
    for said in ["only this once", "expires at 20", "takes it into service by itself"] {
        assert!(outcome.err.contains(said), "{}", outcome.err);
    }
    assert!(!outcome.err.contains(token));
    let text = fs::read_to_string(folder.config()).unwrap();
    assert!(text.starts_with(CONFIG), "comments and order stay: {text}");
    assert!(text.contains("$argon2id$") && !text.contains(token) && !text.contains(&token[4..47]));
    assert_eq!(fs::metadata(folder.config()).unwrap().permissions().mode() & 0o777, 0o640);
    let files: Vec<_> =
        fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["tenants.toml"], "no temporary file is left");
}

#[test]
fn tokens_are_listed_and_revoked() {
    let folder = Folder::new();
    let none = folder.run(&["token", "list"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.contains("ici-scim token new"), "{}", none.err);
    folder.done(&["token", "new", "acme", "--name", "okta"]);
    let made =
        folder.json(&["token", "new", "acme", "--name", "audit", "--read-only", "--expires", "2100-01-01"]);
    assert_eq!(made["access"], "read-only");
    assert_eq!(made["expires"], "2100-01-01T00:00:00.000Z");
    assert!(made["token"].as_str().unwrap().starts_with("ici_"));

    let table = folder.done(&["token", "list", "acme"]);
    assert!(table.starts_with("TENANT  TOKEN  ACCESS      CREATED"), "{table}");
    assert_eq!(row(&table, "acme    okta")[4..], ["never", "valid", "-", "-"]);
    assert_eq!(row(&table, "acme    audit")[4..], ["2100-01-01T00:00:00Z", "valid", "-", "-"]);
    let listed = folder.json(&["token", "list"]);
    assert_eq!(listed[1]["name"], "audit");
    assert_eq!(listed[1]["access"], "read-only");
    assert_eq!(listed[0]["expires"], Value::Null);
    assert!(!listed.to_string().contains("argon2"));

    assert_eq!(folder.done(&["token", "revoke", "acme", "okta"]), "");
    assert_eq!(folder.json(&["token", "list", "acme"]).as_array().unwrap().len(), 1);
    assert!(folder.refused(1, &["token", "revoke", "acme", "okta"]).contains("okta"));
    assert!(folder.refused(1, &["token", "list", "nobody"]).contains("acme"));
}

#[test]
fn a_token_may_stand_for_a_user_who_is_there() {
    let folder = Folder::new();
    let before = fs::read_to_string(folder.config()).unwrap();
    folder.refused(1, &["token", "new", "acme", "--name", "ada", "--user", "ada@x.test"]);
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), before);
    folder.done(&["user", "add", "acme", "ada@x.test"]);
    let user = folder.json(&["user", "show", "acme", "ada@x.test"])["id"].as_str().unwrap().to_owned();
    let made = folder.json(&["token", "new", "acme", "--name", "ada", "--user", "ADA@x.test"]);
    assert_eq!(made["user"], user);
    let by_id = folder.run(&["token", "new", "acme", "--name", "also", "--user", &user]);
    assert!(by_id.code == 0 && by_id.err.contains(&user), "{}", by_id.err);
    assert!(fs::read_to_string(folder.config()).unwrap().contains(&format!("user = \"{user}\"")));
    assert_eq!(folder.json(&["token", "list", "acme"])[1]["user"], user);
    assert!(folder.done(&["token", "list", "acme"]).contains(&user));
    let warned =
        |folder: &Folder| folder.json(&["check"])["warnings"].to_string().contains("who is not there");
    assert!(!warned(&folder));
    folder.done(&["user", "delete", "acme", "ada@x.test", "--yes"]);
    assert!(warned(&folder));
}

#[test]
fn a_token_that_cannot_be_made_leaves_the_file_alone() {
    let folder = Folder::new();
    for (code, arguments) in [
        (1, ["token", "new", "nobody", "--name", "okta", "--expires", "1d"]),
        (2, ["token", "new", "acme", "--name", "", "--expires", "1d"]),
        (2, ["token", "new", "acme", "--name", "okta", "--expires", "2001-01-01"]),
        (2, ["token", "new", "acme", "--name", "okta", "--expires", "soon"]),
        (2, ["token", "new", "Acme_1", "--name", "okta", "--expires", "1d"]),
    ] {
        folder.refused(code, &arguments);
    }
    folder.refused(2, &["token", "new", "acme"]);
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), CONFIG);
}

#[test]
fn a_tenant_is_added_once_and_listed_with_its_base_url() {
    let folder = Folder::new();
    let outcome = folder.run(&["tenant", "add", "globex", "--name", "Globex \"GmbH\""]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.err.contains("ici-scim token new globex"), "{}", outcome.err);
    assert!(fs::read_to_string(folder.config()).unwrap().starts_with(CONFIG));
    folder.done(&["tenant", "add", "initech"]);
    folder.done(&["token", "new", "acme", "--name", "okta"]);

    let table = folder.done(&["tenant", "list", "--public-url", "https://scim.example.com/"]);
    assert_eq!(row(&table, "acme"), ["acme", "Acme Corp", "1", "https://scim.example.com/scim/v2/acme"]);
    assert_eq!(row(&table, "initech"), ["initech", "0", "https://scim.example.com/scim/v2/initech"]);
    let listed = folder.json(&["tenant", "list"]);
    assert_eq!(listed[1]["name"], "globex");
    assert_eq!(listed[1]["customer"], "Globex \"GmbH\"");
    assert_eq!(listed[1]["validTokens"], 0);

    assert!(folder.refused(1, &["tenant", "add", "acme"]).contains("already"));
    folder.refused(2, &["tenant", "add", "Acme"]);
    folder.refused(2, &["tenant", "add", "other", "--name", "two\nlines"]);
}

#[test]
fn a_user_is_added_shown_changed_and_deleted() {
    let folder = Folder::new();
    let added = folder.run(&[
        "user",
        "add",
        "acme",
        "Ada@Example.com",
        "--given",
        "Ada",
        "--family",
        "Lovelace",
        "--email",
        "ada@example.com",
        "--external-id",
        "E-1",
        "department=Research",
        "title=Countess",
    ]);
    assert_eq!(added.code, 0, "{}", added.err);
    assert_eq!(row(&added.out, "Ada@")[..4], ["Ada@Example.com", "Ada Lovelace", "ada@example.com", "yes"]);
    assert!(!added.err.contains("imports a person only with"), "{}", added.err);

    let user = folder.json(&["user", "show", "acme", "ADA@example.COM"]);
    assert_eq!(user["userName"], "Ada@Example.com");
    assert_eq!(user["externalId"], "E-1");
    assert_eq!(user["emails"], json!([{ "value": "ada@example.com", "type": "work", "primary": true }]));
    assert_eq!(user["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"], "Research");
    let id = user["id"].as_str().unwrap();
    assert_eq!(folder.json(&["user", "show", "acme", id]), user, "an id is as good as the name");

    folder.done(&[
        "user",
        "set",
        "acme",
        "ada@example.com",
        "name.givenName=Augusta Ada",
        "title=",
        "emails[type eq \"work\"].value=a.lovelace@example.com",
        "emails[type eq \"home\"].value=ada@home.example",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department=Engines",
    ]);
    let table = folder.done(&["user", "show", "acme", "ada@example.com"]);
    assert_eq!(row(&table, "name.givenName"), ["name.givenName", "Augusta Ada"]);
    assert_eq!(row(&table, "emails[type eq \"work\"].value")[1], "a.lovelace@example.com");
    assert_eq!(row(&table, "emails[type eq \"home\"].value")[1], "ada@home.example");
    assert_eq!(
        row(&table, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department")[1],
        "Engines"
    );
    assert!(!table.contains("Countess"), "{table}");

    assert_eq!(folder.done(&["user", "delete", "acme", "ada@example.com", "--yes"]), "");
    let gone = folder.refused(1, &["user", "show", "acme", "ada@example.com"]);
    assert!(gone.contains("tenant acme has no user ada@example.com") && gone.contains("hint: "), "{gone}");
}

#[test]
fn what_the_directory_refuses_changes_nothing_and_is_said() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "ada"]);
    let before = folder.json(&["user", "show", "acme", "ada"]);
    folder.refused(1, &["user", "add", "acme", "ADA"]);
    folder.refused(1, &["user", "set", "acme", "ada", "title=Countess", "active=perhaps"]);
    folder.refused(1, &["user", "set", "acme", "ada", "id=7"]);
    folder.refused(2, &["user", "set", "acme", "ada", "title"]);
    folder.refused(2, &["user", "set", "acme", "ada", "emails[type=x"]);
    folder.refused(2, &["user", "set", "acme", "ada"]);
    folder.refused(1, &["user", "list", "acme", "--filter", "userName eq"]);
    folder.refused(1, &["group", "add", "acme", "Engineering", "--member", "nobody"]);
    assert_eq!(folder.json(&["user", "show", "acme", "ada"]), before);
    assert_eq!(folder.json(&["group", "list", "acme"]), json!([]));
}

#[test]
fn deleting_asks_first_and_without_a_terminal_needs_yes() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "ada"]);
    folder.done(&["group", "add", "acme", "Engineering"]);
    assert!(folder.refused(2, &["user", "delete", "acme", "ada"]).contains("--yes"));
    assert!(folder.refused(2, &["group", "delete", "acme", "Engineering"]).contains("--yes"));
    folder.done(&["user", "show", "acme", "ada"]);
    folder.done(&["group", "show", "acme", "Engineering"]);
}

#[test]
fn users_are_listed_by_filter_and_state_and_in_the_order_they_were_made() {
    let folder = Folder::new();
    let none = folder.run(&["user", "list", "acme"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.contains("no users yet"), "{}", none.err);
    for name in ["zoe", "bob", "ada"] {
        folder.done(&[
            "user",
            "add",
            "acme",
            name,
            &format!("emails=[{{\"value\":\"{name}@example.com\"}}]"),
        ]);
    }
    folder.done(&["user", "deactivate", "acme", "bob"]);
    let names = |arguments: &[&str]| -> Vec<String> {
        let arguments: Vec<&str> = ["user", "list", "acme"].iter().chain(arguments).copied().collect();
        let users = folder.json(&arguments);
        users.as_array().unwrap().iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["zoe", "bob", "ada"]);
    assert_eq!(names(&["--active"]), ["zoe", "ada"]);
    assert_eq!(names(&["--inactive"]), ["bob"]);
    assert_eq!(names(&["--limit", "2"]), ["zoe", "bob"]);
    let either = "userName eq \"bob\" or userName eq \"ada\"";
    assert_eq!(names(&["--filter", either]), ["bob", "ada"]);
    assert_eq!(names(&["--filter", either, "--active"]), ["ada"]);
    assert_eq!(names(&["--filter", "emails.value ew \"@nowhere\""]), [""; 0]);
    let table = folder.done(&["user", "list", "acme", "--inactive"]);
    assert!(table.starts_with(
        "USERNAME  NAME  EMAIL            ACTIVE  ID\nbob             bob@example.com  no      "
    ));
}

#[test]
fn a_list_longer_than_a_page_is_whole() {
    let folder = Folder::new();
    let connection = {
        folder.done(&["user", "add", "acme", "first"]);
        rusqlite::Connection::open(folder.file("acme")).unwrap()
    };
    connection
        .execute_batch(
            "WITH RECURSIVE n (i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < 10050)
             INSERT INTO resources (seq, kind, id, name, name_key, created_ms, modified_ms, version, doc)
             SELECT i, 1, 'id-' || i, 'user' || i, 'user' || i, 0, 0, 1,
                    '{\"schemas\":[],\"userName\":\"user' || i || '\",\"active\":true}' FROM n;",
        )
        .unwrap();
    let ids = |arguments: &[&str]| -> Vec<String> {
        let users = folder.json(arguments);
        users.as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids(&["user", "list", "acme"]);
    assert_eq!(all.len(), 10_050);
    assert_eq!((all[1].as_str(), all[10_049].as_str()), ("id-2", "id-10050"));
    assert_eq!(ids(&["user", "list", "acme", "--limit", "101"]), all[..101]);
    assert_eq!(ids(&["user", "list", "acme", "--filter", "userName sw \"user99\""]).len(), 111);
}

#[test]
fn a_group_takes_and_loses_members() {
    let folder = Folder::new();
    for name in ["ada", "bob", "eve"] {
        folder.done(&["user", "add", "acme", name]);
    }
    let added = folder.done(&["group", "add", "acme", "Engineering", "--member", "ada", "--member", "BOB"]);
    assert_eq!(row(&added, "Engineering")[..2], ["Engineering", "2"]);
    let after = folder.done(&["group", "add-member", "acme", "engineering", "eve", "ada"]);
    assert_eq!(row(&after, "Engineering")[1], "3");
    folder.refused(1, &["group", "add-member", "acme", "Engineering", "nobody"]);
    folder.refused(1, &["group", "add-member", "acme", "Nowhere", "ada"]);
    folder.done(&["group", "remove-member", "acme", "Engineering", "bob"]);
    folder.done(&["group", "remove-member", "acme", "Engineering", "bob"]);

    let group = folder.json(&["group", "show", "acme", "ENGINEERING"]);
    let members: Vec<&str> = group["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["display"].as_str().unwrap())
        .collect();
    assert_eq!(members.len(), 2);
    assert!(members.contains(&"ada") && members.contains(&"eve"));
    let table = folder.done(&["group", "show", "acme", "Engineering"]);
    assert!(table.contains("MEMBER  TYPE  ID\n"), "{table}");
    assert_eq!(row(&table, "displayName")[1], "Engineering");
    assert!(folder.done(&["user", "show", "acme", "ada"]).contains("groups"));

    let list = folder.done(&["group", "list", "acme"]);
    assert_eq!(row(&list, "Engineering")[..2], ["Engineering", "2"]);
    assert_eq!(folder.json(&["group", "list", "acme"])[0]["members"].as_array().unwrap().len(), 2);
    assert_eq!(folder.json(&["group", "list", "acme", "--filter", "displayName eq \"x\""]), json!([]));
    folder.done(&["group", "delete", "acme", "Engineering", "--yes"]);
    assert_eq!(folder.json(&["group", "list", "acme"]), json!([]));
    assert_eq!(folder.json(&["user", "show", "acme", "ada"])["groups"], json!([]));
}

#[test]
fn names_from_outside_neither_break_a_table_nor_steer_the_terminal() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "e\u{1b}[31mve", "title=a\nb"]);
    let list = folder.done(&["user", "list", "acme"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(!list.contains('\u{1b}'), "{list}");
}

#[test]
fn check_reports_every_tenant_and_warns_without_failing() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "ada"]);
    folder.done(&["group", "add", "acme", "Engineering"]);
    folder.done(&["tenant", "add", "globex"]);
    folder.done(&["token", "new", "acme", "--name", "okta", "--expires", "3d"]);
    fs::write(folder.0.path().join("data/old.sqlite"), "").unwrap();
    let outcome = folder.run(&["check"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(row(&outcome.out, "acme")[..4], ["acme", "ok", "1", "1"]);
    assert_eq!(row(&outcome.out, "globex")[1], "not made yet");
    for said in [
        "public_url is not set",
        "token okta expires soon",
        "tenant globex has no valid token",
        "old.sqlite belongs to no tenant",
    ] {
        assert!(outcome.err.contains(said), "{said} in {}", outcome.err);
    }
    assert!(!folder.file("globex").exists(), "check makes no file");
    let report = folder.json(&["check"]);
    assert_eq!(report["tenants"][0]["users"], 1);
    assert_eq!(report["warnings"].as_array().unwrap().len(), 4);
}

#[test]
fn check_tells_a_foreign_and_a_damaged_file_by_exit_code_1() {
    let folder = Folder::new();
    folder.done(&["tenant", "add", "globex"]);
    fs::create_dir(folder.0.path().join("data")).unwrap();
    rusqlite::Connection::open(folder.file("acme"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    fs::write(folder.file("globex"), "no database at all, and quite long enough to be one".repeat(100))
        .unwrap();
    let outcome = folder.run(&["check"]);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    assert_eq!(row(&outcome.out, "acme")[1], "problem");
    assert_eq!(row(&outcome.out, "globex")[1], "problem");
    assert!(outcome.err.contains("acme.sqlite is not a file of ici-scim"), "{}", outcome.err);
    assert!(folder.refused(1, &["user", "list", "acme"]).contains("acme.sqlite"));
}

#[test]
fn a_wrong_configuration_is_exit_code_2_with_file_line_and_key() {
    let folder = Folder::new();
    fs::write(folder.config(), CONFIG.replace("listen =", "lisen =")).unwrap();
    for arguments in [&["check"][..], &["user", "list", "acme"], &["tenant", "add", "x"], &["token", "list"]]
    {
        let said = folder.refused(2, arguments);
        assert!(said.contains("tenants.toml:4: server.lisen: "), "{said}");
    }
    let said = folder.refused(2, &["check", "--config", "nowhere.toml"]);
    assert!(said.contains("nowhere.toml"), "{said}");
    folder.refused(2, &["user", "frobnicate"]);
}

#[test]
fn a_token_works_on_the_running_server_until_it_is_revoked() {
    let folder = Folder::new();
    let mut server = Server::start(&folder);
    let token = folder.done(&["token", "new", "acme", "--name", "okta"]).trim().to_owned();
    server.wait_for(TAKEN_INTO_SERVICE);
    let probe = |token: &str| {
        let okta = Okta {
            server: &server,
            token: token.to_owned(),
            client: crate::support::http().build().unwrap(),
        };
        okta.get("/Users?startIndex=1&count=2").0
    };
    assert_eq!(probe(&token), 200);
    assert_eq!(probe("non-token"), 401);
    folder.done(&["token", "revoke", "acme", "okta"]);
    server.wait_for(TAKEN_INTO_SERVICE);
    let okta = Okta { server: &server, token, client: crate::support::http().build().unwrap() };
    assert_eq!(okta.get("/Users?startIndex=1&count=2").0, 401);
}

/// What the log says when a changed file has been taken into service.
const TAKEN_INTO_SERVICE: &str = "the changed configuration is in force";

#[test]
fn a_person_made_here_is_imported_by_okta_and_a_person_deactivated_here_is_seen_inactive() {
    let folder = Folder::new();
    let token = folder.done(&["token", "new", "acme", "--name", "okta"]).trim().to_owned();
    folder.done(&[
        "user",
        "add",
        "acme",
        "ada@example.com",
        "--given",
        "Ada",
        "--family",
        "Lovelace",
        "--email",
        "ada@example.com",
    ]);
    let server = Server::start(&folder);
    let okta = Okta { server: &server, token, client: crate::support::http().build().unwrap() };

    // ICI makes a person and a group while the server runs; Okta's import finds them.
    folder.done(&["group", "add", "acme", "Engineering", "--member", "ada@example.com"]);
    let imported = okta.import("Users");
    assert_eq!(imported.len(), 1);
    let ada = &imported[0];
    assert_eq!(ada["userName"], "ada@example.com");
    assert_eq!((&ada["active"], &ada["name"]["givenName"]), (&json!(true), &json!("Ada")));
    assert_eq!(ada["emails"][0]["value"], "ada@example.com");
    let groups = okta.import("Groups");
    assert_eq!(groups[0]["members"][0]["value"], ada["id"]);

    // Okta links the person: its GET, then a PUT of what it got with its own attributes laid over.
    let path = format!("/Users/{}", ada["id"].as_str().unwrap());
    let (_, mut profile) = okta.get(&path);
    profile["externalId"] = json!("00ujl29u0le5T6Aj10h7");
    profile["title"] = json!("Countess");
    let (status, _) = okta.send(okta.client.put(server.url(&path)).json(&profile));
    assert_eq!(status, 200);
    let here = folder.json(&["user", "show", "acme", "ada@example.com"]);
    assert_eq!((&here["title"], &here["externalId"]), (&json!("Countess"), &json!("00ujl29u0le5T6Aj10h7")));
    let group_id = groups[0]["id"].as_str().unwrap();
    assert_eq!(may_log_in(&folder, "00ujl29u0le5T6Aj10h7", group_id), Some((true, true)));

    // ICI deactivates; the next import sees it, and the person keeps the group.
    folder.done(&["user", "deactivate", "acme", "ada@example.com"]);
    let imported = okta.import("Users");
    assert_eq!((imported.len(), &imported[0]["active"]), (1, &json!(false)), "listed, and inactive");
    assert_eq!(okta.import("Groups")[0]["members"].as_array().unwrap().len(), 1);
    assert_eq!(may_log_in(&folder, "00ujl29u0le5T6Aj10h7", group_id), Some((false, true)));
    let (_, found) = okta.get("/Users?filter=userName%20eq%20%22ADA%40example.com%22&startIndex=1&count=100");
    assert_eq!(found["totalResults"], 1, "Okta's look-up finds who is inactive");

    // Okta assigns the person again.
    let activate = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "replace", "value": { "active": true } }]
    });
    let (status, _) = okta.send(okta.client.patch(server.url(&path)).json(&activate));
    assert_eq!(status, 200);
    assert_eq!(folder.json(&["user", "list", "acme", "--active"]).as_array().unwrap().len(), 1);
    assert_eq!(may_log_in(&folder, "00ujl29u0le5T6Aj10h7", group_id), Some((true, true)));
    assert_eq!(may_log_in(&folder, "00u-somebody-else", group_id), None);
}

/// The statements of `docs/ici-side.md`, in order.
fn documented_sql() -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ici-side.md")).unwrap();
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Asks as the application does: the first statement of the document, on a connection that can only read.
fn may_log_in(folder: &Folder, external_id: &str, group_id: &str) -> Option<(bool, bool)> {
    use rusqlite::{Connection, OpenFlags, OptionalExtension, named_params};
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.file("acme"), flags).unwrap();
    connection
        .query_row(
            &documented_sql()[0],
            named_params! { ":external_id": external_id, ":group_id": group_id },
            |row| Ok((row.get("may_log_in")?, row.get("in_group")?)),
        )
        .optional()
        .unwrap()
}

#[test]
fn the_documented_statements_run_by_index_and_only_on_documented_views() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "ada"]);
    let connection = rusqlite::Connection::open(folder.file("acme")).unwrap();
    let statements = documented_sql();
    assert!(statements.len() >= 4, "{statements:?}");
    for statement in &statements {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get("detail").unwrap();
            // The addresses of a person inside its document, the one row of VALUES, and what a recursion has found so
            // far: those are no walks along a table.
            let own = ["VIRTUAL TABLE", "CONSTANT ROW", "SCAN up", "SCAN inside"];
            let walks = step.starts_with("SCAN") && !own.iter().any(|known| step.contains(known));
            assert!(!walks && !step.ends_with("(kind=?)"), "{step} in {statement}");
        }
        for table in ["resources", "members ", "emails", "events"] {
            assert!(!statement.contains(table), "{statement}");
        }
    }
}

#[test]
fn help_texts_are_as_reviewed() {
    let folder = Folder::new();
    let all = help_texts(&folder);
    assert!(all.len() > 20, "{}", all.len());
    for (path, text) in &all {
        assert!(text.contains("Examples:\n"), "{path:?} shows how it is used");
        let name = format!("help {}", path.join(" ")).trim().replace([' ', '-'], "_");
        // They are the same everywhere and stand in the snapshot of the first page.
        let (before, common) = text.split_once("Options of every command:\n").unwrap_or((text, "\n\n"));
        let after = common.split_once("\n\n").map_or("", |(_, after)| after);
        let shown = if path.is_empty() { text.clone() } else { format!("{before}{after}") };
        insta::assert_snapshot!(name, shown);
    }
}

#[test]
fn one_active_user_too_many_names_the_setting_to_raise() {
    let folder = Folder::new();
    fs::write(folder.config(), format!("{CONFIG}max_users = 1\n")).unwrap();
    folder.done(&["user", "add", "acme", "ada"]);
    let outcome = folder.run(&["user", "add", "acme", "bob"]);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    assert!(outcome.err.contains("hint: raise max_users of [tenants.acme]"), "{}", outcome.err);
    fs::write(folder.0.path().join("users.csv"), "userName\nbob\n").unwrap();
    let outcome = folder.run(&["user", "import", "acme", "--file", "users.csv"]);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    assert!(outcome.err.contains("line 2: more active users than max_users of [tenants.acme] allows"));
    assert!(!outcome.err.contains("ask the operator"), "{}", outcome.err);
}

#[test]
fn a_tenant_of_another_node_is_read_and_not_changed() {
    let folder = Folder::new();
    folder.done(&["user", "add", "acme", "ada"]);
    folder.done(&["group", "add", "acme", "Engineering"]);
    fs::write(folder.0.path().join("users.csv"), "userName\nbob\n").unwrap();
    let nodes = CONFIG.replace("[server]", "[server]\nnode = \"n1\"\n#");
    fs::write(folder.config(), format!("{nodes}node = \"n2\"\n[tenants.globex]\n")).unwrap();
    for arguments in [
        &["user", "add", "acme", "bob"][..],
        &["user", "set", "acme", "ada", "title=x"],
        &["user", "activate", "acme", "ada"],
        &["user", "deactivate", "acme", "ada"],
        &["user", "delete", "acme", "ada", "--yes"],
        &["user", "import", "acme", "--file", "users.csv"],
        &["group", "add", "acme", "Sales"],
        &["group", "add-member", "acme", "Engineering", "ada"],
        &["group", "remove-member", "acme", "Engineering", "ada"],
        &["group", "delete", "acme", "Engineering", "--yes"],
    ] {
        let outcome = folder.run(arguments);
        assert_eq!(outcome.code, 1, "{arguments:?}: {}", outcome.err);
        let told = "tenant acme is served by node n2, and this is n1\nhint: run the command on n2";
        assert!(outcome.err.contains(told), "{arguments:?}: {}", outcome.err);
    }
    let outcome = folder.run(&["user", "add", "globex", "bob"]);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    assert!(outcome.err.contains("hint: node = \"n1\" in [tenants.globex]"), "{}", outcome.err);
    assert!(!folder.file("globex").exists());
    assert!(folder.done(&["user", "list", "acme"]).contains("ada"));
    assert!(folder.done(&["group", "list", "acme"]).contains("Engineering"));
    folder.done(&["user", "import", "acme", "--file", "users.csv", "--dry-run"]);
    // A move restores before it gives the tenant to this node.
    folder.done(&["backup", "acme", "--to", "backups"]);
    folder.done(&["restore", "acme", "backups", "--yes"]);
}

#[test]
fn tenant_stats_says_that_no_server_runs() {
    let folder = Folder::new();
    let table = folder.done(&["tenant", "stats"]);
    assert!(table.contains("no server") && !table.contains("in service"), "{table}");
    assert_eq!(folder.json(&["tenant", "stats"])[0]["state"], "no server");
}

#[test]
fn no_example_in_a_help_text_is_wrong_usage() {
    let folder = Folder::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ici-scim"), folder.0.path().join("ici-scim")).unwrap();
    fs::create_dir(folder.0.path().join("home")).unwrap();
    let mut tried = 0;
    for (path, text) in help_texts(&folder) {
        let runs_until_stopped = path.is_empty() || path == ["serve"] || path == ["quickstart"];
        let examples = text.split("Examples:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
        for example in examples.filter(|_| !runs_until_stopped) {
            let path = format!("{}:/bin:/usr/bin", folder.0.path().display());
            let output = folder.program("sh", &["-c", example]).env("PATH", path).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!said.contains("Usage:"), "{example}: {said}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

/// The help of the program and of every command, by the command's words.
fn help_texts(folder: &Folder) -> Vec<(Vec<String>, String)> {
    let mut waiting = vec![Vec::<String>::new()];
    let mut all = Vec::new();
    while let Some(path) = waiting.pop() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let text = folder.done(&arguments);
        waiting.extend(commands_in(&text).map(|command| [path.as_slice(), &[command]].concat()));
        all.push((path, text));
    }
    all
}

/// The names under `Commands:` in a help text.
fn commands_in(help: &str) -> impl Iterator<Item = String> + '_ {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned))
        .filter(|name| !name.is_empty() && name != "help")
}

//! Files of earlier schema versions, opened by the present program; and one of a later version, which it leaves alone.

use std::path::{Path, PathBuf};

use ici_scim::store::copy::schema_version;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use serde_json::{Value, json};

use crate::support::{Config, Server, TenantConfig, Token, file, okta};

/// What a file of schema version 5 holds: five users, one of them inactive and one far behind the others, two groups,
/// one in the other, a role, a password, nine events and somebody who was deleted.
const FIXTURE: &str = include_str!("../fixtures/schema_0005.sql");

const ADA: &str = "7388e768-4db7-4ad5-b034-2f02b76e20e8";
const GONE: &str = "40f1db1d-3d19-4213-9140-19eb56bb0ed9";

/// The application id of our files, "ICI1".
const APPLICATION_ID: i64 = 0x4943_4931;

fn server(token: &Token) -> (Server, PathBuf) {
    let tenant = TenantConfig::new("acme").option("role_types", r#"["Role"]"#).token(token);
    let server = Server::start(&Config::new().tenant(tenant));
    let file = server.tenant_file("acme");
    (server, file)
}

fn make(file: &Path, sql: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let connection = Connection::open(file).unwrap();
    connection
        .create_scalar_function("random_key", 0, FunctionFlags::SQLITE_UTF8, |_| Ok(vec![7_u8; 32]))
        .unwrap();
    connection.execute_batch(sql).unwrap();
}

fn names(list: &Value) -> Vec<&str> {
    let resources = list["Resources"].as_array().unwrap();
    resources.iter().map(|user| user["userName"].as_str().unwrap()).collect()
}

fn user_version(file: &Path) -> i64 {
    file::number(file, "PRAGMA user_version")
}

#[test]
fn a_file_of_version_5_keeps_all_it_holds_and_gives_the_answers_of_the_present_one() {
    let token = Token::new("okta");
    let (server, file) = server(&token);
    make(&file, FIXTURE);
    assert_eq!(user_version(&file), 5);
    let client = server.client("acme", &token);

    // Totals and pages come of counts that later versions keep in other tables.
    let all = client.get("/Users?startIndex=1&count=100").expect(200).json;
    let everybody =
        ["Ada@Example.com", "grace@example.com", "zoë@example.com", "late@example.com"].map(str::to_owned);
    assert_eq!(
        (all["totalResults"].as_u64(), names(&all)),
        (Some(4), everybody.iter().map(String::as_str).collect())
    );
    let last = client.get("/Users?startIndex=4&count=1").expect(200).json;
    assert_eq!((last["totalResults"].as_u64(), names(&last)), (Some(4), vec!["late@example.com"]));
    let inactive = client.find("/Users", "active eq false");
    assert_eq!(inactive.len(), 1);
    let sorted = client.get("/Users?sortBy=userName&sortOrder=descending&count=2").expect(200).json;
    assert_eq!(names(&sorted), ["zoë@example.com", "late@example.com"]);

    let ada = client.get(&format!("/Users/{ADA}")).expect(200).json;
    assert_eq!(ada["externalId"], "00u1");
    assert_eq!(ada["emails"][1]["value"], "ada@home.example");
    assert_eq!(ada["urn:okta:custom:1.0:user"]["level"], 3);
    assert_eq!(ada["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"], "Engines");
    let groups: Vec<_> =
        ada["groups"].as_array().unwrap().iter().map(|group| (&group["display"], &group["type"])).collect();
    assert_eq!(
        groups,
        [(&json!("Engineering"), &json!("direct")), (&json!("Everybody"), &json!("indirect"))]
    );
    assert_eq!(client.find("/Users", "emails.value eq \"ADA@home.example\"")[0]["id"], ADA);
    assert_eq!(
        client.find("/Groups", "displayName eq \"everybody\"")[0]["members"].as_array().unwrap().len(),
        2
    );
    assert_eq!(client.get("/Roles").expect(200)["totalResults"], 1);
    client.get(&format!("/Users/{GONE}")).expect(404);

    assert_eq!(user_version(&file), schema_version());
    assert_eq!(file::number(&file, "PRAGMA application_id"), APPLICATION_ID);
    assert_eq!(file::texts(&file, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(file::number(&file, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(file::events(&file), 9);
    assert_eq!(file::number(&file, "SELECT count(*) FROM passwords WHERE hash LIKE '$argon2id$%'"), 1);
    assert_eq!(file::texts(&file, "SELECT id FROM tombstones"), [GONE]);
    // A cursor that was given out before the upgrade still holds.
    assert_eq!(file::texts(&file, "SELECT hex(bytes) FROM keys")[0].get(..8), Some("3D258C12"));
}

#[test]
fn a_file_of_version_5_takes_new_writes() {
    let token = Token::new("okta");
    let (server, file) = server(&token);
    make(&file, FIXTURE);
    let client = server.client("acme", &token);
    // The name and the id of who was deleted: the name is free again, the id is not.
    let again = client.create("/Users", okta::user("gone@example.com"));
    assert_ne!(again["id"], GONE);
    client.delete(&format!("/Users/{ADA}")).expect(204);
    let all = client.get("/Users?count=0").expect(200);
    assert_eq!(all["totalResults"], 4);
    let engineering = &client.find("/Groups", "displayName eq \"Engineering\"")[0];
    assert_eq!(engineering["members"].as_array().unwrap().len(), 1);
    assert_eq!(file::number(&file, "SELECT count(*) FROM passwords"), 0);
    assert_eq!(file::events(&file), 11);
    let counted = "SELECT sum(n) FROM positions WHERE kind = 1";
    assert_eq!(file::number(&file, counted), 4);
}

#[test]
fn a_file_of_any_earlier_version_is_brought_up_to_date() {
    let mut migrations: Vec<PathBuf> =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/tenant"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
    migrations.sort();
    assert_eq!(i64::try_from(migrations.len()), Ok(schema_version()));
    let tokens: Vec<Token> = migrations.iter().map(|_| Token::new("okta")).collect();
    let mut config = Config::new();
    for (version, token) in tokens.iter().enumerate().skip(1) {
        config = config.tenant(TenantConfig::new(&format!("v{version}")).token(token));
    }
    let server = Server::start(&config);
    for version in 1..migrations.len() {
        let name = format!("v{version}");
        let mut sql = String::new();
        for migration in &migrations[..version] {
            sql.push_str(&std::fs::read_to_string(migration).unwrap());
        }
        sql.push_str(&format!(
            "INSERT INTO resources (kind, id, name, name_key, external_id, created_ms, modified_ms, version, doc)
             VALUES (1, '{ADA}', 'Ada', 'ada', 'x', 1, 1, 1, '{{\"schemas\":[\"urn:ietf:params:scim:schemas:core:2.0:User\"],\"userName\":\"Ada\"}}');
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
        ));
        make(&server.tenant_file(&name), &sql);
        let client = server.client(&name, &tokens[version]);
        assert_eq!(client.get("/Users").expect(200)["totalResults"], 1, "version {version}");
        assert_eq!(client.find("/Users", "externalId eq \"x\"")[0]["id"], ADA, "version {version}");
        client.create("/Users", okta::user("grace@example.com"));
        assert_eq!(client.get("/Users?count=0").expect(200)["totalResults"], 2, "version {version}");
        assert_eq!(user_version(&server.tenant_file(&name)), schema_version());
    }
}

#[test]
fn a_file_of_a_later_version_is_refused_and_not_touched() {
    let token = Token::new("okta");
    let (server, file) = server(&token);
    let later = schema_version() + 1;
    make(&file, &format!("{FIXTURE}PRAGMA user_version = {later};"));
    let before = std::fs::read(&file).unwrap();
    server.client("acme", &token).get("/Users").expect(503);
    let output = server.run(["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = format!(
        "has schema version {later}, and this ici-scim knows versions up to {}; install a newer one",
        later - 1
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

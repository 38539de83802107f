//! Export and import by the real program, beside a running server.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Client, Config, Server, TenantConfig, Token, file};

struct Bench {
    server: Server,
    client: Client,
    other: Client,
}

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn bench() -> Bench {
    let (token, second) = (Token::new("okta"), Token::new("okta"));
    let config = Config::acme(&token).tenant(TenantConfig::new("globex").token(&second));
    let server = Server::start(&config);
    let (client, other) = (server.client("acme", &token), server.client("globex", &second));
    Bench { server, client, other }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.server.folder().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Exit code, summary and what was said.
    fn import(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = self.server.run(arguments.iter().copied().chain(["--json"]));
        let said = String::from_utf8(output.stderr).unwrap();
        let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), summary, said)
    }

    /// An import of which every row is taken: created, updated, unchanged.
    #[track_caller]
    fn imported(&self, arguments: &[&str]) -> [u64; 3] {
        let (code, summary, said) = self.import(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        ["created", "updated", "unchanged"].map(|key| summary[key].as_u64().unwrap())
    }
}

/// People of all kinds: plain, inactive, with every sort of list.
fn people(client: &Client) -> Vec<Value> {
    let all = [
        json!({ "userName": "ada@x.test", "externalId": "00u1", "name": { "givenName": "Ada, \"the first\"", "familyName": "Lovelace" },
                "emails": [{ "value": "ada@x.test", "type": "work", "primary": true }, { "value": "a@h.test", "type": "home" }],
                ENTERPRISE: { "department": "R&D\nLine two", "manager": { "value": "boss" } } }),
        json!({ "userName": "bob@x.test", "active": false, "title": "=1+1", "phoneNumbers": [{ "value": "+1", "type": "work" }] }),
        json!({ "userName": "zoë@x.test", "emails": [{ "value": "z@x.test" }, { "value": "z2@x.test", "type": "other" }],
                "roles": [{ "value": "admin" }, { "value": "user" }] }),
        json!({ "userName": "plain" }),
    ];
    all.map(|user| client.create("/Users", user).without_meta()).to_vec()
}

/// The users of a tenant without what is a tenant's own.
fn users(client: &Client) -> Vec<Value> {
    let list = client.get("/Users?count=1000").expect(200);
    let mut users = list.resources().to_vec();
    for user in &mut users {
        let user = user.as_object_mut().unwrap();
        for own in ["id", "meta", "groups"] {
            user.remove(own);
        }
    }
    users
}

#[test]
fn what_is_exported_is_unchanged_when_it_is_imported_again_and_the_same_elsewhere() {
    for name in ["users.csv", "users.ndjson"] {
        let bench = bench();
        people(&bench.client);
        let path = bench.path(name).display().to_string();
        bench.server.run_well(["user", "export", "acme", "--file", &path]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let events = file::events(&bench.server.tenant_file("acme"));
        assert_eq!(
            bench.imported(&["user", "import", "acme", "--file", &path]),
            [0, 0, 4],
            "{}",
            bench.read(name)
        );
        assert_eq!(file::events(&bench.server.tenant_file("acme")), events);
        assert_eq!(bench.imported(&["user", "import", "globex", "--file", &path]), [4, 0, 0]);
        let (here, there) = (users(&bench.client), users(&bench.other));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here["userName"], there["userName"]);
            for key in here.as_object().unwrap().keys() {
                match (&here[key], &there[key]) {
                    // What a cell is cannot tell in which order the values were.
                    (Value::Array(left), Value::Array(right)) => {
                        assert_eq!(left.len(), right.len(), "{key}");
                        assert!(left.iter().all(|value| right.contains(value)), "{left:?} {right:?}");
                    }
                    (left, right) => assert_eq!(left, right, "{key}"),
                }
            }
        }
        assert_eq!(bench.imported(&["user", "import", "globex", "--file", &path]), [0, 0, 4]);
    }
}

#[test]
fn a_refused_row_is_told_with_its_line_and_the_others_are_imported() {
    let bench = bench();
    let rows = "userName,active,emails[type eq \"work\"].value\n\
                ada@x.test,true,ada@x.test\n\
                ,true,nobody@x.test\n\
                bob@x.test,maybe,b@x.test\n\
                \"two\nlines\",true,\n\
                short\n\
                eve@x.test,false,e@x.test\n";
    let path = bench.write("users.csv", rows);
    let errors = bench.path("errors.ndjson").display().to_string();
    let (code, summary, said) =
        bench.import(&["user", "import", "acme", "--file", &path, "--errors", &errors]);
    assert_eq!(code, 1, "{said}");
    assert_eq!((&summary["created"], &summary["refused"]), (&json!(3), &json!(3)), "{summary} {said}");
    let lines: Vec<&Value> =
        summary["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!(lines, [3, 4, 7]);
    assert!(said.contains("line 4: ") && said.contains("3 of 6 rows were refused"), "{said}");
    let told: Vec<Value> =
        bench.read("errors.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(told), summary["errors"]);
    let eve = bench.client.find("/Users", "userName eq \"eve@x.test\"");
    assert_eq!(eve[0]["active"], false);
    // Corrected and run again, the rest is passed over.
    let path = bench.write(
        "users.csv",
        &rows.replace("maybe", "true").replace("short\n", "").replace(",true,nobody", "nobody,true,nobody"),
    );
    assert_eq!(bench.imported(&["user", "import", "acme", "--file", &path]), [2, 0, 3]);
    assert_eq!(bench.imported(&["user", "import", "acme", "--file", &path, "--from-line", "5"]), [0, 0, 2]);
}

#[test]
fn an_import_that_is_told_to_stop_stops_at_the_first_refused_row() {
    let bench = bench();
    let path = bench.write(
        "users.ndjson",
        "{\"userName\":\"a\"}\n\n{\"userName\":\"b\",\"active\":\"maybe\"}\n{\"userName\":\"c\"}\nno json\n",
    );
    let (code, summary, _) = bench.import(&["user", "import", "acme", "--file", &path, "--stop-on-error"]);
    assert_eq!((code, &summary["created"], &summary["refused"]), (1, &json!(1), &json!(1)));
    assert_eq!(summary["errors"][0]["line"], 3);
    let (code, summary, said) = bench.import(&["user", "import", "acme", "--file", &path]);
    assert!(said.contains("line 5: The line is no JSON: expected ident, at column 2."), "{said}");
    assert_eq!(
        (code, &summary["created"], &summary["unchanged"], &summary["refused"]),
        (1, &json!(1), &json!(1), &json!(2))
    );
}

#[test]
fn a_dry_run_counts_what_an_import_would_do_and_does_nothing() {
    let bench = bench();
    people(&bench.client);
    let path = bench.write(
        "users.csv",
        "userName,title\nada@x.test,Countess\nplain,\nnew@x.test,New\nnew@x.test,New\n,x\n",
    );
    let before = (users(&bench.client), file::events(&bench.server.tenant_file("acme")));
    let (code, summary, said) = bench.import(&["user", "import", "acme", "--file", &path, "--dry-run"]);
    assert!(said.contains("would be refused") && said.contains("nothing was changed"), "{said}");
    let counts = ["created", "updated", "unchanged", "refused"].map(|key| summary[key].as_u64().unwrap());
    assert_eq!((code, counts, &summary["dryRun"]), (1, [1, 1, 2, 1], &json!(true)));
    assert_eq!((users(&bench.client), file::events(&bench.server.tenant_file("acme"))), before);
    let left = fs::read_dir(bench.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("rehearsal")));
}

#[test]
fn a_table_changes_what_it_has_columns_for_and_an_empty_cell_takes_a_value_away() {
    let bench = bench();
    people(&bench.client);
    let path = bench.write(
        "users.csv",
        "userName,emails[type eq \"home\"].value,title,department\nADA@x.test,,Countess,\nbob@x.test,,,\n",
    );
    assert_eq!(bench.imported(&["user", "import", "acme", "--file", &path]), [0, 2, 0]);
    let ada = &bench.client.find("/Users", "userName eq \"ada@x.test\"")[0];
    assert_eq!(
        (&ada["userName"], &ada["title"], &ada["externalId"]),
        (&json!("ADA@x.test"), &json!("Countess"), &json!("00u1"))
    );
    assert_eq!(ada["emails"].as_array().unwrap().len(), 1);
    assert_eq!(ada[ENTERPRISE], json!({ "manager": { "value": "boss" } }));
    let bob = &bench.client.find("/Users", "userName eq \"bob@x.test\"")[0];
    assert_eq!((&bob["title"], &bob["active"]), (&Value::Null, &json!(false)));
    // By the externalId, a person is renamed.
    let path = bench.write("users.csv", "externalId,userName\n00u1,countess@x.test\n");
    assert_eq!(bench.imported(&["user", "import", "acme", "--file", &path]), [0, 1, 0]);
    assert_eq!(bench.client.find("/Users", "externalId eq \"00u1\"")[0]["userName"], "countess@x.test");
    let actor = "SELECT count(*) FROM events WHERE actor = 'operator' AND action = 'update'";
    assert_eq!(file::number(&bench.server.tenant_file("acme"), actor), 3);
}

#[test]
fn columns_of_other_names_are_mapped_or_named() {
    let bench = bench();
    let path = bench.write("hr.csv", "\u{feff}E-Mail;Dept;Salary;firstName\nada@x.test;R&D;1;Ada\n");
    let (code, _, said) = bench.import(&["user", "import", "acme", "--file", &path]);
    assert!(code == 2 && said.contains("--map 'E-Mail=ATTR'"), "{code} {said}");
    let map = ["--map", "E-Mail=userName", "--map", "Dept=department", "--map", "Salary="];
    let mut arguments = vec!["user", "import", "acme", "--file", &path];
    arguments.extend(map);
    assert_eq!(bench.imported(&arguments), [1, 0, 0]);
    let ada = &bench.client.find("/Users", "userName eq \"ada@x.test\"")[0];
    assert_eq!((&ada["name"]["givenName"], &ada[ENTERPRISE]["department"]), (&json!("Ada"), &json!("R&D")));
    // What a column is may be said by its other name, and a slip there is told as what it is.
    let path = bench.write("other.csv", "Konto,Post\nada@x.test,ada@work.test\n");
    let map = ["--map", "Konto=login", "--map", "Post=email"];
    let mut arguments = vec!["user", "import", "acme", "--file", &path];
    arguments.extend(map);
    assert_eq!(bench.imported(&arguments), [0, 1, 0]);
    let ada = &bench.client.find("/Users", "userName eq \"ada@x.test\"")[0];
    assert_eq!(ada["emails"][0]["value"], "ada@work.test");
    let slip = ["user", "import", "acme", "--file", &path, "--map", "Konto=login", "--map", "Post=emial"];
    let (code, _, said) = bench.import(&slip);
    assert!(code == 2 && said.contains("knows emial, which --map says that the column Post is"), "{said}");
    let twice = bench
        .write("twice.csv", "login,Email,emails[type eq \"work\"].value\nada@x.test,a@x.test,b@x.test\n");
    let (code, _, said) = bench.import(&["user", "import", "acme", "--file", &twice]);
    assert!(
        code == 2 && said.contains("the columns Email and emails[type eq \"work\"].value are both"),
        "{said}"
    );
    fs::write(bench.path("latin.csv"), b"userName,Stra\xdfe\nx,y\n").unwrap();
    let latin = bench.path("latin.csv").display().to_string();
    let (code, _, said) = bench.import(&["user", "import", "acme", "--file", &latin]);
    assert!(code == 1 && said.contains("not UTF-8") && said.contains("hint:"), "{said}");
    let (code, _, said) = bench.import(&["user", "import", "acme", "--file", &path, "--map", "Nope=title"]);
    assert!(code == 2 && said.contains("no such column"), "{said}");
    let (code, _, said) = bench.import(&["user", "import", "acme", "--file", "nowhere.csv"]);
    assert!(code == 1 && said.contains("nowhere.csv"), "{said}");
}

#[test]
fn groups_travel_with_their_members() {
    for (name, by) in
        [("groups.csv", "name"), ("groups.ndjson", "name"), ("groups.ndjson", "id"), ("groups.csv", "id")]
    {
        let bench = bench();
        people(&bench.client);
        let people = bench.path("users.ndjson").display().to_string();
        bench.server.run_well(["user", "export", "acme", "--file", &people]);
        bench.imported(&["user", "import", "globex", "--file", &people]);
        let id = |client: &Client, name: &str| {
            client.find("/Users", &format!("userName eq \"{name}\""))[0]["id"].as_str().unwrap().to_owned()
        };
        let (ada, bob) = (id(&bench.client, "ada@x.test"), id(&bench.client, "bob@x.test"));
        let inner = bench.client.create(
            "/Groups",
            json!({ "displayName": "Inner, \"x\"", "externalId": "g1", "members": [{ "value": ada }, { "value": bob }] }),
        );
        bench
            .client
            .create("/Groups", json!({ "displayName": "Outer", "members": [{ "value": inner.id() }] }));
        bench.client.create("/Groups", json!({ "displayName": "Empty" }));
        let path = bench.path(name).display().to_string();
        bench.server.run_well(["group", "export", "acme", "--file", &path, "--members-by", by]);
        let events = file::events(&bench.server.tenant_file("acme"));
        assert_eq!(bench.imported(&["group", "import", "acme", "--file", &path]), [0, 0, 3]);
        assert_eq!(file::events(&bench.server.tenant_file("acme")), events);
        let (code, summary, said) = bench.import(&["group", "import", "globex", "--file", &path]);
        if by == "id" {
            // They are ids of another tenant.
            assert_eq!((code, &summary["created"], &summary["refused"]), (1, &json!(1), &json!(2)), "{said}");
            assert!(said.contains("Nobody has the id, userName or externalId"), "{said}");
            continue;
        }
        assert_eq!((code, &summary["created"]), (0, &json!(3)), "{said}");
        let groups = bench.other.get("/Groups?sortBy=displayName").expect(200);
        let names: Vec<&Value> = groups.resources().iter().map(|group| &group["displayName"]).collect();
        assert_eq!(names, ["Empty", "Inner, \"x\"", "Outer"]);
        let mut there = [id(&bench.other, "ada@x.test"), id(&bench.other, "bob@x.test")];
        there.sort();
        assert_eq!(crate::support::client::member_ids(&groups.resources()[1]), there);
        assert_eq!(
            crate::support::client::member_ids(&groups.resources()[2]),
            [groups.resources()[1]["id"].as_str().unwrap()]
        );
        assert_eq!(bench.imported(&["group", "import", "globex", "--file", &path]), [0, 0, 3]);
    }
}

#[test]
fn members_become_those_of_the_file_or_are_added_and_unknown_ones_can_be_passed_over() {
    let bench = bench();
    people(&bench.client);
    let members = || {
        let group = &bench.client.find("/Groups", "displayName eq \"G\"")[0];
        let mut names: Vec<String> = group["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|member| member["display"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let path = bench.write("g.csv", "displayName,member\nG,ada@x.test\nG,00u1\nG,BOB@x.test\nH,\n");
    assert_eq!(bench.imported(&["group", "import", "acme", "--file", &path]), [2, 0, 0]);
    assert_eq!(members(), ["ada@x.test", "bob@x.test"]);
    let path = bench.write("g.csv", "displayName,member\nG,plain\nG,nobody@x.test\n");
    let (code, summary, said) = bench.import(&["group", "import", "acme", "--file", &path]);
    assert_eq!((code, &summary["errors"][0]["line"]), (1, &json!(2)), "{said}");
    assert_eq!(members(), ["ada@x.test", "bob@x.test"]);
    let keep = ["group", "import", "acme", "--file", &path, "--keep-members", "--skip-unknown-members"];
    let (code, summary, _) = bench.import(&keep);
    assert_eq!((code, &summary["updated"], &summary["membersSkipped"]), (0, &json!(1), &json!(1)));
    assert_eq!(members(), ["ada@x.test", "bob@x.test", "plain"]);
    assert_eq!(bench.imported(&keep), [0, 0, 1]);
    let skip = ["group", "import", "acme", "--file", &path, "--skip-unknown-members"];
    assert_eq!(bench.imported(&skip), [0, 1, 0]);
    assert_eq!(members(), ["plain"]);
    // Rows of one group that are not together would take each other's members away.
    let path = bench.write("g.csv", "displayName,member\nG,plain\nH,plain\nG,ada@x.test\n");
    let (code, summary, _) = bench.import(&["group", "import", "acme", "--file", &path]);
    assert_eq!((code, &summary["errors"][0]["line"]), (1, &json!(4)));
    assert_eq!(members(), ["plain"]);
    // Without a column of members, the members stay.
    let path = bench.write("g.csv", "displayName,externalId\nG,g-1\n");
    assert_eq!(bench.imported(&["group", "import", "acme", "--file", &path]), [0, 1, 0]);
    assert_eq!(members(), ["plain"]);
}

#[test]
fn a_file_of_many_batches_is_imported_while_the_server_writes() {
    let bench = bench();
    let mut text = String::from("userName,externalId,active\n");
    for number in 0..1_500 {
        text.push_str(&format!("u{number}@x.test,e{number},true\n"));
    }
    let path = bench.write("many.csv", &text);
    let server = &bench.server;
    std::thread::scope(|scope| {
        let import = scope.spawn(|| server.run(["user", "import", "acme", "--file", &path, "--json"]));
        let mut made = 0;
        while !import.is_finished() {
            // It may wait for its turn for too long, as it is then told.
            let user = json!({ "userName": format!("okta{made}@x.test") });
            let reply = bench.client.post("/Users", user);
            assert!(matches!(reply.status, 201 | 429 | 503), "{reply}");
            made += i32::from(reply.status == 201);
        }
        let output = import.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(made > 0);
        let total = bench.client.get("/Users?count=0").expect(200)["totalResults"].clone();
        assert_eq!(total, json!(1_500 + made));
    });
    let out = bench.path("out.csv").display().to_string();
    server.run_well(["user", "export", "acme", "--file", &out, "--filter", "userName sw \"u\""]);
    assert_eq!(bench.read("out.csv").lines().count(), 1_501);
    assert_eq!(bench.imported(&["user", "import", "acme", "--file", &out]), [0, 0, 1_500]);
    let exported = server.run_well(["user", "export", "acme", "--filter", "userName eq \"u7@x.test\""]);
    assert!(
        exported.starts_with("id,userName,externalId,active\n") && exported.contains(",u7@x.test,e7,true")
    );
}

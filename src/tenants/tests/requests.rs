//! Requests to tenants' directories.

use super::*;

fn ask(operation: Operation, body: &'static str) -> Ask {
    Ask {
        operation,
        query: String::new(),
        body: Bytes::from_static(body.as_bytes()),
        if_match: None,
        if_none_match: None,
        base_url: "https://scim.example.com/scim/v2/acme".to_owned(),
    }
}

fn create(body: &'static str) -> Ask {
    ask(Operation::Create(Kind::User), body)
}

fn total(answer: &Answer) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(answer.body.as_deref().unwrap()).unwrap();
    body["totalResults"].as_u64().unwrap()
}

const ADA: &str = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada"}"#;

#[tokio::test]
async fn a_tenants_file_is_made_with_its_first_request_and_tenants_are_apart() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let snapshot = tenants.snapshot();
    let acme = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
    let globex = shown(&tenants, "globex", bench.globex.expose()).await.unwrap();
    assert!(!bench.folder.path().join("data").exists());
    assert_eq!(
        tenants.run(&snapshot, &acme, create(ADA), &Trail::default()).await.unwrap().answer.status,
        201
    );
    assert!(bench.folder.path().join("data/acme.sqlite").exists());
    assert!(!bench.folder.path().join("data/globex.sqlite").exists());
    let list = || ask(Operation::List(Kind::User), "");
    assert_eq!(total(&tenants.run(&snapshot, &acme, list(), &Trail::default()).await.unwrap().answer), 1);
    assert_eq!(total(&tenants.run(&snapshot, &globex, list(), &Trail::default()).await.unwrap().answer), 0);
    // The command line sees the same, with the server running.
    let settings = tenants.snapshot().settings().clone();
    let directory = open_directory(&settings, &acme.tenant, bench.clock.clone()).unwrap();
    let options = snapshot.options(&acme.tenant).unwrap();
    let answer = directory.run(&options, &directory::Actor::Operator, list()).unwrap();
    assert_eq!(total(&answer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writes_are_all_done_and_each_is_answered_for_itself() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let caller = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let (tenants, caller) = (Arc::clone(&tenants), caller.clone());
            // Two of each name: one of them is refused.
            let body = format!(
                r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"u{}"}}"#,
                number / 2
            );
            tokio::spawn(async move {
                let ask = Ask { body: body.into(), ..create("") };
                tenants.run(&tenants.snapshot(), &caller, ask, &Trail::default()).await
            })
        })
        .collect();
    let (mut made, mut refused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(answer) => made += u32::from(answer.answer.status == 201),
            Err(directory::Error::Client(error)) => refused += u32::from(error.status == 409),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made, refused), (50, 50));
    let list = ask(Operation::List(Kind::User), "");
    assert_eq!(
        total(&tenants.run(&tenants.snapshot(), &caller, list, &Trail::default()).await.unwrap().answer),
        50
    );
}

#[tokio::test]
async fn a_large_body_is_prepared_elsewhere_and_done_all_the_same() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let caller = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
    let padded = ADA.replace('}', &(" ".repeat(20_000) + "}"));
    let ask = Ask { body: padded.into(), ..create("") };
    assert_eq!(
        tenants.run(&tenants.snapshot(), &caller, ask, &Trail::default()).await.unwrap().answer.status,
        201
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_tried_again_with_the_next_request() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let caller = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
    let data = bench.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("acme.sqlite"), "this is no database, and long enough to be seen as none".repeat(99))
        .unwrap();
    let list = || ask(Operation::List(Kind::User), "");
    let error = tenants.run(&tenants.snapshot(), &caller, list(), &Trail::default()).await.unwrap_err();
    assert!(
        matches!(&error, directory::Error::Unavailable { reason } if reason.contains("acme.sqlite")),
        "{error}"
    );
    fs::remove_file(data.join("acme.sqlite")).unwrap();
    assert_eq!(
        total(&tenants.run(&tenants.snapshot(), &caller, list(), &Trail::default()).await.unwrap().answer),
        0
    );
}

#[tokio::test]
async fn a_request_that_came_before_the_removal_of_its_tenant_opens_its_file_no_more() {
    let bench = Bench::new();
    let tenants = bench.tenants();
    let before = tenants.snapshot();
    let caller = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
    assert_eq!(
        tenants.run(&before, &caller, create(ADA), &Trail::default()).await.unwrap().answer.status,
        201
    );
    bench.write("[tenants.globex]\n");
    tenants.reload().unwrap();
    let list = || ask(Operation::List(Kind::User), "");
    let late = tenants.run(&before, &caller, list(), &Trail::default()).await.unwrap_err();
    assert!(matches!(late, directory::Error::Client(error) if error.status == 503));
    // With the configuration of now there is no such tenant.
    let now = tenants.run(&tenants.snapshot(), &caller, list(), &Trail::default()).await;
    assert!(matches!(now, Err(directory::Error::Internal { .. })));
}

#[tokio::test]
async fn a_request_that_came_before_the_pause_of_its_tenant_writes_nothing_after_it() {
    for (paused, status) in [("true", 503), ("429", 429)] {
        let bench = Bench::new();
        let tenants = bench.tenants();
        let before = tenants.snapshot();
        let caller = shown(&tenants, "acme", bench.acme.expose()).await.unwrap();
        assert_eq!(
            tenants.run(&before, &caller, create(ADA), &Trail::default()).await.unwrap().answer.status,
            201
        );
        bench.write(&bench.usual().replace("[tenants.acme]\n", "").replacen(
            "[[tenants.acme.tokens]]",
            &format!("[tenants.acme]\npaused = {paused}\n[[tenants.acme.tokens]]"),
            1,
        ));
        tenants.reload().unwrap();
        let late = tenants.run(&before, &caller, create(ADA), &Trail::default()).await.unwrap_err();
        assert!(matches!(&late, directory::Error::Client(error) if error.status == status), "{late}");
        let refused = tenants.snapshot().pass(&caller).unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s), (status, Some(60)));
        bench.write(&bench.usual());
        tenants.reload().unwrap();
        tenants.snapshot().pass(&caller).unwrap();
        let list = ask(Operation::List(Kind::User), "");
        let found = tenants.run(&tenants.snapshot(), &caller, list, &Trail::default()).await.unwrap();
        assert_eq!(total(&found.answer), 1);
    }
}

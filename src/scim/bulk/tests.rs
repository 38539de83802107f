use super::*;
use crate::scim::schema::{ENTERPRISE_USER, Schemas};
use serde_json::json;

fn parsed(operations: Value) -> Result<BulkRequest, Error> {
    let body = json!({ "schemas": [REQUEST_URN], "failOnErrors": 1, "Operations": operations });
    parse(body.to_string().as_bytes(), 32, 3)
}

#[test]
fn the_rfcs_example_is_read_and_each_operations_data_found() {
    let body = json!({ "schemas": [REQUEST_URN], "failOnErrors": 1, "Operations": [
        { "method": "post", "path": "/Users", "bulkId": "q", "data": { "userName": "a" } },
        { "method": "DELETE", "path": "/Users/1", "version": "W/\"1\"" }] });
    let body = format!("\u{feff}{body}");
    let request = parse(body.as_bytes(), 32, 3).unwrap();
    assert_eq!(request.fail_on_errors, Some(1));
    let [create, delete] = request.operations.as_slice() else { panic!("two operations") };
    assert_eq!((create.operation.clone(), create.makes()), (Ok(Operation::Create(Kind::User)), Some("q")));
    assert_eq!(create.data(body.as_bytes()), Ok(json!({ "userName": "a" })));
    assert_eq!((delete.version.as_deref(), delete.target()), (Some("W/\"1\""), Some((Kind::User, "1"))));
    assert_eq!((delete.data(body.as_bytes()), delete.makes()), (Ok(Value::Null), None));
}

#[test]
fn what_is_no_bulk_request_is_refused() {
    for operations in [
        json!({}),
        json!([7]),
        json!([{ "method": "GET", "path": "/Users" }]),
        json!([{ "method": "POST" }]),
        json!([{ "path": "/Users" }]),
        json!([{ "method": "DELETE", "path": 7 }]),
        json!([{ "method": "POST", "path": "/Users", "bulkId": "q" }, { "method": "POST", "path": "/Groups", "bulkId": "q" }]),
    ] {
        assert_eq!(parsed(operations.clone()).unwrap_err().status, 400, "{operations}");
    }
    let delete = json!({ "method": "DELETE", "path": "/Users/1" });
    let refused = parsed(json!([delete, delete, delete, delete])).unwrap_err();
    assert_eq!((refused.status, refused.detail.contains("at most 3 operations")), (413, true));
    for body in [
        &br#"{"schemas":["urn:x"],"Operations":[]}"#[..],
        b"[]",
        b"7",
        b"{",
        b"",
        b"{\"Operations\":[{\"method\":\"\xff\"}]}",
        br#"{"Operations":[],"failOnErrors":0}"#,
        br#"{"Operations":[],"failOnErrors":"1"}"#,
    ] {
        assert_eq!(parse(body, 32, 3).unwrap_err().status, 400, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn an_operation_with_a_wrong_path_or_without_bulk_id_is_refused_by_itself() {
    let request = parsed(json!([
        { "method": "POST", "path": "/Users" },
        { "method": "PATCH", "path": "/Schemas" },
        { "method": "PUT", "path": "/Bulk" }]))
    .unwrap();
    assert!(request.operations.iter().all(|operation| operation.operation.is_err()));
}

fn ids() -> Ids<'static> {
    Ids { made_here: HashSet::from(["a", "b"]), known: HashMap::from([("a", "id-a".to_owned())]) }
}

#[test]
fn references_are_found_wherever_they_stand_even_escaped() {
    let operations = [
        r#"{"method":"PUT","path":"/Groups/bulkId:c","data":{"members":[{"value":"bulkId:a"},{"value":"bulkId:b"}],"x":"bulkId:a"}}"#,
        r#"{"method":"PUT","path":"/Groups/1","data":{"members":[{"value":"\u0062ulkId:a"}]}}"#,
        r#"{"method":"PATCH","path":"/Groups/1","data":{"Operations":[{"op":"remove","path":"members[value eq \"bulkId:a\" or value eq \"bulkId:b\"]"}]}}"#,
    ];
    for (operation, expected) in operations.iter().zip([&["a", "b", "c"][..], &["a"], &["a", "b"]]) {
        let body = format!("{{\"Operations\":[{operation}]}}");
        let request = parse(body.as_bytes(), 32, 3).unwrap();
        assert_eq!(request.operations[0].references(body.as_bytes()), expected);
    }
}

#[test]
fn references_become_ids_and_what_cannot_is_refused() {
    let mut data = json!({ "members": [{ "value": "bulkId:a" }, "bulkId:a"], "x": "bulkId:a", "displayName": "bulkId:no",
        "Operations": [{ "path": "members[value eq \"bulkId:a\" and type eq \"User\"]" }] });
    ids().resolve(&mut data).unwrap();
    assert_eq!(
        data,
        json!({ "members": [{ "value": "id-a" }, "id-a"], "x": "id-a", "displayName": "bulkId:no",
            "Operations": [{ "path": "members[value eq \"id-a\" and type eq \"User\"]" }] })
    );
    for (data, status) in [
        (json!({ "value": "bulkId:no" }), 400),
        (json!({ "$ref": "bulkId:no" }), 400),
        (json!({ "value": "bulkId:b" }), 409),
        (json!({ "displayName": "bulkId:b" }), 409),
        (json!({ "path": "members[value eq \"bulkId:b\"]" }), 409),
    ] {
        assert_eq!(ids().resolve(&mut data.clone()).unwrap_err().status, status, "{data}");
    }
}

#[test]
fn what_refers_to_the_unmade_is_cut_out_unless_it_is_required() {
    let schemas = Schemas::builtin().unwrap();
    let is_open = |bulk_id: &str| bulk_id == "b";
    let mut group =
        json!({ "displayName": "g", "members": [{ "value": "bulkId:a" }, { "value": "bulkId:b" }] });
    let taken = cut(&mut group, schemas.of(Kind::Group), is_open).unwrap();
    assert_eq!(taken, [("members".to_owned(), json!([{ "value": "bulkId:b" }]))]);
    assert_eq!(group, json!({ "displayName": "g", "members": [{ "value": "bulkId:a" }] }));
    let mut user =
        json!({ "userName": "u", ENTERPRISE_USER: { "manager": { "value": "bulkId:b" }, "division": "d" } });
    let taken = cut(&mut user, schemas.of(Kind::User), is_open).unwrap();
    assert_eq!(taken, [(format!("{ENTERPRISE_USER}:manager"), json!({ "value": "bulkId:b" }))]);
    assert_eq!(user, json!({ "userName": "u", ENTERPRISE_USER: { "division": "d" } }));
    let mut named = json!({ "userName": "bulkId:b" });
    assert_eq!(cut(&mut named, schemas.of(Kind::User), is_open), None);
}

#[test]
fn the_answer_tells_of_each_operation_what_became_of_it() {
    let request = parsed(json!([
        { "method": "post", "path": "/Users", "bulkId": "q", "data": {} },
        { "method": "DELETE", "path": "/Users/1" }]))
    .unwrap();
    let outcomes = [
        Outcome { status: 201, location: Some("l".into()), version: Some("v".into()), error: None },
        Outcome {
            status: 404,
            location: Some("m".into()),
            version: None,
            error: Some(Error::not_found("no")),
        },
    ];
    let answer: Value = serde_json::from_slice(&response(request.operations.iter().zip(&outcomes))).unwrap();
    assert_eq!(
        answer,
        json!({ "schemas": [RESPONSE_URN], "Operations": [
            { "method": "POST", "bulkId": "q", "version": "v", "location": "l", "status": "201" },
            { "method": "DELETE", "location": "m", "status": "404", "response": Error::not_found("no").to_json() }] })
    );
}

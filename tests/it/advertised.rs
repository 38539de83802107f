//! Advertised is enforced: what `/ServiceProviderConfig`, `/ResourceTypes` and `/Schemas` say is tried out, driven by
//! what is served and not by a list of our own.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::support::client::encode;
use crate::support::{Client, Reply, Tenant, okta};

/// An attribute as it is served, and where it stands.
struct Described {
    /// Endpoint of the resource type, such as `/Users`.
    endpoint: String,
    /// URN of the schema.
    schema: String,
    /// Whether that is an extension of the resource type.
    is_extension: bool,
    /// The attribute that this one is a part of.
    parent: Option<Value>,
    attribute: Value,
}

impl Described {
    fn text<'a>(&'a self, key: &str) -> &'a str {
        self.attribute[key].as_str().unwrap_or_default()
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.text(key) == value
    }

    fn flag(&self, key: &str) -> bool {
        self.attribute[key] == true
    }

    /// The name of the attribute, or of the one that it is a part of.
    fn head(&self) -> &str {
        self.parent.as_ref().map_or_else(|| self.text("name"), |parent| parent["name"].as_str().unwrap())
    }

    /// As `attributes`, filters and paths name it.
    fn full_name(&self) -> String {
        let urn = if self.is_extension { format!("{}:", self.schema) } else { String::new() };
        match &self.parent {
            Some(parent) => format!("{urn}{}.{}", parent["name"].as_str().unwrap(), self.text("name")),
            None => format!("{urn}{}", self.text("name")),
        }
    }

    /// A resource with this attribute set to `value` (of a part: to an element with `value` in it).
    fn body(&self, world: &World, value: &Value) -> Value {
        let mut body = world.plain(&self.endpoint);
        let sent = match &self.parent {
            None => value.clone(),
            Some(parent) => {
                let mut element = Map::new();
                // An element is kept for its value.
                for sub in parent["subAttributes"].as_array().unwrap() {
                    if sub["name"] == "value" {
                        element.insert("value".to_owned(), world.value(sub, Some(parent)));
                    }
                }
                element.insert(self.text("name").to_owned(), value.clone());
                let element = Value::Object(element);
                if parent["multiValued"] == true { json!([element]) } else { element }
            }
        };
        let place = if self.is_extension { &mut body[&self.schema] } else { &mut body };
        place[self.head()] = sent;
        body
    }

    /// What a resource shows of it; of a part, in the first element.
    fn shown<'a>(&self, resource: &'a Value) -> &'a Value {
        let place = if self.is_extension { &resource[&self.schema] } else { resource };
        let head = &place[self.head()];
        match &self.parent {
            None => head,
            Some(parent) if parent["multiValued"] == true => &head[0][self.text("name")],
            Some(_) => &head[self.text("name")],
        }
    }

    fn settable(&self) -> bool {
        let writable = |attribute: &Value| attribute["mutability"] != "readOnly";
        writable(&self.attribute) && self.parent.as_ref().is_none_or(writable)
    }
}

/// A tenant, and somebody to refer to.
struct World {
    client: Client,
    id: String,
    next: std::cell::Cell<u32>,
}

impl World {
    fn new(client: Client) -> World {
        let id = client.create("/Users", json!({ "userName": "somebody" })).id();
        World { client, id, next: std::cell::Cell::new(0) }
    }

    fn number(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// The least that a resource of the endpoint needs, with names that nobody has.
    fn plain(&self, endpoint: &str) -> Value {
        let kinds = self.client.get("/ResourceTypes");
        let kind = kinds.resources().iter().find(|kind| kind["endpoint"] == endpoint).unwrap();
        let schema = self.client.get(&format!("/Schemas/{}", kind["schema"].as_str().unwrap()));
        let mut body = json!({ "schemas": [kind["schema"]] });
        for attribute in schema["attributes"].as_array().unwrap() {
            if attribute["required"] == true {
                body[attribute["name"].as_str().unwrap()] = self.value(attribute, None);
            }
        }
        for extension in kind["schemaExtensions"].as_array().into_iter().flatten() {
            let urn = extension["schema"].as_str().unwrap();
            let schema = self.client.get(&format!("/Schemas/{urn}"));
            for attribute in schema["attributes"].as_array().unwrap() {
                if extension["required"] == true && attribute["required"] == true {
                    body[urn][attribute["name"].as_str().unwrap()] = self.value(attribute, None);
                }
            }
        }
        body
    }

    /// A value that fits the attribute, another one each time where the type has more than two.
    fn value(&self, attribute: &Value, parent: Option<&Value>) -> Value {
        let number = self.number();
        let one = match attribute["type"].as_str().unwrap() {
            "boolean" => json!(true),
            "integer" => json!(number),
            "decimal" => json!(f64::from(number) + 0.5),
            "dateTime" => json!(format!("2026-01-31T12:00:{:02}Z", number % 60)),
            "binary" => json!(base64::engine::general_purpose::STANDARD.encode(format!("Bytes {number}"))),
            "reference" if self.is_local(attribute) => {
                json!(format!("{}/Users/{}", self.client.base(), self.id))
            }
            "reference" => json!(format!("https://example.com/Path/{number}")),
            "complex" => {
                let mut element = Map::new();
                for sub in attribute["subAttributes"].as_array().unwrap() {
                    if sub["mutability"] != "readOnly" {
                        element.insert(
                            sub["name"].as_str().unwrap().to_owned(),
                            self.value(sub, Some(attribute)),
                        );
                    }
                }
                Value::Object(element)
            }
            // The value beside a reference to a resource is that resource's id.
            _ if attribute["name"] == "value" && parent.is_some_and(|parent| self.refers(parent)) => {
                json!(self.id)
            }
            _ => match &attribute["canonicalValues"][0] {
                Value::Null if attribute["name"] == "country" => json!("SE"),
                Value::Null => json!(format!("Value {number}")),
                canonical => canonical.clone(),
            },
        };
        if attribute["multiValued"] == true { json!([one]) } else { one }
    }

    fn is_local(&self, attribute: &Value) -> bool {
        attribute["referenceTypes"].as_array().unwrap().iter().any(|kind| kind == "User")
    }

    fn refers(&self, parent: &Value) -> bool {
        let subs = parent["subAttributes"].as_array().unwrap();
        subs.iter().any(|sub| sub["name"] == "$ref" && self.is_local(sub))
    }

    /// Everything that is served about resources that a client can make.
    fn described(&self) -> Vec<Described> {
        let mut all = Vec::new();
        for kind in self.client.get("/ResourceTypes").expect(200).resources() {
            let endpoint = kind["endpoint"].as_str().unwrap();
            if self.client.post(endpoint, json!({})).status == 405 {
                continue;
            }
            let extensions = kind["schemaExtensions"].as_array().into_iter().flatten();
            let schemas = [(&kind["schema"], false)]
                .into_iter()
                .chain(extensions.map(|extension| (&extension["schema"], true)));
            for (schema, is_extension) in schemas {
                let schema = schema.as_str().unwrap();
                let served = self.client.get(&format!("/Schemas/{schema}")).expect(200);
                for attribute in served["attributes"].as_array().unwrap() {
                    let described = |parent: Option<&Value>, attribute: &Value| Described {
                        endpoint: endpoint.to_owned(),
                        schema: schema.to_owned(),
                        is_extension,
                        parent: parent.cloned(),
                        attribute: attribute.clone(),
                    };
                    all.push(described(None, attribute));
                    for sub in attribute["subAttributes"].as_array().into_iter().flatten() {
                        all.push(described(Some(attribute), sub));
                    }
                }
            }
        }
        assert!(all.len() > 80, "only {} attributes are served", all.len());
        all
    }

    /// Makes a resource with the attribute set, and gives back the value and the answer.
    fn make(&self, described: &Described) -> (Value, Reply) {
        let value = self.value(&described.attribute, described.parent.as_ref());
        let made = self.client.create(&described.endpoint, described.body(self, &value));
        (value, made)
    }
}

#[test]
fn each_attribute_is_what_its_schema_says() {
    each_attribute_holds(Tenant::fresh().client());
}

/// Tries every attribute that is served to a client.
pub(crate) fn each_attribute_holds(client: Client) {
    let world = World::new(client);
    for described in world.described() {
        mutability(&world, &described);
        returned(&world, &described);
        data_type(&world, &described);
        if described.parent.is_none() {
            required(&world, &described);
            plurality(&world, &described);
        }
        case_exact(&world, &described);
        uniqueness(&world, &described);
    }
}

/// Whether what is shown has what was sent: the server may add to an element, such as `display`.
fn has(shown: &Value, sent: &Value) -> bool {
    match (shown, sent) {
        (Value::Object(shown), Value::Object(sent)) => {
            sent.iter().all(|(key, value)| shown.get(key).is_some_and(|shown| has(shown, value)))
        }
        (Value::Array(shown), Value::Array(sent)) => {
            shown.len() == sent.len() && shown.iter().zip(sent).all(|(shown, sent)| has(shown, sent))
        }
        _ => shown == sent,
    }
}

fn mutability(world: &World, described: &Described) {
    let name = described.full_name();
    let value = world.value(&described.attribute, described.parent.as_ref());
    let path = match &described.parent {
        Some(parent) if parent["multiValued"] == true => {
            let urn = if described.is_extension { format!("{}:", described.schema) } else { String::new() };
            format!("{urn}{0}[{1} pr].{1}", described.head(), described.text("name"))
        }
        _ => name.clone(),
    };
    let replace = okta::patch(json!([{ "op": "replace", "path": path, "value": value }]));
    match described.text("mutability") {
        "readOnly" => {
            let (value, made) = world.make(described);
            assert!(!has(described.shown(&made.json), &value), "{name}: what is sent is shown: {made}");
            if described.parent.is_none() {
                let refused = world.client.patch(&format!("{}/{}", described.endpoint, made.id()), replace);
                refused.expect_error(400, "mutability");
            }
        }
        "readWrite" => {
            if !described.settable() {
                return;
            }
            let (value, made) = world.make(described);
            let at = format!("{}/{}", described.endpoint, made.id());
            let shown = world.client.get(&format!("{at}?attributes={}", encode(&name))).expect(200);
            assert!(has(described.shown(&shown.json), &value), "{name}: {value}: {shown}");
            world.client.patch(&at, replace).expect(200);
        }
        "immutable" => {
            let (_, made) = world.make(described);
            let at = format!("{}/{}", described.endpoint, made.id());
            let other = okta::patch(json!([{ "op": "replace", "path": path, "value": "another" }]));
            world.client.patch(&at, other).expect_error(400, "mutability");
            assert_eq!(described.shown(&world.client.get(&at).json), described.shown(&made.json), "{name}");
        }
        "writeOnly" => {
            let (value, made) = world.make(described);
            assert_eq!(described.shown(&made.json), &Value::Null, "{name}");
            assert!(!made.to_string().contains(value.as_str().unwrap()), "{name}: {made}");
            let at = format!("{}/{}", described.endpoint, made.id());
            assert_eq!(described.shown(&world.client.patch(&at, replace).expect(200).json), &Value::Null);
        }
        other => panic!("{name}: mutability {other}"),
    }
}

fn returned(world: &World, described: &Described) {
    if !described.settable() {
        return;
    }
    let name = described.full_name();
    let (_, made) = world.make(described);
    let at = format!("{}/{}", described.endpoint, made.id());
    let is_shown = |query: &str| {
        let shown = world.client.get(&format!("{at}?{query}")).expect(200);
        *described.shown(&shown.json) != Value::Null
    };
    let plain = is_shown("");
    let asked = is_shown(&format!("attributes={}", encode(&name)));
    let other = is_shown("attributes=id");
    let excluded = is_shown(&format!("excludedAttributes={}", encode(&name)));
    let expected = match described.text("returned") {
        "always" => [true, true, true, true],
        "default" => [true, true, false, false],
        "request" => [false, true, false, false],
        "never" => [false, false, false, false],
        other => panic!("{name}: returned {other}"),
    };
    assert_eq!(
        [plain, asked, other, excluded],
        expected,
        "{name}: plain, asked for, not asked for, excluded"
    );
}

fn data_type(world: &World, described: &Described) {
    if !described.settable()
        || world.refers(described.parent.as_ref().unwrap_or(&json!({"subAttributes": []})))
    {
        return;
    }
    let wrong = match described.text("type") {
        "boolean" => json!("perhaps"),
        "integer" => json!(1.5),
        "decimal" => json!("many"),
        "dateTime" => json!("yesterday"),
        "complex" => json!(true),
        _ => json!({ "an": "object" }),
    };
    let refused = world.client.post(&described.endpoint, described.body(world, &wrong));
    let refused = refused.expect_error(400, "invalidValue");
    assert!(refused.detail().contains(described.head()), "{refused}");
}

fn required(world: &World, described: &Described) {
    let mut body = world.plain(&described.endpoint);
    let place = if described.is_extension { &mut body[&described.schema] } else { &mut body };
    let was_there = place.as_object_mut().and_then(|place| place.remove(described.text("name"))).is_some();
    let answer = world.client.post(&described.endpoint, body);
    // What an extension requires is required where the extension is there.
    if described.flag("required") && (was_there || !described.is_extension) {
        let refused = answer.expect_error(400, "invalidValue");
        // An extension that holds nothing is not there.
        let named = [described.text("name"), described.schema.as_str()];
        assert!(named.iter().any(|name| refused.detail().contains(name)), "{refused}");
    } else {
        answer.expect(201);
    }
}

fn plurality(world: &World, described: &Described) {
    if !described.settable() || world.refers(&json!({ "subAttributes": described.attribute["subAttributes"].as_array().cloned().unwrap_or_default() })) {
        return;
    }
    let (one, other) = (world.value(&described.attribute, None), world.value(&described.attribute, None));
    let listed = |value: Value| match value {
        Value::Array(mut elements) => elements.remove(0),
        single => single,
    };
    let (mut one, mut other) = (listed(one), listed(other));
    for element in [&mut one, &mut other] {
        // Not two primary ones.
        element.as_object_mut().map(|element| element.remove("primary"));
    }
    let answer = world.client.post(&described.endpoint, described.body(world, &json!([one, other])));
    if described.flag("multiValued") {
        let made = answer.expect(201);
        assert_eq!(described.shown(&made.json).as_array().unwrap().len(), 2, "{made}");
    } else {
        answer.expect_error(400, "invalidValue");
    }
}

fn case_exact(world: &World, described: &Described) {
    let is_text = ["string", "reference", "binary"].contains(&described.text("type"));
    if !described.settable() || !is_text || described.is("returned", "never") {
        return;
    }
    let name = described.full_name();
    let (value, made) = world.make(described);
    let shown = described.shown(&made.json).as_str().unwrap_or_else(|| panic!("{name}: {made}"));
    if !described.is("mutability", "immutable") {
        assert_eq!(shown, value.as_str().unwrap(), "{name}: case is preserved");
    }
    let found = |text: &str| {
        let filter = encode(&format!("{name} eq \"{text}\" and id eq \"{}\"", made.id()));
        world.client.get(&format!("{}?filter={filter}", described.endpoint)).expect(200)["totalResults"] == 1
    };
    assert!(found(shown), "{name}: {shown} is not found");
    let swapped: String = shown
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    assert_ne!(swapped, shown, "{name}: no letters");
    assert_eq!(found(&swapped), !described.flag("caseExact"), "{name}: {shown} and {swapped}");
}

fn uniqueness(world: &World, described: &Described) {
    if !described.settable() || described.parent.is_some() || described.is("type", "complex") {
        return;
    }
    let (value, _) = world.make(described);
    let mut again = described.body(world, &value);
    let answer = world.client.post(&described.endpoint, again.clone());
    if described.is("uniqueness", "none") || described.attribute.get("uniqueness").is_none() {
        answer.expect(201);
        return;
    }
    answer.expect_error(409, "uniqueness");
    if !described.flag("caseExact") {
        again[described.text("name")] = json!(value.as_str().unwrap().to_uppercase());
        world.client.post(&described.endpoint, again).expect_error(409, "uniqueness");
    }
}

#[test]
fn limits_are_enforced() {
    let client = Tenant::fresh().client();
    let config = client.get("/ServiceProviderConfig").expect(200);
    let number = |group: &str, name: &str| usize::try_from(config[group][name].as_u64().unwrap()).unwrap();

    // Operations of a bulk request: as many as are advertised and one more.
    let operations_max = number("bulk", "maxOperations");
    let bulk = |count: usize| {
        let operation = json!({ "method": "DELETE", "path": "/Users/none" });
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": vec![operation; count],
        })
    };
    let done = client.post("/Bulk", bulk(operations_max)).expect(200);
    assert_eq!(done["Operations"].as_array().unwrap().len(), operations_max);
    let refused = client.post("/Bulk", bulk(operations_max + 1)).expect(413);
    assert!(refused.detail().contains(&operations_max.to_string()), "{refused}");

    // Bytes of a bulk request.
    let bytes_max = number("bulk", "maxPayloadSize");
    let padded = |bytes: usize| {
        let body = bulk(1).to_string();
        let blanks = " ".repeat(bytes - body.len());
        client.send_with(reqwest::Method::POST, "/Bulk", Some((body + &blanks).into_bytes()), &[])
    };
    padded(bytes_max).expect(200);
    let refused = padded(bytes_max + 1).expect(413);
    assert!(refused.detail().contains(&bytes_max.to_string()), "the limit is named: {refused}");

    // Resources of a page.
    let results_max = number("filter", "maxResults");
    let users = |from: usize, to: usize| {
        let operations: Vec<Value> = (from..to)
            .map(|number| {
                json!({ "method": "POST", "path": "/Users", "bulkId": number.to_string(), "data": {
                    "schemas": [okta::USER], "userName": format!("u{number}") } })
            })
            .collect();
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations })
    };
    for from in (0..results_max + 5).step_by(operations_max) {
        client.post("/Bulk", users(from, (from + operations_max).min(results_max + 5))).expect(200);
    }
    for query in
        [format!("count={}", results_max + 5), format!("count={}&filter=userName%20pr", results_max + 1)]
    {
        let page = client.get(&format!("/Users?{query}&attributes=id")).expect(200);
        assert_eq!((page.resources().len(), &page["totalResults"]), (results_max, &json!(results_max + 5)));
    }
}

#[test]
fn each_authentication_scheme_opens_the_door() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let token = tenant.token.text();
    for scheme in client.get("/ServiceProviderConfig")["authenticationSchemes"].as_array().unwrap() {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("anybody:{token}"));
        let header = match scheme["type"].as_str().unwrap() {
            "oauthbearertoken" => format!("Bearer {token}"),
            "httpbasic" => format!("Basic {basic}"),
            other => panic!("{other} is advertised"),
        };
        client.authorized(&header).get("/Users").expect(200);
    }
}

#[test]
fn each_feature_is_there_or_not_as_is_said() {
    let client = Tenant::fresh().client();
    let config = client.get("/ServiceProviderConfig").expect(200);
    let says = |feature: &str| config[feature]["supported"] == true;
    for (name, title) in [("b", "1"), ("c", "2"), ("a", "3")] {
        client.create("/Users", json!({ "schemas": [okta::USER], "userName": name, "title": title }));
    }
    let names = |query: &str| -> Vec<String> {
        let listed = client.get(&format!("/Users?{query}")).expect(200);
        listed.resources().iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("sortBy=userName") == ["a", "b", "c"], says("sort"));
    assert_eq!(names("sortBy=title&sortOrder=descending") == ["a", "c", "b"], says("sort"));
    assert_eq!(names("filter=title%20eq%20%222%22") == ["c"], says("filter"));
    let one = client.get("/Users?count=1").resources()[0].clone();
    let path = format!("/Users/{}", one["id"].as_str().unwrap());
    let change = okta::patch(json!([{ "op": "replace", "path": "title", "value": "4" }]));
    let stale = client.send_with(
        reqwest::Method::PATCH,
        &path,
        Some(change.to_string().into_bytes()),
        &[("if-match", "W/\"none\"")],
    );
    assert_eq!(stale.status == 412, says("etag"));
    assert_eq!(client.patch(&path, change).status == 200, says("patch"));
    assert_eq!(client.get(&path)["title"] == "4", says("patch"));

    // RFC 9865 §4.
    let pages = &config["pagination"];
    let by_cursor = client.get("/Users?cursor&count=1").expect(200);
    assert_eq!(by_cursor["nextCursor"].is_string(), pages["cursor"] == true);
    assert_eq!(names("startIndex=2&count=1").len() == 1, pages["index"] != false);
    if let Some(size) = pages["defaultPageSize"].as_u64() {
        assert_eq!(client.get("/Users?attributes=id").expect(200).resources().len() as u64, size.min(3));
    }
    if pages["cursor"] == true {
        let listed = client.get("/Users").expect(200);
        let default_is_index = pages["defaultPaginationMethod"] == "index";
        assert_eq!(listed["startIndex"].is_u64(), default_is_index, "{listed}");
    }
}

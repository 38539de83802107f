//! PATCH against a model of it: RFC 7644 §3.5.2 written down once more, slowly and plainly, on a user with a single
//! attribute, a complex one, a multi-valued one and one of an extension. Whatever is sent, the server must do what
//! the model does, and where the model refuses, refuse with the same keyword and change nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::{Client, Tenant, okta};

/// A user as far as the model goes. The fields have the names of the RFC.
#[derive(Clone, Debug, Default, PartialEq)]
struct User {
    title: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    department: Option<String>,
    emails: Vec<Email>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Email {
    value: Option<String>,
    kind: Option<String>,
    primary: Option<bool>,
}

/// A filter on e-mail addresses, as the RFC writes it in brackets.
#[derive(Clone, Debug)]
enum Filter {
    Type(String),
    Value(String),
    Primary(bool),
    StartsWith(String),
    Both(String, String),
    NotType(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Add,
    Replace,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Title,
    GivenName,
    FamilyName,
    Department,
}

#[derive(Clone, Copy, Debug)]
enum Sub {
    Value,
    Type,
    Primary,
}

#[derive(Clone, Debug)]
enum Operation {
    Set(Verb, Place, String),
    Remove(Place),
    SetName(Verb, Option<String>, Option<String>),
    RemoveName,
    SetEmails(Verb, Vec<Email>),
    RemoveEmails,
    ReplaceChosen(Filter, Email),
    SetOfChosen(Verb, Filter, Sub, String),
    MakePrimary(Verb, Filter),
    RemoveChosen(Filter),
    RemoveOfChosen(Filter, Sub),
    WithoutPath(Verb, Option<String>, Option<String>, Vec<Email>),
}

impl Email {
    fn json(&self) -> Value {
        let mut email = Map::new();
        email.extend(self.value.iter().map(|text| ("value".to_owned(), json!(text))));
        email.extend(self.kind.iter().map(|text| ("type".to_owned(), json!(text))));
        email.extend(self.primary.iter().map(|flag| ("primary".to_owned(), json!(flag))));
        Value::Object(email)
    }

    fn read(email: &Value) -> Email {
        let text = |name: &str| email[name].as_str().map(str::to_owned);
        Email { value: text("value"), kind: text("type"), primary: email["primary"].as_bool() }
    }

    fn is_empty(&self) -> bool {
        *self == Email::default()
    }
}

impl User {
    fn read(user: &Value) -> User {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        User {
            title: text(&user["title"]),
            given_name: text(&user["name"]["givenName"]),
            family_name: text(&user["name"]["familyName"]),
            department: text(&user[okta::ENTERPRISE]["department"]),
            emails: user["emails"].as_array().into_iter().flatten().map(Email::read).collect(),
        }
    }

    fn json(&self, user_name: &str) -> Value {
        let emails: Vec<Value> = self.emails.iter().map(Email::json).collect();
        json!({
            "schemas": [okta::USER, okta::ENTERPRISE], "userName": user_name, "title": self.title, "emails": emails,
            "name": { "givenName": self.given_name, "familyName": self.family_name },
            okta::ENTERPRISE: { "department": self.department },
        })
    }

    fn at(&mut self, place: Place) -> &mut Option<String> {
        match place {
            Place::Title => &mut self.title,
            Place::GivenName => &mut self.given_name,
            Place::FamilyName => &mut self.family_name,
            Place::Department => &mut self.department,
        }
    }
}

impl Place {
    fn path(self) -> String {
        match self {
            Place::Title => "title".to_owned(),
            Place::GivenName => "name.givenName".to_owned(),
            Place::FamilyName => "name.familyName".to_owned(),
            Place::Department => format!("{}:department", okta::ENTERPRISE),
        }
    }
}

impl Sub {
    fn name(self) -> &'static str {
        match self {
            Sub::Value => "value",
            Sub::Type => "type",
            Sub::Primary => "primary",
        }
    }
}

/// Whether two texts are the same where case does not count.
fn same(one: Option<&String>, other: Option<&String>) -> bool {
    one.map(|text| text.to_lowercase()) == other.map(|text| text.to_lowercase())
}

impl Filter {
    fn text(&self) -> String {
        match self {
            Filter::Type(kind) => format!("type eq \"{kind}\""),
            Filter::Value(value) => format!("value eq \"{value}\""),
            Filter::Primary(flag) => format!("primary eq {flag}"),
            Filter::StartsWith(start) => format!("value sw \"{start}\""),
            Filter::Both(kind, value) => format!("type eq \"{kind}\" and value eq \"{value}\""),
            Filter::NotType(kind) => format!("not (type eq \"{kind}\")"),
        }
    }

    fn chooses(&self, email: &Email) -> bool {
        match self {
            Filter::Type(kind) => same(email.kind.as_ref(), Some(kind)),
            Filter::Value(value) => same(email.value.as_ref(), Some(value)),
            Filter::Primary(flag) => email.primary == Some(*flag),
            Filter::StartsWith(start) => email
                .value
                .as_ref()
                .is_some_and(|value| value.to_lowercase().starts_with(&start.to_lowercase())),
            Filter::Both(kind, value) => {
                same(email.kind.as_ref(), Some(kind)) && same(email.value.as_ref(), Some(value))
            }
            Filter::NotType(kind) => !same(email.kind.as_ref(), Some(kind)),
        }
    }

    /// The element that a filter of nothing but equalities describes.
    fn described(&self) -> Option<Email> {
        let text = |text: &String| Some(text.clone());
        match self {
            Filter::Type(kind) => Some(Email { kind: text(kind), ..Email::default() }),
            Filter::Value(value) => Some(Email { value: text(value), ..Email::default() }),
            Filter::Primary(flag) => Some(Email { primary: Some(*flag), ..Email::default() }),
            Filter::Both(kind, value) => Some(Email { kind: text(kind), value: text(value), primary: None }),
            Filter::StartsWith(_) | Filter::NotType(_) => None,
        }
    }
}

/// The `scimType` of a refusal.
type Refused = &'static str;

fn at_most_one_primary(emails: &[Email]) -> Result<(), Refused> {
    let primaries = emails.iter().filter(|email| email.primary == Some(true)).count();
    if primaries > 1 { Err("invalidValue") } else { Ok(()) }
}

/// "A PATCH operation that sets a value's primary to true SHALL cause the server to set it to false for any other".
fn take_primary(emails: &mut [Email]) {
    for email in emails.iter_mut().filter(|email| email.primary.is_some()) {
        email.primary = Some(false);
    }
}

/// A list as it comes: an element that is there twice is there once.
fn listed(sent: &[Email]) -> Result<Vec<Email>, Refused> {
    let mut list: Vec<Email> = Vec::new();
    for email in sent {
        if !list.contains(email) {
            list.push(email.clone());
        }
    }
    at_most_one_primary(&list)?;
    Ok(list)
}

fn add_emails(held: &mut Vec<Email>, sent: &[Email]) -> Result<(), Refused> {
    for new in listed(sent)? {
        if new.primary == Some(true) {
            take_primary(held);
        }
        let there = held.iter_mut().find(|one| {
            same(one.value.as_ref(), new.value.as_ref()) && same(one.kind.as_ref(), new.kind.as_ref())
        });
        match there {
            // It is there: what the new one says further is taken over.
            Some(there) => {
                there.value = new.value;
                there.kind = new.kind.or_else(|| there.kind.take());
                there.primary = new.primary.or(there.primary);
            }
            None => held.push(new),
        }
    }
    Ok(())
}

fn set_of(email: &mut Email, sub: Sub, text: &str) {
    match sub {
        Sub::Value => email.value = Some(text.to_owned()),
        Sub::Type => email.kind = Some(text.to_owned()),
        Sub::Primary => email.primary = Some(true),
    }
}

/// Sets a sub-attribute of the elements that a filter chooses.
fn set_chosen(
    emails: &mut Vec<Email>,
    filter: &Filter,
    sub: Sub,
    text: &str,
    strict: bool,
) -> Result<(), Refused> {
    let chosen: Vec<bool> = emails.iter().map(|email| filter.chooses(email)).collect();
    if chosen.contains(&true) {
        if matches!(sub, Sub::Primary) {
            take_primary(emails);
        }
        for (email, _) in emails.iter_mut().zip(&chosen).filter(|(_, chosen)| **chosen) {
            set_of(email, sub, text);
        }
        return Ok(());
    }
    // What Entra ID is forgiven: the element is made.
    let mut made = filter.described().filter(|_| !strict).ok_or("noTarget")?;
    set_of(&mut made, sub, text);
    if emails.iter().any(|email| email.primary == Some(true)) {
        made.primary = None;
    }
    // What has nothing in it is no element, and no later operation can choose it.
    if !made.is_empty() {
        emails.push(made);
    }
    Ok(())
}

fn apply(user: &mut User, operation: &Operation, strict: bool) -> Result<(), Refused> {
    match operation {
        Operation::Set(_, place, text) => *user.at(*place) = Some(text.clone()),
        Operation::Remove(place) => *user.at(*place) = None,
        Operation::SetName(_, given, family) => {
            user.given_name = given.clone().or(user.given_name.take());
            user.family_name = family.clone().or(user.family_name.take());
        }
        Operation::RemoveName => (user.given_name, user.family_name) = (None, None),
        Operation::SetEmails(Verb::Add, emails) => add_emails(&mut user.emails, emails)?,
        Operation::SetEmails(Verb::Replace, emails) => user.emails = listed(emails)?,
        Operation::RemoveEmails => user.emails.clear(),
        Operation::ReplaceChosen(filter, new) => {
            let chosen: Vec<bool> = user.emails.iter().map(|email| filter.chooses(email)).collect();
            if !chosen.contains(&true) {
                return Err("noTarget");
            }
            if new.primary == Some(true) {
                take_primary(&mut user.emails);
            }
            for (email, _) in user.emails.iter_mut().zip(&chosen).filter(|(_, chosen)| **chosen) {
                *email = new.clone();
            }
        }
        Operation::SetOfChosen(_, filter, sub, text) => {
            set_chosen(&mut user.emails, filter, *sub, text, strict)?;
        }
        Operation::MakePrimary(_, filter) => set_chosen(&mut user.emails, filter, Sub::Primary, "", strict)?,
        Operation::RemoveChosen(filter) => {
            let before = user.emails.len();
            user.emails.retain(|email| !filter.chooses(email));
            if user.emails.len() == before {
                return Err("noTarget");
            }
        }
        Operation::RemoveOfChosen(filter, sub) => {
            if !user.emails.iter().any(|email| filter.chooses(email)) {
                return Err("noTarget");
            }
            for email in user.emails.iter_mut().filter(|email| filter.chooses(email)) {
                match sub {
                    Sub::Value => email.value = None,
                    Sub::Type => email.kind = None,
                    Sub::Primary => email.primary = None,
                }
            }
            user.emails.retain(|email| !email.is_empty());
        }
        Operation::WithoutPath(verb, title, given, emails) => {
            user.title = title.clone().or(user.title.take());
            user.given_name = given.clone().or(user.given_name.take());
            match verb {
                Verb::Add => add_emails(&mut user.emails, emails)?,
                Verb::Replace => user.emails = listed(emails)?,
            }
        }
    }
    at_most_one_primary(&user.emails)
}

/// All operations, or the refusal of the first that cannot be carried out.
fn apply_all(mut user: User, operations: &[Operation], strict: bool) -> Result<User, Refused> {
    for operation in operations {
        apply(&mut user, operation, strict)?;
    }
    // An element without its value is not kept.
    user.emails.retain(|email| email.value.is_some());
    Ok(user)
}

impl Operation {
    fn json(&self) -> Value {
        let op = |verb: &Verb| if *verb == Verb::Add { "add" } else { "replace" };
        let list = |emails: &[Email]| emails.iter().map(Email::json).collect::<Vec<_>>();
        match self {
            Operation::Set(verb, place, text) => {
                json!({ "op": op(verb), "path": place.path(), "value": text })
            }
            Operation::Remove(place) => json!({ "op": "remove", "path": place.path() }),
            Operation::SetName(verb, given, family) => {
                let mut name = Map::new();
                name.extend(given.iter().map(|text| ("givenName".to_owned(), json!(text))));
                name.extend(family.iter().map(|text| ("familyName".to_owned(), json!(text))));
                json!({ "op": op(verb), "path": "name", "value": name })
            }
            Operation::RemoveName => json!({ "op": "remove", "path": "name" }),
            Operation::SetEmails(verb, emails) => {
                json!({ "op": op(verb), "path": "emails", "value": list(emails) })
            }
            Operation::RemoveEmails => json!({ "op": "remove", "path": "emails" }),
            Operation::ReplaceChosen(filter, new) => {
                json!({ "op": "replace", "path": format!("emails[{}]", filter.text()), "value": new.json() })
            }
            Operation::SetOfChosen(verb, filter, sub, text) => json!({
                "op": op(verb), "path": format!("emails[{}].{}", filter.text(), sub.name()), "value": text,
            }),
            Operation::MakePrimary(verb, filter) => json!({
                "op": op(verb), "path": format!("emails[{}].primary", filter.text()), "value": true,
            }),
            Operation::RemoveChosen(filter) => {
                json!({ "op": "remove", "path": format!("emails[{}]", filter.text()) })
            }
            Operation::RemoveOfChosen(filter, sub) => {
                json!({ "op": "remove", "path": format!("emails[{}].{}", filter.text(), sub.name()) })
            }
            Operation::WithoutPath(verb, title, given, emails) => {
                let mut value = Map::new();
                value.extend(title.iter().map(|text| ("title".to_owned(), json!(text))));
                value.extend(given.iter().map(|text| ("name".to_owned(), json!({ "givenName": text }))));
                value.insert("emails".to_owned(), json!(list(emails)));
                json!({ "op": op(verb), "value": value })
            }
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![Just("a@x"), Just("A@x"), Just("b@x"), Just("ab@x")].prop_map(str::to_owned)
}

fn kind() -> impl Strategy<Value = String> {
    prop_oneof![Just("work"), Just("home"), Just("Work")].prop_map(str::to_owned)
}

fn email() -> impl Strategy<Value = Email> {
    (value(), proptest::option::of(kind()), proptest::option::weighted(0.3, any::<bool>()))
        .prop_map(|(value, kind, primary)| Email { value: Some(value), kind, primary })
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        3 => kind().prop_map(Filter::Type),
        3 => value().prop_map(Filter::Value),
        1 => any::<bool>().prop_map(Filter::Primary),
        1 => prop_oneof![Just("a"), Just("B")].prop_map(|text| Filter::StartsWith(text.to_owned())),
        2 => (kind(), value()).prop_map(|(kind, value)| Filter::Both(kind, value)),
        1 => kind().prop_map(Filter::NotType),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let verb = || prop_oneof![Just(Verb::Add), Just(Verb::Replace)];
    let place = prop_oneof![
        Just(Place::Title),
        Just(Place::GivenName),
        Just(Place::FamilyName),
        Just(Place::Department)
    ];
    let text = || prop_oneof![Just("x"), Just("y")].prop_map(str::to_owned);
    let some = move || proptest::option::of(text());
    prop_oneof![
        2 => (verb(), place.clone(), text()).prop_map(|(verb, place, text)| Operation::Set(verb, place, text)),
        1 => place.prop_map(Operation::Remove),
        1 => (verb(), text(), some()).prop_map(|(verb, given, family)| Operation::SetName(verb, Some(given), family)),
        1 => Just(Operation::RemoveName),
        3 => (verb(), vec(email(), 1..4)).prop_map(|(verb, emails)| Operation::SetEmails(verb, emails)),
        1 => Just(Operation::RemoveEmails),
        2 => (filter(), email()).prop_map(|(filter, email)| Operation::ReplaceChosen(filter, email)),
        2 => (verb(), filter(), value())
            .prop_map(|(verb, filter, value)| Operation::SetOfChosen(verb, filter, Sub::Value, value)),
        1 => (verb(), filter(), kind())
            .prop_map(|(verb, filter, kind)| Operation::SetOfChosen(verb, filter, Sub::Type, kind)),
        2 => (verb(), filter()).prop_map(|(verb, filter)| Operation::MakePrimary(verb, filter)),
        2 => filter().prop_map(Operation::RemoveChosen),
        1 => (filter(), prop_oneof![Just(Sub::Value), Just(Sub::Type), Just(Sub::Primary)])
            .prop_map(|(filter, sub)| Operation::RemoveOfChosen(filter, sub)),
        1 => (verb(), some(), some(), vec(email(), 1..3))
            .prop_map(|(verb, title, given, emails)| Operation::WithoutPath(verb, title, given, emails)),
    ]
}

fn user() -> impl Strategy<Value = User> {
    let text = || proptest::option::of(prop_oneof![Just("x"), Just("z")].prop_map(str::to_owned));
    (text(), text(), text(), text(), vec(email(), 0..4)).prop_map(
        |(title, given_name, family_name, department, emails)| {
            let emails = listed(&emails).unwrap_or_default();
            User { title, given_name, family_name, department, emails }
        },
    )
}

/// Whether the server does what the model does.
fn agrees(client: &Client, path: &str, user: &User, operations: &[Operation], strict: bool) {
    let before = client.put(path, user.json("ann")).expect(200);
    assert_eq!(&User::read(&before.json), user, "the start");
    let message = okta::patch(operations.iter().map(Operation::json).collect());
    let answer = client.patch(path, message);
    let expected = match apply_all(user.clone(), operations, strict) {
        Ok(changed) => {
            answer.expect(200);
            changed
        }
        Err(keyword) => {
            answer.expect_error(400, keyword);
            user.clone()
        }
    };
    let after = client.get(path).expect(200);
    assert_eq!(User::read(&after.json), expected, "{user:?}: {operations:?}");
    if expected == *user {
        assert_eq!(after["meta"], before["meta"], "nothing has changed");
    }
}

fn compare(tenant: &Tenant, strict: bool) {
    let client = tenant.client();
    let made = client.create("/Users", json!({ "schemas": [okta::USER], "userName": "ann" }));
    let path = format!("/Users/{}", made.id());
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(user(), vec(operation(), 1..6)), |(user, operations)| {
            agrees(&client, &path, &user, &operations, strict);
            Ok(())
        })
        .unwrap();
}

/// Two addresses would be left of this one if the element that is made with nothing in it stayed for the next operation.
#[test]
fn an_element_made_with_nothing_in_it_is_not_there_for_the_next_operation() {
    let tenant = Tenant::fresh();
    let client = tenant.client();
    let made = client.create("/Users", json!({ "schemas": [okta::USER], "userName": "ann" }));
    let address = |primary| Email { value: Some("a@x".to_owned()), kind: None, primary };
    let user = User { emails: vec![address(Some(true))], ..User::default() };
    let operations = [
        Operation::MakePrimary(Verb::Add, Filter::Primary(false)),
        Operation::ReplaceChosen(Filter::NotType("work".to_owned()), address(None)),
    ];
    agrees(&client, &format!("/Users/{}", made.id()), &user, &operations, false);
}

#[test]
fn a_patch_does_what_its_model_does() {
    compare(&Tenant::fresh(), false);
}

#[test]
fn a_strict_patch_does_what_its_model_does() {
    compare(&Tenant::strict(), true);
}

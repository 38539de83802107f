//! The steps that concern people: look-up, create, import, update, deactivate, reactivate.

use std::collections::HashSet;

use http::Method;
use serde_json::{Value, json};

use crate::probe::series::{Done, PAGE, Series, by, encode, patch};
use crate::probe::{Answer, BodyKind, Finding, Style};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

/// One of the two people that the probe makes.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) user_name: String,
}

impl Series<'_> {
    /// The user name of one of the probe's people. Its capitals show whether they come back.
    fn user_name(&self, number: usize) -> String {
        format!("ICI-SCIM-Probe-{}-{number}@{}", self.mark, self.plan.domain)
    }

    /// The body of Okta's POST, as captured.
    fn profile(&self, number: usize) -> Value {
        let user_name = self.user_name(number);
        json!({
            "schemas": [USER],
            "userName": user_name,
            "name": { "givenName": "Probe", "familyName": format!("Number {number}") },
            "emails": [{ "primary": true, "value": user_name, "type": "work" }],
            "displayName": format!("Probe Number {number}"),
            "locale": "en-US",
            "externalId": format!("00uprobe{}{number:04}", self.mark),
            "groups": [],
            "password": format!("1mz050nq{}", self.mark),
            "active": true,
        })
    }

    pub(super) async fn look_up(&mut self) -> Done {
        for number in [1, 2] {
            let user_name = self.user_name(number);
            let path = format!("/Users?{}", by("userName", &user_name));
            let answer = self.ask(&Method::GET, &path, None, &[200, 404]).await?;
            if answer.status == 404 && answer.kind() == BodyKind::Json {
                continue;
            }
            let (found, _) = self.list(&answer)?;
            if !found.is_empty() {
                return Err(Box::new(Finding::failure(
                    format!("{}: found {} users of a name that nobody has", answer.asked, found.len()),
                    Some("the person is linked to somebody else, and nobody is created".to_owned()),
                    "the server passes over the filter",
                    "the server must take filter=userName eq \"…\"",
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn create(&mut self) -> Done {
        for number in [1, 2] {
            let profile = self.profile(number);
            let user_name = self.user_name(number);
            self.ledger.asked("Users", &user_name);
            let answer = self.ask(&Method::POST, "/Users", Some(&profile), &[201, 200]).await;
            let answer = answer.inspect_err(|finding| self.forget_refused(&user_name, finding))?;
            let id = self.id_of(&answer, "user")?;
            self.ledger.answered(&user_name, Some(&id));
            self.look_at_created(&answer, &profile)?;
            self.people.push(Person { id, user_name });
        }
        self.find_in_other_case().await
    }

    /// Only an answer tells that nothing was made.
    pub(super) fn forget_refused(&mut self, name: &str, finding: &Finding) {
        if finding.what.contains(" answered 4") {
            self.ledger.answered(name, None);
        }
    }

    /// The id in an answer to a POST.
    pub(super) fn id_of(&mut self, answer: &Answer, kind: &str) -> Result<String, Box<Finding>> {
        if answer.status == 200 {
            self.warnings.push(Finding::warning(
                format!("{} answered 200, not 201", answer.asked),
                None,
                "the server does not say that it made something",
                "Okta takes it; RFC 7644 §3.3 wants 201",
            ));
        }
        answer.json["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned).ok_or_else(|| {
            Box::new(Finding::failure(
                format!("{}: there is no id in the answer", answer.asked),
                Some(format!("Create new {kind} returned empty {kind}")),
                "the server answers without the resource that it made",
                "the server must answer a POST with the whole resource",
            ))
        })
    }

    fn look_at_created(&mut self, answer: &Answer, sent: &Value) -> Done {
        let (came, sent_name) = (answer.json["userName"].as_str(), sent["userName"].as_str());
        if came.map(str::to_lowercase) != sent_name.map(str::to_lowercase) {
            return Err(Box::new(Finding::failure(
                format!("{}: the answer has another userName than was sent", answer.asked),
                None,
                "the server makes up names of its own",
                "the server must give userName back as it was sent",
            )));
        }
        let mut warn = |what: &str, cause: &str| {
            let what = format!("{}: {what}", answer.asked);
            self.warnings.push(Finding::warning(what, None, cause, "see the server's documentation for it"));
        };
        if came != sent_name {
            warn("userName came back in another case", "Okta's suite compares it as it was sent");
        }
        if answer.json["active"] != json!(true) {
            warn("active is not true in the answer", "Okta may take the person for inactive");
        }
        if answer.json["externalId"] != sent["externalId"] {
            warn("externalId did not come back", "the link to the person in Okta is not kept");
        }
        for (key, part) in [("name", "givenName"), ("name", "familyName")] {
            if answer.json[key][part] != sent[key][part] {
                warn("name did not come back", "an import takes nobody without a name");
                break;
            }
        }
        if answer.json.get("password").is_some() {
            warn("the password came back", "a password must never be given back (RFC 7643 §7)");
        }
        Ok(())
    }

    /// userName is compared without regard to case (RFC 7643 §4.1.1); Okta's suite asks in capitals.
    async fn find_in_other_case(&mut self) -> Done {
        let upper = self.people[0].user_name.to_ascii_uppercase();
        let path = format!("/Users?{}", by("userName", &upper));
        let answer = self.ask(&Method::GET, &path, None, &[200, 404]).await?;
        let found = answer.json["Resources"].as_array().is_some_and(|found| !found.is_empty());
        if !found {
            self.warnings.push(Finding::warning(
                "a look-up in capitals does not find the user",
                Some("Okta creates a person anew whose name differs in case only".to_owned()),
                "the server compares userName by case",
                "RFC 7643 §4.1.1 wants it compared without regard to case",
            ));
        }
        Ok(())
    }

    pub(super) async fn create_again(&mut self) -> Done {
        let profile = self.profile(1);
        let user_name = self.user_name(1);
        self.ledger.asked("Users", &user_name);
        let answer = self.ask(&Method::POST, "/Users", Some(&profile), &[409, 200, 201]).await;
        let answer = answer.inspect_err(|finding| self.forget_refused(&user_name, finding))?;
        self.ledger.answered(&user_name, answer.json["id"].as_str());
        if answer.status == 409 {
            return Ok(());
        }
        Err(Box::new(Finding::failure(
            format!("{} of a userName that is taken answered {}", answer.asked, answer.status),
            None,
            "the server makes a second user, or overwrites the first, where Okta expects to be told",
            "the server must answer 409 with scimType uniqueness (RFC 7644 §3.3)",
        )))
    }

    /// Reads everybody as an import does, up to a bound, and then the last page.
    pub(super) async fn import(&mut self) -> Done {
        let mut seen = HashSet::new();
        let mut start = 1;
        let mut total = 1;
        let mut pages = 0;
        let mut twice = false;
        while start <= total && pages < self.plan.import_pages_max {
            let (ids, now) = self.page(start).await?;
            let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
            (pages, total) = (pages + 1, now);
            for id in ids {
                twice |= !seen.insert(id);
            }
            if count == 0 && start <= total {
                return Err(Box::new(Finding::failure(
                    format!("the page from {start} on is empty, and there are {total} users"),
                    Some(
                        "the import ends early; with profile sourcing the rest may be deactivated".to_owned(),
                    ),
                    "the server counts more than it gives",
                    "totalResults must be what the pages hold together",
                )));
            }
            start += PAGE;
        }
        let whole = start > total;
        if !whole {
            let (ids, _) = self.page(total.saturating_sub(PAGE - 1).max(1)).await?;
            seen.extend(ids);
        }
        let missing = self.people.iter().find(|person| !seen.contains(&person.id));
        if let (Some(person), true) = (missing, whole && !twice) {
            return Err(Box::new(Finding::failure(
                format!("{} is not among the {total} users", person.user_name),
                Some("the person is taken for deleted at the next import".to_owned()),
                "the server leaves people out of the list, or shows them late",
                "GET /Users must give everybody, each once",
            )));
        }
        if twice {
            self.warnings.push(Finding::warning(
                "somebody is on two pages",
                None,
                "the order of the list changes from page to page, or people came or went meanwhile",
                "try again; if it stays, people are missed by imports",
            ));
        }
        self.note = Some(match whole {
            true if pages == 1 => format!("{total} users on one page"),
            true => format!("{total} users on {pages} pages"),
            false => format!("{} of {total} users, the first {pages} pages and the last", seen.len()),
        });
        Ok(())
    }

    async fn page(&mut self, start: u64) -> Result<(Vec<String>, u64), Box<Finding>> {
        let path = format!("/Users?startIndex={start}&count={PAGE}");
        let answer = self.ask(&Method::GET, &path, None, &[200]).await?;
        let (resources, total) = self.list(&answer)?;
        let ids = resources.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
        Ok((ids, total))
    }

    pub(super) async fn update(&mut self) -> Done {
        let person = self.people[0].clone();
        let mut user = self.get_user(&person).await?;
        user["displayName"] = json!("Probe, married");
        user["name"]["familyName"] = json!("Married");
        // Okta sends what it got, and this even empty.
        user["groups"] = json!([]);
        self.put_user(&person, &user).await?;
        let now = self.get_user(&person).await?;
        if now["name"]["familyName"] != json!("Married") || now["id"] != json!(person.id) {
            return Err(Box::new(Finding::failure(
                format!("PUT /Users/{{id}} was taken, and the name of {} is the old one", person.user_name),
                None,
                "the server passes over what it is sent, or answers before it has kept it",
                "the server must keep a PUT before it answers",
            )));
        }
        Ok(())
    }

    async fn get_user(&mut self, person: &Person) -> Result<Value, Box<Finding>> {
        let path = format!("/Users/{}", encode(&person.id));
        Ok(self.ask(&Method::GET, &path, None, &[200]).await?.json)
    }

    async fn put_user(&mut self, person: &Person, user: &Value) -> Done {
        let path = format!("/Users/{}", encode(&person.id));
        self.ask(&Method::PUT, &path, Some(user), &[200]).await?;
        Ok(())
    }

    /// Deactivates or reactivates the first person, as the kind of app does it, and sees that it is so.
    pub(super) async fn set_active(&mut self, active: bool) -> Done {
        let person = self.people[0].clone();
        if self.plan.style == Style::Template {
            let path = format!("/Users/{}", encode(&person.id));
            let body = patch(json!([{ "op": "replace", "value": { "active": active } }]));
            self.ask(&Method::PATCH, &path, Some(&body), &[200, 204]).await?;
        }
        if self.plan.style == Style::Wizard || active {
            let mut user = self.get_user(&person).await?;
            user["active"] = json!(active);
            self.put_user(&person, &user).await?;
        }
        let user = self.get_user(&person).await?;
        if user["active"] == json!(active) {
            return Ok(());
        }
        let word = if active { "reactivated" } else { "deactivated" };
        Err(Box::new(Finding::failure(
            format!(
                "{} was {word}, the server agreed, and active is still {}",
                person.user_name, user["active"]
            ),
            None,
            "the server does not understand Okta's PATCH without a path, and says nothing",
            "the server must take {\"op\":\"replace\",\"value\":{\"active\":…}} (RFC 7644 §3.5.2.3)",
        )))
    }

    pub(super) async fn find_inactive(&mut self) -> Done {
        let person = self.people[0].clone();
        let path = format!("/Users?{}", by("userName", &person.user_name));
        let answer = self.ask(&Method::GET, &path, None, &[200]).await?;
        let (found, _) = self.list(&answer)?;
        if found.iter().any(|user| user["id"] == json!(person.id)) {
            return Ok(());
        }
        Err(Box::new(Finding::failure(
            "a deactivated user is not found by userName",
            Some(
                "A user with this userName already exists (409), and the person stays without access"
                    .to_owned(),
            ),
            "the server hides inactive users, so Okta creates the person anew and fails",
            "the server must find users by filter whether they are active or not",
        )))
    }
}

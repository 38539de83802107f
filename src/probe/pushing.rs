//! The steps that concern pushed groups: create, rename, members that come and go, Push Now, delete.

use http::Method;
use serde_json::{Value, json};

use crate::probe::people::Person;
use crate::probe::series::{Done, Series, by, encode, patch};
use crate::probe::{BodyKind, Finding, Style};

const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// A member as Okta names it: no type, no `$ref`.
fn member(person: &Person) -> Value {
    json!({ "value": person.id, "display": person.user_name })
}

impl Series<'_> {
    pub(super) async fn group_create(&mut self) -> Done {
        let name = format!("ICI-SCIM-Probe-{}", self.mark);
        let path = format!("/Groups?{}", by("displayName", &name));
        let answer = self.ask(&Method::GET, &path, None, &[200, 404]).await?;
        let none_by_status = answer.status == 404 && answer.kind() == BodyKind::Json;
        if !none_by_status && !self.list(&answer)?.0.is_empty() {
            return Err(Box::new(Finding::failure(
                format!("{}: found groups of a name that none has", answer.asked),
                Some("the pushed group is linked to another one".to_owned()),
                "the server passes over the filter",
                "the server must take filter=displayName eq \"…\"",
            )));
        }
        let members = [member(&self.people[0])];
        let body = json!({ "schemas": [GROUP], "displayName": name, "members": members });
        self.ledger.asked("Groups", &name);
        let answer = self.ask(&Method::POST, "/Groups", Some(&body), &[201, 200]).await;
        let answer = answer.inspect_err(|finding| self.forget_refused(&name, finding))?;
        let id = self.id_of(&answer, "group")?;
        self.ledger.answered(&name, Some(&id));
        self.group = Some((id, name));
        if self.plan.style == Style::Template {
            // Straight afterwards Okta adds the same members again.
            let add = json!([{ "op": "add", "path": "members", "value": members }]);
            self.patch_group(add).await?;
        }
        self.expect_members(&[0]).await
    }

    pub(super) async fn group_rename(&mut self) -> Done {
        let name = format!("ICI-SCIM-Probe-{} renamed", self.mark);
        match self.plan.style {
            Style::Template => self.precede(&name).await?,
            Style::Wizard => self.put_group(&name, &[0]).await?,
        }
        if let Some((id, kept)) = &mut self.group {
            self.ledger.renamed(id, &name);
            kept.clone_from(&name);
        }
        let group = self.get_group().await?;
        if group["displayName"] == json!(name) {
            return self.expect_members(&[0]).await;
        }
        Err(Box::new(Finding::failure(
            "the group was renamed, the server agreed, and it has its old name",
            None,
            "the server does not understand Okta's PATCH without a path, and says nothing",
            "the server must take {\"op\":\"replace\",\"value\":{\"id\":…,\"displayName\":…}}",
        )))
    }

    pub(super) async fn group_add(&mut self) -> Done {
        match self.plan.style {
            Style::Template => {
                self.precede_unchanged().await?;
                let members = [member(&self.people[1])];
                self.patch_group(json!([{ "op": "add", "path": "members", "value": members }])).await?;
            }
            Style::Wizard => self.put_unchanged_name(&[0, 1]).await?,
        }
        self.expect_members(&[0, 1]).await
    }

    pub(super) async fn group_remove(&mut self) -> Done {
        match self.plan.style {
            Style::Template => {
                self.precede_unchanged().await?;
                let path = format!("members[value eq \"{}\"]", self.people[0].id);
                self.patch_group(json!([{ "op": "remove", "path": path }])).await?;
            }
            Style::Wizard => self.put_unchanged_name(&[1]).await?,
        }
        self.expect_members(&[1]).await
    }

    pub(super) async fn group_push(&mut self) -> Done {
        for wanted in [&[0, 1][..], &[]] {
            match self.plan.style {
                Style::Template => {
                    self.precede_unchanged().await?;
                    let members: Vec<Value> = wanted.iter().map(|at| member(&self.people[*at])).collect();
                    self.patch_group(json!([{ "op": "replace", "path": "members", "value": members }]))
                        .await?;
                }
                Style::Wizard => self.put_unchanged_name(wanted).await?,
            }
            self.expect_members(wanted).await?;
        }
        Ok(())
    }

    pub(super) async fn group_delete(&mut self) -> Done {
        self.get_group().await?;
        let path = self.group_path();
        self.ask(&Method::DELETE, &path, None, &[204, 200, 202]).await?;
        let answer = self.ask(&Method::GET, &path, None, &[404, 410, 200]).await?;
        if answer.status == 200 {
            return Err(Box::new(Finding::failure(
                "the group was deleted, the server agreed, and it is still there",
                None,
                "the server keeps what it was told to delete",
                "the server must answer 404 for what was deleted (RFC 7644 §3.6)",
            )));
        }
        if let Some((id, _)) = self.group.take() {
            self.ledger.removed(&id);
        }
        Ok(())
    }

    fn group_path(&self) -> String {
        let id = self.group.as_ref().map_or("", |(id, _)| id.as_str());
        format!("/Groups/{}", encode(id))
    }

    async fn get_group(&mut self) -> Result<Value, Box<Finding>> {
        let path = self.group_path();
        Ok(self.ask(&Method::GET, &path, None, &[200]).await?.json)
    }

    async fn patch_group(&mut self, operations: Value) -> Done {
        let path = self.group_path();
        self.ask(&Method::PATCH, &path, Some(&patch(operations)), &[200, 204]).await?;
        Ok(())
    }

    /// What Okta sends before every change of members, with the name unchanged or new.
    async fn precede(&mut self, name: &str) -> Done {
        self.get_group().await?;
        let id = self.group.as_ref().map(|(id, _)| id.clone()).unwrap_or_default();
        self.patch_group(json!([{ "op": "replace", "value": { "id": id, "displayName": name } }])).await
    }

    async fn precede_unchanged(&mut self) -> Done {
        let name = self.group.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        self.precede(&name).await
    }

    async fn put_unchanged_name(&mut self, wanted: &[usize]) -> Done {
        let name = self.group.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        self.put_group(&name, wanted).await
    }

    async fn put_group(&mut self, name: &str, wanted: &[usize]) -> Done {
        self.get_group().await?;
        let id = self.group.as_ref().map(|(id, _)| id.clone()).unwrap_or_default();
        let members: Vec<Value> = wanted.iter().map(|at| member(&self.people[*at])).collect();
        let body = json!({ "schemas": [GROUP], "id": id, "displayName": name, "members": members });
        let path = self.group_path();
        self.ask(&Method::PUT, &path, Some(&body), &[200]).await?;
        Ok(())
    }

    async fn expect_members(&mut self, wanted: &[usize]) -> Done {
        let group = self.get_group().await?;
        let members = group["members"].as_array().map_or(&[][..], Vec::as_slice);
        let mut found: Vec<&str> = members.iter().filter_map(|member| member["value"].as_str()).collect();
        let mut expected: Vec<&str> = wanted.iter().map(|at| self.people[*at].id.as_str()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        if found == expected {
            return Ok(());
        }
        Err(Box::new(Finding::failure(
            format!("the group has {} members where it must have {}", found.len(), expected.len()),
            None,
            "the server agreed to a change of members and did something else, or nothing",
            "the server must add, remove and replace members as RFC 7644 §3.5.2 has it",
        )))
    }
}

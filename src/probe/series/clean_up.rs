//! The end of a series: what it has made is removed, whatever became of it.

use http::Method;
use serde_json::Value;

use crate::clock::Stopwatch;
use crate::probe::ledger::Made;
use crate::probe::series::{Done, Series, by, encode};
use crate::probe::{Finding, Step};

/// How often what may have been made is looked for when no answer told: the request may still be on its way.
const LOOKS_MAX: u32 = 3;

impl Series<'_> {
    /// Removes whatever was made, as its last step, and tells what could not be removed.
    pub(in crate::probe) async fn clean_up(&mut self, keep: &mut impl FnMut(Step)) -> Vec<String> {
        let made = self.ledger.take();
        self.requests = 0;
        self.warnings.clear();
        self.note = None;
        if made.is_empty() {
            return Vec::new();
        }
        let watch = Stopwatch::start();
        let mut left = Vec::new();
        for one in &made {
            if let Err(why) = self.remove(one).await {
                let kind = one.plural.trim_end_matches('s').to_ascii_lowercase();
                left.push(format!("{kind} {}", one.name));
                self.warnings.push(Finding::failure(
                    format!("the {kind} {} is still there: {}", one.name, why.what),
                    None,
                    "the server did not remove it",
                    "remove it by the application's own means",
                ));
            }
        }
        self.note = Some(format!("{} removed", made.len() - left.len()));
        keep(self.step(
            "clean-up",
            "nothing: it never deletes people; the probe removes its own",
            &watch,
            None,
        ));
        left
    }

    async fn remove(&mut self, made: &Made) -> Done {
        let ids = match &made.id {
            Some(id) => vec![id.clone()],
            None => self.find(made).await?,
        };
        for id in ids {
            let path = format!("/{}/{}", made.plural, encode(&id));
            self.ask(&Method::DELETE, &path, None, &[200, 202, 204, 404]).await?;
        }
        Ok(())
    }

    /// The ids of what may have been made without an answer.
    async fn find(&mut self, made: &Made) -> Result<Vec<String>, Box<Finding>> {
        let attribute = if made.plural == "Users" { "userName" } else { "displayName" };
        let path = format!("/{}?{}", made.plural, by(attribute, &made.name));
        for _ in 0..LOOKS_MAX {
            let answer = self.ask(&Method::GET, &path, None, &[200, 404]).await?;
            let found = answer.json["Resources"].as_array().cloned().unwrap_or_default();
            let same = |resource: &Value| {
                resource[attribute].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&made.name))
            };
            // A server that does not know the filter answers with everybody.
            let ours = found.iter().filter(|resource| same(resource));
            let ids: Vec<String> = ours.filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
            if !ids.is_empty() {
                return Ok(ids);
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        Ok(Vec::new())
    }
}

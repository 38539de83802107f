//! A series under way: how a step is taken, and how a request is made and judged.

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::probe::answer::shown;
use crate::probe::client::Http;
use crate::probe::ledger::Ledger;
use crate::probe::part::{Part, READ_ONLY, WHOLE};
use crate::probe::people::Person;
use crate::probe::{
    Answer, Authorization, BodyKind, CannotStart, Fault, Finding, Outcome, Plan, Refused, Step, Style,
};

mod clean_up;

/// An answer that takes longer is warned about, in milliseconds: ten such in a row make an import a matter of hours.
const SLOW_MS: u64 = 5_000;

/// How often a request is sent again after 429; Okta does it ten times.
const RETRIES_MAX: u32 = 3;

/// Longest `Retry-After` that is waited for, in seconds.
const RETRY_AFTER_S_MAX: u64 = 30;

/// A certificate that expires within this many days is warned about.
const EXPIRES_SOON_DAYS: i64 = 14;

/// A token of fewer bytes is not looked for in what a server says.
const TOKEN_BYTES_MIN: usize = 8;

/// Okta's page.
pub(super) const PAGE: u64 = 100;

/// What a step gives: nothing, or why Okta would stop there.
pub(super) type Done = Result<(), Box<Finding>>;

/// A series under way.
pub(super) struct Series<'a> {
    pub(super) plan: &'a Plan,
    http: Http,
    authorization: HeaderValue,
    pub(super) ledger: Ledger,
    /// Eight hexadecimal digits that make this run's names its own.
    pub(super) mark: String,
    pub(super) people: Vec<Person>,
    pub(super) group: Option<(String, String)>,
    failed: Vec<Part>,
    /// Of the step under way.
    requests: u32,
    pub(super) warnings: Vec<Finding>,
    pub(super) note: Option<String>,
}

impl<'a> Series<'a> {
    /// A series that has not begun.
    ///
    /// # Errors
    /// See [`CannotStart`].
    pub(super) fn new(plan: &'a Plan) -> Result<Series<'a>, CannotStart> {
        let http = Http::new(&plan.base_url, &plan.authorities, plan.timeout)?;
        let number = getrandom::u32().map_err(CannotStart::Random)?;
        Ok(Series {
            plan,
            http,
            authorization: authorization(plan, plan.style == Style::Wizard)?,
            ledger: Ledger::default(),
            mark: format!("{number:08x}"),
            people: Vec::new(),
            group: None,
            failed: Vec::new(),
            requests: 0,
            warnings: Vec::new(),
            note: None,
        })
    }

    /// Takes every step.
    pub(super) async fn play(&mut self, keep: &mut impl FnMut(Step)) {
        let parts = if self.plan.read_only { READ_ONLY } else { WHOLE };
        for part in parts {
            let missing = part.needs().filter(|needed| self.failed.contains(needed));
            let step = match missing {
                Some(needed) => {
                    self.failed.push(*part);
                    Step {
                        name: part.name(),
                        okta: part.okta(self.plan.style),
                        outcome: Outcome::Skipped,
                        duration_ms: 0,
                        requests: 0,
                        findings: Vec::new(),
                        note: Some(format!("{} failed", needed.name())),
                    }
                }
                None => self.take(*part).await,
            };
            keep(step);
        }
    }

    async fn take(&mut self, part: Part) -> Step {
        let watch = Stopwatch::start();
        let done = match part {
            Part::BaseUrl => self.base_url(),
            Part::Connect => self.connect().await,
            Part::TestUsers => self.test_users().await,
            Part::TestGroups => self.test_groups().await,
            Part::WrongToken => self.wrong_token().await,
            Part::LookUp => self.look_up().await,
            Part::Create => self.create().await,
            Part::CreateAgain => self.create_again().await,
            Part::Import => self.import().await,
            Part::Update => self.update().await,
            Part::Deactivate => self.set_active(false).await,
            Part::FindInactive => self.find_inactive().await,
            Part::Reactivate => self.set_active(true).await,
            Part::GroupCreate => self.group_create().await,
            Part::GroupRename => self.group_rename().await,
            Part::GroupAdd => self.group_add().await,
            Part::GroupRemove => self.group_remove().await,
            Part::GroupPush => self.group_push().await,
            Part::GroupDelete => self.group_delete().await,
        };
        let step = self.step(part.name(), part.okta(self.plan.style), &watch, done.err());
        if step.outcome == Outcome::Failed {
            self.failed.push(part);
        }
        step
    }

    fn step(
        &mut self,
        name: &'static str,
        okta: &'static str,
        watch: &Stopwatch,
        failure: Option<Box<Finding>>,
    ) -> Step {
        let mut findings = std::mem::take(&mut self.warnings);
        findings.extend(failure.map(|failure| *failure));
        let outcome = if findings.iter().any(Finding::is_failure) {
            Outcome::Failed
        } else if findings.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Warned
        };
        let duration_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let requests = std::mem::take(&mut self.requests);
        Step { name, okta, outcome, duration_ms, requests, findings, note: self.note.take() }
    }

    fn base_url(&mut self) -> Done {
        self.warnings.extend(self.plan.base_url.findings());
        Ok(())
    }

    async fn connect(&mut self) -> Done {
        let reached = self.http.reach().await.map_err(|fault| self.no_answer(&fault, "connect"))?;
        self.note = Some(match &reached.tls {
            Some(tls) => format!("{}, {tls}", reached.address),
            None => reached.address.to_string(),
        });
        let now_s = SystemClock.now_ms() / 1000;
        let days = reached.expires_s.map(|expires_s| (expires_s - now_s) / 86_400);
        if let Some(days) = days.filter(|days| *days < EXPIRES_SOON_DAYS) {
            self.warnings.push(Finding::warning(
                format!("the certificate expires in {days} days"),
                None,
                "the next renewal is due, or renewing has failed",
                "renew it; after that day Okta refuses to connect",
            ));
        }
        Ok(())
    }

    async fn test_users(&mut self) -> Done {
        let answer = self.ask(&Method::GET, "/Users?startIndex=1&count=2", None, &[200]).await?;
        let total = self.list(&answer)?.1;
        self.note = Some(format!("{total} users"));
        Ok(())
    }

    async fn test_groups(&mut self) -> Done {
        let answer = self.ask(&Method::GET, "/Groups?startIndex=1&count=100", None, &[200]).await?;
        let total = self.list(&answer)?.1;
        self.note = Some(format!("{total} groups"));
        Ok(())
    }

    /// A server that lets anybody in passes everything else.
    async fn wrong_token(&mut self) -> Done {
        let path = "/Users?startIndex=1&count=2";
        for (token, words) in [(Some(WRONG_TOKEN), "with a wrong token"), (None, "without a token")] {
            let answer = self.send(&Method::GET, path, token.as_ref(), None).await?;
            if (200..300).contains(&answer.status) {
                return Err(Box::new(Finding::failure(
                    format!("{} {words} answered {}", answer.asked, answer.status),
                    None,
                    "the server gives its people to whoever asks",
                    "take the server from the network until it checks the token",
                )));
            }
            let right = answer.status == 401 && answer.kind() == BodyKind::Json;
            if !right && answer.status != 429 {
                self.warnings.push(Finding::warning(
                    format!("{} {words} answered {}, not 401 with a SCIM error", answer.asked, answer.status),
                    None,
                    "the server tells a wrong token in words of its own",
                    "nothing, if administrators understand what Okta shows then",
                ));
                break;
            }
        }
        Ok(())
    }

    /// Sends a request and gives the answer if it has one of the statuses; waits and sends it again after a 429.
    pub(super) async fn ask(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        expected: &'static [u16],
    ) -> Result<Answer, Box<Finding>> {
        let mut retries = 0;
        let answer = loop {
            let authorization = self.authorization.clone();
            let body = body.map(|body| body.to_string().into_bytes());
            let answer = self.send(method, path, Some(&authorization), body).await?;
            let wait_s = answer.header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
            match wait_s {
                Some(wait_s)
                    if answer.status == 429 && retries < RETRIES_MAX && wait_s <= RETRY_AFTER_S_MAX =>
                {
                    retries += 1;
                    self.warn_busy(&answer, wait_s);
                    tokio::time::sleep(std::time::Duration::from_secs(wait_s)).await;
                }
                _ => break answer,
            }
        };
        if !expected.contains(&answer.status) {
            let authorization = self.authorization_of(&answer, method, path).await;
            let refused = Refused { answer: &answer, expected, authorization };
            return Err(Box::new(self.without_token(refused.finding())));
        }
        self.look_at(&answer);
        Ok(answer)
    }

    fn warn_busy(&mut self, answer: &Answer, wait_s: u64) {
        self.warnings.push(Finding::warning(
            format!("{} answered 429; sent again after {wait_s} s, as Okta does", answer.asked),
            None,
            "the server limits how often it may be asked",
            "raise the limit if this goes on",
        ));
    }

    async fn send(
        &mut self,
        method: &Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Box<Finding>> {
        self.requests += 1;
        let sent = self.http.send(method, path, authorization, body).await;
        sent.map_err(|fault| self.no_answer(&fault, &format!("{method} {path}")))
    }

    fn no_answer(&self, fault: &Fault, asked: &str) -> Box<Finding> {
        let finding = fault.finding(asked, self.plan.base_url.host(), self.plan.base_url.port());
        Box::new(self.without_token(finding))
    }

    /// A server may repeat what it was sent; nothing of it may reach a screen or a ticket.
    fn without_token(&self, mut finding: Finding) -> Finding {
        let token = self.plan.token.trim_start_matches("Bearer ");
        // What is as short as a word is no secret, and taking it out would make nonsense of the rest.
        if token.len() < TOKEN_BYTES_MIN {
            return finding;
        }
        let clean = |text: &str| text.replace(token, "(the token)");
        finding.what = clean(&finding.what);
        finding.shown = finding.shown.as_deref().map(clean);
        finding.cause = clean(&finding.cause);
        finding
    }

    /// Warns of what Okta lives with.
    fn look_at(&mut self, answer: &Answer) {
        if answer.duration_ms > SLOW_MS {
            self.warnings.push(Finding::warning(
                format!("{} took {} ms", answer.asked, answer.duration_ms),
                None,
                "the server or what is behind it is slow; Okta hangs up after 60 s",
                "see what the server was waiting for",
            ));
        }
        let media_type = answer.media_type().unwrap_or_default();
        let right = ["application/scim+json", "application/json"].contains(&media_type.as_str());
        let told = self.warnings.iter().any(|warning| warning.what.contains("Content-Type"));
        if !right && answer.kind() != BodyKind::Empty && !told {
            self.warnings.push(Finding::warning(
                format!("{} has the Content-Type {}", answer.asked, shown(&media_type)),
                None,
                "the server, or a proxy in front, does not say application/scim+json",
                "Okta reads it all the same; other clients may not",
            ));
        }
    }

    /// Why a token was refused, as far as more requests can tell. Only reading ones are sent again.
    async fn authorization_of(&mut self, answer: &Answer, method: &Method, path: &str) -> Authorization {
        if answer.status != 401 || method != Method::GET {
            return Authorization::Unknown;
        }
        let with_bearer = starts_with_bearer(self.authorization.as_bytes());
        if let Ok(other) = authorization(self.plan, !with_bearer)
            && let Ok(second) = self.send(method, path, Some(&other), None).await
            && (200..300).contains(&second.status)
        {
            return if with_bearer { Authorization::BearerIsTooMuch } else { Authorization::BearerIsMissing };
        }
        let said = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
        let Ok(without) = self.send(method, path, None, None).await else { return Authorization::Unknown };
        if without.status != answer.status || without.detail() != answer.detail() {
            return Authorization::Arrives;
        }
        let says_none =
            ["no authorization", "missing authorization", "authorization header", "not provided", "no token"];
        if says_none.iter().any(|words| said.contains(words)) {
            return Authorization::AsIfThereWereNone;
        }
        Authorization::Unknown
    }

    /// The resources and the total of a list, if it is one that Okta can read.
    pub(super) fn list<'b>(&self, answer: &'b Answer) -> Result<(&'b [Value], u64), Box<Finding>> {
        let wrong = |what: &str, shown: Option<&str>, cause: &str| {
            let finding = Finding::failure(
                format!("{}: {what}", answer.asked),
                shown.map(str::to_owned),
                cause,
                "the server must answer with a ListResponse as RFC 7644 §3.4.2 has it",
            );
            Err(Box::new(self.without_token(finding)))
        };
        let none = Some("Error authenticating: No results for users returned");
        match answer.kind() {
            BodyKind::Empty => {
                return wrong("the answer is empty", none, "the server has nothing at this path");
            }
            BodyKind::Html => {
                return wrong(
                    "the answer is a page for browsers (HTML)",
                    Some("Error authenticating: Invalid JSON: Unexpected character ('<' (code 60))"),
                    "not the SCIM server answers but a login page, a web application or a proxy in front of it: the \
                     path of the Base URL is wrong, or the proxy does not pass it on",
                );
            }
            BodyKind::Text => {
                return wrong(
                    "the answer is no JSON",
                    Some("Error authenticating: Invalid JSON: Unrecognized token"),
                    "not the SCIM server answers, but something in front of it",
                );
            }
            BodyKind::Json => {}
        }
        let Some(resources) = answer.json.get("Resources").and_then(Value::as_array) else {
            return wrong(
                "there is no list Resources",
                none,
                "the server answers JSON, and it is no SCIM list",
            );
        };
        for key in ["totalResults", "startIndex", "itemsPerPage"] {
            match answer.json.get(key) {
                Some(Value::Number(_)) => {}
                // itemsPerPage and startIndex are required only of a part (RFC 7644 §3.4.2).
                None if key != "totalResults" => {}
                _ => {
                    return wrong(
                        &format!("{key} is not a number"),
                        None,
                        "Okta stops without a word when one of these is a text, and creates nobody",
                    );
                }
            }
        }
        let total = answer.json["totalResults"].as_u64().unwrap_or(0);
        let count = u64::try_from(resources.len()).unwrap_or(u64::MAX);
        let per_page = answer.json.get("itemsPerPage").and_then(Value::as_u64);
        if per_page.is_some_and(|per_page| per_page != count) {
            return wrong(
                "itemsPerPage is not the number of resources in the answer",
                None,
                "the server repeats what it was asked for; Okta's review refuses such an integration",
            );
        }
        Ok((resources, total))
    }
}

/// A token that is nobody's; that of Okta's own suite.
const WRONG_TOKEN: HeaderValue = HeaderValue::from_static("non-token");

/// The value of the Authorization header: what stands in the field, with or without `Bearer `.
fn authorization(plan: &Plan, bearer: bool) -> Result<HeaderValue, CannotStart> {
    let token = plan.token.trim();
    let bare = if starts_with_bearer(token.as_bytes()) { token[7..].trim_start() } else { token };
    // As the template sends it: what was typed, `Bearer ` included.
    let asked_for = bearer || (plan.style == Style::Template && bare != token);
    let text = if asked_for { format!("Bearer {bare}") } else { bare.to_owned() };
    let mut value = HeaderValue::from_str(&text).map_err(|_| CannotStart::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

fn starts_with_bearer(value: &[u8]) -> bool {
    value.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer "))
}

/// The look-up of a name, as Okta writes it.
pub(super) fn by(attribute: &str, name: &str) -> String {
    format!("filter={}&startIndex=1&count=100", encode(&format!("{attribute} eq \"{name}\"")))
}

/// Percent-encodes a value.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A PATCH of these operations.
pub(super) fn patch(operations: Value) -> Value {
    json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations })
}
